"""What a DNA estimator says of single bases, against the estimator asked by hand."""

import numpy as np
import pytest
import torch
from dna.estimator_cases import NUMBERS, SEQUENCES, classifier, close, regressor

from titans_ts.dna.bases import encode
from titans_ts.dna.strands import one_hot

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
