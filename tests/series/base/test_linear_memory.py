import numpy as np
import pytest
import torch

from titans_ts.series.base.linear_memory import LinearMemory, _look_backs, _units, horizon_blocks

LOOKBACK, HORIZON, PATCH = 24, 12, 4


def panel(streams=3, rows=400, seed=0):
    """Streams whose next rows the base forecasts by zero, though each follows an own rhythm that it cannot know."""
    generator = np.random.default_rng(seed)
    time = np.arange(rows)
    tides = [np.sin(2 * np.pi * time / generator.uniform(7, 19) + i) for i in range(streams)]
    return torch.from_numpy(np.array(tides) + 0.1 * generator.standard_normal((streams, rows)))


def boundaries(rows, patch=PATCH):
    return patch * torch.arange(1, rows.shape[1] // patch + 1)


def asked(rows, ends, horizon=HORIZON):
    """What the base says, and the unit of its errors."""
    return torch.zeros(len(rows), len(ends), horizon, dtype=torch.float64), torch.ones(len(rows), len(ends)).double()


@pytest.fixture(scope="module")
def memory():
    rows = panel(streams=6, seed=1)
    made = LinearMemory(LOOKBACK, HORIZON, PATCH)
    gains = made.learn(rows, boundaries(rows), *asked(rows, boundaries(rows)))
    assert all(gain.gain > 0.2 for gain in gains)
    return made


def read_all(memory, rows, horizon=HORIZON):
    ends = boundaries(rows, memory.patch_length)
    return memory.read(rows, ends, *asked(rows, ends, horizon), memory.initial(len(rows)))


def read_in_pieces(memory, rows, cuts):
    """Read whole patches as they come, each call with as little context as is allowed."""
    ends, carry, said, done = boundaries(rows), memory.initial(len(rows)), [], 0
    for cut in [*cuts, rows.shape[1]]:
        now = ends[(ends > done) & (ends <= cut)]
        if len(now):
            first = max(int(now[0]) - memory.context, 0)
            words, carry = memory.read(rows[:, first:cut], now - first, *asked(rows, now), carry)
            said.append(words)
        done = cut
    return torch.cat(said, dim=1), carry


def test_it_learns_what_the_base_gets_wrong(memory):
    rows = panel(seed=2)
    said, _ = read_all(memory, rows)
    ends = boundaries(rows)[40:-3]
    truth = rows[:, ends[:, None] + torch.arange(HORIZON)]
    assert (truth - said[:, 40:-3]).square().mean() < 0.3 * truth.square().mean()


@pytest.mark.parametrize("cuts", [[1], [3, 4, 5, 90, 91, 300], list(range(1, 200)), list(range(7, 400, 31))])
def test_any_cut_gives_the_same(memory, cuts):
    rows = panel(seed=3)
    rows[0, 50:53] = torch.nan
    rows[1, :30] = torch.nan
    whole, left = read_all(memory, rows)
    said, carry = read_in_pieces(memory, rows, cuts)
    torch.testing.assert_close(said, whole, rtol=0, atol=1e-10)
    for one, other in zip(carry, left, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_streams_do_not_meet(memory):
    rows = panel(seed=4)
    together, carry = read_all(memory, rows)
    for i in range(len(rows)):
        alone, own = read_all(memory, rows[i : i + 1])
        torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-10)
        torch.testing.assert_close(own.gram[0], carry.gram[i], rtol=1e-10, atol=1e-10)


def test_answers_are_ridges_with_forgetting_weighed_by_their_losses(memory):
    """What is said is written out: weighted ridges of all errors that are known by then, and a mean of what did well."""
    rows = panel(streams=1, seed=5)
    ends, n = boundaries(rows), 70
    said, _ = read_all(memory, rows)
    looks, decay = _look_backs(rows, ends.tolist(), LOOKBACK), float(memory.decay)
    keys, unit, seen = memory._keys(looks)[0], _units(looks, torch.ones(1, len(ends)).double())[0], looks.seen[0]
    for b, (start, end) in enumerate(memory.blocks):
        delay, directions = memory.delays[b], memory.directions[memory.columns[b], start:end]
        values = [directions @ rows[0, ends[i] + start : ends[i] + end] / unit[i] for i in range(n - delay + 1)]
        answers = {}
        for now in range(n + 1):
            past = [i for i in range(now - delay + 1) if seen[i]]
            weight = torch.tensor([decay ** (now - delay - i) for i in past]).double()[:, None]
            aims = torch.stack([values[i] for i in past]) if past else torch.zeros(0, len(directions)).double()
            answers[now] = [torch.zeros(len(directions)).double()]
            for m in (7, memory.features):
                known = keys[past, :m]
                for penalty in (8.0, 64.0):
                    gram = known.T @ (weight * known) + penalty * torch.eye(m).double()
                    answers[now].append(keys[now, :m] @ torch.linalg.solve(gram, known.T @ (weight * aims)))
        losses = torch.zeros(5, dtype=torch.float64)
        for i in range(n - delay + 1):
            lost = torch.stack([(values[i] - answer).norm() / (end - start) ** 0.5 for answer in answers[i]])
            losses = 0.5 ** (1 / 64) * losses + seen[i] * lost
        weights = torch.softmax(-memory.pace[b] * (losses + 30 * memory.worth[b]), -1)
        wanted = memory.share[b] * unit[n] * sum(w * x for w, x in zip(weights, answers[n], strict=True)) @ directions
        torch.testing.assert_close(said[0, n, start:end], wanted, rtol=1e-8, atol=1e-9)


def test_what_is_missing_is_not_written(memory):
    rows = panel(seed=6)
    rows[:, 200:260] = torch.nan
    said, carry = read_all(memory, rows)
    assert said.isfinite().all()
    assert all(x.isfinite().all() for x in carry)
    ends = boundaries(rows)
    silent = torch.zeros(3, len(ends), HORIZON).double().fill_(torch.nan), torch.ones(3, len(ends)).double()
    said, carry = memory.read(rows, ends, *silent, memory.initial(3))
    assert not said.any()
    assert not carry.gram.any()
    unknown = asked(rows, ends)[0], torch.full((3, len(ends)), torch.nan).double()
    said, carry = memory.read(rows, ends, *unknown, memory.initial(3))
    assert not said.any()
    assert all(x.isfinite().all() for x in carry)


def test_a_wild_row_moves_it_little(memory):
    rows = panel(seed=7)
    wild = rows.clone()
    wild[:, 100] = 1e12
    calm, _ = read_all(memory, rows)
    said, _ = read_all(memory, wild)
    assert said.isfinite().all()
    assert (said[:, -10:] - calm[:, -10:]).abs().max() < 0.5
    assert said.abs().max() < 5 * calm.abs().max()  # nor while it is in the look-back


def test_scale_of_a_stream_does_not_matter(memory):
    rows = panel(seed=8)
    ends = boundaries(rows)
    expected, size = asked(rows, ends)
    said, _ = memory.read(rows, ends, expected, size, memory.initial(3))
    larger, _ = memory.read(1000 * rows, ends, expected, 1000 * size, memory.initial(3))
    torch.testing.assert_close(larger, 1000 * said, rtol=1e-8, atol=1e-8)


def test_a_forecast_reads_what_a_boundary_reads(memory):
    rows = panel(seed=9)
    said, carry = read_all(memory, rows)
    size = torch.ones(3, 1).double()
    again = memory.forecast(rows, torch.tensor([400]), size, carry)
    torch.testing.assert_close(again, said[:, -1:], rtol=0, atol=1e-12)
    assert memory.forecast(rows[:, :399], torch.tensor([399]), size, carry).isfinite().all()
    assert not memory.forecast(rows, torch.tensor([400]), size, memory.initial(3)).any()


def test_a_file_fills_a_blank_one(memory):
    blank = LinearMemory(LOOKBACK, HORIZON, PATCH)
    assert not read_all(blank, panel(seed=2))[0].any()
    blank.load_state_dict(memory.state_dict())
    assert torch.equal(read_all(blank, panel(seed=2))[0], read_all(memory, panel(seed=2))[0])


def test_a_new_stream_begins_with_what_the_panel_knows():
    """The base misses by the same constant everywhere: the panel's prior says so before a stream has told its own."""
    rows = panel(streams=12, seed=10) / 5 + 1
    made = LinearMemory(LOOKBACK, HORIZON, PATCH)
    made.learn(rows, boundaries(rows), *asked(rows, boundaries(rows)))
    size = torch.ones(12, 1).double()
    said = made.forecast(rows[:, :LOOKBACK], torch.tensor([LOOKBACK]), size, made.initial(12))
    assert (said - 1).abs().mean() < 0.3


def test_noise_is_not_believed():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(8, 400, generator=generator, dtype=torch.float64)
    quiet = LinearMemory(LOOKBACK, HORIZON, PATCH)
    quiet.learn(rows, boundaries(rows), *asked(rows, boundaries(rows)))
    said, _ = read_all(quiet, rows)
    assert said.square().mean() < 2e-3


@pytest.mark.parametrize("rows", [0, 3, 5, 20, 30])
def test_too_few_rows_teach_nothing(rows):
    few = torch.randn(2, rows, dtype=torch.float64)
    blank = LinearMemory(LOOKBACK, HORIZON, PATCH)
    blank.learn(few, boundaries(few), *asked(few, boundaries(few)))
    said, _ = read_all(blank, few)
    assert said.shape == (2, rows // PATCH, HORIZON)
    assert not said.any()


@pytest.mark.parametrize(
    ("lookback", "horizon", "patch_length", "most", "fewest"),
    [
        (168, 24, 16, 9_000, 25),
        (336, 96, 16, 20_000, 25),
        (720, 96, 16, 20_000, 25),
        (336, 96, 24, 20_000, 25),
        (336, 720, 16, 40_000, 24),
        (720, 720, 16, 40_000, 19),
    ],
)
def test_bytes_of_a_channel(lookback, horizon, patch_length, most, fewest):
    memory = LinearMemory(lookback, horizon, patch_length)
    assert memory.initial(1).nbytes + 8 * (lookback + horizon) <= most
    assert memory.initial(5).nbytes == 5 * memory.initial(1).nbytes
    assert memory.features >= fewest
    assert memory.directions.shape[0] <= 16


def test_blocks_cover_the_horizon():
    for horizon in range(1, 60):
        for patch_length in (1, 3, 8, 24):
            blocks = horizon_blocks(horizon, patch_length)
            assert len(blocks) <= 3
            assert [start for start, _ in blocks] == [0, *(end for _, end in blocks[:-1])]
            assert blocks[-1][1] == horizon


def test_what_a_stream_taught_the_prior_is_not_told_to_it_while_others_learn():
    """Half of the streams miss by another constant: at first each half hears what the other misses by."""
    rows, made = panel(10, 400), LinearMemory(LOOKBACK, HORIZON, PATCH)
    size = asked(rows, boundaries(rows))[1]
    missed = torch.where(torch.arange(10) < 5, 1.0, 1.3).double()[:, None, None]
    truth = torch.nn.functional.pad(rows, (0, HORIZON), value=float("nan")).unfold(1, HORIZON, 1)[:, boundaries(rows)]
    expected = truth - missed
    made.learn(rows, boundaries(rows), expected, size)
    prior = made.prior.clone()
    assert prior.any()
    early = made.read_apart(rows, boundaries(rows), expected, size)[:, 1].mean(-1)
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


def test_keys_are_those_that_tell_of_errors_though_they_hardly_vary():
    made, told, given = what_hardly_varies(8)
    in_units = *given[:3], made._measured(*given[:2], given[3])
    made._find_directions(*in_units)
    (plain,), (telling, *_) = made._find_keys(*in_units)
    heard = [
        float((x.T @ torch.linalg.lstsq(x.T, told[:, None]).solution)[:, 0] @ told / (told @ told)) for x in (plain, telling)
    ]
    assert heard[0] < 0.5
    assert heard[1] > 0.75
    (gain,) = made.learn(*given)
    torch.testing.assert_close(made.whitening, telling)
    assert gain.gain > 0.5
    made._find_keys = lambda *given: [(plain,)]
    assert made.learn(*given)[0].gain < gain.gain - 0.2


def test_few_streams_do_not_tell_which_keys_tell():
    made, _, given = what_hardly_varies(7)
    made._find_directions(*given)
    assert len(made._find_keys(*given)) == 1


def test_keys_that_tell_of_noise_are_not_believed():
    """Of few rows noise seems to tell a lot: halves of the streams, which share no noise, say that it does not."""
    rows = torch.from_numpy(np.random.default_rng(2).standard_normal((12, 260)))
    made = LinearMemory(48, 12, 4)
    gains = made.learn(rows, boundaries(rows), *asked(rows, boundaries(rows)))
    assert all(torch.equal(half.whitening, made.whitening) for half in made._apart)
    assert max(gain.gain for gain in gains) < 0.01


def test_a_stream_is_foretold_by_keys_of_the_half_it_is_not_in_while_others_learn():
    made, _, (rows, ends, expected, size) = what_hardly_varies(8)
    made.learn(rows, ends, expected, size)
    whole, halves = made.whitening.clone(), [half.whitening for half in made._apart]
    said = made.read_apart(rows, ends, expected, size)
    assert torch.equal(made.whitening, whole)
    for part, keys in zip((slice(4), slice(4, None)), halves, strict=True):
        made.whitening.copy_(keys)
        again, _ = made.read(rows[part], ends, expected[part], size[part], made.initial(4))
        torch.testing.assert_close(again, said[part])
