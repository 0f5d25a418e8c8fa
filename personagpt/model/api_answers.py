"""What a program behind an API answers: the reply of a streamed chat completion, or the fault that it has."""

from __future__ import annotations

import email.utils
import json
import re
import ssl
import time
from collections.abc import Iterator
from typing import Any

import httpx2

MOST_BYTES = 1 << 20  # of an answer
LONGEST_NOTE = 200  # characters of a server's own words in a line
THOUGHT = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)  # some servers leave a model's thoughts in its reply


class Fault(Exception):
    """Why a try gave no reply, and whether another try may give one, after `wait` seconds (None: as usual)."""

    def __init__(self, line: str, passes: bool, wait: float | None = None, is_empty: bool = False) -> None:
        super().__init__(line)
        self.passes, self.wait, self.is_empty = passes, wait, is_empty


class Limited(httpx2.SyncByteStream):
    """The bytes of an answer until `end`, and no more than MOST_BYTES, so that the thread of a request ends."""

    def __init__(self, stream: httpx2.SyncByteStream, end: float) -> None:
        self.stream, self.end = stream, end

    def __iter__(self) -> Iterator[bytes]:
        count = 0
        for chunk in self.stream:
            count += len(chunk)
            if count > MOST_BYTES:
                raise Fault("the answer does not end", passes=False)
            if time.monotonic() > self.end:
                raise Fault("no whole answer in time", passes=False)
            yield chunk

    def close(self) -> None:
        self.stream.close()


def read_reply(answer: httpx2.Response) -> str:
    """Return the text of a completion: streamed, or in one piece from a server that does not stream. Raises Fault."""
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "text/event-stream":
        answer.read()
        return _piece(_parsed(answer.text, kind), "message")
    pieces, is_whole = [], False
    for event in httpx2.EventSource(answer, MOST_BYTES):
        if event.data.strip() == "[DONE]":
            is_whole = True
            break
        content = _parsed(event.data, kind)
        if content.get("choices") == []:  # the count of tokens
            continue
        pieces.append(_piece(content, "delta"))
        is_whole = is_whole or content["choices"][0].get("finish_reason") is not None
    if not is_whole:
        raise Fault("the stream ended in the middle of the reply", passes=True)
    return "".join(pieces)


def _parsed(text: str, kind: str) -> dict[str, Any]:
    """Return the JSON object of a text. Raises Fault where it is none, or says that something failed."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        hint = "is there a /v1 missing at the end of url?" if kind == "text/html" else "is url an OpenAI-style API?"
        raise Fault(f"no chat completion, but {kind or 'something else'}: {hint}", passes=True)
    if content.get("error"):
        raise Fault(f"the server says that it failed{_quoted(content)}", passes=True)
    return content


def _piece(content: dict[str, Any], place: str) -> str:
    """Return the text in the first choice's `message` or `delta`. Raises Fault where there is no such place."""
    try:
        text = content["choices"][0][place].get("content")
    except (KeyError, IndexError, TypeError, AttributeError):
        text = 0
    if text is not None and not isinstance(text, str):
        raise Fault("JSON that is no chat completion: is url an OpenAI-style API?", passes=True)
    return text or ""


def note_of(answer: httpx2.Response) -> str:
    """Return what a server says of its refusal, cut short; of a page nothing."""
    try:
        content = json.loads(answer.text)
    except (ValueError, RecursionError):
        return ""
    return _quoted(content)


def _quoted(content: Any) -> str:
    """Return the message of a JSON error: {"error": {"message": ...}}, {"error": ...}, {"detail": ...}."""
    for key in ("error", "message", "detail"):
        content = content.get(key, content) if isinstance(content, dict) else content
    text = content if isinstance(content, str) else json.dumps(content)
    return f": {text if len(text) <= LONGEST_NOTE else text[:LONGEST_NOTE] + '...'}" if text else ""


def connection_fault(error: httpx2.HTTPError) -> Fault:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            reason = getattr(cause, "verify_message", "") or cause.reason or cause
            return Fault(f"no trusted connection (TLS: {reason}): check url, and the server's certificate", False)
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx2.ConnectTimeout | httpx2.ConnectError):
        return Fault(f"no connection: is the program running at url? ({error})", passes=True)
    if isinstance(error, httpx2.TimeoutException):
        return Fault("no answer in time", passes=True)
    return Fault(f"the connection broke: {error}", passes=not isinstance(error, httpx2.UnsupportedProtocol))


def seconds_to_wait(value: str) -> float | None:
    """Return the seconds of a Retry-After header, a number or a date; None where it is neither."""
    if re.fullmatch(r"\s*\d{1,9}(\.\d*)?\s*", value):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def as_utterance(text: str) -> str:
    """Return a program's text as an utterance: on one line, without thoughts and without what no file can hold."""
    text = THOUGHT.sub(" ", text).encode(errors="ignore").decode()
    return " ".join("".join(letter if letter >= " " else " " for letter in text).split())
