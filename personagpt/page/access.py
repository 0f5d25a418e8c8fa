"""What stands before the page: who may ask, how much, and what the browser may do with the answer.

A visitor is known by a random key in a cookie that no script can read; what is recorded is the key's checksum, so that
nobody who reads the recordings can pass for the visitor.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import re
import secrets
import threading
import time
from collections import deque

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "visitor"
KEY = re.compile(r"[\w-]{43}", re.ASCII)  # secrets.token_urlsafe(32)
MOST_BYTES = 64 * 1024  # of a request's body
HEADERS = {
    # Nothing from another host, no inline script or style, in nobody's frame.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def participant_of(key: str) -> str:
    """What is recorded of a visitor's key."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]


class Rate:
    """At most `most` events of each name in `seconds`."""

    def __init__(self, most: int, seconds: float = 60.0) -> None:
        self.most, self.seconds = most, seconds
        self._events: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def allows(self, name: str, counts: bool = True) -> bool:
        """Whether there may be another one now; it is then counted, if it `counts`."""
        now = time.monotonic()
        with self._lock:
            if len(self._events) > 10_000:  # names that have been silent
                self._events = {key: times for key, times in self._events.items() if times[-1] > now - self.seconds}
            times = self._events.setdefault(name, deque())
            while times and times[0] <= now - self.seconds:
                times.popleft()
            allowed = len(times) < self.most
            if allowed and counts:
                times.append(now)
            if not times:
                del self._events[name]
            return allowed


class AccessControl:
    """ASGI middleware. The visitor's participant key is in `scope["participant"]` of what it lets through."""

    def __init__(self, app: ASGIApp, password: str | None, local: bool, requests: Rate, guesses: Rate) -> None:
        """`local`: the page is for this machine only, and answers to its names only."""
        self.app, self.local, self.requests, self.guesses = app, local, requests, guesses
        self.password = None if password is None else hashlib.sha256(password.encode()).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        key = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        known = bool(KEY.fullmatch(key))
        key = key if known else secrets.token_urlsafe(32)
        scope["participant"] = participant_of(key)

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    answer[name] = value
                if not known and scope["path"] == "/":
                    # Not Strict: who comes by a link on another site would get a new key, and lose their talks.
                    answer["set-cookie"] = f"{COOKIE}={key}; Path=/; HttpOnly; SameSite=Lax; Max-Age=31536000"
            await send(message)

        refusal = self.refusal(scope, headers)
        if refusal is None and not known and scope["path"].startswith("/api/"):
            refusal = PlainTextResponse("open the page first, with cookies allowed for it", 403)
        await (refusal or self.app)(scope, limited(receive), send_safely)

    def refusal(self, scope: Scope, headers: Headers) -> PlainTextResponse | None:
        """The answer to a request that goes no further."""
        address = (scope.get("client") or ("",))[0]
        if self.local and not is_loopback(headers.get("host", "").rpartition(":")[0] or headers.get("host", "")):
            return PlainTextResponse("this page is for the machine that it runs on", 421)  # another site's name for us
        if not self.requests.allows(address):
            return PlainTextResponse("too many requests: wait a minute", 429)
        if self.password is not None and (wrong := self.without_password(address, headers)):
            return wrong
        if int(re.sub(r"\D", "", headers.get("content-length", "")) or 0) > MOST_BYTES:
            return PlainTextResponse("too long", 413)
        if scope["method"] not in ("GET", "HEAD"):
            # A form or script of another site can send neither, unless this one allowed it.
            site = headers.get("sec-fetch-site", "same-origin")
            if headers.get("content-type") != "application/json" or site != "same-origin":
                return PlainTextResponse("not from this page", 403)
        return None

    def without_password(self, address: str, headers: Headers) -> PlainTextResponse | None:
        """The answer to a request without the password (HTTP's Basic scheme, any user name)."""
        if not self.guesses.allows(address, counts=False):
            return PlainTextResponse("too many wrong passwords: wait a minute", 429)
        scheme, _, given = headers.get("authorization", "").partition(" ")
        try:
            password = base64.b64decode(given, validate=True).partition(b":")[2] if scheme.lower() == "basic" else None
        except binascii.Error:
            password = b""
        if password is not None and hmac.compare_digest(hashlib.sha256(password).digest(), self.password):
            return None
        if password is not None:
            self.guesses.allows(address)
        challenge = {"www-authenticate": 'Basic realm="PersonaGPT", charset="UTF-8"'}
        return PlainTextResponse("a password is needed", 401, challenge)


def limited(receive: Receive) -> Receive:
    """`receive`, until the body is longer than anything the page sends."""
    size = 0

    async def receive_some() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        return {"type": "http.disconnect"} if size > MOST_BYTES else message

    return receive_some
