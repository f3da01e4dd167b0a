"""What the forecaster's memory earns with and without each part of its making, on rows that no choice was made on.

A setting is one change from the library as it is. Of `vic_elec` five sixths of the known rows are fitted and the last sixth
is forecast; of SimBench's loads 16 series are fitted on the first third of the year, and 16 others, read from their first
row, are forecast in the second. No row of a test part is read. All settings of a set share one base, solved once.

Errors are mean absolute ones at the ends of patches. Beside the share of the correction that validation allows, the gain of
the whole correction is told, with the memories answering and with their answers set to zero: the difference is their own.

    python benchmarks/ablation.py [--sets vic_elec loads] [--seeds 0 1 2] [--settings ...] [--out benchmarks/ablation.csv]
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from titans_bench.history.data import spread_evenly
from titans_bench.protocol import HORIZONS, standardised
from titans_bench.reading_on import load_profiles, split_profiles
from titans_bench.rows import markdown_table, read_rows, write_rows
from titans_bench.tasks import task_frame
from titans_ts import TitansForecaster, load_dataset
from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.observing import silenced
from titans_ts.backbones.stack import State
from titans_ts.blocks.scale import Scale, long_run_scale, on_long_run_scale
from titans_ts.datasets.streams import make_streams
from titans_ts.learn.acceptance import SHARES
from titans_ts.learn.run import Losses
from titans_ts.memory.gates import TokenGates
from titans_ts.memory.neural_memory import NeuralMemory
from titans_ts.series.learning import fitting
from titans_ts.series.learning.objective import ValidationForecast, block_errors, point_losses
from titans_ts.series.learning.training import StreamSampler, Training
from titans_ts.series.network import ForecastNetwork
from titans_ts.series.settings import Phase, TrainingConfig
from titans_ts.series.tensors import Foretold, SeriesTensors, Tokens

HIDDEN = 0.3
"""Share of the steps in which the head hears the memories alone."""
REGIME = 4_000
"""Rows between two changes of the generated streams."""
FITTED = READ = 16
"""Load profiles on either side."""

Constants = dict[tuple[Any, str], object]


@dataclass(frozen=True)
class AblationRow:
    """What one fit's memory earned, in % of the error of the base alone."""

    dataset: str
    setting: str
    seed: int
    base: float  # its error after the cut, in long-run spreads
    best_step: int  # of training, by validation
    validation: float  # gain of the best share on validation
    standard_error: float  # of that
    share: float  # of the correction that is used
    used: float  # its gain on the rows that are scored
    whole: float  # gain there of all of the correction
    silent: float  # the same with the memories' answers set to zero
    recollected: float  # what a recollection takes off the error beside the share
    cpu_seconds: float  # the processor's, of the fit without its base


# --- settings ---------------------------------------------------------------------------------------------------------


def not_eager(begin: Callable[..., None]) -> Callable[..., None]:
    """Return a start of gates whose weights are small and learn like all others."""
    return lambda self, *args, **options: begin(self, *args, **{**options, "eager": False})


def product_alone(chosen: Callable[..., BackboneConfig]) -> Callable[..., BackboneConfig]:
    """Return a choice of backbones in which what the memory says passes its gate or not at all."""
    return lambda self: replace(chosen(self), passes=False)


def not_averaged(chosen: Callable[..., TrainingConfig]) -> Callable[..., TrainingConfig]:
    """Return a choice of training settings in which the last weights of each evaluation are judged."""
    return lambda self, seed: replace(chosen(self, seed), average=0.0)


def kept(answer: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return an answer of memories that is kept where it is asked for."""

    def kept_answer(memory: NeuralMemory, *args: Any) -> Tensor:
        said = answer(memory, *args)
        if hasattr(memory, "said"):
            memory.said.append(said)
        return said

    return kept_answer


def hiding(losses: Callable[..., tuple[Losses, State]]) -> Callable[..., tuple[Losses, State]]:
    """Return losses that at a share of the steps hides token and attention from the head: memory-only supervision."""

    def partly_hidden(run: Training, tokens: Tokens, state: State) -> tuple[Losses, State]:
        if run.phase != "memory" or float(torch.rand((), generator=run.sampler.generator)) >= HIDDEN:
            return losses(run, tokens, state)
        network = run.network
        layers = network.config.backbone.layers
        hidden, carried = heard_alone(network, tokens, state[:layers])
        assert tokens.base is not None
        return point_losses(tokens.base + network.head(hidden), tokens), (*carried, *state[layers:])

    return partly_hidden


def heard_alone(network: ForecastNetwork, tokens: Tokens, state: State) -> tuple[Tensor, State]:
    """Return what the head sees ``(b, n, d)`` where the residual stream holds the memories' answers and nothing else.

    Tokens are written and asked with as ever; answers pass the gate, feed-forward layers and norm that they always pass.
    """
    memories = [block.sequence_layer.memory for block in network.backbone.blocks]
    for memory in memories:
        memory.said = []
    _, carried = network.backbone(network.embedding(tokens.lookback, tokens.covariates), state)
    heard: Any = 0.0
    for block, memory in zip(network.backbone.blocks, memories, strict=True):
        said = torch.cat(memory.said, dim=1)
        del memory.said
        gate = getattr(block.sequence_layer, "gate", None)
        heard = heard + block.dropout(said if gate is None else gate(torch.zeros_like(said), said))
        if block.feedforward is not None:
            heard = heard + block.dropout(block.feedforward(block.feedforward_norm(heard)))
    return network.backbone.norm(heard), carried


def among_generated(begin: Callable[[Training, Phase], None]) -> Callable[[Training, Phase], None]:
    """Return a begin of training in which a third of the streams is generated, with changes of regime."""

    def begin_among(run: Training, phase: Phase) -> None:
        begin(run, phase)
        own = run.sampler
        made = [generated(run.network, one, seed) for seed, one in enumerate(own.series)]
        settings = (own.config, own.batch, own.segment, own.overlap, own.generator)
        run.sampler = StreamSampler([*own.series, *own.series, *made], *settings, dtype=own.dtype)

    return begin_among


def generated(network: ForecastNetwork, like: SeriesTensors, seed: int) -> SeriesTensors:
    """Return generated streams, as many and as long as those of a series, with its calendar, and what the base foretells."""
    base, (channels, length) = network.base, like.rows.shape
    assert base is not None
    period = max(base.config.season, 2)
    values, _ = make_streams(length, channels, period=period, regime_length=REGIME, random_state=10_000 + seed)
    rows = torch.from_numpy(values.T.copy())
    made = replace(like, rows=rows, scale=long_run_scale(rows[None]), foretold=None)
    return with_base(network, made, first=network.config.patch_length)


BEFORE: Constants = {
    (NeuralMemory, "_start_associating"): lambda memory: None,
    (TokenGates, "__init__"): not_eager(TokenGates.__init__),
    (TitansForecaster, "_backbone_config"): product_alone(TitansForecaster._backbone_config),
}
HIDING: Constants = {
    (NeuralMemory, "answer"): kept(NeuralMemory.answer),
    (Training, "_losses_and_state"): hiding(Training._losses_and_state),
}
LAST: Constants = {(TitansForecaster, "_training_config"): not_averaged(TitansForecaster._training_config)}
SETTINGS: dict[str, tuple[Constants, dict[str, Any]]] = {
    "as it is": ({}, {}),
    "1: keys, gates and product as before": (BEFORE, {}),
    "3: 64 slots": ({}, {"slots": 64}),
    "5: recollection, 512": ({}, {"recollection": 512}),
    "7: token hidden": (HIDING, {}),
    "7: weights not averaged": (LAST, {}),
    "7: generated among them": ({(Training, "begin"): among_generated(Training.begin)}, {}),
}
"""Constants and arguments that differ from those of the library."""


@contextmanager
def held(constants: Constants) -> Iterator[None]:
    """Hold constants at other values."""
    before = {place: getattr(*place) for place in constants}
    try:
        for (holder, name), value in constants.items():
            setattr(holder, name, value)
        yield
    finally:
        for (holder, name), value in before.items():
            setattr(holder, name, value)


# --- sets -------------------------------------------------------------------------------------------------------------


class Data(NamedTuple):
    """What is fitted, and what is scored."""

    fitted: Any  # a frame
    read: Any  # a frame
    start: int  # row of every series of `read` from which on forecasts are scored
    options: dict[str, Any]  # of the forecaster


def _vic_elec() -> Data:
    dataset = load_dataset("vic_elec")
    frame, _ = standardised(dataset)
    known = dataset.n_train + dataset.n_validation
    cut = round(5 / 6 * known)
    return Data(frame.iloc[:cut], frame.iloc[:known], cut, {"horizon": max(HORIZONS["vic_elec"])})


def _loads() -> Data:
    profiles = load_profiles()
    values = np.stack([one.values[:, 0] for one in profiles])
    third = values.shape[1] // 3
    sides = split_profiles(values[:, :third], 0, fitted=len(values) // 2)
    fitted, read = ([profiles[i] for i in spread_evenly(side, FITTED)] for side in sides)
    frames = [task_frame(x, [rows] * len(x)) for x, rows in ((fitted, slice(third)), (read, slice(third, 2 * third)))]
    return Data(*frames, 168, {"horizon": 24, "lookback": 168})


SETS: dict[str, Callable[[], Data]] = {"vic_elec": cache(_vic_elec), "loads": cache(_loads)}


# --- runs -------------------------------------------------------------------------------------------------------------


class SolvedOnce:
    """A base that is solved at the first call, and copied at others; and a clock that stands still meanwhile."""

    def __init__(self) -> None:
        self.real, self.found = fitting.solve_base, None
        self._began = 0.0

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Return what was solved."""
        began = time.process_time()
        if self.found is None:
            self.found = self.real(*args, **options)
        found = copy.deepcopy(self.found)
        self._began += time.process_time() - began
        return found

    def begin(self) -> None:
        """Set the clock to 0."""
        self._began = time.process_time()

    def end(self) -> float:
        """Return the processor's seconds since, without those of the base."""
        return time.process_time() - self._began


def run(name: str, setting: str, seed: int, solve: SolvedOnce) -> AblationRow:
    """Fit and score one setting, on a base that is solved as it was before."""
    data, (constants, arguments) = SETS[name](), SETTINGS[setting]
    heads: list[dict[str, Tensor]] = []
    real_judge = Training._judge_memory

    def judge(training: Training) -> None:
        heads.append(copy.deepcopy(training.network.head.state_dict()))  # before a share of it is taken
        real_judge(training)

    library: Constants = {
        (fitting, "solve_base"): solve,
        (fitting, "judge_memory"): lambda network, series, starts, judged, share: judged,  # what parts earned is not asked
        (Training, "_judge_memory"): judge,
    }
    solve.begin()
    with held(library | constants):
        model = TitansForecaster(**data.options, validation_fraction=0.2, random_state=seed, **arguments)
        model.fit(data.fitted)
    seconds = solve.end()
    gain, network, reader = model.memory_gain_, model.network_.although_unheard(), model.reader_
    assert gain is not None
    series = [with_base(network, reader.tensors(one), first=network.config.patch_length) for one in reader.panel(data.read)]
    recollected = 0.0
    if network.recollection is not None:
        before, after = errors(network, series, data.start, lambda x: [x.corrected, x.point])
        recollected = 100 * (1 - after / before)
    network.head.load_state_dict(heads[0])
    by_share = errors(network, series, data.start, corrected)
    with silenced(network):
        silent = errors(network, series, data.start, corrected)
    of_memory = [one for one in model.training_history_ if one["phase"] == "memory"]
    used, whole, quiet = (
        100 * (1 - x / by_share[0]) for x in (by_share[SHARES.index(gain.share)], by_share[-1], silent[-1])
    )
    return AblationRow(
        name,
        setting,
        seed,
        base=round(by_share[0], 4),
        best_step=min(of_memory, key=lambda one: one["validation"])["step"],
        validation=round(100 * gain.best_gain, 2),
        standard_error=round(100 * (gain.standard_error or 0.0), 2),
        share=gain.share,
        used=round(used, 2),
        whole=round(whole, 2),
        silent=round(quiet, 2),
        recollected=round(recollected, 2),
        cpu_seconds=round(seconds, 1),
    )


def corrected(found: ValidationForecast) -> list[Tensor]:
    """Return forecasts with each share of the correction."""
    return [found.base.lerp(found.corrected, share) for share in SHARES]


def errors(
    network: ForecastNetwork,
    series: list[SeriesTensors],
    start: int,
    forecasts: Callable[[ValidationForecast], Sequence[Tensor]],
) -> list[float]:
    """Return mean errors from a row on."""
    found: list[float] = block_errors(network, series, [start] * len(series), forecasts).mean(1).tolist()
    return found


def with_base(network: ForecastNetwork, series: SeriesTensors, *, first: int) -> SeriesTensors:
    """Return a series with what the base foretells at ends of patches from a row on, read from the first."""
    base, patch = network.base, network.config.patch_length
    assert base is not None
    ends = torch.arange(-(-first // patch), series.length // patch + 1) * patch
    rows = on_long_run_scale(series.rows[None], series.scale)[0][:, None]
    scale = Scale(series.scale.level.mT, series.scale.spread.mT)
    told, _ = base.read(rows, scale, base.initial_state(len(rows), 1), first=0, ends=ends)
    return replace(series, foretold=Foretold(told.point[:, 0], int(ends[0]), patch))


def table(rows: Sequence[AblationRow]) -> str:
    """Return a markdown table: a row a set and setting, means over seeds, in brackets those of each seed."""
    body = []
    for name, setting in dict.fromkeys((row.dataset, row.setting) for row in rows):
        mine = [row for row in rows if (row.dataset, row.setting) == (name, setting)]

        def each(values: Sequence[float], form: str = "{:.2f}") -> str:
            one_by_one = " ".join(form.format(x) for x in values)
            return form.format(np.mean(values)) + (f" ({one_by_one})" if len(values) > 1 else "")

        cells = [each([getattr(row, key) for row in mine]) for key in ("validation", "used", "whole")]
        cells += [each([row.whole - row.silent for row in mine]), each([row.recollected for row in mine])]
        shares = each([row.share for row in mine], "{:.1f}")
        body.append([name, setting, cells[0], shares, *cells[1:], f"{np.mean([row.cpu_seconds for row in mine]):.0f}"])
    head = ["set", "setting", "validation", "share", "used", "whole", "the memory's own", "recollected", "processor, s"]
    return markdown_table(head, body)


def main() -> None:
    """Run what is missing, write the file after each run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="data (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="seeds (default: 0 1 2)")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="rows (default: all)")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"), help="file of rows")
    chosen = parser.parse_args()
    rows = read_rows(chosen.out, AblationRow)
    order = {one: i for i, one in enumerate((*SETS, *SETTINGS))}
    for name in chosen.sets:
        solve = SolvedOnce()
        for seed, setting in product(chosen.seeds, chosen.settings):
            if any((row.dataset, row.setting, row.seed) == (name, setting, seed) for row in rows):
                continue
            rows.append(run(name, setting, seed, solve))
            rows.sort(key=lambda row: (order[row.dataset], order[row.setting], row.seed))
            write_rows(chosen.out, rows, AblationRow)
    print(table(rows))


if __name__ == "__main__":
    main()
