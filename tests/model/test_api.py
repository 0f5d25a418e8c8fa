"""personagpt/model/api.py: replies of a program behind an API, and every fault that such an API can have."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from personagpt.errors import UserError
from personagpt.model import api
from personagpt.model.api import ApiError, ApiProgram, EmptyReply
from personagpt.model.api_answers import LONGEST_NOTE, MOST_BYTES
from personagpt.model.api_settings import Api, Drawing
from tests.api_server import KEY, creeping, dripping, event, hanging_up, packing, refusing, serving, streamed, telling
from tests.helpers import free_port

FACTS, HISTORY = ["i like tea.", "i am old."], ["hi !", "hello !", "who are you ?"]
WORDS = "i am an old man ."
WHOLE = {"choices": [{"index": 0, "message": {"role": "assistant", "content": WORDS}, "finish_reason": "stop"}]}
PARTS = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": WORDS}]
SIGNS_OF_LIFE = ': ping\r\n\r\nevent: ping\ndata: {"type": "ping"}\n\ndata: {"choices": null}\n\n'
THOUGHT = f'data: {{"choices": [{{"delta": {{"reasoning_content": "{"hm " * 10_000}"}}}}]}}\n\n'
PAGE = "<html><body>Welcome to nginx</body></html>"


@pytest.fixture(autouse=True)
def waits(monkeypatch) -> list[float]:
    """The seconds that were waited between tries; nobody waits here."""
    waited: list[float] = []
    monkeypatch.setattr(ApiProgram, "_closes_within", lambda self, seconds: waited.append(seconds))
    return waited


def ask(url: str, key_env: str | None = None, **options: object) -> str:
    return ApiProgram(Api(url, "large-1", key_env)).reply(FACTS, HISTORY, **options)


def test_the_request_and_the_reply(monkeypatch) -> None:
    monkeypatch.setenv("TEST_KEY", f" {KEY}\n")
    with serving(streamed(WORDS)) as server:
        assert ask(server.url, "TEST_KEY", drawing=Drawing(30, 0.5, 0.9), seed=7) == WORDS
    assert server.requests == [
        {
            "model": "large-1",
            "messages": [
                {"role": "system", "content": "i like tea.\ni am old."},
                {"role": "user", "content": "hi !"},
                {"role": "assistant", "content": "hello !"},
                {"role": "user", "content": "who are you ?"},
            ],
            "stream": True,
            "max_tokens": 30,
            "temperature": 0.5,
            "top_p": 0.9,
            "seed": 7,
        }
    ]
    assert {name.lower(): value for name, value in server.headers[0].items()}["authorization"] == f"Bearer {KEY}"


def test_without_a_key_and_with_the_servers_own_way_to_draw() -> None:
    with serving(streamed(WORDS)) as server:
        ask(server.url)
    assert {"authorization", "cookie"}.isdisjoint(name.lower() for name in server.headers[0])
    assert server.requests[0].keys() == {"model", "messages", "stream", "max_tokens"}


@pytest.mark.parametrize(
    "answer",
    [
        telling(200, WHOLE),  # a server that does not stream
        streamed(WORDS, event(None, "length")),  # without [DONE]
        streamed(WORDS, "data: [DONE]\n\n"),  # without a reason
        streamed(WORDS, event(None, "stop") + 'data: {"choices": [], "usage": {"total_tokens": 3}}\n\n'),
        streamed(f": hello\n\n<think>who am i ? {WORDS}</think>\n\n{WORDS}"),
        streamed(WORDS, 'data: {"choices": [{"index": 0, "delta": null, "finish_reason": "stop"}]}\n\n'),
        streamed(WORDS, 'data: {"choices": [{"finish_reason": "stop"}]}\n\ndata: {"usage": {"total_tokens": 3}}\n\n'),
        telling(200, f"{SIGNS_OF_LIFE}{event(PARTS, 'stop')}", "text/event-stream"),
        telling(200, f"\ufeff{event(WORDS, 'stop')}", "text/event-stream"),
        telling(200, THOUGHT * 40 + event(WORDS, "stop"), "text/event-stream"),  # more than a reply may have
    ],
)
def test_other_ways_to_say_the_same(answer) -> None:
    with serving(answer) as server:
        assert ask(server.url).endswith(WORDS)
    assert len(server.requests) == 1


PASSING = {
    "half a stream": (streamed("half of", ""), "the stream ended in the middle of the reply"),
    "a connection that breaks": (hanging_up, "the connection broke"),
    "a page": (telling(200, PAGE, "text/html"), "no chat completion, but text/html: is there a /v1 missing"),
    "a page in the stream": (telling(200, f"data: {PAGE}\n\n", "text/event-stream"), "no chat completion"),
    "other JSON": (telling(200, {"ok": True}), "JSON that is no chat completion"),
    "a list": (telling(200, [1]), "no chat completion, but application/json"),
    "JSON of other types": (telling(200, {"choices": [{"message": {"content": 3}}]}), "JSON that is no chat"),
    "deep JSON": (telling(200, "[" * 100_000), "no chat completion"),
    "an empty reply": (streamed(""), "an empty reply; a higher max_new_tokens may help"),
    "a reply without letters": (streamed(" \n\n  \t"), "an empty reply"),
    "nothing but thoughts": (streamed("<think>so many"), "an empty reply"),
    "a withheld reply": (
        telling(200, event("") + event(None, "content_filter") + "data: [DONE]\n\n", "text/event-stream"),
        "an empty reply, because the server's content filter withheld the text",
    ),
    "a withheld reply in one piece": (
        telling(200, {"choices": [{"message": {"content": None}, "finish_reason": "content_filter: SAFETY"}]}),
        "an empty reply, because the server's content filter withheld the text",
    ),
    "an empty reason": (telling(200, event("half", ""), "text/event-stream"), "the stream ended in the middle"),
    "an error in the stream": (
        telling(200, 'data: {"error": {"message": "overloaded"}}\n\n', "text/event-stream"),
        "the server says that it failed: overloaded",
    ),
    "an event of an error": (
        telling(200, event("half") + 'event: error\ndata: {"message": "overloaded"}\n\n', "text/event-stream"),
        "the server says that it failed: overloaded",
    ),
    "an object of an error": (
        telling(200, {"object": "error", "message": "overloaded"}),
        "the server says that it failed: overloaded",
    ),
    "a stream of other JSON": (telling(200, 'data: {"ok": 1}\n\n', "text/event-stream"), "JSON that is no chat"),
    "a stream of letters that nobody sees": (streamed("\u200b\ufeff"), "an empty reply"),
    "too many requests": (refusing(429, "slow down"), "too many requests (HTTP 429): slow down"),
    "a fault of the server": (telling(502, PAGE, "text/html"), "a fault of the server (HTTP 502)"),
}


@pytest.mark.parametrize(("answer", "line"), PASSING.values(), ids=PASSING)
def test_what_may_pass_is_tried_again(answer, line, waits) -> None:
    with serving(answer, answer, streamed(WORDS)) as server:
        assert ask(server.url) == WORDS
    assert len(server.requests) == 3
    assert [int(wait) for wait in waits] == [1, 2]  # 1.0 to 1.25, 2.0 to 2.5
    with serving(answer) as server, pytest.raises(ApiError) as caught:
        ask(server.url)
    assert len(server.requests) == api.TRIES
    assert str(caught.value).startswith(f"127.0.0.1:{server.server_port}, model large-1: {line}")
    assert str(caught.value).endswith("(5 tries)")
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, EmptyReply) == line.startswith("an empty")


def test_no_server_is_tried_again(waits) -> None:
    with pytest.raises(ApiError, match=r"no connection: is the program running at url\? .*refused.*\(5 tries\)"):
        ask(f"http://127.0.0.1:{free_port()}/v1")
    assert len(waits) == api.TRIES - 1


def test_a_server_that_is_silent(monkeypatch) -> None:
    monkeypatch.setattr(api, "SILENT_SECONDS", 0.05)
    with serving(streamed(WORDS, seconds=1), streamed(WORDS)) as server:
        assert ask(server.url) == WORDS
    with serving(streamed(WORDS, seconds=1)) as server, pytest.raises(ApiError, match="no answer in time"):
        ask(server.url, tries=1)


REFUSED = {
    "a wrong key": (refusing(401, "bad key"), "a key is wanted: set key_env (HTTP 401): bad key"),
    "no such model": (refusing(404, "the model large-1 does not exist"), "no such model, or no such address: check"),
    "no such address": (telling(404, PAGE, "text/html"), "no such model, or no such address"),
    "a field it does not know": (telling(422, {"detail": "seed: extra"}), "the request is refused (HTTP 422): seed"),
    "a list of mistakes": (telling(400, {"detail": [{"loc": "model"}]}), 'the request is refused (HTTP 400): [{"loc"'),
    "a redirect": (
        telling(307, "", location="https://elsewhere.example/v1?token=x"),
        "a redirect to https://elsewhere.example/v1 (HTTP 307): set url to the right address",
    ),
    "too much": (telling(200, "x" * (MOST_BYTES + 1)), "the answer does not end"),
    "too much, packed": (packing(b"x" * (MOST_BYTES + 1)), "the answer does not end"),
    "too much, of an error": (telling(500, "x" * (MOST_BYTES + 1)), "the answer does not end"),
    "too long a reply": (
        telling(200, event("x" * (MOST_BYTES // 2)) * 3, "text/event-stream"),
        "the answer does not end",
    ),
}


@pytest.mark.parametrize(("answer", "line"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_pass_is_an_error_at_once(answer, line) -> None:
    with serving(answer) as server, pytest.raises(ApiError) as caught:
        ask(server.url)
    assert str(caught.value).startswith(f"127.0.0.1:{server.server_port}, model large-1: {line}")
    assert len(server.requests) == 1
    assert "tries" not in str(caught.value)


HEADER = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
SLOW = {
    "comments": dripping,
    "a header": creeping(HEADER + b"x-slow: "),
    "a status": creeping(b"HTTP/1.1 2"),
    "a chunk's length": creeping(HEADER + b"transfer-encoding: chunked\r\n\r\n"),
    "a body": creeping(HEADER + b"content-length: 100000\r\n\r\n"),
}


@pytest.mark.parametrize("answer", SLOW.values(), ids=SLOW)
def test_a_server_that_drips_for_ever(answer) -> None:
    with serving(answer) as server, pytest.raises(ApiError, match=r"large-1: no whole answer in time$"):
        ask(server.url, patience=0.2)


def test_a_closed_program_waits_for_no_reply() -> None:
    asked = threading.Event()

    def silent(handler) -> None:
        asked.set()
        time.sleep(0.5)

    with serving(silent) as server, ThreadPoolExecutor(1) as pool:
        program = ApiProgram(Api(server.url, "m"))
        reply = pool.submit(program.reply, FACTS, HISTORY)
        assert asked.wait(10)
        program.close()
        with pytest.raises(ApiError, match="the request was ended"):
            reply.result(10)


def test_a_server_without_tls() -> None:
    with serving(streamed(WORDS)) as server, pytest.raises(ApiError, match=r"no trusted connection \(TLS: "):
        ask(server.url.replace("http:", "https:"))


def test_the_wait_that_the_server_asks_for(waits) -> None:
    busy = refusing(429, "slow down", retry_after="20")
    with serving(busy, streamed(WORDS)) as server:
        assert ask(server.url) == WORDS
        assert waits == [20]
        server.answers = [busy]
        with pytest.raises(ApiError, match=r"too many requests \(HTTP 429, asked to wait 20 s\): slow down$"):
            ask(server.url, patience=10)  # it would be too late then
    assert waits == [20]
    assert len(server.requests) == 3


def test_an_empty_reply_is_drawn_with_another_seed() -> None:
    with serving(streamed(""), streamed(WORDS)) as server:
        ask(server.url, seed=7)
    assert [request["seed"] for request in server.requests] == [7, 8]


def test_the_key_is_in_no_line(monkeypatch) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    for answer in (refusing(401, f"your key {KEY} is wrong"), telling(302, "", location=f"https://x/{KEY}")):
        with serving(answer) as server, pytest.raises(ApiError) as caught:
            ask(server.url, "TEST_KEY")
        assert KEY not in str(caught.value)
        assert "***" in str(caught.value)
    cut = f"{'x' * (LONGEST_NOTE - 5)} {KEY}"  # the key begins where the note is cut
    with serving(refusing(400, cut)) as server, pytest.raises(ApiError, match=r"x \*\*\*$"):
        ask(server.url, "TEST_KEY")
    with serving(streamed(f"my key is {KEY} .")) as server:
        assert ask(server.url, "TEST_KEY") == "my key is *** ."
    assert KEY not in repr(vars(ApiProgram(Api("http://x", "m", "TEST_KEY")))["api"])


@pytest.mark.parametrize("value", ["", "  ", "a\nb", "schlüssel"])
def test_a_key_that_cannot_be_a_key(value, monkeypatch) -> None:
    monkeypatch.setenv("TEST_KEY", value)
    with pytest.raises(UserError, match=r"^key_env: ") as caught:
        ApiProgram(Api("http://x", "m", "TEST_KEY"))
    assert "TEST_KEY" not in str(caught.value)


def test_a_proxy_that_cannot_be_used(monkeypatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "carrier://pigeon")
    with pytest.raises(ApiError, match="the network's settings in the environment cannot be used"):
        ApiProgram(Api("http://x", "m"))


def test_many_replies_at_once_come_in_order() -> None:
    with serving(streamed("")) as server:
        asked = [(FACTS, [f"word {number}"]) for number in range(20)]
        assert list(ApiProgram(Api(server.url, "m")).replies(asked[:2])) == ["", ""]
        server.answers = [lambda handler: streamed(handler.body["messages"][-1]["content"])(handler)]
        replies = list(ApiProgram(Api(server.url, "m")).replies(asked))
        server.answers = [refusing(401, "no")]
        with pytest.raises(ApiError, match="a key is wanted"):
            list(ApiProgram(Api(server.url, "m")).replies(asked))
    assert replies == [f"word {number}" for number in range(20)]


def test_the_check_at_the_start() -> None:
    with serving(streamed("")) as server:
        ApiProgram(Api(server.url, "m")).check()
        server.answers = [refusing(404, "no such model")]
        with pytest.raises(ApiError, match="no such model"):
            ApiProgram(Api(server.url, "m")).check()
        server.answers = [telling(502, "")]
        with pytest.raises(ApiError, match=r"HTTP 502\)$"):
            ApiProgram(Api(server.url, "m")).check()
    assert len(server.requests) == 3


def test_a_closed_program_waits_no_more(monkeypatch) -> None:
    monkeypatch.undo()
    program = ApiProgram(Api("http://127.0.0.1:1/v1", "m"))
    program.close()
    with pytest.raises(ApiError):
        program.reply(FACTS, HISTORY)
