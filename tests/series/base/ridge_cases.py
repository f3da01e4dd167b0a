"""Made-up streams, and what a bank would say of them."""

from typing import NamedTuple

import torch
from torch import Tensor


class Seen(NamedTuple):
    levels: Tensor
    profile: Tensor
    size: Tensor
    logs: Tensor
    age: Tensor


def seen_of(rows: Tensor, ends: Tensor, season: int = 4) -> Seen:
    s, n = len(rows), ends.shape[-1]
    generator = torch.Generator().manual_seed(5)
    profile = torch.randn(s, 1, season, generator=generator, dtype=torch.float64).expand(s, n, season)
    turned = torch.stack([profile[:, i].roll(-int(end) % season, -1) for i, end in enumerate(ends)], 1)
    logs = torch.tensor([1.0, -50.0, 8.0], dtype=torch.float64).expand(s, n, 3)
    levels = torch.stack(
        [rows[:, :end].nan_to_num()[:, -3:].mean(-1, keepdim=True).expand(s, 3) for end in ends], 1
    ).nan_to_num()
    return Seen(levels, turned, torch.full((s, n), 0.7, dtype=torch.float64), logs, ends.double().expand(s, n))


def waves(streams: int = 3, rows: int = 160) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    t = torch.arange(rows, dtype=torch.float64)
    noise = torch.randn(streams, rows, generator=generator, dtype=torch.float64)
    return torch.sin(t * 2 * torch.pi / 8) * torch.arange(1, streams + 1)[:, None] + 0.1 * noise + 0.01 * t
