"""A blind study in a real browser, from consent to result: headless Chromium, driven as participants would use it."""

from __future__ import annotations

from dataclasses import replace

import pytest

import app
from personagpt.model.api_settings import Api
from personagpt.model.sampling import Sampling
from personagpt.records.talks import DELETED
from personagpt.study import pairing
from personagpt.study.questions import Question
from personagpt.study.settings import Condition
from tests.api_server import serving, streamed
from tests.page.served import Clock, ServedPage
from tests.study.participation import PEOPLE, PROGRAM, study_of

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect

EVIL = "<img src=x onerror=\"document.title = 'evil'\"> <b>bold</b> \u202egnihton"
SHOWN = EVIL.replace("\u202e", "\ufffd")


@pytest.fixture(autouse=True)
def going_clock(monkeypatch) -> None:
    """Let the clock go on: a browser tells the newer of two views by their times."""
    monkeypatch.setattr(Clock, "tick", 1e-6)


def visible(shown, stage: str) -> None:
    expect(shown.locator(f"#{stage}")).to_be_visible()


def begin(shown) -> None:
    shown.check("#agreed")
    shown.click("#begin button")


def say(shown, text: str) -> None:
    shown.fill("#text", text)
    shown.click("#send")


def answer(shown, partner: str) -> None:
    for question, number in (("fluency", 4), ("consistency", 3), ("engagement", 5)):
        shown.check(f"input[name={question}][value='{number}']")
    shown.locator("input[name=persona]").first.check()
    shown.check(f"input[name=partner][value={partner}]")
    shown.click("#rate button[type=submit]")


def joined(page: ServedPage, browse):  # noqa: ANN201
    """Two participants who talk with each other; the first one begins."""
    both = [browse(page.url) for _ in range(2)]
    for shown in both:
        expect(shown.locator("#consent")).to_have_text("you agree")
        shown.click("#begin button")  # without agreeing
        visible(shown, "start")
    assert not page.recordings.path.parent.exists()
    for shown in both:
        begin(shown)
    for shown in both:
        shown.on("dialog", lambda dialog: dialog.accept())
        visible(shown, "talking")
    return both if both[0].locator("#send").is_enabled() else both[::-1]


def test_two_people_from_consent_to_report_and_deletion(serve_page, browse, run, write_settings, tmp_path) -> None:
    page = serve_page(study=study_of(PEOPLE, turns=2))
    first, second = joined(page, browse)
    assert not page.recordings.path.exists()
    expect(first.locator("#turn")).to_have_text("You begin: utterance 1 of 2.")
    expect(second.locator("#turn")).to_have_text("Your partner begins, and is writing ...")
    say(first, EVIL)
    expect(second.locator("#talk .words")).to_have_text(SHOWN)
    expect(first.locator("#turn")).to_have_text("Your partner is writing ...")
    for one in (first, second):  # a reload in the middle goes on where it was
        one.reload()
        expect(one.locator("#talk .words")).to_have_text(SHOWN)
    assert second.locator("main img, main b").count() == 0
    second.click("#flags-0 summary")
    second.check("#flags-0 input[value=ungrammatical]")
    second.click("#flags-0 button")
    expect(second.locator("#flags-0 summary")).to_have_text("Flagged: ungrammatical")
    for one, text in ((second, "hello"), (first, "a secret"), (second, "bye")):
        expect(one.locator("#send")).to_be_enabled()
        say(one, text)
    for one, partner, words in (
        (first, "program", "You thought it was a program."),
        (second, "person", "You were right."),
    ):
        visible(one, "questions")
        one.reload()
        visible(one, "questions")
        expect(one.locator("#mine")).to_contain_text("still running")
        answer(one, partner)
        expect(one.locator("#truth")).to_have_text("a person")
        expect(one.locator("#guess")).to_have_text(words)
        one.reload()
        visible(one, "result")
    second.click("#again")  # what they agreed to may be another text now: it is shown again
    visible(second, "start")
    visible(second, "result")
    talks = {talk.participant: talk for talk in page.recordings.talks()}
    assert sorted(talk.ratings["partner"] for talk in talks.values()) == ["person", "program"]
    reported = run(app.main, "--env", write_settings(save_path=tmp_path), "--report")
    assert (reported.status, reported.err) == (0, "")
    assert "study s: 2 talks of 2 participants" in reported.out
    assert "people taken for programs: 50 %" in reported.out
    first.click("#mine summary")
    expect(first.locator(".seen .words")).to_have_text([SHOWN, "hello", "a secret", "bye"])
    with first.expect_download() as download:
        first.click("#download")
    assert download.value.path().read_text() == talks[first.text_content("#participant")].line()
    first.locator("#mine").get_by_role("button", name="Delete").click()
    expect(first.locator("#mine > li")).to_have_count(0)
    visible(first, "start")
    second.click("#mine summary")
    expect(second.locator(".seen .words")).to_have_text([DELETED, "hello", DELETED, "bye"])
    folder = page.recordings.path.parent
    assert b"secret" not in b"".join(path.read_bytes() for path in folder.iterdir())


def test_a_person_a_model_and_a_program_behind_an_api(serve_page, browse, monkeypatch) -> None:
    """Two participants go through all three conditions. Nothing that they see tells a condition before the answers."""
    with serving(streamed("Hello There! I like *tea*.")) as server:
        far = Condition("far", Api(server.url, "large-1"), Sampling(), None)
        drawn = [PEOPLE, PROGRAM, far, far, PROGRAM]  # the second participant joins the first one who waits
        monkeypatch.setattr(pairing.random.SystemRandom, "choice", lambda self, given: drawn.pop(0))
        monkeypatch.setattr(pairing.random.SystemRandom, "uniform", lambda self, least, most: least)
        monkeypatch.setattr(pairing.random.SystemRandom, "random", lambda self: 0.1)  # the participant begins
        page = serve_page(study=study_of(PEOPLE, PROGRAM, far, turns=1, wait=1000.0))
        first, second = joined(page, browse)
        say(first, "hi")
        expect(second.locator("#send")).to_be_enabled()
        say(second, "hello")
        truths = []
        for _ in range(3):
            for shown in (first, second):
                visible(shown, "questions")
                expect(shown.locator("#talk > li")).to_have_count(2)
                assert not {"large-1", "api", "model"} & {*shown.inner_text("main").lower().split()}
                answer(shown, "person")
                visible(shown, "result")
                truths.append(shown.text_content("#truth"))
                if drawn:
                    shown.click("#again")
                    expect(shown.locator("#send")).to_be_enabled()
                    say(shown, "who ?")
    assert truths == ["a person"] * 2 + ["a program"] * 4
    talks = page.recordings.talks()
    assert [talk.source.rpartition(":")[2] for talk in talks] == ["people"] * 2 + [
        "program-1",
        "far",
        "far",
        "program-1",
    ]
    assert [talk.texts[1] for talk in talks if talk.source.endswith("far")] == ["Hello There! I like tea."] * 2
    assert all(talk.ratings["partner"] == "person" for talk in talks)


def test_own_questions_in_their_language_and_the_closing_text(serve_page, browse) -> None:
    questions = (
        Question("humour", "Wie lustig? <b>", "scale", ("gar nicht", "sehr")),
        Question("tongue", "Ist das Ihre Sprache?", "choice", ("ja", "nein")),
        Question("remarks", "Sonst noch etwas?", "open"),
        Question("partner", "Wer war das?", "partner", ("ein Mensch", "ein Programm")),
    )
    study = replace(
        study_of(PROGRAM, turns=1), questions=questions, talks=1, closing="Danke!\n\nCode: C1", language="de"
    )
    page = serve_page(study=study)
    shown = browse(page.url)
    visible(shown, "start")
    expect(shown.locator("#closing")).to_be_hidden()
    begin(shown)
    expect(shown.locator("#send")).to_be_enabled()
    say(shown, "hi")
    visible(shown, "questions")
    legends = shown.locator("#asked legend")
    expect(legends).to_have_text([question.text for question in questions])
    assert shown.locator("#asked").get_attribute("lang") == "de"
    expect(shown.get_by_label("5 (sehr)")).to_be_visible()
    shown.check("input[name=humour][value='4']")
    shown.get_by_label("nein").check()
    shown.fill("textarea[name=remarks]", EVIL)
    shown.get_by_label("ein Programm").check()
    shown.click("#rate button[type=submit]")
    visible(shown, "result")
    expect(shown.locator("#closing p")).to_have_text(["Danke!", "Code: C1"])
    expect(shown.locator("#guess")).to_have_text("You were right.")
    expect(shown.locator("#persona-guess")).to_have_text("Your partner's persona:")
    expect(shown.locator("#again")).to_be_hidden()
    (talk,) = page.recordings.talks()
    assert talk.ratings == {"humour": 4, "tongue": "nein", "remarks": {"words": EVIL}, "partner": "program"}


def test_a_phones_width_and_accessibility_at_every_stage(serve_page, browse) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    long = "w" * 200
    personas = tuple((f"{name} {long}",) for name in "abc")
    study = replace(study_of(PEOPLE, turns=1), title=long, consent=long, personas=personas)
    page = serve_page(study=study)
    options = {"viewport": {"width": 320, "height": 640}, "has_touch": True, "color_scheme": "dark"}
    shown, other = browse(page.url, **options), browse(page.url)

    def look(stage: str) -> None:
        visible(shown, stage)
        found = axe.Axe().run(shown).response["violations"]
        assert [(one["id"], one["impact"], [node["html"] for node in one["nodes"]]) for one in found] == []
        assert shown.evaluate("document.documentElement.scrollWidth") <= 320

    look("start")
    expect(shown.locator("#download")).to_be_hidden()  # there is nothing yet
    begin(shown)
    look("waiting")
    begin(other)
    visible(shown, "talking")
    other.on("dialog", lambda dialog: dialog.accept())
    other.locator("#talking .leave").click()
    look("gone")
    visible(other, "start")
    begin(other)
    shown.click("#new")
    visible(shown, "say")
    first, second = (shown, other) if shown.locator("#send").is_enabled() else (other, shown)
    say(first, "hi ! " + long)
    expect(second.locator("#send")).to_be_enabled()
    look("talking")
    say(second, "hello ! " + long)
    visible(shown, "questions")
    shown.locator("summary").first.click()
    look("questions")
    answer(shown, "person")
    visible(shown, "result")
    shown.click("#mine summary")
    look("result")


def test_the_keyboard_alone_with_a_program(serve_page, browse) -> None:
    page = serve_page(study=study_of(PROGRAM, turns=1))
    shown = browse(page.url)
    press, type_text = shown.keyboard.press, shown.keyboard.type

    def reach(name: str) -> None:
        for _ in range(60):
            if shown.locator(name).evaluate("(one) => one === document.activeElement"):
                return
            press("Tab")
        raise AssertionError(f"Tab does not lead to {name}")

    visible(shown, "start")
    reach("#agreed")
    press("Space")
    press("Enter")
    visible(shown, "talking")
    expect(shown.locator("#send")).to_be_enabled()
    assert shown.evaluate("document.activeElement.id") == "text"  # where it is the participant's turn to write
    type_text("hi !")
    press("Enter")
    visible(shown, "questions")
    assert shown.evaluate("document.activeElement.id") == "questions-title"
    for name in ("fluency", "consistency", "engagement", "persona", "partner"):
        reach(f"input[name={name}] >> nth=0")
        press("Space")
    press("ArrowDown")  # a program
    press("Enter")
    visible(shown, "result")
    expect(shown.locator("#truth")).to_have_text("a program")
    (talk,) = page.recordings.talks()
    assert (talk.ratings["fluency"], talk.ratings["partner"]) == (1, "program")
    reach("#again")
    press("Enter")
    expect(shown.locator("#talking")).to_be_visible()
