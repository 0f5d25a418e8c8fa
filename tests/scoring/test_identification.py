"""Who is speaking: ranks by hand, and likelihoods that equal a whole pass for each side and persona."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch

from personagpt.scoring import identification
from personagpt.scoring.identification import deal, group_nll, identify, rank, read_sides
from personagpt.sequences.dataset import PersonaChatDataset, encode_corpus
from personagpt.sequences.format import Encoder
from personagpt.text.convai2 import parse_corpus, read_corpus

PLAIN = contextlib.nullcontext()
TEXT = """\
1 your persona: i ski .
2 your persona: i sing .
3 partner's persona: i am old .
4 hi ! how are you ?\tgreat .
5 nice ! what do you do ?\ti ski and sing .
1 your persona: i sing .
2 your persona: i ski .
3 __SILENCE__\thello !
4 who are you ?\ti am called tom .
"""


@pytest.fixture
def sharp_model(tiny_model):  # noqa: ANN201
    """The tiny base with larger persona rows, so that personas matter."""
    torch.manual_seed(3)
    with torch.no_grad():
        tiny_model.get_input_embeddings().weight[-6:].normal_(0, 0.5)
    return tiny_model.eval()


def dataset_of(text: str, encoder: Encoder, context: int = 320) -> PersonaChatDataset:
    corpus = parse_corpus(text.encode(), "t")
    return PersonaChatDataset.from_tensors(encode_corpus(corpus, encoder, 20, context, "t"), context)


def slow_nll(
    model, encoder: Encoder, speaker: int, facts: list[str], talk: list[str], first_own: int | None = None
) -> float:
    """One pass over the whole side, every logit; the side's own utterances are every second one from `first_own`."""
    first_own = speaker if first_own is None else first_own
    tokens, own = encoder.prefix(speaker, encoder.texts(facts)), []
    for index, ids in enumerate(encoder.texts(talk)):
        if index % 2 == first_own:
            own += range(len(tokens), len(tokens) + len(ids) + 1)
        tokens = [*tokens, *ids, encoder.eos]
    with torch.no_grad():
        log_probabilities = model(torch.tensor([tokens])).logits[0].double().log_softmax(1)
    return -sum(float(log_probabilities[place - 1, tokens[place]]) for place in own)


@pytest.mark.parametrize(
    ("nll", "own", "expected"),
    [
        ([1.0, 2.0, 3.0], 0, (1.0, 1.0)),
        ([1.0, 2.0, 3.0], 2, (0.0, 1 / 3)),
        ([2.0, 2.0, 3.0], 1, (1 / 2, (1 + 1 / 2) / 2)),  # as if drawn by lot between the two
        ([1.0, 2.0, 2.0], 2, (0.0, (1 / 2 + 1 / 3) / 2)),
        ([5.0] * 4, 1, (1 / 4, (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)),  # a model deaf to personas is at chance
    ],
)
def test_rank(nll, own, expected) -> None:
    assert rank(np.array(nll), own) == pytest.approx(expected)


@pytest.mark.parametrize("count", [2, 19, 20, 21, 45, 60])
def test_every_persona_is_a_member_once_and_has_nineteen_others(count) -> None:
    groups = deal(count, 7)
    members = [number for group, count_of_members in groups for number in group[:count_of_members]]
    assert sorted(members) == list(range(count))
    for group, _ in groups:
        assert len(set(group)) == len(group) == min(20, count)
    assert groups == deal(count, 7)
    assert count == 2 or groups != deal(count, 8)
    assert deal(1, 7) == deal(0, 7) == []


def test_the_same_facts_in_another_order_are_one_persona(encoder) -> None:
    sides, personas, without = read_sides(dataset_of(TEXT, encoder), encoder)
    assert [(side.dialogue, side.speaker, side.persona) for side in sides] == [(0, 0, 0), (0, 1, 1), (1, 0, 1)]
    texts = [encoder.decode([encoder.speakers[0], *facts, encoder.start])[1] for facts in personas]
    assert texts == [["i am old ."], ["i ski .", "i sing ."]]
    assert without == 1  # the second dialogue's partner has no persona
    sides, _, without = read_sides(dataset_of(TEXT + "1 your persona: i run .\n2 a\tb\n" * 2, encoder), encoder)
    assert [(side.dialogue, side.speaker) for side in sides] == [(0, 0), (0, 1), (1, 0), (2, 1), (3, 1)]
    assert without == 3


def test_likelihoods_equal_a_pass_for_each_side_and_persona(sample, encoder, sharp_model, monkeypatch) -> None:
    corpus = read_corpus(sample / "valid_both_original_no_cands.txt")
    corpus.dialogues, corpus.sides = corpus.dialogues[:5], corpus.sides[:5]
    dataset = PersonaChatDataset.from_tensors(encode_corpus(corpus, encoder, 20, 320, "t"), 320)
    monkeypatch.setattr("personagpt.scoring.metrics.TOKENS_PER_BATCH", {"cpu": 700})  # several batches a speaker
    sides, personas, _ = read_sides(dataset, encoder)
    nll = group_nll(sharp_model, sides, personas, encoder, PLAIN)
    facts = [persona for dialogue in corpus.dialogues for persona in dialogue.personas]
    assert nll.shape == (10, 10)
    assert len(personas) == len(facts)
    for row, side in zip(nll, sides, strict=True):
        talk = corpus.dialogues[side.dialogue].utterances
        slow = [slow_nll(sharp_model, encoder, side.speaker, persona, talk, side.speaker) for persona in facts]
        np.testing.assert_allclose(row, slow, rtol=1e-5)
        assert np.ptp(slow) > 0.1


def test_all_personas_are_read_with_the_same_utterances(encoder, sharp_model) -> None:
    """Where the longest persona leaves no room the oldest utterances go, for every persona."""
    long = " ".join(["dogs"] * 20)
    talk = ["hello there you", "fine", "how are you", "i am called tom"]
    text = "1 your persona: i ski .\n2 {}\t{}\n3 {}\t{}\n".format(*talk) + f"1 your persona: {long}\n2 a\tb\n"
    rooms = [len(encoder.context(1, [long], talk[begins:], 320)) for begins in range(3)]
    for context, begins in ((rooms[0], 0), (rooms[0] - 1, 1), (rooms[2], 2)):
        sharp_model.config.n_positions = context
        sides, personas, _ = read_sides(dataset_of(text, encoder, context), encoder)
        found = group_nll(sharp_model, sides[:1], personas, encoder, PLAIN)[0]
        kept, first_own = talk[begins:], (begins + 1) % 2
        slow = [slow_nll(sharp_model, encoder, 1, facts, kept, first_own) for facts in (["i ski ."], [long])]
        np.testing.assert_allclose(found, slow, rtol=1e-5)


def test_a_side_that_was_cut_is_one(encoder, sharp_model) -> None:
    talk = ["hello there", "good day", "how are you", "fine", "good bye now"]
    text = f"1 partner's persona: i ski .\n2 {talk[0]}\t{talk[1]}\n3 {talk[2]}\t{talk[3]}\n"
    text += "1 partner's persona: i run .\n2 hi\tho\n"
    context = 16
    dataset = dataset_of(text, encoder, context)
    assert len(dataset) > 2
    sides, _, _ = read_sides(dataset, encoder)
    assert [len(side.talks) for side in sides] == [len(dataset) - 1, 1]
    sharp_model.config.n_positions = context
    assert identify(sharp_model, dataset, encoder, PLAIN, 0)[0]["persona_at_1"].places.dialogues.tolist() == [0, 1]


def test_what_cannot_be_compared_is_left_out_and_counted(encoder, sharp_model) -> None:
    entries, counts = identify(sharp_model, dataset_of(TEXT, encoder), encoder, PLAIN, 0)
    assert counts == {"identified_among": 2, "identified_left_out": 1}
    assert entries["persona_at_1"].places.dialogues.tolist() == [0, 0, 1]
    entries, counts = identify(sharp_model, dataset_of("1 your persona: i ski .\n2 a\tb\n", encoder), encoder, PLAIN, 0)
    assert entries == {}
    assert counts == {"identified_among": 1, "identified_left_out": 1}
    # After the second dialogue's persona nothing of the first one's talk fits.
    long = " ".join(["dogs"] * 20)
    text = f"1 your persona: i ski .\n2 a\t{'hello ' * 15}\n1 your persona: {long}\n2 a\tb\n"
    context = max(len(dataset_of(text, encoder).sequence(index)[0]) for index in range(2))
    sharp_model.config.n_positions = context
    entries, counts = identify(sharp_model, dataset_of(text, encoder, context), encoder, PLAIN, 0)
    assert counts == {"identified_among": 2, "identified_left_out": 1}
    assert entries["persona_at_1"].places.dialogues.tolist() == [1]


def test_every_side_is_ranked_in_its_own_group(sample, encoder, sharp_model, monkeypatch) -> None:
    """45 personas: three groups, the last one with borrowed others."""
    corpus = read_corpus(sample / "valid_both_original_no_cands.txt")
    corpus.dialogues, corpus.sides = corpus.dialogues[:23], corpus.sides[:23]
    corpus.sides[0] = (0,)
    dataset = PersonaChatDataset.from_tensors(encode_corpus(corpus, encoder, 20, 320, "t"), 320)
    asked = []

    def nll(model, sides, personas, *others):  # noqa: ANN202  every side is sure of its own persona
        asked.append((len(sides), personas))
        own = [[personas.index(everyone[side.persona])] for side in sides]
        table = np.ones((len(sides), len(personas)))
        np.put_along_axis(table, np.array(own), 0.0, axis=1)
        return table

    _, everyone, _ = read_sides(dataset, encoder)
    monkeypatch.setattr(identification, "group_nll", nll)
    entries, _ = identify(sharp_model, dataset, encoder, PLAIN, 0)
    assert [(count, len(personas)) for count, personas in asked] == [(20, 20), (20, 20), (5, 20)]
    assert [personas for _, personas in asked] == [[everyone[number] for number in group] for group, _ in deal(45, 0)]
    assert entries["persona_at_1"].values.tolist() == [1.0] * 45
    assert entries["persona_mrr"].values.tolist() == [1.0] * 45
    assert entries["persona_mrr"].places.dialogues.tolist() == [0] + [n for n in range(1, 23) for _ in "ab"]
    turns = entries["persona_mrr"].places.turns
    assert (turns.dtype, turns.any()) == (np.int64, False)
