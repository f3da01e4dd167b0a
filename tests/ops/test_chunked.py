"""The fast form equals the token loop in outputs, state and every gradient; any cut of a sequence equals the whole.

The reference is run once for a case, and every chunk size is held against it. By default cases are a pairwise cover: every
two settings of two factors occur together in some case. The full product is for slow tests.
"""

from dataclasses import replace
from itertools import product

import pytest
import torch
from ops.cases import BOUND, Case, assert_bites, assert_covers, covering_rows, fold, gradients, make_case, named_state, run
from tolerances import assert_agree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from titans_ts.ops import Gates, WriteRule, fresh_state, memory_chunked, memory_recurrent

CHUNK_SIZES = (7, 16, 64)
EXECUTIONS = (memory_recurrent, memory_chunked)

TITANS = {
    "depth": (1, 2, 3, 4),
    "momentum": (True, False),
    "bound": (BOUND, None),
    "forgetting": ("initial", None, "zero"),
    "refresh": (1, 5, 16, 64),
    "length": (1, 63, 257),
    "position": (3, 0),
}
"""The rule that Titans and TTT share, and where a call begins and ends."""

KINDS = {
    "decayed": (1, {"read_from": "decayed"}),
    "implicit": (1, {"step": "implicit", "loss_factor": 1.0}),
    "implicit decayed": (1, {"step": "implicit", "loss_factor": 1.0, "read_from": "decayed"}),
    "dot": (1, {"objective": "dot"}),
    "dot deep": (2, {"objective": "dot"}),
    "dot decayed": (1, {"objective": "dot", "read_from": "decayed"}),
    "half": (1, {"loss_factor": 1.0}),
    "normed": (1, {}),
    "normed deep": (2, {}),
    "damped": (1, {"damping": True}),
    "damped deep": (2, {"damping": True}),
    "damped decayed": (1, {"damping": True, "read_from": "decayed"}),
}
"""The other rules: depth of the store, and fields of the rule."""

OTHERS = {
    "kind": tuple(KINDS),
    **{name: TITANS[name] for name in ("momentum", "bound", "forgetting")},
    "refresh": (1, 5, 16),
}


def titans_case(depth, momentum, bound, forgetting, refresh, length, position) -> Case:
    rule = WriteRule(refresh_every=refresh, write_bound=bound, forget_towards=forgetting or "initial")
    retention = forgetting is not None
    return make_case(rule, depth=depth, momentum=momentum, retention=retention, length=length, position=position)


def other_case(kind, momentum, bound, forgetting, refresh, *, length=47, position=3) -> Case:
    depth, fields = KINDS[kind]
    rule = WriteRule(refresh_every=refresh, write_bound=bound, forget_towards=forgetting or "initial", **fields)
    options = {"retention": forgetting is not None, "norm": kind.startswith("normed")}
    return make_case(rule, depth=depth, momentum=momentum, length=length, position=position, **options)


def name_of(row: dict[str, object]) -> str:
    return "-".join(f"{name}_{level}" for name, level in row.items())


def rows_of(rows: list[dict[str, object]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", rows, ids=name_of)


SOME = [
    pytest.param(
        WriteRule(refresh_every=refresh, write_bound=bound, read_from=read_from, damping=damping),
        {"depth": depth, "momentum": momentum},
        id=f"depth{depth}-{'momentum' if momentum else 'plain'}-{'clipped' if bound else 'free'}-{read_from}-{refresh}"
        + "-damped" * damping,
    )
    for depth, momentum, bound, read_from, refresh, damping in [
        (1, True, BOUND, "previous", 16, False),
        (1, True, None, "previous", 5, False),
        (1, False, BOUND, "decayed", 16, False),
        (1, True, None, "decayed", 1, False),
        (2, True, BOUND, "previous", 16, False),
        (3, False, None, "previous", 5, False),
        (1, True, BOUND, "decayed", 16, True),
        (2, True, BOUND, "previous", 5, True),
    ]
]
RIDGE = WriteRule(objective="ridge", write_bound=None)
SOME += [
    pytest.param(RIDGE, {"depth": 1, "momentum": False}, id="ridge"),
    pytest.param(WriteRule(window=3, refresh_every=5, write_bound=BOUND), {"depth": 1, "momentum": True}, id="window"),
]
NORMED = pytest.param(
    WriteRule(refresh_every=5, write_bound=None), {"depth": 2, "momentum": False, "norm": True}, id="normed"
)


def assert_same(found: dict[str, torch.Tensor], true: dict[str, torch.Tensor], where: str) -> None:
    assert found.keys() == true.keys()
    for name, x in true.items():
        assert_agree(found[name], x, name=f"{name}, {where}")


def hold_gradients(case: Case, *, chunk_sizes: tuple[int, ...] = CHUNK_SIZES) -> None:
    """Hold outputs, surprise, final state and the gradient of every input to the reference for every chunk size."""
    inputs = case.tracked().inputs()
    true = run(memory_recurrent, case)
    true_gradients = gradients(true, inputs)
    without = {name.partition("[")[0] for name, x in true_gradients.items() if not x.any()}
    assert without <= unused(case), f"the test is blind: no gradient reaches {without - unused(case)}"
    for chunk_size in chunk_sizes:
        found = run(memory_chunked, case, chunk_size=chunk_size)
        assert_same(found, true, f"chunk_size={chunk_size}")
        assert_same(gradients(found, inputs), true_gradients, f"gradient, chunk_size={chunk_size}")
        with torch.no_grad():  # another way through: the reads wait for the writes
            found = run(memory_chunked, case, chunk_size=chunk_size)
            assert_same(found, true, f"no gradients, chunk_size={chunk_size}")


def unused(case: Case) -> set[str]:
    """Return the inputs that this case never reads."""
    anchored = case.state.position % case.rule.refresh_every and case.rule.objective == "l2"
    ridge = case.rule.objective == "ridge"  # whose weights are those that its sums give
    returns = (ridge or case.gates.log_retention is not None) and case.rule.forget_towards == "initial"
    crowded = case.state.position % case.rule.refresh_every > 0
    unread = {"state.anchor": anchored, "initial": returns, "state.crowd": crowded, "state.weights": not ridge}
    return {name for name, used in unread.items() if not used}


@pytest.mark.parametrize("levels", [TITANS, OTHERS], ids=["titans", "others"])
def test_every_pair_of_settings_occurs(levels):
    rows = covering_rows(**levels)
    assert_covers(rows, levels)
    assert len(rows) <= 40


@rows_of(covering_rows(**TITANS))
def test_titans(row):
    case = titans_case(**row)
    hold_gradients(case)
    if row["bound"] and row["length"] == 257:
        assert_bites(run(memory_recurrent, case)["surprise"], row["bound"])


@rows_of(covering_rows(**OTHERS))
def test_other_rules(row):
    hold_gradients(other_case(**row))


@pytest.mark.parametrize(("rule", "options"), SOME[:6])
def test_chunks_of_one_token(rule, options):
    hold_gradients(make_case(rule, length=47, position=3, **options), chunk_sizes=(1,))


@pytest.mark.parametrize("forget_towards", ["initial", "zero"])
def test_a_ridge_that_forgets_nothing(forget_towards):
    hold_gradients(make_case(replace(RIDGE, forget_towards=forget_towards), length=37, momentum=False, retention=False))


@pytest.mark.parametrize(
    ("fields", "depth"),
    [
        ({"window": 9, "refresh_every": 5, "damping": True}, 2),  # wider than a refresh
        ({"window": 2, "refresh_every": 1}, 1),
        ({"window": 3, "refresh_every": 16, "objective": "dot"}, 1),
    ],
)
def test_windows(fields, depth):
    case = make_case(WriteRule(write_bound=BOUND, **fields), depth=depth, length=21, position=3)
    hold_gradients(case, chunk_sizes=(3, 64))
    whole = run(memory_chunked, case)
    for cuts in ([1], [4, 4, 5, 17]):
        assert_same(fold(memory_chunked, case, cuts), whole, f"{cuts=}")


@pytest.mark.slow
@rows_of([dict(zip(TITANS, row, strict=False)) for row in product(*list(TITANS.values())[:5])])
def test_titans_everywhere(row):
    for length, position in ((1, 3), (63, 3), (257, 3), (257, 0)):
        hold_gradients(titans_case(**row, length=length, position=position), chunk_sizes=(1, *CHUNK_SIZES))


@pytest.mark.slow
@rows_of([dict(zip(OTHERS, row, strict=True)) for row in product(*OTHERS.values())])
def test_other_rules_everywhere(row):
    wild = row["kind"] == "normed deep" and row["bound"] is None  # unclipped, gradients of 1e4 multiply a bit of rounding
    for position in TITANS["position"]:
        hold_gradients(other_case(**row, length=63 if wild else 257, position=position), chunk_sizes=(1, *CHUNK_SIZES))


POSITIONS = (0, 1, 4, 15, 16, 17, 31, 1000)


@pytest.mark.parametrize(("rule", "options"), SOME)
def test_carried_position(rule, options):
    first = [case.values for case in SOME].index((rule, options))
    for step in (0, 1, 3):  # every rule three of them, every position three rules
        position = POSITIONS[(first + step) % len(POSITIONS)]
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
    for chunk_size in (1, *CHUNK_SIZES):
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
    for cut in range(0, 46, 2 if execute is memory_chunked else 9):
        assert_same(fold(execute, case, [cut]), whole, f"{cut=}")


@pytest.mark.parametrize(("rule", "options"), [*SOME, NORMED])
def test_many_cuts_equal_the_whole(rule, options):
    """Cuts fall anywhere, some on top of each other, and no two calls need the same execution or chunk size."""
    for seed in range(3):
        hold_many_cuts(make_case(rule, length=90, position=seed, seed=seed, **options), seed)


def hold_many_cuts(case: Case, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
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


@pytest.mark.parametrize(("rule", "options"), SOME)
def test_float32(rule, options):
    """Single precision stays within its tolerance of the reference in double precision."""
    case = make_case(rule, length=257, position=3, **options)
    true = run(memory_recurrent, case)
    position = true.pop("position")
    for chunk_size in (7, 64):
        found = run(memory_chunked, case.to(torch.float32), chunk_size=chunk_size)
        assert found.pop("position") == position
        assert all(x.dtype == (torch.float64 if name.startswith("sums") else torch.float32) for name, x in found.items())
        assert_same({name: x.float() for name, x in found.items()}, true, f"{chunk_size=}")


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


@pytest.mark.parametrize(("depth", "refresh_every"), [(1, 1), (1, 64), (2, 1), (2, 16), (3, 16), (3, 64)])
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
