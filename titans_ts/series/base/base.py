"""What a forecast stands on: candidates solved in closed form, mixed, and a linear memory of what they get wrong.

The base reads every row as it comes. At every *boundary*, a number of rows that is a multiple of the patch's, it makes a
forecast of its own, whether or not anybody asks, and learns from its error once the rows are there. So its state depends on
the rows alone, not on how they were cut or on who asked for a forecast.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from titans_ts.backbones.state import join, map_tensors, parted
from titans_ts.blocks.scale import Scale
from titans_ts.series.base import bounds, preference, spread
from titans_ts.series.base.bank import Bank, BankCarry, BankSeen
from titans_ts.series.base.bounds import BoundsCarry
from titans_ts.series.base.compiled import reading as compiled
from titans_ts.series.base.compiled.facts import Facts, facts_of
from titans_ts.series.base.linear_memory import LinearMemory, LinearMemoryCarry
from titans_ts.series.base.mixing import mix
from titans_ts.series.base.preference import PreferenceCarry
from titans_ts.series.base.ridge import Ridge
from titans_ts.series.base.spread import Spread, SpreadCarry
from titans_ts.series.settings import BaseConfig

FEATURES = 2
"""Sizes that intervals are measured by, see :func:`features_of`."""
ROWS_AT_ONCE, NUMBERS_AT_ONCE = 16_384, 2**24
"""Rows that are read at once, and numbers of candidates' forecasts; they bound what a call holds and change no answer."""


class BaseCarry(NamedTuple):
    """What the base carries of streams ``(b, c)``."""

    rows: Tensor  # b c r, the last rows on the long-run scale, less the effect of covariates; NaN where missing
    bank: BankCarry  # b c ...
    preference: PreferenceCarry | tuple[()]  # b c ...
    memory: LinearMemoryCarry | tuple[()]  # b c ...
    spread: SpreadCarry  # b c ...
    bounds: BoundsCarry  # b c ...


class BaseForecast(NamedTuple):
    """Forecasts of ``n`` origins on the long-run scale."""

    point: Tensor  # b c n f, float64
    quantiles: Tensor | None  # b c n f q, of the levels that were asked for
    bounds: Tensor  # b c n 2, which no row may pass; infinite where there are none


class Base(nn.Module):
    """Candidates of a bank and of ridges, mixed by fixed weights for each step of the horizon, and a linear memory.

    It stays on the processor and in float64 wherever the network goes: it is recursions and a few matrix products. Blank it
    holds zeros; :mod:`titans_ts.series.learning.solving` or a file fills it.
    """

    _facts: Any = None  # what the compiled loops know, and of what
    mixing: Tensor  # k f, weight of each candidate at each step
    pace: Tensor  # scalar, how fast a stream's own weights move away from these
    effect: Tensor  # c x, of each covariate known in advance on each channel, in long-run spreads

    def __init__(self, config: BaseConfig) -> None:
        super().__init__()
        self.config = config
        self.bank = Bank(config.season, config.bank, logs=any(spec.logs for spec in config.ridges), faith=config.faith)
        if self.bank.names != config.bank:
            raise ValueError(
                f"bank {config.bank}: a season of {config.season} rows has {self.bank.names} of these, in this order"
            )
        self.ridges: Any = nn.ModuleList(Ridge(spec, config.horizon, channels=config.channels) for spec in config.ridges)
        self.memory = LinearMemory(config.lookback, config.horizon, config.patch_length) if config.reads_on else None
        shape = (len(config.bank) + len(config.ridges), config.horizon)
        self.register_buffer("mixing", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("pace", torch.zeros((), dtype=torch.float64))
        self.register_buffer("effect", torch.zeros(config.channels, config.future, dtype=torch.float64))
        blank = spread.blank(config.horizon, config.season, config.patch_length, FEATURES, config.templates)
        self.set_spread(blank._replace(young=blank.young.new_zeros(config.ages, blank.young.shape[1])))

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Stay where it is, in its own kind of number."""
        return self

    @property
    def spread(self) -> Spread:
        """What was learned of the errors of forecasts."""
        config = self.config
        parts = {name: getattr(self, f"spread_{name}") for name in self._of_spread}
        return Spread(config.horizon, config.season, config.patch_length, **parts)

    def set_spread(self, learned: Spread) -> None:
        """Keep what was learned of the errors of forecasts."""
        self._facts = None
        parts = {name: x for name, x in learned._asdict().items() if isinstance(x, Tensor) and (name != "young" or len(x))}
        self._of_spread: tuple[str, ...] = tuple(parts)
        for name, x in parts.items():
            self.register_buffer(f"spread_{name}", x)

    @property
    def context(self) -> int:
        """Rows that the base keeps: those of a look-back, and those in which errors are realised."""
        late = self.waits * self.config.patch_length if self.config.prefers else 0
        return max(self.config.lookback, late, 0 if self.memory is None else self.memory.context)

    @property
    def waits(self) -> int:
        """Boundaries until all that a forecast foretold is known."""
        return preference.waits_of(self.config.horizon, self.config.patch_length)

    def hold(self) -> None:
        """Let every stream keep to what the panel knows: no weights of its own, and no linear memory."""
        self.pace.zero_()
        self.memory, self.config = None, replace(self.config, prefers=False, reads_on=False)

    def initial_state(self, *streams: int) -> BaseCarry:
        """Return what is carried before the first row, of streams ``(b, c)``."""
        count = math.prod(streams)
        rows = torch.full((count, self.context), float("nan"), dtype=torch.float64)
        memory = () if self.memory is None else self.memory.initial(count)
        own = spread.initial(self.spread, count), bounds.initial(count)
        prefers: Any = ()
        if self.config.prefers:
            prefers = preference.initial(count, len(self.mixing), self.config.horizon, self.config.patch_length)
        flat = BaseCarry(rows, self.bank.initial(count), prefers, memory, *own)
        return map_tensors(lambda x: x.unflatten(0, streams), flat)  # type: ignore[no-any-return]

    def effect_of(self, future: Tensor, channel: Tensor) -> Tensor:
        """Return what covariates ``(b, n, f, x)`` add to forecasts ``(b, c, n, f)`` of streams of channels ``(b,)``."""
        effect = self.effect[None] if self.config.mixed else self.effect[channel][:, None]
        return torch.einsum("bnfx,bcx->bcnf", future.double(), effect)

    @torch.no_grad()
    def read(
        self,
        rows: Tensor,
        scale: Scale,
        carry: BaseCarry,
        *,
        first: int,
        ends: Tensor,
        levels: Sequence[float] | Tensor = (),
        actual: Tensor | None = None,
    ) -> tuple[BaseForecast, BaseCarry]:
        """Read rows ``(b, c, t)`` on, and forecast after some numbers of them.

        Parameters
        ----------
        rows : Tensor ``(b, c, t)``
            On the long-run scale, less the effect of covariates; NaN where missing.
        scale : Scale
            That scale, ``(b, c)``.
        carry : BaseCarry
            What was carried until then.
        first : int
            Rows read before these; only its remainders by the patch length and by the season count.
        ends : Tensor ``(n,)``
            Rows of this call, 0 to ``t`` and increasing, before each forecast.
        levels : sequence of float, or Tensor ``(b, c, f, q)``, default=()
            Quantiles of the forecasts, the same at all steps or not; none by default.
        actual : Tensor ``(b, c, t)``, optional
            The rows with the effect of covariates; by default there is none.

        Returns
        -------
        BaseForecast
            From each of ``ends``.
        BaseCarry
            What is carried after the last row.
        """
        streams, flat = rows.shape[:2], map_tensors(lambda x: x.flatten(0, 1), carry)
        scale = Scale(*(x.flatten() for x in scale))
        actual = (rows if actual is None else actual).flatten(0, 1)
        levels = levels.flatten(0, 1)[:, None] if isinstance(levels, Tensor) else levels
        zero = -scale.level / scale.spread if self.config.zero else torch.full_like(scale.level, float("nan"))
        found, extremes = [], flat.bounds
        numbers = rows.shape[0] * rows.shape[1] * len(self.mixing) * self.config.horizon
        patches = int(min(max(NUMBERS_AT_ONCE // numbers, 1), ROWS_AT_ONCE // self.config.patch_length + 1))
        piece = patches * self.config.patch_length
        for start in range(0, max(rows.shape[2], 1), piece):
            stop = min(start + piece, rows.shape[2])
            at = ends[((ends > start) if start else (ends >= 0)) & (ends <= stop)] - start
            both, flat = self._read_piece(rows.flatten(0, 1)[:, start:stop], scale, flat, first + start, at, levels)
            limits, extremes = bounds.read(actual[:, start:stop], extremes, ends=at, zero=zero)
            found.append((*both, limits))
        parts: list[Any] = [
            None if each[0] is None else torch.cat(each, dim=1).unflatten(0, streams) for each in zip(*found, strict=True)
        ]
        flat = flat._replace(bounds=extremes)
        return BaseForecast(*parts), map_tensors(lambda x: x.unflatten(0, streams), flat)

    def read_each(
        self,
        rows: Tensor,
        scale: Scale,
        carries: Sequence[BaseCarry],
        *,
        firsts: Sequence[int],
        ends: Tensor,
        levels: Sequence[float] | Tensor = (),
        actual: Tensor | None = None,
        keep: bool = True,
    ) -> tuple[BaseForecast, list[BaseCarry]]:
        """Read rows of several series on, each from a carry of its own; compiled where that was built, see :meth:`read`.

        ``firsts`` differ by multiples of :attr:`turn`. Without ``keep`` there are no carries after the rows.
        """
        if (ready := self._compiled()) is None:
            both = self.read(rows, scale, join(carries), first=firsts[0], ends=ends, levels=levels, actual=actual)
            return both[0], list(islice(parted(both[1], len(rows) // len(carries)), len(carries)))
        code, facts = ready
        streams, flat = rows.shape[:2], rows.double().flatten(0, 1)
        found, after = compiled.read(
            code,
            facts,
            carries,
            flat,
            actual=flat if actual is None or actual is rows else actual.double().flatten(0, 1),
            level=scale.level.double().flatten(),
            spread=scale.spread.double().flatten(),
            firsts=firsts,
            ends=ends.tolist(),
            heard=len(levels) > 0,
            keep=keep,
        )
        quantiles = None
        if len(levels):
            origins = torch.tensor(firsts).repeat_interleave(len(flat) // len(carries))[:, None] + ends
            quantiles = self._quantiles(found, origins, levels).unflatten(0, streams)
        point, bounds = (x.view(*streams, *x.shape[1:]) for x in (found.point, found.limits))
        return BaseForecast(point, quantiles, bounds), after

    def _quantiles(self, found: compiled.Found, origins: Tensor, levels: Sequence[float] | Tensor) -> Tensor:
        """Return quantiles ``(s, n, f, q)`` of what was found after ``origins`` ``(s, n)`` rows."""
        level, profile, factors, features, age = (x for x in found[2:] if x is not None)
        known = spread.SpreadSeen(level, profile, factors)
        size = spread.sizes(self.spread, known, features, origins=origins, age=age)
        each = levels.flatten(0, 1)[:, None].numpy() if isinstance(levels, Tensor) else levels
        return spread.quantiles(self.spread, known, found.point, size, each, age=age)

    @property
    def turn(self) -> int:
        """By multiples of how many rows series may differ that :meth:`read_each` reads side by side."""
        return math.lcm(self.config.patch_length, self.config.season) if compiled.library() is None else 1

    def _compiled(self) -> tuple[Any, Facts] | None:
        """Return the library, and what it needs to know of the base as it is now; None where there is no library."""
        if (code := compiled.library()) is None:
            return None
        if (
            self._facts is None
            or self._facts[:2] != (self.config, self.memory)
            or not all(map(_is_as_it_was, self._facts[2]))
        ):
            modules = (self, *self._all_ridges(), *(() if self.memory is None else (self.memory,)))
            kept = [(each._buffers, name, x) for each in modules for name, x in each._buffers.items() if x is not None]
            self._facts = self.config, self.memory, [(*one, one[2]._version) for one in kept], facts_of(self)
        return code, self._facts[3]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_facts": None}  # they hold places in memory

    def _all_ridges(self) -> Iterator[Ridge]:
        for one in self.ridges:
            while one is not None:
                yield one
                one = one.younger

    def _read_piece(
        self, rows: Tensor, scale: Scale, carry: BaseCarry, first: int, ends: Tensor, levels: Sequence[float] | Tensor
    ) -> tuple[tuple[Tensor, Tensor | None], BaseCarry]:
        """Read rows ``(s, t)``, and forecast after ``ends`` of them: points ``(s, n, f)`` and their quantiles."""
        patch, keep = self.config.patch_length, carry.rows.shape[1]
        known = torch.cat([carry.rows, rows], dim=1)
        begin = patch - first % patch
        boundaries = torch.arange(begin, max(rows.shape[1] + 1, begin), patch)
        at, place = torch.cat([boundaries, ends]).unique(return_inverse=True)
        seen, bank = self.bank.read(rows, scale, carry.bank, at)
        inner, asked = place[: len(boundaries)], place[len(boundaries) :]
        expected, prefers = self._preferred(known, keep, boundaries, at, seen, carry.preference)
        features = features_of(seen)
        point, memory = self._remember(known, keep, boundaries, at, expected, seen.size, carry.memory)
        tracked = torch.from_numpy(spread.tracked_steps(self.config.horizon)) - 1
        heard, after = spread.read(
            self.spread,
            carry.spread,
            rows,
            point[:, inner][..., tracked],
            features[:, inner],
            begin=first,
            ends=ends,
            age=seen.age[:, inner],
        )
        quantiles = None
        if len(levels):
            age = seen.age[:, asked]
            size = spread.sizes(self.spread, heard, features[:, asked], origins=first + ends, age=age)
            each = levels.numpy() if isinstance(levels, Tensor) else levels
            quantiles = spread.quantiles(self.spread, heard, point[:, asked], size, each, age=age)
        rest = known[:, known.shape[1] - keep :].clone()
        return (point[:, asked], quantiles), BaseCarry(rest, bank, prefers, memory, after, carry.bounds)

    def _remember(
        self, known: Tensor, keep: int, boundaries: Tensor, at: Tensor, expected: Tensor, size: Tensor, carry: Any
    ) -> tuple[Tensor, Any]:
        """Let the linear memory read the boundaries and add to what is expected ``(s, n, f)`` at ``at``; returns its carry.

        ``keep`` rows of ``known`` come before the first.
        """
        if self.memory is None or not len(at):
            return expected, carry
        point, done = expected.clone(), 0
        place, between = torch.searchsorted(at, boundaries), ~torch.isin(at, boundaries)
        passed = torch.searchsorted(boundaries, at, right=True)  # boundaries read before each forecast
        for count in sorted({*passed[between].tolist(), len(boundaries)}):
            some, mine = place[done:count], between & (passed == count)
            said, carry = self.memory.read(known, keep + boundaries[done:count], expected[:, some], size[:, some], carry)
            point[:, some] += said
            point[:, mine] += self.memory.forecast(known, keep + at[mine], size[:, mine], carry)
            done = count
        return point, carry

    def _preferred(
        self, known: Tensor, keep: int, boundaries: Tensor, at: Tensor, seen: BankSeen, carry: Any
    ) -> tuple[Tensor, Any]:
        """Return the candidates' forecasts after ``at`` rows, mixed as each stream prefers, ``(s, n, f)``; and its carry.

        ``keep`` rows of ``known`` come before the first.
        """
        if not len(at):
            return known.new_zeros(len(known), 0, self.config.horizon), carry
        found = self.candidates(known, keep + at, seen)
        if not self.config.prefers:
            return mix(found, self.mixing), carry
        place, steps = torch.searchsorted(at, boundaries), preference.heard_steps(self.config.horizon) - 1
        pace = float(self.pace)
        slopes, carry = preference.read(
            self.mixing,
            pace,
            known,
            keep + boundaries,
            found[:, place][..., steps],
            seen.size[:, place],
            carry,
            patch_length=self.config.patch_length,
        )
        heard = slopes[:, torch.searchsorted(boundaries, at, right=True)]
        return (found * preference.weights_of(self.mixing, pace, heard)).sum(2), carry

    def candidates(self, known: Tensor, ends: Tensor, seen: BankSeen) -> Tensor:
        """Return what every candidate foretells ``(s, n, k, f)`` after ``ends`` rows of ``known``."""
        found = [self.bank.forecasts(seen, self.config.horizon)]
        found += [ridge.forecasts(known, ends, seen)[:, :, None] for ridge in self.ridges]
        return torch.cat(found, dim=2)


def _is_as_it_was(kept: tuple[dict[str, Any], str, Tensor, int]) -> bool:
    """Tell whether a buffer is the tensor that it was, with the same numbers."""
    buffers, name, x, version = kept
    return buffers[name] is x and x._version == version


def features_of(seen: BankSeen) -> Tensor:
    """Return the sizes ``(s, n, j)`` by which errors are measured: the stream's seasonal difference, and its last season."""
    last = seen.last.std(-1, correction=0) if seen.last.shape[-1] > 1 and seen.last.numel() else seen.size
    return torch.stack([seen.size, torch.maximum(last, 0.01 * seen.size)], dim=-1)
