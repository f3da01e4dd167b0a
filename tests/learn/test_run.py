"""What every training shares: the run itself, schedule, best weights, patience, device, and number format."""

import copy
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import nn

from titans_ts.learn.run import (
    PRECISIONS,
    BestWeights,
    Losses,
    Run,
    RunConfig,
    choose_device,
    learning_rate_factor,
    mixed_precision,
    number_type,
)

CPU = torch.device("cpu")

# --- a run ----------------------------------------------------------------------------------------------------------


class Toy(nn.Linear):
    """A network with what a run asks of one: settings and a device."""

    config, device = "toy", CPU


class ToyRun(Run):
    """Learn noise; each validation error is the next of a list."""

    def __init__(self, errors=(), callbacks=(), **settings):
        torch.manual_seed(0)
        super().__init__(Toy(3, 1), RunConfig(**{"max_steps": 6, "evaluate_every": 2, **settings}), callbacks=callbacks)
        self.errors, self.order, self.rates = iter(errors), [], []
        self.optimize_all(list(self.network.parameters()))

    def run(self):
        with self.begun():
            for number in self.take(self.config.max_steps):
                self.order.append(f"step {number}")
                self.rates.append(self.optimizer.param_groups[0]["lr"])
                noise = torch.randn(4, 3, generator=self.generator) + float(self.chance.normal())
                self.done(partial(self.losses, noise), len(noise), lambda: next(self.errors))
        return self

    def losses(self, inputs, piece):
        found = self.network.train()(inputs[piece.places]).square()
        return Losses(found.sum(), torch.tensor(len(found)))

    def _data(self):
        return [torch.zeros(2)]


class Told:
    """A callback that notes when it is called."""

    def before_step(self, run, label):
        run.order.append(f"before {label}")

    def __call__(self, run, report):
        run.order.append(f"after {report.step}")


def test_a_run_tells_before_and_after_each_step_and_evaluates_when_due():
    run = ToyRun([3.0, 1.0, 2.0], [Told()], max_steps=5).run()
    assert run.order == [x for k in range(5) for x in ("before memory", f"step {k}", f"after {k + 1}")]
    assert [(one.step, one.steps, one.validation) for one in run.history] == [(2, 5, 3.0), (4, 5, 1.0), (5, 5, 2.0)]
    assert run.told()[0].keys() == {"step", "steps", "loss", "validation"}, "there is one phase"
    assert run.rates == [run.config.learning_rate * learning_rate_factor(k, 5) for k in range(5)]
    assert (run.best.error, run.best.step) == (1.0, 4)
    assert not run.network.training


def test_a_run_ends_by_patience_or_by_any_callback_when_all_were_told():
    assert ToyRun([1.0, 2.0, 2.0], max_steps=99, patience=2).run().step == 6
    halted = ToyRun([1.0] * 9, [lambda _, report: report.step == 3, Told()], max_steps=99).run()
    assert halted.order[-1] == "after 3"


def weights_after_each_step(**settings) -> tuple[ToyRun, list[torch.Tensor]]:
    """Return a run that was run, and its last weights after each step."""
    seen = []
    run = ToyRun([3.0, 2.0, 1.0], [lambda run, _: seen.append(run.network.weight.detach().clone())], **settings)
    return run.run(), seen


@pytest.mark.parametrize("average", [0.05, 0.6, 0.9])
def test_averaged_weights_are_a_sum_with_shares_of_all_steps(average):
    """The recursion against its sum: a step's weights enter with one less its share, and later steps leave theirs of it."""
    run, seen = weights_after_each_step(average=average)
    shares = [min(average, 1 - 1 / step) for step in range(1, 7)]
    wanted = sum((1 - shares[k]) * torch.tensor(shares[k + 1 :]).prod() * x for k, x in enumerate(seen))
    assert torch.allclose(run.averaged["weight"], wanted, rtol=1e-5, atol=1e-7)
    assert not torch.allclose(run.averaged["weight"], seen[-1], rtol=1e-5, atol=1e-7)
    if average == 0.9:
        assert torch.allclose(run.averaged["weight"], torch.stack(seen).mean(0), rtol=1e-5, atol=1e-7), "too few to forget"


def test_averaging_changes_what_is_judged_and_kept_and_no_step():
    plain, seen = weights_after_each_step(average=0.0)
    averaged, seen_again = weights_after_each_step(average=0.9)
    assert all(torch.equal(a, b) for a, b in zip(seen, seen_again, strict=True))
    assert plain.averaged == {}
    assert torch.equal(plain.best.weights["weight"], seen[-1])
    assert torch.equal(averaged.best.weights["weight"], averaged.averaged["weight"])
    assert torch.equal(averaged.network.weight, seen[-1]), "the last weights are back after an evaluation"
    averaged.keep_best()
    assert torch.equal(averaged.network.weight, averaged.averaged["weight"])


def test_without_an_evaluation_the_averaged_weights_are_kept_where_there_are_any():
    for average in (0.0, 0.9):
        run = ToyRun(average=average)
        for _ in run.take(4):
            run.done(partial(run.losses, torch.ones(2, 3)), 2)
        last = run.network.weight.detach().clone()
        run.keep_best()
        assert torch.equal(run.network.weight, run.averaged["weight"] if average else last)


def test_an_error_in_an_evaluation_puts_the_last_weights_back():
    run = ToyRun(average=0.9)

    def fail():
        assert not torch.equal(run.network.weight, run.last)
        raise RuntimeError

    for _ in run.take(3):
        run.done(partial(run.losses, torch.ones(2, 3)), 2)
    run.last = run.network.weight.detach().clone()
    with pytest.raises(RuntimeError):
        run.evaluate(fail)
    assert torch.equal(run.network.weight, run.last)


@pytest.mark.parametrize("average", [0.0, 0.9])
@pytest.mark.parametrize("step", [1, 2, 5])
def test_what_a_run_kept_is_all_that_its_rest_depends_on(step, average):
    found = []

    def keep(run, report):
        if report.step == step:
            found.append(copy.deepcopy(run.kept()))

    whole = ToyRun([3.0, 1.0, 2.0], [keep], average=average)
    global_chance = torch.get_rng_state()
    whole.run()
    assert torch.equal(torch.get_rng_state(), global_chance)
    tensors, facts = found[0]
    again = ToyRun([3.0, 1.0, 2.0][step // 2 :], average=average)
    again.restore(tensors, facts)
    again.run()
    assert len(again.order) == 6 - step
    assert torch.equal(again.network.weight, whole.network.weight)
    assert all(torch.equal(again.averaged[name], x) for name, x in whole.averaged.items())
    assert again.history == whole.history
    assert again.best.error == 1.0
    assert torch.equal(again.best.weights["weight"], whole.best.weights["weight"])
    assert again.identity() == facts["run"] == whole.identity()


# --- the learning rate over a phase ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("total", "warm_up"), [(100, 10), (1000, 20), (30, 20), (5, 20), (40, 0)])
def test_warms_up_then_falls_to_nothing(total, warm_up):
    factors = [learning_rate_factor(step, total, warm_up=warm_up) for step in range(total)]
    assert all(0 < factor <= 1 for factor in factors)
    falling = factors[warm_up:]
    assert all(a > b for a, b in pairwise(falling))
    if total > 2 * warm_up:
        rising = factors[: warm_up // 2]
        assert all(a < b for a, b in pairwise(rising))
        assert max(factors) > 0.8
        assert factors[-1] < 0.1


def test_is_a_cosine_after_the_warm_up():
    assert learning_rate_factor(50, 100, warm_up=10) == pytest.approx(0.5)
    assert learning_rate_factor(25, 100, warm_up=10) == pytest.approx(0.5 + 0.5**1.5)
    assert learning_rate_factor(0, 100, warm_up=10) == pytest.approx(0.1)


def test_no_steps_are_no_division_by_zero():
    assert learning_rate_factor(0, 0) > 0


# --- the best weights, and when patience ends -----------------------------------------------------------------------


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


# --- device and number format --------------------------------------


def test_devices_by_name():
    assert choose_device("cpu") == CPU
    assert choose_device(CPU) == CPU
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("device", ["gpu", "cpu:x", "cuda:99", ""])
def test_a_device_that_is_not_there_is_refused_by_name(device):
    with pytest.raises(ValueError, match=f"device='{device}' cannot be used here"):
        choose_device(device)


def test_number_types():
    types = {name: number_type(name) for name in PRECISIONS}
    assert types.pop("float64") == torch.float64
    assert set(types.values()) == {torch.float32}
    with pytest.raises(ValueError, match="precision must be one of auto, float32, bfloat16, float64; got 'half'"):
        number_type("half")


@pytest.mark.parametrize(
    ("precision", "lower"), [("auto", False), ("float32", False), ("float64", False), ("bfloat16", True)]
)
def test_products_are_shortened_only_when_asked(precision, lower):
    with mixed_precision(precision, CPU):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if lower else torch.float32)
