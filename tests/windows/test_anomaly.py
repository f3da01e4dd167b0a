"""The detector: surprise as scores of windows and of steps, thresholds by contamination, and that it finds what is odd."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from windows.estimator_cases import FORETOLD, OTHERS, TABLE, fitted, rhythms

from titans_ts import TitansAnomalyDetector, load
from titans_ts.backbones.variants import VARIANTS
from titans_ts.windows.reader import surprises

LEARN = {
    **FORETOLD, "width": 16, "max_steps": 60, "batch_size": 8, "learning_rate": 2e-2, "dropout": 0.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return fitted("detector")


# --- scores ---------------------------------------------------------------------------------------------------------


def test_a_step_scores_its_negative_surprise_and_a_window_the_root_mean_square(model):
    steps, windows = model.score_steps(OTHERS), model.score_samples(OTHERS)
    for one, found, surprise, score in zip(OTHERS, steps, surprises(model.network_, OTHERS), windows, strict=True):
        assert found.shape == (len(one),)
        np.testing.assert_array_equal(found, -surprise)
        assert score == pytest.approx(-np.sqrt(np.mean(surprise**2)))
    assert (windows <= 0).all()
    assert np.ptp(windows) > 0.1


def test_below_the_threshold_is_an_anomaly(model, tmp_path):
    model.save(tmp_path / "a.titans")
    for one in (model, load(tmp_path / "a.titans")):
        for X in (TABLE, OTHERS):
            scores = one.score_samples(X)
            np.testing.assert_array_equal(one.decision_function(X), scores - one.offset_)
            assert one.predict(X).tolist() == [-1 if score < one.offset_ else 1 for score in scores]
            for found, steps in zip(one.predict_steps(X), one.score_steps(X), strict=True):
                assert found.tolist() == [-1 if score < one.step_offset_ else 1 for score in steps]
    assert set(model.predict(TABLE)) == {-1, 1}


@pytest.mark.parametrize("contamination", [0.03, 0.2, 0.5])
def test_contamination_sets_the_share_of_windows_and_of_steps_below_the_threshold(contamination, model):
    found = fitted("detector", contamination=contamination)
    np.testing.assert_array_equal(found.score_samples(TABLE), model.score_samples(TABLE), err_msg="and nothing else")
    assert np.mean(found.predict(TABLE) == -1) == pytest.approx(contamination, abs=1 / 40)
    steps = np.concatenate(found.predict_steps(TABLE))
    assert np.mean(steps == -1) == pytest.approx(contamination, abs=4 / steps.size + 1e-9), "to a patch"


def test_fit_predict_is_what_fit_and_predict_say(model):
    expected = model.predict(TABLE)
    assert TitansAnomalyDetector(**FORETOLD).fit_predict(TABLE).tolist() == expected.tolist()


def test_what_was_not_measured_surprises_no_one(model):
    gaps = np.full((2, 24), np.nan)
    assert not model.score_samples(gaps).any()
    assert model.predict(gaps).tolist() == [1, 1]


# --- one long series ------------------------------------------------------------------------------------------------


OF_A_SERIES = {**LEARN, "patch_length": 8, "max_steps": 30, "batch_size": 1, "learning_rate": 3e-2}


def series(length=1200, *, period=13.0, noise=0.05, seed=0):
    chance = np.random.default_rng(seed)
    return 20 + 3 * np.sin(2 * np.pi * np.arange(length) / period) + noise * chance.normal(size=length)


@pytest.fixture(scope="module")
def of_a_series():
    return TitansAnomalyDetector(**OF_A_SERIES, contamination=0.01).fit([series()])


def test_one_series_is_learned_and_another_of_any_length_scored(of_a_series):
    assert of_a_series.n_channels_ == 1
    assert not hasattr(of_a_series, "n_features_in_")
    assert len(of_a_series.training_history_) == 1
    scored = of_a_series.score_steps([series(700, seed=1), series(90, seed=2)])
    assert [len(steps) for steps in scored] == [700, 90]
    share = np.mean(np.concatenate(of_a_series.predict_steps([series(1200, seed=3)])) == -1)
    assert share < 0.05, "of the same kind next to nothing is an anomaly"


def test_a_spike_is_found(of_a_series):
    odd = series(600, seed=1)
    odd[301] += 6
    scores, found = of_a_series.score_steps([odd])[0], of_a_series.predict_steps([odd])[0]
    assert 296 <= scores.argmin() < 304, "in the patch where it lies"
    assert (found[296:304] == -1).all()
    assert np.mean(found[100:296] == -1) < 0.05


def test_another_rhythm_is_found(of_a_series):
    odd = np.concatenate([series(400, seed=1), series(200, period=5.0, seed=2), series(400, seed=3)])
    scores = of_a_series.score_steps([odd])[0]
    inside = np.zeros(1000, bool)
    inside[400:600] = True
    usual = np.r_[100:400, 700:1000]
    assert roc_auc_score(inside[np.r_[400:600, usual]], -scores[np.r_[400:600, usual]]) > 0.95
    assert np.median(scores[410:590]) < of_a_series.step_offset_


def test_odd_windows_score_below_usual_ones():
    usual, other = (rhythms(60, 40, (8.0,), noise=0.1, seed=seed)[0] for seed in (1, 2))
    odd = rhythms(20, 40, (3.5,), noise=0.1, seed=3)[0]
    model = TitansAnomalyDetector(**LEARN).fit(usual)
    truth = np.repeat([1, 0], [20, 60])
    assert roc_auc_score(truth, -model.decision_function(np.concatenate([odd, other]))) > 0.95
    assert np.mean(model.predict(odd) == -1) > 0.9
    assert np.mean(model.predict(other) == -1) < 0.3


# --- what it needs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [*({"variant": name} for name in VARIANTS), {"layers": 0}], ids=str)
def test_what_foretells_reads_what_any_backbone_holds(arguments, tmp_path):
    model = fitted("detector", **arguments)
    scores = model.score_samples(OTHERS)
    assert np.isfinite(scores).all()
    assert np.ptp(scores) > 0
    model.save(tmp_path / "a.titans")
    np.testing.assert_array_equal(load(tmp_path / "a.titans").score_samples(OTHERS), scores)


def test_where_it_adapts_what_lasts_surprises_it_no_more():
    usual = series(400, noise=0.01)
    moved = np.concatenate([usual[:91], usual[:300] + 6])  # on another level from there on
    found = {}
    for adapt in (False, True):
        model = TitansAnomalyDetector(**{**OF_A_SERIES, "layers": 0}, adapt=adapt).fit([usual])
        scores = -model.score_steps([moved])[0]
        found[adapt] = scores[-100:].mean() / scores[92:132].mean()
    assert found[True] < 0.9 * found[False], found
