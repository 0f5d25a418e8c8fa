"""The review in a real browser: two reviewers label with the keyboard, undo, and see where they disagree."""

from __future__ import annotations

import pytest

from personagpt.records.talks import Turn
from tests.records.making import make_talk

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect

EVIL = "<img src=x onerror=\"document.title = 'evil'\"> <b>bold</b> \u202egnihton"


def press(shown, *keys: str) -> None:
    for key in keys:
        shown.keyboard.press(key)


def test_two_reviewers_by_keyboard(serve_review, browse) -> None:
    talks = [make_talk("hi", EVIL, "and you ?", "i am fine"), make_talk("hello", "yes")]
    page = serve_review(*talks)
    ann, bob = browse(page.url), browse(page.url)
    for shown in (ann, bob):
        expect(shown.locator("#count")).to_have_text("0 of 2 talks")
        expect(shown.locator("#talk .words").nth(1)).to_have_text(EVIL.replace("\u202e", "\ufffd"))
        assert shown.locator("main img, main b").count() == 0
        expect(shown.locator("#persona li")).to_have_text(["i have two dogs ."])
    # Fast keys keep their order: a label and another, taken back; the next reply; a label, and back again.
    press(ann, "1", "4", "u", "Enter", "5", "ArrowLeft")
    expect(ann.locator("#talk .labels")).to_have_text(["inconsistent", "ungrammatical"])
    expect(ann.locator("#place")).to_have_text("Reply 1 of 2: inconsistent")
    expect(ann.locator("#kinds [aria-pressed=true]")).to_have_text("1 inconsistent (with the persona)")
    assert page.reviews.all()[0].labels == {1: {"inconsistent"}, 3: {"ungrammatical"}}
    ann.reload()  # the labels are on record
    expect(ann.locator("#talk .labels")).to_have_text(["inconsistent", "ungrammatical"])
    press(ann, "Enter")
    expect(ann.locator("#next")).to_have_text("Finish this talk (Enter)")
    press(ann, "Enter")
    expect(ann.locator("#count")).to_have_text("1 of 2 talks")
    assert ann.locator("#progress").evaluate("bar => bar.value / bar.max") == 0.5
    press(ann, "u")  # undo the end of the talk
    expect(ann.locator("#place")).to_have_text("Reply 2 of 2: ungrammatical")
    press(ann, "5", "Enter", "Enter")
    expect(ann.locator("#done-title")).to_be_visible()
    press(ann, "u")
    expect(ann.locator("#note")).to_be_visible()
    expect(ann.locator("#place")).to_have_text("Reply 1 of 1: no label")
    press(ann, "n")  # a note: its letters are no keys
    ann.keyboard.type("unkind 1")
    press(ann, "Enter")
    expect(ann.locator("#done-title")).to_be_visible()
    press(ann, "u")
    expect(ann.locator("#note")).to_be_visible()
    expect(ann.locator("#talk .labels")).to_have_text("other: unkind 1")
    press(ann, "n", "1", "Escape")
    expect(ann.locator("#talk .labels")).to_have_text("other: unkind 11")
    press(ann, "u")
    expect(ann.locator("#talk .labels")).to_have_text("other: unkind 1")
    press(ann, "7")
    expect(ann.locator("#note")).to_have_value("")
    assert not any(review.notes for review in page.reviews.all())
    press(ann, "u")  # takes back the note, too
    expect(ann.locator("#note")).to_have_value("unkind 1")
    assert [review.notes for review in page.reviews.all() if review.notes] == [{1: "unkind 1"}]
    press(ann, "7", "Enter")
    expect(ann.locator("#done-title")).to_be_visible()
    ann.click("#look")
    expect(ann.locator("#summary")).to_contain_text("No other reviewer has finished one of your talks yet")
    # The other one uses the mouse, and sees nothing of the first one's labels.
    assert bob.locator("#talk .labels").count() == 0
    bob.click("#kinds button:has-text('unsafe')")
    expect(bob.locator("#talk .labels")).to_have_text("unsafe")
    assert bob.evaluate("document.activeElement.title") == "hurtful or dangerous"
    press(bob, "Enter")  # goes on, and does not press the label's button again
    expect(bob.locator("#place")).to_have_text("Reply 2 of 2: no label")
    bob.click("#undo")
    expect(bob.locator("#place")).to_have_text("Reply 1 of 2: no label")
    for _ in range(3):
        bob.click("#next")
    expect(bob.locator("#done-title")).to_be_visible()
    bob.click("#look")
    expect(bob.locator("#summary")).to_contain_text("2 have been read by another reviewer, too. Replies with different")
    row = bob.locator("#agreement tr:has-text('inconsistent') td")
    # One 1 of 6 values: 1 - 5 / (5 * 1); in a resample with the first talk twice 1 - 7 * 2 / (6 * 2).
    expect(row).to_have_text(["1", "1", "0.00", "-0.17 to 0.00"])
    expect(bob.locator("#disagreements .labels")).to_have_text(["You: fine. Others: inconsistent."])
    bob.reload()  # closed: the result again
    expect(bob.locator("#disagreements li")).to_have_count(1)
    assert bob.title() == "Review of talks"
    third = browse(page.url)  # each talk has its two readers
    expect(third.locator("#done-title")).to_have_text("There is no talk left for you to read")
    expect(third.locator("#look")).to_be_hidden()


def test_undo_after_a_reload_a_second_window_and_a_deleted_talk(serve_review, browse) -> None:
    talks = [make_talk("hi", f"reply {number}", "and you ?", "i am fine") for number in range(3)]
    page = serve_review(*talks)
    shown = browse(page.url)
    expect(shown.locator("#count")).to_have_text("0 of 3 talks")
    press(shown, "2", "1")
    expect(shown.locator("#talk .labels")).to_have_text("contradicts, inconsistent")
    shown.reload()
    expect(shown.locator("#talk .labels")).to_have_text("contradicts, inconsistent")
    press(shown, "u")
    expect(shown.locator("#talk .labels")).to_have_text("contradicts")
    other = shown.context.new_page()
    other.goto(page.url)
    expect(other.locator("#place")).to_have_text("Reply 1 of 2: contradicts")
    press(other, "Enter", "Enter")
    expect(other.locator("#count")).to_have_text("1 of 3 talks")
    press(shown, "3")
    expect(shown.locator("#status")).to_have_text("you do not review this talk now: your review goes on here")
    expect(shown.locator("#talk .words").nth(1)).to_have_text("reply 1")
    assert page.reviews.all()[0].labels == {1: {"contradicts"}}
    page.recordings.delete(ids=[talks[1].id])
    press(shown, "4")
    expect(shown.locator("#status")).to_have_text("there is no such talk to review: your review goes on here")
    expect(shown.locator("#talk .words").nth(1)).to_have_text("reply 2")
    expect(shown.locator("#count")).to_have_text("1 of 2 talks")
    talks[2].turns += [Turn("human", "wait"), Turn("model", "yes ?")]
    page.recordings.save(talks[2])
    press(shown, "Enter", "Enter")
    expect(shown.locator("#status")).to_have_text("the talk has changed meanwhile: your review goes on here")
    expect(shown.locator("#place")).to_have_text("Reply 1 of 3: no label")


def test_the_page_is_usable_on_a_phone_and_by_axe(serve_review, browse) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = serve_review(make_talk("hi", "ho", "and you ?", "i am fine"))
    for scheme in ("light", "dark"):
        shown = browse(page.url, color_scheme=scheme, viewport={"width": 390, "height": 800})
        expect(shown.locator("#place")).to_be_visible()
        press(shown, "2")
        expect(shown.locator("#kinds [aria-pressed=true]")).to_have_count(1)
        assert axe.run(shown).response["violations"] == []
        assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
