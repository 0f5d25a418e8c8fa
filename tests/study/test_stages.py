"""personagpt/study/stages.py: how participants move through a study, also after a restart."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from personagpt.records.consents import wording
from personagpt.records.talks import Talk, Turn, is_blind
from personagpt.study import pairing
from personagpt.study.stages import Stages
from tests.study.participation import ANSWERS, COLD, PEOPLE, PROGRAM, Participant, pair, study_of


def test_to_look_at_a_position_moves_nobody_on(serve_page) -> None:
    page = serve_page()
    pairs = pairing.Pairing(study_of(PEOPLE), {"m": page.queue}, page.recordings, page.clock)
    stages = Stages(pairs)
    for name in ("first", "second"):
        pairs.begin(name)
    for _ in range(2):
        assert [stages.position(name).stage for name in ("first", "second")] == ["waiting", "waiting"]
    stages.advance("first")
    assert [stages.position(name).stage for name in ("first", "second")] == ["talk", "talk"]


def test_who_leaves_is_told_to_the_other(serve_page) -> None:
    page = serve_page(study=study_of(PEOPLE))
    first, second = pair(page)
    first.do("say", text="hi")
    assert second.until()["turns"]
    assert first.do("leave").json["stage"] == "start"
    assert second.state()["can_answer"] is True
    assert second.do("finish").json["stage"] == "questions"
    assert second.do("rate", **ANSWERS).json["stage"] == "result"
    ratings = {talk.participant: talk.ratings for talk in page.recordings.talks()}
    assert sorted(ratings.values(), key=len)[0] == {"ended": "left"}
    assert not any(map(is_blind, page.recordings.talks()))
    # a partner who said nothing leaves nothing to answer questions about
    first, second = pair(page)
    first.do("leave")
    assert second.state()["can_answer"] is False
    assert second.do("finish").status == 409
    assert second.begin()["stage"] == "waiting"


def test_whose_page_is_closed_is_told_to_the_other_and_may_come_back(serve_page) -> None:
    page = serve_page(study=study_of(PEOPLE, away=60.0))
    first, second = pair(page)
    first.do("say", text="hi")
    page.clock.seconds += 60.0
    assert second.state()["stage"] == "talk"
    page.clock.seconds += 0.1
    assert second.state()["stage"] == "gone"
    first.state()
    assert second.state()["stage"] == "talk"


def test_where_there_is_no_program_who_waits_goes_on_waiting(serve_page) -> None:
    page = serve_page(study=study_of(PEOPLE))
    who = Participant(page)
    assert who.begin()["stage"] == who.state()["stage"] == "waiting"
    assert who.do("say", text="hello ?").status == who.do("begin", agreed=wording("you agree")).status == 409
    assert who.do("leave").json["stage"] == "start"
    assert not page.recordings.path.exists()


def test_a_restart_goes_on_in_the_middle(serve_page) -> None:
    study = study_of(PEOPLE, turns=2)
    first, second = pair(serve_page(study=study))
    first.do("say", text="hi")
    page = serve_page(study=study)
    first.port = second.port = page.port
    assert first.state()["yours"] is False
    assert second.until()["turns"] == [{"mine": False, "text": "hi"}]
    assert second.do("say", text="hello").status == 200
    assert first.state()["yours"] is True


def test_a_reply_that_was_never_made_is_made_after_a_restart(serve_page, gate) -> None:
    study = study_of(PROGRAM, turns=3)
    gate.set()
    page = serve_page(study=study)
    who = Participant(page)
    who.begin()
    who.until()
    who.do("say", text="hi")
    who.until()
    (talk,) = page.recordings.talks()
    page.recordings.save(replace(talk, turns=[*talk.turns, Turn("human", "and now ?")]))
    page = serve_page(study=study)
    who.port = page.port
    state = who.until()
    assert len(state["turns"]) == len(talk.turns) + 2
    assert state["turns"][len(talk.turns)] == {"mine": True, "text": "and now ?"}


def test_who_leaves_while_a_program_begins_leaves_nothing_on_record(serve_page, gate, monkeypatch) -> None:
    page = serve_page(study=study_of(PROGRAM))
    monkeypatch.setattr(pairing.random.SystemRandom, "random", lambda self: 0.9)  # the program begins
    who = Participant(page)
    assert who.begin()["yours"] is False
    assert who.do("leave").json["stage"] == "start"
    gate.set()
    page.queue.close()
    assert page.recordings.talks() == []
    assert who.state()["stage"] == "start"


def test_a_programs_words_that_come_while_somebody_leaves_are_given_up(serve_page, gate, monkeypatch) -> None:
    page = serve_page(study=study_of(PROGRAM))
    monkeypatch.setattr(pairing.random.SystemRandom, "random", lambda self: 1.0)  # the program says the first words
    who, give_up = Participant(page), Stages.give_up

    def late(stages: Stages, participant: str, talk: Talk) -> None:
        stages.recordings.save(replace(talk, turns=[Turn("model", "hi .")]))
        give_up(stages, participant, talk)

    monkeypatch.setattr(Stages, "give_up", late)
    who.begin()
    assert who.do("leave").json["stage"] == "start"
    (talk,) = page.recordings.talks()
    assert talk.ratings == {"ended": "left"}


def test_a_program_does_not_answer_the_last_words(serve_page, monkeypatch) -> None:
    page = serve_page(study=study_of(PROGRAM, turns=1))
    monkeypatch.setattr(pairing.random.SystemRandom, "random", lambda self: 0.9)  # the program begins
    who = Participant(page)
    who.begin()
    who.talk_through()
    page.queue.close()
    assert [turn.speaker for turn in page.recordings.talks()[0].turns] == ["model", "human"]


def test_a_program_with_nothing_to_say(serve_page, monkeypatch) -> None:
    def nothing(*given: object) -> Iterator:
        opened.wait()
        return iter(())

    opened = threading.Event()
    page = serve_page(study=study_of(PROGRAM))
    monkeypatch.setattr("personagpt.page.replies.stream_replies", nothing)
    who = Participant(page)
    who.begin()
    opened.set()
    who.until()  # whoever was to begin, now it is the participant
    opened.clear()
    assert who.do("say", text="hi").json["yours"] is False
    opened.set()
    state = who.until()
    assert (state["unanswered"], state["turns"]) == ("hi", [])
    assert page.recordings.talks() == []
    monkeypatch.undo()
    who.do("say", text="hello")
    assert [turn["mine"] for turn in who.until()["turns"]] == [True, False]


def test_nobody_is_to_speak_before_their_words_without_an_answer_are_given_back(serve_page, monkeypatch) -> None:
    """The words leave the recordings first. A page that says "your turn" then would not give them back any more."""
    page = serve_page(study=study_of(PROGRAM, turns=3))
    monkeypatch.setattr(pairing.random.SystemRandom, "random", lambda self: 0.1)  # the participant begins
    who, save, views = Participant(page), page.recordings.save, []
    who.begin()
    who.do("say", text="hi")
    who.until()

    def save_and_look(*talks: Talk) -> None:
        save(*talks)
        views.append(page.page.view(page.recordings.talks()[0].participant))

    with monkeypatch.context() as patch:
        patch.setattr("personagpt.page.replies.stream_replies", lambda *given: iter(()))
        patch.setattr(page.recordings, "save", save_and_look)
        who.do("say", text="and you ?")
        state = who.until()
    assert (state["unanswered"], len(state["turns"])) == ("and you ?", 2)
    assert [(view["yours"], len(view["turns"])) for view in views] == [(False, 3), (False, 2)]


@pytest.mark.parametrize("before", [PROGRAM, PEOPLE])
def test_a_condition_that_changes_its_partner_ends_its_talks(serve_page, before) -> None:
    """The participant begins anew, and nothing of the talk is lost."""
    after = {PROGRAM: PEOPLE, PEOPLE: PROGRAM}[before]
    page = serve_page(study=study_of(before))
    who = Participant(page) if before is PROGRAM else pair(page)[0]
    if before is PROGRAM:
        who.begin()
        who.until()
    assert who.do("say", text="hi").status == 200
    page.queue.close()
    page = serve_page(study=study_of(replace(after, name=before.name), COLD))
    who.port = page.port
    assert who.state()["stage"] == "start"
    assert who.begin()["stage"] in ("talk", "waiting")
    assert any("hi" in talk.texts for talk in page.recordings.talks())


def test_a_full_queue_keeps_what_was_said(serve_page, gate, monkeypatch) -> None:
    page = serve_page(study=study_of(PROGRAM), waiting=0)
    monkeypatch.setattr(pairing.random.SystemRandom, "random", lambda self: 0.1)  # the participant begins
    who = Participant(page)
    who.begin()
    assert who.do("say", text="hi").json["yours"] is False
    assert [talk.texts for talk in page.recordings.talks()] == [["hi"]]
    page.queue.most = 5
    gate.set()
    assert len(who.until()["turns"]) == 2
