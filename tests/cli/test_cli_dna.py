"""The commands that read DNA, run as a user would: files in, files out, one clear line for a mistake."""

import numpy as np
import polars as pl
import pytest

from titans_ts import DNALanguageModel, load, make_dna_motifs
from titans_ts.cli import main

SEQUENCES, LABELS = make_dna_motifs(120, length=(30, 50), random_state=0)
GENOME = "".join(SEQUENCES[:40])


def fasta(path, sequences):
    path.write_text("".join(f">s{i}\n{one}\n" for i, one in enumerate(sequences)))
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Hold a table of labelled sequences, a FASTA file a class, a genome and its variants."""
    folder = tmp_path_factory.mktemp("dna")
    pl.DataFrame({"sequence": SEQUENCES, "label": LABELS}).write_csv(folder / "all.csv")
    for label in (0, 1):
        fasta(folder / f"{label}.fa", [one for one, its in zip(SEQUENCES, LABELS, strict=True) if its == label])
    (folder / "genome.fa").write_text(f">chr\n{GENOME}\n")
    wrong = "ACGT"[("ACGT".index(GENOME[99]) + 1) % 4]
    rows = [f"chr\t50\t.\t{GENOME[49]}\t{GENOME[49]}A", f"chr\t100\trs\t{wrong}\t{GENOME[99]}"]
    (folder / "few.vcf").write_text("##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\n" + "\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def classified(folder):
    """Fit on the table, classify it, keep the model."""
    words = f"classify {folder}/all.csv --train {folder}/all.csv --max-steps 1 --quiet --out {folder}/a.csv"
    assert main([*words.split(), "--save", str(folder / "c.titans")]) == 0
    return pl.read_csv(folder / "a.csv")


def test_classes_and_probabilities_are_written(classified):
    assert classified.columns == ["id", "label", "probability_0", "probability_1"]
    shares = classified[["probability_0", "probability_1"]].to_numpy()
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-9)
    assert (classified["label"].to_numpy() == shares.argmax(1)).all()
    assert len(classified) == len(SEQUENCES)


def test_a_saved_model_says_the_same_and_is_told_how_often_it_is_right(folder, classified, capsys):
    assert main(f"classify {folder}/all.csv --model {folder}/c.titans --out {folder}/b.csv".split()) == 0
    assert pl.read_csv(folder / "b.csv").equals(classified)
    said = (classified["label"].to_numpy() == LABELS).mean()
    assert f"accuracy {said:.4f}, MCC" in capsys.readouterr().out


def test_a_fasta_file_a_class_and_one_without_classes(folder, capsys):
    out = folder / "f.parquet"
    words = f"classify {folder}/1.fa --train no={folder}/0.fa yes={folder}/1.fa --dev no={folder}/0.fa yes={folder}/1.fa"
    assert main([*words.split(), "--max-steps", "1", "--quiet", "--out", str(out)]) == 0
    found = pl.read_parquet(out)
    assert found["id"].to_list() == [f"s{i}" for i in range(int((LABELS == 1).sum()))]
    assert set(found["label"]) <= {"no", "yes"}
    assert "accuracy" not in capsys.readouterr().out, "nothing is known about these"


def test_intervals_of_a_genome_are_classified_on_their_strand(folder, classified):
    (folder / "few.bed").write_text("chr\t0\t40\tfirst\t0\t+\nchr\t40\t90\tsecond\t0\t-\n")
    words = f"classify {folder}/genome.fa --bed {folder}/few.bed --model {folder}/c.titans --out {folder}/r.csv"
    assert main(words.split()) == 0
    turned = GENOME[40:90].translate(str.maketrans("ACGT", "TGCA"))[::-1]
    expected = load(folder / "c.titans").predict_proba([GENOME[:40], turned])[:, 1]
    found = pl.read_csv(folder / "r.csv")
    np.testing.assert_allclose(found["probability_1"], expected, atol=1e-6)


def test_records_are_scored_as_the_model_scores_them(folder):
    words = f"score {folder}/1.fa --train {folder}/genome.fa --max-steps 1 --quiet --out {folder}/s.csv"
    assert main([*words.split(), "--save", str(folder / "g.titans")]) == 0
    found, model = pl.read_csv(folder / "s.csv"), load(folder / "g.titans")
    assert isinstance(model, DNALanguageModel)
    ones = [one for one, its in zip(SEQUENCES, LABELS, strict=True) if its == 1]
    np.testing.assert_allclose(found["log_likelihood_per_base"], model.score_samples(ones), rtol=1e-5)
    np.testing.assert_allclose(found["bits_per_base"], -found["log_likelihood_per_base"] / np.log(2), rtol=1e-12)
    assert found["bases"].to_list() == [len(one) for one in ones]


def test_variants_are_scored_and_a_wrong_reference_is_told(folder, capsys):
    words = f"score {folder}/genome.fa --train {folder}/genome.fa --vcf {folder}/few.vcf --max-steps 1"
    assert main([*words.split(), "--out", str(folder / "v.csv")]) == 0
    found = pl.read_csv(folder / "v.csv")
    assert found["ref_match"].to_list() == [True, False]
    assert found["position_1based"].to_list() == [50, 100]
    assert found["log_likelihood_ratio"].is_finite().all()
    assert "1 of 2 variants have a REF that the reference does not hold" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("classify {0}/all.csv", "give --train FILE to fit a classifier, or --model FILE to use one"),
        ("classify {0}/all.csv --train {0}/none.csv", "none.csv"),
        ("classify {0}/all.csv --train {0}/0.fa", "has no labels; name the class of each"),
        ("classify {0}/all.csv --train {0}/all.csv --label-column kind", "has no column 'kind', but sequence, label"),
        ("classify {0}/all.csv --train {0}/all.csv {0}/all.csv", "give one file, or CLASS=FILE for each class"),
        ("classify {0}/all.csv --model {0}/g.titans", "holds a DNALanguageModel, not a DNAClassifier"),
        ("classify {0}/all.csv --model {0}/c.titans --out {0}/x.txt", "the name must end in one of"),
        ("score {0}/genome.fa", "give --train FASTA to fit a language model, or --model FILE to use one"),
        ("score {0}/none.fa --train {0}/genome.fa", "none.fa: no such file"),
        ("score {0}/genome.fa --model {0}/c.titans", "holds a DNAClassifier, not a DNALanguageModel"),
        ("score {0}/genome.fa --train {0}/genome.fa --vcf {0}/none.vcf", "none.vcf: no such file"),
    ],
)
def test_a_mistake_is_told_in_one_line_and_nothing_is_written(folder, classified, words, message, capsys):
    if "g.titans" in words and not (folder / "g.titans").exists():
        DNALanguageModel(context_orders=(1,), layers=0, max_steps=1, random_state=0).fit([GENOME]).save(folder / "g.titans")
    before = sorted(folder.iterdir())
    out = [] if "--out" in words else ["--out", str(folder / "never.csv")]
    assert main([*words.format(folder).split(), *out]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert sorted(folder.iterdir()) == before
