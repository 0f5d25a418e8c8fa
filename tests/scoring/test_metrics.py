"""Every metric: a case worked by hand, and a slow independent computation on the sample's dialogues."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from personagpt.scoring import metrics
from personagpt.scoring.entries import Entries, Places
from personagpt.scoring.metrics import (
    ResponseScores,
    by_length,
    exchange_personas,
    figures,
    figures_by_turn,
    order_spread,
    response_places,
    score,
    teacher_forced,
    token_f1,
)
from personagpt.sequences.batches import Batch
from personagpt.sequences.dataset import PersonaChatDataset, encode_corpus
from personagpt.sequences.format import Encoder
from personagpt.text.convai2 import Corpus, Dialogue, read_corpus, write_corpus
from tests.scoring.helpers import PLAIN, dataset_of

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
    assert "persona_gain" not in figures(teacher_forced(tiny_model, data, encoder, PLAIN))


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
    metrics = figures(teacher_forced(tiny_model, data, encoder, PLAIN))
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
    ours = figures(teacher_forced(sharp_model, data, encoder, PLAIN))
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


def test_order_spread_against_the_slow_way(encoder, sharp_model) -> None:
    """Two facts have two orders, and among eight draws each side meets both."""
    facts = (["i like rap .", "i sing ."], ["i ski .", "i have two dogs ."])
    said = ["hi !", "i walk my dogs .", "why ?", "no idea ."]
    data = dataset_of(write_corpus([Dialogue(facts, said)]).encode(), encoder)
    loss = teacher_forced(sharp_model, data, encoder, PLAIN)["loss"]
    found = order_spread(sharp_model, data, encoder, PLAIN, loss, 8, 42)
    assert found.places.turns.tolist() == [1, 3, 2, 4]
    slow = []  # of each response: nll in the worst order, in the best
    for speaker in (0, 1):
        turns = range(speaker, 4, 2)
        orders = [
            [slow_score(sharp_model, encoder.tokenizer, speaker, order, said[:i], said[i])[0].sum() for i in turns]
            for order in (facts[speaker], facts[speaker][::-1])
        ]
        slow += zip(*sorted(orders, key=sum, reverse=True), strict=True)
    np.testing.assert_allclose(found.values, slow, atol=1e-4)
    assert (found.values[:, 0] != found.values[:, 1]).all()
    tokens = found.weights.sum()
    worst, best = (np.exp(sum(column) / tokens) for column in zip(*slow, strict=True))
    metric = next(metric for metric in metrics.METRICS if metric.name == "order_spread")
    assert metric.figure(found) == pytest.approx(worst - best, rel=1e-3)


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
    assert figures(teacher_forced(tiny_model, dataset, encoder, PLAIN))["persona_gain"] > 0
