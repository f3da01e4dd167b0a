"""Training streams: where patches end, what is a target, the same segments after taking up again."""

import pytest
import torch
from series.cases import ALL_COVARIATES, make_config, make_series
from series.training_cases import config_of, foretold, make_run, numbered

from titans_ts.series.learning.training import StreamSampler, patch_ends


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("overlap", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("length", [0, 3, 4, 5, 99, 1000])
@pytest.mark.parametrize("patch", [1, 4])
def test_patches_leave_no_row_out_and_stay_inside(patch, length, overlap):
    ends = patch_ends(length, patch, generator(), overlap=overlap)
    steps = ends.diff(prepend=torch.zeros(1, dtype=ends.dtype))
    assert (steps >= 1).all()
    assert (steps <= patch).all(), "a row between two patches is read by none"
    assert (ends <= length).all()
    if overlap == 0:
        assert ends.tolist() == list(range(patch, length + 1, patch))


def test_the_share_of_overlaps_is_what_was_asked():
    steps = patch_ends(400_000, 16, generator(), overlap=0.2).diff()
    assert (steps < 16).double().mean().item() == pytest.approx(0.2 * 15 / 16, rel=0.05)
    short = steps[steps < 16]
    assert short.unique().tolist() == list(range(1, 16)), "a forecast may be asked at any row"


def sampler_of(series, config, seed: int = 0, **settings) -> StreamSampler:
    sizes = {"batch": 6, "segment": 5, "overlap": 0.3}
    return StreamSampler(series, config, **{**sizes, **settings}, generator=generator(seed))


def tokens_of(segment, config):
    return segment.tokens(config, torch.float32)


@pytest.mark.parametrize("channels", [1, 2])
def test_targets_are_what_followed_and_end_with_the_series(channels):
    config = config_of(channels=channels)
    lengths = {1: 40, 2: 100, 3: 57}
    sampler = sampler_of([numbered(length, i, channels) for i, length in lengths.items()], config)
    segments = sampler.segments()
    at_the_end = 0
    for _ in range(60):
        origins = tokens_of(next(segments), config)
        windows = origins.lookback
        last = (windows.values[..., -1] * windows.spread + windows.level).double().round()
        rows = last - 1000 * origins.covariates.channel.reshape(-1, 1, 1)
        number, end = rows // 10_000, rows % 10_000 + 1
        length = torch.tensor([0, *lengths.values()])[number.long()]
        found = (origins.target * windows.spread[..., None] + windows.level[..., None]).double()
        ahead = torch.arange(config.horizon)
        expected = last[..., None] + 1 + ahead
        inside = (end[..., None] + ahead) < length[..., None]
        assert not (~found.isnan() & ~inside).any(), "a target from beyond the end of its series"
        there = ~found.isnan()
        assert ((found - expected).abs()[there] < 0.5).all(), "a target that is not the row that followed"
        assert (inside & ~there).sum() <= (end == length).sum() * config.horizon
        at_the_end += int((inside.any(-1) & ~inside.all(-1)).sum())
    assert at_the_end > 0, "no segment came near an end: the test shows nothing"


def test_the_validation_part_is_never_read_in_training():
    """Change every validation row: the segments are the same to the bit."""
    config = config_of(recollection=8)
    plain, changed = make_run(config), make_run(config)
    for one, start in zip(changed.series, changed.starts, strict=True):
        one.rows[:, start:] = 1e9
        one.past[start:], one.calendar[start:] = 9, 9
        one.foretold.point[:, start // one.foretold.step + 1 :] = 9
    for phase in plain.steps_of_phases:
        pairs = []
        for run in (plain, changed):
            run.begin(phase)
            assert sorted(one.length for one in run.sampler.series) == sorted(run.starts)
            segments = run.sampler.segments()
            pairs.append([tokens_of(next(segments), config) for _ in range(20)])
        for a, b in zip(*pairs, strict=True):
            assert torch.equal(a.target.nan_to_num(), b.target.nan_to_num())
            assert torch.equal(a.base, b.base)
            seen = ([*one.lookback, *one.covariates] for one in (a, b))
            assert all(torch.equal(x, y) for x, y in zip(*seen, strict=True))


def test_a_stream_goes_on_from_segment_to_segment_and_says_when_it_begins():
    config = config_of()
    segments = sampler_of([numbered(400, 1)], config, overlap=0.0).segments()
    last, begun = None, 0
    for _ in range(60):
        segment = next(segments)
        begins, origins = segment.begins, tokens_of(segment, config)
        windows = origins.lookback
        rows = (windows.values[..., -1] * windows.spread + windows.level).round()[:, 0] % 10_000
        begun += begins
        if not begins:
            moved = rows[:, 0] - last
            assert ((moved == 4) | (rows[:, 0] == 399)).all(), "the state that is carried on has skipped rows"
        assert ((rows.diff(dim=1) == 4) | (rows[:, 1:] == 399)).all()
        last = rows[:, -1]
    assert begun >= 2


@pytest.mark.parametrize(("first", "silence", "earliest"), [(300, 5, 280), (300, 100, 0), (300, None, 0), (500, 5, 0)])
def test_streams_begin_no_longer_before_what_was_foretold_than_is_said(first, silence, earliest):
    """Of a long series all steps might else pass before anything is to learn."""
    config = config_of()
    (one,) = [foretold(numbered(400, 1), config)]
    one.foretold.point[:, : (first - one.foretold.first) // one.foretold.step] = torch.nan
    sampler, starts = sampler_of([one], config, silence=silence), []
    for _ in range(20):
        sampler._draw()
        starts += sampler._starts
    assert earliest <= min(starts) < earliest + 20


def test_streams_begin_anywhere_also_between_patches():
    config = config_of()
    segments = sampler_of([numbered(400, 1)], config, overlap=0.0, segment=1000).segments()
    phases = set()
    for _ in range(40):
        origins = tokens_of(next(segments), config)
        windows = origins.lookback
        first = (windows.values[:, 0, 0, -1] * windows.spread[:, 0, 0] + windows.level[:, 0, 0]).round() + 1
        phases |= set((first % 4).tolist())
    assert phases == {0.0, 1.0, 2.0, 3.0}


@pytest.mark.parametrize("step", [1, 2, 4])
@pytest.mark.parametrize("length", [57, 400])
def test_tokens_end_where_something_was_foretold(length, step):
    """Streams begin, and patches overlap, by whole steps of what was foretold; every such place is taken."""
    config = config_of()
    one = foretold(numbered(length, 1), config, step=step)
    segments = sampler_of([one], config, segment=1000).segments()
    phases = set()
    for _ in range(80):
        origins = tokens_of(next(segments), config)
        windows = origins.lookback
        end = ((windows.values[..., -1] * windows.spread + windows.level).double().round() % 10_000 + 1).flatten()
        assert (end % step == 0).all() or (end[end % step != 0] == length).all()
        phases |= set((end % 4).long().tolist())
        known = ~origins.target.isnan().all(-1).flatten()
        assert ((end >= config.lookback) & (end < length) == known).all()
    assert phases - {length % 4} == set(range(0, 4, step)) - {length % 4}


@pytest.mark.parametrize("step", [1, 2, 4])
def test_patches_that_overlap_do_so_by_whole_steps(step):
    ends = patch_ends(4000, 4, generator(), overlap=0.5, grid=step)
    steps = ends.diff(prepend=torch.zeros(1, dtype=ends.dtype))
    assert sorted(set(steps.tolist())) == list(range(step, 5, step))


def test_longer_series_are_read_more_often():
    sampler = sampler_of([numbered(50, 1), numbered(450, 2)], config_of(), batch=2000)
    share = sum(one.length == 450 for one in sampler._chosen) / 2000
    assert share == pytest.approx(0.9, abs=0.03)


@pytest.mark.parametrize("taken", [0, 1, 7, 23, 40])
def test_taking_up_gives_the_same_segments(taken):
    config = make_config(**ALL_COVARIATES)
    many = [make_series(config, length, missing=0.2, seed=length, beyond=5) for length in (60, 90)]
    sampler = sampler_of(many, config)
    segments = sampler.segments()
    for _ in range(taken):
        next(segments)
    drawn_from, next_token = sampler.drawn_from.clone(), sampler.next_token
    true = [next(segments) for _ in range(30)]
    other = sampler_of(many, config, seed=99)
    other.resume(drawn_from, next_token)
    again = other.segments()
    for segment in true:
        follows = next(again)
        assert follows.begins == segment.begins
        origins, found = tokens_of(segment, config), tokens_of(follows, config)
        assert torch.equal(found.target.nan_to_num(), origins.target.nan_to_num())
        for a, b in zip([*found.lookback, *found.covariates], [*origins.lookback, *origins.covariates], strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("channels", "mixed", "streams"), [(1, False, 6), (2, False, 6), (4, False, 4), (9, False, 9), (9, True, 6)]
)
def test_streams_side_by_side_count_channels(channels, mixed, streams):
    config = config_of(channels=channels, mixed=mixed)
    sampler = sampler_of([make_series(config, 60)], config)
    assert sampler.crops * config.streams == streams
    assert len(tokens_of(next(sampler.segments()), config).target) == streams


def test_a_series_shorter_than_a_patch_is_read_without_error():
    config = config_of()
    segments = sampler_of([numbered(2, 1), numbered(3, 2)], config).segments()
    for _ in range(20):
        origins = tokens_of(next(segments), config)
        assert torch.isfinite(origins.lookback.values).all()
