"""The best weights, and when patience ends."""

import torch
from torch import nn

from titans_ts.learn.run import BestWeights


def layer_of(value: float) -> nn.Linear:
    layer = nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.fill_(value)
    return layer


def test_restores_the_weights_of_the_least_error():
    layer, best = layer_of(0.0), BestWeights(patience=9)
    for step, error in enumerate([3.0, 1.0, 2.0, 1.0]):
        with torch.no_grad():
            layer.weight.fill_(float(step))
        best.see(error, step, layer)
    best.restore(layer)
    assert layer.weight.unique().item() == 1.0, "of two equal errors the first"
    assert (best.error, best.step, best.waited) == (1.0, 1, 2)


def test_kept_weights_are_a_copy():
    layer, best = layer_of(5.0), BestWeights(patience=9)
    best.see(1.0, 0, layer)
    with torch.no_grad():
        layer.weight.zero_()
    assert best.weights["weight"].unique().item() == 5.0


def test_patience_counts_evaluations_since_the_best():
    best, layer = BestWeights(patience=2), layer_of(0.0)
    errors = [5.0, 6.0, 4.0, 4.5, 4.0, 4.0]
    assert [best.see(error, step, layer) for step, error in enumerate(errors)] == [False, False, False, False, True, True]


def test_an_error_that_is_not_a_number_is_no_best():
    best, layer = BestWeights(patience=2), layer_of(1.0)
    assert not best.see(float("nan"), 0, layer)
    assert best.weights == {}
    assert best.see(float("nan"), 1, layer)
    best.restore(layer)
    assert layer.weight.unique().item() == 1.0, "nothing to restore: the weights stay"
