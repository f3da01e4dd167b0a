"""What a model file keeps of a forecaster, and how the forecaster is put together again."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from titans_ts.data.panel import Layout
from titans_ts.estimators.persistence import network_tensors, restore_network
from titans_ts.memory_state import original, plain
from titans_ts.networks.forecast import ForecastConfig, ForecastNetwork
from titans_ts.state import SeriesState, pack, unpack
from titans_ts.training.acceptance import MemoryGain
from titans_ts.training.preparation import Preparation

if TYPE_CHECKING:
    from titans_ts.estimators.forecaster import TitansForecaster


GAINS = ("memory_gain", "recollection_gain")
"""Attributes that say what validation found."""


def kept_of_forecaster(forecaster: TitansForecaster) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and plain facts: weights, states, and all that is needed to read them."""
    tensors = network_tensors(forecaster.network_)
    series = []
    for place, (name, state) in enumerate(forecaster.states_.items()):
        tensors |= pack(state, prefix=f"state.{place}")
        scale = forecaster.scales_.get(name)
        tensors |= {} if scale is None else pack(scale, prefix=f"scale.{place}")
        series.append(
            {
                "id": plain(name),
                "known": scale is not None,
                "last_time": plain(forecaster.last_times_.get(name)),
                "first_time": plain(forecaster.first_times_.get(name)),
                "training_rows": forecaster.training_rows_.get(name),
            }
        )
    return tensors, {
        "network": forecaster.network_.config.to_dict(),
        "preparation": forecaster.preparation_.to_dict(),
        "layout": forecaster.layout_.to_dict(),
        "history": forecaster.training_history_,
        **{name: _facts_of(getattr(forecaster, f"{name}_")) for name in GAINS},
        "series": series,
    }


def restore_forecaster(
    forecaster: TitansForecaster, header: dict[str, Any], tensors: dict[str, Tensor], device: torch.device
) -> None:
    """Put everything back into a forecaster that has its arguments."""
    network = ForecastNetwork(ForecastConfig.from_dict(header["network"]))
    forecaster.network_ = restore_network(network, tensors, forecaster.precision, device)
    forecaster.preparation_ = Preparation.from_dict(header["preparation"])
    forecaster.layout_ = Layout.from_dict(header["layout"])
    forecaster.training_history_ = header["history"]
    for name in GAINS:
        setattr(forecaster, f"{name}_", None if header[name] is None else MemoryGain(**header[name]))
    _restore_series(forecaster, header["series"], tensors)
    forecaster.note_features(forecaster.layout_)


def _facts_of(gain: MemoryGain | None) -> dict[str, Any] | None:
    return None if gain is None else asdict(gain)


def _restore_series(forecaster: TitansForecaster, facts: list[dict[str, Any]], tensors: dict[str, Any]) -> None:
    forecaster.states_, forecaster.scales_ = {}, {}
    forecaster.last_times_, forecaster.first_times_, forecaster.training_rows_ = {}, {}, {}
    for place, fact in enumerate(facts):
        name = original(fact["id"])
        template = forecaster.fresh_state()
        state: SeriesState = unpack(template, tensors, prefix=f"state.{place}")
        forecaster.states_[name] = state
        if fact["known"]:
            forecaster.scales_[name] = unpack(state.scale, tensors, prefix=f"scale.{place}")
            forecaster.training_rows_[name] = fact["training_rows"]
            forecaster.first_times_[name] = original(fact["first_time"])
        last = original(fact["last_time"])
        if last is not None:
            forecaster.last_times_[name] = last
