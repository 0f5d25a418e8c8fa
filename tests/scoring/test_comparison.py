"""The difference of two models, and its interval over dialogues."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import pytest

from personagpt.scoring.comparison import differences, interval, per_word
from personagpt.scoring.definitions import METRICS, share_of_different
from personagpt.scoring.entries import Entries, Metric, Places
from personagpt.scoring.metrics import teacher_forced
from personagpt.sequences.dataset import PersonaChatDataset, encode_corpus
from personagpt.sequences.format import Encoder
from personagpt.text.convai2 import parse_corpus

MEAN = Metric("loss", "")
EXPONENTIAL = Metric("perplexity", "", is_exponential=True)


def entries(dialogues: list[int], values: list[float], weights: list[float] | None = None) -> Entries:
    places = Places(np.array(dialogues), np.ones(len(dialogues), int))
    return Entries(places, np.array(values), np.array(weights or [1.0] * len(values)))


def test_two_dialogues_by_hand() -> None:
    """Of four equally likely draws one takes the first dialogue twice, one the second: the ends of the interval."""
    ours = entries([3, 3, 8], [2.0, 4.0, 3.0], [1, 1, 2])  # 6 / 2, 3 / 2
    theirs = entries([3, 3, 8], [2.0, 2.0, 9.0], [1, 1, 2])  # 4 / 2, 9 / 2
    assert interval(MEAN, ours, theirs, 0) == {"low": 4 / 2 - 6 / 2, "high": 9 / 2 - 3 / 2}
    found = interval(EXPONENTIAL, ours, theirs, 0)
    assert found == pytest.approx({"low": math.exp(2) - math.exp(3), "high": math.exp(4.5) - math.exp(1.5)})


def test_the_interval_is_the_normal_one_where_that_holds() -> None:
    random = np.random.RandomState(1)
    ours, gain = random.normal(0, 5, 400), random.normal(0.2, 1, 400)
    found = interval(MEAN, entries(range(400), ours), entries(range(400), ours + gain), 0)
    error = 1.96 * gain.std() / 20  # both models see the same draws: what they share is no noise
    assert found["low"] == pytest.approx(gain.mean() - error, abs=0.003)
    assert found["high"] == pytest.approx(gain.mean() + error, abs=0.003)


def test_dialogues_are_drawn_and_not_responses() -> None:
    """A hundred responses of one dialogue are one observation."""
    dialogues = [number for number in range(20) for _ in range(100)]
    random = np.random.RandomState(0)
    gain = random.normal(0, 1, 20)
    found = interval(MEAN, entries(dialogues, [0.0] * 2000), entries(dialogues, np.repeat(gain, 100)), 0)
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * gain.std() / math.sqrt(20), rel=0.1)


def test_the_same_seed_the_same_interval() -> None:
    ours, theirs = entries(range(30), np.arange(30.0)), entries(range(30), np.arange(30.0) ** 2)
    assert interval(MEAN, ours, theirs, 1) == interval(MEAN, ours, theirs, 1)
    assert interval(MEAN, ours, theirs, 1) != interval(MEAN, ours, theirs, 2)
    found = differences({"loss": ours}, {"loss": theirs}, True, 1)["loss"]
    assert found == {"difference": pytest.approx(8555 / 30 - 435 / 30)} | interval(MEAN, ours, theirs, 1)


def test_what_has_no_interval() -> None:
    one = entries([0, 0], [1.0, 2.0])
    assert interval(MEAN, one, one, 0) == {}
    grams = entries([0, 1], [0, 1])
    assert interval(Metric("distinct_1", "", of_counts=share_of_different), grams, grams, 0) == {}
    assert interval(MEAN, entries([0, 1], [1.0, 1.0]), entries([1, 2], [1.0, 1.0]), 0) == {}


def test_metrics_of_several_sums_by_hand() -> None:
    """BLEU-1 of two dialogues: 1 of 2 and 3 of 4 words; and of another model, 2 of 2 and 1 of 4."""

    def counts(hits: list[int]) -> Entries:
        rows = [[hit, 0, 0, 0, size, 0, 0, 0, size, size] for hit, size in zip(hits, (2, 4), strict=True)]
        return Entries.of_equals(Places(np.array([0, 1]), np.ones(2, int)), np.array(rows, float))

    metric = next(metric for metric in METRICS if metric.name == "bleu_1")
    ours, theirs = counts([1, 3]), counts([2, 1])
    assert differences({"bleu_1": ours}, {"bleu_1": theirs}, True, 0)["bleu_1"] == pytest.approx(
        {"difference": 3 / 6 - 4 / 6, "low": 1 / 4 - 3 / 4, "high": 2 / 2 - 1 / 2}
    )
    assert metric.figure(ours) == pytest.approx(4 / 6)


def test_a_difference_of_each_metric_that_compares() -> None:
    ours = {"loss": entries([0, 1], [1.0, 3.0]), "hits_at_1": entries([0, 1], [1.0, 0.0])}
    theirs = {"loss": entries([0, 1], [1.0, 2.0]), "word_f1": entries([0, 1], [1.0, 0.0])}
    assert differences(ours, theirs, True, 0) == {"loss": {"difference": -0.5, "low": -1.0, "high": 0.0}}
    assert differences(ours, theirs, False, 0) == {}
    assert {metric.name for metric in METRICS if metric.per_token} == {
        "loss", "perplexity", "turn_perplexity", "token_f1", "persona_gain", "order_spread",
    }  # fmt: skip


def test_loss_per_word_counts_words_and_ends(tiny_model, tokenizer) -> None:
    encoder = Encoder(tokenizer)
    corpus = parse_corpus(b"1 your persona: i ski .\n2 hello  there !\tfine\n", "t")
    dataset = PersonaChatDataset.from_tensors(encode_corpus(corpus, encoder, 20, 320, "t"), 320)
    loss = teacher_forced(tiny_model.eval(), dataset, encoder, contextlib.nullcontext())["loss"]
    found = per_word(loss, dataset, encoder)
    assert found.values is loss.values
    assert found.weights.tolist() == [2]  # the partner's side has no persona, so it is not made
