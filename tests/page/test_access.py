"""personagpt/page/access.py through a real server: who may send a request, and how many."""

from __future__ import annotations

import asyncio
import http.client

import pytest

from personagpt.page.access import MOST_BYTES, Rate, is_loopback, limited
from tests.page.served import ServedPage, Visitor, basic, recorded, talked


@pytest.fixture
def page(serve_page) -> ServedPage:
    return serve_page()


@pytest.fixture
def visitor(page) -> Visitor:
    return Visitor(page)


def test_another_visitors_talk_can_neither_be_read_nor_changed(page, visitor) -> None:
    talk, before = talked(visitor, "hi"), recorded(page)
    key = visitor.headers["cookie"].partition("=")[2]
    participant = visitor.ask("GET", "/api/start").json["participant"]
    keys = [None, key[:-1] + ("A" if key[-1] != "A" else "B"), key.swapcase(), participant, participant.ljust(43, "0")]
    for other in (Visitor(page, None if key is None else f"visitor={key}") for key in keys):
        answers = [other.ask("GET", f"/api/talks/{talk['id']}{end}") for end in ("", "/reply")]
        answers += [other.ask("DELETE", f"/api/talks/{talk['id']}")]
        answers += [other.do(talk, name, text="x", turn=1, kinds=[]) for name in ("say", "retry", "undo", "correct")]
        answers += [other.do(talk, "flag", turn=1, kinds=["other"])]
        assert {answer.status for answer in answers} <= {403, 404}
        assert all(before.texts[1] not in answer.text for answer in answers)
        listing = other.ask("GET", "/api/talks")
        assert listing.status == 403 or listing.json == {"talks": []}
        other.ask("DELETE", "/api/talks")
    assert recorded(page) == before


def test_too_many_requests(serve_page) -> None:
    visitor = Visitor(serve_page(requests=3))
    assert [visitor.ask("GET", "/api/start").status for _ in range(3)] == [200, 200, 429]


def test_a_body_without_end_is_not_read(page, visitor) -> None:
    assert visitor.ask("POST", "/api/talks", b" " * (MOST_BYTES + 1)).status == 413
    connection = http.client.HTTPConnection("127.0.0.1", page.port)
    headers = {"content-type": "application/json"} | visitor.headers
    connection.request(
        "POST", "/api/talks", iter([b" " * 1024] * 80), headers, encode_chunked=True
    )  # of no said length
    assert connection.getresponse().status == 413
    connection.close()


def test_a_body_in_small_parts_counts_as_a_whole() -> None:
    """Through the real server, parts that come together arrive as one."""

    async def parts() -> dict:
        return {"type": "http.request", "body": b" " * (MOST_BYTES // 2), "more_body": True}

    async def received() -> list[str]:
        receive = limited(parts)
        return [(await receive())["type"] for _ in range(4)]

    assert asyncio.run(received()) == ["http.request", "http.request", "http.disconnect", "http.disconnect"]


def test_nobodys_word_for_an_address_is_trusted(serve_page) -> None:
    visitor = Visitor(serve_page(requests=3))
    asked = [visitor.ask("GET", "/api/start", x_forwarded_for=f"10.0.0.{number}").status for number in range(3)]
    assert asked == [200, 200, 429]


def test_what_the_browser_is_told_not_to_do(page) -> None:
    first = Visitor(page, cookie="").ask("GET", "/")
    assert "script-src 'self'" in first.headers["content-security-policy"]
    assert "default-src 'none'" in first.headers["content-security-policy"]
    assert first.headers["x-content-type-options"] == "nosniff"
    assert {"HttpOnly", "SameSite=Lax"} <= set(first.headers["set-cookie"].split("; "))
    assert "set-cookie" not in Visitor(page).ask("GET", "/").headers
    assert "http" not in first.text.replace(page.url, "")


def test_other_sites_can_do_nothing_here(page, visitor) -> None:
    """A form or a script of another site, and its name pointed at this machine."""
    body = {"persona": ["i am old ."], "text": "hi"}
    assert visitor.ask("POST", "/api/talks", body, content_type="text/plain").status == 403
    for site in ("cross-site", "same-site", "none"):  # same-site: a page of another port of this machine
        assert visitor.ask("POST", "/api/talks", body, sec_fetch_site=site).status == 403
    assert visitor.ask("DELETE", "/api/talks", content_type="text/plain").status == 403
    assert visitor.ask("GET", "/api/talks", host="evil.example").status == 421
    for host in (f"localhost:{page.port}", "localhost", "[::1]", f"[::1]:{page.port}"):
        assert visitor.ask("GET", "/api/talks", host=host).status == 200
    assert Visitor(page, cookie="").ask("POST", "/api/talks", body).status == 403
    assert page.recordings.talks() == []


def test_a_password(serve_page) -> None:
    page = serve_page(password="grün: 1234", guesses=3)
    visitor = Visitor(page, cookie="")
    answer = visitor.ask("GET", "/")
    assert (answer.status, answer.text) == (401, "a password is needed")
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert "set-cookie" in visitor.ask("GET", "/", authorization=basic("grün: 1234")).headers
    for wrong in ("Basic ?", "Basic ä", "Bearer x"):
        assert visitor.ask("GET", "/page.js", authorization=wrong).status == 401
    visitor.ask("GET", "/", authorization=basic("1234"))
    assert visitor.ask("GET", "/", authorization=basic("grün: 1234")).status == 429  # three were wrong


def test_which_hosts_only_this_machine_reaches() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "localhost", "LOCALHOST", "::1", "[::1]")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.1", "example.org", "127.0.0.1.example.org", "")))


def test_a_rate_counts_what_happened_of_late(monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr("personagpt.page.access.time.monotonic", lambda: now[0])
    rate = Rate(2)
    assert [rate.allows("a") for _ in range(3)] == [True, True, False]
    assert rate.allows("b")
    now[0] = 60.0
    assert rate.allows("a")
    assert rate.allows("a", counts=False)
    assert rate.allows("a")
    assert not rate.allows("a", counts=False)


def test_a_rate_forgets_each_event_after_its_time(monkeypatch) -> None:
    """Events at 0, 40 and 80 s: at 80 s the first is forgotten, and the second is not."""
    now = [0.0]
    monkeypatch.setattr("personagpt.page.access.time.monotonic", lambda: now[0])
    rate = Rate(2)
    for now[0], allowed in ((0.0, True), (40.0, True), (59.0, False), (80.0, True), (81.0, False), (101.0, True)):
        assert rate.allows("a") == allowed


def test_a_rate_of_many_names_forgets_only_those_without_a_recent_event(monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr("personagpt.page.access.time.monotonic", lambda: now[0])
    rate = Rate(1)
    for number in range(10_001):
        assert rate.allows(str(number))
    now[0] = 59.0
    assert not rate.allows("5")
    assert rate.allows("late")
    now[0] = 61.0
    assert not rate.allows("late")
    assert list(rate._events) == ["late"]
