"""Access control: who may send a request, how many, and what the browser may do with the answer.

A random key in a cookie, which no script can read, identifies a visitor. Recordings hold only the key's checksum, so
that nobody who reads them can pose as the visitor.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import re
import secrets
import threading
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "visitor"
KEY = re.compile(r"[\w-]{43}", re.ASCII)  # secrets.token_urlsafe(32)
MOST_BYTES = 64 * 1024  # of a request's body
HEADERS = {
    # Load nothing from another host, run no inline script or style, and appear in no frame.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach `host`."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def participant_of(key: str) -> str:
    """Return the checksum that recordings hold in place of a visitor's key."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]


class Rate:
    """Allow at most `most` events of each name in any `seconds`."""

    def __init__(self, most: int, seconds: float = 60.0) -> None:
        self.most, self.seconds = most, seconds
        self._events: dict[str, list[float]] = {}  # times of time.monotonic()
        self._lock = threading.Lock()

    def allows(self, name: str, counts: bool = True) -> bool:
        """Return whether `name` may have another event now. Count the event, unless `counts` is False."""
        now = time.monotonic()
        with self._lock:
            if len(self._events) > 10_000:  # forget the names without a recent event
                self._events = {key: times for key, times in self._events.items() if times[-1] > now - self.seconds}
            recent = [event for event in self._events.pop(name, []) if event > now - self.seconds]
            allowed = len(recent) < self.most
            if allowed and counts:
                recent.append(now)
            if recent:
                self._events[name] = recent
            return allowed


class AccessControl:
    """ASGI middleware: refuse a request, or pass it on with the visitor's checksum in `scope["participant"]`."""

    def __init__(self, app: ASGIApp, password: str | None, local: bool, requests: Rate, guesses: Rate) -> None:
        """With `local`, only this machine may use the page, and the page answers only to this machine's names."""
        self.app, self.local, self.requests, self.guesses = app, local, requests, guesses
        self.password = None if password is None else hashlib.sha256(password.encode()).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        key = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        has_key = bool(KEY.fullmatch(key))
        key = key if has_key else secrets.token_urlsafe(32)
        scope["participant"] = participant_of(key)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer.update(HEADERS)
                if not has_key and scope["path"] == "/":
                    # Lax, not Strict: a visitor who follows a link on another site keeps the key, and so the talks.
                    answer["set-cookie"] = f"{COOKIE}={key}; Path=/; HttpOnly; SameSite=Lax; Max-Age=31536000"
            await send(message)

        refusal = self.refusal(scope, headers)
        if refusal is None and not has_key and scope["path"].startswith("/api/"):
            refusal = PlainTextResponse("open the page first, with cookies allowed for it", 403)
        await (refusal or self.app)(scope, limited(receive), send_with_headers)

    def refusal(self, scope: Scope, headers: Headers) -> PlainTextResponse | None:
        """Return the answer to a request that must go no further, None for every other request."""
        address = (scope.get("client") or ("",))[0]
        if self.local and not is_loopback(re.sub(r":\d*$", "", headers.get("host", ""))):
            # Another site's name that leads to this machine: its scripts could read the answers.
            return PlainTextResponse("only the machine that runs this page can use it", 421)
        if not self.requests.allows(address):
            return PlainTextResponse("too many requests: wait a minute", 429)
        if self.password is not None and (refusal := self.password_refusal(address, headers)):
            return refusal
        if int(re.sub(r"\D", "", headers.get("content-length", "")) or 0) > MOST_BYTES:
            return PlainTextResponse("too long", 413)
        if scope["method"] not in ("GET", "HEAD"):
            # Another site's form or script can send neither of these headers unless this page allows it.
            site = headers.get("sec-fetch-site", "same-origin")
            if headers.get("content-type") != "application/json" or site != "same-origin":
                return PlainTextResponse("not from this page", 403)
        return None

    def password_refusal(self, address: str, headers: Headers) -> PlainTextResponse | None:
        """Return the answer to a request without the password (HTTP's Basic scheme, any user name), else None."""
        if not self.guesses.allows(address, counts=False):
            return PlainTextResponse("too many wrong passwords: wait a minute", 429)
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                password = base64.b64decode(credentials, validate=True).partition(b":")[2]
            except ValueError:  # not Base64
                password = b""
            if hmac.compare_digest(hashlib.sha256(password).digest(), self.password):
                return None
            self.guesses.allows(address)
        challenge = {"www-authenticate": 'Basic realm="PersonaGPT", charset="UTF-8"'}
        return PlainTextResponse("a password is needed", 401, challenge)


def limited(receive: Receive) -> Receive:
    """Return a `receive` that disconnects when the body is longer than MOST_BYTES."""
    size = 0

    async def receive_limited() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        return {"type": "http.disconnect"} if size > MOST_BYTES else message

    return receive_limited
