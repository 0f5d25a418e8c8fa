"""What a program behind an API answers: the reply of a streamed chat completion, or the fault that it has."""

from __future__ import annotations

import email.utils
import json
import re
import ssl
import time
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import httpx2

from personagpt.errors import printable

MOST_BYTES = 1 << 20  # of an event, or of an answer that is no stream, unpacked
MOST_STREAMED = 1 << 26  # bytes of a stream: a program that thinks first sends some hundred for each of its tokens
LONGEST_NOTE = 200  # characters of a server's own words in a line
THOUGHT = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)  # some servers leave a model's thoughts in its reply

ENDLESS = "the answer does not end"
NO_COMPLETION = "JSON that is no chat completion: is url an OpenAI-style API?"


class Fault(Exception):
    """Why a try gave no reply, and whether another try may give one, after `wait` seconds (None: as usual)."""

    def __init__(self, line: str, passes: bool, wait: float | None = None, is_empty: bool = False) -> None:
        super().__init__(line)
        self.passes, self.wait, self.is_empty = passes, wait, is_empty


class Limited(httpx2.SyncByteStream):
    """The bytes of an answer until `end`, and no more than MOST_STREAMED, so that the thread of a request ends."""

    def __init__(self, stream: httpx2.SyncByteStream, end: float) -> None:
        self.stream, self.end = stream, end

    def __iter__(self) -> Iterator[bytes]:
        count = 0
        for chunk in self.stream:
            count += len(chunk)
            if count > MOST_STREAMED:
                raise Fault(ENDLESS, passes=False)
            if time.monotonic() > self.end:
                raise Fault("no whole answer in time", passes=False)
            yield chunk

    def close(self) -> None:
        self.stream.close()


def read_whole(answer: httpx2.Response) -> bytes:
    """Return the answer's bytes, unpacked. Raises Fault where there are more than MOST_BYTES."""
    content = bytearray()
    for chunk in answer.iter_bytes():
        content += chunk
        if len(content) > MOST_BYTES:
            raise Fault(ENDLESS, passes=False)
    return bytes(content)


def read_reply(answer: httpx2.Response, hidden: Callable[[str], str]) -> str:
    """Return the reply of an answer as an utterance. Raises Fault, also where the reply is empty.

    `hidden` takes the key out of what a server says.
    """
    text, reason = _read_completion(answer, hidden)
    if reply := hidden(as_utterance(text)):
        return reply
    is_filtered = isinstance(reason, str) and reason.startswith("content_filter")
    withheld, usual = ", because the server's content filter withheld the text", "; a higher max_new_tokens may help"
    raise Fault(f"an empty reply{withheld if is_filtered else usual}", passes=True, is_empty=True)


def _read_completion(answer: httpx2.Response, hidden: Callable[[str], str]) -> tuple[str, Any]:
    """Return the text and the finish reason of a completion: streamed, or in one piece from a server that does not
    stream. Raises Fault."""
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "text/event-stream":
        content = _parsed(read_whole(answer), kind, hidden)
        choice = _choice(content)
        if not choice:
            raise Fault(NO_COMPLETION, passes=True)
        return _text(choice.get("message")), choice.get("finish_reason")
    answer.encoding = "utf-8-sig"  # or the first event would be lost behind a byte-order mark
    reply, reason, has_choice = "", None, None  # has_choice: None before the first event
    for event in httpx2.EventSource(answer, MOST_BYTES):
        if event.data.strip() == "[DONE]":
            reason = reason or "stop"
            break
        if event.event == "error":
            raise Fault(f"the server says that it failed{note_of(event.data, hidden)}", passes=True)
        choice = _choice(_parsed(event.data, kind, hidden))
        has_choice = has_choice or bool(choice)
        reply += _text(choice.get("delta"))
        reason = choice.get("finish_reason") or reason
        if len(reply) > MOST_BYTES:
            raise Fault(ENDLESS, passes=False)
    if has_choice is False:
        raise Fault(NO_COMPLETION, passes=True)
    if reason is None:
        raise Fault("the stream ended in the middle of the reply", passes=True)
    return reply, reason


def _parsed(text: str | bytes, kind: str, hidden: Callable[[str], str]) -> dict[str, Any]:
    """Return the JSON object of a text. Raises Fault where it is none, or says that something failed."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        hint = "is there a /v1 missing at the end of url?" if kind == "text/html" else "is url an OpenAI-style API?"
        raise Fault(f"no chat completion, but {kind or 'something else'}: {hint}", passes=True)
    if content.get("error") or content.get("object") == "error":
        raise Fault(f"the server says that it failed{note_of(text, hidden)}", passes=True)
    return content


def _choice(content: dict[str, Any]) -> dict[str, Any]:
    """Return the completion's choice, empty where it has none: a count of tokens, or a sign of life. Raises Fault."""
    choices = content.get("choices") or [{}]
    if not isinstance(choices, list) or not isinstance(choices[0], dict):
        raise Fault(NO_COMPLETION, passes=True)
    return choices[0]


def _text(message: Any) -> str:
    """Return the text of a message, which is a text, or a list of texts and thoughts. Raises Fault."""
    if message is None:
        return ""
    text = message.get("content") if isinstance(message, dict) else 0
    if isinstance(text, list):
        text = "".join(part["text"] for part in text if isinstance(part, dict) and isinstance(part.get("text"), str))
    if text is not None and not isinstance(text, str):
        raise Fault(NO_COMPLETION, passes=True)
    return text or ""


def note_of(text: str | bytes, hidden: Callable[[str], str]) -> str:
    """Return what a server says of a failure, cut short and without the key; of a page nothing."""
    try:
        note = hidden(_quoted(json.loads(text)))
    except (ValueError, RecursionError):
        return ""
    return f": {note if len(note) <= LONGEST_NOTE else note[:LONGEST_NOTE] + '...'}" if note else ""


def _quoted(content: Any) -> str:
    """Return the message of a JSON error: {"error": {"message": ...}}, {"error": ...}, {"detail": ...}."""
    for key in ("error", "message", "detail"):
        content = content.get(key, content) if isinstance(content, dict) else content
    return content if isinstance(content, str) else json.dumps(content)


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
    """Return a program's text as an utterance: on one line, without thoughts and without what no file can hold.

    It is empty where nobody could see a letter of it.
    """
    text = THOUGHT.sub(" ", text).encode(errors="ignore").decode()
    text = " ".join("".join(" " if unicodedata.category(letter) == "Cc" else letter for letter in text).split())
    return text if printable(text).strip() else ""
