"""The ordinary jobs of README's table, each from the data as they come to the forecast as it goes out."""

import numpy as np
import pandas as pd
import pytest

from titans_ts import TitansForecaster

QUICK = {"lookback": 28, "patch_length": 7, "layers": 0, "random_state": 0}
CHRISTMAS = pd.to_datetime(["2021-12-25", "2022-12-25", "2023-12-25", "2024-12-25"])


def retail_panel(first="2021-06-01", last="2024-12-10"):
    """Daily sales of six shops: kinds differ in level, promotions lift, Christmas is closed."""
    days = pd.date_range(first, last)
    parts = []
    for i, kind in enumerate(["corner", "corner", "mall", "mall", "station", "station"]):
        chance = np.random.default_rng(i)
        promotion = chance.choice(["none", "poster", "half price"], len(days), p=[0.8, 0.1, 0.1])
        lift = pd.Series(promotion).map({"none": 1.0, "poster": 1.3, "half price": 2.0}).to_numpy()
        sales = {"corner": 20, "mall": 60, "station": 40}[kind] * (1 + 0.2 * np.sin(days.weekday * 2 * np.pi / 7)) * lift
        sales = np.where(days.isin(CHRISTMAS), 0, sales) + chance.normal(0, 0.5, len(days))
        parts.append(pd.DataFrame({"shop": f"shop {i}", "day": days, "sales": sales, "promotion": promotion, "kind": kind}))
    return pd.concat(parts, ignore_index=True)


def test_a_retail_panel_with_categories_and_holidays():
    panel = retail_panel(last="2024-12-29")
    train, ahead = panel[panel["day"] < "2024-12-18"], panel[panel["day"] >= "2024-12-18"]
    names = {"id_column": "shop", "time_column": "day", "target_columns": "sales", "static_covariates": "kind"}
    model = TitansForecaster(horizon=12, **names, future_covariates="promotion", holidays={"Christmas": CHRISTMAS}, **QUICK)
    found = model.fit(train).predict(future=model.future_frame().merge(ahead[["shop", "day", "promotion"]]))
    assert found[["shop", "day"]].values.tolist() == ahead[["shop", "day"]].values.tolist()
    blind = TitansForecaster(horizon=12, **{**names, "static_covariates": None}, **QUICK).fit(train).predict()
    truth = ahead["sales"].to_numpy()
    told, untold = (np.abs(one["sales"].to_numpy() - truth) for one in (found, blind))
    assert told.mean() < 0.6 * untold.mean()
    on_holiday = (ahead["day"] == CHRISTMAS[-1]).to_numpy()
    assert told[on_holiday].mean() < 0.5 * untold[on_holiday].mean()


def test_counts_that_cannot_be_negative():
    counts = np.random.default_rng(0).poisson(0.4, 400).astype(float)
    model = TitansForecaster(horizon=14, minimum=0, **QUICK).fit(counts)
    frame = model.predict(level=[80, 90])
    values = frame.drop(columns=["unique_id", "ds"]).to_numpy()
    assert values.min() == 0
    assert (frame["y-hi-90"] > 0).all()
    unpromised = TitansForecaster(horizon=14, **QUICK).fit(counts).predict(level=[90])
    assert unpromised["y-lo-90"].min() == 0  # what never was negative is not foretold to be
    with pytest.raises(ValueError, match="minimum"):
        TitansForecaster(horizon=14, minimum=0, **QUICK).fit(np.r_[counts, -1.0])


def test_years_as_whole_numbers():
    years = pd.Series(np.arange(60.0), index=range(1960, 2020), name="y")
    model = TitansForecaster(horizon=3, **QUICK).fit(years)
    assert model.predict().index.tolist() == [2020, 2021, 2022]
    assert np.abs(model.predict() - [60, 61, 62]).max() < 0.5
    model.update(pd.Series([60.0], index=[2020], name="y"))
    assert model.predict().index.tolist() == [2021, 2022, 2023]
    with pytest.raises(ValueError, match="2020"):
        model.update(pd.Series([60.0], index=[2020], name="y"))


@pytest.mark.parametrize("freq", ["M", "Q", "W-SUN", "Y"])
def test_periods_go_on_as_periods(freq):
    index = pd.period_range("1960", periods=60, freq=freq)
    found = TitansForecaster(horizon=3, **QUICK).fit(pd.DataFrame({"y": np.arange(60.0)}, index=index)).predict()
    assert found.index.equals(pd.period_range(index[-1] + 1, periods=3, freq=freq))


@pytest.mark.parametrize("change", ["2024-03-31", "2024-10-27"])
def test_quarters_of_an_hour_over_a_change_of_clocks(change):
    end = pd.Timestamp(change, tz="Europe/Berlin") + pd.Timedelta("1h")
    index = pd.date_range(end=end, periods=14 * 96, freq="15min")
    daily = pd.DataFrame({"load": np.sin(np.arange(len(index)) * 2 * np.pi / 96)}, index=index)
    model = TitansForecaster(horizon=16, lookback=192, patch_length=16, layers=0, random_state=0).fit(daily)
    found = model.predict()
    assert found.index.equals(pd.date_range(index[-1], periods=17, freq="15min")[1:])
    assert str(found.index.tz) == "Europe/Berlin"
    assert found.index[-1] - index[-1] == pd.Timedelta("4h")
    assert model.update(found).predict().index[0] == found.index[-1] + pd.Timedelta("15min")


def test_a_panel_with_hopeless_series():
    days = pd.date_range("2024", periods=120)
    good = {f"good {i}": np.sin(np.arange(120.0) / (3 + i)) for i in range(3)}
    bad = {"empty": np.full(120, np.nan), "infinite": np.full(120, np.inf)}
    long = pd.concat(
        [pd.DataFrame({"unique_id": name, "ds": days, "y": values}) for name, values in (good | bad).items()],
        ignore_index=True,
    )
    both = r"(?s)(?=.*'empty')(?=.*'infinite')"
    with pytest.raises(ValueError, match=both):
        TitansForecaster(horizon=7, **QUICK).fit(long)
    with pytest.warns(UserWarning, match=both) as told:
        model = TitansForecaster(horizon=7, on_error="skip", **QUICK).fit(long)
    assert len(told) == 1
    assert set(model.skipped_) == set(bad)
    alone = TitansForecaster(horizon=7, **QUICK).fit(long[long["unique_id"].isin(good)])
    pd.testing.assert_frame_equal(model.predict(), alone.predict())


def test_the_names_of_autogluon():
    days = pd.date_range("2024", periods=100)
    index = pd.MultiIndex.from_product([["A", "B"], days], names=["item_id", "timestamp"])
    frame = pd.DataFrame({"target": np.sin(np.arange(200.0) / 5)}, index=index)
    model = TitansForecaster(horizon=4, **QUICK).fit(frame)
    found = model.predict()
    assert found.index.names == ["item_id", "timestamp"]
    assert list(found.columns) == ["target"]
    assert found.loc["B"].index.tolist() == list(pd.date_range(days[-1], periods=5)[1:])
    named = {"id_column": "item_id", "time_column": "timestamp", "target_columns": "target"}
    flat = TitansForecaster(horizon=4, **named, **QUICK).fit(frame.reset_index()).predict()
    pd.testing.assert_frame_equal(found.reset_index(), flat)
