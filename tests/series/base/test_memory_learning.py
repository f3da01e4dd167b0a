import numpy as np
import pytest
import torch
from series.base.memory_cases import HORIZON, LOOKBACK, PATCH, asked, boundaries, panel, read_all

from titans_ts.series.base import memory_learning
from titans_ts.series.base.linear_memory import LinearMemory
from titans_ts.series.base.memory_learning import learn, read_apart


def test_a_new_stream_begins_with_what_the_panel_knows():
    """The base misses by the same constant everywhere: the panel's prior says so before a stream has told its own."""
    rows = panel(streams=12, seed=10) / 5 + 1
    made = LinearMemory(LOOKBACK, HORIZON, PATCH)
    learn(made, rows, boundaries(rows), *asked(rows, boundaries(rows)))
    size = torch.ones(12, 1).double()
    said = made.forecast(rows[:, :LOOKBACK], torch.tensor([LOOKBACK]), size, made.initial(12))
    assert (said - 1).abs().mean() < 0.3


def test_noise_is_not_believed():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(8, 400, generator=generator, dtype=torch.float64)
    quiet = LinearMemory(LOOKBACK, HORIZON, PATCH)
    learn(quiet, rows, boundaries(rows), *asked(rows, boundaries(rows)))
    said, _ = read_all(quiet, rows)
    assert said.square().mean() < 2e-3


@pytest.mark.parametrize("rows", [0, 3, 5, 20, 30])
def test_too_few_rows_teach_nothing(rows):
    few = torch.randn(2, rows, dtype=torch.float64)
    blank = LinearMemory(LOOKBACK, HORIZON, PATCH)
    learn(blank, few, boundaries(few), *asked(few, boundaries(few)))
    said, _ = read_all(blank, few)
    assert said.shape == (2, rows // PATCH, HORIZON)
    assert not said.any()


def test_what_a_stream_taught_the_prior_is_not_told_to_it_while_others_learn():
    """Half of the streams miss by another constant: at first each half hears what the other misses by."""
    rows, made = panel(10, 400), LinearMemory(LOOKBACK, HORIZON, PATCH)
    size = asked(rows, boundaries(rows))[1]
    missed = torch.where(torch.arange(10) < 5, 1.0, 1.3).double()[:, None, None]
    truth = torch.nn.functional.pad(rows, (0, HORIZON), value=float("nan")).unfold(1, HORIZON, 1)[:, boundaries(rows)]
    expected = truth - missed
    learned = learn(made, rows, boundaries(rows), expected, size)
    prior = made.prior.clone()
    assert prior.any()
    early = read_apart(made, learned, rows, boundaries(rows), expected, size)[:, 1].mean(-1)
    assert early[:5].mean() > 1.15 * early[5:].mean()
    assert torch.equal(made.prior, prior)


def what_hardly_varies(streams, lookback=64, horizon=4, patch=4):
    """Smooth streams, and a base whose error follows, in each with its own sign, the last small turn of the look-back."""
    generator = np.random.default_rng(5)
    smooth = np.apply_along_axis(np.convolve, 1, generator.standard_normal((streams, 900)), np.hanning(5), mode="valid")
    rows = torch.from_numpy(smooth[:, :880])
    made, ends = LinearMemory(lookback, horizon, patch), boundaries(rows, patch)
    kept = ends[(ends >= lookback) & (ends + horizon <= rows.shape[1])]
    told = torch.zeros(lookback, dtype=torch.float64)
    told[-4:] = torch.tensor([-1.0, 3.0, -3.0, 1.0])
    window = rows[:, kept[:, None] - lookback + torch.arange(lookback)]
    window = (window - window.mean(-1, keepdim=True)) / window.std(-1, keepdim=True)
    factor = torch.from_numpy(generator.choice([-1.0, 1.0], (streams, 1)))
    expected = torch.full((streams, len(ends), horizon), float("nan"), dtype=torch.float64)
    truth = rows[:, kept[:, None] + torch.arange(horizon)]
    expected[:, torch.isin(ends, kept)] = truth - (factor * (window @ told))[..., None]
    return made, told, (rows, ends, expected, torch.ones(streams, len(ends)).double())


def test_keys_are_those_that_tell_of_errors_though_they_hardly_vary(monkeypatch):
    made, told, given = what_hardly_varies(8)
    in_units = *given[:3], memory_learning._measured(made, *given[:2], given[3])
    memory_learning._find_directions(made, *in_units)
    (plain,), (telling, *_) = memory_learning._find_keys(made, *in_units)
    heard = [
        float((x.T @ torch.linalg.lstsq(x.T, told[:, None]).solution)[:, 0] @ told / (told @ told)) for x in (plain, telling)
    ]
    assert heard[0] < 0.5
    assert heard[1] > 0.75
    (gain,), _ = learn(made, *given)
    torch.testing.assert_close(made.whitening, telling)
    assert gain.gain > 0.5
    monkeypatch.setattr(memory_learning, "_find_keys", lambda *given: [(plain,)])
    assert learn(made, *given).gains[0].gain < gain.gain - 0.2


def test_few_streams_do_not_tell_which_keys_tell():
    made, _, given = what_hardly_varies(7)
    memory_learning._find_directions(made, *given)
    assert len(memory_learning._find_keys(made, *given)) == 1


def test_keys_that_tell_of_noise_are_not_believed():
    """Of few rows noise seems to tell a lot: halves of the streams, which share no noise, say that it does not."""
    rows = torch.from_numpy(np.random.default_rng(2).standard_normal((12, 260)))
    made = LinearMemory(48, 12, 4)
    gains, apart = learn(made, rows, boundaries(rows), *asked(rows, boundaries(rows)))
    assert all(torch.equal(half.whitening, made.whitening) for half in apart)
    assert max(gain.gain for gain in gains) < 0.01


def test_a_stream_is_foretold_by_keys_of_the_half_it_is_not_in_while_others_learn():
    made, _, (rows, ends, expected, size) = what_hardly_varies(8)
    unit = memory_learning._measured(made, rows, ends, size)
    memory_learning._find_directions(made, rows, ends, expected, unit)
    _, (_, of_first, of_second) = memory_learning._find_keys(made, rows, ends, expected, unit)
    learned = learn(made, rows, ends, expected, size)
    for half, of_other in zip(learned.apart, (of_second, of_first), strict=True):
        torch.testing.assert_close(half.whitening, of_other)
    assert not torch.allclose(of_first, of_second)
    whole, halves = made.whitening.clone(), [half.whitening for half in learned.apart]
    said = read_apart(made, learned, rows, ends, expected, size)
    assert torch.equal(made.whitening, whole)
    for part, keys in zip((slice(4), slice(4, None)), halves, strict=True):
        made.whitening.copy_(keys)
        again, _ = made.read(rows[part], ends, expected[part], size[part], made.initial(4))
        torch.testing.assert_close(again, said[part])
