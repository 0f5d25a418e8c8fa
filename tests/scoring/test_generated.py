"""generated.py: every metric of replies worked by hand, and a slow independent computation."""

from __future__ import annotations

import math
import re
from collections import Counter

import numpy as np
import pytest

from personagpt.model.generation import ReplyRequest, fit_context, generate_replies
from personagpt.model.loading import load_model
from personagpt.scoring import generated
from personagpt.scoring.definitions import METRICS
from personagpt.scoring.entries import Entries, Places
from personagpt.scoring.generated import (
    Replies,
    bleu_counts,
    distinct,
    generated_metrics,
    greedy_replies,
    repeats,
    rouge_l,
    word_f1,
    words,
)
from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.sequences.format import Encoder
from personagpt.text.convai2 import read_corpus
from tests.scoring.helpers import CANDIDATES, PLAIN, dataset_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cat, an owl & A dog!", ["cat", "owl", "dog"]),
        ("don't", ["don", "t"]),
        ("well-known", ["well", "known"]),
        ("another theory amid", ["another", "theory", "amid"]),
        ("a.the.an", []),
        ("", []),
        ("Caffè 2 go", ["caffè", "2", "go"]),
    ],
)
def test_words(text, expected) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    ("generated", "true", "f1"),
    [
        ("i like the dogs .", "i like dogs", 1.0),
        ("i like cats", "i like dogs", 2 / 3),
        ("no no no", "no no yes", 2 / 3),  # as often as both have it: 2 of 3 and 3
        ("dogs", "i like dogs a lot", 2 / 5),  # 1 of 1 and 4
        ("yes", "no", 0.0),
        ("", "no", 0.0),
        ("the", "a", 0.0),
        ("我有两只猫。", "我有三只猫", 4 / 5),  # a letter of a script without spaces is a word
    ],
)
def test_word_f1(generated, true, f1) -> None:
    assert word_f1(generated, true) == pytest.approx(f1)


def test_distinct() -> None:
    replies = ["I like dogs.", "the dogs like dogs", ""]  # i like dogs | dogs like dogs
    assert distinct(replies, 1) == pytest.approx(3 / 6)
    assert distinct(replies, 2) == pytest.approx(3 / 4)  # i-like, like-dogs, dogs-like, like-dogs: none across replies
    assert distinct(["one", "two"], 2) == 0.0
    assert distinct([], 1) == 0.0
    assert distinct(["我有猫。", "我有狗。"], 1) == pytest.approx(4 / 6)
    assert distinct((reply for reply in replies), 1) == pytest.approx(3 / 6)


@pytest.mark.parametrize(
    ("reply", "earlier", "repeated"),
    [
        ("well , I like the red dogs !", ["i like red dogs a lot"], True),  # words as ConvAI2 compares them
        ("i like red cats", ["i like red dogs"], False),  # three words in a row
        ("i like red dogs", ["i like", "red dogs"], False),  # not across utterances
        ("i like red dogs", ["hello", "so i like red dogs"], True),
        ("i do and i do and i do", [], False),  # what it says twice itself is no earlier utterance
        ("i like dogs", ["i like dogs"], False),  # too short to tell
        ("", [""], False),
        ("我有两只猫", ["你好！我有两只狗。"], True),
    ],
)
def test_repeats(reply, earlier, repeated) -> None:
    assert repeats(reply, earlier) is repeated


def test_repeats_of_other_lengths() -> None:
    assert repeats("i like dogs", ["i like cats"], 2)
    assert not repeats("i like dogs", ["i like cats"], 3)


@pytest.mark.parametrize(
    ("reply", "true", "f1"),
    [
        ("the cat sat", "The cat sat.", 1.0),
        ("the cat sat on a mat", "a cat on the mat", 2 * 3 / (6 + 5)),  # cat on mat
        ("a b c d", "d c b a", 2 * 1 / 8),  # in another order, only one of them
        ("a b a b", "b a", 2 * 2 / 6),
        ("", "a", 0.0),
        ("yes", "no", 0.0),
        ("我有两只猫。", "我有三只猫", 4 / 5),  # a letter of a script without spaces is a word
    ],
)
def test_rouge_l(reply, true, f1) -> None:
    assert rouge_l(reply, true) == pytest.approx(f1)


def replies_of(pairs: list[tuple[str, str]]) -> Replies:
    count = len(pairs)
    places = Places(np.arange(count), np.ones(count, int))
    return Replies(places, [ours for ours, _ in pairs], [true for _, true in pairs], [[]] * count, [[]] * count)


def test_bleu_by_hand() -> None:
    """Words 4 + 2 of 5 + 2, pairs 3 + 1 of 4 + 1, threes 2 + 0 of 3 + 0, fours 1 + 0 of 2 + 0; true words 5 + 4."""
    pairs = [("I like the red dogs!", "i like the red cats ."), ("like cats", "and i like cats")]
    assert bleu_counts(pairs).tolist() == [[4, 3, 2, 1, 5, 4, 3, 2, 5, 5], [2, 1, 0, 0, 2, 1, 0, 0, 2, 4]]
    brevity = math.exp(1 - 9 / 7)
    precisions = [6 / 7, 4 / 5, 2 / 3, 1 / 2]
    found = generated_metrics(replies_of(pairs))
    for order in (1, 2, 3, 4):
        expected = brevity * math.prod(precisions[:order]) ** (1 / order)
        assert figure(f"bleu_{order}", found[f"bleu_{order}"]) == pytest.approx(expected)
    assert bleu_counts([("我有猫", "我有狗")])[0].tolist() == [2, 1, 0, 0, 3, 2, 1, 0, 3, 3]


def test_bleu_is_sacrebleu_s_of_the_whole_corpus(sample) -> None:
    from sacrebleu.metrics import BLEU

    said = [
        text for talk in read_corpus(sample / "valid_both_original_no_cands.txt").dialogues for text in talk.utterances
    ]
    for pairs in (list(zip(said, said[2:], strict=False))[:150], [("i ski", "he reads")], [("", "hello")]):
        found = generated_metrics(replies_of(pairs))
        texts = [[" ".join(generated.split_words(text)) for text in side] for side in zip(*pairs, strict=True)]
        for order in (1, 2, 3, 4):
            whole = BLEU(tokenize="none", max_ngram_order=order).corpus_score(texts[0], [texts[1]])
            assert figure(f"bleu_{order}", found[f"bleu_{order}"]) == pytest.approx(whole.score / 100)


def test_entropy_by_hand() -> None:
    """Four words in a row: `i like the dogs` twice, `like the dogs too` and `he has two cats` once."""
    pairs = [("i like the dogs too", ""), ("I like the dogs.", ""), ("he has two cats", ""), ("yes", "")]
    found = generated_metrics(replies_of(pairs))["entropy_4"]
    assert found.places.dialogues.tolist() == [0, 0, 1, 2]
    assert figure("entropy_4", found) == pytest.approx(-(0.5 * math.log(0.5) + 2 * 0.25 * math.log(0.25)))
    assert figure("entropy_4", generated_metrics(replies_of([("yes", "")]))["entropy_4"]) == 0


def test_facts_and_earlier_utterances_of_each_reply(tiny_model, encoder) -> None:
    replies = greedy_replies(tiny_model, dataset_of(CANDIDATES.encode(), encoder), encoder, PLAIN, 5)
    nurse = ["i have two dogs.", "i work as a nurse."]
    assert replies.facts == [["i like rap music ."]] * 2 + [nurse] * 2 + [["i am old."]]
    assert replies.earlier == [[], ["hi ! how are you ?"], [], ["great . just walking my dogs ."], []]
    assert len(replies.generated) == len(replies.human) == 5


def test_word_metrics_against_the_slow_way(sample) -> None:
    dialogues = read_corpus(sample / "valid_both_original_no_cands.txt").dialogues
    said = [text for dialogue in dialogues for text in dialogue.utterances][:200]

    def slow_words(text: str) -> list[str]:
        return re.sub(r"\b(a|an|the)\b", " ", re.sub(r"[^\w\s]|_", " ", text.lower())).split()

    for one, two in zip(said, said[7:], strict=False):
        a, b = slow_words(one), slow_words(two)
        hits = sum(min(a.count(word), b.count(word)) for word in set(a))
        precision, recall = hits / max(1, len(a)), hits / max(1, len(b))
        slow = 2 * precision * recall / (precision + recall) if hits else 0.0
        assert word_f1(one, two) == pytest.approx(slow)
        assert word_f1(one, one) == (1.0 if a else 0.0)
    for n in (1, 2, 3):
        grams: Counter = Counter()
        for text in said:
            listed = slow_words(text)
            grams.update(zip(*(listed[i:] for i in range(n)), strict=False))
        assert distinct(said, n) == pytest.approx(len(grams) / grams.total())


def metrics_of(model, dataset: PersonaChatDataset, encoder: Encoder, count: int) -> dict[str, Entries]:
    return generated_metrics(greedy_replies(model, dataset, encoder, PLAIN, count))


def figure(name: str, entries: Entries) -> float:
    return next(metric for metric in METRICS if metric.name == name).figure(entries)


def test_generated_metrics_equal_one_reply_at_a_time(tiny_model, encoder) -> None:
    dataset = dataset_of(CANDIDATES.encode(), encoder, 320)
    pairs = []  # reply, human
    for index in range(len(dataset)):
        tokens, spans = dataset.sequence(index)
        for start, end in spans:
            reply = generate_replies(tiny_model, encoder, [ReplyRequest(tokens[:start].tolist())], PLAIN)[0]
            pairs.append((reply, encoder.decode_reply(tokens[start:end].tolist())))
    assert [human for _, human in pairs[:2]] == ["hi ! how are you ?", "nice ! what do you do ?"]
    pairs = pairs[:5]
    found = metrics_of(tiny_model, dataset, encoder, 5)
    assert found["word_f1"].values.tolist() == pytest.approx([word_f1(*pair) for pair in pairs])
    assert found["word_f1"].places.turns.tolist() == [1, 3, 2, 4, 1]
    for n in (1, 2):
        name = f"distinct_{n}"
        assert figure(name, found[name]) == distinct([reply for reply, _ in pairs], n)
        first = found[name].places.turns == 1
        assert figure(name, found[name][first]) == distinct([pairs[0][0], pairs[4][0]], n)
    assert len(metrics_of(tiny_model, dataset, encoder, 1000)["word_f1"]) == 7


@pytest.mark.parametrize(
    ("first", "repeated"),
    [("hello !", [0, 0, 0, 0, 0, 1, 0]), ("hi ! how are you ?", [0, 1, 0, 0, 0, 0, 0])],
)
def test_a_reply_repeats_its_own_speaker_only(
    tiny_model, encoder, monkeypatch, first: str, repeated: list[int]
) -> None:
    """Always the same reply: in one dialogue the first speaker said it before, in its first utterance."""
    text = CANDIDATES.replace(first, "so i am called tom now")
    monkeypatch.setattr(
        generated, "generate_replies", lambda model, encoder, requests, *others: ["i am called tom"] * len(requests)
    )
    found = metrics_of(tiny_model, dataset_of(text.encode(), encoder, 320), encoder, 100)["repeat_rate"]
    assert found.places.turns.tolist() == [1, 3, 2, 4, 1, 3, 2]
    assert found.values.tolist() == repeated


def test_generated_metrics_of_talks_that_fill_the_context(base, tokenizer, encoder) -> None:
    model = load_model(str(base), len(tokenizer))
    model.config.n_positions = 80  # room for 40 tokens before a reply
    dataset = dataset_of(CANDIDATES.encode(), encoder, 80)
    assert metrics_of(model, dataset, encoder, 100)["word_f1"].places.turns.tolist() == [
        1,
        3,
        2,
        4,
        1,
        3,
        2,
    ]


def test_a_reply_s_context_is_cut_by_no_more_than_the_reply_needs(tiny_model, encoder, monkeypatch) -> None:
    dataset = dataset_of(CANDIDATES.encode(), encoder, 320)
    sequences = [dataset.sequence(index) for index in range(len(dataset))]
    whole = [tokens[:start].tolist() for tokens, spans in sequences for start, _ in spans]
    longest = max(map(len, whole))
    asked: list[list[int]] = []

    def listen(model: object, encoder: Encoder, requests: list[ReplyRequest], *rest: object) -> list[str]:
        asked.extend(request.context for request in requests)
        return [""] * len(requests)

    monkeypatch.setattr(generated, "generate_replies", listen)
    for room in (longest, longest - 1):
        asked.clear()
        tiny_model.config.n_positions = room + 40
        metrics_of(tiny_model, dataset, encoder, 100)
        assert sorted(asked) == sorted(fit_context(ids, encoder, room) for ids in whole)
        assert (sorted(asked) == sorted(whole)) == (room == longest)
