"""teaching.py: a visitor's answers and what they leave on record, over HTTP and in a browser."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest

from personagpt.page.teaching import Draw, QuestionQueue, TeachPage, teach_routes
from personagpt.page.visitors import Limits
from personagpt.records.database import Recordings
from personagpt.records.preferences import preference_lines
from personagpt.records.talks import Flag, Talk
from personagpt.talking.persona import Score
from personagpt.talking.teaching import Question
from tests.page.served import Visitor, served, wait_until
from tests.records.making import make_talk

EVIL = "<img src=x onerror=\"document.title = 'evil'\"> <b>bold</b> \u202egnihton"
MARKED = EVIL.replace("\u202e", "\ufffd")


def place(
    number: int, replies: tuple[str, ...] = ("no .", "two dogs .", "a cat ."), talk: Talk | None = None
) -> Question:
    return Question(talk or make_talk(f"{number} ?", source="teach"), list(replies), Score(-8.0, -9.0, 4))


def ended(queue: QuestionQueue) -> bool:
    """Whether the thread has put all its questions."""
    return not queue._thread.is_alive()


@pytest.fixture
def serve_teaching(tmp_path) -> Iterator[Callable[..., SimpleNamespace]]:
    """serve_teaching(question, ...) serves a session with these questions."""
    with contextlib.ExitStack() as stack:

        def serve(*questions: Question, goal: str | None = None, draw: Draw | None = None) -> SimpleNamespace:
            recordings = stack.enter_context(contextlib.closing(Recordings(tmp_path / "conversations")))
            queue = stack.enter_context(contextlib.closing(QuestionQueue(draw or (lambda stop: iter(questions)))))
            if draw is None:
                wait_until(lambda: ended(queue))
            page = TeachPage(queue, recordings, str.lower, goal, Limits())
            port = stack.enter_context(served(page, teach_routes(page)))
            return SimpleNamespace(port=port, url=f"http://127.0.0.1:{port}/", recordings=recordings)

        yield serve


def test_every_answer_is_on_record_as_at_a_terminal(serve_teaching) -> None:
    flagged = make_talk("hi", "bad", flags=((1, "other"),), participant="p")
    again = replace(flagged, id="f" * 32, turns=flagged.turns[:1], flags=[])
    questions = [*map(place, range(5)), place(5, ("good .",), again), place(6)]
    page = serve_teaching(*questions, goal="ask about pets.")
    page.recordings.save(flagged)
    ann, bob = Visitor(page), Visitor(page)
    visitor = ann.ask("GET", "/api/start").json["participant"]
    first = ann.ask("GET", "/api/teach").json
    assert (first["from"], first["waits"], first["shares"]) == (0, "", "")
    assert first["asked"] == ann.ask("GET", "/api/teach").json["asked"]  # asked until there is an answer
    other = bob.ask("GET", "/api/teach").json["asked"]
    assert [one["turns"][0]["text"] for one in (first["asked"][0], other[0])] == ["0 ?", "1 ?"]

    def answer(who: Visitor, id_: str, **content: object) -> tuple[int, dict]:
        found = who.ask("POST", "/api/teach/answer", {"id": id_} | content)
        return found.status, found.json

    ids = [question.talk.id for question in questions]
    for wrong in (
        {"reply": 3},
        {"reply": -1},
        {"reply": True},
        {"reply": "1"},
        {"text": " "},
        {"text": 3},
        {"kinds": []},
    ):
        assert answer(ann, ids[0], **wrong)[0] == 400
    assert answer(ann, ids[0], kinds=["rude"])[0] == 400
    assert answer(ann, ids[1], reply=0)[0] == 404  # another visitor's question
    assert page.recordings.count() == 1
    assert answer(ann, ids[0], reply=0)[1]["shares"] == "1 asked, 100% accepted, of the last 1 100%"
    for number, content in enumerate(
        [{"reply": 1}, {"text": "I have 2 dogs ."}, {"kinds": ["unsafe"], "note": "n"}], 2
    ):
        state = answer(ann, ids[number], **content)[1]
        assert (state["from"], len(state["asked"])) == (number - 1, 2)
    state = answer(ann, ids[5], text="Good .")[1]  # what the model said
    assert state["shares"] == "5 asked, 40% accepted, of the last 5 40%"
    assert answer(ann, ids[6], skip=True)[1]["waits"] == "none"

    stored = {talk.texts[0]: talk for talk in page.recordings.talks() if talk.id != flagged.id}
    assert set(stored) == {"0 ?", "2 ?", "3 ?", "4 ?", "hi"}
    turns = [stored[name].turns[1] for name in ("0 ?", "2 ?", "3 ?", "4 ?", "hi")]
    assert [turn.text for turn in turns] == ["no .", "two dogs .", "i have 2 dogs .", "no .", "good ."]
    assert [turn.replaced for turn in turns] == [None, "no .", "no .", None, None]
    assert [(turn.chosen, turn.corrected) for turn in turns[1:3]] == [(True, False), (False, True)]
    assert {turn.goal for turn in turns} == {"ask about pets."}
    assert stored["4 ?"].flags == [Flag(1, "unsafe", "n")]
    assert {talk.participant for talk in stored.values()} == {visitor, "p"}
    pairs, feedback = preference_lines(page.recordings.talks())
    assert (len(pairs), len(feedback)) == (3, 1)  # the accepted reply takes the place of one flagged earlier


def test_another_answer_takes_the_place_of_the_first(serve_teaching) -> None:
    asked = place(0)
    page = serve_teaching(asked)
    ann = Visitor(page)
    ann.ask("GET", "/api/teach")
    for content, text, answer in (
        ({"reply": 0}, "no .", "accepted"),
        ({"kinds": ["other"]}, "no .", "replaced"),
        ({"reply": 2}, "a cat .", "replaced"),
        ({"skip": True}, "", "skipped"),
        ({"text": "dogs"}, "dogs", "replaced"),
        ({"text": "dogs"}, "dogs", "replaced"),  # a browser that asks twice
    ):
        found = ann.ask("POST", "/api/teach/answer", {"id": asked.talk.id} | content).json["asked"][0]
        assert (found["text"], found["answer"], bool(found["flags"])) == (text, answer, "kinds" in content)
        assert [talk.texts[1:] for talk in page.recordings.talks()] == ([[text]] if text else [])
    assert page.recordings.talks()[0].flags == []


def test_the_queue_waits_for_visitors_and_ends(capsys) -> None:
    released = threading.Event()

    def draw(stop: threading.Event) -> Iterator[Question]:
        yield place(0)
        released.wait(60)
        raise OSError("the end")

    queue = QuestionQueue(draw)
    wait_until(lambda: queue.take()[0])
    assert queue.take() == (None, "drawing")
    released.set()
    wait_until(lambda: queue.take()[1] == "none")
    assert capsys.readouterr().err == "no more questions can be drawn: OSError: the end\n"
    queue.close()
    endless = QuestionQueue(lambda stop: iter(lambda: place(1), None))
    wait_until(endless._drawn.full)
    endless.close()
    assert ended(endless)


@pytest.fixture
def expect():  # noqa: ANN201
    return pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect


def test_a_session_by_keyboard_with_a_reload_and_the_back_button(serve_teaching, browse, expect) -> None:
    page = serve_teaching(*map(place, range(6)), goal="ask about pets.")
    ann, bob = browse(page.url), browse(page.url)

    def at(shown, question: int, address: int) -> None:
        expect(shown.locator("#talk .words")).to_have_text(f"{question} ?")
        assert shown.url.endswith(f"#{address}")

    def press(*keys: str) -> None:
        for key in keys:
            ann.keyboard.press(key)

    at(ann, 0, 1)
    at(bob, 1, 1)  # each visitor has questions of their own
    expect(ann.locator("#persona li")).to_have_text(["i have two dogs ."])
    expect(ann.locator("#goal")).to_have_text("The goal of the reply: ask about pets.")
    press("Enter")
    at(ann, 2, 2)
    bob.click("#replies button >> nth=1")
    at(bob, 3, 2)
    press("t")
    assert ann.input_value("#better") == ann.inner_text("#replies button:first-child .words")  # to be changed
    ann.keyboard.type("2 dogs, S")  # letters in a reply are no keys of the page
    ann.reload()
    at(ann, 2, 2)
    assert ann.input_value("#better") == "2 dogs, S"  # not yet sent, and not lost
    expect(ann.locator("#shares")).to_have_text("1 asked, 100% accepted, of the last 1 100%")
    press("t", "Enter")
    at(ann, 4, 3)
    expect(ann.locator("#marks span")).to_have_text(["+", "−"])
    ann.go_back()
    at(ann, 2, 2)
    assert ann.input_value("#better") == "2 dogs, s"
    press("Enter")  # goes on, and leaves the answer as it is
    at(ann, 4, 3)
    press("ArrowLeft", "ArrowLeft")
    at(ann, 0, 1)
    expect(ann.locator("#replies [aria-pressed=true]")).to_have_text("1no .")
    press("3")
    at(ann, 2, 2)
    press("ArrowRight")
    at(ann, 4, 3)
    press("f", "Space", "Escape", "s")  # a flag that is not saved is none
    at(ann, 5, 4)
    press("f", "Space", "Enter")
    expect(ann.locator("#waiting-title")).to_contain_text("No question is left. Thank you.")
    expect(ann.locator("#shares")).to_have_text("3 asked, 0% accepted, of the last 3 0%")
    stored = {talk.texts[0]: talk for talk in page.recordings.talks()}
    assert {name: talk.texts[1] for name, talk in stored.items()} == {
        "0 ?": "a cat .",
        "1 ?": "two dogs .",
        "2 ?": "2 dogs, s",
        "5 ?": "no .",
    }
    assert [flag.kind for flag in stored["5 ?"].flags] == ["inconsistent"]
    assert len({talk.participant for talk in stored.values()}) == 2
    ann.click("#last")
    at(ann, 5, 4)
    bob.reload()
    at(bob, 3, 2)


def test_a_phone_sees_text_as_text_and_waits_for_replies(serve_teaching, browse, expect) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    released = threading.Event()
    talk = make_talk(EVIL, EVIL, "w" * 300, persona=[EVIL], source="teach")

    def draw(stop: threading.Event) -> Iterator[Question]:
        released.wait(60)
        yield place(0, (EVIL, "w" * 300), talk)

    page = serve_teaching(draw=draw)
    shown = browse(page.url, viewport={"width": 320, "height": 640}, has_touch=True, is_mobile=True)
    expect(shown.locator("#waiting-title")).to_have_text("The model draws replies ...")
    released.set()
    expect(shown.locator("#replies button")).to_have_count(2)
    assert shown.locator("#talk .words").all_text_contents()[:2] == [MARKED, MARKED]
    assert (
        shown.locator("#persona li").text_content() == shown.locator("#replies .words").first.text_content() == MARKED
    )
    assert shown.locator("main img, main b").count() == 0
    shown.locator("#flagging summary").tap()
    assert shown.evaluate("document.documentElement.scrollWidth") <= 320
    for scheme in ("light", "dark"):
        shown.emulate_media(color_scheme=scheme)
        assert axe.run(shown).response["violations"] == []
    shown.tap("#better")
    expect(shown.locator("#better")).to_have_value(EVIL)  # to be changed, and without the mark
    shown.fill("#better", EVIL + ".")
    shown.tap("#send")
    expect(shown.locator("#waiting-title")).to_contain_text("No question is left")
    shown.tap("#last")
    expect(shown.locator("#better")).to_have_value((EVIL + ".").lower())
    assert page.recordings.talks()[0].texts[-1] == (EVIL + ".").lower()
    assert shown.title() == "Teach the model"
