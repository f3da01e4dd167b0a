"""A memory that foretells: what was held before a value is its key."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from titans_ts.blocks.layers import unit_length
from titans_ts.memory.gates import Store, TokenGates
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
    """A linear memory whose keys are made from what a network holds: read with the newest, it foretells the next value.

    By how much that is wrong is its surprise. It may be written by the delta rule as values come,
    ``M_t = a M_{t-1} - theta (M_{t-1} k_{t-1} - v_t) k_{t-1}``: a key has unit length and a step size is below 1, so that a
    write only ever takes a part of an error away.

    Parameters
    ----------
    width : int
        Model width ``d``.
    values : int
        Numbers of a value ``v``.
    adapts : bool, default=False
        Whether it is written; it stays as training left it otherwise.

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

    def __init__(self, width: int, values: int, *, adapts: bool = False) -> None:
        super().__init__()
        self.rule = WriteRule(loss_factor=1.0, write_bound=LARGEST_ERROR * values**0.5)
        self.key = nn.Linear(width, width)
        self.first_key = nn.Parameter(torch.randn(width))
        self.store = Store(1, width, values, depth=1)
        self.gates = TokenGates(width, 1, step="sigmoid", momentum=False) if adapts else None
        if self.gates is not None and self.gates.project is not None:
            with torch.no_grad():
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
        store, start = state.store, state.store.weights[0][:, 0]
        if self.gates is None:
            said = keys @ start
        else:
            gates = self.gates(hidden)
            gates = gates._replace(log_step=gates.log_step + torch.where(written[:, None] > 0, 0.0, -torch.inf))
            q, k, v = (x[:, None] for x in (keys, before, values))
            read, store = memory_chunked(q, k, v, gates, self.rule, store, initial=self.store())
            said = read[:, 0]
        foretold = torch.cat([before[:, :1] @ start, said[:, :-1]], dim=1)
        return said, values - foretold, ForetellingCarry(store, keys[:, -1:])
