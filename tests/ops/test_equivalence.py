"""The fast form equals the token loop in outputs, state and every gradient; any cut of a sequence equals the whole.

The reference is run once for a rule and a length, and every chunk size is held against it.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest
import torch
from ops.cases import BOUND, Case, assert_bites, fold, gradients, make_case, named_state, run
from tolerances import assert_agree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from titans_ts.ops import Gates, WriteRule, fresh_state, memory_chunked, memory_recurrent

CHUNK_SIZES = (1, 7, 16, 64)
EXECUTIONS = (memory_recurrent, memory_chunked)


def grid(
    depths: tuple[int, ...], refreshes: tuple[int, ...] = (1, 5, 16, 64), *, norm: bool = False, **fields: object
) -> Iterator:
    """Yield rules and options of :func:`make_case`: momentum or not, clipped or not, each forgetting, each refresh."""
    forgettings = (None, "initial", "zero")
    for depth, momentum, bound, forgetting, refresh in product(depths, (True, False), (BOUND, None), forgettings, refreshes):
        named = {"refresh_every": refresh, "write_bound": bound, "forget_towards": forgetting or "initial"}
        options = {"depth": depth, "momentum": momentum, "retention": forgetting is not None, "norm": norm}
        words = ["momentum" if momentum else "plain", "clipped" if bound else "free", f"forget_{forgetting}"]
        words += ["normed"] if norm else []
        name = "-".join([f"depth{depth}", *words, f"refresh{refresh}", *map(str, fields.values())])
        yield pytest.param(WriteRule(**named, **fields), options, id=name)


GRID = list(grid((1, 2, 3, 4)))
QUICKER = [*grid((1, 2, 3)), *grid((4,), (5,))]
"""The whole grid is for slow tests."""
OTHER_RULES = [
    *grid((1,), (1, 5, 16), read_from="decayed"),
    *grid((1,), (1, 16), step="implicit", loss_factor=1.0),
    *grid((1,), (1, 16), step="implicit", loss_factor=1.0, read_from="decayed"),
    *grid((1,), (1, 16), objective="dot"),
    *grid((1,), (5,), objective="dot", read_from="decayed"),
    *grid((1,), (5,), loss_factor=1.0),
    *grid((2,), (5,), objective="dot"),
    *grid((1, 2), (5, 16), norm=True),
    *grid((1, 2), (1, 5, 16), damping=True),
    *grid((1,), (5,), damping=True, read_from="decayed"),
]
LONG = [  # a subset for gradients over 257 tokens
    case for i, case in enumerate(GRID) if i % 17 == 0 and case.values[0].refresh_every > 1
]
SOME = [
    pytest.param(
        WriteRule(refresh_every=refresh, write_bound=bound, read_from=read_from, damping=damping),
        {"depth": depth, "momentum": momentum},
        id=f"depth{depth}-{'momentum' if momentum else 'plain'}-{'clipped' if bound else 'free'}-{read_from}-{refresh}"
        + "-damped" * damping,
    )
    for damping in (False, True)
    for depth, momentum, bound, read_from, refresh in [
        (1, True, BOUND, "previous", 16),
        (1, True, None, "previous", 5),
        (1, False, BOUND, "decayed", 16),
        (1, True, None, "decayed", 1),
        (2, True, BOUND, "previous", 16),
        (3, False, None, "previous", 5),
    ]
]
NORMED = pytest.param(
    WriteRule(refresh_every=5, write_bound=None), {"depth": 2, "momentum": False, "norm": True}, id="normed"
)


def assert_same(found: dict[str, torch.Tensor], true: dict[str, torch.Tensor], where: str) -> None:
    assert found.keys() == true.keys()
    for name, x in true.items():
        assert_agree(found[name], x, name=f"{name}, {where}")


def hold_outputs(case: Case) -> None:
    """Hold outputs, surprise and final state to the reference for every chunk size."""
    with torch.no_grad():
        true = run(memory_recurrent, case)
        if case.rule.write_bound is not None:
            assert_bites(true["surprise"], case.rule.write_bound)
        for chunk_size in CHUNK_SIZES:
            assert_same(run(memory_chunked, case, chunk_size=chunk_size), true, f"chunk_size={chunk_size}")


def hold_gradients(case: Case) -> None:
    """Hold outputs, final state and the gradient of every input to the reference for every chunk size."""
    inputs = case.tracked().inputs()
    true = run(memory_recurrent, case)
    true_gradients = gradients(true, inputs)
    without = {name.partition("[")[0] for name, x in true_gradients.items() if not x.any()}
    assert without <= unused(case), f"the test is blind: no gradient reaches {without - unused(case)}"
    for chunk_size in CHUNK_SIZES:
        found = run(memory_chunked, case, chunk_size=chunk_size)
        assert_same(found, true, f"chunk_size={chunk_size}")
        assert_same(gradients(found, inputs), true_gradients, f"gradient, chunk_size={chunk_size}")


def unused(case: Case) -> set[str]:
    """Return the inputs that this case never reads."""
    anchored = case.state.position % case.rule.refresh_every and case.rule.objective == "l2"
    returns = case.gates.log_retention is not None and case.rule.forget_towards == "initial"
    crowded = case.state.position % case.rule.refresh_every > 0
    unread = {"state.anchor": anchored, "initial": returns, "state.crowd": crowded}
    return {name for name, used in unread.items() if not used}


@pytest.mark.parametrize(("rule", "options"), QUICKER)
def test_outputs_and_state(rule, options):
    hold_outputs(make_case(rule, length=257, position=3, **options))


@pytest.mark.parametrize("length", [1, 63])
@pytest.mark.parametrize(("rule", "options"), QUICKER)
def test_gradients(rule, options, length):
    hold_gradients(make_case(rule, length=length, position=3, **options))


@pytest.mark.parametrize(("rule", "options"), OTHER_RULES)
def test_gradients_of_other_rules(rule, options):
    hold_gradients(make_case(rule, length=47, position=3, **options))


@pytest.mark.parametrize(("rule", "options"), LONG)
def test_gradients_over_257_tokens(rule, options):
    hold_gradients(make_case(rule, length=257, position=0, **options))


@pytest.mark.slow
@pytest.mark.parametrize("position", [0, 3])
@pytest.mark.parametrize(("rule", "options"), [*GRID, *OTHER_RULES])
def test_gradients_over_257_tokens_everywhere(rule, options, position):
    hold_gradients(make_case(rule, length=257, position=position, **options))


@pytest.mark.parametrize("position", [0, 1, 4, 15, 16, 17, 31, 1000])
@pytest.mark.parametrize(("rule", "options"), SOME)
def test_carried_position(rule, options, position):
    hold_gradients(make_case(rule, length=21, position=position, **options))


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 32])
@pytest.mark.parametrize("execute", EXECUTIONS)
def test_state_after_a_call(execute, length):
    """The anchor that is carried on is the memory as it was when the last refresh began."""
    case = make_case(WriteRule(refresh_every=16), length=length)
    output, state = case.call(execute)
    _, begun = case.tokens(0, max(length - 1, 0) // 16 * 16).call(execute)
    assert output.shape == (2, 2, length, 5)
    assert state.position == length
    assert_agree(state.anchor[0], begun.weights[0] if length else case.state.anchor[0], name="anchor")


@pytest.mark.parametrize("forget_towards", ["initial", "zero"])
@pytest.mark.parametrize("depth", [1, 2])
def test_gradient_of_a_learned_start(depth, forget_towards):
    """The start is at once the first memory, the first anchor and where forgetting leads."""
    rule = WriteRule(refresh_every=5, forget_towards=forget_towards)
    case = make_case(rule, depth=depth, length=23)
    case = replace(case, state=fresh_state(case.initial, batch=2, momentum=True))
    start = {f"initial[{i}]": w.requires_grad_() for i, w in enumerate(case.initial)}
    case = replace(case, state=fresh_state(case.initial, batch=2, momentum=True))
    true = gradients(run(memory_recurrent, case), start)
    assert all(x.any() for x in true.values())
    for chunk_size in CHUNK_SIZES:
        assert_same(gradients(run(memory_chunked, case, chunk_size=chunk_size), start), true, f"{chunk_size=}")


@pytest.mark.parametrize("execute", EXECUTIONS)
@pytest.mark.parametrize(("rule", "options"), SOME)
def test_gradient_of_one_input_alone(rule, options, execute):
    """What else asks for a gradient changes neither the answer nor the gradient."""
    case = make_case(rule, length=11, position=3, **options)
    plain = run(execute, case)
    for name, x in case.inputs().items():
        x.requires_grad_()
        results = run(execute, case)
        alone = gradients(results, {name: x})[name] if results["output"].requires_grad else torch.zeros_like(x)
        x.requires_grad_(False)
        both = gradients(run(execute, case.tracked()), case.inputs())[name]
        for other in case.inputs().values():
            other.requires_grad_(False)
        assert_same({key: value.detach() for key, value in results.items()}, plain, name)
        assert_agree(alone, both, name=name)


@pytest.mark.parametrize("execute", EXECUTIONS)
@pytest.mark.parametrize(("rule", "options"), [*SOME, NORMED])
def test_any_cut_equals_the_whole(rule, options, execute):
    case = make_case(rule, length=45, position=5, **options)
    whole = run(execute, case)
    if rule.write_bound is not None:
        assert_bites(whole["surprise"], rule.write_bound)
    for cut in range(0, 46, 1 if execute is memory_chunked else 5):
        assert_same(fold(execute, case, [cut]), whole, f"{cut=}")


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("rule", "options"), [*SOME, NORMED])
def test_many_cuts_equal_the_whole(rule, options, seed):
    """Cuts fall anywhere, some on top of each other, and no two calls need the same execution or chunk size."""
    generator = torch.Generator().manual_seed(seed)
    case = make_case(rule, length=90, position=seed, seed=seed, **options)
    whole = run(memory_chunked, case)
    cuts = torch.randint(0, 91, (9,), generator=generator).sort().values.tolist()
    chunk_sizes = iter(torch.randint(1, 40, (10,), generator=generator).tolist())

    def execute(*arguments, **how):
        size = next(chunk_sizes)
        return memory_recurrent(*arguments, **how) if size < 10 else memory_chunked(*arguments, chunk_size=size, **how)

    assert_same(fold(execute, case, cuts), whole, f"{cuts=}")


@pytest.mark.parametrize("execute", EXECUTIONS)
@pytest.mark.parametrize(("rule", "options"), [*SOME, NORMED])
def test_gradients_pass_a_cut(rule, options, execute):
    case = make_case(rule, length=45, position=5, **options).tracked()
    whole = gradients(run(execute, case), case.inputs())
    for cuts in ([1], [19], [27], [6, 20, 43]):
        assert_same(gradients(fold(execute, case, cuts), case.inputs()), whole, f"{cuts=}")


@pytest.mark.parametrize("execute", EXECUTIONS)
@pytest.mark.parametrize(("rule", "options"), SOME)
def test_neighbours_in_the_batch_change_nothing(rule, options, execute):
    """One sequence alone, and beside a loud one that is clipped throughout."""
    case = make_case(rule, length=45, **options)
    loud = torch.tensor([1.0, 30.0], dtype=torch.float64)[:, None, None, None]
    case = replace(case, v=case.v * loud)
    both, alone = run(execute, case), run(execute, case.sequence(0))
    for name, x in alone.items():
        beside = both[name] if name == "position" else both[name].narrow(1 if name == "surprise" else 0, 0, 1)
        assert_agree(beside, x, name=name)


@pytest.mark.parametrize("execute", EXECUTIONS)
@pytest.mark.parametrize(("rule", "options"), SOME)
def test_the_future_changes_nothing(rule, options, execute):
    case = make_case(rule, length=45, position=5, **options)
    later = torch.arange(45)[:, None] >= 20
    noise = torch.where(later, 1.0, 0.0).double()
    changed = replace(case, q=case.q + noise, k=case.k + noise, v=case.v - noise)
    output, other = run(execute, case)["output"], run(execute, changed)["output"]
    assert_agree(other[:, :, :20], output[:, :, :20], name="past outputs")
    assert (other[:, :, 20:] - output[:, :, 20:]).abs().amax((0, 1, 3)).min() > 1e-3


@pytest.mark.parametrize("execute", EXECUTIONS)
def test_observing_changes_nothing(execute):
    case = make_case(WriteRule(refresh_every=5), depth=2)
    output, state = case.call(execute)
    observed = run(execute, case)
    assert torch.equal(output, observed["output"])
    assert all(torch.equal(x, observed[name]) for name, x in named_state(state).items())
    assert observed["surprise"].shape == (2, 2, 2, 63)


@pytest.mark.parametrize("chunk_size", CHUNK_SIZES)
@pytest.mark.parametrize(("rule", "options"), SOME)
def test_float32(rule, options, chunk_size):
    """Single precision stays within its tolerance of the reference in double precision."""
    case = make_case(rule, length=257, position=3, **options)
    true = run(memory_recurrent, case)
    found = run(memory_chunked, case.to(torch.float32), chunk_size=chunk_size)
    assert found["output"].dtype == torch.float32
    position = found.pop("position"), true.pop("position")
    assert position[0] == position[1]
    assert all(x.dtype == torch.float32 for x in found.values())
    assert_same(found, true, f"{chunk_size=}")


class Recorder(TorchDispatchMode):
    """Count operations, backward passes included, and the entries of the largest tensor that any of them makes."""

    def __init__(self):
        super().__init__()
        self.entries = 0
        self.operations = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        self.operations += 1
        self.entries = max([self.entries, *(x.numel() for x in tree_leaves(made) if isinstance(x, torch.Tensor))])
        return made


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("refresh_every", [1, 16, 64])
def test_no_memory_is_made_for_every_token(depth, refresh_every):
    """Neither forward nor backward makes anything of the size of tokens times memory, for one chunk of tokens even."""
    heads, length, width, chunk_size = 2, 128, 32, 16
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 1, heads, length, width).unbind()
    gates = Gates(*torch.full((3, 1, heads, length), -3.0).unbind())
    initial = [(torch.randn(heads, width, width) / 4).requires_grad_() for _ in range(depth)]
    state = fresh_state(initial, batch=1, momentum=True)
    rule = WriteRule(refresh_every=refresh_every)
    memory = heads * width * width
    with Recorder() as recorded:
        output, _ = memory_chunked(q, k, v, gates, rule, state, initial=initial, chunk_size=chunk_size)
        forward = recorded.operations
        output.square().sum().backward()
        assert recorded.operations > 1.5 * forward, "the backward pass was not recorded"
        assert recorded.entries <= 1.1 * heads * length * width < chunk_size * memory / 3
        torch.einsum("bhtk,bhtv->bhtkv", k, v)
    assert recorded.entries == length * memory, "the recorder is blind"


@pytest.mark.parametrize("bound", [None, 1e3])
@pytest.mark.parametrize("refresh_every", [1, 5])
def test_a_linear_store_takes_a_chunk_at_once(refresh_every, bound):
    """Several refreshes are one solve while no write is clipped, and not a walk over tokens."""
    case = make_case(WriteRule(refresh_every=refresh_every, write_bound=bound), length=60)

    def operations(chunk_size: int) -> int:
        with Recorder() as recorded:
            case.call(memory_chunked, chunk_size=chunk_size)
        return recorded.operations

    assert operations(60) < operations(refresh_every) / 2


def test_a_deep_store_takes_a_refresh_at_once():
    case = make_case(WriteRule(refresh_every=20), depth=2, length=60)
    with Recorder() as at_once:
        case.call(memory_chunked)
    with Recorder() as by_token:
        case.call(memory_chunked, chunk_size=1)
    assert at_once.operations < by_token.operations / 8
