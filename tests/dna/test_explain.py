"""What is said of single bases: against the estimator and the network asked by hand, and by captum."""

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, Saliency
from dna.cases import make_sequence_network, random_codes
from dna.estimator_cases import NUMBERS, SEQUENCES, classifier, close, regressor

from titans_ts import DNAClassifier, make_dna_motifs
from titans_ts.dna.bases import N, encode
from titans_ts.dna.explain import OneHotModule, base_contributions, mutants
from titans_ts.dna.strands import as_strands, averaged, one_hot
from titans_ts.learn.two_paths import answer_all

SEQUENCE = "TATAAAGNCGttaR"  # twelve bases, three of them in lower case; N and R are none
CODES = encode(SEQUENCE)
KNOWN = np.flatnonzero(CODES < 4)
THREE = np.array(["a", "b", "c"])[np.arange(40) % 3]
TWO = np.column_stack([NUMBERS, [1000.0 * len(text) for text in SEQUENCES]])

MODELS = {
    "two classes": lambda **more: classifier(**more),
    "three classes": lambda **more: classifier(y=THREE, **more),
    "a number": lambda **more: regressor(**more),
    "two numbers": lambda **more: regressor(y=TWO, **more),
}
TARGETS = {
    "two classes": [("effect", None), ("effect", "promoter")],
    "three classes": [(f"effect_{name}", name) for name in "abc"],
    "a number": [("effect", None), ("effect", "y")],
    "two numbers": [("effect_y0", "y0"), ("effect_y1", "y1")],
}


def asked(model, sequences):
    """Return log-odds, logits or numbers, an output a column."""
    answer = model.decision_function if hasattr(model, "decision_function") else model.predict
    return answer(sequences).reshape(len(sequences), -1)


@pytest.mark.parametrize("strands", [None, "average"])
@pytest.mark.parametrize("kind", MODELS)
def test_mutagenesis_is_what_each_change_does_to_the_answer(kind, strands):
    model = MODELS[kind](reverse_complement=strands)
    found = model.mutagenesis(SEQUENCE)
    assert len(found) == 3 * len(KNOWN) == 36
    assert found["position_1based"].tolist() == np.repeat(KNOWN + 1, 3).tolist()
    changed = []
    for row in found.itertuples():
        assert SEQUENCE[row.position_1based - 1].upper() == row.ref != row.alt
        changed.append(SEQUENCE[: row.position_1based - 1] + row.alt + SEQUENCE[row.position_1based :])
    assert len(set(changed)) == 36
    expected = asked(model, changed) - asked(model, [SEQUENCE])
    columns = [name for name in found.columns if name.startswith("effect")]
    assert columns == list(dict.fromkeys(name for name, _ in TARGETS[kind]))
    close(found[columns] / np.abs(expected).max(0), expected / np.abs(expected).max(0), 1e-4)
    assert (found[columns].std() > 0).all()


@pytest.mark.parametrize("kind", MODELS)
def test_nothing_but_n_has_nothing_to_change(kind):
    assert len(MODELS[kind](max_steps=1).mutagenesis("NNRN")) == 0


@pytest.mark.parametrize("strands", [None, "average", "equivariant"])
@pytest.mark.parametrize("kind", MODELS)
def test_attributions_of_words_alone_are_exactly_what_each_change_does(kind, strands):
    model = MODELS[kind](layers=0, reverse_complement=strands)
    effects = model.mutagenesis(SEQUENCE)
    places, alternatives = effects["position_1based"] - 1, ["ACGT".index(base) for base in effects["alt"]]
    for column, target in TARGETS[kind]:
        (found,) = model.attribute([SEQUENCE], target=target)
        assert found.shape == (14, 4)
        scale = np.abs(effects[column]).max()
        close(found.sum(1) / scale, 0, 1e-5)
        close((found[places, alternatives] - found[places, CODES[places]]) / scale, effects[column] / scale, 1e-4)


@pytest.mark.parametrize("strands", [None, "average", "equivariant"])
@pytest.mark.parametrize("kind", MODELS)
def test_attributions_are_the_gradient_of_the_answer_on_its_own_scale(kind, strands):
    model = MODELS[kind](reverse_complement=strands, precision="float64")
    module = model.as_module()
    for output, (_, target) in enumerate(dict(TARGETS[kind]).items()):
        (found,) = model.attribute([SEQUENCE], target=target)
        strand = one_hot(torch.from_numpy(CODES)[None]).double().requires_grad_()
        (gradient,) = torch.autograd.grad(module(strand)[0, output], strand)
        unit = model.target_spread_[output] if "number" in kind else 1.0
        close(found / unit, (gradient - gradient.mean(1, keepdim=True))[0].T, 1e-9)


def test_each_sequence_has_its_attribution_whatever_lies_beside_it():
    model = classifier()
    found = model.attribute([SEQUENCE, "A", "ACGT" * 20])
    assert [one.shape for one in found] == [(14, 4), (1, 4), (80, 4)]
    close(found[1], model.attribute(["A"])[0], 1e-5)


@pytest.mark.parametrize("strands", [None, "average", "equivariant"])
@pytest.mark.parametrize("kind", MODELS)
def test_a_module_answers_as_the_estimator_does_and_lets_gradients_through(kind, strands):
    model = MODELS[kind](reverse_complement=strands)
    strand = one_hot(torch.from_numpy(CODES)[None]).requires_grad_()
    answers = model.as_module()(strand)
    expected = asked(model, [SEQUENCE])
    if "number" in kind:
        expected = (expected - model.target_level_) / model.target_spread_
    close(answers.detach().numpy(), expected, 1e-5)
    answers.sum().backward()
    assert (strand.grad.abs().amax(1) > 0).all()


def test_a_module_of_a_double_model_takes_single_strands_too():
    model = classifier(precision="float64")
    close(model.as_module()(torch.eye(4)[None]).detach()[:, 0], model.decision_function(["ACGT"]), 1e-6)


def test_a_target_must_be_one_there_is():
    with pytest.raises(ValueError, match="target='other': name a class, one of 'promoter'"):
        classifier(max_steps=1).attribute([SEQUENCE], target="other")
    with pytest.raises(ValueError, match="target=None: name a class, one of 'a', 'b', 'c'"):
        classifier(y=THREE, max_steps=1).attribute([SEQUENCE])
    with pytest.raises(ValueError, match="target='z': name a target, one of 'y0', 'y1'"):
        regressor(y=TWO, max_steps=1).attribute([SEQUENCE], target="z")


@pytest.mark.parametrize("method", ["mutagenesis", "attribute"])
def test_what_is_no_dna_is_refused_by_position(method):
    model = classifier(max_steps=1)
    with pytest.raises(ValueError, match=r"sequence.*: '-' at position 3 \(counted from 1\) is no letter of DNA"):
        getattr(model, method)("AC-T" if method == "mutagenesis" else ["AC-T"])
    with pytest.raises(ValueError, match="is empty"):
        getattr(model, method)("" if method == "mutagenesis" else [""])


# --- networks ----------------------------------------------------------------------------------------------------------


BY_CHANCE = random_codes(40, seed=2, uncertain=0.1)


def as_strand(codes):
    return one_hot(torch.from_numpy(codes)[None]).double()


def test_every_single_base_change_comes_once_and_n_is_left_out():
    found = mutants(BY_CHANCE)
    known = (BY_CHANCE < N).sum()
    assert len(found.codes) == 3 * known < 120
    assert len({one.tobytes() for one in found.codes}) == len(found.codes)
    for changed, position, alternative in zip(*found, strict=True):
        assert np.flatnonzero(changed != BY_CHANCE).tolist() == [position]
        assert changed[position] == alternative != BY_CHANCE[position]
        assert BY_CHANCE[position] < N
    assert (np.diff(found.positions) >= 0).all()


def test_nothing_but_n_has_no_changes():
    found = mutants(encode("NNN"))
    assert [len(part) for part in found] == [0, 0, 0]


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("layers", [0, 1])
def test_contributions_are_the_slope_at_each_base_less_its_mean(layers, average):
    network = make_sequence_network(layers=layers)
    module = OneHotModule(network, average=average)
    found = base_contributions(network, BY_CHANCE, output=1, average=average)
    assert found.shape == (40, 4)
    np.testing.assert_allclose(found.sum(1), 0, atol=1e-12)
    steps = 1e-5 * torch.eye(160).double().reshape(160, 40, 4).transpose(1, 2)  # one entry each
    with torch.no_grad():
        slopes = (module(as_strand(BY_CHANCE) + steps) - module(as_strand(BY_CHANCE) - steps))[:, 1].numpy() / 2e-5
    slopes = slopes.reshape(40, 4)
    np.testing.assert_allclose(found, slopes - slopes.mean(1, keepdims=True), rtol=1e-5, atol=1e-7)


def test_the_linear_path_alone_changes_by_exactly_the_difference_of_two_contributions():
    network = make_sequence_network(layers=0)
    found = base_contributions(network, BY_CHANCE, output=0, average=False)
    changed = mutants(BY_CHANCE)
    answers = answer_all(network, [BY_CHANCE, *changed.codes]).numpy()[:, 0]
    expected = found[changed.positions, changed.alternatives] - found[changed.positions, BY_CHANCE[changed.positions]]
    np.testing.assert_allclose(answers[1:] - answers[0], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("average", [False, True])
def test_a_module_answers_as_the_network_does_and_lets_gradients_through(average):
    network = make_sequence_network().train()
    module = OneHotModule(network, average=average)
    strand = as_strand(BY_CHANCE).requires_grad_()
    answers = module(strand)
    np.testing.assert_allclose(
        answers.detach(), answer_all(network, [BY_CHANCE], average=averaged if average else None), rtol=1e-12
    )
    answers.sum().backward()
    assert (strand.grad.abs().amax(1) > 0).all()
    assert not network.training, "it is asked, no longer trained"


# --- captum: written for any one-hot network, it runs on ours ----------------------------------------------------------


@pytest.fixture(scope="module")
def explained():
    sequences, labels = make_dna_motifs(120, length=40, random_state=0)
    classifier = DNAClassifier(width=8, heads=2, max_steps=20, precision="float64", random_state=0).fit(sequences, labels)
    strands, _ = as_strands([encode(one) for one in sequences[:2]], device=torch.device("cpu"), dtype=torch.float64)
    return classifier, sequences[:2], strands


def test_integrated_gradients_add_up_to_what_sets_an_answer_apart_from_all_n(explained):
    classifier, _, strands = explained
    module = classifier.as_module()
    found, gap = IntegratedGradients(module).attribute(strands, target=0, n_steps=100, return_convergence_delta=True)
    apart = (module(strands) - module(torch.zeros_like(strands)))[:, 0].detach()
    assert apart.abs().max() > 0.1
    assert gap.abs().max() < 0.02 * apart.abs().max()
    torch.testing.assert_close(found.sum((1, 2)), apart, rtol=0, atol=float(0.02 * apart.abs().max()))


def test_saliency_is_the_gradient_that_attribute_corrects(explained):
    classifier, sequences, strands = explained
    gradients = Saliency(classifier.as_module()).attribute(strands, target=0, abs=False)
    expected = (gradients - gradients.mean(1, keepdim=True)).transpose(1, 2).numpy()
    for found, one in zip(classifier.attribute(sequences), expected, strict=True):
        np.testing.assert_allclose(found, one, rtol=1e-6, atol=1e-9)


def test_the_module_answers_as_the_estimator_does(explained):
    classifier, sequences, _ = explained
    strand = one_hot(torch.from_numpy(np.stack([encode(one) for one in sequences]))).double()
    with torch.no_grad():
        found = classifier.as_module()(strand)[:, 0].numpy()
    np.testing.assert_allclose(found, classifier.decision_function(sequences), rtol=1e-6)
