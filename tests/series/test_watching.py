"""What is seen of a memory while it reads, and what it holds: of a network, and of a forecaster."""

import math
import weakref
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from memory.cases import gates_of, shaken
from series.cases import make_network, make_series, rows_of
from series.estimator_cases import HOURS, as_backend, everything, fitted, long_frame, wave, wide_frame
from tolerances import assert_agree

from titans_ts.backbones.observing import observed, observed_writes
from titans_ts.backbones.state import pack
from titans_ts.backbones.variants import BASELINES, WITH_MEMORY
from titans_ts.blocks.scale import unknown_scale
from titans_ts.memory.gates import FORGETTING_MIN, MOMENTUM_MAX, STEP_MAX, WRITE_BOUND
from titans_ts.memory.neural_memory import MemoryCarry, NeuralMemory
from titans_ts.memory.written import Observation
from titans_ts.series import reading, watching
from titans_ts.series.network import ForecastNetwork
from titans_ts.series.reading import absorb, start_state, surprise
from titans_ts.series.state import SeriesState
from titans_ts.series.tensors import SeriesTensors
from titans_ts.series.watching import Activity, _look, holdings, watch

LENGTH, PATCH = 67, 4
MEASURES = [name for name in Activity._fields if name != "rows"]


def observed_gates(network):
    return observed(network, Observation.factors)


def with_memory(variant: str = "lmm", **settings: object) -> ForecastNetwork:
    """Return a network whose memory is another than the default."""
    config = make_network(variant).config
    torch.manual_seed(0)
    return shaken(ForecastNetwork(replace(config, backbone=replace(config.backbone, **settings))))


def begin(network: ForecastNetwork, series: SeriesTensors, *, known: bool = True) -> SeriesState:
    scale = series.scale if known else unknown_scale(network.config.channels)
    return start_state(network, static=series.static, scale=scale)


def assert_same_state(found: SeriesState, expected: SeriesState) -> None:
    wanted = pack(expected)
    for name, x in pack(found).items():
        assert_agree(x.nan_to_num().double(), wanted[name].nan_to_num().double(), name=name)


def memories_of(network: ForecastNetwork) -> list[NeuralMemory]:
    return [module for module in network.modules() if isinstance(module, NeuralMemory)]


def carries_of(backbone: tuple, variant: str) -> list[MemoryCarry]:
    return list(backbone) if variant == "lmm" else [layer.memory for layer in backbone]


def norm_of(weights: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Return the root sum of squares of matrices ``(b, h, k, v)``, ``(b, h)``."""
    return sum(w.square().sum((-1, -2)) for w in weights).sqrt()


def learned(carry: MemoryCarry, memory: NeuralMemory) -> tuple[torch.Tensor, ...]:
    return tuple(now - first for now, first in zip(carry.store.weights, memory.store(), strict=True))


# --- while they read --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("variant", WITH_MEMORY)
def test_surprise_of_the_layers_together_is_that_of_reading(variant, mixed):
    network = make_network(variant, mixed=mixed)
    series = make_series(network.config, LENGTH, missing=0.2)
    watched, _ = watch(network, series)
    assert watched.surprise.shape == (1 if mixed else 2, 2, 16)
    assert watched.rows.tolist() == list(range(3, 64, 4))
    assert_agree(watched.surprise.square().mean(1).sqrt().T, surprise(network, series)[watched.rows])
    first, second = watched.surprise.unbind(1)
    assert (first - second).abs().min() > 1e-6, "each layer tells of itself"


@pytest.mark.parametrize("variant", WITH_MEMORY)
def test_distance_at_the_end_is_that_of_the_state(variant):
    network = make_network(variant)
    series = make_series(network.config, LENGTH)
    for length in (5, 12, 13, LENGTH):
        watched, state = watch(network, rows_of(series, 0, length))
        expected = absorb(network, begin(network, series), rows_of(series, 0, length))
        assert_same_state(state, expected)
        for layer, carry in enumerate(carries_of(expected.backbone, variant)):
            norm = norm_of(learned(carry, memories_of(network)[layer])).mean(1)
            assert_agree(watched.distance[:, layer, -1], norm.detach(), name=f"layer {layer} at {length}")


@torch.no_grad()
def test_the_gates_are_those_of_the_layers_parameters():
    network = make_network("lmm")
    series = make_series(network.config, LENGTH)
    given: dict[NeuralMemory, torch.Tensor] = {}
    hooks = [m.register_forward_pre_hook(lambda m, inputs: given.update({m: inputs[0]})) for m in memories_of(network)]
    watched, _ = watch(network, series)
    for hook in hooks:
        hook.remove()
    for layer, memory in enumerate(memories_of(network)):
        step, retention, momentum = (gate.exp().mean(1) for gate in gates_of(memory, given[memory])[:3])
        assert_agree(watched.step_size[:, layer], step)
        assert_agree(watched.retention[:, layer], retention)
        assert_agree(watched.momentum[:, layer], momentum)
        assert_agree(watched.half_life[:, layer], PATCH * math.log(0.5) / retention.log())
    assert 0 < watched.retention.min() < watched.retention.max() < 1 - FORGETTING_MIN
    assert 0 < watched.step_size.min() < watched.step_size.max() < STEP_MAX
    assert 0 < watched.momentum.min() < watched.momentum.max() < MOMENTUM_MAX


def test_parts_that_a_memory_has_not_are_told_as_what_they_come_to():
    network = with_memory(momentum=False, forgetting=False)
    watched, _ = watch(network, make_series(network.config, LENGTH))
    assert (watched.momentum == 0).all()
    assert (watched.retention == 1).all()
    assert (watched.half_life == math.inf).all()


@pytest.mark.parametrize("variant", WITH_MEMORY)
def test_tokens_read_at_once_change_nothing_of_what_is_seen(monkeypatch, variant):
    network = make_network(variant)
    series = make_series(network.config, LENGTH)
    whole, _ = watch(network, series)
    for count in (1, 3):
        monkeypatch.setattr(reading, "TOKENS_AT_ONCE", count)
        found, _ = watch(network, series)
        for name in Activity._fields:
            assert_agree(getattr(found, name).double(), getattr(whole, name).double(), name=f"{name}, {count} at once")


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("cut", [3, 32, 33, 66])
def test_two_parts_are_the_whole(cut, known):
    network = make_network()
    series = make_series(network.config, LENGTH)
    start = begin(network, series, known=known)
    before = {name: x.clone() for name, x in pack(start).items()}
    whole, last = watch(network, series, state=start)
    first, state = watch(network, rows_of(series, 0, cut), state=start)
    second, end = watch(network, rows_of(series, cut, LENGTH), state=state)
    for name in Activity._fields:
        joined = torch.cat([getattr(first, name), getattr(second, name)], dim=-1)
        assert_agree(joined.double(), getattr(whole, name).double(), name=name)
    assert_same_state(end, last)
    for name, x in pack(start).items():
        assert torch.equal(x.nan_to_num(), before[name].nan_to_num()), f"{name} of the state given was changed"


def test_what_was_seen_knows_no_later_row():
    network = make_network()
    series, other = (make_series(network.config, LENGTH) for _ in range(2))
    other.rows[:, 40:] = 1e6
    for name in MEASURES:
        a, b = (getattr(watch(network, one)[0], name)[..., :10] for one in (series, other))
        assert torch.equal(a, b), name


def test_a_patch_is_watched_when_it_is_written():
    network = make_network()
    series = make_series(network.config, 12)
    for length, count in ((0, 0), (3, 0), (4, 0), (5, 1), (8, 1), (9, 2), (12, 2)):
        watched, _ = watch(network, rows_of(series, 0, length))
        assert watched.rows.tolist() == [3, 7][:count], length
        assert watched.distance.shape == (2, 2, count)


def test_only_the_results_of_a_long_history_are_kept(monkeypatch):
    """What was written is seen and let go, call by call, and no result keeps a longer tensor than its own."""
    network = make_network("lmm", channels=1, layers=1)
    series = make_series(network.config, 4000)
    written: list[weakref.ref] = []

    def look(piece: Observation) -> tuple[torch.Tensor, ...]:
        assert sum(one() is not None for one in written) <= 1
        written.append(weakref.ref(piece.keys))
        return _look(piece)

    monkeypatch.setattr(watching, "_look", look)
    monkeypatch.setattr(reading, "TOKENS_AT_ONCE", 100)
    watched, _ = watch(network, series)
    assert len(written) == 10
    assert all(x.untyped_storage().nbytes() == x.numel() * x.element_size() for x in watched)


def test_missing_rows_leave_everything_finite():
    network = make_network()
    series = make_series(network.config, LENGTH, missing=0.5)
    series.rows[:, 20:50] = math.nan
    watched, _ = watch(network, series)
    assert all(torch.isfinite(getattr(watched, name)).all() for name in MEASURES)


def test_gates_and_writes_are_observed_of_every_token_and_head():
    network = make_network("mac")
    series = make_series(network.config, LENGTH)
    watched, _ = watch(network, series)
    with observed_gates(network) as gates, observed_writes(network) as nothing:
        pass
    assert gates == nothing == [[], []]
    for observe in (observed_gates, observed_writes):
        with observe(network) as seen:
            absorb(network, begin(network, series), series)
        assert all(memory.observer is None for memory in memories_of(network))
        for layer, pieces in enumerate(seen):
            if observe is observed_gates:
                retention = torch.cat([piece.retention for piece in pieces], dim=-1)
                assert retention.shape == (2, 2, 16)  # b, h, t
                assert_agree(retention.mean(1), watched.retention[:, layer])
            else:
                norms = torch.cat(pieces, dim=-1)
                assert norms.shape == (2, 2, 2, 16)  # store layers, b, h, t
                assert_agree(norms.square().mean((0, 2)).sqrt(), watched.surprise[:, layer])


# --- what they hold ---------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("variant", WITH_MEMORY)
def test_holdings_are_the_norms_of_the_state(variant):
    network = make_network(variant)
    series = make_series(network.config, LENGTH)
    watched, state = watch(network, series)
    found = holdings(network, state)
    bound = STEP_MAX * WRITE_BOUND / (1 - MOMENTUM_MAX) / FORGETTING_MIN
    assert bound == pytest.approx(39_024, abs=1)
    for layer, carry in enumerate(carries_of(state.backbone, variant)):
        memory = memories_of(network)[layer]
        delta = learned(carry, memory)
        start = norm_of(tuple(w[None] for w in memory.store()))
        assert_agree(found.start_norm[:, layer], start.expand(2, 2))
        assert_agree(found.distance[:, layer], norm_of(delta))
        assert_agree(found.momentum_norm[:, layer], norm_of(carry.store.momentum))
        largest = torch.stack([w.square().sum((-1, -2)).sqrt() for w in delta]).amax(0)
        assert_agree(1e4 * found.share_of_bound[:, layer], 1e4 * largest / bound)
        bias = memory.gates.project.bias[2:4]  # step sizes of two heads, then their retentions
        rows = PATCH * math.log(0.5) / ((1 - FORGETTING_MIN) * torch.sigmoid(bias)).log()
        assert_agree(found.half_life[:, layer], rows.expand(2, 2))
    assert_agree(found.distance.mean(-1), watched.distance[..., -1])


def test_a_fresh_state_holds_the_learned_start_alone():
    network = make_network()
    found = holdings(network, begin(network, make_series(network.config, 1)))
    assert found.distance.shape == (2, 2, 2)
    for name in ("distance", "momentum_norm", "share_of_bound"):
        assert (getattr(found, name) == 0).all(), name
    assert (found.start_norm > 0).all()


@pytest.mark.parametrize(
    ("settings", "bounded", "half_lives"),
    [
        ({"forgetting": False}, False, math.inf),
        ({"memory": "ttt_mlp"}, False, math.inf),
        ({"memory": "deltanet"}, False, math.inf),
        ({"memory": "retnet"}, False, None),
        ({"memory": "mesa"}, False, None),
        ({"memory": "omega"}, True, None),
        ({"memory": "titans_linear"}, True, None),
        ({"momentum": False}, True, None),
    ],
    ids=str,
)
def test_what_a_memory_has_not_is_told(settings, bounded, half_lives):
    network = with_memory(**settings)
    _, state = watch(network, make_series(network.config, LENGTH))
    found = holdings(network, state)
    assert (found.distance > 0).all()
    assert torch.isfinite(found.share_of_bound).all() == bounded
    assert found.share_of_bound.isnan().all() != bounded
    has_momentum = memories_of(network)[0].gates.momentum
    assert (found.momentum_norm > 0).all() if has_momentum else (found.momentum_norm == 0).all()
    if half_lives is not None:
        assert (found.half_life == half_lives).all()
    elif settings.get("memory") == "retnet":
        rows = [PATCH * math.log(0.5) / math.log(1 - 2 ** (-5.0 - head)) for head in (0, 1)]
        assert_agree(found.half_life[0, 0], torch.tensor(rows, dtype=torch.float64))


def test_without_momentum_the_bound_is_nearer():
    """A step of at most .08 of a write of at most 2, of which at least 4.1e-5 is forgotten."""
    network = with_memory(momentum=False, memory_depth=1)
    _, state = watch(network, make_series(network.config, LENGTH))
    found = holdings(network, state)
    assert_agree(found.distance / found.share_of_bound, torch.full((2, 2, 2), 0.16 / FORGETTING_MIN, dtype=torch.float64))


@pytest.mark.parametrize("variant", BASELINES)
def test_a_variant_without_a_memory_is_refused(variant):
    network = make_network(variant)
    series = make_series(network.config, 20)
    with pytest.raises(ValueError, match=f"variant='{variant}' has no memory to be watched"):
        watch(network, series)
    with pytest.raises(ValueError, match=f"variant='{variant}' has no memory to be looked into"):
        holdings(network, begin(network, series))


def test_a_network_without_layers_is_refused():
    network = make_network(layers=0)
    series = make_series(network.config, 20)
    with pytest.raises(ValueError, match="layers=0: this model has no memory to be watched; fit with layers=1 or more"):
        watch(network, series)
    with pytest.raises(ValueError, match="layers=0: this model has no memory to be looked into"):
        holdings(network, begin(network, series))


# --- of a forecaster --------------------------------------------------------------------------------------------------


TOKEN = 8  # of the small forecasters
COLUMNS = ["surprise", "retention", "step_size", "momentum", "half_life", "distance"]
HELD = ["start_norm", "distance", "momentum_norm", "share_of_bound", "half_life"]


@pytest.fixture(scope="module")
def forecaster():
    return fitted(wave(200))


@pytest.fixture(scope="module")
def long_forecaster():
    return fitted(long_frame())


def names_of(frame):
    return list(getattr(frame, "column_names", frame.columns))


def column(frame, name):
    return np.asarray(frame[name].to_pylist() if isinstance(frame, pa.Table) else frame[name])


def test_what_is_watched_is_what_the_network_shows(forecaster):
    X = wave(120, seed=1)
    found = forecaster.watch(X)
    assert isinstance(found, pd.DataFrame)
    assert names_of(found) == ["row", "channel", "layer", *COLUMNS]
    (series,) = forecaster.reader_.panel(X)
    seen, _ = watching.watch(forecaster.network_, forecaster.reader_.tensors(series))
    for channel, name in enumerate(("y0", "y1")):
        for layer in (0, 1):
            one = found[(found["channel"] == name) & (found["layer"] == layer)]
            assert one["row"].tolist() == list(range(7, 112, TOKEN))
            for measure in COLUMNS:
                np.testing.assert_array_equal(one[measure], getattr(seen, measure)[channel, layer].double(), measure)


def test_its_layers_make_the_surprise_of_every_row(forecaster):
    X = wave(120, seed=1)
    squares = forecaster.watch(X).assign(square=lambda frame: frame["surprise"] ** 2)
    found = squares.groupby(["row", "channel"])["square"].mean().unstack() ** 0.5
    np.testing.assert_allclose(found, forecaster.surprise(X)[found.index], rtol=1e-6)


def test_watching_reads_afresh_and_leaves_everything_as_it_was(forecaster):
    before, X = everything(forecaster), wave(120, seed=1)
    first = forecaster.watch(X)
    forecaster.predict(wave(77, seed=2))
    pd.testing.assert_frame_equal(forecaster.watch(X), first)
    forecaster.memory_table()
    assert everything(forecaster) == before


def test_the_last_patch_leads_to_the_table():
    X = wave(200)
    forecaster = fitted(X)
    watched = forecaster.watch(X).groupby(["channel", "layer"])["distance"].last()
    table = forecaster.memory_table().groupby(["channel", "layer"])["distance"].mean()
    pd.testing.assert_series_equal(watched, table, rtol=1e-5)
    forecaster.forget().update(X[:90]).update(X[90:])
    again = forecaster.memory_table().groupby(["channel", "layer"])["distance"].mean()
    pd.testing.assert_series_equal(again, table, rtol=1e-5)


def test_the_table_tells_what_is_held_by_head():
    forecaster = fitted(wave(200))
    table = forecaster.memory_table()
    assert names_of(table) == ["channel", "layer", "head", *HELD]
    assert table["channel"].tolist() == ["y0"] * 4 + ["y1"] * 4
    assert table["layer"].tolist() == [0, 0, 1, 1] * 2
    assert table["head"].tolist() == [0, 1] * 4
    assert (table[["start_norm", "distance", "momentum_norm", "share_of_bound"]] > 0).all(axis=None)
    assert (table["share_of_bound"] < 1).all()
    by_head = table.groupby("head")["half_life"]
    assert by_head.max()[0] < 10 * 8 * TOKEN < 1000 * TOKEN < by_head.min()[1], "half-lives start at 8 and 4,096 patches"
    held = table["start_norm"]
    table = forecaster.forget().memory_table()
    assert (table[["distance", "momentum_norm", "share_of_bound"]] == 0).all(axis=None)
    pd.testing.assert_series_equal(table["start_norm"], held)


@pytest.mark.parametrize("backend", ["pandas", "polars", "pyarrow"])
def test_frames_give_frames_of_their_kind(backend, long_forecaster):
    X = as_backend(long_frame(HOURS[:100]), backend)
    watched = long_forecaster.watch(X)
    assert type(watched) is type(X)
    assert names_of(watched) == ["unique_id", "ds", "layer", *COLUMNS]
    assert column(watched, "unique_id").tolist() == ["west"] * 24 + ["east"] * 24
    stamps = pd.DatetimeIndex(column(watched, "ds"))
    assert (stamps == HOURS[7:96:8].append([HOURS[7:96:8]] * 3)).all()
    alone = long_forecaster.watch(as_backend(long_frame(HOURS[:100]).query("unique_id == 'east'"), backend))
    for name in COLUMNS:
        np.testing.assert_allclose(column(alone, name), column(watched, name)[24:], rtol=1e-5, err_msg=name)
    table = fitted(as_backend(long_frame(), backend)).memory_table()
    assert type(table) is type(X)
    assert names_of(table) == ["unique_id", "layer", "head", *HELD]
    assert column(table, "unique_id").tolist() == ["west"] * 4 + ["east"] * 4


def test_stamps_are_written_as_they_came():
    times = HOURS[:200].tz_localize("Asia/Tokyo")
    forecaster = fitted(wide_frame(times).set_index("ds"))
    watched = forecaster.watch(wide_frame(times[:100]).set_index("ds"))
    assert names_of(watched) == ["ds", "channel", "layer", *COLUMNS]
    assert watched["ds"].dtype == times.dtype
    assert watched["ds"].tolist()[:12] == times[7:96:8].tolist()
    assert watched["channel"].unique().tolist() == ["a", "b"]
    polars = fitted(pl.from_pandas(wide_frame(times[:200]))).watch(pl.from_pandas(wide_frame(times[:100])))
    assert polars.schema["ds"].time_zone == "Asia/Tokyo"
    assert polars["ds"].to_list()[:12] == times[7:96:8].to_pydatetime().tolist()


def test_lists_and_single_streams():
    forecaster = fitted([wave(200, 1), wave(150, 1, 1)])
    watched = forecaster.watch([wave(60, 1), wave(20, 1), wave(3, 1)])
    assert names_of(watched) == ["unique_id", "row", "layer", *COLUMNS]
    assert watched.groupby(["unique_id", "layer"])["row"].agg(list).tolist() == [list(range(7, 56, 8))] * 2 + [[7, 15]] * 2
    table = forecaster.memory_table(ids=1)
    assert table["unique_id"].tolist() == [1] * 4
    pd.testing.assert_frame_equal(table, forecaster.memory_table().iloc[4:].reset_index(drop=True))
    mixed = fitted(wave(200), channels="mixed")
    assert names_of(mixed.watch(wave(60))) == ["row", "layer", *COLUMNS]
    assert names_of(mixed.memory_table()) == ["layer", "head", *HELD]


def test_no_patch_gives_no_row(forecaster):
    for backend in ("pandas", "polars", "pyarrow"):
        X = as_backend(wide_frame(HOURS[:8]), backend)
        found = fitted(as_backend(wide_frame(), backend)).watch(X)
        assert type(found) is type(X)
        assert len(found) == 0
        assert names_of(found) == ["ds", "channel", "layer", *COLUMNS]
    assert len(forecaster.watch(wave(3))) == 0


def test_ids_are_chosen_and_refused_by_name(long_forecaster):
    assert long_forecaster.memory_table("east")["unique_id"].unique().tolist() == ["east"]
    both = long_forecaster.memory_table(["east", "west"])
    assert both["unique_id"].unique().tolist() == ["east", "west"]
    with pytest.raises(ValueError, match="ids: there is no series 'north'; there are 'west', 'east'"):
        long_forecaster.memory_table(["east", "north"])
    with pytest.raises(ValueError, match="ids is empty; name one series or more"):
        long_forecaster.memory_table([])


def test_an_unknown_series_is_watched_on_the_scale_of_its_first_look_back(long_forecaster):
    frame = long_frame(HOURS[:100], ids=("north",))
    watched = long_forecaster.watch(frame)
    long_forecaster.update(frame)
    held = long_forecaster.memory_table("north").groupby("layer")["distance"].mean()
    np.testing.assert_allclose(watched.groupby("layer")["distance"].last(), held, rtol=1e-5)
    long_forecaster.states_.pop("north")


@pytest.mark.parametrize(
    ("arguments", "named"), [({"variant": "attention"}, "variant='attention'"), ({"layers": 0}, "layers=0")]
)
def test_a_model_without_a_memory_is_refused(arguments, named):
    forecaster = fitted(wave(200), **arguments)
    with pytest.raises(ValueError, match=f"{named}.* has no memory to be watched"):
        forecaster.watch(wave(60))
    with pytest.raises(ValueError, match=f"{named}.* has no memory to be looked into"):
        forecaster.memory_table()
