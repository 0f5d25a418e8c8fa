"""The page in a real browser: headless Chromium, driven as a visitor would use it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from personagpt.page.access import participant_of
from personagpt.records.talks import FLAGS
from tests.page.served import ServedPage, recorded, script

EVIL = [
    "<script>document.title = 'evil'</script>",
    "<img src=x onerror=\"document.title = 'evil'\">",
    "<a href='javascript:document.title=1'>here</a> [here](https://evil.example) https://evil.example",
    "</p></li><h1>evil</h1>&lt;b&gt;",
    "abc \u202egnihton \u2066 x",
]

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect


@pytest.fixture
def page(serve_page) -> ServedPage:
    return serve_page()


@pytest.fixture
def visit(page, browse):  # noqa: ANN201
    """visit() opens the page as another visitor."""

    def open_page(**options: object):  # noqa: ANN202
        shown = browse(page.url, **options)
        expect(shown.locator("#persona")).to_have_value("i have a duck .")
        return shown

    return open_page


def answered(shown, count: int) -> None:
    """Wait until there are `count` utterances, the last one the model's."""
    expect(shown.locator("#talk > li")).to_have_count(count)
    expect(shown.locator("#log")).to_have_attribute("aria-busy", "false")


def say(shown, text: str, count: int) -> None:
    shown.fill("#text", text)
    shown.click("#send")
    answered(shown, count)


def words(shown) -> list[str]:
    return shown.locator("#talk .words").all_text_contents()


def test_a_walk_through_everything(page, visit) -> None:
    shown = visit()
    shown.fill("#persona", "i am old .\n\n i like tea . ")
    shown.click("text=New talk")
    shown.select_option("#goal", "ask about pets.")
    say(shown, "hi !", 2)
    say(shown, "who are you ?", 4)
    talk = recorded(page)
    assert words(shown) == talk.texts
    assert (talk.persona, talk.turns[1].goal) == (["i am old .", "i like tea ."], "ask about pets.")

    shown.click("#flags-1 summary")
    assert shown.locator("#flags-1 input[type=checkbox]").count() == len(FLAGS)
    shown.check("#flags-1 input[value=off-topic]")
    shown.fill("#flags-1 input[type=text]", "no answer")
    shown.click("#flags-1 button")
    expect(shown.locator("#flags-1 summary")).to_have_text("Flagged: off-topic")

    shown.click("#correct")
    shown.fill("#correction-text", "i am an old man .")
    shown.click("text=Replace the reply")
    expect(shown.locator(".replaced")).to_have_text(f"The model said: {talk.texts[3]}")
    say(shown, "and you ?", 6)
    before = words(shown)[-1]
    shown.click("#retry")
    expect(shown.locator("#talk .words").last).not_to_have_text(before)
    answered(shown, 6)
    expect(shown.locator("#status")).to_have_text("")
    now = recorded(page)
    assert [(flag.turn, flag.kind, flag.note) for flag in now.flags] == [(1, "off-topic", "no answer")]
    assert (now.turns[3].text, now.turns[3].replaced) == ("i am an old man .", talk.texts[3])
    assert now.turns[5].replaced
    assert words(shown) == now.texts

    shown.click("#undo")
    expect(shown.locator("#talk > li")).to_have_count(4)
    shown.reload()
    answered(shown, 4)
    assert words(shown) == recorded(page).texts
    shown.click("#draw")
    expect(shown.locator("#talk > li")).to_have_count(0)
    expect(shown.locator("#persona")).to_have_value("i have a duck .")
    shown.locator("#mine .open").click()
    answered(shown, 4)


def test_two_visitors_at_the_same_time(page, visit, gate) -> None:
    first, second = visit(), visit()
    for shown, text in ((first, "i am the first"), (second, "i am the second")):
        shown.fill("#text", text)
        shown.click("#send")
        expect(shown.locator("#talk > li")).to_have_count(2)
    gate.set()
    for shown, text in ((first, "i am the first"), (second, "i am the second")):
        answered(shown, 2)
        assert words(shown)[0] == text
        expect(shown.locator("#mine li")).to_have_count(1)
    assert len({talk.participant for talk in page.recordings.talks()}) == 2
    second.goto(first.url)  # the first one's talk
    second.reload()
    expect(second.locator("#status")).to_have_text("you have no such talk")
    assert second.locator("#talk > li").count() == 0


def test_a_reload_in_the_middle_of_a_reply(page, visit, gate) -> None:
    shown = visit()
    shown.fill("#text", "hi !")
    shown.click("#send")
    expect(shown.locator("#talk > li.model .words")).not_to_have_text("")
    begun = words(shown)[1]
    assert len(recorded(page).turns) == 1
    shown.reload()
    expect(shown.locator("#talk > li.model .words")).to_have_text(begun)
    expect(shown.locator("#send")).to_be_disabled()
    gate.set()
    answered(shown, 2)
    assert words(shown) == recorded(page).texts


def test_a_browser_that_leaves_in_the_middle_of_a_reply_finds_it_later(page, visit, gate) -> None:
    shown = visit()
    shown.fill("#text", "hi !")
    shown.click("#send")
    expect(shown.locator("#talk > li.model .words")).not_to_have_text("")
    address = shown.url
    shown.goto("about:blank")
    gate.set()
    page.queue.close()
    assert len(recorded(page).turns) == 2
    shown.goto(address)
    answered(shown, 2)


@pytest.mark.parametrize("evil", EVIL)
def test_text_is_text(page, visit, monkeypatch, evil) -> None:
    """A visitor's, the persona's, a correction's, a note's, and the model's."""
    script(monkeypatch, evil)
    shown = visit()
    shown.fill("#persona", evil)
    say(shown, evil, 2)
    shown.click("#flags-1 summary")
    shown.check("#flags-1 input[value=unsafe]")
    shown.fill("#flags-1 input[type=text]", evil)
    shown.click("#flags-1 button")
    expect(shown.locator("#flags-1 summary")).to_have_text("Flagged: unsafe")
    shown.click("#correct")
    shown.fill("#correction-text", evil + ".")
    shown.click("text=Replace the reply")
    expect(shown.locator(".replaced")).to_have_count(1)
    shown.reload()
    answered(shown, 2)
    expect(shown.locator("#mine li")).to_have_count(1)
    talk = recorded(page)
    assert (talk.persona, talk.texts, talk.flags[0].note) == ([evil], [evil, evil + "."], evil)
    mark = re.sub("[\u202a-\u202e\u2066-\u2069]", "\ufffd", evil)
    assert words(shown) == [mark, mark + "."]
    assert shown.locator(".replaced").text_content() == f"The model said: {mark}"
    assert mark in shown.locator("#mine").text_content()
    assert shown.locator("main script, main img, main h1, #talk a, #mine a, main b").count() == 0
    assert shown.title() == "PersonaGPT: talk to a persona"
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", shown.locator("body").inner_text())


def test_talks_are_deleted_for_ever(page, visit) -> None:
    shown = visit()
    shown.on("dialog", lambda dialog: dialog.accept())
    say(shown, "a secret", 2)
    shown.click("text=New talk")
    say(shown, "another secret", 2)
    expect(shown.locator("#mine li")).to_have_count(2)
    shown.locator("#mine li", has_text="utterances").first.get_by_role("button", name="Delete").click()
    expect(shown.locator("#mine li")).to_have_count(1)
    expect(shown.locator("#talk > li")).to_have_count(0)  # it was the one that was shown
    with shown.expect_download() as download:
        shown.click("#download")
    assert recorded(page).line() == download.value.path().read_text()
    shown.click("#delete-all")
    expect(shown.locator("#mine li")).to_have_count(0)
    expect(shown.locator("#status")).to_have_text("Deleted 1 talk.")
    folder = page.recordings.path.parent
    assert b"secret" not in b"".join(path.read_bytes() for path in folder.iterdir())


def test_a_stranger_who_is_told_no(page, visit) -> None:
    """A confirmation that is declined deletes nothing."""
    shown = visit()
    shown.on("dialog", lambda dialog: dialog.dismiss())
    say(shown, "hi !", 2)
    shown.click("#delete-all")
    assert len(recorded(page).turns) == 2


def test_a_phones_width(page, visit) -> None:
    shown = visit(viewport={"width": 320, "height": 640}, has_touch=True, is_mobile=True)
    say(shown, "hi ! " + "w" * 200, 2)
    shown.tap("#flags-1 summary")
    assert shown.evaluate("document.documentElement.scrollWidth") <= 320
    assert shown.locator("#log").evaluate("(log) => log.scrollWidth - log.clientWidth") == 0  # long words break
    for name in ("#text", "#send", "#retry", "#correct", "#undo", "#persona", "#delete-all"):
        box = shown.locator(name).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 320


def test_the_keyboard_alone(page, visit) -> None:
    shown = visit()

    def reach(name: str) -> None:
        for _ in range(60):
            if shown.locator(name).evaluate("(one) => one === document.activeElement"):
                return
            shown.keyboard.press("Tab")
        raise AssertionError(f"Tab does not lead to {name}")

    shown.keyboard.press("Tab")  # the first is the way past everything
    shown.keyboard.press("Enter")
    reach("#text")
    shown.keyboard.type("hi !")
    shown.keyboard.press("Enter")
    answered(shown, 2)
    reach("#text")  # where the visitor was
    shown.keyboard.press("Shift+Tab")
    assert shown.evaluate("document.activeElement.tagName") == "SUMMARY"
    shown.keyboard.press("Enter")
    for _ in range(7):
        shown.keyboard.press("Tab")
    shown.keyboard.press("Space")  # the seventh kind
    shown.keyboard.press("Tab")
    shown.keyboard.type("a note")
    shown.keyboard.press("Enter")
    expect(shown.locator("#flags-1 summary")).to_have_text("Flagged: other")
    assert shown.evaluate("document.activeElement.tagName") == "SUMMARY"
    before = words(shown)[-1]
    reach("#retry")
    shown.keyboard.press("Space")
    expect(shown.locator("#talk .words").last).not_to_have_text(before)
    answered(shown, 2)
    reach("#undo")
    shown.keyboard.press("Space")
    answered(shown, 0)
    assert [len(talk.turns) for talk in page.recordings.talks()] == [2]  # the flagged one; the other was taken back
    assert page.recordings.talks()[0].flags[0].note == "a note"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility(visit, scheme) -> None:
    """axe-core's rules, with everything open that opens."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    shown = visit(color_scheme=scheme)
    say(shown, "hi !", 2)
    shown.click("#correct")
    shown.click("#flags-1 summary")
    found = axe.Axe().run(shown).response["violations"]
    assert [(one["id"], one["impact"], [node["html"] for node in one["nodes"]]) for one in found] == []


def test_a_page_that_is_gone_says_so(page, visit, monkeypatch) -> None:
    shown = visit()
    shown.route("**/api/**", lambda route: route.abort())
    shown.fill("#text", "hi !")
    shown.click("#send")
    expect(shown.locator("#status")).to_have_text("the server does not answer: is it still running?")
    assert shown.input_value("#text") == "hi !"
    shown.unroute("**/api/**")
    shown.click("#send")
    answered(shown, 2)


def test_a_problem_gives_the_words_back(page, visit, monkeypatch) -> None:
    script(monkeypatch, "")
    shown = visit()
    shown.fill("#text", "hi !")
    shown.click("#send")
    expect(shown.locator("#status")).to_have_text("the model said nothing: your utterance was taken back")
    assert shown.input_value("#text") == "hi !"
    assert shown.locator("#talk > li").count() == 0


def test_the_cookie_is_the_key(page, visit) -> None:
    shown = visit()
    (cookie,) = shown.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    say(shown, "hi !", 2)
    talk = recorded(page)
    assert talk.participant == participant_of(cookie["value"]) == shown.text_content("#participant")
    page.recordings.save(replace(talk, id="0" * 32))


def test_a_link_on_another_site_leads_to_the_visitors_own_talks(chromium, page) -> None:
    with chromium.new_context() as context:
        link = f"<a href='{page.url}'>talk</a>"
        context.route("http://elsewhere.example/", lambda route: route.fulfill(body=link, content_type="text/html"))
        shown = context.new_page()
        shown.goto(page.url)
        (before,) = context.cookies()
        shown.goto("http://elsewhere.example/")
        shown.click("a")
        shown.wait_for_url(page.url)
        (after,) = context.cookies()
        assert after["value"] == before["value"]


def test_the_newest_words_and_the_line_to_type_in_are_in_sight(page, visit) -> None:
    shown = visit(viewport={"width": 320, "height": 480}, has_touch=True)
    for number in range(4):
        say(shown, f"{number} " + "words " * 30, 2 * number + 2)
    for name in ("#talk > li:last-child .words", "#text"):
        box = shown.locator(name).bounding_box()
        assert box["y"] + box["height"] <= 480
    log, line = shown.locator("#log").bounding_box(), shown.locator("#text").bounding_box()
    assert 0 <= line["y"] - (log["y"] + log["height"]) < line["height"]  # nothing stands between
    assert shown.locator("#retry").bounding_box()["y"] > line["y"] + line["height"]


def test_to_flag_a_reply_on_a_phone_leaves_the_talk_in_sight_and_in_place(page, visit) -> None:
    shown = visit(viewport={"width": 320, "height": 640}, has_touch=True, is_mobile=True)
    for number in range(4):
        say(shown, f"{number} " + "words " * 30, 2 * number + 2)
    shown.tap("#flags-1 summary")
    form, log = shown.locator("#flags-1 form").bounding_box(), shown.locator("#log").bounding_box()
    assert form["height"] < log["height"] / 2
    before = shown.evaluate("element('log').scrollTop")
    shown.check("#flags-1 input[value=unsafe]")
    shown.tap("#flags-1 button")
    expect(shown.locator("#flags-1 summary")).to_have_text("Flagged: unsafe")
    assert abs(shown.evaluate("element('log').scrollTop") - before) < 100


def test_without_goals_there_is_no_list_of_goals(page, visit) -> None:
    page.page.goals = []
    expect(visit().locator("#goal")).to_be_hidden()


def test_a_visitor_reads_a_hubs_name_and_no_checksum(page, visit, serve_page) -> None:
    assert "a language model (m)." in visit().locator("header").inner_text()
    page.queue.trained = replace(page.queue.trained, name="/home/somebody/best", folder="/home/somebody/best")
    assert "a language model. This page" in visit().locator("header").inner_text().replace("\n", " ")
