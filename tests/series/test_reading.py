"""Reading into a state of fixed size and forecasting from it, alone and side by side (P1, P2, P4)."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from series.cases import ALL_COVARIATES, NAN, make_network, make_series, rows_of
from tolerances import assert_agree

from titans_ts.backbones.observing import observed_writes, silenced
from titans_ts.backbones.state import map_tensors, pack
from titans_ts.backbones.variants import BASELINES, VARIANTS, WITH_MEMORY
from titans_ts.blocks.scale import unknown_scale
from titans_ts.memory.neural_memory import NeuralMemory
from titans_ts.series import reading
from titans_ts.series.network import ForecastNetwork
from titans_ts.series.reading import (
    Forecasts,
    absorb,
    absorb_together,
    forecast,
    forecast_together,
    parted,
    rolling_forecasts,
    start_state,
    surprise,
)
from titans_ts.series.state import SeriesState
from titans_ts.series.tensors import SeriesTensors, join

LENGTH = 67
CUTS = {
    "row by row": [1] * LENGTH,
    "inside patches": [3, 1, 10, 0, 25, 28],
    "at patches": [4, 32, 31],
    "one row at the end": [66, 1],
    "less than a patch first": [2, 65],
}


def begin(network: ForecastNetwork, series: SeriesTensors, *, known: bool = True) -> SeriesState:
    scale = series.scale if known else unknown_scale(network.config.channels)
    return start_state(network, static=series.static, scale=scale)


def read_in_pieces(network: ForecastNetwork, series: SeriesTensors, sizes: list[int], *, known: bool = True) -> SeriesState:
    state, done = begin(network, series, known=known), 0
    for size in sizes:
        state = absorb(network, state, rows_of(series, done, done + size))
        done += size
    return state


def future_of(series: SeriesTensors, origin: int) -> torch.Tensor:
    return series.future[origin : origin + 5]


def after(network: ForecastNetwork, series: SeriesTensors) -> Forecasts:
    """Return the forecast after a whole series."""
    return forecast(network, read_in_pieces(network, series, [series.length]), future_of(series, series.length))


def copied(state: SeriesState) -> dict[str, torch.Tensor]:
    return {name: x.clone() for name, x in pack(state).items()}


def assert_same_state(a: SeriesState, b: SeriesState) -> None:
    a, b = pack(a), pack(b)
    assert a.keys() == b.keys()
    for name, x in a.items():
        assert torch.equal(x.isnan(), b[name].isnan()), name
        assert_agree(x.nan_to_num().double(), b[name].nan_to_num().double(), name=name)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_any_pieces_equal_the_whole(variant, cut, known):
    network = make_network(variant, **ALL_COVARIATES)
    series = make_series(network.config, LENGTH, missing=0.2, beyond=5)
    whole = read_in_pieces(network, series, [LENGTH], known=known)
    found = read_in_pieces(network, series, CUTS[cut], known=known)
    assert found.n_seen == whole.n_seen == LENGTH
    assert_same_state(found, whole)
    for a, b in zip(*(forecast(network, x, future_of(series, LENGTH)) for x in (found, whole)), strict=True):
        assert_agree(a, b)


@pytest.mark.parametrize("variant", VARIANTS)
def test_any_pieces_equal_the_whole_in_float32(variant):
    network = make_network(variant, mixed=True).float()
    series = make_series(network.config, LENGTH, missing=0.2)
    whole = forecast(network, read_in_pieces(network, series, [LENGTH]), future_of(series, LENGTH))
    for sizes in CUTS.values():
        found = forecast(network, read_in_pieces(network, series, sizes), future_of(series, LENGTH))
        for a, b in zip(found, whole, strict=True):
            assert_agree(a.float(), b.float())


@pytest.mark.parametrize(("bound", "most"), [("TOKENS_AT_ONCE", 3), ("NUMBERS_AT_ONCE", 1)])
def test_tokens_read_at_once_change_nothing(monkeypatch, bound, most):
    network = make_network()
    series = make_series(network.config, LENGTH)
    whole = read_in_pieces(network, series, [LENGTH])
    surprised = surprise(network, series)
    monkeypatch.setattr(reading, bound, most)
    assert_same_state(read_in_pieces(network, series, [LENGTH]), whole)
    assert_agree(surprise(network, series), surprised)


@pytest.mark.parametrize("known", [True, False])
def test_forecasting_and_absorbing_leave_the_state_as_it_was(known):
    network = make_network(**ALL_COVARIATES)
    series = make_series(network.config, LENGTH, beyond=5)
    for length in (9, 30, LENGTH):
        state = read_in_pieces(network, series, [length], known=known)
        before = copied(state)
        first = forecast(network, state, future_of(series, length))
        absorb(network, state, rows_of(series, 0, 20))
        second = forecast(network, state, future_of(series, length))
        assert torch.equal(first.point, second.point)
        for name, x in pack(state).items():
            assert torch.equal(x.nan_to_num(), before[name].nan_to_num()), name


def test_a_forecast_uses_what_was_read_beyond_the_look_back():
    """The memory, not the ring of raw rows, holds it: rows older than any window change the forecast."""
    network = make_network("lmm")
    series = make_series(network.config, LENGTH)
    other = make_series(network.config, LENGTH)
    other.rows[:, 4:12] *= -2
    found = [after(network, x).point for x in (series, other)]
    assert (found[0] - found[1]).abs().max() > 1e-6
    with silenced(network):
        found = [
            forecast(network, read_in_pieces(network, x, [LENGTH]), future_of(x, LENGTH)).point for x in (series, other)
        ]
    assert torch.equal(found[0], found[1]), "without memory nothing older than the look-back can count"


def test_every_new_row_counts_at_once():
    """Also between two patch ends: the last row read changes the forecast whether or not it fills a patch."""
    network = make_network()
    for length in (24, 25, 26, 27, 28):
        series, other = (make_series(network.config, length) for _ in range(2))
        other.rows[:, -1] += 1
        found = [
            forecast(network, read_in_pieces(network, x, [length]), future_of(x, length)).point for x in (series, other)
        ]
        assert (found[0] - found[1]).abs().max() > 1e-3, length


ORIGINS = [1, 3, 4, 5, 12, 13, 14, 15, 16, 17, 40, 41, 66, 67]


@pytest.mark.parametrize("settings", [{}, {"mixed": True}, ALL_COVARIATES], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_rolling_equals_a_forecast_at_each_origin(variant, settings):
    network = make_network(variant, **settings)
    series = make_series(network.config, LENGTH, missing=0.1, beyond=5)
    found = {}
    for group, forecasts in rolling_forecasts(network, series, ORIGINS):
        assert forecasts.point.shape[0] == len(group)
        found |= {o: (forecasts.point[i], forecasts.quantiles[i]) for i, o in enumerate(group)}
    assert list(found) == ORIGINS
    for origin, (point, quantiles) in found.items():
        state = read_in_pieces(network, rows_of(series, 0, origin), [origin])
        true = forecast(network, state, future_of(series, origin))
        assert_agree(point, true.point[0], name=f"point at {origin}")
        assert_agree(quantiles, true.quantiles[0], name=f"quantiles at {origin}")


@pytest.mark.parametrize("read", [1, 7, 8, 9, 30])
def test_rolling_can_start_where_reading_stopped(read):
    network = make_network()
    series = make_series(network.config, LENGTH)
    origins = [o for o in (8, 9, 10, 31, 32, 33, 50) if o >= read]
    state = read_in_pieces(network, series, [read])
    before = copied(state)
    found = torch.cat([x.point for _, x in rolling_forecasts(network, series, origins, state=state)])
    true = torch.cat([x.point for _, x in rolling_forecasts(network, series, origins)])
    assert_agree(found, true)
    assert all(torch.equal(x.nan_to_num(), before[name].nan_to_num()) for name, x in pack(state).items())


def test_rolling_never_looks_ahead():
    network = make_network(**ALL_COVARIATES)
    series, other = (make_series(network.config, LENGTH, beyond=5) for _ in range(2))
    other.rows[:, 30:], other.past[30:], other.calendar[30:] = 1e6, 9.0, 9.0
    other.future[35:] = 9.0
    found = [torch.cat([x.point for _, x in rolling_forecasts(network, one, [9, 28, 30])]) for one in (series, other)]
    assert torch.equal(*found)


@pytest.mark.parametrize(
    ("variant", "rows"),
    [("lmm", 4000), *((variant, 1000) for variant in VARIANTS if variant not in ("lmm", "full_attention"))],
)
def test_the_state_does_not_grow(variant, rows):
    network = make_network(variant, layers=1)
    sizes, series = [], make_series(network.config, rows)
    state = begin(network, series)
    for _ in range(5):
        state = absorb(network, state, series)
        sizes.append(state.nbytes)
        assert sum(x.untyped_storage().nbytes() for x in pack(state).values()) <= 2 * state.nbytes, "views of long rows"
    assert state.n_seen == 5 * rows
    early = absorb(network, begin(network, series), rows_of(series, 0, 200))
    assert set(sizes) == {early.nbytes}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_state_keeps_no_more_in_memory_than_it_says(variant):
    """A part of a whole call's tensor would keep all of that call."""
    network = make_network(variant)
    series = make_series(network.config, LENGTH)
    held: list[torch.Tensor] = []
    map_tensors(held.append, reading.absorb(network, begin(network, series), series).backbone)
    assert held
    for x in held:
        assert x.untyped_storage().nbytes() == x.numel() * x.element_size()


def test_the_state_of_full_attention_grows_with_every_token():
    network = make_network("full_attention", layers=1)
    series = make_series(network.config, 200)
    state, sizes = begin(network, series), []
    for _ in range(4):
        state = absorb(network, state, series)
        sizes.append(state.nbytes)
    token = 2 * 8 * 8  # two float64 vectors of the width, a stream
    assert {later - earlier for earlier, later in pairwise(sizes)} == {50 * 2 * token}


@pytest.mark.parametrize("known", [True, False])
def test_missing_rows_give_finite_forecasts(known):
    network = make_network(**ALL_COVARIATES)
    series = make_series(network.config, LENGTH, missing=0.5, beyond=5)
    series.rows[:, 20:50] = NAN  # longer than the look-back
    series.rows[1] = NAN  # a channel that was never there
    for length in (1, 5, 12, 13, 45, LENGTH):
        state = read_in_pieces(network, series, [length], known=known)
        found = forecast(network, state, future_of(series, length))
        assert torch.isfinite(found.point).all(), length
        assert torch.isfinite(found.quantiles).all(), length
    assert torch.isfinite(surprise(network, series)).all()


@pytest.mark.parametrize("spike", [1e9, 1e20, 9.96921e36, 1e60])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_state_survives_a_spike_of_any_size(variant, spike):
    """9.97e36 is what netCDF writes where nothing was measured; once it has left the look-back, forecasts are sane."""
    network = make_network(variant).float()
    series = make_series(network.config, LENGTH)
    series.rows[0, 30] = spike
    for length in (31, 40, LENGTH):
        found = after(network, rows_of(series, 0, length))
        assert torch.isfinite(found.point).all(), length
        assert torch.isfinite(found.quantiles).all(), length
    assert found.point.abs().max() < 1e4


def test_forecasts_are_in_the_series_own_units():
    """A shift and a stretch of all rows, with their scale, shift and stretch the forecast."""
    network = make_network()
    series = make_series(network.config, LENGTH)
    moved = SeriesTensors(
        1000 + 7 * series.rows, series.calendar, series.past, series.future, series.static,
        type(series.scale)(1000 + 7 * series.scale.level, 7 * series.scale.spread),
    )  # fmt: skip
    plain, found = (after(network, x) for x in (series, moved))
    assert_agree(found.point, 1000 + 7 * plain.point)
    assert_agree(found.quantiles, 1000 + 7 * plain.quantiles)
    assert plain.point.shape == (1, 5, 2)
    assert plain.quantiles.shape == (1, 5, 2, 3)
    assert plain.point.dtype == torch.float64


def test_an_unknown_scale_becomes_that_of_the_first_look_back_for_good():
    network = make_network()
    series = make_series(network.config, LENGTH)
    early = read_in_pieces(network, series, [11], known=False)
    assert early.scale.level.isnan().all()
    assert torch.isfinite(forecast(network, early, future_of(series, 11)).point).all()
    first = series.rows[:, :12]
    for sizes in ([12], [11, 1], [5, 40, 22], [LENGTH]):
        scale = read_in_pieces(network, series, sizes, known=False).scale
        assert_agree(scale.level[0], first.mean(-1))
        assert_agree(scale.spread[0], first.std(-1, correction=0))


# --- surprise ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [240, 241, 243])
@pytest.mark.parametrize("variant", WITH_MEMORY)
def test_the_rows_of_a_spike_surprise_most(variant, length):
    """After the same patch again and again, one that differs: it surprises, and no row before it knows."""
    torch.manual_seed(0)
    network = ForecastNetwork(make_network(variant, layers=1, channels=1).config).double().eval()
    for part in network.modules():
        if isinstance(part, NeuralMemory) and part.gates.project is not None:
            torch.nn.init.zeros_(part.gates.project.weight)  # it writes whatever comes
    calm = make_series(network.config, length)
    calm.rows[:] = torch.tensor([1.0, 2.0, -1.0, 0.5]).repeat(61)[:length]
    plain = surprise(network, calm)
    for row in (129, 180, 203, length - 1):
        rows = calm.rows.clone()
        rows[0, row] += 50
        found = surprise(network, replace(calm, rows=rows))
        assert found.shape == (length, 1)
        begin = row // 4 * 4
        patch = found[begin : begin + 4]
        assert (patch == found[row]).all(), "every row of a patch has the patch's value"
        assert torch.equal(found[:begin], plain[:begin]), "surprise before it comes"
        assert found[row] > found[begin - 40 : begin].max(), row


def test_surprise_is_the_root_mean_square_of_the_writes():
    network = make_network()
    series = make_series(network.config, 10)
    squares: list[torch.Tensor] = []
    for place, end in enumerate([4, 8, 10]):
        state, norms = begin(network, series), []
        state = absorb(network, state, rows_of(series, 0, end))  # the last patch waits, so this reads those before it
        assert state.n_seen == end
        for memory in (m for m in network.modules() if isinstance(m, NeuralMemory)):
            memory.observer = lambda written, norms=norms: norms.append(written.surprise)
        network.forecast(*reading.seen_at(network, series, torch.tensor([end])), state.backbone)
        for memory in (m for m in network.modules() if isinstance(m, NeuralMemory)):
            memory.observer = None
        squares.append(torch.stack(norms).square().mean((0, 1, 3)).sqrt())  # layers, store layers, b, h, 1
        assert len(norms) == 2, place
    expected = torch.cat(squares, dim=1).T.repeat_interleave(4, dim=0)[:10]
    assert_agree(surprise(network, series), expected.detach())


def test_observers_are_taken_off_even_after_an_error():
    network = make_network()

    def fail() -> None:
        with observed_writes(network) as seen:
            assert len(seen) == 2
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert all(m.observer is None for m in network.modules() if isinstance(m, NeuralMemory))


def test_silenced_zeroes_the_memory_inside_and_restores_it(monkeypatch):
    network = make_network()
    series = make_series(network.config, LENGTH)
    state = read_in_pieces(network, series, [LENGTH])
    before = forecast(network, state, future_of(series, LENGTH)).point
    returned, real = [], NeuralMemory.answer

    def noting(*arguments):
        returned.append(real(*arguments))
        return returned[-1]

    monkeypatch.setattr(NeuralMemory, "answer", noting)
    with silenced(network):
        inside = forecast(network, state, future_of(series, LENGTH)).point
    assert [float(x.abs().max()) for x in returned] == [0.0, 0.0]
    assert not torch.equal(inside, before)
    assert torch.equal(forecast(network, state, future_of(series, LENGTH)).point, before)


def test_silenced_restores_the_memory_after_an_error():
    network = make_network()
    series = make_series(network.config, LENGTH)
    before = after(network, series).point
    with pytest.raises(IndexError), silenced(network):
        read_in_pieces(network, series, [])[99]
    assert torch.equal(after(network, series).point, before)


@pytest.mark.parametrize("variant", BASELINES)
def test_a_variant_without_a_memory_is_neither_surprised_nor_silenced(variant):
    network = make_network(variant)
    with pytest.raises(ValueError, match=f"variant='{variant}' has no memory to be surprised"):
        surprise(network, make_series(network.config, 20))
    with pytest.raises(ValueError, match=f"variant='{variant}' has no memory to be silenced"), silenced(network):
        raise AssertionError("work was begun")


def test_surprise_without_a_memory_is_refused_or_nothing():
    """A network of the direct path alone has nothing to be surprised."""
    network = make_network(layers=0)
    found = surprise(network, make_series(network.config, 20))
    assert torch.equal(found, torch.zeros(20, 2).to(found))


# --- side by side -----------------------------------------------------------------------------------------------------


LENGTHS = [40, 40, 7, 16, 41, 40, 0]
MORE = [9, 9, 9, 1, 1, 30, 5]


def read(variant, lengths, **options):
    network = make_network(variant, **ALL_COVARIATES, **options)
    series = [
        make_series(network.config, length + more + 60, seed=i)
        for i, (length, more) in enumerate(zip(LENGTHS, MORE, strict=True))
    ]
    states = []
    for i, (one, length) in enumerate(zip(series, lengths, strict=True)):
        scale = unknown_scale(network.config.channels) if i % 3 == 2 else one.scale
        state = start_state(network, static=one.static, scale=scale)
        states.append(absorb(network, state, one.head(length)) if length else state)
    return network, series, states


@pytest.mark.parametrize("at_once", [1, 4, 512])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_batch_reads_as_each_alone(variant, at_once, monkeypatch):
    monkeypatch.setattr(reading, "STREAMS_AT_ONCE", at_once)
    network, series, states = read(variant, LENGTHS)
    rows = [one.part(a, a + b) for one, a, b in zip(series, LENGTHS, MORE, strict=True)]
    found = absorb_together(network, states, rows)
    for place, (state, one) in enumerate(zip(states, rows, strict=True)):
        true = absorb(network, state, one)
        assert found[place].n_seen == true.n_seen == LENGTHS[place] + MORE[place]
        seen = pack(found[place])
        for name, x in pack(true).items():
            assert torch.equal(seen[name].isnan(), x.isnan())
            assert_agree(seen[name].double().nan_to_num(), x.double().nan_to_num(), name=f"series {place}, {name}")


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_batch_forecasts_as_each_alone(variant):
    network, series, states = read(variant, [5, 40, 40, 33, 41, 40, 6])
    futures = [one.future[-network.config.horizon :] for one in series]
    for place, found in enumerate(forecast_together(network, states, futures)):
        true = forecast(network, states[place], futures[place])
        assert_agree(found.point, true.point, name=f"point of {place}")
        assert_agree(found.quantiles, true.quantiles, name=f"quantiles of {place}")


def test_parting_undoes_joining_and_shares_nothing():
    states = [(torch.full((2, 3), float(i)), (7, None, ())) for i in range(3)]
    batch = join(states)
    for state, found in zip(states, parted(batch, 2), strict=False):
        assert torch.equal(found[0], state[0])
        assert found[1] == (7, None, ())
        assert found[0].untyped_storage().nbytes() == 6 * 4
