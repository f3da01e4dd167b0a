"""Training on labelled sequences: the memory alone learns, the best weights stay, and validation sets its share."""

import numpy as np
import pytest
import torch
from dna.cases import BACKBONE, random_codes

from titans_ts.backbones.config import BackboneConfig
from titans_ts.dna.bases import encode, reverse_complement
from titans_ts.dna.network import SequenceConfig, SequenceNetwork
from titans_ts.dna.strands import either_strand
from titans_ts.learn.fitting import Examples, SupervisedConfig, SupervisedTraining, take_pass
from titans_ts.learn.two_paths import answer_all

CODES = [encode("ACGT" * 3 + "A" * (k % 2) * 6 + "TG" * 4) for k in range(16)]
TARGETS = np.arange(16) % 2
IS_ONE = torch.from_numpy(TARGETS).bool()


def examples(targets=TARGETS, codes=CODES):
    return Examples(list(codes), targets, np.ones(len(targets)))


def start(layers=1):
    torch.manual_seed(0)
    config = SequenceConfig(
        outputs=1, word_sizes=(1,), kernel=5, patch_length=4, backbone=BackboneConfig(**{**BACKBONE, "layers": layers})
    )
    return SequenceNetwork(config)


def train(network, validation=None, *, callbacks=(), held_out=None, **settings):
    config = SupervisedConfig(**{"max_steps": 4, "batch_size": 5, "evaluate_every": 1, "learning_rate": 1e-2, **settings})
    run = SupervisedTraining(network, examples(), validation, "binary", config, held_out=held_out, callbacks=callbacks)
    run.run()
    return run


def test_the_linear_path_is_left_as_it_was_and_all_else_learns():
    network = start()
    before = {name: x.clone() for name, x in network.state_dict().items()}
    train(network)
    same = {name for name, x in network.state_dict().items() if torch.equal(x, before[name])}
    assert same == {"words.output.weight", "words.output.bias", "places.output.weight", "share"}


def test_without_validation_both_paths_count_alike():
    network = start()
    train(network)
    assert network.balance.tolist() == [0.5, 0.5]
    assert network.share == 1


def test_without_validation_the_memory_may_be_left_without_a_say():
    network = start()
    run = SupervisedTraining(network, examples(), None, "binary", SupervisedConfig(max_steps=2), unjudged=0.0)
    run.run()
    assert network.share == 0
    assert torch.equal(answer_all(network, CODES), answer_all(network, CODES, by="linear"))
    assert answer_all(network, CODES, by="memory").any(), "though it has learned"


def test_steps_batches_and_reports_are_as_asked():
    seen = []
    run = train(start(), examples(), callbacks=[lambda _run, report: seen.append(report)], max_steps=7, evaluate_every=3)
    assert [report.step for report in seen] == [1, 2, 3, 4, 5, 6, 7]
    assert [report.step for report in run.history] == [3, 6, 7], "the last step is always evaluated"
    assert [report.validation is not None for report in seen] == [False, False, True, False, False, True, True]
    assert all(np.isfinite(report.loss) for report in seen)


def test_a_callback_ends_it_and_so_does_patience():
    assert len(train(start(), examples(), callbacks=[lambda _run, report: report.step == 2], max_steps=9).history) == 2
    wrong = examples(1 - TARGETS)  # what is learned makes it worse
    run = train(start(), wrong, max_steps=40, patience=3, learning_rate=5e-2)
    assert len(run.history) < 40
    assert run.best.waited == 3


def test_the_best_weights_by_validation_are_kept():
    run = train(start(), examples(1 - TARGETS), max_steps=12, patience=50, learning_rate=5e-2)
    errors = [report.validation for report in run.history]
    assert run.best.error == min(errors) < errors[-1]
    again = answer_all(run.network, CODES, by="memory")
    loss = torch.nn.functional.binary_cross_entropy_with_logits(again[:, 0], torch.from_numpy(1 - TARGETS).float())
    assert abs(float(loss) - min(errors)) < 1e-6


def test_the_memory_has_the_share_that_validation_supports():
    assert train(start(), examples(), max_steps=30, caution=0.0).network.share == 1, "the words know nothing"
    run = train(start(), examples(1 - TARGETS), max_steps=30, patience=99, caution=1.0)
    assert run.network.share == run.gain.share < 1
    assert train(start()).gain is None


def test_a_linear_path_that_has_seen_validation_is_judged_by_what_it_said_before():
    def know(network):  # every other sequence has six letters A more
        with torch.no_grad():
            network.words.output.weight[0, 0], network.words.output.bias[0] = 100.0, -33.0
        return network

    right, silent = torch.from_numpy(2.0 * TARGETS[:, None] - 1).float() * 200, torch.zeros(16, 1)
    knows = answer_all(know(start()), CODES, by="linear")[:, 0]
    assert ((knows > 0) == IS_ONE).all()
    asked, before, best = (
        train(network, examples(), held_out=held_out, max_steps=15, caution=0.0)
        for network, held_out in ((know(start()), None), (know(start()), silent), (start(), right))
    )
    assert asked.network.balance[0] > 0, "asked, it knows"
    assert before.network.balance[0] == 0, "it did not know before it saw them"
    assert before.network.share == 1
    assert best.network.share == best.gain.best_gain == 0, "nothing is left to gain"
    assert best.gain.blocks == 16


def test_without_layers_there_is_nothing_to_train():
    network = start(layers=0)
    before = {name: x.clone() for name, x in network.state_dict().items()}
    run = train(network, examples())
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())
    assert run.history == []


def test_weights_decide_what_is_learned():
    codes = [encode("ACGTACGTACGT")] * 8
    answers = []
    for heavy in (0, 1):
        network, targets = start(), np.array([0, 1] * 4)
        known = Examples(codes, targets, np.where(targets == heavy, 1.9, 0.1))
        SupervisedTraining(network, known, None, "binary", SupervisedConfig(max_steps=25, learning_rate=1e-2)).run()
        answers.append(float(answer_all(network, codes[:1], by="memory")))
    assert answers[0] < -0.3 < 0.3 < answers[1]


@pytest.mark.parametrize("augment", [False, True])
def test_augmented_the_other_strand_is_learned_too(augment):
    codes = [encode("ACGT" * (1 + k // 2 % 4) + ("TTTGGG", "AAAAAA")[k % 2] + "ACGT") for k in range(16)]
    turned = [reverse_complement(one) for one in codes]  # CCCAAA and TTTTTT: each like the other class
    network, config = start(), SupervisedConfig(max_steps=80, batch_size=16, learning_rate=1e-2)
    SupervisedTraining(
        network, examples(codes=codes), None, "binary", config, augment=either_strand if augment else None
    ).run()
    right, other = (((answer_all(network, x, by="memory")[:, 0] > 0) == IS_ONE).sum() for x in (codes, turned))
    assert right == 16
    assert other == 16 if augment else other < 12


def test_the_same_seed_gives_the_same_weights():
    found = [train(start(), seed=seed).network.state_dict() for seed in (0, 0, 1)]
    assert all(torch.equal(x, found[1][name]) for name, x in found[0].items())
    assert not all(torch.equal(x, found[2][name]) for name, x in found[0].items())


def test_parts_of_examples_keep_what_belongs_together():
    known = Examples([random_codes(3, seed=k) for k in range(5)], np.arange(5), np.arange(5) / 2)
    part = known.part([3, 1])
    assert [one.tolist() for one in part.items] == [known.items[3].tolist(), known.items[1].tolist()]
    assert part.targets.tolist() == [3, 1]
    assert part.weights.tolist() == [1.5, 0.5]


# --- one pass over a part -------------------------------------------------------------------------------------------


def pass_over(network, known=None, **settings):
    config = SupervisedConfig(**{"batch_size": 5, "learning_rate": 1e-2, **settings})
    take_pass(network, examples() if known is None else known, "binary", config)
    return network


def balanced():
    network = start()
    network.balance.fill_(0.5)
    return network


def loss_of(network):
    answers = answer_all(network, CODES)
    return float(torch.nn.functional.binary_cross_entropy_with_logits(answers[:, 0], torch.from_numpy(TARGETS).float()))


def test_pass_after_pass_both_paths_learn_together():
    network = balanced()
    before = {name: x.clone() for name, x in network.named_parameters()}
    losses = [loss_of(network)]
    for seed in range(100, 112):  # of six such dozens, one does not learn at this rate
        pass_over(network, seed=seed, learning_rate=3e-2)
        losses.append(loss_of(network))
        assert not network.training
    same = {name for name, x in network.named_parameters() if x.numel() and torch.equal(x, before[name])}
    assert not same, f"not trained: {same}"
    assert losses[-1] < 0.35 * losses[0]
    assert network.share == 1
    assert network.balance.tolist() == [0.5, 0.5], "nothing is judged"


def test_a_pass_sees_every_sequence_once():
    seen, network = [], balanced()
    known = examples(codes=[random_codes(3 + k, seed=k) for k in range(16)])
    batch = network.batch
    network.batch = lambda items: seen.append([len(one) for one in items]) or batch(items)
    pass_over(network, known)
    assert sorted(length for lengths in seen for length in lengths) == list(range(3, 19))
    assert sorted(map(len, seen)) == [1, 5, 5, 5]


def test_a_linear_path_of_many_features_takes_smaller_steps():
    known = examples(codes=[random_codes(20, seed=k) for k in range(16)])

    @torch.no_grad()
    def moved(places):
        config = SequenceConfig(outputs=1, word_sizes=(), places=places, backbone=BackboneConfig(**BACKBONE))
        network = SequenceNetwork(config)
        network.balance.fill_(0.5)
        with torch.enable_grad():
            pass_over(network, known, batch_size=16)  # one step, of which Adam makes the same size whatever the gradient
        return network.places.output.weight.abs().max(), network.head.output.weight.abs().max()

    for places in ((1, 0), (8, 8)):
        linear, memory = moved(places)
        features = 4 * sum(places)
        assert float(memory) == pytest.approx(1e-2, rel=1e-3)
        assert float(linear) == pytest.approx(1e-2 / features**0.5, rel=1e-3)


def test_weights_and_chance_of_a_pass():
    first, same, other = (pass_over(balanced(), seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(x, same[name]) for name, x in first.items())
    assert not all(torch.equal(x, other[name]) for name, x in first.items())
    heavy = Examples(list(CODES), TARGETS, np.where(TARGETS == 1, 2.0, 0.0))
    network = balanced()
    for seed in range(5):
        pass_over(network, heavy, seed=seed, learning_rate=3e-2)
    assert (answer_all(network, CODES) > 0.5).all(), "of the others nothing was learned"
