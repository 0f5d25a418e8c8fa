"""personagpt/page/routes.py through a real server: events, downloads, and requests that are no requests."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from personagpt.errors import RunError, UserError
from personagpt.page import routes
from personagpt.page.problems import UNUSABLE
from personagpt.records.talks import parse_talk
from tests.page.served import ServedPage, Visitor, recorded, talked


@pytest.fixture
def page(serve_page) -> ServedPage:
    return serve_page()


@pytest.fixture
def visitor(page) -> Visitor:
    return Visitor(page)


def test_a_reply_streams_and_only_grows(page, visitor) -> None:
    talk = visitor.begin("hi")
    events = visitor.ask("GET", f"/api/talks/{talk['id']}/reply").text.split("\n\n")[:-1]
    assert events[-1].startswith("event: end\n")
    texts = [json.loads(event.partition("data: ")[2])["text"] for event in events[:-1] if event.startswith("event: t")]
    assert all(later.startswith(before) for before, later in itertools.pairwise(texts))
    assert recorded(page).texts[1].startswith(texts[-1].strip() if texts else "")


def test_my_talks_are_listed_downloaded_and_deleted(page, visitor) -> None:
    first, second = talked(visitor, "secret one"), talked(visitor, "secret two")
    others = talked(Visitor(page), "another's")
    listed = visitor.ask("GET", "/api/talks").json["talks"]
    assert [(one["id"], one["turns"]) for one in listed] == [(second["id"], 2), (first["id"], 2)]
    download = visitor.ask("GET", "/api/talks.jsonl")
    assert "attachment" in download.headers["content-disposition"]
    assert [parse_talk(line.encode()).id for line in download.text.splitlines()] == [first["id"], second["id"]]
    assert visitor.ask("DELETE", f"/api/talks/{first['id']}").status == 200
    assert visitor.ask("DELETE", "/api/talks").json["deleted"] == 1
    assert recorded(page).id == others["id"]
    folder = page.recordings.path.parent
    assert b"secret" not in b"".join(path.read_bytes() for path in folder.iterdir())


def test_a_download_names_no_folder_of_this_machine(page, visitor) -> None:
    page.queue.trained = replace(page.queue.trained, name="/home/somebody/best")
    talked(visitor, "hi")
    download = visitor.ask("GET", "/api/talks.jsonl")
    assert json.loads(download.text)["model"] == "best-c0ffee"
    assert recorded(page).model == "/home/somebody/best"


def test_a_download_of_what_cannot_be_read_is_told_to_both(page, visitor, monkeypatch, capsys) -> None:
    def fail(*given: object) -> None:
        raise RunError("talks.sqlite: another program keeps it busy")

    monkeypatch.setattr(page.recordings, "talks", fail)
    assert visitor.ask("GET", "/api/talks.jsonl").status == 503
    assert capsys.readouterr().err == "talks.sqlite: another program keeps it busy\n"


def test_a_file_that_is_no_recording_is_told_without_its_path(page, visitor, capsys) -> None:
    """The operator learns which file it is, and a visitor whom to tell."""
    page.recordings.path.parent.mkdir()
    page.recordings.path.write_bytes(b"no database" * 1000)
    begun = {"persona": ["i am old ."], "text": "hi"}
    talk = "0" * 32
    asked = [("GET", "talks"), ("GET", "talks.jsonl"), ("GET", f"talks/{talk}"), ("GET", f"talks/{talk}/reply")]
    for method, path in (*asked, ("POST", "talks"), ("POST", f"talks/{talk}/undo"), ("DELETE", f"talks/{talk}")):
        answer = visitor.ask(method, f"/api/{path}", begun)
        assert (answer.status, answer.json["problem"]) == (503, UNUSABLE[method])
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"{page.recordings.path}: not a file of recorded talks")


def test_a_file_that_is_damaged_during_a_reply_is_told_without_its_path(
    page, visitor, gate, monkeypatch, capsys
) -> None:
    def fail(*given: object) -> None:
        raise UserError(f"{page.recordings.path}: not a file of recorded talks")

    talk = visitor.begin("hi")
    monkeypatch.setattr(page.recordings, "save", fail)
    monkeypatch.setattr(page.recordings, "talks", fail)
    gate.set()
    assert visitor.reply(talk) == {"talk": None, "problem": "the reply could not be recorded"}
    assert visitor.reply(talk)["problem"] == "the reply could not be recorded"
    assert str(page.recordings.path) in capsys.readouterr().err


def test_the_end_of_the_server_does_not_wait_for_an_answer_without_end(page, visitor, gate) -> None:
    talk = visitor.begin("hi")
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", page.port, timeout=60)) as connection:
        connection.request("GET", f"/api/talks/{talk['id']}/reply", headers=visitor.headers)
        assert connection.getresponse().readline() == b"event: text\n"
        page.server.should_exit = True
        page.thread.join(timeout=30)
        assert not page.thread.is_alive()


@pytest.mark.parametrize("talk_id", ["x", "%25", "' OR 1=1 --", "..%2Ftalks", "a" * 3000])
def test_no_id_leads_to_a_talk_of_somebody(page, visitor, talk_id) -> None:
    talked(visitor, "hi")
    other = Visitor(page)
    assert other.ask("GET", f"/api/talks/{talk_id.replace(' ', '%20')}").status == 404
    assert other.ask("DELETE", f"/api/talks/{talk_id.replace(' ', '%20')}").status == 404
    assert recorded(page)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"text": ""}, "what you say is empty"),
        ({"text": " \x00\x1b\t"}, "what you say is empty"),
        ({"text": "a" * 501}, "what you say is too long: 501 letters, at most 500"),
        ({"text": "a" * 30_000}, "what you say is too long"),
        ({"text": 5}, "what you say must be text"),
        ({"text": ["hi"]}, "what you say must be text"),
        ({"goal": "ask about everything."}, "no such goal"),
        ({"goal": ["ask about pets."]}, "no such goal"),
        ({"persona": []}, "a persona has 1 to 20 facts"),
        ({"persona": "i am old ."}, "a persona has 1 to 20 facts"),
        ({"persona": ["a ."] * 21}, "a persona has 1 to 20 facts"),
        ({"persona": ["a" * 201]}, "a fact is too long"),
        ({"persona": [" "]}, "a fact is empty"),
        ({"persona": [{}]}, "a fact must be text"),
        ({"persona": ["i have dogs and cats and ducks and a horse that i like a lot ." * 3] * 20}, "do not fit into"),
        (
            {"text": "dogs " * 99, "persona": ["i have dogs and cats and ducks and a horse . " * 4] * 4},
            "do not fit into",
        ),
        (b"[1]", "not a JSON object"),
        (b"{", "not a JSON object"),
        (b"\xff", "not a JSON object"),
        (b"[" * 60_000, "not a JSON object"),
    ],
)
def test_a_request_that_cannot_be_is_one_line_and_nothing_is_recorded(page, visitor, content, words) -> None:
    if isinstance(content, dict):
        content = {"persona": ["i am old ."], "text": "hi"} | content
    answer = visitor.ask("POST", "/api/talks", content)
    assert answer.status == 400
    assert words in answer.json["problem"]
    assert page.recordings.talks() == []


def test_a_silent_connection_is_kept_open(monkeypatch) -> None:
    async def found() -> AsyncIterator[routes.News]:
        for news in (None, ("text", {"text": "hi"}), None):
            yield news

    async def sent() -> list[str]:
        return [event async for event in routes.server_sent(found())]

    text = 'event: text\ndata: {"text": "hi"}\n\n'
    assert asyncio.run(sent()) == [text]
    monkeypatch.setattr(routes, "SILENCE", -1.0)
    assert asyncio.run(sent()) == [": still there\n\n", text, ": still there\n\n"]
