"""A memory looked into, at the forecaster's face."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from series.estimator_cases import HOURS, as_backend, everything, fitted, long_frame, wave, wide_frame

from titans_ts.series import watching

PATCH = 8  # of the small forecasters
MEASURES = ["surprise", "retention", "step_size", "momentum", "half_life", "distance"]
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
    assert names_of(found) == ["row", "channel", "layer", *MEASURES]
    (series,) = forecaster.reader_.panel(X)
    seen, _ = watching.watch(forecaster.network_, forecaster.reader_.tensors(series))
    for channel, name in enumerate(("y0", "y1")):
        for layer in (0, 1):
            one = found[(found["channel"] == name) & (found["layer"] == layer)]
            assert one["row"].tolist() == list(range(7, 112, PATCH))
            for measure in MEASURES:
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
    assert by_head.max()[0] < 10 * 8 * PATCH < 1000 * PATCH < by_head.min()[1], "half-lives start at 8 and 4,096 patches"
    held = table["start_norm"]
    table = forecaster.forget().memory_table()
    assert (table[["distance", "momentum_norm", "share_of_bound"]] == 0).all(axis=None)
    pd.testing.assert_series_equal(table["start_norm"], held)


@pytest.mark.parametrize("backend", ["pandas", "polars", "pyarrow"])
def test_frames_give_frames_of_their_kind(backend, long_forecaster):
    X = as_backend(long_frame(HOURS[:100]), backend)
    watched = long_forecaster.watch(X)
    assert type(watched) is type(X)
    assert names_of(watched) == ["unique_id", "ds", "layer", *MEASURES]
    assert column(watched, "unique_id").tolist() == ["west"] * 24 + ["east"] * 24
    stamps = pd.DatetimeIndex(column(watched, "ds"))
    assert (stamps == HOURS[7:96:8].append([HOURS[7:96:8]] * 3)).all()
    alone = long_forecaster.watch(as_backend(long_frame(HOURS[:100]).query("unique_id == 'east'"), backend))
    for name in MEASURES:
        np.testing.assert_allclose(column(alone, name), column(watched, name)[24:], rtol=1e-5, err_msg=name)
    table = fitted(as_backend(long_frame(), backend)).memory_table()
    assert type(table) is type(X)
    assert names_of(table) == ["unique_id", "layer", "head", *HELD]
    assert column(table, "unique_id").tolist() == ["west"] * 4 + ["east"] * 4


def test_stamps_are_written_as_they_came():
    times = HOURS[:200].tz_localize("Asia/Tokyo")
    forecaster = fitted(wide_frame(times).set_index("ds"))
    watched = forecaster.watch(wide_frame(times[:100]).set_index("ds"))
    assert names_of(watched) == ["ds", "channel", "layer", *MEASURES]
    assert watched["ds"].dtype == times.dtype
    assert watched["ds"].tolist()[:12] == times[7:96:8].tolist()
    assert watched["channel"].unique().tolist() == ["a", "b"]
    polars = fitted(pl.from_pandas(wide_frame(times[:200]))).watch(pl.from_pandas(wide_frame(times[:100])))
    assert polars.schema["ds"].time_zone == "Asia/Tokyo"
    assert polars["ds"].to_list()[:12] == times[7:96:8].to_pydatetime().tolist()


def test_lists_and_single_streams():
    forecaster = fitted([wave(200, 1), wave(150, 1, 1)])
    watched = forecaster.watch([wave(60, 1), wave(20, 1), wave(3, 1)])
    assert names_of(watched) == ["unique_id", "row", "layer", *MEASURES]
    assert watched.groupby(["unique_id", "layer"])["row"].agg(list).tolist() == [list(range(7, 56, 8))] * 2 + [[7, 15]] * 2
    table = forecaster.memory_table(ids=1)
    assert table["unique_id"].tolist() == [1] * 4
    pd.testing.assert_frame_equal(table, forecaster.memory_table().iloc[4:].reset_index(drop=True))
    mixed = fitted(wave(200), channels="mixed")
    assert names_of(mixed.watch(wave(60))) == ["row", "layer", *MEASURES]
    assert names_of(mixed.memory_table()) == ["layer", "head", *HELD]


def test_no_patch_gives_no_row(forecaster):
    for backend in ("pandas", "polars", "pyarrow"):
        X = as_backend(wide_frame(HOURS[:8]), backend)
        found = fitted(as_backend(wide_frame(), backend)).watch(X)
        assert type(found) is type(X)
        assert len(found) == 0
        assert names_of(found) == ["ds", "channel", "layer", *MEASURES]
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
