"""Effects of covariates: found where they are, none where forward blocks see none."""

import pytest
import torch
from torch import Tensor

from titans_ts.series.base.effects import effect_at, learn_effect

EDGES = torch.linspace(0, 600, 9).long()


def made(effects: Tensor, series: int = 2, rows: int = 600) -> tuple[Tensor, Tensor]:
    """Return streams ``(b c, t)`` with a wave, slow noise and an effect ``(c, x)``, and covariates ``(b, t, x)``."""
    generator = torch.Generator().manual_seed(4)
    future = torch.randn(series, rows, effects.shape[1], generator=generator)
    t = torch.arange(rows, dtype=torch.float64)
    noise = torch.randn(series * len(effects), rows, generator=generator, dtype=torch.float64)
    return torch.sin(t * torch.pi / 6) + 0.3 * noise + 0.002 * noise.cumsum(1) + effect_at(future, effects), future


@pytest.mark.parametrize("alike", [True, False])
def test_an_effect_is_found(alike):
    effects = torch.tensor([[0.8, 0.0, -0.4], [0.8, 0.0, -0.4] if alike else [-0.8, 0.5, 0.0]], dtype=torch.float64)
    rows, future = made(effects)
    rows[1, 100:130] = float("nan")
    found = learn_effect(rows, future, lookback=24, horizon=12, edges=EDGES)
    torch.testing.assert_close(found.weights, effects, rtol=0, atol=0.06)


def test_noise_has_no_effect():
    rows, future = made(torch.zeros(2, 3, dtype=torch.float64))
    found = learn_effect(rows, future, lookback=24, horizon=12, edges=EDGES)
    assert not found.weights.any()
    assert len(found.losses["none"]) == 7


def test_an_effect_that_ends_is_not_trusted():
    effects = torch.tensor([[0.8]], dtype=torch.float64)
    rows, future = made(effects, 1)
    rows[:, 80:] -= 2 * effect_at(future, effects)[:, 80:] * (torch.arange(80, 600) % 160 < 80)
    found = learn_effect(rows, future, lookback=24, horizon=12, edges=EDGES)
    assert found.weights.abs().max() < 0.5


def test_without_covariates_or_rows_there_is_none():
    rows, future = made(torch.zeros(1, 2, dtype=torch.float64), 1, 30)
    assert not learn_effect(rows, future, lookback=24, horizon=12, edges=torch.tensor([0, 15, 30])).weights.any()
    assert learn_effect(rows, future[..., :0], lookback=4, horizon=2, edges=torch.tensor([0, 15, 30])).weights.shape == (
        1,
        0,
    )
