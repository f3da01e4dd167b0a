"""Products of gates between two tokens, against loops and after strong forgetting; and damped steps."""

import pytest
import torch
from ops.cases import make_case
from tolerances import TOLERANCE, assert_agree

from titans_ts.ops import Gates, WriteRule, fresh_state, memory_chunked
from titans_ts.ops.decay import chunk_decays, damped_step, decay_matrix


def gates_of(length: int, *, momentum: bool = True, retention: bool = True) -> Gates:
    return make_case(WriteRule(), length=length, momentum=momentum, retention=retention).gates


def loop_decay(log_gate: torch.Tensor) -> torch.Tensor:
    """Return ``prod of gates over s < r <= t``, one product at a time."""
    n = log_gate.shape[-1]
    found = torch.zeros(*log_gate.shape, n, dtype=torch.float64)
    for t in range(n):
        for s in range(t + 1):
            share = torch.ones(log_gate.shape[:-1], dtype=torch.float64)
            for r in range(s + 1, t + 1):
                share = share * log_gate[..., r].double().exp()
            found[..., t, s] = share
    return found


@pytest.mark.parametrize("length", [1, 2, 17])
def test_decay_matrix_is_a_product_of_gates(length):
    log_gate = 3 * gates_of(length).log_momentum
    assert_agree(decay_matrix(log_gate), loop_decay(log_gate), name="decay")


def test_decay_matrix_gradient():
    log_gate = gates_of(6).log_momentum[0, 0].requires_grad_()
    assert torch.autograd.gradcheck(decay_matrix, log_gate)


def test_running_sums_would_lose_digits():
    """After strong forgetting, differences of running sums lose what masked segment sums keep."""
    log_gate = torch.full((64,), -1e-3).double()
    log_gate[4:20] = -60.0
    log_gate = log_gate.float()
    true = loop_decay(log_gate)
    seen = true > 1e-6

    def error(found: torch.Tensor) -> float:
        return ((found.double() - true).abs() / true)[seen].max().item()

    running = log_gate.cumsum(-1)
    difference = (running[:, None] - running[None, :]).tril().exp().tril()
    assert error(decay_matrix(log_gate)) < TOLERANCE[torch.float32]
    assert error(difference) > 5 * TOLERANCE[torch.float32]


@pytest.mark.parametrize("retention", [True, False])
@pytest.mark.parametrize("momentum", [True, False])
@pytest.mark.parametrize("length", [1, 13])
def test_chunk_decays_by_following_one_write(length, momentum, retention):
    """Send a 1 through the recurrences for memory and momentum, from every place it can start, and watch its share."""
    gates = gates_of(length, momentum=momentum, retention=retention)
    shares = chunk_decays(gates)

    def follow(memory: float, carried: float, written_at: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        memory = torch.full(gates.log_step.shape[:-1], memory, dtype=torch.float64)
        carried = torch.full_like(memory, carried)
        seen = []
        for t in range(length):
            write = 1.0 if t == written_at else 0.0
            carried = write + (gates.log_momentum[..., t].exp() * carried if momentum else 0)
            memory = carried + (gates.log_retention[..., t].exp() * memory if retention else memory)
            seen.append(memory)
        return torch.stack(seen, -1), carried

    for s in range(length):
        in_memory, in_momentum = follow(0.0, 0.0, s)
        assert_agree(shares.write[..., :, s], in_memory, name=f"write of token {s}")
        assert_agree(shares.leaving[..., s, 0], in_memory[..., -1], name=f"write of token {s} in the last memory")
        if momentum:
            assert_agree(shares.leaving[..., s, 1], in_momentum, name=f"write of token {s} in the momentum")
    starts = ((1.0, 0.0), (0.0, 1.0)) if momentum else ((1.0, 0.0),)
    assert {shares.entering.shape[-1], shares.leaving.shape[-1], *shares.carried.shape[-2:]} == {len(starts)}
    for column, start in enumerate(starts):
        in_memory, in_momentum = follow(*start, None)
        assert_agree(shares.entering[..., column], in_memory, name=f"what was carried in, {column}")
        assert_agree(shares.carried[..., 0, column], in_memory[..., -1], name=f"{column} in the last memory")
        if momentum:
            assert_agree(shares.carried[..., 1, column], in_momentum, name=f"{column} in the last momentum")


@pytest.mark.parametrize("length", [16, 256])
def test_shares_stay_finite_when_all_is_forgotten(length):
    """Gates at their floor, in single precision: no NaN and no infinity, in values or gradients."""
    log_gates = [torch.full((length,), -torch.inf, requires_grad=True) for _ in range(3)]
    shares = chunk_decays(Gates(*log_gates).floored())
    assert all(torch.isfinite(share).all() for share in shares)
    assert_agree(shares.write, torch.eye(length), name="write")
    sum(share.sum() for share in shares).backward()
    assert all(torch.isfinite(gate.grad).all() for gate in log_gates if gate.grad is not None)


# --- damping --------------------------------------------------------------------------------------------------------


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
