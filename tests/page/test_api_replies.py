"""personagpt/page/api_replies.py: a program behind an API as the partner in a study, and what happens when it fails."""

from __future__ import annotations

import sqlite3
import threading

import pytest

from personagpt.model import api
from personagpt.model.api_settings import Api, Drawing
from personagpt.model.sampling import Sampling
from personagpt.page.api_replies import shortened
from personagpt.page.problems import QueueFull
from personagpt.study import pairing
from personagpt.study.settings import Condition
from tests.api_server import KEY, creeping, hanging_up, refusing, serving, streamed, telling
from tests.page.served import wait_until
from tests.study.participation import ANSWERS, Participant, study_of

REPLY = "Hi — I’m *Bob*, and you?"


def behind(server, key_env: str | None = None, **options: object) -> Condition:
    return Condition("program-3", Api(server.url, "large-1", key_env, **options), Sampling(), None)


@pytest.fixture
def opening(monkeypatch):  # noqa: ANN201
    """opening(True): the participant begins."""
    return lambda begins: monkeypatch.setattr(pairing.random.SystemRandom, "random", lambda self: 0.9 - 0.8 * begins)


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch) -> None:
    monkeypatch.setattr(api.ApiProgram, "_closes_within", lambda self, seconds: False)


@pytest.fixture
def tell_at_once(monkeypatch):  # noqa: ANN201
    """tell_at_once(page): a participant need not wait until a program that failed counts as gone."""
    return lambda page: monkeypatch.setattr(page.api_queue._closed, "wait", lambda seconds: None)


@pytest.mark.parametrize("begins", [True, False])
def test_a_talk_and_what_is_recorded(serve_page, opening, monkeypatch, capfd, begins) -> None:
    opening(begins)
    monkeypatch.setenv("TEST_KEY", KEY)
    with serving(streamed(REPLY)) as server:
        condition = behind(server, "TEST_KEY", prompt="Play {facts}!", drawing=Drawing(30))
        page = serve_page(study=study_of(condition, turns=2))
        who = Participant(page)
        who.begin()
        who.talk_through()
        seen = who.ask("GET", "/api/talks.jsonl").text + str(who.state())
        who.do("rate", **ANSWERS)
        seen += who.ask("GET", "/api/talks.jsonl").text + str(who.state())
    (talk,) = page.recordings.talks()
    assert talk.model == f"api://127.0.0.1:{server.server_port}/large-1"
    assert talk.model_checksum == condition.model.checksum
    assert talk.sampling == condition.model.recorded
    assert [turn.speaker for turn in talk.turns] == ["human", "model"] * 2 if begins else ["model", "human"] * 2
    assert {turn.text for turn in talk.turns if turn.speaker == "model"} == {"Hi - I'm Bob, and you?"}
    roles = [message["role"] for message in server.requests[-1]["messages"]]
    assert roles == ["system", *(["user", "assistant", "user"] if begins else ["assistant", "user"])]
    assert server.requests[0]["messages"][0]["content"] == "\n".join(talk.persona).join(("Play ", "!"))
    # The key is nowhere: not in the recordings, not in what the browser got, not in what was printed.
    page.close()
    places = [path.read_bytes() for path in page.recordings.path.parent.rglob("*") if path.is_file()]
    assert places
    assert not any(KEY.encode() in place for place in [*places, seen.encode(), "".join(capfd.readouterr()).encode()])


def test_no_reply_is_longer_than_people_may_type() -> None:
    words = ("word " * 100)[:-1]  # 499 letters
    assert shortened(words + "s") == words + "s"
    assert shortened(words + "s are") == words + "s"
    assert shortened(words + "ily") == words[:-5]
    assert shortened("x" * 501) == "x" * 500


FAULTS = {
    "refused": refusing(401, f"the key {KEY} is wrong"),
    "half a stream": streamed("half", ""),
    "a page": telling(200, "<html>", "text/html"),
    "an empty reply": streamed(""),
    "no words": streamed("***"),
    "a broken connection": hanging_up,
    "long to wait": refusing(429, "later", retry_after="7200"),
}


@pytest.mark.parametrize("answer", FAULTS.values(), ids=FAULTS)
def test_a_program_that_fails_has_left_the_talk(serve_page, opening, tell_at_once, monkeypatch, capsys, answer) -> None:
    """The participant sees what they would see if a person had closed the page, and can answer or go on."""
    opening(True)
    monkeypatch.setenv("TEST_KEY", KEY)
    with serving(streamed("hello"), answer) as server:
        page = serve_page(study=study_of(behind(server, "TEST_KEY"), turns=3))
        tell_at_once(page)
        who = Participant(page)
        who.begin()
        who.do("say", text="hi")
        who.until()
        who.do("say", text="and you ?")
        view = who.until("gone")
        assert view | {"time": 0, "persona": []} == {
            "stage": "gone",
            "time": 0,
            "turns": [
                {"mine": True, "text": "hi"},
                {"mine": False, "text": "hello"},
                {"mine": True, "text": "and you ?"},
            ],
            "persona": [],
            "flags": [],
            "can_answer": True,
        }
        who.do("finish")
        who.until("questions")
        assert who.do("rate", **ANSWERS).json["stage"] == "result"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("a program has left its talk: ")
    assert KEY not in line
    (talk,) = page.recordings.talks()
    assert talk.ratings["ended"] == "rating"
    assert talk.texts == ["hi", "hello", "and you ?"]


def test_a_header_that_never_ends_holds_no_participant_up(serve_page, opening, capsys) -> None:
    opening(True)
    with serving(creeping(b"HTTP/1.1 200 OK\r\nx-slow: ")) as server:
        who = Participant(serve_page(study=study_of(behind(server), away=0.3)))
        who.begin()
        who.do("say", text="hi")
        who.until("gone")
    assert capsys.readouterr().err.endswith("large-1: no whole answer in time\n")


def test_a_program_that_fails_before_its_first_words(serve_page, opening, tell_at_once) -> None:
    opening(False)
    with serving(refusing(404, "no such model"), streamed("hello")) as server:
        page = serve_page(study=study_of(behind(server)))
        tell_at_once(page)
        who = Participant(page)
        who.begin()
        assert who.until("gone")["can_answer"] is False
        assert page.recordings.talks() == []
        who.begin()  # another talk; the program is back
        assert who.until()["turns"] == [{"mine": False, "text": "hello"}]


def test_a_participant_who_is_told_of_a_failure_waits_as_for_a_person(serve_page, opening, monkeypatch) -> None:
    opening(True)
    held = threading.Event()
    with serving(refusing(401, "no")) as server:
        page = serve_page(study=study_of(behind(server), away=1000.0))
        monkeypatch.setattr(page.api_queue._closed, "wait", lambda seconds: held.wait() if seconds > 900 else None)
        who = Participant(page)
        who.begin()
        who.do("say", text="hi")
        wait_until(lambda: server.requests)
        assert who.state()["stage"] == "talk"
        held.set()
        who.until("gone")


def test_many_talks_do_not_wait_for_each_other(serve_page) -> None:
    held = threading.Event()

    def slow(handler) -> None:
        held.wait()
        streamed("at last")(handler)

    with serving(slow, streamed("hello")) as server:
        page = serve_page(study=study_of(behind(server)), waiting=2)
        talks = [page.api_queue.new_talk(["i am old."], Sampling(), 1, "p", "study:s:program-3") for _ in range(5)]
        page.api_queue.ask(talks[0])
        wait_until(lambda: server.requests)
        page.api_queue.ask(talks[1])
        wait_until(lambda: page.api_queue.reply_of(talks[1].id).done)
        assert not page.api_queue.reply_of(talks[0].id).done
        page.api_queue.ask(talks[2])
        wait_until(lambda: page.api_queue.reply_of(talks[2].id).done)
        server.answers = [slow]
        page.api_queue.ask(talks[3])
        with pytest.raises(QueueFull):
            page.api_queue.ask(talks[4])
        held.set()
        wait_until(lambda: page.api_queue.reply_of(talks[0].id).done)
    assert page.recordings.talks(ids=[talks[0].id])[0].texts == ["at last"]


def test_a_reply_that_cannot_be_recorded_holds_nobody_up(
    serve_page, opening, tell_at_once, monkeypatch, capsys
) -> None:
    opening(True)
    with serving(streamed("hello")) as server:
        page = serve_page(study=study_of(behind(server)))
        tell_at_once(page)
        who, save = Participant(page), page.recordings.save

        def fail_on_replies(*talks) -> None:
            if talks[0].turns and talks[0].turns[-1].speaker == "model":
                raise sqlite3.OperationalError("disk I/O error")
            save(*talks)

        monkeypatch.setattr(page.recordings, "save", fail_on_replies)
        who.begin()
        who.do("say", text="hi")
        who.until("gone")
    assert "a program has left its talk: OperationalError: disk I/O error" in capsys.readouterr().err
