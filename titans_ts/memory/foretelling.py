"""A memory that foretells the next value: the key of a value is made from the hidden state before it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from titans_ts.blocks.layers import unit_length
from titans_ts.memory.gates import Store, TokenGates
from titans_ts.ops.chunked import memory_chunked
from titans_ts.ops.rule import StoreState, WriteRule, fresh_state

STEP_START = -4.0  # logit of the step size at the start: a fiftieth
LARGEST_ERROR = 4.0  # a write is clipped to that of an error of so many spreads in every number of a value


class ForetellingCarry(NamedTuple):
    """What a foretelling memory carries."""

    store: StoreState
    key: Tensor  # under which the next value will be written, (b, 1, d)


class ForetellingMemory(nn.Module):
    """A linear memory that is read with a key of the newest hidden state and foretells the next value ``v``.

    With ``adapts`` it is written as values come, ``M_t = a M_{t-1} - theta (M_{t-1} k_{t-1} - v_t) k_{t-1}``, keys of length
    1 and steps below 1. (arXiv 2501.00663, equations 8 to 12 and 16; 2406.06484 for the rule.)
    """

    def __init__(self, width: int, values: int, *, adapts: bool = False) -> None:
        super().__init__()
        self.rule = WriteRule(loss_factor=1.0, write_bound=LARGEST_ERROR * values**0.5)
        self.key = nn.Linear(width, width)
        self.first_key = nn.Parameter(torch.randn(width))
        self.store = Store(1, width, values, depth=1)
        # not eager: on another level than all of training such gates may close, and nothing would be learned of it
        self.gates = TokenGates(width, 1, step="sigmoid", momentum=False, eager=False) if adapts else None
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
        """Write values ``(b, n, v)``; return what is foretold after each and its misses, ``(b, n, v)`` both.

        ``hidden``, ``(b, n, d)``, is the state after each value; ``written``, ``(b, n)``, is 0 for a value that is left out.
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
