"""One way to train: steps that the caller takes, with all around them that every training shares.

A training is a subclass of :class:`Run`. It draws its batches and computes their losses; the run sets the learning rate,
takes the gradient step, evaluates now and then, tells whoever asked, and knows when to end::

    with self.begun():
        for _ in self.take(config.max_steps):
            self.done(losses, len(batch), validate)

In a group of processes (:mod:`titans_ts.learn.distributed`) every process draws the same batches, computes the losses of its
pieces of each, and steps by the gradients of all.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from titans_ts.backbones.state import join, map_tensors, pack, unpack_checked
from titans_ts.blocks.chance import dropping_by, seeded_generator
from titans_ts.files.facts import fits, require
from titans_ts.files.tensors import under
from titans_ts.learn import distributed
from titans_ts.learn.progress import progress_bar
from titans_ts.memory.gates import gates_apart


class AdamW(torch.optim.AdamW):
    """torch's, all parameters in one call, without its compiler: 800 modules, seconds, which the first step would import."""

    def __init__(self, params: Any, **settings: Any) -> None:
        super().__init__(params, fused=True, **settings)

    add_param_group = inspect.unwrap(torch.optim.AdamW.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.AdamW.zero_grad)
    state_dict = inspect.unwrap(torch.optim.AdamW.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.AdamW.load_state_dict)
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


@dataclass(frozen=True)
class RunConfig:
    """Settings that every training has."""

    max_steps: int = 300  # at most
    batch_size: int = 32  # sequences of a step
    learning_rate: float = 2e-3  # AdamW's, at its peak
    weight_decay: float = 0.05  # AdamW's, on matrices
    evaluate_every: int = 50  # steps between two evaluations
    patience: int = 10  # evaluations without a lower error before training stops
    gradient_bound: float = 1.0  # largest norm of a step's gradient
    average: float = 0.0  # share of the averaged weights that a step leaves; they are what is judged and kept; 0 for none
    precision: str = "auto"  # see mixed_precision
    seed: int = 0  # source of all chance


class Piece(NamedTuple):
    """The part of a batch whose losses are asked for at once: all of it, or in a group of processes an eighth."""

    number: int
    places: slice  # in the batch
    chance: np.random.Generator  # for what is drawn while its losses are computed


class Losses(NamedTuple):
    """Losses that were added up, and how many they are; both without dimensions."""

    total: Tensor
    number: Tensor

    @property
    def mean(self) -> Tensor:
        """Their mean; 0 where there are none."""
        return self.total / self.number.clamp_min(1)


LossesOf = Callable[[Piece], Losses]


@dataclass(frozen=True)
class Report:
    """What a callback is told after every step."""

    phase: str | None  # what is being trained, where one thing is after another
    step: int  # steps of this phase done
    steps: int  # steps of this phase, at most
    loss: float  # of this step
    validation: float | None  # error of an evaluation made after this step


class Run:
    """One training, which can be kept in a file between two steps and taken up again to the same bits.

    Parameters
    ----------
    network : nn.Module
        Trained in place.
    config : RunConfig
        Settings.
    callbacks : sequence of callable, default=()
        Each is called with the run and a :class:`Report` after every step; a true answer stops training. One that has
        ``before_step`` or ``resume`` is called by them before each step and at the beginning.
    verbose : int or None, default=0
        Whether bars are shown, see :func:`titans_ts.learn.progress.shows_progress`.
    """

    phase: Any = None  # what is being trained, where one thing is after another
    label = "memory"  # what a progress bar says, where there is no phase

    def __init__(
        self,
        network: Any,
        config: RunConfig,
        *,
        callbacks: Sequence[Callable[[Any, Report], Any]] = (),
        verbose: int | None = 0,
    ) -> None:
        self.network, self.config, self.callbacks, self.verbose = network, config, callbacks, verbose
        self.best = BestWeights(config.patience)
        self.averaged: dict[str, Tensor] = {}  # weights averaged over steps, where the settings ask for them
        self.history: list[Report] = []
        self.states: dict[int, Any] = {}  # what the network carries from step to step, by the piece of the batch
        self.chance = np.random.default_rng(config.seed)
        self.generator = seeded_generator(config.seed, network.device)  # of dropout
        self.step = self.steps = 0  # done, and at most, in this phase
        self.halted = False  # by a callback
        self._identity = ""
        self._began = time.perf_counter()

    def optimize(self, groups: list[dict[str, Any]], *, trained: Sequence[nn.Parameter] | None = None) -> None:
        """Set up AdamW for groups of parameters, each with the ``peak`` of its learning rate; memories' gates learn faster.

        ``trained`` are the parameters in the order in which the norm of their gradient is summed; by default the groups'.
        """
        apart = gates_apart(groups, self.network)
        self.optimizer = AdamW(apart, lr=0.0, betas=(0.9, 0.98), weight_decay=0.0)
        self.trained = [x for group in groups for x in group["params"]] if trained is None else trained
        self.averaged = {}

    def optimize_all(self, trained: Sequence[nn.Parameter]) -> None:
        """Set up AdamW for parameters that learn alike; matrices decay."""
        peak, decay = self.config.learning_rate, self.config.weight_decay
        groups = [
            {"params": [x for x in trained if x.ndim >= 2], "peak": peak, "weight_decay": decay},
            {"params": [x for x in trained if x.ndim < 2], "peak": peak},
        ]
        self.optimize(groups, trained=trained)

    def training_network(self) -> Any:
        """Return the network in training mode; going through all of its modules at every step takes half a millisecond."""
        return self.network if self.network.training else self.network.train()

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Take up what a callback kept, and let dropout draw from the run's own generator while the run lasts."""
        if distributed.in_group():
            distributed.check_alike(self.identity())
        for callback in self.callbacks:
            if hasattr(callback, "resume"):
                callback.resume(self)
        distributed.agree(self.network)
        with dropping_by(self.generator, self.network):
            yield
        distributed.agree(self.network)
        self.network.eval()

    def take(self, steps: int) -> Iterator[int]:
        """Yield the number of each step to take, until the last, the end of patience, or a callback's word."""
        self.steps = self.steps if self.step else steps  # a run that is taken up has begun
        what = self.phase or self.label
        waited = time.perf_counter() - self._began
        counted: Any = {"total": steps, "initial": self.step}
        with progress_bar(self.verbose, self._title(what), unit="step", waited=waited, **counted) as bar:
            while self.step < self.steps and not (self.halted or self.impatient):
                for callback in self.callbacks:
                    if hasattr(callback, "before_step"):
                        callback.before_step(self, what)
                factor = learning_rate_factor(self.step, self.steps)
                for group in self.optimizer.param_groups:
                    group["lr"] = group["peak"] * factor
                yield self.step
                if self.report.validation is not None:
                    errors = {"validation": f"{self.report.validation:.4f}", "best": f"{self.best.error:.4f}"}
                    bar.set_postfix(errors, refresh=False)  # or it would appear before its time
                bar.update()
                halted = [bool(callback(self, self.report)) for callback in self.callbacks]
                self.halted |= bool(halted) and distributed.decided(partial(any, halted))

    def _title(self, what: str) -> str:
        """Return what a bar says of a phase: which of how many it is, where there are several."""
        return what

    def done(self, losses: LossesOf, count: int, validate: Callable[[], float] | None = None) -> None:
        """End a step: lower the mean of the losses of a batch of ``count`` places, and evaluate where that is due."""
        loss = self._differentiate(losses, count)
        nn.utils.clip_grad_norm_(self.trained, self.config.gradient_bound)
        self.optimizer.step()
        self.step += 1
        self._average()
        due = self.step % self.config.evaluate_every == 0 or self.step == self.steps
        error = self.evaluate(validate) if due and validate is not None else None
        self.report = Report(self.phase, self.step, self.steps, float(loss.detach()), error)
        if error is not None:
            self.history.append(self.report)

    def _differentiate(self, losses: LossesOf, count: int) -> Tensor:
        """Return the mean loss of a batch, whose gradient is left in the parameters.

        In a group the sums of all pieces and of their gradients are added in an order that no number of processes changes.
        """
        self.optimizer.zero_grad(set_to_none=True)
        if not distributed.in_group():
            loss = losses(Piece(0, slice(0, count), self.chance)).mean
            loss.backward()
            return loss.detach()
        sizes = [n for x in self.trained for n in (x.numel(), 1)] + [1, 1]
        like = self.trained[0].new_zeros(sum(sizes))
        parts = []
        for number, places in distributed.mine(count):
            key = np.random.SeedSequence([self.config.seed, self.step, number])
            self.generator.manual_seed(int(key.generate_state(1, np.uint64)[0] >> 1))  # dropout's
            self.optimizer.zero_grad(set_to_none=True)
            found = losses(Piece(number, places, np.random.default_rng(key)))
            found.total.backward()
            parts.append((number, self._gradient(found, like)))
        *columns, total, counted = distributed.added(parts, like).split(sizes)
        pieces = torch.cat(columns[1::2]).tolist()  # that have a gradient, of each parameter
        for x, slope, some in zip(self.trained, columns[::2], pieces, strict=True):
            x.grad = (slope / counted.clamp_min(1)).view_as(x).to(x.dtype) if some else None
        return (total / counted.clamp_min(1))[0]

    def _gradient(self, found: Losses, like: Tensor) -> Tensor:
        """Return the gradients as one vector, after each whether there is one, and at its end the losses."""
        there, nothing = like.new_ones(1), like.new_zeros(1)
        columns = [
            part
            for x in self.trained
            for part in ((x.grad.flatten().to(like), there) if x.grad is not None else (like.new_zeros(x.numel()), nothing))
        ]
        return torch.cat([*columns, found.total.detach().to(like)[None], found.number.to(like)[None]])

    @torch.no_grad()
    def _average(self) -> None:
        """Let the averaged weights follow: the mean of all steps at first, until a step leaves them the share it should."""
        if not self.config.average:
            return
        share = min(self.config.average, 1 - 1 / self.step)
        for name, x in self.network.named_parameters():
            if name in self.averaged:
                self.averaged[name].lerp_(x, 1 - share)
            else:
                self.averaged[name] = x.detach().clone()

    @contextmanager
    def with_averaged(self) -> Iterator[None]:
        """Put the averaged weights in the place of the last ones inside the block."""
        last = {name: x.detach().clone() for name, x in self.network.named_parameters() if name in self.averaged}
        self._set_weights(self.averaged)
        try:
            yield
        finally:
            self._set_weights(last)

    @torch.no_grad()
    def _set_weights(self, weights: dict[str, Tensor]) -> None:
        for name, x in self.network.named_parameters():
            if name in weights:
                x.copy_(weights[name])

    def keep_best(self) -> None:
        """Leave the weights with the least validation error in the network; without validation the averaged ones."""
        if self.best.weights:
            self.best.restore(self.network)
        else:
            self._set_weights(self.averaged)

    def evaluate(self, validate: Callable[[], float]) -> float:
        """Measure the error on validation, and note the weights if it is the least so far."""
        self.network.eval()
        with self.with_averaged():
            error = distributed.decided(partial(float, validate()))
            self.best.see(error, self.step, self.network)
        return error

    @property
    def impatient(self) -> bool:
        """Whether so many evaluations brought nothing that training stops."""
        return self.best.waited >= self.best.patience

    def told(self) -> list[dict[str, Any]]:
        """Return the evaluations as plain values; the phase where there is one."""
        return [{name: x for name, x in asdict(one).items() if (name, x) != ("phase", None)} for one in self.history]

    def _data(self) -> Iterable[Any]:
        """Yield the data trained on, as tensors or arrays, and whatever else makes a run another one."""
        raise NotImplementedError

    def identity(self) -> str:
        """Return what must agree for a run to be taken up: kind, network, settings, data."""
        if not self._identity:
            found = hashlib.sha256(f"{type(self).__name__} {self.network.config} {self.config}".encode())
            for part in self._data():
                x = np.ascontiguousarray(part)
                found.update(f"{x.dtype} {x.shape}".encode())
                found.update(x.data)
            self._identity = found.hexdigest()
        return self._identity

    def kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return every tensor that the rest of the run depends on, and the facts beside them."""
        best = self.best
        tensors = {f"network.{name}": x for name, x in self.network.state_dict().items()}
        tensors |= {f"best.{name}": x for name, x in best.weights.items()}
        tensors |= {f"averaged.{name}": x for name, x in self.averaged.items()}
        for index, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(x) for name, x in values.items()}
        if states := distributed.gathered(self.states):
            tensors |= pack(join(list(states.values())), prefix="state")
        tensors[f"chance.{self._kind_of_chance}"] = self.generator.get_state()
        facts = {
            "run": self.identity(),
            "phase": self.phase,
            "step": self.step,
            "steps": self.steps,
            "history": [asdict(report) for report in self.history],
            "best": [best.error, best.step, best.waited],
            "chance": self.chance.bit_generator.state,
        }
        return tensors, facts

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Put back what :meth:`kept` returned."""
        best, trained = self.best, [x for group in self.optimizer.param_groups for x in group["params"]]
        counted = fits(facts["step"], int) and fits(facts["steps"], int) and 0 <= facts["step"] <= facts["steps"]
        require(counted, "its steps are no counts")
        self.step, self.steps = facts["step"], facts["steps"]
        self.history = [Report(**report) for report in facts["history"]]
        best.error, best.step, best.waited = facts["best"]
        best.weights = under("best.", tensors)
        if best.weights:
            best.restore(self.network)  # raises where a part is missing
        self.network.load_state_dict(under("network.", tensors))
        self.averaged = under("averaged.", tensors)
        like = dict(self.network.named_parameters())
        forms = {name: x.shape for name, x in self.averaged.items()}
        wanted = {name: x.shape for name, x in like.items()} if self.config.average and self.step else {}
        require(forms == wanted, "its averaged weights are not those of the network")
        moments: dict[int, dict[str, Tensor]] = {}
        for name, x in under("optimizer.", tensors).items():
            index, moment = name.split(".")
            known = int(index) < len(trained) and (moment == "step" or x.shape == trained[int(index)].shape)
            require(known, f"'optimizer.{name}' is of no weight that is trained")
            moments.setdefault(int(index), {})[moment] = x
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.chance.bit_generator.state = facts["chance"]
        drawn = under("chance.", tensors)
        if self._kind_of_chance in drawn or not drawn:  # a run that goes on on another device draws anew there
            self.generator.set_state(drawn[self._kind_of_chance])

    @property
    def _kind_of_chance(self) -> str:
        return "cuda" if self.generator.device.type == "cuda" else "torch"

    def restore_state(self, like: Any, tensors: dict[str, Tensor], count: int, *, streams: int = 1) -> None:
        """Put back what the network carried, if it has the form and the whole numbers of ``like``, and is finite.

        The batch has ``count`` places of so many streams each.
        """
        state = unpack_checked(like, under("state.", tensors))

        def part(places: slice) -> Any:
            some = slice(places.start * streams, places.stop * streams)
            return map_tensors(lambda x: x[some].to(self.network.device), state)

        self.states = {number: part(places) for number, places in distributed.mine(count)}


@dataclass
class BestWeights:
    """The weights with the least validation error."""

    patience: int  # evaluations without a lower error before training should stop
    error: float = float("inf")
    step: int = -1
    waited: int = 0  # evaluations since
    weights: dict[str, Tensor] = field(default_factory=dict)

    def see(self, error: float, step: int, network: nn.Module) -> bool:
        """Note an evaluation; returns whether patience is at its end."""
        if error < self.error:
            self.error, self.step, self.waited = error, step, 0
            self.weights = {name: x.detach().clone() for name, x in network.state_dict().items()}
        else:
            self.waited += 1
        return self.waited >= self.patience

    def restore(self, network: nn.Module) -> None:
        """Put the best weights back."""
        if self.weights:
            network.load_state_dict(self.weights)


def learning_rate_factor(step: int, total: int, *, warm_up: int = 20) -> float:
    """Return the factor on the learning rate at a step, from 0: a linear warm-up times a cosine (arXiv 1608.03983)."""
    warmed = min(1.0, (step + 1) / max(warm_up, 1))
    return warmed * 0.5 * (1 + math.cos(math.pi * step / max(total, 1)))


def stop_after(seconds: float) -> Callable[[Any, Any], bool]:
    """Return a callback of an estimator that ends training so long after its first step."""
    end: list[float] = []

    def callback(_training: Any, _report: Any) -> bool:
        end.append(time.perf_counter() + seconds)
        return time.perf_counter() > end[0]

    return callback


PRECISIONS = ("auto", "float32", "bfloat16", "float64")


def choose_device(device: str | torch.device) -> torch.device:
    """Return the device of a name; ``"auto"`` takes CUDA where there is one."""
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(f"device={device!r} cannot be used here: {error}; use 'auto' or 'cpu'") from None
    return chosen


def number_type(precision: str) -> torch.dtype:
    """Return the type of the weights: float64 when asked for, else float32."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}; got {precision!r}")
    return torch.float64 if precision == "float64" else torch.float32


def mixed_precision(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which a step computes: bfloat16 products where asked for, or with ``"auto"`` on CUDA.

    On a CPU products of these widths are too small to gain. The memory itself always computes in float32 or better.
    """
    wanted = precision == "bfloat16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, dtype=torch.bfloat16) if wanted else nullcontext()
