"""The write rule on numbers worked by hand, its limits, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ops.cases import gradients, make_case, run
from tolerances import assert_agree

from titans_ts.ops import Gates, StoreState, WriteRule, fresh_state, memory_chunked, memory_recurrent, read_store

EXECUTIONS = (memory_recurrent, memory_chunked)
both_executions = pytest.mark.parametrize("execute", EXECUTIONS)


def numbers(*values: float) -> torch.Tensor:
    """Return one number a token, for one sequence and one head."""
    return torch.tensor(values, dtype=torch.float64).reshape(1, 1, -1)


def one_number_memory(rule, *, momentum=True, retention=0.5, values=(1.0, 3.0), keys=(1.0, 1.0)):
    """Return outputs of a memory of one number that starts at 2, with step 1/4, and momentum 1/2."""
    k, v = numbers(*keys)[..., None], numbers(*values)[..., None]
    gates = Gates(
        log_step=torch.full_like(numbers(*values), 0.25).log(),
        log_retention=torch.full_like(numbers(*values), retention).log() if retention else None,
        log_momentum=torch.full_like(numbers(*values), 0.5).log() if momentum else None,
    )
    initial = [torch.full((1, 1, 1), 2.0, dtype=torch.float64)]
    state = fresh_state(initial, batch=1, momentum=momentum)
    return torch.ones_like(k), k, v, gates, rule, state, initial


@both_executions
@pytest.mark.parametrize(
    ("fields", "options", "memory", "carried"),
    [
        # surprise 2 (2 - 1) = 2, S = -1/2, M = 2 - 1/2; surprise 2 (3/2 - 3) = -3, S = -1/4 + 3/4, M = 2 - 1/4 + 1/2
        ({}, {}, [1.5, 2.25], 0.5),
        # forgetting towards zero: M = 1 - 1/2; surprise 2 (1/2 - 3) = -5, S = -1/4 + 5/4, M = 1/4 + 1
        ({"forget_towards": "zero"}, {}, [0.5, 1.25], 1.0),
        # no forgetting: M = 3/2, then 3/2 + 1/2
        ({}, {"retention": None}, [1.5, 2.0], 0.5),
        # no momentum: M = 3/2, then 2 - 1/4 + 3/4
        ({}, {"momentum": False}, [1.5, 2.5], None),
        # read after forgetting: at 7/4 the surprise is -5/2, S = -1/4 + 5/8, M = 7/4 + 3/8
        ({"read_from": "decayed"}, {}, [1.5, 2.125], 0.375),
        # both tokens read the memory as it was at the refresh: surprise 2 (2 - 3) = -2, S = -1/4 + 1/2, M = 7/4 + 1/4
        ({"refresh_every": 2}, {}, [1.5, 2.0], 0.25),
        # half the loss: surprise 1, S = -1/4, M = 7/4; surprise -5/4, S = -1/8 + 5/16 = 3/16, M = 15/8 + 3/16
        ({"loss_factor": 1.0}, {}, [1.75, 2.0625], 0.1875),
        # Hebbian: S = 1/4, M = 9/4; S = 1/8 + 3/4, M = 2 + 1/8 + 7/8
        ({"objective": "dot"}, {}, [2.25, 3.0], 0.875),
        # clipped at 1: S = -1/4, M = 7/4; S = -1/8 + 1/4, M = 2 - 1/8 + 1/8
        ({"write_bound": 1.0}, {}, [1.75, 2.0], 0.125),
        # implicit: step (1/4) / (1 + 1/4) = 1/5: S = -1/5, M = 9/5; surprise -6/5, S = -1/10 + 6/25, M = 19/10 + 7/50
        ({"step": "implicit", "loss_factor": 1.0}, {}, [1.8, 2.04], 0.14),
    ],
)
def test_two_tokens_by_hand(execute, fields, options, memory, carried):
    rule = WriteRule(**{"write_bound": None, **fields})
    *arguments, initial = one_number_memory(rule, **options)
    output, state = execute(*arguments, initial=initial)
    assert_agree(output.flatten(), numbers(*memory).flatten(), name="memory")
    assert_agree(state.weights[0].flatten(), numbers(memory[-1]).flatten(), name="last memory")
    if carried is None:
        assert state.momentum is None
    else:
        assert_agree(state.momentum[0].flatten(), numbers(carried).flatten(), name="momentum")


@both_executions
def test_read_is_after_the_write(execute):
    """A token that is written with its whole error reads its own value back."""
    k = torch.eye(3, dtype=torch.float64)[None, None]
    v = torch.arange(6.0, dtype=torch.float64).reshape(1, 1, 3, 2) - 2
    start = fresh_state([torch.ones(1, 3, 2, dtype=torch.float64)], batch=1, momentum=False)
    output, _ = execute(k, k, v, Gates(torch.full((1, 1, 3), 0.5).double().log()), WriteRule(write_bound=None), start)
    assert_agree(output, v, name="output")


def numpy_surprise(weights, k, v):
    """Return the gradient of ``|M(k) - v|^2`` by central differences, for an MLP with SiLU."""

    def loss(at):
        hidden = k @ at[0]
        for layer in at[1:]:
            hidden = hidden / (1 + np.exp(-hidden)) @ layer
        return ((hidden - v) ** 2).sum()

    found = []
    for i, w in enumerate(weights):
        slope = np.zeros_like(w)
        for place in np.ndindex(w.shape):
            change = np.zeros_like(w)
            change[place] = 1e-5
            plus, minus = ([x + sign * change if j == i else x for j, x in enumerate(weights)] for sign in (1, -1))
            slope[place] = (loss(plus) - loss(minus)) / 2e-5
        found.append(slope)
    return found


@both_executions
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_write_is_minus_step_times_the_slope_of_the_loss(execute, depth):
    case = make_case(WriteRule(write_bound=None), depth=depth, length=1, batch=1, heads=1, momentum=False, retention=False)
    surprise = []
    _, state = case.call(execute, observe=surprise.append)
    before = [w[0, 0].numpy() for w in case.state.weights]
    slopes = numpy_surprise(before, case.k[0, 0, 0].numpy(), case.v[0, 0, 0].numpy())
    step = case.gates.log_step.exp().item()
    for layer, slope in enumerate(slopes):
        written = state.weights[layer][0, 0].detach().numpy() - before[layer]
        np.testing.assert_allclose(written, -step * slope, atol=1e-9)
        np.testing.assert_allclose(surprise[0][layer].item(), np.linalg.norm(slope), atol=1e-8)


@both_executions
@pytest.mark.parametrize("depth", [1, 3])
def test_clipping_scales_each_layer_alone(execute, depth):
    """A clipped write keeps its direction and has the bound for its norm; the surprise is told unclipped."""
    free = make_case(WriteRule(write_bound=None), depth=depth, length=1, momentum=False, retention=False)
    surprise = run(execute, free)["surprise"][..., 0]
    bound = surprise.median().item()
    assert (surprise > bound).any()
    assert (surprise < bound).any()
    bounded = replace(free, rule=WriteRule(write_bound=bound))
    assert_agree(run(execute, bounded)["surprise"][..., 0], surprise, name="surprise")
    _, clipped_state = bounded.call(execute)
    _, free_state = free.call(execute)
    for layer in range(depth):
        start = free.state.weights[layer]
        scale = (bound / surprise[layer]).clamp(max=1)[..., None, None]
        write, free_write = clipped_state.weights[layer] - start, free_state.weights[layer] - start
        assert_agree(write, scale * free_write, name=f"write of layer {layer}")


@both_executions
def test_implicit_step_solves_the_proximal_problem(execute):
    """Longhorn's step minimises ``|M - M_before|_F^2 + theta |M k - v|^2`` exactly: here by the normal equations."""
    rule = WriteRule(step="implicit", loss_factor=1.0, write_bound=None)
    case = make_case(rule, length=20, momentum=False, retention=False)
    case = replace(case, k=2 * case.k, gates=Gates(case.gates.log_step + 5))
    output, _ = case.call(execute)
    for b, h in np.ndindex(2, 2):
        memory = case.state.weights[0][b, h].numpy()
        for t in range(20):
            k, v, q = (x[b, h, t].numpy() for x in (case.k, case.v, case.q))
            theta = case.gates.log_step[b, h, t].exp().item()
            memory = np.linalg.solve(np.eye(3) + theta * np.outer(k, k), memory + theta * np.outer(k, v))
            np.testing.assert_allclose(output[b, h, t].detach().numpy(), q @ memory, atol=1e-10)


@both_executions
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("gate", ["log_step", "log_retention", "log_momentum"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_gate_of_minus_infinity(execute, depth, gate, dtype):
    """A gate of 0 gives finite answers and gradients, and does what 0 says."""
    case = make_case(WriteRule(refresh_every=16), depth=depth, length=40)
    closed = getattr(case.gates, gate).clone()
    closed[..., 10:13] = -torch.inf
    closed[..., -1] = -torch.inf
    case = replace(case, gates=case.gates._replace(**{gate: closed})).to(dtype).tracked()
    results = run(execute, case)
    for name, x in (results | gradients(results, case.inputs())).items():
        assert torch.isfinite(x).all(), name
    _, before = case.tokens(0, 39).call(execute)
    inertia = case.gates.log_momentum[..., -1, None, None].exp()
    kept = case.gates.log_retention[..., -1, None, None].exp()
    for layer in range(depth):
        momentum, weights = results[f"momentum[{layer}]"], results[f"weights[{layer}]"]
        initial = case.initial[layer]
        if gate == "log_step":  # nothing is written
            assert_agree(momentum, inertia * before.momentum[layer], name="momentum")
        elif gate == "log_momentum":  # nothing is carried on: the momentum is this token's write
            assert_agree(weights, initial + kept * (before.weights[layer] - initial) + momentum, name="weights")
        else:  # everything is forgotten
            assert_agree(weights, initial + momentum, name="weights")


def test_floored_gates_are_finite_and_else_unchanged():
    gates = Gates(torch.tensor([[[-torch.inf, -1e9, -59.0, 0.0]]]), log_momentum=torch.tensor([[[-torch.inf]]]))
    floored = gates.floored()
    assert floored.log_step.flatten().tolist() == [-60.0, -60.0, -59.0, 0.0]
    assert floored.log_momentum.item() == -60.0
    assert floored.log_retention is None


@both_executions
@pytest.mark.parametrize("depth", [1, 2])
def test_zero_momentum_is_no_momentum(execute, depth):
    case = make_case(WriteRule(refresh_every=5), depth=depth, momentum=False)
    zeros = tuple(torch.zeros_like(w) for w in case.state.weights)
    closed = replace(
        case,
        gates=case.gates._replace(log_momentum=torch.full_like(case.gates.log_step, -torch.inf)),
        state=case.state._replace(momentum=zeros),
    )
    assert_agree(closed.call(execute)[0], case.call(execute)[0], name="output")


@both_executions
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("nothing", ["keys", "values and memory"])
def test_zeros_give_finite_gradients(execute, depth, nothing):
    """Norms of zero have no slope; padding must not turn gradients into NaN."""
    case = make_case(WriteRule(refresh_every=5), depth=depth, length=12)
    if nothing == "keys":
        case = replace(case, k=torch.zeros_like(case.k))
    else:
        zeros = tuple(torch.zeros_like(w) for w in case.state.weights)
        case = replace(case, v=torch.zeros_like(case.v), state=StoreState(zeros, zeros, zeros, 0))
        case = replace(case, initial=tuple(torch.zeros_like(w) for w in case.initial))
    case.tracked()
    results = run(execute, case)
    for name, x in (results | gradients(results, case.inputs())).items():
        assert torch.isfinite(x).all(), name


STEP, BOUND, CEILING, FLOOR = 0.5, 1.0, 0.9, 0.02
HELD = STEP * BOUND / (1 - CEILING)  # the docstring's s
TOKENS = 400


def adversary(depth: int, bound: float | None, dtype: torch.dtype, *, refresh_every: int = 16, loud: float = 1e3):
    """Return a case whose keys are all parallel, whose values pull one way, and whose gates are at their limits."""
    case = make_case(WriteRule(refresh_every=refresh_every, write_bound=bound), depth=depth, length=TOKENS)
    ones = torch.ones_like(case.gates.log_step)
    gates = Gates(ones * np.log(STEP), ones * np.log(1 - FLOOR), ones * np.log(CEILING))
    k = torch.zeros_like(case.k)
    k[..., 0] = 1.0
    v = torch.full_like(case.v, loud)
    return replace(case, q=k, k=k, v=v, gates=gates, state=fresh_state(case.initial, batch=2, momentum=True)).to(dtype)


def sizes(execute, case):
    """Return the largest ``|S|`` and ``|M - M_0|`` of any layer and head at any token, and the largest output."""
    state, momentum, change, read = case.state, 0.0, 0.0, 0.0
    for t in range(TOKENS):
        output, state = replace(case.tokens(t, t + 1), state=state).call(execute)
        momentum = max(momentum, *(s.norm(dim=(-2, -1)).max().item() for s in state.momentum))
        deltas = [w - w0 for w, w0 in zip(state.weights, case.initial, strict=True)]
        change = max(change, *(d.norm(dim=(-2, -1)).max().item() for d in deltas))
        read = max(read, output.norm(dim=-1).max().item())
        if not np.isfinite([momentum, change, read]).all():
            return np.inf, np.inf, np.inf
    return momentum, change, read


@both_executions
@pytest.mark.parametrize(("depth", "dtype"), [(1, torch.float32), (2, torch.float64), (3, torch.float32)])
def test_clipped_memory_is_bounded(execute, depth, dtype):
    """The docstring's bounds hold under an adversary, and are nearly reached: they are not loose."""
    case = adversary(depth, BOUND, dtype)
    momentum, change, read = sizes(execute, case)
    assert momentum <= HELD * (1 + 1e-5)
    assert change <= HELD / FLOOR * (1 + 1e-5)
    start = [w.norm(dim=(-2, -1)).max().item() for w in case.initial]
    assert read <= np.prod([w0 + HELD / FLOOR for w0 in start])
    assert momentum > 0.9 * HELD
    assert change > (0.9 if depth == 1 else 0.3) * HELD / FLOOR


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_unclipped_memory_is_not_bounded(depth):
    momentum, change, _ = sizes(memory_chunked, adversary(depth, None, torch.float64))
    assert momentum > 10 * HELD
    assert change > 10 * HELD / FLOOR


@pytest.mark.parametrize("depth", [1, 2])
def test_bound_holds_from_a_larger_start(depth):
    """What is carried in may be larger than the bound; it only shrinks towards it."""
    case = adversary(depth, BOUND, torch.float64)
    large = tuple(100 * HELD * torch.ones_like(s) / s[0, 0].numel() ** 0.5 for s in case.state.momentum)
    case = replace(case, state=case.state._replace(momentum=large))
    momentum, change, _ = sizes(memory_chunked, case)
    assert momentum <= 100 * HELD
    assert change <= 100 * HELD / FLOOR


@both_executions
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_bound_holds_for_huge_weights(execute, depth):
    """Squares of what is clipped overflow single precision, the clip does not."""
    case = adversary(depth, BOUND, torch.float32, loud=1e25)
    huge = tuple(1e6 * w for w in case.initial)
    case = replace(case, initial=huge, state=fresh_state(huge, batch=2, momentum=True)).tokens(0, 64)
    output, state = case.call(execute)
    assert torch.isfinite(output).all()
    for s in state.momentum:
        assert s.norm(dim=(-2, -1)).max() <= HELD * (1 + 1e-5)
    assert state.momentum[-1].norm(dim=(-2, -1)).max() > 0.5 * HELD  # clipped, not dropped


def learn_after_quiet(forget_towards: str, depth: int) -> float:
    """Return what share of the values is missed after 600 quiet tokens and 900 tokens of three pairs to learn."""
    generator = torch.Generator().manual_seed(0)
    initial = [torch.randn(1, 3, 8, generator=generator).double()]
    initial += [torch.randn(1, 8, 8, generator=generator).double() / 3 for _ in range(depth - 1)]
    if depth == 1:
        initial = [w / 3 for w in initial]
    rule = WriteRule(refresh_every=16, forget_towards=forget_towards, write_bound=1.0)
    quiet, lesson = 600, 900
    k = torch.eye(3).double().repeat(500, 1)[None, None]
    v = torch.randn(3, 8, generator=generator).double().repeat(500, 1)[None, None]
    log_step = torch.full((1, 1, quiet + lesson), np.log(0.02)).double()
    log_step[..., :quiet] = -torch.inf
    log_retention = torch.full((1, 1, quiet + lesson), np.log(0.999)).double()
    log_retention[..., :quiet] = np.log(0.9)
    state = fresh_state(initial, batch=1, momentum=False)
    _, state = memory_chunked(k, k, v, Gates(log_step, log_retention), rule, state, initial=initial)
    missed = read_store(state.weights, k[:, :, :3]) - v[:, :, :3]
    return (missed.norm() / v[:, :, :3].norm()).item()


@pytest.mark.parametrize("depth", [2, 3])
def test_forgetting_towards_the_start_never_dies(depth):
    """A deep store that forgot everything towards 0 learns nothing more; one that returns to its start does."""
    assert learn_after_quiet("initial", depth) < 0.3
    assert learn_after_quiet("zero", depth) > 0.99
    assert learn_after_quiet("zero", 1) < 0.3  # a linear store has no such point


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"objective": "l1"}, r"objective must be one of \('l2', 'dot', 'ridge'\), got 'l1'"),
        ({"read_from": "next"}, "read_from must be one of"),
        ({"step": "half"}, "step must be one of"),
        ({"forget_towards": "one"}, "forget_towards must be one of"),
        ({"refresh_every": 0}, "refresh_every must be 1 or more tokens, got 0"),
        ({"write_bound": 0.0}, "write_bound must be positive, or None for unclipped writes, got 0.0"),
        ({"write_bound": float("nan")}, "write_bound must be positive"),
        ({"objective": "ridge"}, "objective='ridge' takes no step: leave .* with write_bound=None"),
        ({"objective": "ridge", "write_bound": None, "refresh_every": 4}, "objective='ridge' takes no step"),
        ({"window": 0}, "window must be 1 or more tokens, got 0"),
        ({"window": 2, "read_from": "decayed"}, "window > 1 is defined for read_from='previous' with step='explicit'"),
        ({"step": "implicit"}, "step='implicit' is defined for objective='l2' with loss_factor=1"),
        ({"step": "implicit", "loss_factor": 1.0, "objective": "dot"}, "step='implicit' is defined"),
    ],
)
def test_rule_refuses(fields, message):
    with pytest.raises(ValueError, match=message):
        WriteRule(**fields)


def test_rule_is_data():
    assert WriteRule() == WriteRule("l2", "previous", "explicit", 2.0, 1, 1, "initial", 1.0)
    with pytest.raises(AttributeError):
        WriteRule().refresh_every = 2


def without_momentum_state(case):
    return {"state": case.state._replace(momentum=None)}


@both_executions
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: {"q": c.q[..., :2]}, r"queries has shape \(2, 2, 9, 2\); expected axis 'k' .* to be 3"),
        (lambda c: {"q": c.q[:, :, 1:]}, "queries has shape .* expected axis 't' .* to be 9"),
        (lambda c: {"k": c.k[0]}, r"keys has shape \(2, 9, 3\); expected 4 axes, \(b, h, t, k\)"),
        (lambda c: {"v": c.v[:1]}, "values has shape .* expected axis 'b' .* to be 2"),
        (lambda c: {"v": c.v[..., :4]}, r"state.weights\[0\] has shape .* expected axis 'v' .* to be 4"),
        (lambda c: {"gates": c.gates._replace(log_step=c.gates.log_step[..., 1:])}, "log_step has shape"),
        (lambda c: {"gates": c.gates._replace(log_retention=c.q)}, "log_retention has shape .* expected 3 axes"),
        (lambda c: {"gates": c.gates._replace(log_momentum=c.q[:, :1, :, 0])}, "log_momentum has shape"),
        (lambda c: {"gates": c.gates._replace(log_momentum=None)}, "gates.log_momentum and state.momentum must be"),
        (without_momentum_state, "gates.log_momentum and state.momentum must be given together"),
        (lambda _: {"initial": None}, "forget_towards='initial' needs the argument initial"),
    ],
)
def test_arguments_refused(execute, change, message):
    case = make_case(WriteRule(), length=9)
    with pytest.raises(ValueError, match=message):
        replace(case, **change(case)).call(execute)


@both_executions
@pytest.mark.parametrize("fields", [{"read_from": "decayed"}, {"step": "implicit", "loss_factor": 1.0}])
def test_deep_stores_refuse_what_is_linear(execute, fields):
    with pytest.raises(ValueError, match="is defined for a store of one layer; this one has 2: use read_from='previous'"):
        make_case(WriteRule(**fields), depth=2, length=9).call(execute)


RIDGE = WriteRule(objective="ridge", write_bound=None)


@both_executions
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: {"gates": c.gates._replace(log_penalty=None)},
            "needs gates.log_penalty and state.sums; begin with fresh_",
        ),
        (lambda c: {"state": c.state._replace(sums=None)}, "needs gates.log_penalty and state.sums"),
        (lambda c: {"state": c.state._replace(sums=c.state.sums[::-1])}, r"state.sums, gram has shape .* expected axis 'v'"),
        (lambda c: {"state": c.state._replace(weights=2 * c.state.weights)}, "defined for a store of one layer without"),
        (lambda _: {"initial": None}, "forget_towards='initial' needs the argument initial"),
    ],
)
def test_a_ridge_refuses(execute, change, message):
    case = make_case(RIDGE, length=9, momentum=False)
    with pytest.raises(ValueError, match=message):
        replace(case, **change(case)).call(execute)


@pytest.mark.parametrize("chunk_size", [0, -3])
def test_chunk_size_refused(chunk_size):
    with pytest.raises(ValueError, match=f"chunk_size must be 1 or more tokens, got {chunk_size}"):
        make_case(WriteRule(), length=9).call(memory_chunked, chunk_size=chunk_size)


@both_executions
def test_initial_is_not_needed_when_nothing_returns_to_it(execute):
    for options, fields in (({"retention": False}, {}), ({}, {"forget_towards": "zero"})):
        case = make_case(WriteRule(**fields), length=9, **options)
        assert_agree(replace(case, initial=None).call(execute)[0], case.call(execute)[0], name="output")


def test_fresh_state():
    initial = [torch.randn(2, 3, 4), torch.randn(2, 4, 5)]
    state = fresh_state(initial, batch=6, momentum=True)
    assert state.position == 0
    for weights, anchor, momentum, w0 in zip(state.weights, state.anchor, state.momentum, initial, strict=True):
        assert torch.equal(weights, w0.expand(6, *w0.shape))
        assert torch.equal(anchor, weights)
        assert torch.equal(momentum, torch.zeros(6, *w0.shape))
    assert fresh_state(initial, batch=1, momentum=False).momentum is None


@both_executions
def test_inputs_are_left_alone(execute):
    case = make_case(WriteRule(refresh_every=5), depth=2, length=20)
    before = {name: x.clone() for name, x in case.inputs().items()}
    case.call(execute)
    assert all(torch.equal(x, before[name]) for name, x in case.inputs().items())


@pytest.mark.parametrize(
    "execute",
    [
        memory_recurrent,
        memory_chunked,
    ],
)
def test_no_graph_when_nothing_asks_for_a_gradient(execute):
    """A state that is carried on must not hold on to every token that it was made from."""
    output, state = make_case(WriteRule(), length=9).call(execute)
    assert not output.requires_grad
    assert not any(x.requires_grad for part in state[:3] for x in part)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_read_store(depth):
    """A read is a plain MLP with SiLU between its layers."""
    case = make_case(WriteRule(), depth=depth)
    found = read_store(case.state.weights, case.q).numpy()
    for b, h in np.ndindex(2, 2):
        hidden = case.q[b, h].numpy()
        for layer, weights in enumerate(case.state.weights):
            hidden = (hidden if layer == 0 else hidden / (1 + np.exp(-hidden))) @ weights[b, h].numpy()
        np.testing.assert_allclose(found[b, h], hidden, atol=1e-12)
