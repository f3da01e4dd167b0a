"""Counts after contexts: against a dictionary of strings, on both strands; what they say is a probability."""

from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from dna.cases import random_codes, recurring_codes
from memory.cases import shaken
from tolerances import assert_agree

from titans_ts.dna import contexts
from titans_ts.dna.bases import decode, encode, reverse_complement
from titans_ts.dna.contexts import ContextPath, leave_out

ORDERS = (1, 2, 3, 8, 9, 14, 15, 24)
RECORDS = [
    recurring_codes(400, noise=0.02),
    np.concatenate([recurring_codes(60, seed=1), np.full(5, 4, np.uint8), recurring_codes(60)]),
    random_codes(30, seed=4, uncertain=0.1),
    encode("A"),
]


def in_dictionaries(records, order):
    """Return how often each base followed each context, on both strands, by slices of strings."""
    found = defaultdict(Counter)
    for record in records:
        for text in (decode(record), decode(reverse_complement(record))):
            for i in range(len(text) - order):
                if "N" not in text[i : i + order + 1]:
                    found[text[i : i + order]][text[i + order]] += 1
    return found


def asked(records, queries, orders):
    """Return what :meth:`ContextPath.counts` should say of some sequences."""
    known = [in_dictionaries(records, order) for order in orders]
    found = np.zeros((len(queries), len(queries[0]), len(orders), 4))
    for row, query in zip(found, map(decode, queries), strict=True):
        for i in range(len(query)):
            for j, order in enumerate(orders):
                if i + 1 >= order:
                    row[i, j] = [known[j][query[i + 1 - order : i + 1]][base] for base in "ACGT"]
    return torch.from_numpy(found)


def learned(records=RECORDS, orders=ORDERS):
    path = ContextPath(orders).double()
    path.learn(records)
    return path


def as_rows(queries):
    return torch.from_numpy(np.stack(queries))


def test_counts_are_those_of_a_dictionary_of_strings_on_both_strands():
    path = learned()
    queries = [recurring_codes(120, seed=0), random_codes(120, seed=9, uncertain=0.05), recurring_codes(120, seed=1)]
    expected = asked(RECORDS, queries, ORDERS)
    assert (expected.sum((0, 1, 3)) > 0).all(), "every order was seen"
    assert torch.equal(path.counts(as_rows(queries)), expected)


def test_a_strand_and_its_reverse_complement_are_counted_alike():
    query = as_rows([RECORDS[0][:100]])
    turned = learned([reverse_complement(one) for one in RECORDS])
    assert torch.equal(learned().counts(query), turned.counts(query))


def test_a_context_with_no_base_was_never_seen():
    path = learned(orders=(1, 3))
    for unknown in (4, 5):  # N, and the token before the first base
        codes = as_rows([RECORDS[0][:20]]).clone()
        codes[0, 10] = unknown
        counts = path.counts(codes)
        assert not counts[0, 10].any()
        assert not counts[0, 10:13, 1].any()
        assert counts[0, 13, 1].any()
        assert counts[0, 11, 0].any()


def test_learning_again_replaces_what_was_counted():
    path = learned([random_codes(200, seed=7)], orders=(1, 4))
    path.learn(RECORDS)
    query = as_rows([RECORDS[0][:50]])
    assert torch.equal(path.counts(query), learned(orders=(1, 4)).counts(query))


def test_records_shorter_than_a_context_leave_it_empty():
    path = learned([encode("AC"), encode("N")], orders=(1, 2, 9))
    counts = path.counts(torch.tensor([[0, 1]]))
    assert counts[0, 0].tolist() == [[0, 1, 0, 0], [0] * 4, [0] * 4]
    assert not counts[0, 1].any()


def test_many_occurrences_are_counted_exactly_in_short_contexts_and_up_to_a_bound_in_long_ones():
    path = learned([np.zeros(40_000, np.uint8)], orders=(2, 9))
    assert path.counts(torch.zeros(1, 9, dtype=torch.uint8))[0, -1, :, 0].tolist() == [39_998, 2**15 - 1]


def test_where_there_are_too_many_words_those_seen_once_go(monkeypatch):
    twice, once = encode("ACGGTAC"), encode("TTTTCAT")
    whole = learned([twice, twice, once], orders=(3,))
    monkeypatch.setattr(contexts, "MOST_WORDS", 8)
    pruned = learned([twice, twice, once], orders=(3,))
    queries = as_rows([twice, once])
    expected = whole.counts(queries)
    assert (expected == 1).any()
    assert torch.equal(pruned.counts(queries), expected.masked_fill(expected == 1, 0))


def test_tables_come_back_and_are_no_part_of_the_weights():
    path = learned()
    again = ContextPath(ORDERS).double()
    query = as_rows([RECORDS[0][:80]])
    assert not again.counts(query).any()
    again.load_state_dict(path.state_dict())
    assert not again.counts(query).any()
    again.set_tables(path.tables())
    assert torch.equal(again.counts(query), path.counts(query))
    assert sorted(path.tables()) == sorted(f"{kind}{order}" for order in ORDERS for kind in ("seen", "words"))


# --- what counts say ------------------------------------------------------------------------------------------------


def test_opinions_are_log_probabilities_over_that_of_a_guess():
    path = shaken(learned(orders=(1, 2, 9)))
    counts = path.counts(as_rows([RECORDS[0][:60]]))
    opinions, loudness = path(counts)
    assert_agree(opinions.exp().sum(-1) / 4, torch.ones(1, 60, 3, dtype=torch.float64))
    prior = path.log_prior.exp()[:, None]
    shares = (counts + prior) / (counts + prior).sum(-1, keepdim=True)
    assert_agree(opinions, (4 * shares).log())
    assert (loudness > 0).all()


def test_an_unknown_context_says_nothing():
    path = shaken(learned(orders=(1, 9)))
    opinions, _ = path(path.counts(torch.tensor([[4, 4, 4]])))
    assert torch.equal(opinions, torch.zeros(1, 3, 2, 4, dtype=torch.float64))


def test_how_loud_it_is_depends_on_how_often_contexts_were_seen():
    path = shaken(learned(orders=(1, 2)))
    counts = torch.tensor([[[[4.0, 2, 1, 1], [2, 0, 0, 0]]]]).double()
    assert not torch.allclose(path(counts)[1], path(50 * counts)[1])


def left_out(counts, text, target, orders):
    """Return what is left of counts after a text where a base is asked."""
    before = torch.from_numpy(encode(text)[None])
    return leave_out(torch.tensor(counts).float()[None, None], before, torch.from_numpy(encode(target)[None]), orders)[0, 0]


def test_the_base_that_is_asked_is_left_out_of_every_order():
    counts = [[5, 0, 2, 1], [1, 0, 0, 0]]
    assert left_out(counts, "CCC", "A", (1, 2)).tolist() == [[4, 0, 2, 1], [0, 0, 0, 0]]
    assert left_out(counts, "CCA", "G", (1, 2)).tolist() == [[5, 0, 1, 1], [1, 0, 0, 0]], "and nothing below none"


def test_a_word_that_is_its_own_reverse_complement_was_counted_twice_and_leaves_twice():
    assert left_out([[0, 0, 5, 0]] * 3, "AACC", "G", (1, 2, 3))[:, 2].tolist() == [3, 4, 4]  # CG; CCG and ACCG are not
    assert left_out([[0, 0, 0, 5]] * 3, "CACG", "T", (1, 2, 3))[:, 3].tolist() == [4, 4, 3]  # ACGT


def test_where_n_is_asked_nothing_is_left_out():
    assert left_out([[5, 0, 2, 1]], "CCA", "N", (1,)).tolist() == [[5, 0, 2, 1]]


@pytest.mark.parametrize("orders", [(), (3,)])
def test_without_counts_nothing_is_seen(orders):
    path = ContextPath(orders)
    assert path.counts(torch.tensor([[0, 1]])).tolist() == [[[[0.0] * 4] * len(orders)] * 2]
