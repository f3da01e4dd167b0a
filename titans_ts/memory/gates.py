"""From a token to its gates: step size, retention and momentum, each inside bounds that keep the memory finite.

The four constants are chosen together (see :class:`titans_ts.ops.WriteRule`): with a write of norm at most
``WRITE_BOUND``, the momentum stays below ``STEP_MAX * WRITE_BOUND / (1 - MOMENTUM_MAX) = 1.6`` and a memory's distance
from its start below ``1.6 / FORGETTING_MIN < 1e4``, per layer and head, whatever is read for however long.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from titans_ts.ops import Gates

STEP_MAX = 0.08
MOMENTUM_MAX = 0.9
FORGETTING_MIN = 1.65e-4
"""Half-life of at most 4,200 tokens."""
WRITE_BOUND = 2.0
SHORTEST_HALF_LIFE, LONGEST_HALF_LIFE = 8.0, 4096.0


class TokenGates(nn.Module):
    """Data-dependent gates, one number a token and head.

    Retention starts at half-lives spread logarithmically over the heads, from 8 to 4,096 tokens: with one short half-life
    for all, nothing old can matter, and training alone does not find the long ones.

    Parameters
    ----------
    width, heads : int
        Model width and number of heads.
    forgetting, momentum : bool, default=True
        Switch a gate off: the memory then keeps everything, or has no momentum.

    Notes
    -----
    ``theta = STEP_MAX sigmoid(.)``, ``eta = MOMENTUM_MAX sigmoid(.)``, ``a = (1 - FORGETTING_MIN) sigmoid(.)``.

    Examples
    --------
    >>> gates = TokenGates(8, 2)(torch.zeros(1, 5, 8))
    >>> half_lives = -math.log(2) / gates.log_retention[0, :, 0]
    >>> [round(x) for x in half_lives.tolist()]
    [8, 4096]
    """

    def __init__(self, width: int, heads: int, *, forgetting: bool = True, momentum: bool = True) -> None:
        super().__init__()
        self.heads, self.forgetting, self.momentum = heads, forgetting, momentum
        self.project = nn.Linear(width, heads * (1 + forgetting + momentum))
        nn.init.normal_(self.project.weight, std=0.1 / math.sqrt(width))
        spread = torch.linspace(math.log(SHORTEST_HALF_LIFE), math.log(LONGEST_HALF_LIFE), heads, dtype=torch.float64)
        kept = torch.exp(-math.log(2) / spread.exp()) / (1 - FORGETTING_MIN)
        start = [torch.full((heads,), -1.0)]
        start += [torch.logit(kept)] * forgetting
        start += [torch.full((heads,), 0.0)] * momentum
        with torch.no_grad():
            self.project.bias.copy_(torch.cat(start))

    def forward(self, sequence: Tensor) -> Gates:
        """Return the gates of tokens ``(b, t, d)``, ``(b, h, t)`` each."""
        parts = list(self.project(sequence).transpose(1, 2).split(self.heads, dim=1))
        log_sigmoid = nn.functional.logsigmoid
        log_step = math.log(STEP_MAX) + log_sigmoid(parts.pop(0))
        log_retention = math.log1p(-FORGETTING_MIN) + log_sigmoid(parts.pop(0)) if self.forgetting else None
        log_momentum = math.log(MOMENTUM_MAX) + log_sigmoid(parts.pop(0)) if self.momentum else None
        return Gates(log_step, log_retention, log_momentum)
