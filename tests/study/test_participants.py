"""study_page.py and rounds.py through a real server: who talks with whom, what they are shown, what is recorded."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from personagpt.detection.sides import sides_of_talks
from personagpt.model.sampling import Sampling
from personagpt.records.consents import kept_consents, wording
from personagpt.records.export import text_of
from personagpt.records.talks import DELETED, Talk, Turn, is_blind
from personagpt.study.pairing import Pairing, seconds_to_answer
from personagpt.study.settings import Condition, Study
from personagpt.talking import rounds
from personagpt.text.style import Style, Writing
from tests.helpers import Answer, ServedPage, Visitor

PROGRAM = Condition("program-1", "m", Sampling(), None)
COLD = Condition("program-2", "m", Sampling(temperature=0.5), 4)
PEOPLE = Condition("people", None, Sampling(), None)
PERSONAS = tuple((f"i have {name} .", f"i like {name} a lot .") for name in ("dogs", "cats", "tea", "cars", "books"))
QUICK = {"wait": 0.0, "letters_per_second": 0.0}
ANSWERS = {"fluency": 1, "consistency": 3, "engagement": 5, "persona": 0, "partner": "person"}


def study_of(*conditions: Condition, turns: int = 2, **times: float) -> Study:
    return Study("s", "A study", "you agree", turns, conditions, PERSONAS, **QUICK | times)


class Participant(Visitor):
    def do(self, action: str, **content: object) -> Answer:
        return self.ask("POST", f"/api/round/{action}", content)

    def state(self) -> dict:
        """What the page would show now: the first event."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request("GET", "/api/round", headers=self.headers)
            answer = connection.getresponse()
            assert answer.readline() == b"event: state\n"
            return json.loads(answer.readline().removeprefix(b"data: "))

    def until(self, stage: str = "talk", yours: bool | None = True) -> dict:
        """Wait for a stage; for the participant's turn."""
        for _ in range(1000):
            state = self.state()
            if state["stage"] == stage and (stage != "talk" or yours in (None, state["yours"])):
                return state
            time.sleep(0.01)
        raise AssertionError(state)

    def begin(self) -> dict:
        return self.do("begin", agreed=wording("you agree")).json

    def talk_through(self) -> dict:
        """Say something whenever it is their turn, until the questions."""
        for number in range(100):
            state = self.state()
            if state["stage"] == "questions":
                return state
            if state.get("yours"):
                assert self.do("say", text=f"word {number}").status == 200
        raise AssertionError(state)


def pair(page: ServedPage) -> tuple[Participant, Participant]:
    """Two who talk with each other; the first one begins."""
    both = Participant(page), Participant(page)
    for one in both:
        one.begin()
    both[0].until(yours=None)
    return both if both[0].state()["yours"] else both[::-1]


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


def test_how_a_program_replies_is_its_conditions(serve_page) -> None:
    page = serve_page(study=study_of(COLD, turns=1))
    who = Participant(page)
    who.begin()
    who.talk_through()
    (talk,) = page.recordings.talks()
    assert (talk.sampling["temperature"], talk.sampling["max_history"]) == (0.5, 4)


def test_no_answer_says_who_the_partner_is_before_the_questions_are_answered(serve_page) -> None:
    page = serve_page(study=study_of(COLD))
    who, heard = Participant(page), []
    ask, state = who.ask, who.state

    def listen(*arguments: object, **options: object) -> Answer:
        heard.append(ask(*arguments, **options))
        return heard[-1]

    who.ask = listen
    who.begin()
    first = who.until()
    who.do("say", text="hi")
    running = page.recordings.talks()[0]
    for method, path in (("GET", "talks"), ("GET", f"talks/{running.id}"), ("GET", "talks.jsonl"), ("GET", "start")):
        who.ask(method, f"/api/{path}")
    for path in ("persona", f"talks/{running.id}/reply"):
        assert who.ask("GET", f"/api/{path}").status == 404
    for action in ("say", "retry", "undo", "correct", "flag"):
        assert who.ask("POST", f"/api/talks/{running.id}/{action}", {"text": "x"}).status == 404
    who.talk_through()
    who.do("say", text="hi")
    who.do("rate", **ANSWERS | {"fluency": 6})
    who.ask("GET", "/api/talks.jsonl")
    text = "".join(answer.text + str(answer.headers) for answer in heard) + str(state()) + str(first)
    for secret in ("program-", "c0ffee", "temperature", "model", "human", "study:s", "batch", "context"):
        assert secret not in text.replace(str(page.recordings.path), "")
    assert who.ask("GET", f"/api/talks/{running.id}").status == 409
    assert who.ask("GET", "/api/talks.jsonl").text == ""
    assert who.ask("GET", "/api/talks").json["talks"] == [{"id": running.id, "running": True}]
    who.do("rate", **ANSWERS)
    assert json.loads(who.ask("GET", "/api/talks.jsonl").text)["source"] == "study:s:program-2"
    assert who.ask("GET", f"/api/talks/{running.id}").json["partner"] == "program"


def test_the_other_page_shows_no_running_talk_of_a_study(serve_page) -> None:
    page = serve_page()
    who = Visitor(page)
    participant = who.ask("GET", "/api/start").json["participant"]
    talk = Talk("m", "c", {"seed": 1}, ["i am old ."], source="study:s:a", participant=participant)
    page.recordings.save(replace(talk, turns=[Turn("human", "hi"), Turn("model", "hello")]))
    assert who.ask("GET", f"/api/talks/{talk.id}").status == who.do({"id": talk.id}, "undo").status == 404
    assert (who.ask("GET", "/api/talks").json, who.ask("GET", "/api/talks.jsonl").text) == ({"talks": []}, "")
    (found,) = page.recordings.talks()
    page.recordings.save(replace(found, ratings={"ended": "left"}))
    assert who.ask("GET", f"/api/talks/{talk.id}").status == 200
    assert who.do({"id": talk.id}, "retry").status == 409


def test_two_people_talk_with_each_other(serve_page) -> None:
    page = serve_page(study=study_of(PEOPLE, turns=1))
    first, second = pair(page)
    assert second.do("say", text="me first").status == 409
    times = [state["time"] for state in (first.state(), second.state(), first.state())]
    assert times == sorted(times)  # a browser can tell which is newer
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


def test_all_write_in_the_style_of_the_first_model(serve_page, monkeypatch) -> None:
    style = Style(Writing(1.0, 0.0, 1.0), Writing(1.0, 1.0, 0.5), 2, 8)
    study = replace(
        study_of(PEOPLE, PROGRAM, wait=1000.0),
        personas=(("I am A.", "i run"), ("I am B.", "i swim"), ("I am C.", "i sit")),
    )
    page = serve_page(study=study)
    page.desk.trained = replace(page.desk.trained, style=style)
    monkeypatch.setattr(Pairing, "_draw", lambda self, among: PEOPLE if PEOPLE in among else PROGRAM)
    monkeypatch.setattr(rounds.random.SystemRandom, "uniform", lambda self, least, most: least)  # nobody waits long
    first, second = pair(page)
    state = first.do("say", text="Hi! I'm Bob, OK?").json
    assert state["turns"][0]["text"] == second.until()["turns"][0]["text"] == "hi ! i'm bob , ok ?"
    assert tuple(state["persona"]) in study.personas  # these are a text's, and stay as they are


def test_who_waits_behind_a_closed_page_is_not_joined(serve_page, monkeypatch) -> None:
    monkeypatch.setattr(rounds, "FRESH", 0.1)
    page = serve_page(study=study_of(PEOPLE))
    first, second = Participant(page), Participant(page)
    first.begin()
    time.sleep(0.2)
    assert second.begin()["stage"] == "waiting"
    first.state()
    assert second.until(yours=None)["stage"] == "talk"


def test_everybody_waits(serve_page) -> None:
    """Else who has a partner at once would know what it is."""
    for conditions in ((PROGRAM,), (PEOPLE, PROGRAM)):
        who = Participant(serve_page(study=study_of(*conditions, wait=3000.0)))
        assert who.begin().keys() == who.state().keys() == {"stage", "time"}
        assert who.state()["stage"] == "waiting"


def test_a_program_that_steps_in_may_take_as_long_as_somebody_who_comes_late(serve_page, monkeypatch) -> None:
    """Else a talk that begins just when the time to wait is over would be with a program."""
    monkeypatch.setattr(rounds.random.SystemRandom, "uniform", lambda self, least, most: most)
    monkeypatch.setattr(Pairing, "_draw", lambda self, among: among[0])
    page = serve_page()
    found = Pairing(study_of(PEOPLE, PROGRAM, wait=1000.0), {"m": page.desk}, page.recordings)
    found.begin("who")
    found.of("who").asked -= 1000  # seconds ago
    one = found.of("who")
    assert one.talk.ratings == {"waited": True}
    assert one.begins > time.monotonic() + 200


def test_what_people_say_is_no_models_and_is_exported_once(serve_page) -> None:
    page = serve_page(study=study_of(PEOPLE, turns=1))
    first, second = pair(page)
    first.do("say", text="hi there")
    second.do("say", text="hello you")
    talks = page.recordings.talks()
    ((talk, dialogue),) = text_of(talks, whole=False)
    assert dialogue.utterances == ["hi there", "hello you"]
    assert dialogue.personas == (talk.partner_persona, talk.persona)
    sides = sides_of_talks(talks)
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


def test_whose_page_is_closed_is_told_to_the_other_and_may_come_back(serve_page, monkeypatch) -> None:
    page = serve_page(study=study_of(PEOPLE, away=0.4))
    first, second = pair(page)
    first.do("say", text="hi")
    deadline = time.monotonic() + 10
    while second.state()["stage"] != "gone":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    first.state()
    assert second.state()["stage"] == "talk"


def test_a_program_comes_where_nobody_else_does(serve_page) -> None:
    page = serve_page(study=study_of(PEOPLE, PROGRAM, turns=1))
    for number in range(3):  # a talk of each condition, and of the third the condition is drawn
        who = Participant(page)
        who.begin()
        who.talk_through()
        assert len(page.recordings.talks()) == number + 1
    assert {talk.source for talk in page.recordings.talks()} == {"study:s:program-1"}
    assert any(talk.ratings == {"waited": True} for talk in page.recordings.talks())


def test_where_there_is_no_program_who_waits_goes_on_waiting(serve_page) -> None:
    page = serve_page(study=study_of(PEOPLE))
    who = Participant(page)
    assert who.begin()["stage"] == who.state()["stage"] == "waiting"
    assert who.do("say", text="hello ?").status == who.do("begin", agreed=wording("you agree")).status == 409
    assert who.do("leave").json["stage"] == "start"
    assert not page.recordings.path.exists()


def test_conditions_are_drawn_evenly_and_after_a_restart_too(serve_page) -> None:
    study = study_of(PROGRAM, COLD, replace(COLD, name="program-3"), turns=1)
    for count in (2, 6):
        page = serve_page(study=study)
        while sum(page.recordings.count_by_source("study:s:").values()) < count:
            who = Participant(page)
            who.begin()
            who.talk_through()
    assert set(page.recordings.count_by_source("study:s:").values()) == {2}
    assert page.recordings.count_by_source("study:other:") == {}
    for _ in range(2):  # given up: not counted
        who = Participant(page)
        who.begin()
        who.do("leave")
    assert sum(page.recordings.count_by_source("study:s:").values()) == 6


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


def test_a_reply_is_shown_whole_and_not_at_once(serve_page, monkeypatch) -> None:
    page = serve_page(study=study_of(PROGRAM, letters_per_second=4.0))
    who = Participant(page)
    monkeypatch.setattr(rounds.random.SystemRandom, "random", lambda self: 0.1)  # the participant begins
    monkeypatch.setattr("personagpt.study.participants.seconds_to_answer", lambda *given: waits[0])
    waits = [1000.0]
    who.begin()
    who.do("say", text="hi")
    while len(page.recordings.talks()[0].turns) < 2:
        time.sleep(0.01)
    state = who.state()
    assert (state["yours"], state["turns"]) == (False, [{"mine": True, "text": "hi"}])
    assert who.do("say", text="hello ?").status == 409
    assert who.do("flag", turn=1, kinds=["other"]).status == 409
    waits[0] = 0.0
    state = who.state()
    assert (state["yours"], len(state["turns"])) == (True, 2)


def test_what_a_program_could_not_read_is_too_long_for_a_person_too(serve_page, monkeypatch) -> None:
    page = serve_page(study=study_of(PEOPLE, PROGRAM, wait=1000.0))
    monkeypatch.setattr(Pairing, "_draw", lambda self, among: PEOPLE if PEOPLE in among else PROGRAM)
    monkeypatch.setattr(rounds.random.SystemRandom, "uniform", lambda self, least, most: least)  # nobody waits long
    first, second = pair(page)
    answer = first.do("say", text="\U0001f600" * 500)
    assert (answer.status, answer.json["problem"]) == (400, "that is too long: say it in fewer words")
    assert first.do("say", text="hi").status == 200
    assert second.until()["turns"] == [{"mine": False, "text": "hi"}]


def test_no_state_tells_how_many_others_are_here(serve_page) -> None:
    """Who is alone would know that the partner is a program."""
    page = serve_page(study=study_of(PROGRAM, wait=3000.0))
    who, other = Participant(page), Participant(page)
    before = who.state()["time"]
    for _ in range(20):
        other.state()
    assert who.state()["time"] - before < 20  # seconds, not looks


def test_no_list_tells_that_a_program_is_about_to_begin(serve_page, monkeypatch) -> None:
    """A person's first words are on record when they are shown; a program's before."""
    page = serve_page(study=study_of(PROGRAM, letters_per_second=4.0))
    who = Participant(page)
    monkeypatch.setattr(rounds.random.SystemRandom, "random", lambda self: 0.9)  # the program begins
    waits = [1000.0]
    monkeypatch.setattr("personagpt.study.participants.seconds_to_answer", lambda *given: waits[0])
    who.begin()
    while not page.recordings.talks():
        who.state()
    assert who.state()["turns"] == who.ask("GET", "/api/talks").json["talks"] == []
    waits[0] = 0.0
    assert [one["running"] for one in who.ask("GET", "/api/talks").json["talks"]] == [True]


def test_how_long_a_person_would_take() -> None:
    draw = random.Random(1)
    assert seconds_to_answer("a" * 100, "b" * 40, 0, draw) == 0
    for _ in range(100):  # 5 to read, 0.5 to 2.5 to think, 8 to 12.5 to type
        assert 13.5 <= seconds_to_answer("a" * 100, "b" * 40, 4.0, draw) <= 20


def test_who_leaves_while_a_program_begins_leaves_nothing_on_record(serve_page, gate, monkeypatch) -> None:
    page = serve_page(study=study_of(PROGRAM))
    monkeypatch.setattr(rounds.random.SystemRandom, "random", lambda self: 0.9)  # the program begins
    who = Participant(page)
    assert who.begin()["yours"] is False
    assert who.do("leave").json["stage"] == "start"
    gate.set()
    page.desk.close()
    assert page.recordings.talks() == []
    assert who.state()["stage"] == "start"


def test_a_program_does_not_answer_the_last_words(serve_page, monkeypatch) -> None:
    page = serve_page(study=study_of(PROGRAM, turns=1))
    monkeypatch.setattr(rounds.random.SystemRandom, "random", lambda self: 0.9)  # the program begins
    who = Participant(page)
    who.begin()
    who.talk_through()
    page.desk.close()
    assert [turn.speaker for turn in page.recordings.talks()[0].turns] == ["model", "human"]


def test_either_side_may_begin(serve_page) -> None:
    page, begins = serve_page(study=study_of(PROGRAM, turns=1)), Counter()
    while len(begins) < 2:
        who = Participant(page)
        who.begin()
        state = who.until()
        begins[len(state["turns"])] += 1
        if state["turns"]:
            (talk,) = page.recordings.talks()
            assert [turn.speaker for turn in talk.turns] == ["model"]
            assert who.do("say", text="hi").json["stage"] == "questions"
            ((_, dialogue),) = text_of(
                [replace(talk, turns=[*talk.turns, Turn("human", "hi"), Turn("model", "x")])], True
            )
            assert dialogue.personas == (talk.persona, talk.partner_persona)
        who.do("leave")
        who.ask("DELETE", "/api/talks")


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


def test_a_full_desk_keeps_what_was_said(serve_page, gate) -> None:
    page = serve_page(study=study_of(PROGRAM), waiting=0)
    who = Participant(page)
    who.begin()
    for _ in range(20):
        state = who.state()
        if state.get("yours"):
            assert who.do("say", text="hi").status == 200
            assert [talk.texts for talk in page.recordings.talks()] == [["hi"]]
            break
    page.desk.most = 5
    gate.set()
    assert who.until()["turns"]


def test_limits_hold_in_a_study(serve_page) -> None:
    page = serve_page(study=study_of(PROGRAM, turns=1), talks=1, replies=1)
    who = Participant(page)
    who.begin()
    who.talk_through()
    who.do("leave")
    answer = who.do("begin", agreed=wording("you agree"))
    assert (answer.status, answer.json["problem"]) == (403, "you have 1 talks: delete some to begin another")
    assert who.ask("DELETE", "/api/talks").json == {"deleted": 1}
    who.begin()
    who.until()
    assert who.do("say", text="hi").status == 429
    assert who.do("say", text="x" * 501).status == 400


def test_another_participants_talk_is_out_of_reach(serve_page) -> None:
    page = serve_page(study=study_of(PEOPLE, turns=1))
    first, second = pair(page)
    first.do("say", text="hi")
    second.do("say", text="hello")
    one, other = page.recordings.talks()
    key = second.ask("GET", "/api/start").json["participant"]
    mine, theirs = (one, other) if one.participant == key else (other, one)
    assert second.ask("GET", f"/api/talks/{theirs.id}").status == 404
    assert second.ask("DELETE", f"/api/talks/{theirs.id}").status == 404
    assert [talk["id"] for talk in second.ask("GET", "/api/talks").json["talks"]] == [mine.id]
    assert Participant(page, cookie="").ask("GET", "/api/round").status == 403
