"""The file that a reader follows with a finger says what the library says, from the same weights."""

import ast
import importlib.util
import re
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from titans_ts import TitansForecaster
from titans_ts.series.network import ForecastNetwork

FILE = Path(__file__).parents[1] / "tutorials" / "titans_in_200_lines.py"
SIZES = {"lookback": 24, "horizon": 6, "width": 8, "heads": 2, "layers": 2, "window": 6, "refresh_every": 4}
PATCH, PERSISTENT, KERNEL, QUANTILES = 4, 3, 3, (0.05, 0.1, 0.5, 0.9, 0.95)
TOLERANCE, CHANGE = 1e-9, 1e-4
"""Of forecasts near 50: how far rounding may move one, and what moves it at least when the memory is changed."""

LENGTHS = {"less than a look-back": 13, "whole patches": 200, "rows over": 203, "one patch": 4, "less than a patch": 3}
"""Histories by what is special about them: 200 rows are 50 tokens, 9 segments of 6 and 13 refreshes of 4."""

PARTS = {
    "embedding.project": "embed",
    "direct.past": "direct",
    "head.correct": "head",
    "quantile_head.widths": "widths",
    "quantile_head.growth": "growth",
    "quantile_head.stretch": "stretch",
    "backbone.norm": "norm",
}
PARTS_OF_LAYER = {
    "sequence_norm": "norm",
    "sequence_layer.project": "project",
    "sequence_layer.convolution.filters": "filters",
    "sequence_layer.recalled": "recalled",
    "sequence_layer.attended": "attended",
    "sequence_layer.norm": "norm_x",
    "sequence_layer.memory.project": "memory.project",
    "sequence_layer.memory.convolution.filters": "memory.filters",
    "sequence_layer.memory.gates.project": "memory.gates",
    "sequence_layer.memory.store.layers.0": "memory.start.0",
    "sequence_layer.memory.store.layers.1": "memory.start.1",
    "sequence_layer.memory.norm.weight": "memory.norm",
    "sequence_layer.memory.output_gate": "memory.output_gate",
    "sequence_layer.memory.output": "memory.output",
    "sequence_layer.gate.opening": "opening",
    "sequence_layer.gate.attended_norm": "norm_y",
    "sequence_layer.gate.remembered_norm": "norm_m",
    "sequence_layer.gate.output": "output",
    "feedforward_norm": "norm_f",
    "feedforward.expand": "expand",
    "feedforward.contract": "contract",
}
"""Names of weights in the library, and in the file."""


def named_as_in_the_file(weights):
    """Return the weights of a network of the library by the file's names."""
    found = {}
    for name, value in weights.items():
        layer, part = re.fullmatch(r"(?:backbone\.blocks\.(\d+)\.)?(.+)", name).groups()
        if part.endswith(("persistent.keys", "persistent.values")):
            continue
        names = PARTS if layer is None else PARTS_OF_LAYER
        stem, leaf = (part, "") if part in names else re.fullmatch(r"(.+)(\.weight|\.bias)", part).groups()
        found[("" if layer is None else f"layers.{layer}.") + names[stem] + leaf] = value
        if leaf == ".weight" and stem == "sequence_layer.project":
            both = [weights[f"backbone.blocks.{layer}.sequence_layer.persistent.{kind}"] for kind in ("keys", "values")]
            found[f"layers.{layer}.persistent"] = torch.stack(both)
    return found


@pytest.fixture(scope="module")
def tutorial():
    """Return the file as a module."""
    spec = importlib.util.spec_from_file_location("titans_in_200_lines", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def series():
    """Return days and weeks with noise, a level far from zero, and a stretch unlike the rest."""
    t = np.arange(260)
    rows = 50 + 7 * np.sin(2 * np.pi * t / 24) + 3 * np.cos(2 * np.pi * t / 168)
    rows[100:120] += 30
    return rows + np.random.default_rng(0).normal(size=260)


@pytest.fixture(scope="module")
def forecaster(series):
    """Return a forecaster whose network has a linear path in place of a base, with weights that are moved.

    Its head starts at zero, and norms, filters and openings at ones that would hide a weight in the wrong place.
    """
    fitted = TitansForecaster(
        patch_length=PATCH,
        persistent_tokens=PERSISTENT,
        convolution=KERNEL,
        quantiles=QUANTILES,
        damping=False,
        precision="float64",
        device="cpu",
        max_steps=1,
        validation_fraction=0,
        random_state=0,
        **SIZES,
    ).fit(series[:160])
    torch.manual_seed(0)
    network = ForecastNetwork(replace(fitted.network_.config, base=None, level=True))
    fitted.network_ = network.double().eval()
    fitted.forget()
    chance = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in fitted.network_.state_dict().items():
            value += 0.1 * torch.randn(value.shape, generator=chance, dtype=value.dtype)
            if name.endswith("memory.project.weight"):
                value *= 2  # larger values, of which some are clipped
    return fitted


@pytest.fixture
def model(tutorial, forecaster):
    """Return the file's network with the forecaster's weights."""
    settings = tutorial.Settings(patch=PATCH, persistent=PERSISTENT, kernel=KERNEL, quantiles=len(QUANTILES), **SIZES)
    network = tutorial.Titans(settings).double()
    network.load_state_dict(named_as_in_the_file(forecaster.network_.state_dict()))
    return network


def said(model, forecaster, rows):
    """Return what the file says: point, quantiles, and the surprise of each token."""
    level, spread = (x.item() for x in forecaster.scales_[None])
    with torch.no_grad():
        return [x.numpy() for x in model(torch.from_numpy(rows), level, spread)]


def test_at_most_200_lines_and_nothing_from_the_library():
    text = FILE.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    nodes = list(ast.walk(ast.parse(text)))
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imported} == {"functools", "math", "torch", "typing"}


@pytest.mark.parametrize("equation", [8, 10, 11, 12, 13, 14, 15, 19, 21, 22, 23, 24, 25])
def test_each_equation_is_cited(equation):
    cited = " ".join(re.findall(r"\beqs? [\d and]+", FILE.read_text(encoding="utf-8")))
    assert str(equation) in re.findall(r"\d+", cited)


@pytest.mark.parametrize("length", LENGTHS.values(), ids=LENGTHS)
def test_the_forecast_is_that_of_the_library(model, forecaster, series, length):
    rows = series[:length]
    point, quantiles, surprise = said(model, forecaster, rows)
    assert np.abs(point - forecaster.predict(rows)[:, 0]).max() < TOLERANCE
    expected = forecaster.predict(rows, level=[80, 90])
    assert (np.diff(quantiles, axis=1) >= 0).all()
    for name, found in zip(["y-lo-90", "y-lo-80", "y", "y-hi-80", "y-hi-90"], quantiles.T, strict=True):
        assert np.abs(found - expected[name].to_numpy()).max() < TOLERANCE, name
    of_rows = np.asarray(forecaster.surprise(rows)).reshape(length)
    assert np.abs(surprise[np.arange(length) // PATCH] - of_rows).max() < TOLERANCE


def test_some_writes_are_clipped_and_some_are_not(tutorial, model, forecaster, series):
    norms = []
    for layer in model.layers:
        layer.register_forward_hook(lambda layer, given, found: norms.append(found[1]))
    said(model, forecaster, series)
    for memory in torch.stack(norms):
        assert 0.01 < (memory > tutorial.LARGEST_WRITE).double().mean() < 0.9


CONSTANTS = {
    "nothing is written": ("LARGEST_STEP", 0.0),
    "no momentum": ("LARGEST_MOMENTUM", 0.0),
    "more is forgotten": ("LEAST_FORGETTING", 0.1),
    "no write is clipped": ("LARGEST_WRITE", 1e9),
}
SETTINGS = {"gradients at every token's memory": ("refresh_every", 1), "shorter segments": ("window", 5)}
WEIGHTS = ["memory.start.0", "memory.start.1", "memory.project.weight", "memory.filters", "memory.gates.weight"]
WEIGHTS += ["memory.norm", "memory.output_gate.weight", "recalled.weight", "persistent"]


def moved(model, forecaster, rows, before):
    """Return how far a point forecast is from what it was."""
    return np.abs(said(model, forecaster, rows)[0] - before).max()


@pytest.mark.parametrize(("name", "value"), CONSTANTS.values(), ids=CONSTANTS)
def test_another_rule_says_something_else(tutorial, model, forecaster, series, monkeypatch, name, value):
    before = said(model, forecaster, series)[0]
    monkeypatch.setattr(tutorial, name, value)
    assert moved(model, forecaster, series, before) > CHANGE


@pytest.mark.parametrize(("name", "value"), SETTINGS.values(), ids=SETTINGS)
def test_other_refreshes_or_segments_say_something_else(model, forecaster, series, name, value):
    before = said(model, forecaster, series)[0]
    changed = [module for module in model.modules() if name in vars(module)]
    for module in changed:
        setattr(module, name, value)
    assert len(changed) == SIZES["layers"]
    assert moved(model, forecaster, series, before) > CHANGE


@pytest.mark.parametrize("name", WEIGHTS)
def test_each_weight_of_the_memory_counts(model, forecaster, series, name):
    before = said(model, forecaster, series)[0]
    weights = [weight for key, weight in model.named_parameters() if re.fullmatch(rf"layers\.\d+\.{name}", key)]
    for weight in weights:
        weight.data[:1] *= 1.5
    assert len(weights) == SIZES["layers"]
    assert moved(model, forecaster, series, before) > CHANGE


def test_run_as_it_stands_it_shows_surprise_fall_and_rise(capsys):
    runpy.run_path(str(FILE), run_name="__main__")
    shown = re.findall(r"^day +(\d+): surprise (\d\.\d\d) #+$", capsys.readouterr().out, flags=re.MULTILINE)
    days, surprise = zip(*((int(day), float(found)) for day, found in shown), strict=True)
    assert days == tuple(range(1, 41))
    assert max(surprise[10:30]) < 0.7 * surprise[0]
    assert surprise.index(max(surprise)) == 30
    assert max(surprise[32:]) < 0.7 * surprise[30]
