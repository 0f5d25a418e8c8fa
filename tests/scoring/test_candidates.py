"""candidates.py: by hand, and against a forward pass for each candidate."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from personagpt.errors import UserError
from personagpt.scoring import candidates
from personagpt.scoring.candidates import (
    Choice,
    ChoicePass,
    choice_passes,
    hits_at_1,
    is_hit,
    pass_scores,
    ranking_metrics,
    ranking_passes,
)
from personagpt.sequences.format import Encoder
from personagpt.text.convai2 import parse_corpus, read_corpus
from personagpt.text.dialogue_nli import read_rankings
from tests.scoring.helpers import CANDIDATES, PLAIN, ranking_record


def slow_mean_log_likelihood(model, context: list[int], candidate: list[int]) -> float:
    """One forward pass over context and candidate, without a cache or a batch."""
    with torch.no_grad():
        log_probabilities = model(torch.tensor([context + candidate])).logits[0].double().log_softmax(1)
    places = range(len(context) - 1, len(context) + len(candidate) - 1)
    return float(np.mean([log_probabilities[place, token] for place, token in zip(places, candidate, strict=True)]))


@pytest.mark.parametrize("context", [320, 48])  # the whole talk fits; it does not, and is cut
def test_candidate_scores_equal_a_pass_for_each_candidate(tiny_model, encoder, context) -> None:
    tiny_model.eval()
    corpus = parse_corpus(CANDIDATES.encode(), "t")
    passes = choice_passes(corpus, encoder, 20, context)
    assert sum(len(choice_pass.choices) for choice_pass in passes) == 4
    for choice_pass in passes:
        for choice, scores in zip(choice_pass.choices, pass_scores(tiny_model, choice_pass), strict=True):
            before = choice_pass.tokens[: choice.start]
            slow = [slow_mean_log_likelihood(tiny_model, before, ids) for ids in choice.candidates]
            np.testing.assert_allclose(scores, slow, atol=1e-5)
            assert max(map(len, choice.candidates)) + len(before) <= context + 1


def test_a_turn_s_context_and_candidates_by_hand(encoder) -> None:
    passes = choice_passes(parse_corpus(CANDIDATES.encode(), "t"), encoder, 20, 320)
    facts, said = ["i have two dogs.", "i work as a nurse."], ["hi ! how are you ?", "great . just walking my dogs ."]
    first, second = passes[0].choices
    assert passes[0].tokens[: first.start] == encoder.context(1, facts, said[:1], 320)
    assert passes[0].tokens[: second.start] == encoder.context(1, facts, [*said, "nice ! what do you do ?"], 320)
    assert first.candidates[-1] == [*encoder.texts(["great . just walking my dogs ."])[0], encoder.eos]
    assert second.candidates[1] == [encoder.eos]  # an empty candidate
    assert passes[1].tokens[: passes[1].choices[0].start] == encoder.context(0, ["i am old."], [], 320)
    fewer_turns = choice_passes(parse_corpus(CANDIDATES.encode(), "t"), encoder, 2, 320)
    assert [len(choice_pass.choices) for choice_pass in fewer_turns] == [1, 1]


def test_a_context_goes_as_far_back_as_the_longest_candidate_leaves_room(encoder) -> None:
    """A candidate's last token is no input, so context and candidate may have one token more than the model reads."""
    text = "1 your persona: i ski .\n2 a b c\td e f\n3 g h i\tj k l\t\tm n o p q r s|j k l\n"
    ids = encoder.texts(["a b c", "d e f", "g h i", "m n o p q r s"])
    whole = encoder.context(1, ["i ski ."], ["a b c", "d e f", "g h i"], 320)
    longest = len(ids[3]) + 1
    for context, begins in ((len(whole) + longest - 1, 0), (len(whole) + longest - 2, 1)):
        (found,) = choice_passes(parse_corpus(text.encode(), "t"), encoder, 20, context)
        assert found.tokens == encoder.context(1, ["i ski ."], ["a b c", "d e f", "g h i"][begins:], 320)
        assert found.choices == [Choice(len(found.tokens), [[*ids[3], encoder.eos], found.choices[0].candidates[1]], 4)]


def test_a_candidate_longer_than_the_context_is_cut(encoder, tiny_model) -> None:
    text = f"1 your persona: i ski .\n2 a\tb\t\t{'dogs ' * 60}|b\n"
    (found,) = choice_passes(parse_corpus(text.encode(), "t"), encoder, 20, 40)
    prefix = encoder.prefix(1, encoder.texts(["i ski ."]))
    (dogs,) = encoder.texts(["dogs " * 60])
    assert found.choices[0].candidates[0] == dogs[: 40 - len(prefix)]
    assert found.tokens == prefix  # nothing else fits
    assert len(pass_scores(tiny_model.eval(), found)[0]) == 2


def test_hits_at_1_by_hand(tiny_model, encoder) -> None:
    assert is_hit([-2.0, -1.0])
    assert is_hit([-1.0, -2.0, -1.0])  # the true one stood twice
    assert not is_hit([-1.0, -2.0])
    choice_pass = ChoicePass([7, 8, 9], [Choice(3, [[10, 11], [12]])])
    worse, better = pass_scores(tiny_model.eval(), choice_pass)[0]
    swapped = ChoicePass([7, 8, 9], [Choice(3, [[12], [10, 11]])])
    found = hits_at_1(tiny_model, [choice_pass, swapped, swapped], PLAIN)
    assert found.values.tolist() == ([1, 0, 0] if better > worse else [0, 1, 1])
    assert found.weights.tolist() == [1, 1, 1]


def test_no_candidates_no_talks(encoder, sample) -> None:
    assert choice_passes(read_corpus(sample / "valid_both_original_no_cands.txt"), encoder, 20, 320) == []


def test_candidates_of_one_token(tiny_model) -> None:
    (scores,) = pass_scores(tiny_model.eval(), ChoicePass([7, 8, 9], [Choice(3, [[10], [12]])]))
    with torch.no_grad():
        expected = tiny_model(torch.tensor([[7, 8, 9]])).logits[0, -1].double().log_softmax(0)
    assert scores == pytest.approx([float(expected[10]), float(expected[12])], abs=1e-5)


def test_where_hits_stand(tiny_model, tokenizer) -> None:
    text = b"1 your persona: i ski .\n2 a\tb\n3 a\tb\t\tc|b\n1 your persona: i ski .\n2 a\tb\t\tc|b\n3 a\tb\t\tc|b\n"
    passes = choice_passes(parse_corpus(text, "t"), Encoder(tokenizer), 20, 320)
    assert [(made.dialogue, [choice.turn for choice in made.choices]) for made in passes] == [(0, [4]), (1, [2, 4])]
    found = hits_at_1(tiny_model.train(), passes, PLAIN)
    assert tiny_model.training
    assert found.places.dialogues.tolist() == [0, 1, 1]
    assert found.places.turns.tolist() == [4, 2, 4]
    assert found.values.dtype == float
    # As many turns as are used, and no more.
    assert [len(made.choices) for made in choice_passes(parse_corpus(text, "t"), Encoder(tokenizer), 3, 320)] == [1]
    assert choice_passes(parse_corpus(text, "t"), Encoder(tokenizer), 1, 320) == []


@pytest.fixture
def rankings(tmp_path):  # noqa: ANN201
    said = ["hi !", "hello .", "how are you ?"]
    records = [ranking_record(["i ski ."], said, "fine ."), ranking_record(["i have two dogs ."], [], "hello !")]
    (tmp_path / "f.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return read_rankings(tmp_path / "f.jsonl")


def test_which_kind_of_candidate_is_likeliest(rankings, tiny_model, encoder, monkeypatch) -> None:
    passes = ranking_passes(rankings, encoder, 320, "f")
    assert passes[0].tokens == encoder.context(1, ["i ski."], ["hi !", "hello .", "how are you ?"], 320)
    assert passes[1].tokens == encoder.context(0, ["i have two dogs."], [], 320)
    assert [[len(choice.candidates) for choice in made.choices] for made in passes] == [[31], [31]]
    found = ranking_metrics(tiny_model, passes, PLAIN)
    for index, made in enumerate(passes):  # against a pass for each candidate
        slow = [slow_mean_log_likelihood(tiny_model.eval(), made.tokens, ids) for ids in made.choices[0].candidates]
        kind = ["dnli_contradict", "dnli_entail", "dnli_neutral", "dnli_hits"][int(np.argmax(slow)) // 10]
        assert [name for name, entries in found.items() if entries.values[index]] == [kind]
    best = iter([0, 9, 10, 19, 20, 29, 30])
    monkeypatch.setattr(candidates, "pass_scores", lambda *_: [np.eye(31)[next(best)].tolist()])
    found = ranking_metrics(tiny_model, [passes[0]] * 7, PLAIN)
    assert {name: entries.values.tolist() for name, entries in found.items()} == {
        "dnli_contradict": [1, 1, 0, 0, 0, 0, 0],
        "dnli_entail": [0, 0, 1, 1, 0, 0, 0],
        "dnli_neutral": [0, 0, 0, 0, 1, 1, 0],
        "dnli_hits": [0, 0, 0, 0, 0, 0, 1],
    }
    assert found["dnli_hits"].places.turns.tolist() == [0] * 7


def test_rankings_of_long_talks(rankings, encoder) -> None:
    """The oldest utterances go; a persona and an own utterance that do not fit are named with their record."""
    short = len(encoder.context(1, ["i ski."], ["how are you ?"], 320)) + 8
    assert ranking_passes(rankings, encoder, short, "f")[0].tokens[-3:] == passes_end(encoder, "how are you ?")[-3:]
    rankings.dialogues[0].utterances[1] = "hello " * 60
    with pytest.raises(UserError, match=r"^f:1: the persona and an utterance exceed the model's context of 40 tokens"):
        ranking_passes(rankings, encoder, 40, "f")


def passes_end(encoder: Encoder, utterance: str) -> list[int]:
    return [*encoder.texts([utterance])[0], encoder.eos]
