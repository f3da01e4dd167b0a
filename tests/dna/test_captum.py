"""A tool that was written for any one-hot network runs on ours, and finds what ours says it looks at."""

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, Saliency

from titans_ts import DNAClassifier, make_dna_motifs
from titans_ts.dna.bases import encode
from titans_ts.dna.strands import as_strands, one_hot


@pytest.fixture(scope="module")
def case():
    sequences, labels = make_dna_motifs(120, length=40, random_state=0)
    classifier = DNAClassifier(width=8, heads=2, max_steps=20, precision="float64", random_state=0).fit(sequences, labels)
    strands, _ = as_strands([encode(one) for one in sequences[:4]], device=torch.device("cpu"), dtype=torch.float64)
    return classifier, sequences[:4], strands


def test_integrated_gradients_add_up_to_what_sets_an_answer_apart_from_all_n(case):
    classifier, _, strands = case
    module = classifier.as_module()
    found, gap = IntegratedGradients(module).attribute(strands, target=0, n_steps=400, return_convergence_delta=True)
    apart = (module(strands) - module(torch.zeros_like(strands)))[:, 0].detach()
    assert apart.abs().max() > 0.1
    assert gap.abs().max() < 0.02 * apart.abs().max()
    torch.testing.assert_close(found.sum((1, 2)), apart, rtol=0, atol=float(0.02 * apart.abs().max()))


def test_saliency_is_the_gradient_that_attribute_corrects(case):
    classifier, sequences, strands = case
    gradients = Saliency(classifier.as_module()).attribute(strands, target=0, abs=False)
    expected = (gradients - gradients.mean(1, keepdim=True)).transpose(1, 2).numpy()
    for found, one in zip(classifier.attribute(sequences), expected, strict=True):
        np.testing.assert_allclose(found, one, rtol=1e-6, atol=1e-9)


def test_the_module_answers_as_the_estimator_does(case):
    classifier, sequences, _ = case
    strand = one_hot(torch.from_numpy(np.stack([encode(one) for one in sequences]))).double()
    with torch.no_grad():
        found = classifier.as_module()(strand)[:, 0].numpy()
    np.testing.assert_allclose(found, classifier.decision_function(sequences), rtol=1e-6)
