"""Damaged files of every kind: refused by their name in the library's own words, or what they say is what was saved.

Bytes are damaged as disks and copies do it; no digest fits them then, and what is accepted must be what was written. Or a
file is written anew with another meaning and the right digest: what is accepted then must be taken over as it stands there,
and can be asked. Nothing crashes, hangs, or takes memory beyond all measure. Every case is drawn by its own number.
"""

import copy
import random
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from frozen.make_frozen import ASKED, LATER_LONG, LONG, MANY, MODELS, STATE, path_of, pieces, waves, windows
from fuzz.damage import BYTES, rewritten
from fuzz.watch import Outcome, depths, watched
from series.training_cases import config_of, make_run

from titans_ts import Checkpoint, MemoryState, MemoryStore, TitansForecaster, load
from titans_ts.files.facts import same
from titans_ts.files.tensors import read_tensors, write_tensors
from titans_ts.frames.faults import Faults
from titans_ts.series.state import ReadingLog

CHUNK = 25
"""Cases of one test."""
MORE_MEMORY = 3 * 2**30
"""Bytes that a case may ask for beyond what the tests hold."""


def chunks(quick: int, slow: int) -> list[Any]:
    """Return numbers of chunks: some are run by default, the rest with ``-m slow``."""
    return [pytest.param(i, marks=[] if i < quick else [pytest.mark.slow]) for i in range(slow)]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return small models of every kind, as this version writes them."""
    folder = tmp_path_factory.mktemp("models")
    for path in sorted(MODELS.glob("*.titans")):
        load(path).save(folder / path.name)
    return sorted(folder.iterdir())


@pytest.fixture(autouse=True)
def _bounded_memory():
    """Let what asks for memory beyond all measure fail, and not the machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MORE_MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def refused(outcome: Outcome, *names: str) -> bool:
    """Tell whether a call was refused; fail unless it was in the library's own words, with one of the names."""
    if not outcome.refused:
        return False
    why = depths(outcome.error, names)
    if why is not None:
        raise AssertionError(f"{why}: {type(outcome.error).__name__}: {outcome.error}") from outcome.error
    return True


def damaged_bytes(content: bytes, others: list[Path], chance: random.Random) -> tuple[bytes, str]:
    """Return damaged content that is not what it was, and how it was damaged."""
    how = chance.choice(BYTES)
    other = chance.choice(others).read_bytes()
    found = how(content, other, chance)
    while found in (content, other):
        how = BYTES[0]
        found = how(content, other, chance)
    return found, how.__name__


def assert_same_content(found: Path, true: Path) -> None:
    """Fail unless a file that was written again says all that another says."""
    (tensors, header), (true_tensors, true_header) = read_tensors(found), read_tensors(true)
    assert same(true_header, header), "the header was not taken over"
    assert tensors.keys() >= true_tensors.keys()
    for name, x in true_tensors.items():
        assert torch.equal(tensors[name].nan_to_num(7), x.nan_to_num(7)), name


# --- models -----------------------------------------------------------------------------------------------------------

TABLE, PIECES = windows(4, seed=5)[0], pieces(4, seed=5)[0]


def ask(model: Any) -> Any:
    """Ask a model of any kind something small."""
    if isinstance(model, TitansForecaster):
        return model.predict()
    if hasattr(model, "n_channels_"):
        X = TABLE if model.n_channels_ == 1 else PIECES
    else:
        X = ASKED[:2]
    for question in ("decision_function", "predict", "score_samples", "transform"):
        if hasattr(model, question):
            return getattr(model, question)(X)
    raise AssertionError(type(model).__name__)


def each(chunk: int, kind: str, case: Callable[[random.Random], str]) -> None:
    """Run the cases of a chunk; tell of the first that fails by its number."""
    for i in range(CHUNK * chunk, CHUNK * (chunk + 1)):
        chance = random.Random(f"{kind} {i}")
        try:
            case(chance)
        except BaseException as error:
            error.add_note(f"case {i} of {kind!r}: {getattr(case, 'done', '')}")
            raise


@pytest.mark.parametrize("chunk", chunks(quick=12, slow=48))
def test_damaged_models(chunk, models, tmp_path):
    path = tmp_path / "a.titans"

    def case(chance):
        source = chance.choice(models)
        content, how = damaged_bytes(source.read_bytes(), models, chance)
        case.done = f"{source.name}, {how}"
        path.write_bytes(content)
        outcome = watched(lambda: load(path))
        if not refused(outcome, "a.titans"):
            (tensors, header), (true_tensors, true_header) = read_tensors(path), read_tensors(source)
            assert header == true_header
            assert all(torch.equal(tensors[name].nan_to_num(7), x.nan_to_num(7)) for name, x in true_tensors.items())

    each(chunk, "models", case)


@pytest.mark.parametrize("chunk", chunks(quick=12, slow=48))
@pytest.mark.filterwarnings("ignore")
def test_models_with_another_meaning(chunk, models, tmp_path):
    path, again = tmp_path / "a.titans", tmp_path / "b.titans"

    def case(chance):
        source = chance.choice(models)
        case.done = source.name
        case.done = f"{source.name}, {rewritten(source, path, chance)}"
        outcome = watched(lambda: load(path))
        if refused(outcome, "a.titans"):
            return
        outcome.answer.save(again)
        assert_same_content(again, path)
        answers = watched(lambda: ask(outcome.answer))
        refused(answers, "X", "future", "forget")

    each(chunk, "meanings", case)


# --- memories ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forecaster():
    """Return a forecaster of many series, whose memory STATE is of."""
    return load(path_of(LONG))


@pytest.fixture(scope="module")
def states(forecaster, tmp_path_factory):
    """Return memories in files: one kept long ago, and those of every series."""
    folder = tmp_path_factory.mktemp("states")
    for i, state in enumerate([MemoryState.load(STATE), *forecaster.state_.values()]):
        state.save(folder / f"{i}.state")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("chunk", chunks(quick=6, slow=24))
def test_damaged_memories(chunk, states, tmp_path):
    path = tmp_path / "a.state"

    def case(chance):
        source = chance.choice(states)
        content, how = damaged_bytes(source.read_bytes(), states, chance)
        case.done = f"{source.name}, {how}"
        path.write_bytes(content)
        outcome = watched(lambda: MemoryState.load(path))
        if not refused(outcome, "a.state"):
            assert_same_memory(outcome.answer, MemoryState.load(source))

    each(chunk, "states", case)


@pytest.mark.parametrize("chunk", chunks(quick=6, slow=24))
@pytest.mark.filterwarnings("ignore")
def test_memories_with_another_meaning(chunk, forecaster, states, tmp_path):
    """What is remembered is what was given, and can be read on from; what is refused changes nothing."""
    path = tmp_path / "a.state"

    def case(chance):
        source = chance.choice(states)
        case.done = f"{source.name}, {rewritten(source, path, chance)}"
        outcome = watched(lambda: MemoryState.load(path))
        if refused(outcome, "a.state"):
            return
        state, before = outcome.answer, forecaster.state_
        remembered = watched(lambda: forecaster.remember(state))
        try:
            if refused(remembered, "states"):
                for name, kept in forecaster.state_.items():
                    assert_same_memory(kept, before[name])
                return
            assert_same_memory(forecaster.state_[state.id], state)
            refused(watched(forecaster.predict), "X", "forget")
        finally:
            forecaster.forget().remember(before)
            for name in [name for name in forecaster.states_ if name not in before]:
                del forecaster.states_[name]

    each(chunk, "memories", case)


def assert_same_memory(found: MemoryState, true: MemoryState) -> None:
    """Fail unless two memories hold the same."""
    assert (found.id, found.n_seen, found.last_time, found.model) == (true.id, true.n_seen, true.last_time, true.model)
    assert found.tensors.keys() == true.tensors.keys()
    for name, x in true.tensors.items():
        assert torch.equal(found.tensors[name].nan_to_num(7), x.nan_to_num(7)), name


# --- what was interrupted -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return checkpoints of a run of training after a step of each phase."""
    folder = tmp_path_factory.mktemp("runs")
    for phase in ("memory", "recollection"):
        path = folder / f"{phase}.run"

        def keep(run, report, phase=phase, path=path):
            if (report.phase, report.step) == (phase, 3):
                Checkpoint(path, every=3)(run, report)

        make_run(config_of(recollection=8), callbacks=[keep]).run()
    return sorted(folder.iterdir())


def taken_up(path: Path) -> Any:
    """Return a run as it is when a checkpoint was taken up."""
    run = make_run(config_of(recollection=8), network_seed=1)
    Checkpoint(path).resume(run)
    return run


@pytest.mark.parametrize("chunk", chunks(quick=2, slow=40))
def test_damaged_checkpoints(chunk, runs, tmp_path):
    path = tmp_path / "a.run"

    def case(chance):
        source = chance.choice(runs)
        content, how = damaged_bytes(source.read_bytes(), runs, chance)
        case.done = f"{source.name}, {how}"
        path.write_bytes(content)
        if not refused(watched(lambda: taken_up(path)), "a.run"):
            assert_same_content(path, source)

    each(chunk, "checkpoints", case)


@pytest.mark.parametrize("chunk", chunks(quick=2, slow=40))
@pytest.mark.filterwarnings("ignore")
def test_checkpoints_with_another_meaning(chunk, runs, tmp_path):
    path, again = tmp_path / "a.run", tmp_path / "b.run"

    def case(chance):
        source = chance.choice(runs)
        case.done = source.name
        case.done = f"{source.name}, {rewritten(source, path, chance)}"
        outcome = watched(lambda: taken_up(path))
        if refused(outcome, "a.run"):
            return
        tensors, facts = outcome.answer.kept()
        write_tensors(again, tensors, {"checkpoint": facts})
        assert_same_content(again, path)

    each(chunk, "runs", case)


@pytest.fixture(scope="module")
def logs(forecaster, tmp_path_factory):
    """Return logs of readings that ended early, and late."""
    folder = tmp_path_factory.mktemp("logs")
    for rows in (2, 15):
        model = copy.deepcopy(forecaster)
        model.update(iter([LATER_LONG[:rows]]), checkpoint=folder / f"{rows}.log")
    return sorted(folder.iterdir())


def log_of(path: Path, forecaster: TitansForecaster) -> ReadingLog:
    return ReadingLog(path, forecaster.reader_, forecaster.states_)


@pytest.mark.parametrize("chunk", chunks(quick=2, slow=40))
def test_damaged_logs_of_a_reading(chunk, forecaster, logs, tmp_path):
    path = tmp_path / "a.log"

    def case(chance):
        source = chance.choice(logs)
        content, how = damaged_bytes(source.read_bytes(), logs, chance)
        case.done = f"{source.name}, {how}"
        path.write_bytes(content)
        if not refused(watched(lambda: log_of(path, forecaster).resume(Faults())), "a.log"):
            assert_same_content(path, source)

    each(chunk, "damaged logs", case)


@pytest.mark.parametrize("chunk", chunks(quick=2, slow=40))
@pytest.mark.filterwarnings("ignore")
def test_logs_of_a_reading_with_another_meaning(chunk, forecaster, logs, tmp_path):
    path, again = tmp_path / "a.log", tmp_path / "b.log"

    def case(chance):
        source, faults = chance.choice(logs), Faults()
        case.done = source.name
        case.done = f"{source.name}, {rewritten(source, path, chance)}"
        outcome = watched(lambda: log_of(path, forecaster).resume(faults))
        if refused(outcome, "a.log"):
            return
        log_of(again, forecaster).write(*outcome.answer, faults)
        assert_same_content(again, path)

    each(chunk, "logs", case)


# --- stores -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Return a forecaster, and two stores of its memories: of all its series, and of one after a few rows."""
    model, folder = load(path_of(MANY)), tmp_path_factory.mktemp("stores")
    with MemoryStore(folder / "all.store", model) as store:
        store.remember(model.state_)
    with MemoryStore(folder / "one.store", model) as store:
        store.update([waves(30, 2)])
    return model, [folder / "all.store", folder / "one.store"]


@pytest.mark.parametrize("chunk", chunks(quick=6, slow=24))
@pytest.mark.filterwarnings("ignore")
def test_damaged_stores(chunk, stores, tmp_path):
    """A store is opened by need, so that damage may show late; but all that it says is what was kept."""
    path, (model, paths) = tmp_path / "a.store", stores
    true = {}
    for one in paths:
        with MemoryStore(shutil.copy(one, tmp_path / one.name), model) as store:
            true[one] = {name: store[name] for name in store}

    def case(chance):
        source = chance.choice(paths)
        content, how = damaged_bytes(source.read_bytes(), paths, chance)
        case.done = f"{source.name}, {how}"
        for left in tmp_path.glob("a.store*"):
            left.unlink()
        path.write_bytes(content)

        def read():
            with MemoryStore(path, model) as store:
                found = {name: store[name] for name in store}
                counts = store.n_seen_
                store.predict()
                return found, counts

        outcome = watched(read)
        if not refused(outcome, "a.store"):
            found, counts = outcome.answer
            whole = [kept for kept in true.values() if list(kept) == list(found)]
            assert whole, "it holds neither all of this store nor, by a splice, all of the other"
            assert counts == {name: state.n_seen for name, state in found.items()}
            for name, state in found.items():
                assert_same_memory(state, whole[0][name])

    each(chunk, "stores", case)
