"""goal_hit and goal_base: which responses count, with which goal, in which context."""

from __future__ import annotations

import contextlib

import pytest

from personagpt.scoring import goals as scored
from personagpt.scoring.goals import chosen_goals, goal_metrics
from personagpt.sequences.dataset import PersonaChatDataset, encode_corpus
from personagpt.sequences.goals import Goal
from personagpt.text.convai2 import parse_corpus

PETS = Goal("ask about pets.", True, frozenset({"pets"}))
WORK = Goal("talk about work.", False, frozenset({"work"}))
TALK = b"1 your persona: a .\n2 partner's persona: b .\n3 any pets ?\ti work .\n4 pets ? i work .\tfine .\n"
PLAIN = contextlib.nullcontext()


@pytest.fixture(scope="module")
def dataset(encoder) -> PersonaChatDataset:
    return PersonaChatDataset.from_tensors(encode_corpus(parse_corpus(TALK, "t"), encoder, 20, 320, "t"), 320)


def test_the_goal_that_a_response_stands_for() -> None:
    said = ["any pets ?", "pets ? i work .", "i work .", "fine ."]
    # The second follows both; both are followed twice, so the first of the list counts, ...
    assert chosen_goals(said, [PETS, WORK]) == [PETS, PETS, WORK, None]
    assert chosen_goals(said, [WORK, PETS]) == [PETS, WORK, WORK, None]
    # ... and otherwise the rarer one.
    rarer = Goal("ask about pets.", True, frozenset({"pets"}))
    assert chosen_goals([*said, "work"], [WORK, rarer]) == [rarer, rarer, WORK, None, WORK]


def test_shares_of_replies(dataset, encoder, tiny_model, monkeypatch) -> None:
    asked: list[list[list[int]]] = []
    replies = [["do you have pets ?", "i have pets .", "any pets ?"], ["no work", "pets ?", "hi"]]

    def answer(model, encoder, requests, autocast, title):  # noqa: ANN202
        asked.append([request.context for request in requests])
        return replies[len(asked) - 1][: len(requests)]

    monkeypatch.setattr(scored, "generate_replies", answer)
    tiny_model.config.goals = [PETS.text]  # as train.py leaves it
    found = goal_metrics(tiny_model, dataset, encoder, PLAIN, [PETS, WORK], 500)
    # The goals are pets, pets, work. Given, the first reply follows; not given, the second.
    assert {name: entries.values.tolist() for name, entries in found.items()} == {
        "goal_hit": [1, 0, 0],
        "goal_base": [0, 1, 0],
    }
    assert found["goal_hit"].places.turns.tolist() == [1, 3, 2]
    said = ["any pets ?", "i work ."]
    contexts = [(0, ["b ."], []), (0, ["b ."], said), (1, ["a ."], said[:1])]
    assert asked[0] == [
        encoder.context(*context, 320, goal=goal.text)
        for context, goal in zip(contexts, [PETS, PETS, WORK], strict=True)
    ]
    assert asked[1] == [encoder.context(*context, 320) for context in contexts]
    asked.clear()
    assert len(goal_metrics(tiny_model, dataset, encoder, PLAIN, [PETS, WORK], 2)["goal_base"]) == 2
    # Nothing follows a goal, or there is none.
    assert goal_metrics(tiny_model, dataset, encoder, PLAIN, [Goal("x", False, frozenset({"x"}))], 2) == {}
    assert goal_metrics(tiny_model, dataset, encoder, PLAIN, [], 2) == {}


def test_a_model_without_a_record_of_its_goals_gets_them_without_facts(
    dataset, encoder, tiny_model, monkeypatch
) -> None:
    asked: list[list[list[int]]] = []
    monkeypatch.setattr(
        scored, "generate_replies", lambda *given: asked.append([each.context for each in given[2]]) or [""] * 3
    )
    goal_metrics(tiny_model, dataset, encoder, PLAIN, [PETS, WORK], 10)
    said = ["any pets ?", "i work ."]
    talks = [(PETS, []), (PETS, said), (WORK, said[:1])]
    assert asked[0] == [encoder.context(0, [], talk, 320, goal=goal.text) for goal, talk in talks]
    assert asked[1][2] == encoder.context(1, ["a ."], said[:1], 320)


def test_long_talks_leave_room_for_goal_and_reply(encoder, tiny_model) -> None:
    long = TALK.replace(b"any pets", b"pets " * 50).replace(b"i work", b"work " * 50)
    data = PersonaChatDataset.from_tensors(encode_corpus(parse_corpus(long, "t"), encoder, 20, 320, "t"), 320)
    found = goal_metrics(tiny_model, data, encoder, PLAIN, [PETS, WORK], 10)
    assert {name: len(entries) for name, entries in found.items()} == {"goal_hit": 3, "goal_base": 3}


def test_a_context_is_cut_by_no_more_than_goal_and_reply_need(dataset, encoder, tiny_model, monkeypatch) -> None:
    asked: list[list[list[int]]] = []

    def listen(model, encoder, requests, *others):  # noqa: ANN202
        asked.append([request.context for request in requests])
        return [""] * len(requests)

    monkeypatch.setattr(scored, "generate_replies", listen)
    said = ["any pets ?", "i work ."]
    goal = 1 + len(encoder.texts([PETS.text])[0])
    whole = len(encoder.context(0, ["b ."], said, 320))
    for room, begins in ((whole + goal, 0), (whole + goal - 1, 1)):
        asked.clear()
        tiny_model.config.n_positions = room + 40
        tiny_model.config.goals = [PETS.text]
        goal_metrics(tiny_model, dataset, encoder, PLAIN, [PETS], 10)
        (_, with_goal), (_, without) = asked
        assert with_goal == encoder.context(0, ["b ."], said[begins:], 320, goal=PETS.text)
        assert without == encoder.context(0, ["b ."], said[begins:], 320)
