"""Interviews: likelihoods that equal whole passes, chosen questions, chance for a partner without a persona."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from personagpt.model.loading import TrainedModel
from personagpt.scoring.interview import (
    Interview,
    Moment,
    ask,
    ask_chosen,
    contexts,
    expected_drops,
    greedy_replies,
    interview_figures,
    listen,
    new_interviews,
    reply_nll,
    text_personas,
)
from personagpt.scoring.interview_plan import InterviewPlan, RecordedTalk
from personagpt.scoring.posterior import expected_drop
from personagpt.sequences.format import Encoder
from personagpt.text.convai2 import parse_corpus
from personagpt.text.style import measure_style
from tests.scoring.helpers import dataset_of

GOALS = ("ask about pets.", "ask about work.", "ask about music.")
PERSONAS = [
    [f"i have a {pet}.", f"i work as a {job}."] for pet, job in map(str.split, ("dog baker", "cat nurse", "pig pilot"))
]
SAID = ["hi ! any pets ?", "yes , a dog .", "what do you do ?"]


def text_of(count: int) -> bytes:
    """A text with so many personas."""
    return "".join(f"1 your persona: i have {number} dogs.\n2 a\tb\n" for number in range(count)).encode()


@pytest.fixture
def judge(tiny_model, tokenizer) -> TrainedModel:
    """The tiny base with larger persona rows, so that personas matter."""
    torch.manual_seed(3)
    with torch.no_grad():
        tiny_model.get_input_embeddings().weight[-6:].normal_(0, 0.5)
    return TrainedModel("m", None, tiny_model.eval(), tokenizer, Encoder(tokenizer), "fp32", "c0ffee", None)


def slow_nll(judge: TrainedModel, facts: list[str], said: list[str], reply: str) -> float:
    """The reply's negative log-likelihood after a whole pass over persona and talk."""
    encoder = judge.encoder
    context = encoder.context(len(said) % 2, facts, said, 300)
    ids = [*encoder.texts([reply])[0], encoder.eos]
    with torch.no_grad():
        log_probabilities = judge.model(torch.tensor([context + ids])).logits[0].double().log_softmax(1)
    return -sum(float(log_probabilities[len(context) - 1 + place, token]) for place, token in enumerate(ids))


def test_likelihoods_equal_whole_passes(judge) -> None:
    replies = ["i am a nurse .", "no .", "i am a nurse ."]
    first, opening = reply_nll(judge, [Moment(PERSONAS, SAID, replies), Moment(PERSONAS[:2], [], ["hello !"])])
    slow = [[slow_nll(judge, facts, SAID, reply) for facts in PERSONAS] for reply in replies]
    np.testing.assert_allclose(first, slow, rtol=1e-5)
    np.testing.assert_allclose(opening, [[slow_nll(judge, facts, [], "hello !") for facts in PERSONAS[:2]]], rtol=1e-5)
    assert np.ptp(first, axis=1).min() > 0.01


def test_all_personas_are_read_with_the_same_utterances(judge) -> None:
    """Where the longest persona leaves too little room, the oldest utterances go, and a long utterance is cut."""
    encoder, long = judge.encoder, ["dogs " * 20]
    whole = encoder.context(1, long, SAID, 300)
    for room, kept in ((len(whole), SAID), (len(whole) - 1, SAID[1:])):
        found = contexts(judge, Moment([["i ski ."], long], SAID), room)
        prefixes = [encoder.prefix(1, encoder.texts(facts)) for facts in (["i ski ."], long)]
        talk = [token for ids in encoder.texts(kept) for token in [*ids, encoder.eos]]
        assert found == [[*prefix, *talk] for prefix in prefixes]
    said = contexts(judge, Moment([[]], ["dogs " * 300]), 300)[0]
    assert (len(said), said[-1]) == (3 + judge.context_length // 4, encoder.eos)  # <|p2|><|sep|><|start|> before it
    assert np.isfinite(reply_nll(judge, [Moment([long], ["dogs " * 300] * 3, ["dogs " * 300])])[0]).all()


def test_the_judge_asks_for_a_goal_without_facts(judge) -> None:
    encoder = judge.encoder
    asked = [([], GOALS[0]), (SAID[:2], GOALS[1]), ([], GOALS[0])]
    room = judge.context_length - 40
    shown = [contexts(judge, Moment([[]], said), room, goal)[0] for said, goal in asked]
    assert shown[1] == encoder.context(0, [], SAID[:2], room, GOALS[1])
    assert shown[1][0] == encoder.act
    questions = ask(judge, asked)
    assert questions[0] == questions[2]
    assert ask(judge, asked[1:2]) == questions[1:2]


def test_the_chosen_question_has_the_largest_expected_drop(judge, monkeypatch) -> None:
    interview = Interview(PERSONAS, 0, list(GOALS), SAID[:2])
    interview.nll = np.array([1.0, 1.5, 0.5])
    questions = {GOALS[0]: "who ?", GOALS[1]: "do you have a dog ?", GOALS[2]: "i work . what is your job ?"}
    slow = []
    for question in questions.values():
        said = [*SAID[:2], question]
        (replies,) = greedy_replies(judge, [Moment(PERSONAS, said)], "")
        nll = np.array([[slow_nll(judge, facts, said, reply) for facts in PERSONAS] for reply in replies])
        slow.append(expected_drop(interview.nll, nll))
    asked = [(interview, question) for question in questions.values()]
    assert expected_drops(judge, asked) == pytest.approx(slow, rel=1e-3)
    assert len({round(drop, 5) for drop in slow}) == 3
    # This base asks the same for every goal.
    monkeypatch.setattr("personagpt.scoring.interview.ask", lambda _, asked: [questions[goal] for _, goal in asked])
    best = GOALS[int(np.argmax(slow))]
    twin = replace(interview, goals=list(GOALS))
    twin.nll = interview.nll
    assert ask_chosen(judge, [interview, twin]) == [questions[best]] * 2
    assert interview.goals == twin.goals == [goal for goal in GOALS if goal != best]
    # Whoever is nearly certain stays so: all drops are 0, and the first goal is asked.
    interview.nll = np.array([0.0, 50.0, 50.0])
    assert ask_chosen(judge, [interview]) == [questions[next(goal for goal in GOALS if goal != best)]]


def test_each_persona_is_interviewed_once_in_its_group(judge) -> None:
    personas = text_personas(judge, dataset_of(text_of(25), judge.encoder))
    assert personas == [[f"i have {number} dogs."] for number in range(25)]
    found = new_interviews(personas, InterviewPlan(2, GOALS), "fixed", 42)
    assert sorted(each.personas[each.own] for each in found) == sorted(personas)
    assert {len(each.personas) for each in found} == {20}
    assert all(each.goals == list(GOALS) for each in found)
    drawn = [each.goals for each in new_interviews(personas, InterviewPlan(2, GOALS), "random", 42)]
    assert drawn == [each.goals for each in new_interviews(personas, InterviewPlan(2, GOALS), "random", 42)]
    assert {tuple(sorted(goals)) for goals in drawn} == {tuple(sorted(GOALS))}
    assert len({tuple(goals) for goals in drawn}) > 3
    assert len(new_interviews(personas * 10, InterviewPlan(2, GOALS), "fixed", 42)) == 100


def test_a_partner_without_a_persona_gives_chance(judge) -> None:
    """Whatever its replies, they are the same for each of three personas, and the likeliest is right once in three."""
    plan = InterviewPlan(2, GOALS[:2], ("fixed", "chosen"), with_facts=False)
    found = interview_figures(judge, dataset_of(text_of(3), judge.encoder), plan, 42)
    assert list(found) == ["own model, fixed", "own model, chosen"]
    for figures in found.values():
        assert (figures["interviews"], figures["among"]) == (3, 3)
        assert [row["questions"] for row in figures["by_question"]] == [1, 2]
        for row in figures["by_question"]:
            assert row["persona_at_1"]["value"] == pytest.approx(1 / 3)
            assert row["persona_mrr"]["value"] == pytest.approx(np.mean(1 / np.arange(1, 4)))
            assert row["persona_at_1"]["low"] <= 1 / 3 <= row["persona_at_1"]["high"]
            assert "over_random" not in row


def test_a_partner_is_a_function_from_facts_and_history_to_a_reply(judge) -> None:
    heard = []

    def parrot(facts: list[list[str]], histories: list[list[str]]) -> list[str]:
        heard.append((facts, histories))
        return [f" {fact} " for (fact,) in facts]

    dataset = dataset_of(text_of(4), judge.encoder)
    style = measure_style(parse_corpus(b"1 your persona: i ski.\n2 hi ! who ?\tme . you ?\n", "t"), 20)
    plan = InterviewPlan(2, GOALS, ("random", "fixed"), "parrot", parrot)
    found = interview_figures(replace(judge, style=style), dataset, plan, 42)
    assert list(found) == ["parrot, random", "parrot, fixed"]
    for facts, histories in heard:
        assert sorted(facts) == [[f"i have {number} dogs."] for number in range(4)]
        for (fact,), history in zip(facts, histories, strict=True):
            assert len(history) in (1, 3)
            assert history[1:2] in ([], [fact.replace(".", " .")])  # in the style of the judge's text
    random, fixed = (figures["by_question"] for figures in found.values())
    over = fixed[1]["over_random"]["persona_entropy"]
    assert over["value"] == pytest.approx(fixed[1]["persona_entropy"]["value"] - random[1]["persona_entropy"]["value"])
    assert over["low"] <= over["value"] <= over["high"]
    assert interview_figures(judge, dataset_of(text_of(1), judge.encoder), plan, 42) == {}


def test_recorded_talks_are_judged_by_their_first_replies(judge) -> None:
    personas = [["i ski ."], ["i run ."]]
    talks = (
        RecordedTalk(PERSONAS[0], [*SAID, "i bake .", "bye !"], 1),
        RecordedTalk(PERSONAS[1], ["hello !", "hi !", "i am a nurse ."], 0),
        RecordedTalk(PERSONAS[2], ["hello !", "hi !"], 0),  # too short
        RecordedTalk([], SAID, 0),  # without a persona
    )
    plan = InterviewPlan(2, name="talks.jsonl", talks=talks)
    interviews, course = listen(judge, plan, personas, 42)
    assert [each.personas[each.own] for each in interviews] == PERSONAS[:2]
    assert {tuple(map(tuple, sorted(each.personas))) for each in interviews} == {
        tuple(map(tuple, sorted([*PERSONAS, *personas])))
    }
    for place, (talk, ends) in enumerate(zip(talks[:2], ((1, 3), (0, 2)), strict=True)):
        each = [
            [slow_nll(judge, facts, talk.utterances[:end], talk.utterances[end]) for end in ends]
            for facts in interviews[place].personas
        ]
        np.testing.assert_allclose(np.array([nll[place] for nll in course]).T, np.cumsum(each, axis=1), rtol=1e-5)
    dataset = dataset_of(text_of(3), judge.encoder)
    (figures,) = interview_figures(judge, dataset, plan, 42).values()
    assert (figures["interviews"], figures["among"], figures["left_out"]) == (2, 6, 2)
    assert interview_figures(judge, dataset, replace(plan, questions=4), 42) == {}
