"""Categories, holidays, the calendar and a static frame, from `fit` to a forecast, a file and a store."""

import json

import numpy as np
import pandas as pd
import pytest
from series.estimator_cases import SMALL, one_step
from sklearn.base import clone

from titans_ts import MemoryStore, TitansForecaster, load
from titans_ts.series.reader import Reader, Reading

DAYS = pd.date_range("2022-03-01", periods=420)
KINDS = ["none", "flyer", "tv"]
OFF = DAYS[np.random.default_rng(1).choice(420, 30, replace=False)].sort_values()


def shop(name, seed, rows=420):
    chance = np.random.default_rng(seed)
    kind = chance.choice(KINDS, rows)
    level = 40 * (1 + 0.1 * np.sin(np.arange(rows) * 2 * np.pi / 7)) * np.where(DAYS[:rows].isin(OFF), 2, 1)
    y = level * pd.Series(kind).map({"none": 1, "flyer": 1.3, "tv": 1.7}) * (1 + 0.02 * chance.normal(size=rows))
    return pd.DataFrame({"unique_id": name, "ds": DAYS[:rows], "y": y, "kind": kind})


SALES = pd.concat([shop(name, seed) for seed, name in enumerate(("a", "b"))], ignore_index=True)
STORES = pd.DataFrame({"unique_id": ["b", "a", "c"], "type": ["mall", "street", "mall"], "size": [2.0, 1.0, 3.0]})
ALL = {"future_covariates": "kind", "holidays": {"ours": OFF.strftime("%Y-%m-%d").tolist()}}


def fit(X=SALES, static=None, **arguments):
    settings = {**SMALL, "layers": 1, "random_state": 0, "callbacks": [one_step], **arguments}
    return TitansForecaster(**settings).fit(X, static=static)


@pytest.fixture(scope="module")
def model():
    return fit(static=STORES, **ALL)


def test_columns_stay_the_users_and_the_network_counts_their_numbers(model):
    config = model.network_.config
    assert (config.future, config.static, config.past) == (3 + 3, 2 + 1, 0)
    assert model.feature_names_in_.tolist() == ["y", "kind", "type", "size"]


def test_a_file_a_clone_and_a_pickle_know_them(model, tmp_path):
    import pickle

    future = model.future_frame().assign(kind="tv")
    expected = model.predict(future=future)
    model.save(tmp_path / "model")
    for other in (load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        pd.testing.assert_frame_equal(other.predict(future=future), expected)
        again = other.forget().update(SALES).predict(future=future)
        np.testing.assert_allclose(again["y"], expected["y"], rtol=1e-5)
        assert other.holidays == model.holidays
    assert clone(model).fit(SALES, static=STORES).layout_ == model.layout_


def test_pieces_of_text_give_the_forecast_of_the_whole(model, tmp_path):
    future = model.future_frame().assign(kind=(KINDS * 4)[:12])
    SALES.to_csv(tmp_path / "sales.csv", index=False)
    expected = model.predict(SALES, future=future)["y"]
    whole = model.predict(tmp_path / "sales.csv", future=future.assign(ds=future["ds"]))
    np.testing.assert_allclose(whole["y"], expected, rtol=1e-5)
    cut = len(SALES) - 100
    pieces = model.predict(iter([SALES[:cut], SALES[cut:]]), future=future)
    np.testing.assert_allclose(pieces["y"], expected, rtol=1e-5)


def test_what_was_never_seen_is_told_once_however_it_comes(model):
    odd = SALES.assign(kind=SALES["kind"].replace("tv", "radio"))
    with pytest.warns(UserWarning, match=r"X has categories .* 'kind' \('radio'\)") as told:
        model.predict(iter([odd[:300], odd[300:]]), future=model.future_frame().assign(kind="none"))
    assert len([one for one in told if "categories" in str(one.message)]) == 1


def test_new_series_need_a_row_in_static_and_known_ones_keep_theirs(model, tmp_path):
    new = pd.concat([shop("c", 5, 60), shop("d", 6, 60)])
    with pytest.raises(ValueError, match="static covariates are not known: 'c', 'd'; pass static=frame"):
        model.predict(new, future=None)
    with pytest.raises(ValueError, match="static goes with the series of X, which is None"):
        model.predict(static=STORES, future=model.future_frame().assign(kind="tv"))
    with pytest.raises(ValueError, match="X is one series without an id, but the model takes static covariates by id"):
        model.predict(new[new["unique_id"] == "c"].drop(columns="unique_id"))
    with pytest.raises(ValueError, match="static covariates are not known: 'd';"):
        model.update(new, static=STORES)
    model.save(tmp_path / "model")
    other = load(tmp_path / "model")
    later = SALES[SALES["unique_id"] == "a"].tail(3)
    later = later.assign(ds=later["ds"] + pd.Timedelta(days=3))
    with pytest.raises(ValueError, match="static covariate 'size', id 'a' is 7 now, but was another when the series began"):
        other.update(later, static=STORES.assign(size=7.0))
    first, rest = shop("c", 5, 60)[:40], shop("c", 5, 60)[40:]
    other.update(first, static=STORES).update(rest)
    with MemoryStore(tmp_path / "store", model) as store:
        with pytest.raises(ValueError, match="are not known: 'c'"):
            store.update(first)
        store.update(first, static=STORES).update(rest).update(SALES)
        assert store["c"].n_seen == 60
        for name, part in store["c"].tensors.items():
            np.testing.assert_allclose(part, other.state_["c"].tensors[name], rtol=1e-5, atol=1e-6)
    other.save(tmp_path / "model")
    assert load(tmp_path / "model").forget("c").update(first).n_seen_["c"] == 40


def test_surprise_and_watch_take_static_covariates_of_new_series(model):
    new = shop("c", 5, 60)
    for method in (model.surprise, model.watch):
        with pytest.raises(ValueError, match="are not known: 'c'; pass static=frame"):
            method(new)
        assert set(method(new, static=STORES)["unique_id"]) == {"c"}


def test_a_store_forecasts_with_what_is_known_in_advance(model, tmp_path):
    with MemoryStore(tmp_path / "store", model) as store:
        store.update(SALES)
        for ids, horizon in ((None, 6), (["b"], 2)):
            future = store.future_frame(ids, horizon).assign(kind="tv")
            expected = model.predict(horizon=horizon, future=model.future_frame(horizon).assign(kind="tv"))
            expected = expected[expected["unique_id"].isin(set(future["unique_id"]))].reset_index(drop=True)
            found = store.predict(ids, horizon=horizon, future=future)
            pd.testing.assert_frame_equal(found, expected, rtol=1e-5)
        with pytest.raises(ValueError, match=r"needs the future covariates \['kind'\] .* future_frame\(\) makes the frame"):
            store.predict()
        with pytest.raises(ValueError, match="'b': future has no rows|future has no rows for the series 'b'"):
            store.predict(future=store.future_frame("a").assign(kind="tv"))


def test_rows_in_any_order_fit_the_same_model(model):
    other = fit(SALES.sample(frac=1, random_state=3), static=STORES, **ALL)
    future = model.future_frame().assign(kind="flyer")
    pd.testing.assert_frame_equal(other.predict(future=future.sample(frac=1)), model.predict(future=future))


def test_series_that_static_does_not_know_may_be_left_out(model):
    skipping = clone(model).set_params(on_error="skip", callbacks=[one_step])
    with pytest.warns(UserWarning, match="left out 1 series .*\n *'b': static has no row"):
        skipping.fit(SALES, static=STORES[STORES["unique_id"] == "a"])
    with pytest.warns(UserWarning, match="left out 1 series .*\n *'b': X holds series whose static"):
        forecast = skipping.predict(SALES, future=skipping.future_frame().assign(kind="tv"))
    assert set(forecast["unique_id"]) == {"a"}


def test_a_store_knows_holidays_without_being_told(tmp_path):
    model = fit(SALES.drop(columns="kind"), holidays=ALL["holidays"])
    with MemoryStore(tmp_path / "store", model) as store:
        np.testing.assert_allclose(store.update(SALES.drop(columns="kind")).predict()["y"], model.predict()["y"], rtol=1e-5)


def test_holidays_that_training_never_saw_count_for_nothing():
    one = SALES[SALES["unique_id"] == "a"].drop(columns=["unique_id", "kind"])
    after = DAYS[-1] + pd.Timedelta(days=2)
    with pytest.warns(UserWarning, match="holidays: no training row has a day of .'feast'., so nothing is learned of them"):
        model = fit(one, layers=0, holidays={"feast": [after]})
    assert np.ptp(model.reader_.ahead(Reading({}, model.last_times_, model.layout_), 6)[None].numpy()) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda layout: layout["categories"][0]["values"].pop(), "categories of 'kind' do not fit each other"),
        (lambda layout: layout["categories"][0].update(column="colour"), "categories of 'colour' do not fit each other"),
        (lambda layout: layout["holidays"][0]["days"].reverse(), "days of holidays 'ours' do not fit each other"),
        (lambda layout: layout["holidays"][0].update(days=["christmas"]), "christmas"),
        (lambda layout: layout["holidays"][0].update(code=5), "code must be"),
        (lambda layout: layout.update(static_apart=False), "static"),
    ],
)
def test_what_a_file_says_of_them_is_checked_before_it_is_believed(model, change, message):
    tensors, header = model._kept()
    header = json.loads(json.dumps(header))
    change(header["layout"])
    with pytest.raises(ValueError, match=message):
        Reader.from_file(header, tensors, model.network_)


def test_a_calendar_is_what_was_asked_for():
    one = SALES[SALES["unique_id"] == "a"].drop(columns=["unique_id", "kind"])

    def cycles(calendar, X=one):
        return fit(X, calendar=calendar, layers=0).preparation_.cycles

    assert cycles("auto") == ("week",)
    assert cycles(None) == cycles([]) == ()
    assert cycles(["year", "month"]) == ("month", "year")
    assert cycles("month") == ("month",)
    with pytest.raises(ValueError, match="calendar has 'hour'; expected 'auto', None, or some of .'day', 'week', 'month'"):
        cycles(["hour"])
    with pytest.raises(ValueError, match="calendar has .'week'."):
        cycles([["week"]])
    with pytest.raises(ValueError, match="rows are 24 hours apart, too far to show the cycle 'day'"):
        cycles(["day", "week"])
    with pytest.raises(ValueError, match="calendar=.'week'.: X has no dates"):
        cycles("week", np.arange(400.0))


def test_holidays_and_categories_halve_the_error():
    train = SALES.groupby("unique_id").head(360)

    def error(columns, **arguments):
        model = TitansForecaster(horizon=7, lookback=28, patch_length=7, layers=0, random_state=0, **arguments)
        return model.fit(train[columns]).backtest(SALES[columns], windows=8)[1]["mae"].mean()

    assert error(["unique_id", "ds", "y", "kind"], **ALL) < 0.5 * error(["unique_id", "ds", "y"])


@pytest.mark.slow
def test_holidays_alone_lower_the_error():
    X = SALES.drop(columns="kind").assign(y=SALES["y"] / SALES["kind"].map({"none": 1, "flyer": 1.3, "tv": 1.7}))
    train = X.groupby("unique_id").head(360)
    settings = {"horizon": 7, "lookback": 28, "patch_length": 7, "layers": 0, "random_state": 0}
    bare, off = (
        TitansForecaster(**settings, holidays=days).fit(train).backtest(X, windows=8)[1]["mae"].mean()
        for days in (None, ALL["holidays"])
    )
    assert off < 0.75 * bare


@pytest.mark.parametrize("static", [None, STORES], ids=["alone", "static"])
def test_a_fit_before_each_window_learns_the_categories_of_the_rows_before_it(static):
    """Rows after an origin say neither which values there are, nor how common they are."""
    late = SALES.assign(kind=SALES["kind"].where(SALES.groupby("unique_id").cumcount() < 300, "radio"))
    settings = {"static": static, "past_covariates": "kind", "validation_fraction": 0.0}
    model = fit(late, **settings)
    assert "radio" in model.layout_.categories[0].values
    with pytest.warns(UserWarning, match="radio"):
        found = model.backtest(late, windows=2, step=120, refit=True)[0]
    for cutoff, forecast in found.groupby("cutoff"):
        by_hand = fit(late[late["ds"] <= cutoff], **settings).predict()
        np.testing.assert_allclose(forecast["forecast"], by_hand["y"], rtol=1e-5)
