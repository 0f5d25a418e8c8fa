"""page.py, web.py, guard.py and desk.py through a real server: what a visitor may do, and what not."""

import asyncio
import base64
import http.client
import itertools
import json
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace

import pytest

from personagpt.errors import RunError
from personagpt.page.access import MOST_BYTES, Rate, is_loopback
from personagpt.records.talks import Talk, Turn, parse_talk
from personagpt.page import replies, routes
from tests.helpers import ServedPage, Visitor


@pytest.fixture
def page(serve_page) -> ServedPage:
    return serve_page()


@pytest.fixture
def visitor(page) -> Visitor:
    return Visitor(page)


def recorded(page: ServedPage) -> Talk:
    (talk,) = page.recordings.talks()
    return talk


def talked(visitor: Visitor, *texts: str) -> dict:
    """A talk in which the visitor said `texts`, and all was answered."""
    talk = visitor.begin(texts[0])
    visitor.reply(talk)
    for text in texts[1:]:
        assert visitor.do(talk, "say", text=text).status == 200
        visitor.reply(talk)
    return visitor.ask("GET", f"/api/talks/{talk['id']}").json


def script(monkeypatch, *texts: str) -> None:
    """Let the replies be these texts, one batch of one after another."""
    waiting = list(texts)

    def stream(model, encoder, drafts, autocast):  # noqa: ANN202
        text = waiting.pop(0)
        for shown, stands in ((text[:20], False), (text, True)):
            yield [SimpleNamespace(shown=shown, text=text, ended=stands, stands=stands, draft=drafts[0])]

    monkeypatch.setattr(replies, "stream_replies", stream)


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


def test_what_is_said_is_on_record_before_it_is_answered(page, visitor, gate) -> None:
    talk = visitor.begin("hi")
    assert recorded(page).texts == ["hi"]
    gate.set()
    visitor.reply(talk)
    assert len(recorded(page).turns) == 2


def test_a_reply_streams_and_only_grows(page, visitor) -> None:
    talk = visitor.begin("hi")
    events = visitor.ask("GET", f"/api/talks/{talk['id']}/reply").text.split("\n\n")[:-1]
    assert events[-1].startswith("event: end\n")
    texts = [json.loads(event.partition("data: ")[2])["text"] for event in events[:-1] if event.startswith("event: t")]
    assert all(later.startswith(before) for before, later in itertools.pairwise(texts))
    assert recorded(page).texts[1].startswith(texts[-1].strip() if texts else "")


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


def test_a_reply_that_is_not_made_leaves_everything_as_it_was(page, visitor, monkeypatch) -> None:
    talk = talked(visitor, "hi")
    before = recorded(page)
    script(monkeypatch, "", "")
    visitor.do(talk, "retry")
    assert visitor.reply(talk)["problem"] == "the model said nothing else: the reply stays as it was"
    visitor.do(talk, "say", text="and you ?")
    assert visitor.reply(talk)["problem"] == "the model said nothing: your utterance was taken back"
    assert recorded(page) == before


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
    monkeypatch.setattr(page.desk, "restyled", str.lower)
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
    page.recordings.save(replace(found, turns=found.turns[:3]))
    assert len(visitor.do(talk, "undo").json["turns"]) == 2


def test_while_a_reply_is_made_the_talk_cannot_change_but_can_be_deleted(page, visitor, gate) -> None:
    talk = visitor.begin("hi")
    for action in ("say", "retry", "undo", "correct", "flag"):
        answer = visitor.do(talk, action, text="x", turn=1, kinds=[])
        assert (answer.status, answer.json["problem"]) == (409, "a reply is being made: wait for it")
    assert visitor.ask("DELETE", f"/api/talks/{talk['id']}").status == 200
    gate.set()
    page.desk.close()
    assert page.recordings.talks() == []
    assert page.told == []


def test_my_talks_are_listed_downloaded_and_deleted(page, visitor) -> None:
    first, second = talked(visitor, "secret one"), talked(visitor, "secret two")
    others = talked(Visitor(page), "another's")
    listed = visitor.ask("GET", "/api/talks").json["talks"]
    assert [(one["id"], one["turns"]) for one in listed] == [(second["id"], 2), (first["id"], 2)]
    download = visitor.ask("GET", "/api/talks.jsonl")
    assert "attachment" in download.headers["content-disposition"]
    assert [parse_talk(line.encode()).id for line in download.text.splitlines()] == [first["id"], second["id"]]
    assert visitor.ask("DELETE", f"/api/talks/{first['id']}").status == 200
    assert visitor.ask("DELETE", "/api/talks").json == {"deleted": 1}
    assert recorded(page).id == others["id"]
    folder = page.recordings.path.parent
    assert b"secret" not in b"".join(path.read_bytes() for path in folder.iterdir())


def test_a_download_names_no_folder_of_this_machine(page, visitor) -> None:
    page.desk.trained = replace(page.desk.trained, name="/home/somebody/best")
    talked(visitor, "hi")
    download = visitor.ask("GET", "/api/talks.jsonl")
    assert json.loads(download.text)["model"] == "best-c0ffee"
    assert recorded(page).model == "/home/somebody/best"


def test_a_download_of_what_cannot_be_read_is_told_to_both(page, visitor, monkeypatch) -> None:
    def fail(*given: object) -> None:
        raise RunError("talks.sqlite: another program keeps it busy")

    monkeypatch.setattr(page.recordings, "talks", fail)
    assert visitor.ask("GET", "/api/talks.jsonl").status == 503
    assert page.told == ["talks.sqlite: another program keeps it busy"]


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


def test_half_a_letter_and_control_characters_are_left_out(page, visitor) -> None:
    visitor.reply(visitor.begin("a\ud800b\x1b[31m\x00c 👩‍👩‍👧 \u202exyz", "\x07i am old ."))
    assert recorded(page).texts[0] == "ab[31mc 👩‍👩‍👧 \u202exyz"
    assert recorded(page).persona == ["i am old ."]


@pytest.mark.parametrize(
    ("limits", "status", "words"),
    [
        ({"turns": 2}, 403, "a talk has at most 2 utterances"),
        ({"talks": 1}, 403, "you have 1 talks: delete some"),
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


def test_a_disk_that_takes_nothing_is_told_to_both(page, visitor, gate, monkeypatch) -> None:
    talk = visitor.begin("hi")

    def fail(talk: Talk) -> None:
        raise RunError("talks.sqlite: the disk does not take it")

    monkeypatch.setattr(page.recordings, "save", fail)
    gate.set()
    assert visitor.reply(talk)["problem"] == "the reply could not be recorded"
    answer = visitor.ask("POST", "/api/talks", {"persona": ["i am old ."], "text": "hi"})
    assert answer.status == 503
    assert "tell who runs this page" in answer.json["problem"]
    assert page.told[-1] == "talks.sqlite: the disk does not take it"


def test_the_page_goes_on_when_a_batch_fails(page, visitor, monkeypatch) -> None:
    def fail(*arguments: object) -> None:
        raise ValueError("no model")

    with monkeypatch.context() as patch:
        patch.setattr(replies, "stream_replies", fail)
        assert "taken back" in visitor.reply(visitor.begin("hi"))["problem"]
    assert page.told == ["a batch of 1 replies failed: ValueError: no model"]
    assert page.recordings.talks() == []
    assert visitor.reply(visitor.begin("hi"))["problem"] == ""


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
    assert visitor.ask("POST", "/api/talks", body, sec_fetch_site="cross-site").status == 403
    assert visitor.ask("DELETE", "/api/talks", content_type="text/plain").status == 403
    assert visitor.ask("GET", "/api/talks", host="evil.example").status == 421
    assert visitor.ask("GET", "/api/talks", host=f"localhost:{page.port}").status == 200
    assert Visitor(page, cookie="").ask("POST", "/api/talks", body).status == 403
    assert page.recordings.talks() == []


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"me:{password}".encode()).decode()


def test_a_password(serve_page) -> None:
    page = serve_page(password="grün: 1234", guesses=3)
    visitor = Visitor(page, cookie="")
    answer = visitor.ask("GET", "/")
    assert (answer.status, answer.text) == (401, "a password is needed")
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert "set-cookie" in visitor.ask("GET", "/", authorization=basic("grün: 1234")).headers
    for wrong in ("Basic ?", "Bearer x", basic("1234")):
        assert visitor.ask("GET", "/page.js", authorization=wrong).status == 401
    visitor.ask("GET", "/", authorization=basic("12345"))
    assert visitor.ask("GET", "/", authorization=basic("grün: 1234")).status == 429  # three were wrong


def test_which_hosts_only_this_machine_reaches() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "localhost", "::1", "[::1]")))
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
