"""Rows in a file: what is written comes back, what is missing is run, one after another or several at a time."""

from dataclasses import dataclass
from typing import NamedTuple

import pytest

from titans_bench.rows import check_names, fill_in, markdown_table, read_rows, rows_of, write_rows


class Run(NamedTuple):
    model: str
    seed: int


@dataclass(frozen=True)
class Row:
    setting: str
    model: str
    seed: int
    score: float


KEPT = [Row("tiny", "a, with a comma", 0, 0.1), Row("other", "b", 1, 1e-7)]


@dataclass(frozen=True)
class Choice:
    seed: int | None
    horizon: int | str


def measured(run, *, verbose=0):
    return [Row("tiny", *run, 0.5), Row("tiny", *run, 0.25)]


def test_rows_come_back_as_they_were_and_foreign_files_are_refused(tmp_path):
    out = tmp_path / "rows.csv"
    assert read_rows(out, Row) == []
    write_rows(out, KEPT, Row)
    assert read_rows(out, Row) == KEPT
    assert out.read_text().splitlines()[:2] == ["setting,model,seed,score", 'tiny,"a, with a comma",0,0.1']
    either = [Choice(None, "average"), Choice(3, 96)]
    write_rows(out, either, Choice)
    assert read_rows(out, Choice) == either
    out.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="expected the columns setting, model, seed, score; name another file"):
        read_rows(out, Row)


def test_missing_runs_are_written_in_place_of_their_old_rows(tmp_path):
    out = tmp_path / "rows.csv"
    old, run = Row("tiny", "b", 1, 9.0), Run("b", 1)
    found = fill_in(out, [*KEPT, old], [run], measured, kind=Row, setting="tiny", jobs=1, verbose=0)
    assert found == [*KEPT, *measured(run)] == read_rows(out, Row)
    assert rows_of(found, "tiny", run) == measured(run)
    assert rows_of(found, "other", run) == KEPT[1:]


def test_no_job_is_refused_before_any_work(tmp_path):
    with pytest.raises(ValueError, match="jobs must be 1 or more, got 0"):
        fill_in(tmp_path / "rows.csv", [], [Run("b", 1)], measured, kind=Row, setting="tiny", jobs=0, verbose=0)
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_not_known_is_refused_with_the_choices():
    check_names(models=(["a", "b"], {"a": 1, "b": 2}))
    with pytest.raises(ValueError, match="models: 'c' is not known; choose from a; b, of two words"):
        check_names(data=([], ["x"]), models=(["a", "c"], ["a", "b, of two words"]))


def test_a_table_has_a_line_a_row():
    assert markdown_table(["set", "96"], [["mac", "0.5"], ["lmm", "-"]]).splitlines() == [
        "| set | 96 |",
        "|---|---|",
        "| mac | 0.5 |",
        "| lmm | - |",
    ]
