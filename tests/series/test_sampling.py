"""Joint paths: each step follows the quantiles, steps hang together, chance is the seed's alone."""

import numpy as np
import pandas as pd
import pytest
from series.estimator_cases import COVARIATES, as_backend, covariate_frame, fitted, long_frame, rows_ahead, wave, wide_frame

SHARES = [0.1, 0.5, 0.9]


@pytest.fixture(scope="module")
def of_arrays():
    return fitted(wave())


def test_paths_follow_the_quantiles_of_the_forecast(of_arrays):
    """The memory's correction moves both, since its head does not stand at zero."""
    paths = of_arrays.sample(2000)
    assert paths.shape == (2000, 6, 2)
    asked = of_arrays.predict(quantiles=SHARES)
    for j in (0, 1):
        bounds = asked[[f"y{j}-q-{100 * share:g}" for share in SHARES]].to_numpy()
        below = (paths[..., j, None] <= bounds).mean(0)
        np.testing.assert_allclose(below, np.broadcast_to(SHARES, below.shape), atol=0.03)


def test_a_sum_over_the_horizon_has_the_right_spread():
    """Of a random walk the errors add up: independent steps would be far too sure of the sum."""
    steps = np.random.default_rng(0).normal(size=3000)
    model = fitted(steps.cumsum(), horizon=12, lookback=24, layers=0)
    paths = model.sample(1000)[..., 0]
    expected = np.sqrt((np.arange(1, 13) ** 2).sum())
    assert np.std(paths.sum(1)) == pytest.approx(expected, rel=0.25)
    apart = np.random.default_rng(1).permuted(paths, axis=0)
    assert np.std(apart.sum(1)) < 0.6 * np.std(paths.sum(1))


def test_the_same_seed_gives_the_same_paths_in_any_order_of_calls(of_arrays):
    first = of_arrays.sample(7)
    of_arrays.predict(level=[80])
    of_arrays.sample(3, wave(50))
    np.testing.assert_array_equal(of_arrays.sample(7), first)
    np.testing.assert_array_equal(of_arrays.sample(7, horizon=2), first[:, :2])
    np.testing.assert_allclose(of_arrays.sample(7, wave()), first, rtol=1e-5, atol=1e-5)
    assert not np.array_equal(first[..., 0] - first[..., 0].mean(0), first[..., 1] - first[..., 1].mean(0))


def test_paths_of_a_series_do_not_depend_on_the_others():
    frame = long_frame()
    model = fitted(frame, layers=0)
    both = model.sample(5, frame)
    alone = model.sample(5, frame[frame["unique_id"] == "east"])
    found = both[both["unique_id"] == "east"].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, alone.reset_index(drop=True), rtol=1e-6)
    west = both[both["unique_id"] == "west"]["y"].to_numpy()
    assert abs(np.corrcoef(west - west.mean(), found["y"] - found["y"].mean())[0, 1]) < 0.999


KINDS = {
    "wide": lambda: wide_frame(),
    "a time index": lambda: wide_frame().set_index("ds"),
    "no time": lambda: wide_frame().drop(columns="ds"),
    "long": lambda: long_frame(),
    "long index": lambda: long_frame().set_index(["unique_id", "ds"]),
    "polars": lambda: as_backend(long_frame(), "polars"),
    "pyarrow": lambda: as_backend(long_frame(), "pyarrow"),
    "polars wide": lambda: as_backend(wide_frame(), "polars"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_gives_the_frame_of_its_forecast_path_below_path(kind):
    X = KINDS[kind]()
    model = fitted(X, layers=0)
    forecast, paths = model.predict(), model.sample(3)
    assert type(paths) is type(X)
    forecast, paths = (frame if isinstance(frame, pd.DataFrame) else frame.to_pandas() for frame in (forecast, paths))
    assert set(paths.columns) == {*forecast.columns, "path"}
    assert len(paths) == 3 * len(forecast)
    for number in range(3):
        one = paths[paths["path"] == number].drop(columns="path")
        assert one.index.equals(forecast.index) or isinstance(forecast.index, pd.RangeIndex)
        for name in {"unique_id", "ds"} & set(forecast.columns):
            np.testing.assert_array_equal(one[name].to_numpy(), forecast[name].to_numpy())


def test_lists_give_lists_and_covariates_are_asked_for():
    several = fitted([wave(200), wave(150)], layers=0).sample(4)
    assert [one.shape for one in several] == [(4, 6, 2), (4, 6, 2)]
    frame = covariate_frame()
    model = fitted(frame, layers=0, **COVARIATES)
    assert len(model.sample(2, future=rows_ahead(frame))) == 12
    with pytest.raises(ValueError, match="future"):
        model.sample(2)


def test_paths_stay_within_what_bounds_the_rows():
    sold = np.random.default_rng(0).poisson(1.0, 400).astype(float)
    assert fitted(sold, layers=0, minimum=0).sample(300).min() >= 0


@pytest.mark.parametrize("n", [0, -1, 2.5, "many", True])
def test_a_number_of_paths_is_a_whole_one(of_arrays, n):
    with pytest.raises(ValueError, match="n must be a whole number of paths"):
        of_arrays.sample(n)
