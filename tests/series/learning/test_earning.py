"""What each part earned, held against forecasts that are asked for one by one."""

import numpy as np
import pandas as pd
import pytest
import torch
from series.estimator_cases import fitted, wave

from titans_ts import TitansForecaster, load
from titans_ts.blocks.scale import Scale
from titans_ts.series.base import mixing
from titans_ts.series.base.bank import Bank
from titans_ts.series.learning import earning
from titans_ts.series.reading import rolling_forecasts

NAN = float("nan")


def test_errors_are_means_over_the_horizon_in_sizes_and_cut():
    rows = torch.tensor([[0.0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1000], [0.0, 2, NAN, 2, 0, 2, 0, 2, 0, 2, NAN, 4]]).double()
    ends = torch.tensor([2, 8, 10])
    bank = Bank(1)
    scale = Scale(torch.zeros(2).double(), torch.ones(2).double())
    seen, _ = bank.read(rows, scale, bank.initial(2), ends)
    truth = torch.stack([rows[:, end : end + 2] for end in ends], dim=1)
    found = earning.judge(truth + 1, truth * 0 + 3, truth, seen, season=1)
    assert found.size.isnan().tolist() == [[True, False, False]] * 2, "two rows tell no size"
    size = found.size.numpy()
    np.testing.assert_allclose(found.errors["base"][:, 1:], 1 / size[:, 1:])
    last = found.errors["seasonal naive"].numpy()
    np.testing.assert_allclose(last[0, 2], (1 / size[0, 2] + mixing.LARGEST) / 2)
    np.testing.assert_allclose(last[1, 2], abs(4 - 2) / size[1, 2])


def test_parts_are_compared_at_the_same_origins():
    errors = {"base": torch.tensor([[1.0, 2, NAN, 4]]), "all": torch.tensor([[NAN, 1.0, 1, 3]])}
    found = earning.table(earning.Judged(errors, torch.ones(1, 4)))
    assert found == [earning.Earned("base", 3.0, 2), earning.Earned("all", 2.0, 2)]
    assert earning.table(earning.Judged({"base": torch.full((1, 2), NAN)}, torch.ones(1, 2))) == []


def test_the_error_of_all_is_that_of_forecasts_of_the_validation_rows():
    """But for the base, which is solved once more on all rows: without rows more than at the origin they are near."""
    X = wave(600, 2)
    model = TitansForecaster(6, lookback=48, patch_length=8, max_steps=3, caution=0, random_state=0).fit(X)
    parts = [one.part for one in model.earned_]
    assert parts == ["seasonal naive", "base", "reads on", "memory silent", "all"]
    assert len({one.origins for one in model.earned_}) == 1
    start = model.training_rows_[None]
    origins = [end for end in range(8, 601, 8) if end >= start and end < 600]
    assert model.earned_[-1].origins == 2 * len(origins)
    reader = model.reader_
    padded = np.pad(X, ((0, 6), (0, 0)), constant_values=np.nan)
    errors = []
    for group, found in rolling_forecasts(reader.network, reader.tensors(next(iter(reader.panel(X)))), origins):
        for i, origin in enumerate(group):
            size = np.abs(np.diff(X[:origin], axis=0)).mean(0)
            errors.append(np.nanmean(np.abs(padded[origin : origin + 6] - found.point[i].numpy()), axis=0) / size)
    assert model.earned_[-1].error == pytest.approx(np.mean(errors), rel=0.1)


def test_a_file_keeps_what_was_earned(tmp_path):
    model = fitted(wave(), layers=0)
    assert [one.part for one in model.earned_] == ["seasonal naive", "base", "reads on"]
    assert model.earned_[1].error < model.earned_[0].error
    assert set(model.coverage_) == {80, 95}
    assert set(model.fit_seconds_) == {"preparing", "base", "memory", "reading"}
    model.save(tmp_path / "a.titans")
    again = load(tmp_path / "a.titans")
    assert (again.earned_, again.coverage_, again.fit_seconds_) == (model.earned_, model.coverage_, {})
    assert pd.DataFrame(again.earned_).columns.tolist() == ["part", "error", "origins"]


def test_a_constant_stream_does_not_outweigh_the_others():
    chance = np.random.default_rng(0)
    flat = np.full(300, 5.0)
    flat[250:] += chance.normal(size=50)
    model = fitted([chance.normal(size=300), flat], layers=0)
    assert model.earned_[-1].error < mixing.LARGEST
