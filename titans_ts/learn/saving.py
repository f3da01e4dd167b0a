"""Fitted models to files and back: safetensors and JSON, never pickle.

An estimator says what it keeps (``_kept``) and how it is put together again (``_restore``); this is the file around it.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from titans_ts.backbones.config import BackboneConfig
from titans_ts.backbones.stack import Backbone
from titans_ts.files.facts import checked, require, same
from titans_ts.files.tensors import Form, parsed_json, read_tensors, under, write_tensors
from titans_ts.frames.covariates.holidays import plain_holidays
from titans_ts.learn.run import choose_device
from titans_ts.memory.presets import find_preset

HOME_OF = {
    "DNAClassifier": "titans_ts.dna.classify",
    "DNALanguageModel": "titans_ts.dna.language_model",
    "DNARegressor": "titans_ts.dna.classify",
    "TitansAnomalyDetector": "titans_ts.windows.anomaly",
    "TitansClassifier": "titans_ts.windows.classify",
    "TitansEmbedder": "titans_ts.windows.embedder",
    "TitansForecaster": "titans_ts.series.forecaster",
    "TitansRegressor": "titans_ts.windows.classify",
}
"""Where the estimators live whose files can be read; any other name in a file is refused."""

_DROPPED = ("caution", "n_jobs")
"""Arguments that did nothing in some estimators and are gone there; their older files still hold them."""


def load(path: str | Path, *, device: str = "auto") -> Any:
    """Read a fitted model, with the memory it had.

    Parameters
    ----------
    path : str or Path
        A file that ``save`` wrote.
    device : str, default="auto"
        Where the model shall compute.

    Returns
    -------
    estimator
        As it was saved; ``callbacks`` are not kept. It does not depend on the file any more.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    PermissionError, IsADirectoryError
        If it may not be read, or is a folder.
    ValueError
        If it is damaged, foreign, or of a newer titans_ts: what its header asks for is held against its length and the
        shapes of its tensors before these are read. Nothing is unpickled, whatever the file holds.

    Examples
    --------
    >>> import numpy as np, tempfile, os
    >>> from titans_ts import TitansForecaster
    >>> forecaster = TitansForecaster(horizon=3, lookback=32, layers=0, random_state=0).fit(np.sin(np.arange(200.0)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "sine.titans")
    ...     forecaster.save(path)
    ...     bool((load(path).predict() == forecaster.predict()).all())
    True
    """
    place, blank = choose_device(device), dict[str, Any]()

    def check(header: dict[str, Any], forms: Mapping[str, Form]) -> None:
        name = header.get("estimator")
        if not isinstance(name, str) or name not in HOME_OF:
            raise ValueError(f"{str(path)!r} holds no fitted model of titans_ts; it may be a checkpoint of a training run")
        with _damage(path):
            kind = getattr(import_module(HOME_OF[name]), name)
            blank["estimator"] = kind(**kind._original_arguments(_arguments(kind, header["arguments"])))
            blank["estimator"]._validate_params()
            require(isinstance(blank["estimator"].device, str), "device is no name of one")
            network, config = kind._network_kind
            blank["network"] = blank_network(network, config.from_dict(header["network"]), under("network.", forms))

    tensors, header = read_tensors(path, check=check)
    with _damage(path):
        estimator = blank["estimator"]
        network = restore_network(blank["network"], under("network.", tensors), estimator._kept_kind, place)
        estimator._restore(header, tensors, network)
        _check_kept(estimator, header, tensors)
    return estimator


def _check_kept(estimator: Any, header: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Refuse a file of which a part was not taken over as it stands there: it means something that is not known here."""
    kept, facts = estimator._kept()
    for name in tensors:
        require(name in kept, f"it holds {name!r}, for which the model has no place")
    said = parsed_json(json.dumps(facts))
    for name, value in header.items():
        if name not in ("estimator", "arguments"):
            require(name in said, f"it says {name!r}, which this titans_ts does not know; if a newer one wrote it, upgrade")
            require(same(value, said[name]), f"what it says of {name!r} has no meaning here")


@contextmanager
def _damage(path: str | Path) -> Iterator[None]:
    """Tell of whatever goes wrong when a model is put together as damage of its file."""
    try:
        yield
    except KeyError as error:
        raise ValueError(f"{str(path)!r} is damaged: it lacks {error}; save the model again") from None
    except (ValueError, TypeError, RuntimeError, AttributeError, IndexError, ArithmeticError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"{str(path)!r} is damaged: {reason}; save the model again") from None


def save(estimator: Any, path: str | Path) -> None:
    """Write a fitted estimator: its arguments, its weights, and all that is needed to use them."""
    tensors, facts = estimator._kept()
    write_tensors(path, tensors, {"estimator": type(estimator).__name__, "arguments": _json_arguments(estimator), **facts})


def network_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return a network's weights by their names in a file."""
    return {f"network.{name}": x for name, x in network.state_dict().items()}


def blank_network(kind: type[nn.Module], config: Any, forms: Mapping[str, Form]) -> Any:
    """Build a network whose weights a file holds, with nothing in them; one that asks for other weights is refused.

    No chance is drawn, and what the file does not hold is refused before it takes memory or time.
    """
    checked(config)
    for part in _backbones(config):
        if find_preset(part.memory).depth is None and part.memory_depth > len(forms):
            raise ValueError(f"memory_depth={part.memory_depth} asks for more layers of the memory than the file holds")
    with _Blank(_TEMPORARY * sum(math.prod(form.shape) for form in forms.values()) + _SPARE, "weights than the file holds"):
        network = kind(config)
    with _Blank(_LARGEST_STATE, "numbers in its state than any has"):
        for module in network.modules():
            if isinstance(module, Backbone):
                module.initial_state(1)
    asked = {name: (tuple(x.shape), x.is_floating_point()) for name, x in network.state_dict().items()}
    for name, (shape, is_float) in asked.items():
        if name not in forms:
            raise ValueError(f"the network asks for {name!r}, which the file does not hold")
        if forms[name].shape != shape:
            raise ValueError(f"the network asks for {name!r} of shape {shape}, the file holds {forms[name].shape}")
        if (forms[name].kind in (torch.float32, torch.float64)) != is_float:
            raise ValueError(f"{name!r} holds numbers of a wrong kind, {forms[name].kind}")
    for name in forms:
        if name not in asked:
            raise ValueError(f"the network has no place for {name!r}, which the file holds")
    return network


def restore_network(network: nn.Module, weights: dict[str, Tensor], kind: torch.dtype, device: torch.device) -> Any:
    """Make a file's tensors the weights of a blank network; returns it in evaluation mode."""
    network = network.to(kind)
    for name, x in network.state_dict().items():
        if x.is_floating_point() and not weights[name].isfinite().all():
            raise ValueError(f"{name!r} holds numbers that are not finite")
        weights[name] = weights[name].to(x.dtype)
    network.load_state_dict(weights, assign=True)
    return network.to(device).eval()


class _Blank(TorchFunctionMode):
    """Makes tensors without drawing chance, and refuses to make more than so many numbers."""

    def __init__(self, most: int, what: str) -> None:
        super().__init__()
        self.most, self.what = most, what

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        if func in _DRAWN:
            kwargs.pop("generator", None)
            func = torch.empty
        if func in _MADE or func in _MADE_LIKE:
            given = args[1:] if func in _MADE_LIKE else args
            size = given[0] if given and not isinstance(given[0], int) else given or kwargs.get("size", ())
            self.most -= math.prod(size) + 1
            if self.most < 0:
                raise ValueError(f"the network asks for more {self.what}")
        return func(*args, **kwargs)


_DRAWN = (torch.rand, torch.randn)
_MADE = (torch.empty, torch.zeros, torch.ones, torch.full)
_MADE_LIKE = (torch.Tensor.new_zeros, torch.Tensor.new_ones, torch.Tensor.new_full)
_TEMPORARY, _SPARE = 4, 100_000
"""Numbers made for each that is kept, at most, and beside them: fixed tables, numbers that weights are made of."""
_LARGEST_STATE = 2**28
"""Numbers that the memory of one sequence may hold, a gigabyte of them: the length of a window shows in no weight."""


def _backbones(config: Any) -> Iterator[BackboneConfig]:
    """Yield the backbones in the configuration of a network."""
    if isinstance(config, BackboneConfig):
        yield config
    elif is_dataclass(config):
        for one in fields(config):
            yield from _backbones(getattr(config, one.name))


def _json_arguments(estimator: Any) -> dict[str, Any]:
    """Return the constructor's arguments as JSON can hold them; what it cannot hold is left out with a warning."""
    kept = {}
    for name, value in estimator._plain_arguments().items():
        if name in ("callbacks", "init_from"):  # functions; and a model whose weights went into this one
            continue
        value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        value = plain_holidays(value) if name == "holidays" else value
        if isinstance(value, dict):  # JSON would make text of its keys
            plain = [[x.item() if isinstance(x, np.generic) else x for x in pair] for pair in value.items()]
            value = {"pairs": plain}
        value = str(value) if name == "device" else getattr(value, "freqstr", value) if name == "freq" else value
        try:
            json.dumps(value)
        except TypeError:
            warnings.warn(f"save: {name}={value!r} is not kept in the file; its default is", UserWarning, stacklevel=4)
            continue
        kept[name] = value
    return kept


def _arguments(kind: Any, kept: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a file as the constructor of an estimator takes them."""
    known = kind._get_param_names()
    return {
        name: tuple(value) if isinstance(value, list) else _table(value) if isinstance(value, dict) else value
        for name, value in kept.items()
        if name in known or name not in _DROPPED
    }


def _table(kept: dict[str, Any]) -> dict[Any, Any]:
    """Return a table as it was given; older files kept it with text for keys."""
    return dict(kept["pairs"]) if list(kept) == ["pairs"] else kept
