"""personagpt/page/replies.py through a real server: what is made, together with what, and what is recorded."""

from __future__ import annotations

import errno
import threading
from dataclasses import replace

import pytest

from personagpt.errors import RunError
from personagpt.page import replies
from personagpt.records.talks import Talk
from tests.page.served import ServedPage, Visitor, recorded, script, talked, wait_until
from tests.records.making import make_talk

FULL = "talks.sqlite: the disk does not take it"


@pytest.fixture
def page(serve_page) -> ServedPage:
    return serve_page()


@pytest.fixture
def visitor(page) -> Visitor:
    return Visitor(page)


def test_what_is_said_is_on_record_before_it_is_answered(page, visitor, gate) -> None:
    talk = visitor.begin("hi")
    assert recorded(page).texts == ["hi"]
    gate.set()
    visitor.reply(talk)
    assert len(recorded(page).turns) == 2


def test_replies_that_wait_are_made_together(page, visitor, gate) -> None:
    talks = [visitor.begin("hi", f"i am {number} .") for number in range(9)]
    gate.set()
    for talk in talks:
        assert visitor.reply(talk)["problem"] == ""
    assert sum(gate.batches) == 9
    assert max(gate.batches) > 1
    assert [len(talk.turns) for talk in page.recordings.talks()] == [2] * 9


def test_twenty_visitors_at_once(page) -> None:
    def talk(number: int) -> None:
        visitor = Visitor(page)
        done[number] = (visitor, talked(visitor, f"i am {number}", f"still {number}"))

    done: dict[int, tuple[Visitor, dict]] = {}
    threads = [threading.Thread(target=talk, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, (visitor, found) in done.items():
        assert [turn["text"] for turn in found["turns"][::2]] == [f"i am {number}", f"still {number}"]
        assert len(found["turns"]) == 4
        assert [one["id"] for one in visitor.ask("GET", "/api/talks").json["talks"]] == [found["id"]]
    assert len(page.recordings.talks()) == len(done) == 20


def test_a_full_queue_says_so_and_nothing_is_recorded(serve_page, gate) -> None:
    page = serve_page(waiting=2)
    visitor = Visitor(page)
    talks = [visitor.begin("hi") for _ in range(2)]
    answer = visitor.ask("POST", "/api/talks", {"persona": ["i am old ."], "text": "hi"})
    assert answer.status == 503
    assert answer.json == {"problem": "2 replies are waiting already: try again in a few seconds"}
    assert len(page.recordings.talks()) == 2
    gate.set()
    for talk in talks:
        visitor.reply(talk)
    assert visitor.begin("hi")["replying"]


def test_another_reply_takes_the_place_of_the_last(page, visitor, gate) -> None:
    gate.set()
    talk = talked(visitor, "hi", "who are you ?")
    gate.clear()
    shown = visitor.do(talk, "retry").json
    assert (shown["id"], len(shown["turns"]), shown["replying"]) == (talk["id"], 3, True)
    assert recorded(page).texts == [turn["text"] for turn in talk["turns"]]  # stays until there is another
    assert len(visitor.ask("GET", f"/api/talks/{talk['id']}").json["turns"]) == 3  # but is not shown
    gate.set()
    visitor.reply(talk)
    now = recorded(page)
    assert now.turns[3].replaced == talk["turns"][3]["text"] != now.texts[3]
    assert now.texts[:3] == [turn["text"] for turn in talk["turns"][:3]]


def test_a_reply_that_is_not_made_leaves_everything_as_it_was(page, visitor, monkeypatch, capsys) -> None:
    talk = talked(visitor, "hi")
    before = recorded(page)
    script(monkeypatch, "", "")
    visitor.do(talk, "retry")
    assert visitor.reply(talk)["problem"] == "the model said nothing else: the reply stays as it was"
    visitor.do(talk, "say", text="and you ?")
    assert visitor.reply(talk)["problem"] == "the model said nothing: your utterance was taken back"
    assert recorded(page) == before
    assert capsys.readouterr().err == ""  # no batch failed: the model had nothing to say


def test_a_disk_that_takes_nothing_is_told_to_both(page, visitor, gate, monkeypatch, capsys) -> None:
    talk = visitor.begin("hi")

    def fail(talk: Talk) -> None:
        raise RunError(FULL)

    monkeypatch.setattr(page.recordings, "save", fail)
    gate.set()
    assert visitor.reply(talk)["problem"] == "the reply could not be recorded"
    answer = visitor.ask("POST", "/api/talks", {"persona": ["i am old ."], "text": "hi"})
    assert answer.status == 503
    assert "tell who runs this page" in answer.json["problem"]
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"the reply could not be recorded: {FULL}", FULL]


def test_replies_are_made_again_after_a_disk_that_took_neither_them_nor_the_line(
    page, visitor, monkeypatch, capsys
) -> None:
    """`app.py 2> log` on the disk that is full."""

    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    script(monkeypatch, "first", "second")
    talk = talked(visitor, "hi")
    with monkeypatch.context() as patch:
        real = page.recordings.save
        saves = iter([real, full, full])
        patch.setattr(page.recordings, "save", lambda *talks: next(saves)(*talks))
        patch.setattr("personagpt.page.problems.warn", full)
        assert visitor.do(talk, "say", text="and you ?").status == 200
        assert visitor.reply(talk)["problem"] == "the reply could not be recorded"
        assert visitor.do(talk, "undo").status == 503
    script(monkeypatch, "third")
    visitor.do(talk, "retry")
    assert visitor.reply(talk)["talk"]["turns"][-1]["text"] == "third"
    assert capsys.readouterr().err == ""


def test_a_talk_has_the_replies_of_one_model(page, visitor) -> None:
    """The page has started again with another model. The talk can be changed, and another talk begun."""
    talk = talked(visitor, "hi")
    page.queue.trained = replace(page.queue.trained, checksum="decaf")
    for action in ("say", "retry"):
        answer = visitor.do(talk, action, text="and you ?")
        assert (answer.status, answer.json["problem"]) == (
            400,
            "another model answers on this page now: begin another talk",
        )
    assert recorded(page).texts == [turn["text"] for turn in talk["turns"]]
    assert visitor.do(talk, "flag", turn=1, kinds=["other"]).status == 200
    talked(visitor, "hello")
    assert [talk.model_checksum for talk in page.recordings.talks()] == ["c0ffee", "decaf"]


def test_no_reply_is_made_to_what_could_not_be_recorded(page, visitor, gate, monkeypatch, capsys) -> None:
    def fail(*given: object) -> None:
        raise RunError(FULL)

    gate.set()
    talk = talked(visitor, "hi")
    with monkeypatch.context() as patch:
        patch.setattr(page.recordings, "save", fail)
        assert visitor.do(talk, "say", text="and you ?").status == 503
    assert not page.queue.is_busy(talk["id"])
    visitor.reply(visitor.begin("somebody else's"))
    assert sum(gate.batches) == 2
    assert recorded_texts(page, talk) == [turn["text"] for turn in talk["turns"]]


def recorded_texts(page: ServedPage, talk: dict) -> list[str]:
    (found,) = page.recordings.talks(ids=[talk["id"]])
    return found.texts


def test_the_end_of_the_page_waits_for_one_batch_only(page, visitor, gate, monkeypatch) -> None:
    monkeypatch.setattr(page.queue, "_size", 1)
    talks = [visitor.begin("hi") for _ in range(4)]
    wait_until(lambda: gate.batches)
    closing = threading.Thread(target=page.queue.close)
    closing.start()
    wait_until(lambda: page.queue._closed)
    gate.set()
    closing.join()
    assert gate.batches == [1]
    assert sorted(len(recorded_texts(page, talk)) for talk in talks) == [1, 1, 1, 2]


def test_the_seed_of_each_reply_is_its_own(page) -> None:
    """Else every turn of a talk would draw with the same random numbers; and a redraw gives another reply."""
    talk = make_talk("hi", "ho", "hi", "ho", "hi")

    def number(count: int, rejected: str | None = None) -> float:
        return page.queue.request(replace(talk, turns=talk.turns[:count]), rejected=rejected).random.random()

    numbers = [number(1), number(3), number(5), number(5, "x"), number(5, "y")]
    assert len(set(numbers)) == 5
    assert [number(1), number(3)] == numbers[:2]


def test_the_page_goes_on_when_a_batch_fails(page, visitor, monkeypatch, capsys) -> None:
    def fail(*arguments: object) -> None:
        raise ValueError("no model")

    with monkeypatch.context() as patch:
        patch.setattr(replies, "stream_replies", fail)
        assert "taken back" in visitor.reply(visitor.begin("hi"))["problem"]
    assert capsys.readouterr().err == "a batch of 1 replies failed: ValueError: no model\n"
    assert page.recordings.talks() == []
    assert visitor.reply(visitor.begin("hi"))["problem"] == ""
