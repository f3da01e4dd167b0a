"""A reader beside its forecaster; and streams: same state, same forecast, wherever history is cut, killed or taken up."""

import os

import numpy as np
import pandas as pd
import polars as pl
import pytest
from learn.killing import KILLS, kill_at_random
from series.estimator_cases import fitted, wave
from sklearn.exceptions import NotFittedError

from titans_ts import MemoryState, MemoryStore, TitansForecaster, load
from titans_ts.backbones.state import pack
from titans_ts.series import reader

ARGUMENTS = {"horizon": 4, "lookback": 24, "patch_length": 4, "width": 16, "precision": "float64"}
ROWS = 400


def stamped(rows: int = ROWS, channels: int = 2, start: str = "2024-01-01") -> pl.DataFrame:
    values = wave(rows, channels)
    values[5::37, 0] = np.nan
    times = pd.date_range(start, periods=rows, freq="h")
    return pl.DataFrame({"ds": times.to_numpy(), "load": values[:, 0], "heat": values[:, 1]})


@pytest.fixture(scope="module")
def wide() -> TitansForecaster:
    return fitted(stamped(160), **ARGUMENTS)


@pytest.fixture(scope="module")
def plain() -> TitansForecaster:
    return fitted(wave(160, 2), **ARGUMENTS)


def fresh(forecaster: TitansForecaster, tmp_path) -> TitansForecaster:
    """Return a forecaster of its own, so that no test sees another's rows."""
    forecaster.save(tmp_path / "model.titans")
    return load(tmp_path / "model.titans")


def assert_same_state(found: TitansForecaster, true: TitansForecaster) -> None:
    assert found.n_seen_ == true.n_seen_
    assert found.last_times_ == true.last_times_
    one, other = found.state_, true.state_
    assert one.tensors.keys() == other.tensors.keys()
    for name, x in one.tensors.items():
        np.testing.assert_allclose(x.numpy(), other.tensors[name].numpy(), rtol=1e-9, atol=1e-9, err_msg=name)


# --- without scikit-learn ---------------------------------------------------------------------------------------------


def test_a_reader_answers_as_its_forecaster_does_and_leaves_states_as_they_are(plain):
    reader, rows = plain.reader_, wave(90, 2)
    read = reader.read(reader.panel(rows), {})
    assert (read.states[None].n_seen, read.last_times) == (90, {None: 89})
    np.testing.assert_array_equal(reader.forecast(read, horizon=4), plain.predict(rows))
    np.testing.assert_array_equal(reader.surprise(rows), plain.surprise(rows))
    before = {name: x.clone() for name, x in pack(read.states[None]).items()}
    further = reader.read(reader.panel(wave(5, 2), follow=read.last_times), read.states)
    assert (further.states[None].n_seen, further.last_times) == (95, {None: 94})
    assert all(np.array_equal(x, before[name], equal_nan=True) for name, x in pack(read.states[None]).items())
    assert plain.n_seen_ == 160, "the states are with whoever asks"


def test_there_is_no_reader_before_fit(tmp_path):
    for ask in (lambda model: model.reader_, lambda model: MemoryStore(tmp_path / "some.memory", model)):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            ask(TitansForecaster())


# --- streams ----------------------------------------------------------------------------------------------------------

STREAMS = {
    "iterator of frames": lambda frame, folder: (frame[i : i + 37] for i in range(0, len(frame), 37)),
    "lazy frame": lambda frame, folder: frame.lazy(),
    "parquet": lambda frame, folder: written(frame, folder / "rows.parquet"),
    "csv": lambda frame, folder: str(written(frame, folder / "rows.csv")),
}


def written(frame: pl.DataFrame, path):
    (frame.write_parquet if path.suffix == ".parquet" else frame.write_csv)(path)
    return path


@pytest.mark.parametrize("rows_at_once", [7, 64, 10_000])
@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_updates_as_the_whole_does(kind, rows_at_once, wide, tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "ROWS_AT_ONCE", rows_at_once)
    later = stamped(ROWS, start="2024-01-07 16:00")
    whole = fresh(wide, tmp_path).update(later)
    found = fresh(wide, tmp_path).update(STREAMS[kind](later, tmp_path))
    assert_same_state(found, whole)
    np.testing.assert_allclose(found.predict()["load"], whole.predict()["load"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_is_forecast_as_the_whole_is(kind, wide, tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "ROWS_AT_ONCE", 33)
    before = wide.n_seen_
    whole, found = wide.predict(stamped()), wide.predict(STREAMS[kind](stamped(), tmp_path))
    assert found.columns == whole.columns
    assert found["ds"].to_list() == whole["ds"].to_list()
    np.testing.assert_allclose(found["heat"], whole["heat"], rtol=1e-9, atol=1e-9)
    assert wide.n_seen_ == before


def test_arrays_come_in_pieces_too(plain, tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "ROWS_AT_ONCE", 11)
    rows = wave(ROWS, 2)
    whole = fresh(plain, tmp_path).update(rows)
    assert_same_state(fresh(plain, tmp_path).update(iter([rows[:5], rows[5:300], rows[300:]])), whole)
    np.testing.assert_allclose(plain.predict(iter([rows])), plain.predict(rows), rtol=1e-9, atol=1e-9)


def test_a_gap_between_two_pieces_is_filled(wide, tmp_path):
    rows = stamped().filter(pl.int_range(pl.len()).is_between(40, 59).not_())
    with pytest.warns(UserWarning, match="20"):
        whole = wide.predict(rows)
    with pytest.warns(UserWarning, match="20"):
        found = wide.predict(iter([rows[:40], rows[40:]]))
    np.testing.assert_allclose(found["load"], whole["load"], rtol=1e-9, atol=1e-9)


def test_long_frames_meet_their_series_again(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "ROWS_AT_ONCE", 50)
    one, other = (stamped(ROWS).with_columns(unique_id=pl.lit(name), y=pl.col("load")) for name in ("a", "b"))
    frame = pl.concat([one, other]).select("unique_id", "ds", "y").sort("ds", "unique_id")
    forecaster = fitted(frame.filter(pl.col("ds") < pd.Timestamp("2024-01-08")), **ARGUMENTS)
    later = frame.filter(pl.col("ds") >= pd.Timestamp("2024-01-08"))
    whole = fresh(forecaster, tmp_path).update(later)
    found = fresh(forecaster, tmp_path).update(later.lazy())
    assert found.n_seen_ == whole.n_seen_ == {"a": ROWS, "b": ROWS}
    np.testing.assert_allclose(found.predict()["y"], whole.predict()["y"], rtol=1e-9, atol=1e-9)


def test_a_bad_piece_is_named_and_nothing_is_absorbed(wide, tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "ROWS_AT_ONCE", 100)
    forecaster = fresh(wide, tmp_path)
    before = forecaster.state_
    rows = stamped(ROWS, start="2024-01-07 16:00")
    bad = rows.with_columns(heat=pl.when(pl.int_range(pl.len()) == 250).then(float("inf")).otherwise(pl.col("heat")))
    with pytest.raises(ValueError, match=r"from row 200 on .*inf in row 50, column 'heat'"):
        forecaster.update(iter([bad]))
    assert forecaster.n_seen_ == before.n_seen
    assert_same_state(forecaster, fresh(wide, tmp_path))


def test_progress_is_shown_when_asked(wide, tmp_path, capsys):
    written(stamped(), tmp_path / "rows.parquet")
    forecaster = fresh(wide, tmp_path).set_params(verbose=1)
    forecaster.predict(tmp_path / "rows.parquet")
    assert "/400 [" in capsys.readouterr().err


# --- checkpoints ------------------------------------------------------------------------------------------------------


class BrokenStreamError(Exception):
    """What a test throws into a stream."""


def broken_after(rows: np.ndarray, count: int, size: int = 20):
    for first in range(0, count, size):
        yield rows[first : first + size]
    raise BrokenStreamError


@pytest.mark.parametrize("count", [0, 20, 140, 380])
def test_an_interrupted_reading_goes_on_where_it_was_written(count, plain, tmp_path):
    rows = wave(ROWS, 2)
    whole, path = fresh(plain, tmp_path).update(rows), tmp_path / "reading.state"
    forecaster = fresh(plain, tmp_path)
    with pytest.raises(BrokenStreamError):
        forecaster.update(broken_after(rows, count), checkpoint=path)
    assert forecaster.n_seen_ == plain.n_seen_, "an interruption leaves the forecaster as it was"
    assert path.exists() == (count > 0)
    found = forecaster.update(iter([rows]), checkpoint=path)
    for name, x in found.state_.tensors.items():
        np.testing.assert_allclose(x.numpy(), whole.state_.tensors[name].numpy(), rtol=1e-9, atol=1e-9, err_msg=name)


def test_a_checkpoint_of_another_reading_is_refused(plain, wide, tmp_path):
    path = tmp_path / "reading.state"
    forecaster = fresh(plain, tmp_path).update(wave(100, 2), checkpoint=path)
    with pytest.raises(ValueError, match=r"reading.state' was written by another reading.*delete the file"):
        forecaster.update(wave(100, 2), checkpoint=path)
    with pytest.raises(ValueError, match="another reading"):
        wide.update(stamped(), checkpoint=path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="damaged"):
        fresh(plain, tmp_path).update(wave(100, 2), checkpoint=path)


def test_a_stream_shorter_than_what_was_read_is_refused(plain, tmp_path):
    path = tmp_path / "reading.state"
    fresh(plain, tmp_path).update(wave(100, 2), checkpoint=path)
    with pytest.raises(ValueError, match="100 are to be left out, but X has only 60"):
        fresh(plain, tmp_path).update(wave(60, 2), checkpoint=path)


@KILLS
def test_killed_at_any_moment_it_ends_with_the_same_numbers(plain, tmp_path, kills):
    """A process is killed while it reads, writes its checkpoint or saves its state; the last one ends."""
    rows = wave(1_500, 2)  # rounding grows with every row that such a little trained memory reads
    np.save(tmp_path / "rows.npy", rows)
    plain.save(tmp_path / "model.titans")
    files = [tmp_path / name for name in ("model.titans", "rows.npy", "reading.state", "well.state")]
    kill_at_random(
        """
        model.update(iter([rows]), checkpoint=arguments[2]).state_.save(arguments[3])
        """,
        *files,
        kills=kills,
        longest=0.2,
        before="""
        from titans_ts.series import reader
        reader.ROWS_AT_ONCE = 8
        model, rows = load(arguments[0]), np.load(arguments[1])
        """,
        after="""
        if os.path.exists(arguments[3]):  # it was done before it could be killed: begin anew
            os.unlink(arguments[2])
            os.unlink(arguments[3])
        """,
    )
    found, true = MemoryState.load(files[3]), load(files[0]).update(rows).state_
    assert (found.n_seen, found.last_time) == (true.n_seen, true.last_time) == (1_660, 1_659)
    for name, x in true.tensors.items():
        np.testing.assert_allclose(found.tensors[name].numpy(), x.numpy(), rtol=1e-6, atol=1e-6, err_msg=name)
    assert set(os.listdir(tmp_path)) == {path.name for path in files}
