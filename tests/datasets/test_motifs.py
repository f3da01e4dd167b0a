"""Motifs made to order: where they are, where they are not, and that letters alone tell nothing."""

import random

import numpy as np
import pytest
import torch
from Bio.Seq import Seq
from hypothesis import given, settings
from hypothesis import strategies as st

from titans_ts import make_dna_motifs


def holds(sequence, motif):
    return motif in sequence or str(Seq(motif).reverse_complement()) in sequence


def test_a_class_carries_its_motifs_and_no_other_does():
    sequences, labels = make_dna_motifs(300, length=(60, 90))
    assert labels.dtype == np.int64
    assert np.bincount(labels).tolist() == [150, 150]
    assert {60, 90} <= {len(sequence) for sequence in sequences} <= set(range(60, 91))
    assert set("".join(sequences)) == set("ACGT")
    for sequence, label in zip(sequences, labels, strict=True):
        assert holds(sequence, "TATAAA") == holds(sequence, "CCAAT") == (label == 1)


def test_motifs_are_dealt_out_to_the_classes_in_turn():
    motifs = ("TATAAA", "CCAAT", "GGGCGG")
    sequences, labels = make_dna_motifs(90, motifs=motifs, n_classes=3)
    assert np.bincount(labels).tolist() == [30, 30, 30]
    carried = {0: (False, False, False), 1: (True, False, True), 2: (False, True, False)}
    for sequence, label in zip(sequences, labels, strict=True):
        assert tuple(holds(sequence, motif) for motif in motifs) == carried[label]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(alphabet="ACGT", min_size=5, max_size=8), min_size=1, max_size=3), st.integers(0, 99))
def test_any_long_motif_tells_the_classes_apart(motifs, seed):
    sequences, labels = make_dna_motifs(8, length=50, motifs=motifs, random_state=seed)
    for sequence, label in zip(sequences, labels, strict=True):
        assert all(holds(sequence, motif) for motif in motifs) == (label == 1)
        assert any(holds(sequence, motif) for motif in motifs) == (label == 1)


def test_both_strands_and_all_places_are_used_alike():
    sequences, labels = make_dna_motifs(4000, length=30, motifs=["AACCC"])
    carriers = [sequence for sequence, label in zip(sequences, labels, strict=True) if label == 1]
    forward = np.array([sequence.find("AACCC") for sequence in carriers if "AACCC" in sequence])
    assert len(forward) / len(carriers) == pytest.approx(0.5, abs=0.04)
    counts = np.bincount(forward, minlength=26)
    assert len(counts) == 26
    assert (np.abs(counts - counts.mean()) < 4.5 * np.sqrt(counts.mean())).all()
    sequences, labels = make_dna_motifs(100, length=30, motifs=["AACCC"], strands="forward")
    assert ["AACCC" in sequence for sequence in sequences] == (labels == 1).tolist()


@pytest.mark.parametrize("n_classes", [2, 3])
def test_letters_alone_tell_nothing(n_classes):
    sequences, labels = make_dna_motifs(3000, length=40, motifs=("TATAAA", "AACAA"), n_classes=n_classes, strands="forward")
    counts = np.array([[sequence.count(letter) for letter in "ACGT"] for sequence in sequences])
    assert counts.mean(axis=0)[0] > 14  # the motifs are full of A, and so is every class
    for label in range(1, n_classes):
        mine, background = counts[labels == label], counts[labels == 0]
        error = np.sqrt(mine.var(axis=0) / len(mine) + background.var(axis=0) / len(background))
        assert (np.abs(mine.mean(axis=0) - background.mean(axis=0)) < 4 * error).all()


def test_noise_replaces_as_many_bases_as_asked_for():
    clean = make_dna_motifs(1, length=11, random_state=3)[0][0]
    assert len(clean) == 11  # as short as can be
    motif, shares = "TATAAACCGGTACGTACGTA", []
    for noise in (0.0, 0.1, 1.0):
        sequences, labels = make_dna_motifs(2000, length=20, motifs=[motif], strands="forward", noise=noise)
        carriers = [sequence for sequence, label in zip(sequences, labels, strict=True) if label == 1]
        shares.append(np.mean([[a != b for a, b in zip(motif, each, strict=True)] for each in carriers]))
    assert shares == [0, pytest.approx(0.1, abs=0.01), 1]


def test_the_seed_decides_and_the_global_generators_are_untouched():
    def states():
        return repr(np.random.get_state()), random.getstate(), torch.get_rng_state().tolist()  # noqa: NPY002

    def made(seed):
        sequences, labels = make_dna_motifs(20, random_state=seed)
        return sequences, labels.tolist()

    before = states()
    assert made(3) == made(3) == made(np.random.default_rng(3))
    assert made(3) != made(4)
    assert made(None) != made(None)
    assert states() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_sequences": 0}, "n_sequences=0 must be at least 1"),
        ({"length": 10}, "length=10 is too short: the motifs together have 11 bases"),
        ({"length": (50, 40)}, r"length=\(50, 40\): the shortest comes first"),
        ({"motifs": "TATAAA"}, "motifs='TATAAA' is a single str; wrap it in a list"),
        ({"motifs": ()}, "motifs has 0 words for 1 classes"),
        ({"n_classes": 4}, "motifs has 2 words for 3 classes that carry one"),
        ({"n_classes": 1}, "n_classes=1 must be at least 2"),
        ({"motifs": ["TATAAA", "TAE"]}, r"motifs\[1\]: 'E' at position 3"),
        ({"motifs": ["TATAWA"]}, r"motifs\[0\]='TATAWA' holds a letter of uncertainty; expected ACGT alone"),
        ({"motifs": ["TATAAA", "TTAT"], "n_classes": 3}, r"motifs\[0\]='TATAAA' holds motifs\[1\]='TTAT' of another class"),
        ({"motifs": ["A"], "length": 20}, "motifs cannot be kept out of 20 random bases, 'A' least; take longer ones"),
        ({"strands": "reverse"}, "strands='reverse' is unknown; take 'both' or 'forward'"),
        ({"noise": 1.5}, "noise=1.5 must be a probability"),
        ({"noise": float("nan")}, "noise=nan must be a finite number"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_dna_motifs(**arguments)
