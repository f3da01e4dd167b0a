"""Training a reader by the sequences themselves: what is held out, what is cropped, what is kept, and that it learns."""

import numpy as np
import pytest
import torch
from dna.cases import BACKBONE
from series.training_cases import assert_same_bits
from windows.cases import wandering

from titans_ts.backbones.config import BackboneConfig
from titans_ts.windows.foretelling import FEW_SEQUENCES, Foretelling, ForetellingConfig, held_out
from titans_ts.windows.reader import ReaderConfig, ReaderNetwork

P = 4


def start(channels=1, **settings):
    torch.manual_seed(0)
    backbone = BackboneConfig(**{**BACKBONE, **settings})
    return ReaderNetwork(ReaderConfig(channels=channels, patch_length=P, backbone=backbone))


def train(sequences, validation=(), *, network=None, callbacks=(), **settings):
    few = {"max_steps": 4, "batch_size": 5, "crop": 6, "evaluate_every": 1, "learning_rate": 1e-2, "patience": 99}
    config = ForetellingConfig(**{**few, **settings})
    network = start(sequences[0].shape[1]) if network is None else network
    run = Foretelling(network, list(sequences), list(validation), config, callbacks=callbacks)
    run.run()
    return run


def sine(length=400, *, period=13, phase=0.0):
    return np.sqrt(2) * np.sin(2 * np.pi * np.arange(length)[:, None] / period + phase)


@torch.no_grad()
def loss_of(network, items):
    return float(network.losses(*network.batch(items)).mean())


class Watched(ReaderNetwork):
    """Remembers what it was asked to read."""

    def batch(self, items):
        vars(self).setdefault("asked", []).append([one.copy() for one in items])
        return super().batch(items)


def watched():
    torch.manual_seed(0)
    return Watched(start().config)


# --- what is held out -----------------------------------------------------------------------------------------------


def numbered(lengths):
    """Return sequences of one channel whose values say which they are and where: ``1000 i + step``."""
    return [1000.0 * i + np.arange(length)[:, None] for i, length in enumerate(lengths)]


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_of_many_sequences_a_share_is_held_out_whole(fraction):
    many = numbered([30] * 20)
    training, validation = held_out(many, fraction, P, np.random.default_rng(0))
    assert len(validation) == 20 * fraction
    number = [[one[0, 0] for one in part] for part in (training, validation)]
    assert sorted(number[0] + number[1]) == [one[0, 0] for one in many]
    assert all(len(one) == 30 for one in training + validation)
    other = held_out(many, fraction, P, np.random.default_rng(1))[1]
    assert [one[0, 0] for one in other] != number[1], "drawn by chance"


def test_of_few_sequences_the_end_of_each_is_held_out():
    lengths = (50, 80, 47)
    training, validation = held_out(numbered(lengths), 0.2, P, np.random.default_rng(0))
    for one, train, valid in zip(numbered(lengths), training, validation, strict=True):
        np.testing.assert_array_equal(np.concatenate([train, valid]), one)
        assert len(valid) == int(0.2 * len(one))
    assert len(numbered(lengths)) < FEW_SEQUENCES


@pytest.mark.parametrize("lengths", [(39, 200), (7,), (1, 1)], ids=str)
def test_ends_too_short_to_foretell_in_are_not_held_out(lengths):
    training, validation = held_out(numbered(lengths), 0.2, P, np.random.default_rng(0))
    assert validation == []
    assert [len(one) for one in training] == list(lengths)


@pytest.mark.parametrize("count", [1, FEW_SEQUENCES, 30])
def test_a_fraction_of_zero_holds_nothing_out(count):
    training, validation = held_out(numbered([90] * count), 0.0, P, np.random.default_rng(0))
    assert (len(training), validation) == (count, [])


# --- what is read ---------------------------------------------------------------------------------------------------


def test_crops_are_stretches_from_anywhere_and_no_longer_than_asked():
    network, sequences = watched(), numbered([100, 10, 61])
    train(sequences, network=network, max_steps=60, batch_size=8, crop=5, learning_rate=1e-9)
    read = [one[:, 0] for items in network.asked for one in items]
    assert len(read) == 60 * 8
    seen = {i: set() for i in range(3)}
    for crop in read:
        number, first = divmod(int(crop[0]), 1000)
        np.testing.assert_array_equal(crop, sequences[number][first : first + len(crop), 0])
        assert len(crop) == min(5 * P, len(sequences[number]))
        seen[number].update(crop.astype(int) % 1000)
    assert [len(places) for places in seen.values()] == [100, 10, 61], "every step is read by some crop"
    counts = np.bincount([int(crop[0]) // 1000 for crop in read])
    np.testing.assert_allclose(counts / len(read), np.array([100, 10, 61]) / 171, atol=0.07, err_msg="long ones more often")


def test_validation_is_cropped_once_and_read_whole_by_each_evaluation():
    network, validation = watched(), numbered([90] * 7)
    train(numbered([50]), validation, network=network, max_steps=3, batch_size=3)
    rounds = [[], [], []]
    for i, items in enumerate(network.asked):
        if i % 4:  # a step, and then seven sequences in batches of three
            rounds[i // 4] += [one.tolist() for one in items]
    assert len(rounds[0]) == 7
    assert rounds[0] == rounds[1] == rounds[2]
    assert {len(one) for one in rounds[0]} == {6 * P}


# --- steps, reports, the end ----------------------------------------------------------------------------------------


def test_steps_and_reports_are_as_asked():
    seen = []
    run = train([sine()], [sine()], callbacks=[lambda _run, report: seen.append(report)], max_steps=7, evaluate_every=3)
    assert [report.step for report in seen] == [1, 2, 3, 4, 5, 6, 7]
    assert [report.step for report in run.history] == [3, 6, 7], "the last step is always evaluated"
    assert [report.validation is not None for report in seen] == [False, False, True, False, False, True, True]
    assert all(np.isfinite(report.loss) for report in seen)
    assert not run.network.training


def test_without_validation_the_last_weights_stay_and_nothing_is_noted():
    run = train([sine()])
    assert run.history == []
    before = start().state_dict()
    changed = {name for name, x in run.network.state_dict().items() if not torch.equal(x, before[name])}
    assert changed == {name for name, _ in run.network.named_parameters()}, "all of it learns"


def test_a_callback_ends_it_and_so_does_patience():
    assert len(train([sine()], [sine()], callbacks=[lambda _run, report: report.step == 2], max_steps=9).history) == 2
    run = train([sine(period=13)], [sine(period=5)], max_steps=150, patience=3, learning_rate=3e-2)
    assert len(run.history) < 150
    assert run.best.waited == 3


def test_the_best_weights_by_validation_are_kept():
    run = train([sine(period=13)], [sine(period=5)], max_steps=30, learning_rate=3e-2)
    errors = [report.validation for report in run.history]
    assert run.best.error == min(errors) < errors[-1]
    assert loss_of(run.network, run.validation) == pytest.approx(min(errors), rel=1e-6)


def test_no_steps_leave_the_network_as_it_was():
    network = start()
    before = {name: x.clone() for name, x in network.state_dict().items()}
    train([sine()], [sine()], network=network, max_steps=0)
    assert_same_bits(network.state_dict(), before)


def test_the_gradient_bound_is_heard():
    network, before = start(), start().state_dict()
    train([sine()], network=network, gradient_bound=1e-12, weight_decay=0.0)  # next to nothing, for Adam too
    for name, x in network.named_parameters():
        assert (x - before[name]).abs().max() < 1e-4, name


# --- chance ---------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_weights_and_leaves_global_chance_alone():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    networks = []
    for seed in (0, 0, 1):
        networks.append(start(2, dropout=0.2))
        torch.set_rng_state(before)
        train(wandering((60, 90)), wandering((40,), seed=1), network=networks[-1], seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
    found = [network.state_dict() for network in networks]
    assert_same_bits(found[0], found[1])
    assert not all(torch.equal(x, found[2][name]) for name, x in found[0].items())


# --- learning -------------------------------------------------------------------------------------------------------

PHASES = [sine(phase=phase) for phase in np.linspace(0, 6, 8)]
OF_THE_MEAN = float(torch.nn.functional.huber_loss(torch.zeros(400), torch.from_numpy(sine()[:, 0])))
LEARN = {"max_steps": 60, "batch_size": 4, "crop": 16, "learning_rate": 5e-2}


def test_it_learns_a_sine():
    found = loss_of(train(PHASES, **LEARN).network, [sine(phase=1.2)])
    assert found < 0.15 * OF_THE_MEAN


def test_spikes_do_not_dominate_and_gaps_are_learned_around():
    odd = [one.copy() for one in PHASES]
    for i, one in enumerate(odd):
        one[np.random.default_rng(0).random(one.shape) < 0.1] = np.nan
        one[50 + 40 * i] = 1000.0
    found = loss_of(train(odd, **LEARN).network, [sine(phase=1.2)])
    assert found < 0.15 * OF_THE_MEAN
