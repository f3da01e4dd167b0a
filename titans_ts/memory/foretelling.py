"""A memory that foretells: what was held before a patch is its key, the patch itself its value."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from titans_ts.blocks.norm import unit_length
from titans_ts.memory.gates import TokenGates
from titans_ts.memory.stores import Store
from titans_ts.ops.chunked import memory_chunked
from titans_ts.ops.rule import StoreState, WriteRule, fresh_state

STEP_START = -4.0
"""Logit of the step size where training starts: a fiftieth."""
LARGEST_ERROR = 4.0
"""A write is cut to that of so large an error, in spreads, of every number of a value."""


class ForetellingCarry(NamedTuple):
    """What is carried: the memory, and the key under which the next patch will be written, ``(b, 1, d)``."""

    store: StoreState
    key: Tensor


class ForetellingMemory(nn.Module):
    """A linear memory written by the delta rule: ``M_t = a M_{t-1} - theta (M_{t-1} k_{t-1} - v_t) k_{t-1}``.

    Its keys are made from what a network holds, so that reading it with the newest one foretells the value that comes next,
    and its surprise is by how much that was wrong. A key has unit length and a step size is below 1, so a write only ever
    takes a part of an error away.

    Parameters
    ----------
    width : int
        Model width ``d``.
    values : int
        Numbers of a value ``v``.

    References
    ----------
    arXiv 2501.00663, equations 8 to 12 and 16; 2406.06484 for the rule.

    Examples
    --------
    >>> memory = ForetellingMemory(16, 3)
    >>> said, errors, state = memory(torch.randn(2, 5, 16), torch.randn(2, 5, 3), torch.ones(2, 5), memory.initial_state(2))
    >>> said.shape, errors.shape
    (torch.Size([2, 5, 3]), torch.Size([2, 5, 3]))
    """

    def __init__(self, width: int, values: int) -> None:
        super().__init__()
        self.rule = WriteRule(loss_factor=1.0, write_bound=LARGEST_ERROR * values**0.5)
        self.key = nn.Linear(width, width)
        self.first_key = nn.Parameter(torch.randn(width))
        self.gates = TokenGates(width, 1, step="sigmoid", momentum=False)
        self.store = Store(1, width, values, depth=1)
        with torch.no_grad():
            assert self.gates.project is not None
            self.gates.project.bias[0] = STEP_START

    def initial_state(self, batch: int) -> ForetellingCarry:
        """Return the carry before the first patch."""
        key = unit_length(self.first_key).expand(batch, 1, -1)
        return ForetellingCarry(fresh_state(self.store(), batch=batch, momentum=False), key)

    def forward(
        self, hidden: Tensor, values: Tensor, written: Tensor, state: ForetellingCarry
    ) -> tuple[Tensor, Tensor, ForetellingCarry]:
        """Write values, and foretell the next one after each.

        Parameters
        ----------
        hidden : Tensor
            ``(b, n, d)``: what is held after each value.
        values : Tensor
            ``(b, n, v)``.
        written : Tensor
            ``(b, n)``: 1, or 0 for a value that is not written.
        state : ForetellingCarry
            From the call before.

        Returns
        -------
        said, errors : Tensor
            ``(b, n, v)``: what is foretold after each value, and how far from it each value was.
        state : ForetellingCarry
            To hand to the next call.
        """
        keys = unit_length(self.key(hidden))
        before = torch.cat([state.key.to(keys.dtype), keys[:, :-1]], dim=1)
        gates = self.gates(hidden)
        gates = gates._replace(log_step=gates.log_step + torch.where(written[:, None] > 0, 0.0, -torch.inf))
        asked = state.store.weights[0]
        first = before[:, :1] @ asked[:, 0]
        said, store = memory_chunked(
            keys[:, None], before[:, None], values[:, None], gates, self.rule, state.store, initial=self.store()
        )
        foretold = torch.cat([first, said[:, 0, :-1]], dim=1)
        return said[:, 0], values - foretold, ForetellingCarry(store, keys[:, -1:])
