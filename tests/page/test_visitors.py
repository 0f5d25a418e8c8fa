"""personagpt/page/visitors.py through a real server: what visitors do with their talks."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import replace

import pytest

from personagpt.records.talks import Talk, Turn
from tests.page.served import ServedPage, Visitor, recorded, talked


@pytest.fixture
def page(serve_page) -> ServedPage:
    return serve_page()


@pytest.fixture
def visitor(page) -> Visitor:
    return Visitor(page)


def test_a_talk_is_answered_and_recorded(page, visitor) -> None:
    talk = visitor.begin("  hi !\n how are\tyou ? ", "i have a duck .", "i am old .", goal="ask about pets.")
    assert (talk["replying"], [turn["text"] for turn in talk["turns"]]) == (True, ["hi ! how are you ?"])
    end = visitor.reply(talk)
    assert (end["problem"], end["talk"]["replying"]) == ("", False)
    visitor.do(talk, "say", text="and now ?")
    visitor.reply(talk)
    found = recorded(page)
    assert [turn.speaker for turn in found.turns] == ["human", "model", "human", "model"]
    assert [turn.goal for turn in found.turns] == [None, "ask about pets.", None, None]
    assert found.texts[:2] == [turn["text"] for turn in end["talk"]["turns"]]
    assert (found.persona, found.source, found.model) == (["i have a duck .", "i am old ."], "app.py", "m")
    assert found.participant == visitor.ask("GET", "/api/start").json["participant"]
    assert set(found.sampling) == {"top_k", "top_p", "temperature", "max_new_tokens", "no_repeat", "seed"}


def test_a_flag_is_evidence_also_when_the_reply_is_drawn_again_or_taken_back(page, visitor) -> None:
    talk = talked(visitor, "hi", "and you ?")
    visitor.do(talk, "flag", turn=3, kinds=["unsafe"])
    again = visitor.do(talk, "retry").json
    assert again["id"] != talk["id"]
    visitor.reply(again)
    visitor.do(talk, "undo")
    flagged, redrawn, shorter = page.recordings.talks()
    assert [(flag.turn, flag.kind) for flag in flagged.flags] == [(3, "unsafe")]
    assert redrawn.turns[3].replaced == flagged.texts[3]
    assert (redrawn.flags, shorter.flags, len(shorter.turns)) == ([], [], 2)


def test_taking_back(page, visitor) -> None:
    talk = talked(visitor, "hi", "and you ?")
    assert len(visitor.do(talk, "undo").json["turns"]) == 2
    assert len(recorded(page).turns) == 2
    assert visitor.do(talk, "undo").json["turns"] == []
    assert page.recordings.talks() == []
    assert visitor.do(talk, "undo").status == 404


def test_a_correction_keeps_what_the_model_said(page, visitor, monkeypatch) -> None:
    talk = talked(visitor, "hi")
    monkeypatch.setattr(page.queue, "restyled", str.lower)
    for text in ("i am fine .", "I am well ."):
        shown = visitor.do(talk, "correct", text=text).json
        assert shown["turns"][1]["replaced"] == talk["turns"][1]["text"]
    turn = recorded(page).turns[1]
    assert (turn.speaker, turn.text, turn.corrected) == ("model", "i am well .", True)
    before = recorded(page)
    assert visitor.do(talk, "correct", text="i am well .").status == 200
    assert recorded(page) == before


def test_flags_are_set_as_a_whole(page, visitor) -> None:
    talk = talked(visitor, "hi", "and you ?")
    visitor.do(talk, "flag", turn=1, kinds=["other", "unsafe", "other"], note=" a\nnote ")
    visitor.do(talk, "flag", turn=3, kinds=["repetitive"])
    visitor.do(talk, "flag", turn=1, kinds=["off-topic"])
    found = recorded(page).flags
    assert [(flag.turn, flag.kind, flag.note) for flag in found] == [(3, "repetitive", ""), (1, "off-topic", "")]
    assert visitor.do(talk, "flag", turn=3, kinds=[]).json["flags"] == [{"turn": 1, "kind": "off-topic", "note": ""}]


@pytest.mark.parametrize(
    ("turn", "kinds"),
    [(number, ["other"]) for number in (0, 2, -1, True, 1.0, "1", None)]
    + [(1, kinds) for kinds in (["boring"], "other", [["other"]], None)],
)
def test_flags_of_no_kind_or_on_no_reply(page, visitor, turn, kinds) -> None:
    talk = talked(visitor, "hi")
    assert visitor.do(talk, "flag", turn=turn, kinds=kinds).status == 400
    assert recorded(page).flags == []


def test_a_page_that_was_killed_before_the_reply(page, visitor) -> None:
    """A human's last words without an answer: they are answered when asked for, or taken back."""
    talk = talked(visitor, "hi")
    found = recorded(page)
    found.turns.append(Turn("human", "still there ?"))
    page.recordings.save(found)
    assert visitor.do(talk, "say", text="hello ?").status == 409
    assert visitor.do(talk, "correct", text="x").status == 409
    assert len(visitor.do(talk, "retry").json["turns"]) == 3
    assert len(visitor.reply(talk)["talk"]["turns"]) == 4
    assert recorded(page).turns[3].replaced is None
    page.recordings.save(replace(recorded(page), turns=found.turns[:3]))
    assert len(visitor.do(talk, "undo").json["turns"]) == 2


def test_while_a_reply_is_made_the_talk_cannot_change_but_can_be_deleted(page, visitor, gate, capsys) -> None:
    talk = visitor.begin("hi")
    for action in ("say", "retry", "undo", "correct", "flag"):
        answer = visitor.do(talk, action, text="x", turn=1, kinds=[])
        assert (answer.status, answer.json["problem"]) == (409, "a reply is being made: wait for it")
    assert visitor.ask("DELETE", f"/api/talks/{talk['id']}").status == 200
    gate.set()
    page.queue.close()
    assert page.recordings.talks() == []
    assert capsys.readouterr().err == ""


def test_a_deletion_while_another_program_reads_the_file(page, visitor) -> None:
    """The talk is deleted at once, the page goes on, and the words leave the log as soon as that program has ended."""
    talk = talked(visitor, "secret")
    reader = sqlite3.connect(page.recordings.path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM talks").fetchall()
    answer = visitor.ask("DELETE", f"/api/talks/{talk['id']}")
    assert (answer.status, answer.json["deleted"]) == (200, 1)
    assert "stay in the log of the file until no other program reads it" in answer.json["note"]
    assert len(talked(visitor, "hi")["turns"]) == 2
    reader.close()
    for thread in threading.enumerate():
        if thread.name == "clear log":
            thread.join()
    assert b"secret" not in b"".join(path.read_bytes() for path in page.recordings.path.parent.iterdir())


def test_while_another_program_writes_the_page_shows_talks_and_says_what_is_not_recorded(page, visitor, capsys) -> None:
    talk = talked(visitor, "hi")
    page.recordings.patience = 0.0
    writer = sqlite3.connect(page.recordings.path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    assert len(visitor.ask("GET", f"/api/talks/{talk['id']}").json["turns"]) == 2
    for answer in (visitor.do(talk, "say", text="and you ?"), visitor.do(talk, "flag", turn=1, kinds=["other"])):
        assert (answer.status, answer.json["problem"][:38]) == (503, "the talks cannot be recorded now: tell")
    answer = visitor.ask("DELETE", f"/api/talks/{talk['id']}")
    assert (answer.status, answer.json["problem"][:20]) == (503, "nothing was deleted,")
    writer.close()
    assert capsys.readouterr().err.count("another program keeps it busy") == 3
    assert recorded(page).texts == [turn["text"] for turn in talk["turns"]]


@pytest.mark.parametrize("how", ["moved", "damaged"])
def test_a_file_that_is_gone_is_told_to_both(page, visitor, capsys, how) -> None:
    """The visitor is not told the server's path."""
    talk, path = talked(visitor, "hi"), page.recordings.path
    if how == "moved":
        path.rename(path.with_name("elsewhere"))
    else:
        with open(path, "r+b") as file:
            file.write(b"x" * 100)
    said = visitor.do(talk, "say", text="and you ?")
    reply = visitor.ask("GET", f"/api/talks/{talk['id']}")
    assert (said.status, reply.status) == ((404, 404) if how == "moved" else (503, 503))
    assert "talks.sqlite" not in said.text + reply.text
    assert str(path) in capsys.readouterr().err
    if how == "moved":
        assert visitor.reply(visitor.begin("again"))["problem"] == ""
        assert recorded(page).texts[0] == "again"


@pytest.mark.parametrize("flagged", [False, True])
def test_words_that_are_deleted_while_another_draw_is_asked_for_stay_deleted(page, visitor, gate, flagged) -> None:
    """The talks are deleted between the moment at which the page reads the talk and the moment at which it saves it."""
    gate.set()
    talk = talked(visitor, "hi")
    visitor.do(talk, "flag", turn=1, kinds=["other"] if flagged else [])
    ask = page.queue.ask

    def delete_then_ask(*arguments: object) -> object:
        assert visitor.ask("DELETE", "/api/talks").status == 200
        return ask(*arguments)

    page.queue.ask = delete_then_ask
    visitor.do(talk, "retry")
    page.queue.close()
    assert page.recordings.talks() == []


def test_half_a_letter_and_control_characters_are_left_out(page, visitor) -> None:
    visitor.reply(visitor.begin("a\ud800b\x1b[31m\x00c 👩‍👩‍👧 \u202exyz", "\x07i am old ."))
    assert recorded(page).texts[0] == "ab[31mc 👩‍👩‍👧 \u202exyz"
    assert recorded(page).persona == ["i am old ."]


@pytest.mark.parametrize(
    ("limits", "status", "words"),
    [
        ({"turns": 2}, 403, "a talk has at most 2 utterances"),
        ({"talks": 1}, 403, "you have 1 talk: delete some"),
        ({"all_talks": 1}, 503, "all the talks it takes"),
        ({"replies": 1}, 429, "too many replies in a minute"),
    ],
)
def test_limits(serve_page, limits, status, words) -> None:
    page = serve_page(**limits)
    visitor = Visitor(page)
    talk = talked(visitor, "hi")
    begins = visitor.ask("POST", "/api/talks", {"persona": ["i am old ."], "text": "hi"})
    answer = visitor.do(talk, "say", text="more") if "turns" in limits else begins
    assert answer.status == status
    assert words in answer.json["problem"]


@pytest.mark.parametrize("action", ["retry", "undo"])
def test_another_draw_of_a_flagged_reply_is_another_talk_and_counts_as_one(serve_page, action) -> None:
    page = serve_page(talks=1)
    visitor = Visitor(page)
    talk = talked(visitor, "hi", "and you ?")
    assert visitor.do(talk, action).status == 200  # the same talk
    if action == "retry":
        visitor.reply(talk)
    turn = len(recorded(page).turns) - 1
    assert visitor.do(talk, "flag", turn=turn, kinds=["other"]).status == 200
    if action == "undo":
        page.recordings.save(
            replace(recorded(page), turns=[*recorded(page).turns, Turn("human", "a"), Turn("model", "b")])
        )
        assert visitor.do(talk, "flag", turn=3, kinds=["other"]).status == 200
    answer = visitor.do(talk, action)
    assert (answer.status, answer.json["problem"][:20]) == (403, "you have 1 talk: del")
    assert recorded(page).flags


def test_what_is_refused_does_not_count_as_a_reply(serve_page) -> None:
    visitor = Visitor(serve_page(replies=2, letters=5))
    for wrong in ({"text": ""}, {"text": "a" * 9}, {"goal": "ask about everything."}) * 2:
        content = {"persona": ["i am old ."], "text": "hi"} | wrong
        assert visitor.ask("POST", "/api/talks", content).status == 400
    talk = talked(visitor, "hi")
    assert visitor.do(talk, "retry").status == 200
    visitor.reply(talk)
    assert visitor.do(talk, "retry").status == visitor.do(talk, "say", text="hi").status == 429


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
