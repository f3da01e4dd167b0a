"""The embedder: what it holds of a sequence, that it learns without labels, and what its numbers are good for."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from windows.estimator_cases import FORETOLD, OTHERS, TABLE, close, fitted, rhythms

from titans_ts import TitansEmbedder, load
from titans_ts.windows.reader import embeddings

LEARN = {
    **FORETOLD, "width": 16, "max_steps": 40, "batch_size": 8, "learning_rate": 3e-2, "dropout": 0.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return fitted("embedder")


def test_an_embedding_is_mean_greatest_and_last_of_what_is_held(model):
    found = model.transform(OTHERS)
    assert found.shape == (len(OTHERS), 3 * 8)
    np.testing.assert_array_equal(found, embeddings(model.network_, OTHERS))
    mean, greatest, last = np.split(found, 3, axis=1)
    assert (greatest >= mean - 1e-12).all()
    assert (greatest >= last - 1e-12).all()
    close(np.broadcast_to(found[0].reshape(3, 8), (3, 8)), np.broadcast_to(last[0], (3, 8)))  # of one step all are the same
    assert np.linalg.matrix_rank(found - found.mean(0)) >= 5


def test_features_have_names_and_as_many_as_there_are(model, tmp_path):
    names = model.get_feature_names_out()
    assert names.tolist() == [f"titansembedder{i}" for i in range(24)]
    model.save(tmp_path / "a.titans")
    assert load(tmp_path / "a.titans").get_feature_names_out().tolist() == names.tolist()
    frame = TitansEmbedder(**FORETOLD).set_output(transform="pandas").fit_transform(TABLE)
    assert frame.columns.tolist() == names.tolist()
    np.testing.assert_array_equal(frame.to_numpy(), model.transform(TABLE))


def test_fit_and_transform_at_once_is_one_after_the_other(model):
    expected = model.transform(TABLE)
    np.testing.assert_array_equal(TitansEmbedder(**FORETOLD).fit_transform(TABLE), expected)
    with_labels = TitansEmbedder(**FORETOLD).fit(TABLE, y=np.arange(40))
    np.testing.assert_array_equal(with_labels.transform(TABLE), expected, err_msg="of labels nothing is learned")


@pytest.mark.parametrize("variant", ["lmm", "attention", "full_attention", "lstm", "hopfield"])
def test_any_backbone_reads(variant, model):
    found = fitted("embedder", variant=variant).transform(OTHERS)
    assert np.isfinite(found).all()
    assert not np.allclose(found, model.transform(OTHERS))


def test_without_layers_every_patch_is_embedded_on_its_own():
    model = fitted("embedder", layers=0)
    windows = [TABLE[0], np.concatenate([TABLE[0, 8:], TABLE[0, :8]])]  # the same patches in another order
    mean, greatest, last = np.split(model.transform(windows), 3, axis=1)
    close(mean[0], mean[1])
    close(greatest[0], greatest[1])
    assert not np.allclose(last[0], last[1])
    mean, *_ = np.split(fitted("embedder").transform(windows), 3, axis=1)
    assert not np.allclose(mean[0], mean[1]), "with layers their order counts"


def test_one_long_series_is_enough_and_its_end_chooses():
    series = rhythms(1, 400)[0][0]
    model = TitansEmbedder(**{**FORETOLD, "max_steps": 4}).fit([series])
    assert [report["step"] for report in model.training_history_] == [4]
    assert model.transform([series, series[:50]]).shape == (2, 24)
    short = TitansEmbedder(**FORETOLD).fit([series[:20]])
    assert short.training_history_ == [], "nothing to spare for validation"


def test_it_learns_to_foretell():
    X = rhythms(30, 60, noise=0.1)[0]
    losses = []
    model = TitansEmbedder(**LEARN, callbacks=[lambda _run, report: losses.append(report.loss)]).fit(X)
    assert len(losses) == 40
    assert np.mean(losses[-5:]) < 0.3 * losses[0]
    assert model.training_history_[-1]["validation"] < 0.3 * losses[0]


def test_a_rhythm_is_read_off_its_embedding_and_not_off_values():
    (X, _), (train, y), (test, y_test) = (rhythms(n, 40, seed=seed) for n, seed in ((60, 1), (60, 2), (100, 3)))
    model = TitansEmbedder(**LEARN).fit(X)  # without labels
    known, asked = model.transform(train), model.transform(test)
    spread = known.std(0)
    score = LogisticRegression(max_iter=1000).fit(known / spread, y).score(asked / spread, y_test)
    assert score > 0.85
    assert LogisticRegression(max_iter=1000).fit(train, y).score(test, y_test) < 0.65
