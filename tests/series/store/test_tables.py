"""Whatever in a store is not what was written is seen: a row, a count, a time, a tensor, changed, swapped or lost."""

import random

import numpy as np
import pandas as pd
import pytest
from series.store.store_cases import asked, everything, listed_rows, made

from titans_ts import MemoryStore
from titans_ts.series.store.tables import key_of

SWAPPED = (
    "SET {0} = CASE place WHEN 1 THEN (SELECT {0} FROM {1} WHERE place = 2) ELSE (SELECT {0} FROM {1} WHERE place = 1) END"
)
AT_ONE = {  # what is damaged at series 0, or at 0 and 1, and what is whole beside it
    "a count": "UPDATE series SET n_seen = n_seen + 1 WHERE place = 1",
    "a count as text": "UPDATE series SET n_seen = 'thirty' WHERE place = 1",
    "a last time": "UPDATE series SET last_time = '[\"plain\", 28]' WHERE place = 1",
    "a sum": "UPDATE series SET sum = sum + 1 WHERE place = 1",
    "a tensor": "UPDATE waiting SET tensors = CAST(substr(tensors, 1, 99) || x'01' || substr(tensors, 101) AS BLOB) "
    "WHERE place = 1",
    "a text": "UPDATE waiting SET tensors = CAST(x'ff00' AS TEXT) WHERE place = 1",
    "a memory cut": "UPDATE memory SET tensors = substr(tensors, 1, 900) WHERE place = 1",
    "no blob": "UPDATE memory SET tensors = 7 WHERE place = 1",
    "a memory lost": "DELETE FROM memory WHERE place = 1",
    "rows lost": "DELETE FROM waiting WHERE place = 1",
    "memories swapped": f"UPDATE memory {SWAPPED.format('tensors', 'memory')} WHERE place < 3",
    "rows swapped": f"UPDATE waiting {SWAPPED.format('tensors', 'waiting')} WHERE place < 3",
    "counts swapped": "UPDATE series SET n_seen = n_seen + 3 - 2 * place WHERE place < 3",
}
AT_ALL = {
    "a series lost": "DELETE FROM series WHERE place = 1",
    "all lost": "DELETE FROM series LIMIT 1",
    "an id": "UPDATE series SET id = '[\"plain\", 7]' WHERE place = 1",
    "a series doubled": "INSERT INTO series SELECT 9, '9', 1, last_time, waiting_sum, memory_sum, sum FROM series LIMIT 1",
}
ABOUT = {
    "the number of series": "UPDATE about SET value = '2' WHERE name = 'series'",
    "the sum of sums": "UPDATE about SET value = value + 1 WHERE name = 'total'",
    "the model": "UPDATE about SET value = replace(value, 'a', 'b') WHERE name = 'model'",
    "a fact lost": "DELETE FROM about WHERE name = 'written'",
    "a fact more": "INSERT INTO about VALUES ('more', '1')",
    "a table more": "CREATE TABLE more (x)",
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON series BEGIN DELETE FROM series; END",
    "no index": "DROP INDEX ids",
}


@pytest.fixture(scope="module")
def listed():
    return made(listed_rows)


@pytest.fixture
def store(listed, tmp_path):
    with MemoryStore(tmp_path / "wells.memory", listed) as store:
        yield store.update(listed_rows(30))


@pytest.mark.parametrize("damage", AT_ONE)
def test_a_damaged_series_is_named_and_the_others_are_read(damage, store, listed):
    true = everything(store)
    asked(store.path, AT_ONE[damage])
    with pytest.raises(ValueError, match=r"wells.memory' is damaged at series 0: forget\(\) it and read its rows again"):
        store[0]
    for ask in (lambda: store.predict([2, 0]), lambda: store.update(listed_rows(5)), store.predict):
        with pytest.raises(ValueError, match=r"wells.memory' is damaged at series 0"):
            ask()
    with pytest.raises(ValueError, match=r"wells.memory' is damaged"):
        store.check()
    assert {2: everything_of(store, 2)} == {2: true[2]}
    store.forget([0, 1] if "swapped" in damage else 0)
    assert store.check().n_seen_ == ({2: 30} if "swapped" in damage else {1: 30, 2: 30})
    store.remember([]).update(listed_rows(5))
    assert store.check().n_seen_[0] == 5


def everything_of(store, name):
    state = store[name]
    return state.n_seen, state.last_time, {part: x.nan_to_num(7.0).numpy().tobytes() for part, x in state.tensors.items()}


@pytest.mark.parametrize("damage", AT_ALL)
def test_a_list_that_lacks_a_series_or_has_one_too_many_is_not_believed(damage, store, listed):
    store.close()
    asked(store.path, AT_ALL[damage])
    store = MemoryStore(store.path, listed)
    asks = {
        "all ids": lambda: list(store),
        "counts": lambda: store.n_seen_,
        "an id that is not there": lambda: "new" in store,
        "all forecasts": store.predict,
        "a series that begins": lambda: store.update(listed_rows(5, series=5)),
        "a check": store.check,
    }
    for ask in asks.values():
        with pytest.raises(ValueError, match=r"wells.memory' is damaged(:| at series)"):
            ask()
    assert store[1].n_seen == 30 or damage == "all lost"
    assert store.forget().update(listed_rows(5)).check().n_seen_ == dict.fromkeys(range(3), 5)


@pytest.mark.parametrize("damage", ABOUT)
def test_what_a_store_says_of_itself_is_held_against_its_sum(damage, store, listed):
    store.close()
    asked(store.path, ABOUT[damage])
    with pytest.raises(ValueError, match=r"wells.memory' is (damaged: what it says|an SQLite file, but no store)"):
        MemoryStore(store.path, listed)


def test_a_newer_store_is_refused(store, listed):
    asked(store.path, "UPDATE about SET value = '3' WHERE name = 'titans_ts'")
    store.close()
    with pytest.raises(ValueError, match=r"wells.memory' was written by a newer titans_ts; upgrade titans_ts"):
        MemoryStore(store.path, listed)


def test_whatever_bytes_are_damaged_nothing_else_is_answered_than_was_written(store, listed):
    true, counts = everything(store), store.n_seen_
    store.close()
    whole, chance, refused, answered = store.path.read_bytes(), random.Random(0), 0, 0
    for k in range(60):
        content = bytearray(whole)
        page, other = (4096 * chance.randrange(len(whole) // 4096) for _ in range(2))
        if k % 3 == 0:
            content[page : page + 4096], content[other : other + 4096] = (
                whole[other : other + 4096],
                whole[page : page + 4096],
            )
        elif k % 3 == 1:
            content[page + chance.randrange(40)] ^= 1 << chance.randrange(8)
        else:
            content[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        store.path.write_bytes(content)
        for ask, answer in ((everything, true), (lambda store: store.n_seen_, counts), (lambda store: 9 in store, False)):
            try:
                with MemoryStore(store.path, listed) as damaged:
                    assert ask(damaged) == answer
                    answered += 1
            except ValueError as error:
                refused += "wells.memory' is" in str(error)
    assert refused + answered == 180
    assert refused > 40, "the rest hit no page that an answer needs"


def test_a_forgotten_place_is_not_another_series(store):
    true = everything(store)
    store.forget(2).update(listed_rows(30, series=3)[:2] + listed_rows(30, series=4)[3:])
    assert everything_of(store, 1) != true[1], "it has read on"
    assert everything_of(store, 2) != true[2], "it began anew, with other rows"
    assert store.check().n_seen_ == {0: 60, 1: 60, 2: 30}
    with pytest.raises(ValueError, match="there is no series 5; there are 0, 1, 2"):
        store.forget([0, 5])
    assert len(store.forget([0, 0])) == 2


def test_ids_that_are_equal_are_one_id_and_others_are_not():
    assert key_of(1) == key_of(1.0) == key_of(np.int16(1)) == key_of(np.float32(1))
    assert key_of("a") == key_of(np.str_("a"))
    assert key_of(np.datetime64("2024-01-01", "D")) == key_of(np.datetime64("2024-01-01", "s"))
    assert key_of(0.0) == key_of(-0.0)
    assert key_of(("a", 1)) == key_of(("a", np.float64(1)))
    different = [
        1,
        "1",
        1.5,
        "1.0",
        True,
        None,
        "",
        "a",
        "A",
        "a ",
        "ä",
        np.datetime64("2024-01-01"),
        1 << 70,
        ("a", 1),
        ("a", "1"),
        ("a",),
    ]
    assert len({key_of(name) for name in different}) == len(different)
    for name in (float("nan"), ("a", float("nan")), (("a",), 1), pd.Timestamp("2024-01-01"), b"a"):
        with pytest.raises(TypeError, match="the series id .* use text"):
            key_of(name)


def test_what_no_store_holds_is_not_in_it(store):
    for name in (float("nan"), ("a", 1), b"a", [1]):
        assert name not in store
    with pytest.raises(KeyError, match=r"there is no series \('a', 1\)"):
        store["a", 1]


def test_a_series_begun_anew_is_known_and_has_no_last_row(store):
    store.remember(store[1].forget())
    assert store.n_seen_ == {0: 30, 1: 0, 2: 30}
    with pytest.raises(ValueError, match=r"nothing was read of 1; update\(\) with rows of them first"):
        store.predict()
    assert store.update(listed_rows(4)).check().n_seen_ == {0: 34, 1: 4, 2: 34}
