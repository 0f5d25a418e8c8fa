"""Ask a program behind an OpenAI-style API for replies: streamed chat completions, and what to do about each fault.

    program = ApiProgram(read_api(Path("program.toml")))
    program.reply(["i have two dogs."], ["hi ! any pets ?"])

Whatever may pass is tried again, at most TRIES times within the caller's patience: no connection, a time-out, half a
stream, too many requests (after the wait that the server asks for), a fault of the server, an answer that is no
completion, an empty reply. What cannot pass is an error at once: a wrong key, an unknown model, a refused request, a
redirect (the key would travel to another address), an untrusted certificate. Either way the error is one line, and the
key is in no line.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx2

from personagpt.errors import UserError, printable
from personagpt.model.api_answers import (
    Fault,
    Limited,
    connection_fault,
    note_of,
    read_reply,
    read_whole,
    seconds_to_wait,
)
from personagpt.model.api_kept import KeptReplies
from personagpt.model.api_settings import PATH, Api, Drawing

TRIES = 5
TOGETHER = 8  # replies asked for at once
CONNECT_SECONDS, SILENT_SECONDS = 10.0, 60.0  # for a connection; without a byte of the reply
PATIENCE = 300.0  # seconds for a reply, with all its tries

Asked = tuple[Sequence[str], Sequence[str]]  # facts and history


class ApiError(UserError):
    """The program gave no reply. The message is one line without the key."""


class EmptyReply(ApiError):
    """The last try gave an empty reply."""


class ApiProgram:
    """A program behind an API. Threads may share it."""

    def __init__(self, api: Api, kept: KeptReplies | None = None) -> None:
        """`kept` is for `replies`. Raises UserError where the environment has no key of this name, or the network's
        settings cannot be used."""
        self.api, self.kept, self._key = api, kept, api.key()
        self._closed = threading.Event()
        self._waiting: set[Future[str]] = set()  # requests under way
        headers = {} if self._key is None else {"authorization": f"Bearer {self._key}"}
        try:
            limits = httpx2.Limits(max_connections=None)
            self._client = httpx2.Client(headers=headers, limits=limits, follow_redirects=False)
        except (ImportError, ValueError, OSError) as error:  # a proxy or a file of certificates in the environment
            raise ApiError(self._line(f"the network's settings in the environment cannot be used: {error}")) from None

    def reply(
        self,
        facts: Sequence[str],
        history: Sequence[str],
        drawing: Drawing | None = None,
        seed: int | None = None,
        patience: float = PATIENCE,
        tries: int = TRIES,
    ) -> str:
        """Return the program's next utterance as the speaker with the persona `facts`, on one line.

        The last utterance of `history` is the other speaker's, the utterance before it the program's, and so on; with
        no utterance the program opens the talk. `drawing` takes the place of the API's own. `patience` is in seconds,
        for all tries together. Raises ApiError.
        """
        end = time.monotonic() + patience
        for attempt in range(tries):
            # Another try has another seed, or it would give the same empty reply.
            drawn = None if seed is None else (seed + attempt) % 2**31
            try:
                return self._try(self._body(facts, history, drawing, drawn), end)
            except Fault as fault:
                last = fault
            wait = last.wait if last.wait is not None else 2.0**attempt * random.uniform(1.0, 1.25)
            is_late = wait >= end - time.monotonic()
            if not last.passes or attempt == tries - 1 or is_late or self._closes_within(wait):
                break
        tried = f" ({attempt + 1} tries)" if attempt else ""
        raise (EmptyReply if last.is_empty else ApiError)(self._line(f"{last}{tried}"))

    def replies(
        self,
        asked: Sequence[Asked],
        drawing: Drawing | None = None,
        seed: int | None = None,
        heard: Callable[[int, str], None] | None = None,
    ) -> Iterator[str]:
        """Yield the reply to each pair of facts and history, in order. Empty replies are empty. Raises ApiError.

        TOGETHER replies are asked for at once, but for kept ones. `heard` gets each reply and its place as soon as it
        is there, in a thread.
        """
        failed: list[Exception] = []

        def ask(place: int) -> str:
            if failed:
                raise failed[0]
            try:
                reply = self._kept_reply(asked[place], drawing, seed)
                if heard is not None:
                    heard(place, reply)
            except Exception as error:
                failed.append(error)
                raise
            return reply

        pool = ThreadPoolExecutor(TOGETHER)
        try:
            yield from pool.map(ask, range(len(asked)))
        except BaseException as error:
            self.close()  # or the other replies would hold up the end of the script
            if self.kept and isinstance(error, ApiError):
                raise ApiError(f"{error}{self.kept.hint}") from None
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _kept_reply(self, pair: Asked, drawing: Drawing | None, seed: int | None) -> str:
        """Return the kept reply, or else the program's; empty where it is empty. Raises ApiError."""
        try:
            if self.kept is None:
                return self.reply(*pair, drawing, seed)
            return self.kept.reply_to(self._body(*pair, drawing, seed), lambda: self.reply(*pair, drawing, seed))
        except EmptyReply:
            return ""

    def check(self) -> None:
        """Ask for a short reply once, so that a mistake is told before anybody waits. Raises ApiError."""
        try:
            self.reply(["i like tea."], ["hi !"], Drawing(max_new_tokens=16), patience=2 * SILENT_SECONDS, tries=1)
        except EmptyReply:
            return  # of a model that thinks first, 16 tokens show nothing

    def close(self) -> None:
        """End the waits for replies and between tries, and the connections."""
        self._closed.set()
        for future in list(self._waiting):
            _settle(future, Fault("the request was ended", passes=False))
        self._client.close()

    def _closes_within(self, seconds: float) -> bool:
        """Wait, and return whether the program was closed meanwhile."""
        return self._closed.wait(seconds)

    def _body(
        self, facts: Sequence[str], history: Sequence[str], drawing: Drawing | None, seed: int | None
    ) -> dict[str, Any]:
        """Return the request for a reply."""
        asked = {"model": self.api.api_model, "messages": self.api.messages(facts, history), "stream": True}
        return asked | (drawing or self.api.drawing).fields(seed)

    def _try(self, body: dict[str, Any], end: float) -> str:
        """Return the reply of one request, which ends at `end`, a time of time.monotonic(). Raises Fault.

        The request has a thread of its own, because the library's time-outs are for each read: a name server without an
        answer, or a server that sends its header byte by byte, would hold up the caller for ever.
        """
        future: Future[str] = Future()

        def request() -> None:
            try:
                _settle(future, self._request(body, end))
            except Exception as error:
                _settle(future, error)

        self._waiting.add(future)
        threading.Thread(target=request, name="request", daemon=True).start()
        try:
            return future.result(max(0.0, end - time.monotonic()))
        except TimeoutError:
            raise Fault("no whole answer in time", passes=False) from None
        finally:
            self._waiting.discard(future)

    def _request(self, body: dict[str, Any], end: float) -> str:
        """Return the reply of one request. Raises Fault."""
        try:
            left = max(0.001, end - time.monotonic())
            timeout = httpx2.Timeout(min(SILENT_SECONDS, left), connect=min(CONNECT_SECONDS, left))
            with self._client.stream("POST", self.api.url + PATH, json=body, timeout=timeout) as answer:
                answer.stream = Limited(answer.stream, end)
                if answer.status_code != 200:
                    raise self._refusal(answer, note_of(read_whole(answer), self._without_key))
                return read_reply(answer, self._without_key)
        except httpx2.HTTPError as error:
            raise connection_fault(error) from None
        except (httpx2.StreamError, httpx2.InvalidURL, RuntimeError) as error:  # RuntimeError: closed meanwhile
            raise Fault(f"the request failed: {error}", passes=False) from None

    def _refusal(self, answer: httpx2.Response, note: str) -> Fault:
        """Return the fault of an answer with another status than 200, which says `note` about it."""
        status = answer.status_code
        if 300 <= status < 400:
            target = answer.headers.get("location", "").partition("?")[0]
            return Fault(f"a redirect to {target or 'nowhere'} (HTTP {status}): set url to the right address", False)
        if status in (401, 403):
            reason = "a key is wanted: set key_env" if self._key is None else "the key of key_env is not accepted"
            return Fault(f"{reason} (HTTP {status}){note}", passes=False)
        if status == 404:
            return Fault(f"no such model, or no such address: check api_model and url (HTTP 404){note}", passes=False)
        if status in (408, 409, 425, 429) or status >= 500:
            reason = "too many requests" if status == 429 else "a fault of the server"
            wait = seconds_to_wait(answer.headers.get("retry-after", ""))
            asked = "" if wait is None else f", asked to wait {wait:.0f} s"
            return Fault(f"{reason} (HTTP {status}{asked}){note}", passes=True, wait=wait)
        return Fault(f"the request is refused (HTTP {status}){note}", passes=False)

    def _line(self, problem: str) -> str:
        return self._without_key(printable(f"{self.api.host}, model {self.api.api_model}: {problem}"))

    def _without_key(self, text: str) -> str:
        """Return a text in which a server may have repeated the key."""
        return text if self._key is None else text.replace(self._key, "***")


def _settle(future: Future[str], outcome: str | Exception) -> None:
    """Give a request its reply or its error, unless it has got one before."""
    with suppress(InvalidStateError):
        if isinstance(outcome, str):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)
