"""The DNA language model: what it says of sequences and variants, what it writes and reads on, scikit-learn around it."""

import gzip

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from Bio.Seq import Seq
from Bio.SeqRecord import SeqRecord
from dna.estimator_cases import (
    CLASSES,
    LANGUAGE,
    OTHERS,
    SEQUENCES,
    close,
    language_model,
    same_weights,
    turned,
    weights,
    write_fasta,
)
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from titans_ts import DNALanguageModel, load
from titans_ts.backbones.state import pack
from titans_ts.dna.bases import encode
from titans_ts.dna.contexts import ContextPath
from titans_ts.dna.genome import Genome

MODELS = {
    "causal": {},
    "masked": {"objective": "masked"},
    "contexts alone": {"layers": 0},
    "memory alone": {"context_orders": ()},
}
REPETITIVE = "ACGTTGCAAGTC" * 30


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return language_model(**MODELS[request.param])


@pytest.fixture(scope="module")
def causal():
    return language_model()


# --- how likely -----------------------------------------------------------------------------------------------------


def test_every_base_is_scored_but_n(model):
    found = model.log_likelihood(OTHERS)
    for text, values in zip(OTHERS, found, strict=True):
        assert np.isnan(values).tolist() == [letter not in "ACGTacgt" for letter in text]
    known = np.concatenate(found)
    known = known[~np.isnan(known)]
    assert (known < 0).all()
    close(model.score(OTHERS), known.mean(dtype=float))
    close(model.bits_per_base(OTHERS), -known.mean(dtype=float) / np.log(2))
    expected = [np.nan if text == "N" else np.nanmean(x, dtype=float) for text, x in zip(OTHERS, found, strict=True)]
    close(model.score_samples(OTHERS), expected)


def test_nothing_else_in_the_batch_counts(model):
    together = model.score_samples(OTHERS)
    close([model.score_samples([one])[0] for one in OTHERS], together)
    close(model.score_samples(OTHERS[::-1])[::-1], together)
    close(model.score_samples([OTHERS[0], "ACGT" * 70])[0], together[0])
    close(model.transform(OTHERS[::-1])[::-1], model.transform(OTHERS))


def test_the_strands_are_as_likely_where_both_sides_are_read():
    masked, causal = (language_model(**MODELS[name]) for name in ("masked", "causal"))
    close(masked.score_samples(turned(OTHERS)), masked.score_samples(OTHERS), 1e-5)
    assert not np.allclose(causal.score_samples(turned(OTHERS)), causal.score_samples(OTHERS), 1e-3, equal_nan=True)


@pytest.mark.parametrize("name", MODELS)
def test_the_probabilities_of_a_base_sum_to_one(name):
    model = language_model(**MODELS[name])
    texts = [f"ACGTTGC{base}{after}" for base in "ACGT" for after in ("", "GT")]
    shares = np.exp([values[7] for values in model.log_likelihood(texts)]).reshape(4, 2)
    close(shares.sum(0), 1, 1e-5)
    if name == "masked":
        assert not np.allclose(shares[:, 0], shares[:, 1]), "what comes after counts"
    else:
        close(shares[:, 0], shares[:, 1], 1e-5)


def assert_learns_to_repeat(**arguments):
    model = DNALanguageModel(**{**LANGUAGE, "batch_size": 2, **arguments}).fit([REPETITIVE])
    assert model.bits_per_base([REPETITIVE[:300]]) < 0.5
    chance = "".join(np.random.default_rng(0).choice(list("ACGT"), 300))
    assert model.bits_per_base([chance]) > 1.9


@pytest.mark.parametrize("name", ["causal", "masked", "contexts alone"])
def test_a_repetitive_text_costs_little_after_a_few_steps_and_chance_two_bits(name):
    assert_learns_to_repeat(**MODELS[name], max_steps=5)


@pytest.mark.parametrize("records", [1, 12])
def test_what_was_held_out_is_counted_too_in_the_end(records):
    X = SEQUENCES[:records]
    model = DNALanguageModel(**LANGUAGE, validation_fraction=0.4).fit(X)
    assert model.training_history_[-1]["validation"] > 0
    expected = ContextPath(LANGUAGE["context_orders"])
    expected.learn([encode(text) for text in X])
    assert all(torch.equal(table, expected.tables()[name]) for name, table in model.network_.direct.tables().items())


@pytest.mark.slow
def test_the_memory_alone_learns_to_repeat_too():
    assert_learns_to_repeat(context_orders=(), width=16, max_steps=150, learning_rate=1e-2)


@pytest.mark.parametrize("container", ["gzip", "pandas", "polars", "Windows"])
def test_any_container_is_scored_as_a_list(container, causal, tmp_path):
    path = write_fasta(tmp_path / "x.fa", OTHERS, ends="\r\n" if container == "Windows" else "\n")
    if container == "gzip":
        (tmp_path / "y.fa.gz").write_bytes(gzip.compress(path.read_bytes()))
        path = tmp_path / "y.fa.gz"
    X = {"pandas": pd.Series(OTHERS), "polars": pl.Series(OTHERS)}.get(container, path)
    close(causal.score_samples(X), causal.score_samples(OTHERS))
    close(causal.score(X), causal.score(OTHERS))
    close(causal.bits_per_base(X), causal.bits_per_base(OTHERS))
    close(causal.transform(X), causal.transform(OTHERS))


def test_a_record_of_nothing_but_n_has_no_likelihood_whatever_it_comes_in(causal, tmp_path):
    path = write_fasta(tmp_path / "x.fa", ["NNN"])
    assert np.isnan(causal.score_samples(["NNN"])).all()
    assert np.isnan(causal.score_samples(path)).all()
    assert np.isnan(causal.score(["NNN"]))
    assert np.isnan(causal.score(path))


# --- variants -------------------------------------------------------------------------------------------------------

CONTIG = "GGATTACANNCCGTTAGCATGCAATT"
VARIANTS = {
    "a substitution": ((5, "T", "G"), "GGATGACANNCCGTTAGCATGCAATT", True),
    "an insertion": ((5, "T", "TCCC"), "GGATTCCCACANNCCGTTAGCATGCAATT", True),
    "a deletion": ((3, "ATTA", "A"), "GGACANNCCGTTAGCATGCAATT", True),
    "the first base": ((1, "G", "C"), "CGATTACANNCCGTTAGCATGCAATT", True),
    "the last base": ((26, "t", "a"), "GGATTACANNCCGTTAGCATGCAATA", True),
    "a wrong REF": ((5, "C", "G"), "GGATGACANNCCGTTAGCATGCAATT", False),
    "N in the reference": ((9, "A", "C"), "GGATTACACNCCGTTAGCATGCAATT", True),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_makes_its_sequence_likelier_by_so_much(variant, model, tmp_path):
    (position, ref, alt), changed, matches = VARIANTS[variant]
    path = write_fasta(tmp_path / "x.fa", [CONTIG])
    vcf = tmp_path / "x.vcf"
    vcf.write_text(
        f"##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n0\t{position}\trs1\t{ref}\t{alt}\t.\t.\t.\n"
    )
    before, after = (np.nansum(values, dtype=float) for values in model.log_likelihood([CONTIG, changed]))
    for variants, reference in (([("0", position, ref, alt)], {"0": CONTIG}), (str(vcf), path), (vcf, Genome(path))):
        found = model.score_variants(variants, reference)
        assert found["ref_match"].tolist() == [matches]
        assert found[["contig", "position_1based", "ref", "alt"]].values.tolist() == [
            ["0", position, ref.upper(), alt.upper()]
        ]
        close(found["log_likelihood_ratio"], [after - before], 1e-4)
    assert found["id"].tolist() == ["rs1"]


def test_only_the_flanks_count_and_every_allele_has_its_row(causal):
    reference = {"0": "ACGT" * 20, "1": CONTIG}
    found = causal.score_variants([("0", 40, "T", "A,C"), ("1", 5, "T", "G")], reference, flank=7)
    assert found[["contig", "alt"]].values.tolist() == [["0", "A"], ["0", "C"], ["1", "G"]]
    window = reference["0"][32:47]
    before, after = (values.sum(dtype=float) for values in causal.log_likelihood([window, f"{window[:7]}C{window[8:]}"]))
    close(found["log_likelihood_ratio"][1], after - before, 1e-4)
    frame = pl.DataFrame({"contig": ["1"], "pos": [5], "ref": ["T"], "alt": ["G"]})
    close(
        causal.score_variants(frame, reference, flank=7)["log_likelihood_ratio"][0], found["log_likelihood_ratio"][2], 1e-5
    )


# --- embeddings -----------------------------------------------------------------------------------------------------


def test_embeddings_come_in_the_container_that_is_asked_for():
    model = language_model(max_steps=1)
    plain = model.transform(OTHERS)
    assert plain.shape == (len(OTHERS), 8)
    assert np.ptp(plain, axis=0).min() > 0
    names = [f"dnalanguagemodel{i}" for i in range(8)]
    assert model.get_feature_names_out().tolist() == names
    framed = model.set_output(transform="pandas").transform(pd.Series(OTHERS, index=range(3, 11)))
    assert (framed.columns.tolist(), framed.index.tolist()) == (names, list(range(3, 11)))
    np.testing.assert_array_equal(framed, plain)
    assert isinstance(model.set_output(transform="polars").transform(OTHERS), pl.DataFrame)


def test_it_is_the_first_step_of_a_pipeline():
    pipeline = make_pipeline(DNALanguageModel(**LANGUAGE), LogisticRegression()).fit(SEQUENCES, CLASSES)
    embedded = DNALanguageModel(**LANGUAGE).fit_transform(SEQUENCES)
    expected = LogisticRegression().fit(embedded, CLASSES).predict_proba(embedded)
    close(pipeline.predict_proba(SEQUENCES), expected)
    assert pipeline[:-1].get_feature_names_out().tolist()[0] == "dnalanguagemodel0"


def test_it_is_cloned_cross_validated_and_searched():
    model = DNALanguageModel(**LANGUAGE)
    assert clone(model).get_params() == model.get_params()
    scores = cross_val_score(model, SEQUENCES, cv=2, n_jobs=1)
    assert (scores < 0).all()
    search = GridSearchCV(model, {"context_orders": [(1,), (1, 2, 3)]}, cv=2, n_jobs=1, error_score="raise")
    assert search.fit(pl.Series(SEQUENCES)).best_params_["context_orders"] in [(1,), (1, 2, 3)]


# --- writing --------------------------------------------------------------------------------------------------------


def test_what_it_writes_follows_what_it_learned():
    model = DNALanguageModel(**{**LANGUAGE, "layers": 0, "context_orders": (1, 2, 3, 4), "max_steps": 30}).fit(
        ["ACGT" * 100]
    )
    found = model.sample(5, length=30, prompt="ACGTACGT", temperature=0.1, random_state=0)
    assert found == ["ACGT" * 7 + "AC"] * 5


def test_the_same_seed_writes_the_same_letters(causal):
    found = [causal.sample(3, length=20, random_state=seed) for seed in (0, 0, 1, None, None)]
    assert found[0] == found[1]
    assert len({tuple(texts) for texts in found}) == 4
    assert all(len(text) == 20 and set(text) <= set("ACGT") for texts in found for text in texts)


# --- chance, weights, files -----------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_numbers_and_leaves_global_chance_alone():
    torch.manual_seed(5), np.random.seed(5)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    found = [language_model(random_state=seed).score_samples(OTHERS) for seed in (0, 1, 0)]
    language_model(max_steps=1).sample(random_state=0)
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    np.testing.assert_array_equal(found[0], found[2])
    assert not np.array_equal(found[0], found[1], equal_nan=True)


def test_warm_start_goes_on_from_the_fitted_weights():
    model = DNALanguageModel(**LANGUAGE, warm_start=True).fit(SEQUENCES)
    fitted = weights(model)
    model.set_params(max_steps=0).fit(SEQUENCES)
    assert same_weights(weights(model), fitted)
    with pytest.raises(ValueError, match="warm_start=True goes on from the fitted network"):
        model.set_params(context_orders=(1,)).fit(SEQUENCES)
    model.set_params(warm_start=False).fit(SEQUENCES)
    assert model.network_.config.orders == (1,)


def test_a_loaded_model_says_the_same(model, tmp_path):
    model.save(tmp_path / "a.titans")
    again = load(tmp_path / "a.titans")
    np.testing.assert_array_equal(again.score_samples(OTHERS), model.score_samples(OTHERS))
    np.testing.assert_array_equal(again.transform(OTHERS), model.transform(OTHERS))
    assert again.get_params() == model.get_params()
    (tmp_path / "a.titans").write_bytes((tmp_path / "a.titans").read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"a\.titans' .*damaged"):
        load(tmp_path / "a.titans")


def test_numbers_of_numpy_can_be_saved_too(tmp_path):
    model = DNALanguageModel(**{**LANGUAGE, "context_orders": np.arange(1, 4)}).fit(SEQUENCES)
    model.save(tmp_path / "a.titans")
    np.testing.assert_array_equal(load(tmp_path / "a.titans").score_samples(OTHERS), model.score_samples(OTHERS))


# --- P1: records read on, piece by piece, remembered by id, kept in files, forgotten -----------------------------------


RECORD = "".join(SEQUENCES[:5]) + "NN" + SEQUENCES[5]


@pytest.fixture
def memory(memories):
    return memories.forget()


@pytest.fixture(scope="module", params=["float32", "float64"])
def memories(request):
    return language_model(precision=request.param)


def assert_same_state(found, expected, tolerance):
    assert (found.n_seen, found.scored) == (expected.n_seen, expected.scored)
    close(found.total, expected.total, tolerance)
    for name, value in pack(expected.carry).items():
        scale = max(float(value.double().abs().max()), 1e-3)
        close(pack(found.carry)[name].double() / scale, value.double() / scale, tolerance)


@pytest.mark.parametrize("cuts", [[1], [40], [20, 21, 22, 90], [len(RECORD) - 1]], ids=str)
def test_read_in_pieces_is_as_read_at_once(cuts, memory):
    tolerance = 1e-5 if memory.precision == "float32" else 1e-10
    whole = memory.update([RECORD]).state_
    assert memory.n_seen_ == len(RECORD)
    memory.forget()
    for start, end in zip([0, *cuts], [*cuts, len(RECORD)], strict=True):
        memory.update([RECORD[start:end]])
        assert memory.n_seen_ == end
    assert_same_state(memory.state_, whole, tolerance)
    close(whole.mean, memory.score_samples([RECORD])[0], tolerance)
    assert memory.state_.nbytes == whole.nbytes


def test_a_state_does_not_grow(memory):
    sizes = [memory.update([RECORD[:30]]).state_.nbytes for _ in range(3)]
    assert sizes[0] == sizes[1] == sizes[2] > 0


def test_records_are_told_apart_by_id(memory, tmp_path):
    first = [SeqRecord(Seq("ACGTT"), id="a"), SeqRecord(Seq("GG"), id="b")]
    memory.update(first).update([SeqRecord(Seq("TTA"), id="b"), SeqRecord(Seq("C"), id="c")])
    assert memory.n_seen_ == {"a": 5, "b": 5, "c": 1}
    found = dict(memory.state_)
    memory.forget()
    path = tmp_path / "x.fa"
    path.write_text(">a\nACG\nTT\n>b\nGGTTA\n>c\nC\n")
    memory.update(path)
    for name, state in memory.state_.items():
        assert_same_state(found[name], state, 1e-5)


def test_a_file_is_read_as_its_records_are(memory, tmp_path):
    listed = dict(memory.update(OTHERS).states_)
    path = write_fasta(tmp_path / "x.fa", OTHERS)
    (tmp_path / "x.fa.gz").write_bytes(gzip.compress(path.read_bytes()))
    for each in (path, str(tmp_path / "x.fa.gz")):
        memory.forget().update(each)
        assert list(memory.n_seen_.values()) == [len(text) for text in OTHERS]
        for name, state in memory.states_.items():
            assert_same_state(state, listed[name], 1e-5)


def test_reading_on_changes_neither_weights_nor_what_is_said_of_others(memory):
    before = memory.score_samples(OTHERS)
    memory.update([RECORD])
    np.testing.assert_array_equal(memory.score_samples(OTHERS), before)


def test_a_loaded_model_goes_on_where_the_saved_one_was(memory, tmp_path):
    memory.update([SeqRecord(Seq(RECORD), id="a"), SeqRecord(Seq("ACG"), id="b")])
    memory.save(tmp_path / "a.titans")
    again = load(tmp_path / "a.titans")
    assert again.n_seen_ == memory.n_seen_
    more = [SeqRecord(Seq("TTGCA"), id="a")]
    assert_same_state(again.update(more).state_["a"], memory.update(more).state_["a"], 1e-12)


def test_forgetting_begins_anew_of_one_or_of_all(memory):
    memory.update(["ACGT", "GG", "T"])
    once = memory.state_["1"]
    assert memory.forget("1").n_seen_ == {"0": 4, "2": 1}
    assert memory.update(["A", "GG"]).n_seen_ == {"0": 5, "2": 1, "1": 2}
    assert_same_state(memory.state_["1"], once, 1e-12)
    with pytest.raises(ValueError, match="ids: nothing was read of 'x'; there are '0', '2', '1'"):
        memory.forget(["0", "x"])
    assert list(memory.states_) == ["0", "2", "1"], "none is forgotten then"
    assert memory.forget(["0", "2"]).n_seen_ == 2
    assert memory.forget().n_seen_ == 0
    assert memory.state_ is None


def test_fitting_again_forgets():
    memory = language_model(max_steps=1).update(["ACGT"])
    assert memory.fit(SEQUENCES).n_seen_ == 0


BROKEN = {
    "a letter that is none": (">0\nACGT\n>1\nAC-T\n", "record '1' of .*'-' at position 3"),
    "an id twice": (">0\nACGT\n>0\nACT\n", "two records of id '0'"),
    "a record without letters": (">0\nACGT\n>1\n", "record '1' of .* has no sequence"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_where_a_file_is_wrong_nothing_of_it_is_read(broken, memory, tmp_path):
    text, message = BROKEN[broken]
    memory.update(["GGG"])
    before = memory.state_
    (tmp_path / "x.fa").write_text(text)
    with pytest.raises(ValueError, match=message):
        memory.update(tmp_path / "x.fa")
    assert memory.n_seen_ == 3
    assert_same_state(memory.state_, before, 0)


def test_a_masked_model_neither_reads_on_nor_writes():
    memory = language_model(objective="masked", max_steps=1)
    for act in (lambda: memory.update(["ACGT"]), lambda: memory.sample()):
        with pytest.raises(ValueError, match="needs objective='causal': a masked model tells a base from both sides of it"):
            act()
