"""P1 for DNA: records read on, piece by piece, remembered by id, kept in files, forgotten."""

import gzip

import numpy as np
import pytest
from Bio.Seq import Seq
from Bio.SeqRecord import SeqRecord
from dna.estimator_cases import OTHERS, SEQUENCES, close, language_model, write_fasta

from titans_ts import load
from titans_ts.backbones.state import pack

RECORD = "".join(SEQUENCES[:5]) + "NN" + SEQUENCES[5]


@pytest.fixture
def model(fitted):
    return fitted.forget()


@pytest.fixture(scope="module", params=["float32", "float64"])
def fitted(request):
    return language_model(precision=request.param)


def assert_same_state(found, expected, tolerance):
    assert (found.n_seen, found.scored) == (expected.n_seen, expected.scored)
    close(found.total, expected.total, tolerance)
    for name, value in pack(expected.carry).items():
        scale = max(float(value.double().abs().max()), 1e-3)
        close(pack(found.carry)[name].double() / scale, value.double() / scale, tolerance)


@pytest.mark.parametrize("cuts", [[1], [40], [20, 21, 22, 90], [len(RECORD) - 1]], ids=str)
def test_read_in_pieces_is_as_read_at_once(cuts, model):
    tolerance = 1e-5 if model.precision == "float32" else 1e-10
    whole = model.update([RECORD]).state_
    assert model.n_seen_ == len(RECORD)
    model.forget()
    for start, end in zip([0, *cuts], [*cuts, len(RECORD)], strict=True):
        model.update([RECORD[start:end]])
        assert model.n_seen_ == end
    assert_same_state(model.state_, whole, tolerance)
    close(whole.mean, model.score_samples([RECORD])[0], tolerance)
    assert model.state_.nbytes == whole.nbytes


def test_a_state_does_not_grow(model):
    sizes = [model.update([RECORD[:30]]).state_.nbytes for _ in range(3)]
    assert sizes[0] == sizes[1] == sizes[2] > 0


def test_records_are_told_apart_by_id(model, tmp_path):
    first = [SeqRecord(Seq("ACGTT"), id="a"), SeqRecord(Seq("GG"), id="b")]
    model.update(first).update([SeqRecord(Seq("TTA"), id="b"), SeqRecord(Seq("C"), id="c")])
    assert model.n_seen_ == {"a": 5, "b": 5, "c": 1}
    found = dict(model.state_)
    model.forget()
    path = tmp_path / "x.fa"
    path.write_text(">a\nACG\nTT\n>b\nGGTTA\n>c\nC\n")
    model.update(path)
    for name, state in model.state_.items():
        assert_same_state(found[name], state, 1e-5)


def test_a_file_is_read_as_its_records_are(model, tmp_path):
    listed = dict(model.update(OTHERS).states_)
    path = write_fasta(tmp_path / "x.fa", OTHERS)
    (tmp_path / "x.fa.gz").write_bytes(gzip.compress(path.read_bytes()))
    for each in (path, str(tmp_path / "x.fa.gz")):
        model.forget().update(each)
        assert list(model.n_seen_.values()) == [len(text) for text in OTHERS]
        for name, state in model.states_.items():
            assert_same_state(state, listed[name], 1e-5)


def test_reading_on_changes_neither_weights_nor_what_is_said_of_others(model):
    before = model.score_samples(OTHERS)
    model.update([RECORD])
    np.testing.assert_array_equal(model.score_samples(OTHERS), before)


def test_a_loaded_model_goes_on_where_the_saved_one_was(model, tmp_path):
    model.update([SeqRecord(Seq(RECORD), id="a"), SeqRecord(Seq("ACG"), id="b")])
    model.save(tmp_path / "a.titans")
    again = load(tmp_path / "a.titans")
    assert again.n_seen_ == model.n_seen_
    more = [SeqRecord(Seq("TTGCA"), id="a")]
    assert_same_state(again.update(more).state_["a"], model.update(more).state_["a"], 1e-12)


def test_forgetting_begins_anew_of_one_or_of_all(model):
    model.update(["ACGT", "GG", "T"])
    once = model.state_["1"]
    assert model.forget("1").n_seen_ == {"0": 4, "2": 1}
    assert model.update(["A", "GG"]).n_seen_ == {"0": 5, "2": 1, "1": 2}
    assert_same_state(model.state_["1"], once, 1e-12)
    with pytest.raises(ValueError, match="ids: nothing was read of 'x'; there are '0', '2', '1'"):
        model.forget(["0", "x"])
    assert list(model.states_) == ["0", "2", "1"], "none is forgotten then"
    assert model.forget(["0", "2"]).n_seen_ == 2
    assert model.forget().n_seen_ == 0
    assert model.state_ is None


def test_fitting_again_forgets():
    model = language_model(max_steps=1).update(["ACGT"])
    assert model.fit(SEQUENCES).n_seen_ == 0


BROKEN = {
    "a letter that is none": (">0\nACGT\n>1\nAC-T\n", "record '1' of .*'-' at position 3"),
    "an id twice": (">0\nACGT\n>0\nACT\n", "two records of id '0'"),
    "a record without letters": (">0\nACGT\n>1\n", "record '1' of .* has no sequence"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_where_a_file_is_wrong_nothing_of_it_is_read(broken, model, tmp_path):
    text, message = BROKEN[broken]
    model.update(["GGG"])
    before = model.state_
    (tmp_path / "x.fa").write_text(text)
    with pytest.raises(ValueError, match=message):
        model.update(tmp_path / "x.fa")
    assert model.n_seen_ == 3
    assert_same_state(model.state_, before, 0)


def test_a_masked_model_neither_reads_on_nor_writes():
    model = language_model(objective="masked", max_steps=1)
    for act in (lambda: model.update(["ACGT"]), lambda: model.sample()):
        with pytest.raises(ValueError, match="needs objective='causal': a masked model tells a base from both sides of it"):
            act()
