import pytest
import torch
from series.base.memory_cases import HORIZON, LOOKBACK, PATCH, asked, boundaries, panel, read_all

from titans_ts.series.base.linear_memory import LinearMemory, horizon_blocks, look_backs, units_of
from titans_ts.series.base.memory_learning import learn


@pytest.fixture(scope="module")
def memory():
    rows = panel(streams=6, seed=1)
    made = LinearMemory(LOOKBACK, HORIZON, PATCH)
    gains = learn(made, rows, boundaries(rows), *asked(rows, boundaries(rows))).gains
    assert all(gain.gain > 0.2 for gain in gains)
    return made


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
    looks, decay = look_backs(rows, ends.tolist(), LOOKBACK), float(memory.decay)
    keys, unit, seen = memory.keys_of(looks)[0], units_of(looks, torch.ones(1, len(ends)).double())[0], looks.seen[0]
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
