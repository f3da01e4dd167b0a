"""Fitted models to files and back: safetensors and JSON, never pickle.

An estimator says what it keeps (``_kept``) and how it is put together again (``_restore``); this is the file around it.
"""

from __future__ import annotations

import json
import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from titans_ts.blocks.chance import drawing
from titans_ts.files.tensors import read_tensors, under, write_tensors
from titans_ts.learn.run import choose_device, number_type

if TYPE_CHECKING:
    import torch


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
        As it was saved; ``callbacks`` are not kept.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, foreign, or of a newer titans_ts. Nothing is unpickled, whatever the file holds.

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
    tensors, header = read_tensors(path)
    name = header.get("estimator")
    if name not in HOME_OF:
        raise ValueError(f"{str(path)!r} holds no fitted model of titans_ts; it may be a checkpoint of a training run")
    try:
        kind = getattr(import_module(HOME_OF[name]), name)
        estimator = kind(**_arguments(kind, header["arguments"]))
        with drawing(seed=0):  # the first weights of a network, which those of the file replace
            estimator._restore(header, tensors, choose_device(device))
    except (KeyError, TypeError, RuntimeError, AttributeError, IndexError) as error:
        raise ValueError(f"{str(path)!r} is damaged: {error}; save the model again") from None
    return estimator


def save(estimator: Any, path: str | Path) -> None:
    """Write a fitted estimator: its arguments, its weights, and all that is needed to use them."""
    if Path(path).is_dir():
        raise IsADirectoryError(f"path={str(path)!r} is a folder; name a file in it, for example 'model.titans'")
    tensors, facts = estimator._kept()
    write_tensors(path, tensors, {"estimator": type(estimator).__name__, "arguments": _json_arguments(estimator), **facts})


def network_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return a network's weights by their names in a file."""
    return {f"network.{name}": x for name, x in network.state_dict().items()}


def restore_network(network: nn.Module, tensors: dict[str, Tensor], precision: str, device: torch.device) -> Any:
    """Put weights back into a network of the right form; returns it in evaluation mode."""
    network = network.to(number_type(precision))
    network.load_state_dict(under("network.", tensors))
    return network.to(device).eval()


def _json_arguments(estimator: Any) -> dict[str, Any]:
    """Return the constructor's arguments as JSON can hold them; what it cannot hold is left out with a warning."""
    kept = {}
    for name, value in estimator.get_params(deep=False).items():
        if name in ("callbacks", "init_from"):  # functions; and a model whose weights went into this one
            continue
        value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
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
        name: tuple(value) if isinstance(value, list) else value
        for name, value in kept.items()
        if name in known or name not in _DROPPED
    }
