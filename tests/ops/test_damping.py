"""Damped steps: a key that is alone is written as before, a crowd no more than it takes."""

import pytest
import torch
from ops.cases import make_case
from tolerances import assert_agree

from titans_ts.ops import Gates, WriteRule, fresh_state, memory_chunked
from titans_ts.ops.decay import damped_step

F64 = torch.float64


def sequence(values: list[float], width: int = 2) -> torch.Tensor:
    """Return values of every token as ``(1, 1, t, width)`` with the rest zero."""
    return torch.nn.functional.pad(torch.tensor(values, dtype=F64)[None, None, :, None], (0, width - 1))


def test_keys_at_right_angles_are_damped_by_themselves_alone():
    keys = torch.eye(4, dtype=F64)[None, None]
    step, crowd = damped_step(
        torch.full((1, 1, 4), 0.1, dtype=F64),
        Gates(torch.zeros(1, 1, 4, dtype=F64)),
        keys,
        WriteRule(refresh_every=8),
        torch.zeros(1, 1, 4, 4, dtype=F64),
        0,
    )
    assert_agree(step, torch.full((1, 1, 4), 0.1 / 1.2, dtype=F64))
    assert_agree(crowd, 0.1 * torch.eye(4, dtype=F64)[None, None])


@pytest.mark.parametrize("position", [0, 1, 3, 4, 6])
def test_momentum_and_the_refresh_count(position):
    """By hand: of refresh 4, with keys all alike, token t shares with those of its refresh, ``1 / (1 - eta)`` times."""
    theta, eta, length = 0.05, 0.6, 9
    gates = Gates(torch.zeros(1, 1, length), None, torch.full((1, 1, length), eta, dtype=F64).log())
    crowd = torch.zeros(1, 1, 2, 2, dtype=F64)
    crowd[..., 0, 0] = theta * (position % 4)
    step, after = damped_step(
        torch.full((1, 1, length), theta, dtype=F64),
        gates,
        sequence([1.0] * length),
        WriteRule(refresh_every=4),
        crowd,
        position,
    )
    members = [(position + t) % 4 + 1 for t in range(length)]
    true = [theta / (1 + 2 / (1 - eta) * theta * count) for count in members]
    assert_agree(step[0, 0], torch.tensor(true, dtype=F64))
    assert after[0, 0, 0, 0].item() == pytest.approx(theta * (members[-1] % 4))


def test_two_copies_of_a_memory_that_differ_by_a_bit_come_together_again():
    """On keys all alike a refresh of 16 overshoots without damping, for ever; with it they stay together."""

    def apart(damping: bool) -> float:
        torch.manual_seed(0)
        rule = WriteRule(refresh_every=16, write_bound=2.0, damping=damping)
        start = [torch.randn(1, 4, 8, dtype=F64) / 2, torch.randn(1, 8, 4, dtype=F64) / 3]
        keys = torch.nn.functional.normalize(torch.ones(4, dtype=F64) + 0.1 * torch.randn(1, 1, 3200, 4, dtype=F64), dim=-1)
        values = torch.tanh(keys @ torch.randn(4, 4, dtype=F64))
        full = torch.full(keys.shape[:3], 1.0, dtype=F64)
        gates = Gates((0.08 * full).log(), (0.9999 * full).log(), (0.85 * full).log())
        fresh = fresh_state(start, batch=1, momentum=True, damping=damping)
        moved = fresh._replace(weights=tuple(w + 1e-9 for w in fresh.weights))
        ends = [memory_chunked(keys, keys, values, gates, rule, one, initial=start)[1] for one in (fresh, moved)]
        return max(float((x - y).abs().max()) for x, y in zip(ends[0].weights, ends[1].weights, strict=True))

    assert apart(damping=True) < 1e-7
    assert apart(damping=False) > 0.1


def test_damping_is_refused_where_it_is_not_defined():
    for wrong in ({"objective": "dot"}, {"step": "implicit", "loss_factor": 1.0}):
        with pytest.raises(ValueError, match="damping=True is defined for objective='l2' with step='explicit'"):
            WriteRule(damping=True, **wrong)
    case = make_case(WriteRule(damping=True), length=3)
    with pytest.raises(ValueError, match=r"damping=True needs state.crowd; begin with fresh_state\(..., damping=True\)"):
        memory_chunked(case.q, case.k, case.v, case.gates, case.rule, case.state._replace(crowd=None), initial=case.initial)
