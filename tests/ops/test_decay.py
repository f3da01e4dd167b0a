"""Products of gates between two tokens: against loops, and in single precision after strong forgetting."""

import pytest
import torch
from ops.cases import make_case
from tolerances import TOLERANCE, assert_agree

from titans_ts.ops import Gates, WriteRule
from titans_ts.ops.decay import chunk_decays, decay_matrix


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
