"""personagpt/study/view.py: what participants see, and that it does not tell who the partner is."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from personagpt.model.api_settings import Api
from personagpt.model.sampling import Sampling
from personagpt.study import pairing
from personagpt.study.settings import Condition
from personagpt.study.view import persona_choices
from personagpt.text.style import Style, Writing
from tests.api_server import serving, streamed
from tests.page.served import Answer, script, wait_until
from tests.records.making import make_talk
from tests.study.participation import ANSWERS, COLD, PEOPLE, PROGRAM, Participant, study_of

CHANCE = re.compile(r'i (have|like) \w+( a lot)? \.|"time": [\d.e-]+|"(id|participant)": ?"[0-9a-f]+"|visitor=[\w-]+')
STYLE = Style(Writing(1.0, 0.0, 1.0), Writing(1.0, 1.0, 0.5), 2, 8)


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


def test_the_bytes_are_the_same_whoever_the_partner_is(serve_page, monkeypatch) -> None:
    """A person, a model, and a program behind an API say the same words: only ids, times and personas differ."""
    words = ["Hi!", "I’m fine , and you ?"]
    monkeypatch.setattr(pairing.random.SystemRandom, "random", lambda self: 0.1)  # the participant begins
    monkeypatch.setattr(pairing.random.SystemRandom, "sample", lambda self, given, count: list(given)[:count])
    monkeypatch.setattr(pairing.random.SystemRandom, "uniform", lambda self, least, most: least)  # nobody waits long
    seen = []
    with serving(lambda handler: streamed(words[len(handler.body["messages"]) // 4])(handler)) as server:
        conditions = PEOPLE, PROGRAM, Condition("far", Api(server.url, "m"), Sampling(), None)
        for condition in conditions:
            monkeypatch.setattr(pairing.random.SystemRandom, "choice", lambda self, given, drawn=condition: drawn)
            study = replace(study_of(*conditions, wait=1000.0), name=condition.name)
            seen.append(_seen(serve_page(study=study), words, condition, monkeypatch))
    assert len(seen[0]) > 10
    assert seen[0] == seen[1] == seen[2]
    assert any("i'm fine , and you ?" in text for text in seen[0])


def _seen(page, words: list[str], condition: Condition, monkeypatch) -> list[str]:
    """Return all that the browser of a participant gets in a talk, without what chance decides."""
    page.queue.trained = replace(page.queue.trained, style=STYLE)
    script(monkeypatch, "hi !", "i'm fine , and you ?")
    other, who, views = Participant(page), Participant(page), []
    if condition is PEOPLE:
        other.begin()
    who.begin()
    for word in words:
        views.append(who.until())
        views.append(who.do("say", text="Who?").status)  # the stage depends on how soon the reply is made
        if condition is PEOPLE:
            other.until()
            other.do("say", text=word.replace("’", "'"))
    views.append(who.until("questions"))
    answers = [who.ask("GET", f"/api/{path}") for path in ("talks", "talks.jsonl", "start", "none")]
    answers += [who.do("say", text="hi"), who.do("rate", fluency=9)]
    page.close()
    heard = [f"{answer.status} {sorted(answer.headers)} {answer.text}" for answer in answers]
    return [CHANCE.sub("-", text) for text in [*map(json.dumps, views), *heard]]


def test_a_reply_is_shown_whole_and_not_at_once(serve_page, monkeypatch) -> None:
    page = serve_page(study=study_of(PROGRAM, letters_per_second=4.0))
    who = Participant(page)
    monkeypatch.setattr(pairing.random.SystemRandom, "random", lambda self: 0.1)  # the participant begins
    monkeypatch.setattr("personagpt.study.pauses.seconds_to_answer", lambda *given: waits[0])
    waits = [1000.0]
    who.begin()
    who.do("say", text="hi")
    wait_until(lambda: len(page.recordings.talks()[0].turns) == 2)
    state = who.state()
    assert (state["yours"], state["turns"]) == (False, [{"mine": True, "text": "hi"}])
    assert who.do("say", text="hello ?").status == 409
    assert who.do("flag", turn=1, kinds=["other"]).status == 409
    waits[0] = 0.0
    page.stages.pauses.ends.clear()
    state = who.state()
    assert (state["yours"], len(state["turns"])) == (True, 2)


def test_no_state_tells_how_many_others_are_here(serve_page) -> None:
    """Who is alone would know that the partner is a program."""
    page = serve_page(study=study_of(PROGRAM, wait=3000.0))
    who, other = Participant(page), Participant(page)
    before = who.state()
    for _ in range(20):
        other.state()
    assert who.state() == before


def test_no_list_tells_that_a_program_is_about_to_begin(serve_page, monkeypatch) -> None:
    """A person's first words are on record when they are shown; a program's before."""
    page = serve_page(study=study_of(PROGRAM, letters_per_second=4.0))
    who = Participant(page)
    monkeypatch.setattr(pairing.random.SystemRandom, "random", lambda self: 0.9)  # the program begins
    waits = [1000.0]
    monkeypatch.setattr("personagpt.study.pauses.seconds_to_answer", lambda *given: waits[0])
    who.begin()
    who.state()
    wait_until(page.recordings.talks)
    assert who.state()["turns"] == who.ask("GET", "/api/talks").json["talks"] == []
    waits[0] = 0.0
    page.stages.pauses.ends.clear()
    assert [one["running"] for one in who.ask("GET", "/api/talks").json["talks"]] == [True]


def test_the_false_persona_is_another_one_and_the_talk_decides_which() -> None:
    personas = [["a .", "b ."], ["c .", "d ."], ["a .", "e ."], ["f .", "g ."], ["h .", "i ."]]
    talks = [make_talk("hi", "ho") for _ in range(40)]
    for talk in talks:
        talk.persona, talk.partner_persona = personas[0], personas[1]
    shown = [persona_choices(talk, personas) for talk in talks]
    assert shown == [persona_choices(talk, personas) for talk in talks]
    assert {true for _, true in shown} == {0, 1}
    assert all(choices[true] == personas[0] for choices, true in shown)
    false = [choices[1 - true] for choices, true in shown]
    assert {tuple(persona) for persona in false} == {("f .", "g ."), ("h .", "i .")}  # without a fact in common
