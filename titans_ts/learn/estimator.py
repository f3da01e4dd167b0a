"""Base of all estimators: the arguments that they share, and how these become configurations; chance, files, callbacks."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from titans_ts import __version__
from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.variants import VARIANTS
from titans_ts.blocks.chance import drawing
from titans_ts.learn import distributed, saving
from titans_ts.learn.arguments import argument, constraints, with_arguments
from titans_ts.learn.callbacks import CallbackSupportMixin
from titans_ts.learn.run import PRECISIONS, RunConfig, choose_device, number_type

Network = TypeVar("Network", bound=nn.Module)
Config = TypeVar("Config", bound=RunConfig)

POSITIVE = Interval(Integral, 1, None, closed="left")
COUNT = Interval(Integral, 0, None, closed="left")

DOCUMENTATION = "https://pypi.org/project/titans-ts/{version}/"
"""Where a person finds the documentation of an estimator, with ``{version}``, ``{path}`` and ``{name}`` of its class."""


@with_arguments
class BaseTitans(CallbackSupportMixin, BaseEstimator):
    """Base of every estimator.

    Progress is shown in three ways: as bars (``verbose``); to functions in ``callbacks``, called after every step; and to
    callbacks of scikit-learn 1.9 or newer (``set_callbacks``; ``sklearn.callback.ProgressBar`` shows a fit within its
    pipeline and its search).

    In an initialised ``torch.distributed`` group of 1, 2, 4 or 8 processes, all of which are given the same data, ``fit``
    shares out its work, and all have the same model then (:mod:`titans_ts.learn.distributed`).
    """

    variant: str = argument(
        "mac",
        StrOptions(set(VARIANTS)),
        doc="Where the memory sits: as context of attention (mac), as its gate (mag), as a layer before it (mal), or alone "
        "(lmm). The others are baselines without a memory.",
    )
    memory: str = argument(
        "titans", str, doc="Which rule writes the memory: a name of :data:`titans_ts.memory.presets.PRESETS`."
    )
    width: int = argument(64, POSITIVE, doc="Width of the network.")
    layers: int = argument(1, COUNT, doc="Layers of the network; 0 is what stands below it alone: base or linear path.")
    heads: int = argument(4, POSITIVE, doc="Heads of each layer.")
    memory_depth: int = argument(2, POSITIVE, doc="Layers of the memory itself.")
    refresh_every: int = argument(16, POSITIVE, doc="Tokens that share one reading of the memory for their gradients.")
    window: int = argument(
        32, POSITIVE, doc="Tokens of a segment (mac) or of the sliding window (mag, mal, attention, hopfield)."
    )
    persistent_tokens: int = argument(4, COUNT, doc="Learned tokens that attention always sees.")
    convolution: int = argument(
        4, POSITIVE, doc="Kernel of the causal convolutions before memory and attention; 1 switches them off."
    )
    momentum: bool = argument(True, "boolean", doc="Whether past surprise counts, where the rule has momentum.")
    forgetting: bool = argument(True, "boolean", doc="Whether the memory forgets, where the rule does.")
    key_degree: int = argument(
        1,
        Interval(Integral, 1, 2, closed="both"),
        doc="2 lets memories be asked by the entries of queries and keys and the products of two of them: keys of a head k "
        "wide become k (k + 3) / 2 wide, and hold as many more pairs apart. Not for memories that add keys to values (ttt).",
    )
    slots: int = argument(
        0,
        COUNT,
        doc="Pairs of key and value that each head keeps as they are beside its memory: those that surprised it most, of "
        "any age (:mod:`titans_ts.memory.slots`). The state grows by as many, and those of a refresh; 64 is a beginning.",
    )
    dropout: float = argument(
        0.2, Interval(Real, 0, 1, closed="left"), doc="Share of each layer's output that is set to zero in training."
    )
    max_steps: int = argument(300, COUNT, doc="Training steps, at most.")
    learning_rate: float = argument(2e-3, Interval(Real, 0, None, closed="neither"), doc="Peak learning rate.")
    batch_size: int = argument(32, POSITIVE, doc="Sequences of a step.")
    validation_fraction: float = argument(
        0.1, Interval(Real, 0, 1, closed="left"), doc="Share of the training data that chooses the weights; 0 for none."
    )
    patience: int = argument(10, POSITIVE, doc="Evaluations without a lower loss before training stops.")
    device: Any = argument("auto", str, object, doc='Where to compute; ``"auto"`` is CUDA where there is one.')
    precision: str = argument(
        "auto",
        StrOptions(set(PRECISIONS)),
        doc='Number format; ``"auto"`` is bfloat16 products on a GPU and float32 elsewhere.',
    )
    random_state: Any = argument(None, "random_state", doc="Seed of all chance; the global generators are left as they are.")
    verbose: Any = argument(
        None,
        None,
        "verbose",
        doc="1 shows progress bars, 0 none; None shows them where standard error is a terminal and the work takes "
        "more than a few seconds.",
    )
    warm_start: bool = argument(False, "boolean", doc="Whether ``fit`` goes on from the weights of the last one.")
    callbacks: Any = argument(
        None,
        None,
        list,
        tuple,
        doc="Functions; each is called after every step with the run and a report, and may stop it by returning true. "
        ":class:`titans_ts.Checkpoint` is one: it lets an interrupted ``fit`` be taken up again.",
    )

    _doc_link_module = "titans_ts"
    _doc_link_template = DOCUMENTATION

    @property
    def _parameter_constraints(self) -> dict[str, list[Any]]:
        return constraints(type(self))

    def _doc_link_url_param_generator(self) -> dict[str, str]:
        """Return what may stand in the braces of the link in the HTML representation."""
        return {
            "version": __version__,
            "path": type(self).__module__.replace(".", "/") + ".py",
            "name": type(self).__name__,
        }

    def _backbone_config(self) -> BackboneConfig:
        """Return the backbone that the arguments describe; parts that do not fit are refused by name."""
        return BackboneConfig(
            variant=self.variant,
            memory=self.memory,
            width=int(self.width),
            layers=int(self.layers),
            heads=int(self.heads),
            memory_depth=int(self.memory_depth),
            refresh_every=int(self.refresh_every),
            window=int(self.window),
            persistent_tokens=int(self.persistent_tokens),
            convolution=int(self.convolution),
            momentum=bool(self.momentum),
            forgetting=bool(self.forgetting),
            key_degree=int(self.key_degree),
            slots=int(self.slots),
            dropout=float(self.dropout),
        )

    def _check_arguments(self) -> None:
        """Refuse, by name, arguments that are wrong or do not fit each other."""
        for callback in self.callbacks or ():
            if not callable(callback):
                raise TypeError(f"callbacks holds {callback!r}, which is no function of a run and a report")
        distributed.check_group()
        self._backbone_config()
        choose_device(self.device)

    def _run_config(self, kind: type[Config], seed: int, **others: Any) -> Config:
        """Return the settings of a run of training."""
        names = ("max_steps", "batch_size", "learning_rate", "patience", "precision")
        return kind(**{name: getattr(self, name) for name in names}, seed=seed, **others)

    def _watching(self) -> dict[str, Any]:
        """Return what a run of training calls after every step, and whether it shows progress."""
        follower = vars(self).get("_step_follower")
        callbacks = (*(self.callbacks or ()), *(() if follower is None else (follower,)))
        return {"callbacks": callbacks, "verbose": self.verbose}

    def _most_steps(self) -> int:
        """Return the training steps of a fit, at most."""
        return int(self.max_steps)

    def _learned_so_far(self, run: Any) -> dict[str, Any] | None:
        """Return what a fit would have learned if the step just taken were its last, where that can be said."""
        return None

    def _draw_seed(self) -> int:
        """Return the seed of a fit; with ``random_state=None`` from the system, numpy's global generator untouched."""
        if self.random_state is None:
            return distributed.decided(lambda: int(np.random.SeedSequence().generate_state(1)[0] >> 2))
        if isinstance(self.random_state, np.random.RandomState):
            return int(self.random_state.randint(2**30))
        return int(self.random_state) % 2**30

    def save(self, path: str | Path) -> None:
        """Write the fitted model and its memory to one file, whole or not at all.

        Parameters
        ----------
        path : str or Path
            Where to; :func:`titans_ts.load` reads it. Nothing in it is pickled.

        Raises
        ------
        OSError
            If it cannot be written; an older file is left as it was.
        """
        check_is_fitted(self)
        saving.save(self, path)

    def _plain_arguments(self) -> dict[str, Any]:
        """Return the arguments as a file keeps them, if it can."""
        return self.get_params(deep=False)  # type: ignore[no-any-return]

    @classmethod
    def _original_arguments(cls, kept: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of a file as they were before :meth:`_plain_arguments`."""
        return kept

    def _kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the tensors and the plain facts that a model file keeps beside the arguments."""
        raise NotImplementedError

    def _restore(self, header: dict[str, Any], tensors: dict[str, Tensor], network: Any) -> None:
        """Put back what :meth:`_kept` returned, beside a network that holds its weights again."""
        raise NotImplementedError

    _network_kind: ClassVar[tuple[type[nn.Module], Any]]
    """The network, and its configuration, of which a model file keeps ``to_dict()`` as ``network``."""

    @property
    def _kept_kind(self) -> torch.dtype:
        """The kind of number that a fitted network is kept in."""
        return number_type(self.precision)

    @property
    def _goes_on(self) -> bool:
        """Whether ``fit`` starts from the weights of the last one."""
        return bool(self.warm_start) and hasattr(self, "network_")

    def _require_same(self, fitted: Any, asked: Any) -> None:
        if fitted != asked:
            raise ValueError(
                "warm_start=True goes on from the fitted network, but arguments or data have changed since: set "
                "warm_start=False, or fit with the same ones"
            )

    def _start_network(self, kind: type[Network], config: Any, seed: int) -> Network:
        """Return a fresh network, or with ``warm_start`` a copy of the fitted one."""
        if self._goes_on:
            self._require_same(self.network_.config, config)
            return copy.deepcopy(self.network_)  # an interrupted fit leaves the fitted one as it was
        with drawing(seed):
            return kind(config).to(number_type(self.precision))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")


@contextmanager
def all_or_nothing(fitted: BaseTitans) -> Iterator[None]:
    """Leave an estimator as it was if what is done to it fails or is interrupted."""
    before = dict(vars(fitted))
    try:
        yield
    except BaseException:
        fitted.__dict__.clear()
        fitted.__dict__.update(before)
        raise


def validation_rows(rows: int, fraction: float) -> int:
    """Return how many of a series' last rows are for validation; 1e-6 makes up for rounding, as of 2880 / 11520."""
    return min(math.floor(rows * fraction + 1e-6), rows)
