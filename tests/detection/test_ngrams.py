"""ngrams.py: counts of n-grams and the regression on them, by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from personagpt.detection.ngrams import Ngrams, count_ngrams


def test_counts_by_hand() -> None:
    counted = count_ngrams(["aa b", "b"])
    table = dict(zip(counted.names, counted.counts.toarray().T.tolist(), strict=True))
    assert table["char a"] == [2, 0]
    assert table["char \n"] == [2, 2]
    assert table["char \nb\n"] == [0, 1]
    assert table["char \naa "] == [1, 0]
    assert table["word b"] == [1, 1]
    assert table["word aa b"] == [1, 0]
    assert table["word \n b"] == [0, 1]
    assert max(len(name.removeprefix("char ")) for name in table if name.startswith("char ")) == 4
    again = count_ngrams(["b aa b", ""], ["char a", "char zz", "word b", "word zz"])
    assert again.names == ["char a", "char zz", "word b", "word zz"]
    assert again.counts.toarray().tolist() == [[2, 0, 2, 0], [0, 0, 0, 0]]
    assert count_ngrams(["b"], []).counts.shape == (1, 0)


def test_vectors_by_hand() -> None:
    """Counts 2 and 1 with idf 3 and 4: (1 + ln 2) 3 and 4, divided by their length."""
    counts = count_ngrams(["aab"], ["char a", "char b"]).counts
    ngrams = Ngrams(np.array([0, 1]), np.array([3.0, 4.0]), np.array([1.0, -1.0]), 0.5)
    first, second = 3 * (1 + math.log(2)), 4.0
    length = math.hypot(first, second)
    assert ngrams.vectors(counts).toarray()[0] == pytest.approx([first / length, second / length])
    assert ngrams.logits(counts) == pytest.approx([0.5 + (first - second) / length])


def test_ngrams_learn_and_come_back_from_json() -> None:
    texts = ["i ski !", "i swim !", "do you", "you do"] * 3
    counted = count_ngrams(texts)
    is_program = np.array([True, True, False, False] * 3)
    ngrams = Ngrams.fit(counted.counts, is_program, np.arange(12), 10.0)
    assert ((ngrams.logits(counted.counts) > 0) == is_program).all()
    again, names = Ngrams.of_plain(json.loads(json.dumps(ngrams.plain(counted.names))))
    others = ["i do !", "you swim", "", "\u732b"]
    expected = ngrams.logits(count_ngrams(others, counted.names).counts)
    assert again.logits(count_ngrams(others, names).counts) == pytest.approx(expected, abs=1e-4)


def test_an_ngram_of_one_utterance_does_not_count() -> None:
    counted = count_ngrams(["qa", "qb", "qa"])
    ngrams = Ngrams.fit(counted.counts, np.array([True, False, True]), np.arange(3), 1.0)
    names = {counted.names[column] for column in ngrams.columns}
    assert {"char q", "char a", "word qa"} <= names
    assert not {"char b", "word qb"} & names
    assert dict(zip([counted.names[c] for c in ngrams.columns], ngrams.idf, strict=True))["char a"] == pytest.approx(
        math.log(4 / 3) + 1
    )


def test_a_side_of_many_utterances_weighs_as_much_as_a_side_of_one() -> None:
    """One program says x nine times, another says y; x tells no more than y."""
    counts = count_ngrams(["x"] * 9 + ["y"] * 3 + ["z"] * 4).counts
    sides = np.array([0] * 9 + [1] * 3 + [2, 2, 3, 3])
    ngrams = Ngrams.fit(counts, np.arange(16) < 12, sides, 1.0)
    told = ngrams.logits(count_ngrams(["x", "y"], count_ngrams(["x"] * 9 + ["y"] * 3 + ["z"] * 4).names).counts)
    assert told[0] == pytest.approx(told[1], abs=0.15)
