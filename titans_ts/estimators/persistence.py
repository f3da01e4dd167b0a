"""Fitted models to files and back: safetensors and JSON, never pickle."""

from __future__ import annotations

import json
import warnings
from collections.abc import Hashable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from titans_ts.data.panel import Layout
from titans_ts.files import read_tensors, write_tensors
from titans_ts.networks.forecast import ForecastConfig, ForecastNetwork
from titans_ts.state import SeriesState, pack, unpack
from titans_ts.training.acceptance import MemoryGain
from titans_ts.training.preparation import Preparation
from titans_ts.training.runtime import choose_device, number_type

if TYPE_CHECKING:
    from titans_ts.estimators.forecaster import TitansForecaster


def load(path: str | Path, *, device: str = "auto") -> TitansForecaster:
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
    from titans_ts.estimators.forecaster import TitansForecaster

    tensors, header = read_tensors(path)
    if header.get("estimator") != TitansForecaster.__name__:
        raise ValueError(f"{str(path)!r} holds no fitted model of titans_ts; it may be a checkpoint of a training run")
    try:
        estimator = TitansForecaster(**_arguments(header["arguments"]))
        config = ForecastConfig.from_dict(header["network"])
        network = ForecastNetwork(config).to(number_type(estimator.precision))
        network.load_state_dict({k.removeprefix("network."): x for k, x in tensors.items() if k.startswith("network.")})
        estimator.network_ = network.to(choose_device(device)).eval()
        estimator.preparation_ = Preparation.from_dict(header["preparation"])
        estimator.layout_ = Layout.from_dict(header["layout"])
        estimator.training_history_ = header["history"]
        gain = header["memory_gain"]
        estimator.memory_gain_ = None if gain is None else MemoryGain(**gain)
        _restore_series(estimator, header["series"], tensors)
        estimator.note_features(estimator.layout_)
    except (KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise ValueError(f"{str(path)!r} is damaged: {error}; save the model again") from None
    return estimator


def save_forecaster(forecaster: TitansForecaster, path: str | Path) -> None:
    """Write a fitted forecaster: weights, states, and all that is needed to read them."""
    if Path(path).is_dir():
        raise IsADirectoryError(f"path={str(path)!r} is a folder; name a file in it, for example 'model.titans'")
    tensors = {f"network.{name}": x for name, x in forecaster.network_.state_dict().items()}
    series = []
    for place, (name, state) in enumerate(forecaster.states_.items()):
        tensors |= pack(state, prefix=f"state.{place}")
        scale = forecaster.scales_.get(name)
        tensors |= {} if scale is None else pack(scale, prefix=f"scale.{place}")
        series.append(
            {
                "id": _plain(name),
                "known": scale is not None,
                "last_time": _plain(forecaster.last_times_.get(name)),
                "first_time": _plain(forecaster.first_times_.get(name)),
                "training_rows": forecaster.training_rows_.get(name),
            }
        )
    header = {
        "estimator": type(forecaster).__name__,
        "arguments": _json_arguments(forecaster),
        "network": forecaster.network_.config.to_dict(),
        "preparation": forecaster.preparation_.to_dict(),
        "layout": forecaster.layout_.to_dict(),
        "history": forecaster.training_history_,
        "memory_gain": None if forecaster.memory_gain_ is None else asdict(forecaster.memory_gain_),
        "series": series,
    }
    write_tensors(path, tensors, header)


def _json_arguments(forecaster: TitansForecaster) -> dict[str, Any]:
    """Return the constructor's arguments as JSON can hold them; what it cannot hold is left out with a warning."""
    kept = {}
    for name, value in forecaster.get_params(deep=False).items():
        if name == "callbacks":
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


def _arguments(kept: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()}


def _restore_series(forecaster: TitansForecaster, facts: list[dict[str, Any]], tensors: dict[str, Any]) -> None:
    forecaster.states_, forecaster.scales_ = {}, {}
    forecaster.last_times_, forecaster.first_times_, forecaster.training_rows_ = {}, {}, {}
    for place, fact in enumerate(facts):
        name = _original(fact["id"])
        template = forecaster.fresh_state()
        state: SeriesState = unpack(template, tensors, prefix=f"state.{place}")
        forecaster.states_[name] = state
        if fact["known"]:
            forecaster.scales_[name] = unpack(state.scale, tensors, prefix=f"scale.{place}")
            forecaster.training_rows_[name] = fact["training_rows"]
            forecaster.first_times_[name] = _original(fact["first_time"])
        last = _original(fact["last_time"])
        if last is not None:
            forecaster.last_times_[name] = last


def _plain(value: Any) -> Any:
    """Return an id or a time stamp with its kind, as JSON can hold it."""
    if isinstance(value, np.datetime64):
        return ["time", str(value.astype("datetime64[ns]").astype(np.int64))]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | int | float | bool):
        return ["plain", value]
    raise TypeError(f"save: the series id {value!r} ({type(value).__name__}) cannot be kept in a file; use text or numbers")


def _original(kept: list[Any] | None) -> Hashable:
    if kept is None:
        return None
    kind, value = kept
    return np.datetime64(int(value), "ns") if kind == "time" else value
