"""Series that cannot be used are left out with one warning, and the others get what they get without them."""

import warnings

import numpy as np
import pandas as pd
import pytest
from series.estimator_cases import HOURS, SMALL, as_backend, everything, long_frame, wave

from titans_ts import TitansForecaster, load
from titans_ts.frames.faults import SkippedSeries

TINY = {**SMALL, "layers": 0, "max_steps": 1, "random_state": 0, "on_error": "skip"}
COVARIATES = {"future_covariates": "ahead", "static_covariates": "site"}
NEXT = pd.date_range(HOURS[-1], periods=25, freq="h")[1:]


def covariates(times, ids=("west", "east", "north")):
    frame = long_frame(times, ids)
    return frame.assign(ahead=np.sin(np.arange(len(frame)) // len(ids) / 7), site=frame["unique_id"].map(len).astype(float))


def put(frame, name, column, value, row=3):
    """Change one row of one series."""
    frame = frame.copy()
    frame.loc[frame.index[frame["unique_id"] == name][row], column] = value
    return frame


def skipping(call, *names):
    """Return an answer, and hold the one warning of it to the series that were left out."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        answer = call()
    told = [one for one in caught if issubclass(one.category, SkippedSeries)]
    assert len(told) == bool(names)
    assert not names or tuple(told[0].message.skipped) == names
    assert not names or told[0].filename == __file__
    return answer


@pytest.fixture(scope="module")
def frame():
    return covariates(HOURS)


@pytest.fixture(scope="module")
def fitted(frame):
    return TitansForecaster(**TINY, **COVARIATES).fit(frame)


@pytest.fixture
def forecaster(fitted):
    """A forecaster of one's own, with the states of the fitted one."""
    import copy

    return copy.deepcopy(fitted)


def ahead(ids=("west", "east", "north")):
    return covariates(NEXT[:6], ids).drop(columns=["y", "site"])


def test_fit_learns_from_the_others_alone(frame):
    bad = put(put(frame, "east", "y", np.inf), "north", "site", 9.0)
    expected = TitansForecaster(**TINY, **COVARIATES).fit(frame[frame["unique_id"] == "west"])
    found = skipping(lambda: TitansForecaster(**TINY, **COVARIATES).fit(bad), "east", "north")
    assert everything(found) == everything(expected)
    assert found.skipped_.keys() == {"east", "north"}
    assert expected.skipped_ == {}


def test_by_default_all_of_them_are_named(frame):
    bad = put(put(frame, "east", "y", np.inf), "north", "site", 9.0)
    with pytest.raises(ValueError, match="(?s)2 series cannot be used.*'east': X has inf.*'north': X: the static") as caught:
        TitansForecaster(**{**TINY, "on_error": "raise"}, **COVARIATES).fit(bad)
    assert 'on_error="skip"' in str(caught.value)


def test_what_was_left_out_is_kept_in_a_file(frame, tmp_path):
    found = skipping(lambda: TitansForecaster(**TINY).fit(put(frame, "east", "y", np.inf)), "east")
    found.save(tmp_path / "model")
    assert load(tmp_path / "model").skipped_ == found.skipped_


@pytest.mark.parametrize("backend", ["pandas", "polars", "pyarrow"])
def test_predict_forecasts_the_others(forecaster, frame, backend):
    bad = as_backend(put(frame, "east", "y", -np.inf), backend)
    good = as_backend(frame[frame["unique_id"] != "east"], backend)
    future = as_backend(ahead(), backend)
    found = skipping(lambda: forecaster.predict(bad, future=future), "east")
    assert type(found) is type(bad)
    assert found.equals(forecaster.predict(good, future=future))


def test_predict_leaves_out_those_without_rows_ahead(forecaster):
    lacking = put(ahead(("west", "north")), "west", "ahead", np.nan)
    found = skipping(lambda: forecaster.predict(future=lacking), "west", "east")
    assert found["unique_id"].unique().tolist() == ["north"]
    whole = forecaster.predict(future=ahead())
    np.testing.assert_allclose(found["y"], whole.loc[whole["unique_id"] == "north", "y"], rtol=1e-12)  # others beside it: P3
    forecaster.set_params(on_error="raise")
    with pytest.raises(ValueError, match="(?s)2 series cannot be used.*'west': future has nan.*'east': future has no rows"):
        forecaster.predict(future=lacking)


def test_predict_leaves_out_what_nothing_was_read_of(forecaster):
    forecaster.forget("east")
    found = skipping(lambda: forecaster.predict(future=ahead()), "east")
    assert found["unique_id"].unique().tolist() == ["west", "north"]
    forecaster.forget()
    with pytest.raises(ValueError, match="nothing has been read since forget"):
        forecaster.predict(future=ahead())


def test_update_absorbs_the_others(forecaster, fitted):
    new = covariates(NEXT[:4])
    late = pd.concat([new[new["unique_id"] != "west"], covariates(HOURS[-2:], ("west",))], ignore_index=True)
    late = late.assign(site=late["unique_id"].map(len).astype(float).where(late["unique_id"] != "north", 7.0))
    skipping(lambda: forecaster.update(late), "west", "north")
    assert forecaster.n_seen_ == {**fitted.n_seen_, "east": len(HOURS) + 4}
    assert forecaster.skipped_.keys() == {"west", "north"}
    skipping(lambda: forecaster.update(covariates(NEXT[4:5], ("east",))))
    assert forecaster.skipped_ == {}


def test_if_no_series_is_left_nothing_changes(forecaster):
    before = everything(forecaster)
    with pytest.raises(ValueError, match="3 series cannot be used; no other is left"):
        forecaster.update(covariates(HOURS[-2:]))
    assert everything(forecaster) == before


@pytest.mark.parametrize("cut", [1, 5, 100])
def test_a_stream_leaves_a_series_out_whole(forecaster, fitted, tmp_path, cut):
    """Also the rows before the fault, and those after it; a checkpoint knows of it."""
    new = put(covariates(NEXT), "east", "y", np.inf, row=7)
    pieces = [new.iloc[start : start + cut] for start in range(0, len(new), cut)]
    log = tmp_path / "log"

    def broken():
        yield from pieces[: len(pieces) // 2]
        raise KeyboardInterrupt

    if len(pieces) > 1:
        with pytest.raises(KeyboardInterrupt):
            forecaster.update(broken(), checkpoint=log)
    skipping(lambda: forecaster.update(iter(pieces), checkpoint=log), "east")
    assert forecaster.n_seen_ == {"west": 324, "east": 300, "north": 324}
    assert forecaster.last_times_["east"] == fitted.last_times_["east"]
    expected = fitted.predict(pd.concat([covariates(HOURS), new[new["unique_id"] != "east"]]), future=later())
    np.testing.assert_allclose(forecaster.predict(future=later()).query("unique_id != 'east'")["y"].to_numpy(),
                               expected.query("unique_id != 'east'")["y"].to_numpy(), rtol=1e-5)  # fmt: skip


def later():
    times = pd.date_range(NEXT[-1], periods=7, freq="h")[1:]
    return covariates([*NEXT[:6], *times]).drop(columns=["y", "site"])


def test_a_stream_of_nothing_that_can_be_used_is_refused(forecaster):
    bad = put(covariates(NEXT, ("east",)), "east", "y", np.inf)
    with pytest.raises(ValueError, match="X has inf"):
        forecaster.update(iter([bad.iloc[:3], bad.iloc[3:]]))
    one = TitansForecaster(**TINY).fit(wave(100, 1))
    with pytest.raises(ValueError, match="X has inf"):
        one.update(iter([np.ones(3), np.array([np.inf])]))


def test_backtest_leaves_out_what_is_too_short(forecaster, frame):
    short = pd.concat([frame[frame["unique_id"] != "east"], covariates(HOURS[:12], ("east",))], ignore_index=True)
    arguments = {"windows": 3, "step": 6}
    found, metrics = skipping(lambda: forecaster.backtest(short, **arguments), "east")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, scores = forecaster.backtest(frame[frame["unique_id"] != "east"], **arguments)
    pd.testing.assert_frame_equal(found, expected)
    pd.testing.assert_frame_equal(metrics, scores)
    forecaster.set_params(on_error="raise")
    with pytest.raises(ValueError, match="series 'east' has 12 rows, too few"):
        forecaster.backtest(short, **arguments)


def test_score_leaves_out_what_fit_never_saw(forecaster):
    both = covariates(NEXT, ("west", "south"))
    found = skipping(lambda: forecaster.score(both), "south")
    assert found == forecaster.score(both[both["unique_id"] == "west"])


def test_lists_keep_the_numbers_of_their_items():
    items = [wave(120, 1), np.array([]), wave(120, 1, seed=2), np.full((30, 1), np.nan)]
    found = skipping(lambda: TitansForecaster(**TINY).fit(items), 1, 3)
    assert found.n_seen_ == {0: 120, 2: 120}
    assert len(found.predict()) == 2


def test_a_series_alone_is_refused():
    with pytest.raises(ValueError, match="X has inf in row 1, column 0"):
        TitansForecaster(**TINY).fit(np.array([1.0, np.inf]))


def test_other_words_are_refused():
    with pytest.raises(ValueError, match="on_error"):
        TitansForecaster(on_error="ignore").fit(wave(100, 1))
