"""Every metric: a case worked by hand, and a slow independent computation on the sample's dialogues."""

from __future__ import annotations

import math
import re
from collections import Counter

import numpy as np
import pytest
import torch

from personagpt.model.generation import ReplyRequest, fit_context, generate_replies
from personagpt.model.loading import load_model
from personagpt.scoring import metrics
from personagpt.scoring.entries import Entries, Places
from personagpt.scoring.metrics import (
    ResponseScores,
    by_length,
    distinct,
    exchange_personas,
    figures,
    figures_by_turn,
    generated_metrics,
    repeats,
    response_places,
    score,
    teacher_forced,
    teacher_forced_metrics,
    token_f1,
    word_f1,
    words,
)
from personagpt.sequences.batches import Batch
from personagpt.sequences.dataset import PersonaChatDataset, encode_corpus
from personagpt.sequences.format import Encoder
from personagpt.text.convai2 import Corpus, Dialogue, read_corpus
from tests.scoring.helpers import CANDIDATES, PLAIN, dataset_of

EOS = 0


def scores(nll: list[float], predicted: list[int] = (), tokens: list[int] = ()) -> ResponseScores:
    return ResponseScores(np.array(nll, np.float32), np.array(predicted, int), np.array(tokens, int))


# Worked by hand


@pytest.mark.parametrize(
    ("predicted", "tokens", "f1"),
    [
        ([5, 6, EOS], [5, 6, EOS], 1.0),
        ([5, 5, EOS], [5, 6, EOS], 2 / 3),  # {5} and {5, 6}
        ([6, 5, 7, EOS], [5, 6, 8, EOS], 4 / 6),  # order and position do not matter
        ([5, 5, 5, EOS], [5, 5, 6, EOS], 2 / 3),  # nor does how often
        ([7, 8, EOS], [5, 6, EOS], 0.0),
        ([EOS, EOS, EOS], [5, 6, EOS], 0.0),  # eos is left out of both
        ([EOS, 6, 5], [5, 6, EOS], 1.0),
        ([EOS], [EOS], 0.0),
    ],
)
def test_token_f1(predicted, tokens, f1) -> None:
    assert token_f1(scores([0.0] * len(tokens), predicted, tokens), EOS) == pytest.approx(f1)


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


PLACES = Places(np.array([0, 0, 1, 1]), np.array([1, 3, 1, 2]))


def test_figures_say_of_how_many_they_are() -> None:
    def hits(count: int, hits: int) -> Entries:
        return Entries.of_equals(PLACES[:count], np.arange(count) < hits)

    loss = Entries(PLACES, np.array([2.0, 4.0, 4.0, 2.0]), np.array([2, 2, 1, 1]))
    assert figures({"loss": loss}) == {"loss": 2.0, "responses": 4, "response_tokens": 6}
    assert figures({"loss": loss, "word_f1": hits(2, 1), "goal_hit": hits(1, 1), "persona_at_1": hits(3, 0)}) == {
        "loss": 2.0, "word_f1": 0.5, "goal_hit": 1.0, "persona_at_1": 0.0,
        "responses": 4, "response_tokens": 6, "generated": 2, "goal_replies": 1, "identified": 3,
    }  # fmt: skip


def test_batches_by_length(monkeypatch) -> None:
    monkeypatch.setattr("personagpt.scoring.metrics.TOKENS_PER_BATCH", {"cpu": 10})
    sequences = [(np.zeros(length), np.empty((0, 2))) for length in (3, 12, 5, 5, 2)]
    assert list(by_length(sequences, "cpu")) == [[1], [2, 3], [0, 4]]
    assert list(by_length([], "cpu")) == []


def test_figures_by_turn() -> None:
    loss = Entries(PLACES, np.array([2.0, 4.0, 4.0, 2.0]), np.array([2, 2, 1, 1]))
    said = PLACES.turns == 1
    replied = Entries.of_equals(PLACES[said], np.array([1.0, 0.0]))
    sides = Entries.of_equals(Places(np.array([0, 1]), np.array([0, 0])), np.ones(2))
    assert figures_by_turn({"loss": loss, "repeat_rate": replied, "persona_at_1": sides}) == [
        {"turn": 1, "responses": 2, "loss": 2.0, "repeat_rate": 0.5},
        {"turn": 2, "responses": 1, "loss": 2.0},
        {"turn": 3, "responses": 1, "loss": 2.0},
    ]


@pytest.fixture(scope="module")
def encoder(tokenizer) -> Encoder:
    return Encoder(tokenizer)


@pytest.fixture
def dataset(encoder, tmp_path):  # noqa: ANN201
    def make(dialogues: list[Dialogue], context: int = 320, sides: list | None = None) -> PersonaChatDataset:
        corpus = Corpus(dialogues, sides or [(0, 1)] * len(dialogues), [])
        vocabulary = str(len(encoder.tokenizer))
        encode_corpus(corpus, encoder, 20, context, "t").save(
            tmp_path / "t", {"vocabulary": vocabulary, "context": str(context)}
        )
        return PersonaChatDataset(tmp_path / "t")

    return make


def exchanged(data: PersonaChatDataset, encoder: Encoder, limit: int) -> list[tuple] | None:
    """Each exchanged sequence as (speaker, facts, utterances, responses, dropped)."""
    all_sequences = [data.sequence(i) for i in range(len(data))]
    result = exchange_personas(all_sequences, data.tensors.dialogues, encoder, limit)
    if result is None:
        return None
    shown = []
    for (tokens, spans), dropped in result:
        responses = [encoder.decode_reply(tokens[start:end].tolist()) for start, end in spans]
        assert all(tokens[end - 1] == encoder.eos for _, end in spans)
        assert len(tokens) <= limit
        shown.append((*encoder.decode(tokens.tolist()), responses, dropped))
    return shown


@pytest.mark.filterwarnings("error")
def test_a_response_without_a_token(dataset, encoder, tiny_model) -> None:
    """A tokenizer may know nothing of an invisible letter: only the <eos> is left."""
    talk = Dialogue((["i ski ."], ["i read ."]), ["", "hi !", "\u200b and you ?", ""], 1)
    other = Dialogue((["i sing ."], ["i cook ."]), ["", ""], 9)
    found = teacher_forced(tiny_model, dataset([talk, other]), encoder, PLAIN)
    assert found["turn_perplexity"].places.turns.tolist() == [3, 2]  # of the first speaker, of the other
    assert all(math.isfinite(figure) for figure in figures(found).values())
    assert "turn_perplexity" not in figures(teacher_forced(tiny_model, dataset([other]), encoder, PLAIN))


def test_personas_go_to_the_previous_dialogue(dataset, encoder) -> None:
    data = dataset(
        [
            Dialogue((["a first"], ["a other"]), ["one", "two", "three", "four"]),
            Dialogue((["b first", "b more"], []), ["five", "six"]),
            Dialogue((["c first"], ["c other"]), ["seven"]),
        ]
    )
    assert exchanged(data, encoder, 320) == [
        (0, ["b first", "b more"], ["one", "two", "three"], ["one", "three"], 0),
        (1, [], ["one", "two", "three", "four"], ["two", "four"], 0),
        (0, ["c first"], ["five"], ["five"], 0),
        # The third dialogue has no other side: the last one takes the first's.
        (1, ["a other"], ["five", "six"], ["six"], 0),
        (0, ["a first"], ["seven"], ["seven"], 0),
    ]


def test_nobody_to_exchange_with(dataset, encoder, tiny_model) -> None:
    data = dataset([Dialogue((["a"], ["b"]), ["one", "two"])])
    assert exchanged(data, encoder, 320) is None
    assert "persona_gain" not in teacher_forced_metrics(tiny_model, data, encoder, PLAIN)


def size(encoder: Encoder, *texts: str) -> int:
    """Tokens of the texts, each with its eos."""
    return sum(len(ids) + 1 for ids in encoder.texts(list(texts)))


def test_the_oldest_utterances_go_where_a_longer_persona_does_not_fit(dataset, encoder) -> None:
    short, long = "i ski", "i ski and i swim and i sing"
    talk = ["hello there", "good day", "how are you", "fine", "good bye now"]
    data = dataset([Dialogue(([short], [short]), talk), Dialogue(([long], [short]), ["hi", "ho"])])
    fits = 3 + size(encoder, long, *talk)
    assert exchanged(data, encoder, fits)[0] == (0, [long], talk, [talk[0], talk[2], talk[4]], 0)
    assert exchanged(data, encoder, fits - 1)[0] == (0, [long], talk[1:], [talk[2], talk[4]], 1)
    fits = 3 + size(encoder, long, *talk[2:])
    assert exchanged(data, encoder, fits)[0] == (0, [long], talk[2:], [talk[2], talk[4]], 1)
    assert exchanged(data, encoder, fits - 1)[0] == (0, [long], talk[3:], [talk[4]], 2)


def test_turns_of_a_side_that_was_cut_go_on(dataset, encoder) -> None:
    """The first side needs three sequences, the second one two."""
    talk = ["hello there", "good day", "how are you", "fine", "good bye now"]
    data = dataset([Dialogue((["i ski"], ["i ski"]), talk), Dialogue((["i ski"], []), ["hi", "ho"])], 16)
    sequences = [data.sequence(i) for i in range(len(data))]
    places = response_places(sequences, data.tensors.dialogues, encoder)
    assert places.dialogues.tolist() == [0, 0, 0, 0, 0, 1, 1]
    assert places.turns.tolist() == [1, 3, 5, 2, 4, 1, 2]
    assert data.tensors.dialogues.tolist().count(0) > 2
    said = [encoder.decode_reply(tokens[start:end].tolist()) for tokens, spans in sequences for start, end in spans]
    assert said == [talk[0], talk[2], talk[4], talk[1], talk[3], "hi", "ho"]


def test_persona_gain_compares_what_fits_under_both(dataset, encoder, sharp_model) -> None:
    """Under the next dialogue's long persona the first utterances of the talk do not fit."""
    short, long = "i ski", "i ski and i swim and i sing"
    talk = ["hello there", "good day", "how are you", "fine", "good bye now"]
    context = 3 + size(encoder, long, *talk[1:])
    data = dataset([Dialogue(([short], [short]), talk), Dialogue(([long], [short]), ["hi", "ho"])], context)
    entries = teacher_forced(sharp_model, data, encoder, PLAIN)
    gain = entries["persona_gain"]
    assert gain.places.turns.tolist() == [3, 5, 2, 4, 1, 2]
    assert gain.places.dialogues.tolist() == [0, 0, 0, 0, 1, 1]
    cases = [(long, 0, 2), (long, 0, 4), (short, 1, 1), (short, 1, 3)]  # the other persona, speaker, utterance
    for index, (fact, speaker, turn) in enumerate(cases):
        history = talk[1:turn] if speaker == 0 else talk[:turn]
        other = slow_score(sharp_model, encoder.tokenizer, speaker, [fact], history, talk[turn])[0]
        own = slow_score(sharp_model, encoder.tokenizer, speaker, [short], talk[:turn], talk[turn])[0]
        assert gain.values[index] == pytest.approx(other.sum() - own.sum(), abs=1e-4)
        assert gain.weights[index] == len(own)
    loss = entries["loss"]
    assert loss.values.dtype == entries["turn_perplexity"].values.dtype == np.float64  # in which they were summed


def test_a_response_that_cannot_follow_the_other_persona_is_not_compared(dataset, encoder, tiny_model) -> None:
    short, long = "i ski", "i ski and i swim and i sing and i dance"
    response = "hello there my dear friend how are you doing today"
    context = max(3 + size(encoder, short, response), 3 + size(encoder, long, "hi"))
    data = dataset([Dialogue(([short], [short]), [response]), Dialogue(([long], [short]), ["hi"])], context)
    assert 3 + size(encoder, long, response) > context
    limited = exchanged(data, encoder, context)
    assert limited[0][3:] == ([], 1)
    assert limited[1] == (0, [short], ["hi"], ["hi"], 0)
    metrics = teacher_forced_metrics(tiny_model, data, encoder, PLAIN)
    assert metrics["responses"] == 2
    assert math.isfinite(metrics["persona_gain"])


# Slowly, from the text


def slow_tokens(tokenizer, texts: list[str]) -> list[int]:
    return [
        i for text in texts for i in [*tokenizer(text, split_special_tokens=True)["input_ids"], tokenizer.eos_token_id]
    ]


def slow_score(model, tokenizer, speaker: int, facts: list[str], history: list[str], response: str):  # noqa: ANN201
    """nll and argmax (n,) of one response, in a pass of its own."""
    special = tokenizer.convert_tokens_to_ids
    context = [special("<|p2|>" if speaker else "<|p1|>"), *slow_tokens(tokenizer, facts)]
    context += [special("<|sep|>"), special("<|start|>"), *slow_tokens(tokenizer, history)]
    said = slow_tokens(tokenizer, [response])
    with torch.no_grad():
        logits = model(torch.tensor([context + said])).logits[0, len(context) - 1 : -1].double()
    return -logits.log_softmax(1)[torch.arange(len(said)), said].numpy(), logits.argmax(1).tolist(), said


@pytest.fixture
def sharp_model(tiny_model):  # noqa: ANN201
    """The tiny base with larger persona rows, so that personas matter."""
    torch.manual_seed(3)
    with torch.no_grad():
        tiny_model.get_input_embeddings().weight[-6:].normal_(0, 0.5)
    return tiny_model.eval()


def test_every_teacher_forced_metric_against_the_slow_way(sample, dataset, encoder, sharp_model) -> None:
    whole = read_corpus(sample / "valid_both_original_no_cands.txt").dialogues
    dialogues = [dialogue for dialogue in whole if len(dialogue.utterances) <= 10][:6]  # none is cut
    data = dataset(dialogues)
    ours = teacher_forced_metrics(sharp_model, data, encoder, PLAIN)
    tokenizer, eos = encoder.tokenizer, encoder.eos
    true, other, turn, f1s = [], [], [], []
    for number, dialogue in enumerate(dialogues):
        following = dialogues[(number + 1) % len(dialogues)]
        for i, response in enumerate(dialogue.utterances[:20]):
            history = dialogue.utterances[:i]
            nll, predicted, said = slow_score(
                sharp_model, tokenizer, i % 2, dialogue.personas[i % 2], history, response
            )
            true += nll.tolist()
            turn.append(nll[1:].mean())
            p, t = set(predicted) - {eos}, set(said) - {eos}
            h = len(p & t)
            f1s.append(2 * h / (len(p) + len(t)) if h else 0)
            other += slow_score(sharp_model, tokenizer, i % 2, following.personas[i % 2], history, response)[0].tolist()
    assert ours == {
        "loss": pytest.approx(np.mean(true), abs=1e-5),
        "perplexity": pytest.approx(np.exp(np.mean(true)), rel=1e-5),
        "turn_perplexity": pytest.approx(np.exp(np.mean(turn)), rel=1e-5),
        "token_f1": pytest.approx(np.mean(f1s)),
        "persona_gain": pytest.approx(np.exp(np.mean(other)) / np.exp(np.mean(true)), rel=1e-5),
        "responses": len(turn),
        "response_tokens": len(true),
    }
    assert abs(ours["persona_gain"] - 1) > 1e-4
    assert {type(value) for value in ours.values()} == {int, float}


def test_scores_come_in_order_whatever_the_batches(sample, dataset, encoder, sharp_model, monkeypatch) -> None:
    data = dataset(read_corpus(sample / "valid_both_original_no_cands.txt").dialogues[:3])
    sequences = [data.sequence(i) for i in range(len(data))]
    together = score(sharp_model, sequences, PLAIN)
    monkeypatch.setattr("personagpt.scoring.metrics.TOKENS_PER_BATCH", {"cpu": 1})  # one sequence at a time
    monkeypatch.setattr("personagpt.model.loss.PIECE", 5 * len(encoder.tokenizer))  # five rows of logits at a time
    alone = score(sharp_model.train(), sequences, PLAIN)
    assert sharp_model.training  # as it was
    for (tokens, spans), ours, theirs in zip(sequences, together, alone, strict=True):
        assert len(ours) == len(theirs) == len(spans)
        for (start, end), a, b in zip(spans, ours, theirs, strict=True):
            assert a.tokens.tolist() == b.tokens.tolist() == tokens[start:end].tolist()
            np.testing.assert_allclose(a.nll, b.nll, atol=1e-4)
            assert a.predicted.tolist() == b.predicted.tolist()


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


@pytest.mark.parametrize("most", [0, 1, 3])
def test_little_memory_changes_no_score(sample, dataset, sharp_model, monkeypatch, most: int) -> None:
    data = dataset(read_corpus(sample / "valid_both_original_no_cands.txt").dialogues[:4])
    sequences = [data.sequence(i) for i in range(len(data))]
    enough = score(sharp_model, sequences, PLAIN)
    score_batch = metrics.score_batch

    def in_little_memory(model: torch.nn.Module, batch: Batch) -> tuple[np.ndarray, ...]:
        if len(batch.input_ids) > most:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return score_batch(model, batch)

    monkeypatch.setattr(metrics, "score_batch", in_little_memory)
    if most == 0:  # not even one sequence fits
        with pytest.raises(RuntimeError, match="out of memory"):
            score(sharp_model, sequences, PLAIN)
        return
    little = score(sharp_model, sequences, PLAIN)
    for ours, theirs in zip(little, enough, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert a.tokens.tolist() == b.tokens.tolist()
            assert a.predicted.tolist() == b.predicted.tolist()
            np.testing.assert_allclose(a.nll, b.nll, atol=1e-4)


def figure(name: str, entries: Entries) -> float:
    return next(metric for metric in metrics.METRICS if metric.name == name).figure(entries)


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
    found = generated_metrics(tiny_model, dataset, encoder, PLAIN, 5)
    assert found["word_f1"].values.tolist() == pytest.approx([word_f1(*pair) for pair in pairs])
    assert found["word_f1"].places.turns.tolist() == [1, 3, 2, 4, 1]
    for n in (1, 2):
        name = f"distinct_{n}"
        assert figure(name, found[name]) == distinct([reply for reply, _ in pairs], n)
        first = found[name].places.turns == 1
        assert figure(name, found[name][first]) == distinct([pairs[0][0], pairs[4][0]], n)
    assert len(generated_metrics(tiny_model, dataset, encoder, PLAIN, 1000)["word_f1"]) == 7


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
        metrics, "generate_replies", lambda model, encoder, requests, *others: ["i am called tom"] * len(requests)
    )
    found = generated_metrics(tiny_model, dataset_of(text.encode(), encoder, 320), encoder, PLAIN, 100)["repeat_rate"]
    assert found.places.turns.tolist() == [1, 3, 2, 4, 1, 3, 2]
    assert found.values.tolist() == repeated


def test_generated_metrics_of_talks_that_fill_the_context(base, tokenizer, encoder) -> None:
    model = load_model(str(base), len(tokenizer))
    model.config.n_positions = 80  # room for 40 tokens before a reply
    dataset = dataset_of(CANDIDATES.encode(), encoder, 80)
    assert generated_metrics(model, dataset, encoder, PLAIN, 100)["word_f1"].places.turns.tolist() == [
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

    monkeypatch.setattr(metrics, "generate_replies", listen)
    for room in (longest, longest - 1):
        asked.clear()
        tiny_model.config.n_positions = room + 40
        generated_metrics(tiny_model, dataset, encoder, PLAIN, 100)
        assert sorted(asked) == sorted(fit_context(ids, encoder, room) for ids in whole)
        assert (sorted(asked) == sorted(whole)) == (room == longest)


def test_persona_gain_leaves_out_what_cannot_fit_under_the_other_persona(tiny_model, encoder) -> None:
    """The next dialogue's persona fills the context, so not even one utterance fits after it."""
    long = " ".join(["dogs"] * 30)
    text = f"1 your persona: i am old.\n2 a\tb c d e f g h i j\n1 your persona: {long}\n2 a\tb\n".encode()
    own = [len(ids) for ids, _ in map(dataset_of(text, encoder, 320).sequence, range(2))]
    dataset = dataset_of(text, encoder, max(own))
    exchanged = metrics.exchange_personas(
        [dataset.sequence(index) for index in range(2)], dataset.tensors.dialogues, encoder, max(own)
    )
    assert [len(spans) for (_, spans), _ in exchanged] == [0, 1]
    assert [dropped for _, dropped in exchanged] == [1, 0]
    assert all(len(tokens) <= max(own) and (spans <= len(tokens)).all() for (tokens, spans), _ in exchanged)
    assert teacher_forced_metrics(tiny_model, dataset, encoder, PLAIN)["persona_gain"] > 0
