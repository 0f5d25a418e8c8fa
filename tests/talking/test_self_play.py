"""self_play.py: a talk of two personas, and many talks at once, with a real (tiny) model."""

import itertools
import random

import pytest

from personagpt.model.api import ApiError, ApiProgram
from personagpt.model.api_settings import Api
from personagpt.model.sampling import Sampling
from personagpt.talking import persona
from personagpt.talking.self_play import _Round, play, self_play
from tests.api_server import Handler, refusing, serving, streamed
from tests.page.served import wait_until
from tests.talking.conftest import FACTS, WILD

PAIRS = [([f"i am {age} ."], [f"i have {age} dogs ."]) for age in range(9)]


def test_two_personas_talk(make_session, recorded, capsys) -> None:
    session = make_session()
    session.begin(FACTS, partner_facts=["i am old ."])
    capsys.readouterr()
    self_play(session, 5)
    (talk,) = recorded()
    assert [turn.speaker for turn in talk.turns] == ["partner", "model", "partner", "model", "partner"]
    assert (talk.persona, talk.partner_persona, talk.partner) == (FACTS, ["i am old ."], "partner")
    lines = capsys.readouterr().out.splitlines()
    assert [line.rstrip() for line in lines] == [f"{turn.speaker}: {turn.text}" for turn in talk.turns]


def test_it_ends_where_a_speaker_has_nothing_to_say(make_session, says, capsys) -> None:
    session = make_session()
    session.begin(FACTS, partner_facts=["i am old ."])
    says("hi !", *[""] * 8)
    self_play(session, 5)
    assert session.talk.texts == ["hi !"]
    assert capsys.readouterr().out.endswith("(nothing more to say)\n")


def test_many_talks_at_once(make_session, monkeypatch) -> None:
    monkeypatch.setattr("personagpt.talking.self_play.TOGETHER", 2)

    def talks() -> list[list]:
        session = make_session(sampling=Sampling(max_new_tokens=6), seed=3, goal="ask about x.", as_typed=True)
        return list(play(session, PAIRS, 3, 5))

    batches = talks()
    assert [len(batch) for batch in batches] == [2, 1]
    for number, talk in enumerate(itertools.chain(*batches)):
        assert (talk.partner, talk.source, talk.sampling["seed"]) == ("partner", "self-play", 4 + number)
        assert [turn.speaker for turn in talk.turns] == ["partner", "model", "partner", "model", "partner"]
        assert [turn.goal for turn in talk.turns] == [None, "ask about x.", None, "ask about x.", None]
        assert (talk.partner_persona, talk.persona) in PAIRS
    texts = [talk.texts for talk in itertools.chain(*batches)]
    assert len(set(map(tuple, texts))) == 3
    assert [talk.texts for talk in itertools.chain(*talks())] == texts


def test_the_partner_does_not_draw_the_model_s_numbers(make_session, model) -> None:
    ((talk,),) = play(make_session(sampling=WILD, seed=3), [(FACTS, FACTS)], 1, 1)
    openings = [persona.Persona(model, FACTS, seed=seed, **vars(WILD)).reply() for seed in (4, 4 + 2**62)]
    assert openings[0] != openings[1] == talk.texts[0]


def test_a_talk_ends_and_the_others_go_on(make_session, monkeypatch) -> None:
    """Every third reply is empty."""
    counted = itertools.count(1)

    def replies(pairs: list, goal: str | None) -> list[str]:
        return ["" if next(counted) % 3 == 0 else "hello" for _ in pairs]

    monkeypatch.setattr(persona.Persona, "replies", replies)
    ((first, second),) = play(make_session(), PAIRS, 2, 4)
    assert sorted([len(first.turns), len(second.turns)]) == [1, 3]


def test_a_kill_loses_no_turn_that_was_said(make_session, monkeypatch, recorded) -> None:
    """What another program reads at the moment of a kill; Ctrl-C gives the talks so far as well."""
    made, seen = persona.Persona.replies, []

    def replies(pairs: list, goal: str | None) -> list[str]:
        seen.append([len(talk.turns) for talk in recorded()])
        if len(seen) == 4:
            raise KeyboardInterrupt
        return made(pairs, goal=goal)

    monkeypatch.setattr(persona.Persona, "replies", replies)
    batches = play(make_session(as_typed=True), PAIRS, 2, 5)
    talks = next(batches)
    assert seen == [[], [1, 1], [2, 2], [3, 3]]
    assert recorded() == talks
    with pytest.raises(KeyboardInterrupt):
        next(batches)


def test_a_failing_program_loses_no_turn_that_was_said(make_session, recorded) -> None:
    """The second reply to the first talk fails after the others have come."""
    seen: list[list[str]] = []

    def answer(handler: Handler) -> None:
        system, *said = handler.body["messages"]
        if not said or system["content"] != drawn[0]:
            streamed(f"hello from {system['content']}")(handler)
            return
        wait_until(lambda: sum(len(talk.turns) == 3 for talk in recorded()) == 2)
        seen.extend(talk.texts for talk in recorded())
        refusing(401, "no")(handler)

    with serving(answer) as server:
        session = make_session(program=ApiProgram(Api(server.url, "m")), as_typed=True, seed=3)
        chance = random.Random(session.seed)
        drawn = [chance.choice(PAIRS)[0][0] for _ in range(3)]
        assert len(set(drawn)) == 3
        batches = play(session, PAIRS, 3, 5)
        talks = next(batches)
        with pytest.raises(ApiError, match="a key is wanted"):
            next(batches)
    assert [len(talk.turns) for talk in talks] == [2, 3, 3]
    assert [talk.partner_persona for talk in talks] == [[fact] for fact in drawn]
    assert [talk.texts for talk in recorded()] == seen == [talk.texts for talk in talks]


def test_openings_are_recorded_in_the_order_of_the_talks(make_session, recorded) -> None:
    session = make_session()
    talks = [session.new_talk(FACTS, True, ["i am old ."])[0] for _ in range(4)]
    heard = _Round(session.recordings, talks, "partner", None)
    for place, reply, on_record in ((1, "b", 0), (3, "d", 0), (0, "", 1), (2, "c", 3)):
        heard.hear({place: reply})
        assert len(recorded()) == on_record
    assert [talk.texts for talk in recorded()] == [["b"], ["c"], ["d"]]
    heard = _Round(session.recordings, talks[1:], "model", None)
    heard.hear({2: "x"})
    assert [talk.texts for talk in recorded()] == [["b"], ["c"], ["d", "x"]]


def test_a_talk_with_too_long_an_utterance_ends_and_the_others_go_on(make_session, monkeypatch, capsys) -> None:
    monkeypatch.setattr("personagpt.model.api.TOGETHER", 1)  # replies come in order
    with serving(streamed("word " * 500), streamed("hello")) as server:
        program = ApiProgram(Api(server.url, "m"))
        talks = list(itertools.chain(*play(make_session(program=program), PAIRS, 2, 4)))
        assert [len(talk.turns) for talk in talks] == [1, 4]
        server.answers = [streamed("word " * 500)]
        session = make_session(program=program)
        session.begin(FACTS, partner_facts=["i am old ."])
        self_play(session, 4)
    assert len(session.talk.turns) == 1
    assert "and the last utterance do not fit into 280 tokens" in capsys.readouterr().out
