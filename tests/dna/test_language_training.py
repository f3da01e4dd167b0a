"""Training a language model: what is held out, how streams are cut, and what a step learns from."""

import copy

import numpy as np
import pytest
import torch
from dna.cases import BACKBONE, random_codes, recurring_codes
from series.training_cases import assert_same_bits

from titans_ts.backbones.config import BackboneConfig
from titans_ts.dna import language_training as language
from titans_ts.dna.bases import N, reverse_complement
from titans_ts.dna.language import LanguageConfig, LanguageNetwork, log_likelihoods
from titans_ts.dna.language_training import LanguageTraining, LanguageTrainingConfig, hold_out

RECORDS = [recurring_codes(300), recurring_codes(120, seed=1)]


def start(orders=(1, 2, 5), **settings):
    torch.manual_seed(0)
    network = LanguageNetwork(LanguageConfig(orders, backbone=BackboneConfig(**BACKBONE), **settings))
    network.direct.learn(RECORDS)
    return network


def training(network=None, validation=(), *, records=RECORDS, callbacks=(), **settings):
    config = LanguageTrainingConfig(
        **{"max_steps": 3, "batch_size": 3, "segment": 20, "crop": 50, "evaluate_every": 1, **settings}
    )
    return LanguageTraining(network or start(), list(records), list(validation), config, callbacks=callbacks)


# --- held out -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_of_few_records_the_end_of_each_is_held_out(fraction):
    records = [random_codes(length, seed=length) for length in (100, 40, 3, 1)]
    kept, held_out = hold_out(records, fraction, np.random.default_rng(0))
    assert [len(one) for one in kept] == [length - int(length * fraction) for length in (100, 40, 3, 1)]
    assert [len(one) for one in held_out] == [int(length * fraction) for length in (100, 40, 3, 1) if int(length * fraction)]
    ends = iter(held_out)
    for record, begin in zip(records, kept, strict=True):
        whole = np.concatenate([begin, next(ends)]) if len(begin) < len(record) else begin
        assert np.array_equal(whole, record)


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.9, 0.999])
def test_of_many_records_whole_ones_are_held_out(fraction):
    records = [random_codes(20 + k, seed=k) for k in range(30)]
    kept, held_out = hold_out(records, fraction, np.random.default_rng(0))
    names = [one.tobytes() for one in kept] + [one.tobytes() for one in held_out]
    assert sorted(names) == sorted(one.tobytes() for one in records)
    assert kept
    assert held_out
    share = sum(map(len, held_out)) / sum(map(len, records))
    assert abs(share - fraction) < 0.06
    other = hold_out(records, fraction, np.random.default_rng(1))[1]
    assert [one.tobytes() for one in other] != [one.tobytes() for one in held_out] or len(kept) == 1


def test_where_the_share_is_less_than_a_base_nothing_is_held_out():
    assert hold_out(RECORDS, 0.0, np.random.default_rng(0)) == (RECORDS, [])
    assert hold_out([RECORDS[0][:9]], 0.1, np.random.default_rng(0))[1] == []


# --- streams --------------------------------------------------------------------------------------------------------


def test_segments_follow_each_other_along_crops_of_either_strand():
    run = training(batch_size=30)
    parts, begins = [], []
    for _ in range(6):
        run.states = {0: None}
        parts.append(run._segment())
        begins.append(not run.states)  # a fresh one
    assert begins == [True, False, False, True, False, False]
    assert [part.shape for part in parts] == [(30, 20), (30, 20), (30, 10)] * 2
    texts = [(one.tobytes(), reverse_complement(one).tobytes()) for one in RECORDS]
    found = np.zeros((2, 2), int)
    for crop in torch.cat(parts[:3], 1).numpy():
        found += [[crop.tobytes() in strand for strand in strands] for strands in texts]
    assert found.sum() >= 30, "each is a stretch of a record"
    assert (found > 0).all(), "of each, on each strand"
    assert found[0].sum() > found[1].sum(), "of the longer more often"


def test_a_record_shorter_than_a_crop_is_read_whole_and_n_beyond_its_end():
    run = training(records=[RECORDS[0][:30], RECORDS[0][:10]], batch_size=30)
    crops = torch.cat([run._segment() for _ in range(2)], 1).numpy()
    lengths = (crops < N).sum(1)
    assert set(lengths) == {10, 30}
    for crop, length in zip(crops, lengths, strict=True):
        record = RECORDS[0][:length]
        assert any(np.array_equal(crop[:length], strand) for strand in (record, reverse_complement(record)))
        assert (crop[length:] == N).all()


def test_an_evaluation_reads_a_bounded_part_in_as_many_streams_as_a_step(monkeypatch):
    monkeypatch.setattr(language, "VALIDATION_BASES", 200)
    run = training(validation=RECORDS, batch_size=4)
    assert [len(one) for one in run.validation] == [50, 50, 50, 50]
    assert np.array_equal(np.concatenate(run.validation), RECORDS[0][:200])


# --- steps ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("both_sides", [False, True])
def test_everything_learns_and_the_loss_is_that_of_what_was_not_counted(both_sides):
    network = start(both_sides=both_sides)
    before = {name: x.clone() for name, x in network.named_parameters()}
    seen = []
    training(network, callbacks=[lambda _run, report: seen.append(report)], max_steps=6).run()
    same = {name for name, x in network.named_parameters() if torch.equal(x, before[name])}
    assert same <= (set() if both_sides else {"agreement"})
    assert [report.step for report in seen] == list(range(1, 7))
    assert all(np.isfinite(report.loss) for report in seen)


def test_n_alone_teaches_nothing_and_breaks_nothing():
    network = start()
    run = training(network, records=[np.full(30, N, np.uint8)], learning_rate=1e-9)
    run.run()
    assert all(torch.isfinite(x).all() for x in network.parameters())


def test_validation_is_nats_a_base_and_its_best_weights_stay():
    network = start()
    run = training(network, [RECORDS[1][:60]], max_steps=5)
    run.run()
    errors = [report.validation for report in run.history]
    assert len(errors) == 5
    values = np.concatenate(log_likelihoods(network, run.validation))
    assert abs(-values.mean() - min(errors)) < 1e-6


def test_patience_and_callbacks_end_it():
    run = training(start(), [RECORDS[1]], max_steps=9, callbacks=[lambda _run, report: report.step == 2])
    run.run()
    assert len(run.history) == 2
    impatient = training(start(), [random_codes(60, seed=9)], max_steps=60, patience=2, learning_rate=0.1)
    impatient.run()
    errors = [report.validation for report in impatient.history]
    assert len(errors) < 60
    assert impatient.best.waited == 2
    assert min(errors) < errors[-1]
    values = np.concatenate(log_likelihoods(impatient.network, impatient.validation))
    assert abs(-values.mean() - min(errors)) < 1e-6, "the best weights are back"


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_taken_up_within_streams_or_between_them_the_run_ends_alike(step):
    whole, halted, again = (training(start(), [RECORDS[1][:60]], max_steps=6) for _ in range(3))
    whole.run()
    halted.callbacks = [lambda run, report: report.step == step and found.append(copy.deepcopy(run.kept()))]
    found = []
    halted.run()
    again.restore(*found[0])
    again.run()
    assert_same_bits(again.network.state_dict(), whole.network.state_dict())
    assert again.history == whole.history
    assert (again.best.error, again.best.step, again.best.waited) == (whole.best.error, whole.best.step, whole.best.waited)


def test_the_same_seed_gives_the_same_weights():
    found = []
    for seed in (0, 0, 1):
        network = start()
        training(network, seed=seed).run()
        found.append(network.state_dict())
    assert all(torch.equal(x, found[1][name]) for name, x in found[0].items())
    assert not all(torch.equal(x, found[2][name]) for name, x in found[0].items())
