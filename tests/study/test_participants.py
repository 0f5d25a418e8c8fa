"""personagpt/study/participants.py through a real server: what participants do, and what is recorded."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from personagpt.detection.sides import sides_of_talks
from personagpt.records.consents import kept_consents, wording
from personagpt.records.export import text_of
from personagpt.records.talks import DELETED, is_blind, parse_talk
from personagpt.study import pairing
from personagpt.study.questions import Question
from tests.page.served import wait_until
from tests.records.making import make_talk
from tests.study.participation import ANSWERS, COLD, PEOPLE, PROGRAM, Participant, pair, study_of


def test_from_consent_to_result_with_a_program(serve_page) -> None:
    page = serve_page(study=study_of(PROGRAM))
    who = Participant(page)
    start = who.ask("GET", "/api/start").json
    assert (start["title"], start["consent"], start["turns"]) == ("A study", "you agree", 2)
    assert who.state()["stage"] == "start"
    assert who.do("begin").status == who.do("begin", agreed=True).status == 403
    assert not page.recordings.path.parent.exists()
    who.begin()
    assert kept_consents(page.recordings.path.parent, "s") == ["you agree"]
    state = who.talk_through()
    assert [turn["mine"] for turn in state["turns"]].count(True) == 2
    (talk,) = page.recordings.talks()
    assert state["persona"] == talk.partner_persona
    assert who.do("rate", **ANSWERS).json["stage"] == "result"
    (talk,) = page.recordings.talks()
    state = who.state()
    assert (state["partner"], state["guess"], state["persona"]) == ("program", "person", talk.persona)
    shown, true = talk.ratings["persona"]["shown"], talk.ratings["persona"]["true"]
    assert (shown[true], talk.ratings["persona"]["chosen"]) == (talk.persona, 0)
    assert not set(shown[1 - true]) & {*talk.persona, *talk.partner_persona}
    assert state["persona_guessed"] == (true == 0)
    assert {name: talk.ratings[name] for name in ("fluency", "consistency", "engagement")} == {
        "fluency": 1,
        "consistency": 3,
        "engagement": 5,
    }
    assert (talk.source, talk.partner, talk.model_checksum) == ("study:s:program-1", "human", "c0ffee")
    assert set(talk.persona) != set(talk.partner_persona)
    assert talk.participant == start["participant"]
    assert who.begin()["stage"] == "talk"  # once more


def test_nobody_agrees_to_a_text_that_their_page_does_not_show(serve_page) -> None:
    who = Participant(serve_page(study=study_of(PROGRAM)))
    shown = who.ask("GET", "/api/start").json["wording"]
    page = serve_page(study=replace(study_of(PROGRAM), consent="you agree to more"))
    who.port = page.port
    assert who.do("begin", agreed=shown).status == 403
    assert not page.recordings.path.parent.exists()
    who.do("begin", agreed=who.ask("GET", "/api/start").json["wording"])
    assert kept_consents(page.recordings.path.parent, "s") == ["you agree to more"]


def test_two_people_talk_with_each_other(serve_page) -> None:
    page = serve_page(study=study_of(PEOPLE, turns=1))
    first, second = pair(page)
    assert second.do("say", text="me first").status == 409
    before = first.state()["time"]
    page.clock.seconds += 1
    assert first.state()["time"] > before  # a browser can tell which view is newer
    assert first.do("say", text="hi there").json["yours"] is False
    assert second.until()["turns"] == [{"mine": False, "text": "hi there"}]
    second.do("say", text="hello you")
    states = first.state(), second.state()
    assert [state["stage"] for state in states] == ["questions"] * 2
    assert states[0]["turns"] == [{"mine": True, "text": "hi there"}, {"mine": False, "text": "hello you"}]
    assert first.do("flag", turn=1, kinds=["unsafe"], note="rude").json["flags"][0]["kind"] == "unsafe"
    assert first.do("flag", turn=0, kinds=["unsafe"]).status == 400
    assert first.do("rate", **ANSWERS).json["partner"] == "person"
    one, other = page.recordings.talks()
    assert (one.twin, other.twin) == (other.id, one.id)
    assert (one.partner, one.model, one.source) == ("person", "", "study:s:people")
    assert [turn.speaker for turn in one.turns] == ["human", "partner"]
    assert [turn.speaker for turn in other.turns] == ["partner", "human"]
    assert (one.persona, one.partner_persona) == (other.partner_persona, other.persona)
    assert states[0]["persona"] == one.partner_persona
    assert (len(one.flags), other.flags, other.ratings) == (1, [], {})


def test_what_people_say_is_no_models_and_is_exported_once(serve_page) -> None:
    page = serve_page(study=study_of(PEOPLE, turns=1))
    first, second = pair(page)
    first.do("say", text="hi there")
    second.do("say", text="hello you")
    talks = page.recordings.talks()
    ((talk, dialogue),) = text_of(talks, whole=False)
    assert dialogue.utterances == ["hi there", "hello you"]
    assert dialogue.personas == (talk.partner_persona, talk.persona)
    sides, _ = sides_of_talks(talks)
    assert [(side.own, side.is_program) for side in sides] == [(("hi there",), False), (("hello you",), False)]
    assert len({side.talk for side in sides}) == 1
    second.ask("DELETE", "/api/talks")
    assert text_of(page.recordings.talks(), whole=False) == []


def test_who_deletes_their_talk_is_gone_from_the_partners_too(serve_page) -> None:
    page = serve_page(study=study_of(PEOPLE))
    first, second = pair(page)
    first.do("say", text="a secret of mine")
    second.do("say", text="how nice")
    (own,) = first.ask("GET", "/api/talks").json["talks"]
    assert first.ask("DELETE", f"/api/talks/{own['id']}").status == 200
    (left,) = page.recordings.talks()
    assert left.texts == [DELETED, "how nice"]
    assert b"secret" not in b"".join(path.read_bytes() for path in page.recordings.path.parent.iterdir())
    state = second.state()
    assert (state["stage"], state["can_answer"]) == ("gone", True)
    assert second.do("say", text="still there ?").status == 409
    assert first.state()["stage"] == "start"


def test_a_talk_that_is_deleted_before_the_first_reply_is_over(serve_page, gate, monkeypatch) -> None:
    monkeypatch.setattr(pairing.random.SystemRandom, "random", lambda self: 0.1)  # the participant begins
    page = serve_page(study=study_of(PROGRAM))
    who = Participant(page)
    who.begin()
    who.do("say", text="a secret")
    (talk,) = page.recordings.talks()
    assert who.ask("DELETE", f"/api/talks/{talk.id}").status == 200
    assert who.state()["stage"] == "start"
    gate.set()
    page.queue.close()
    assert page.recordings.talks() == []


def test_what_a_program_could_not_read_is_too_long_for_a_person_too(serve_page, monkeypatch) -> None:
    page = serve_page(study=study_of(PEOPLE, PROGRAM, wait=1000.0))
    monkeypatch.setattr(pairing.random.SystemRandom, "choice", lambda self, conditions: conditions[0])  # PEOPLE
    monkeypatch.setattr(pairing.random.SystemRandom, "uniform", lambda self, least, most: least)  # nobody waits long
    first, second = pair(page)
    answer = first.do("say", text="\U0001f600" * 500)
    assert (answer.status, answer.json["problem"]) == (400, "that is too long: say it in fewer words")
    assert first.do("say", text="hi").status == 200
    assert second.until()["turns"] == [{"mine": False, "text": "hi"}]


def test_what_is_refused_does_not_count_as_an_utterance(serve_page) -> None:
    page = serve_page(study=study_of(PROGRAM, turns=3), replies=1)
    who = Participant(page)
    who.begin()
    who.until()
    for _ in range(2):
        assert who.do("say", text="\U0001f600" * 500).status == 400
    assert who.do("say", text="hi").status == 200
    who.until()
    assert who.do("say", text="hi").status == 429


def test_every_program_must_be_able_to_read_what_is_said(serve_page, monkeypatch) -> None:
    """The second program has less room, because its replies may be longer; the participant talks with the first."""
    monkeypatch.setattr(pairing.random.SystemRandom, "choice", lambda self, conditions: conditions[0])
    page = serve_page()
    context = page.queue.trained.context_length
    wordy = replace(COLD, sampling=replace(COLD.sampling, max_new_tokens=context - 80))
    page = serve_page(study=study_of(PROGRAM, wordy))
    who = Participant(page)
    who.begin()
    who.until()
    assert who.do("say", text="dogs and cats " * 35).status == 400
    assert who.do("say", text="hi").status == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"fluency": 0},
        {"engagement": True},
        {"consistency": "3"},
        {"persona": 2},
        {"persona": None},
        {"persona": False},
        {"partner": "bot"},
        {"partner": None},
    ],
)
def test_answers_that_are_none(serve_page, wrong) -> None:
    page = serve_page(study=study_of(PROGRAM, turns=1))
    who = Participant(page)
    assert who.do("rate", **ANSWERS).status == 409
    assert who.do("rate", **ANSWERS | wrong).status == 400


OWN = (
    Question("humour", "Funny?", "scale", ("no", "yes")),
    Question("tongue", "Is it English?", "choice", ("yes", "no")),
    Question("remarks", "Anything else?", "open"),
)


def test_own_questions_end_a_talk_as_the_five_do(serve_page) -> None:
    """Without the question for the partner, too."""
    page = serve_page(study=replace(study_of(PROGRAM, turns=1), questions=OWN))
    who = Participant(page)
    who.begin()
    state = who.talk_through()
    assert [question["name"] for question in state["questions"]] == ["humour", "tongue", "remarks"]
    right = {"humour": 5, "tongue": "no", "remarks": " a\nb "}
    for wrong in ({"humour": 6}, {"humour": True}, {"tongue": "perhaps"}, {"remarks": None}, {"remarks": "x" * 2001}):
        assert who.do("rate", **right | wrong).status == 400
    state = who.do("rate", **right).json
    assert (state["stage"], state["partner"], state["guess"], state["persona_guessed"]) == (
        "result",
        "program",
        None,
        None,
    )
    (talk,) = page.recordings.talks()
    assert talk.ratings == {"humour": 5, "tongue": "no", "remarks": {"words": "a b"}}
    assert (talk.persona, is_blind(talk)) == (state["persona"], False)
    assert parse_talk(talk.line().encode()) == talk
    assert who.state()["stage"] == "result"


def test_a_participant_has_as_many_talks_as_the_study_wants_and_then_the_closing_text(serve_page) -> None:
    """Nobody reads the completion code before; a talk that was given up is no answered one."""
    study = replace(study_of(PROGRAM, COLD, turns=1), talks=2, closing="Your code: C1")
    page = serve_page(study=study)
    who, heard = Participant(page), []
    key = who.ask("GET", "/api/start").json["participant"]
    for _ in range(2):  # talks of another study do not count
        page.recordings.save(make_talk("hi", "ho", source="study:t:x", participant=key, ratings={"partner": "person"}))
    for _ in range(2):
        who.begin()
        heard.append(who.talk_through())
        heard.append(who.do("leave").json)
    for is_last in (False, True):
        who.begin()
        heard.append(who.talk_through())
        assert "C1" not in str(heard) + who.ask("GET", "/api/start").text
        state = who.do("rate", **ANSWERS).json
        assert (state["is_last"], state["closing"]) == (is_last, "Your code: C1" if is_last else "")
        heard.append(state) if not is_last else None
    answer = who.do("begin", agreed=wording("you agree"))
    assert (answer.status, answer.json["problem"]) == (403, "you have had all the talks of this study")
    page = serve_page(study=replace(study, conditions=(replace(PROGRAM, name="new"),)))  # the old conditions are gone
    who.port = page.port
    state = who.state()
    assert (state["stage"], state["is_last"], state["closing"]) == ("start", True, "Your code: C1")
    assert who.do("begin", agreed=wording("you agree")).status == 403
    who.ask("DELETE", "/api/talks")
    assert (who.state()["closing"], who.begin()["stage"]) == ("", "talk")


def test_a_closing_text_without_a_number_of_talks_follows_every_talk(serve_page) -> None:
    page = serve_page(study=replace(study_of(PROGRAM, turns=1), closing="thanks"))
    who = Participant(page)
    assert who.state()["closing"] == ""
    who.begin()
    who.talk_through()
    state = who.do("rate", **ANSWERS).json
    assert (state["is_last"], state["closing"], who.begin()["stage"]) == (False, "thanks", "talk")


def test_limits_hold_in_a_study(serve_page) -> None:
    page = serve_page(study=study_of(PROGRAM, turns=1), talks=1, replies=1)
    who = Participant(page)
    who.begin()
    who.talk_through()
    who.do("leave")
    answer = who.do("begin", agreed=wording("you agree"))
    assert (answer.status, answer.json["problem"]) == (403, "you have 1 talk: delete some to begin another")
    assert who.ask("DELETE", "/api/talks").json["deleted"] == 1
    who.begin()
    who.until()
    assert who.do("say", text="hi").status == 429
    assert who.do("say", text="x" * 501).status == 400


class WatchedLock:
    """A lock that tells whether somebody has asked for it."""

    def __init__(self) -> None:
        self.lock, self.is_asked_for = threading.RLock(), False

    def __enter__(self) -> None:
        self.is_asked_for = True
        self.lock.acquire()

    def __exit__(self, *error: object) -> None:
        self.lock.release()


@pytest.mark.parametrize("path", ["/api/talks", "/api/talks/{id}"])
def test_a_deletion_waits_until_nobody_reads_or_changes_the_round(serve_page, path) -> None:
    page = serve_page(study=study_of(PROGRAM, turns=1))
    who = Participant(page)
    who.begin()
    who.talk_through()
    (talk,) = page.recordings.talks()
    deletion = threading.Thread(target=who.ask, args=["DELETE", path.format(id=talk.id)])
    lock = page.page.pairing.lock = WatchedLock()
    with lock.lock:
        deletion.start()
        wait_until(lambda: lock.is_asked_for or not deletion.is_alive())
        assert page.recordings.count() == 1
    deletion.join()
    assert page.recordings.count() == 0


def test_a_talk_ends_when_another_model_has_taken_its_partners_place(serve_page) -> None:
    page = serve_page(study=study_of(PROGRAM))
    who = Participant(page)
    who.begin()
    who.until()
    who.do("say", text="hi")
    who.until()
    (before,) = page.recordings.talks()
    page.queue.trained = replace(page.queue.trained, checksum="decaf")
    assert who.do("say", text="and you ?").status == 409
    assert who.state()["stage"] == "gone"
    assert who.do("finish").json["stage"] == "questions"
    (talk,) = page.recordings.talks()
    assert (talk.turns, talk.model_checksum) == (before.turns, "c0ffee")
