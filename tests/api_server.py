"""A small OpenAI-style server for tests: it keeps the requests, and answers each as the test says."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Handler"], None]
KEY = "sk-tests-5up3rs3cr3t"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server
    body: dict[str, Any]  # the request

    def do_POST(self) -> None:
        self.body = body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.requests.append(body)
            self.server.headers.append(dict(self.headers))
            answer = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
        answer(self)

    def send(self, status: int, kind: str, content: bytes, **headers: str) -> None:
        """Send an answer. In the name of a header, _ stands for -."""
        self.send_response(status)
        named = {"content-type": kind, "content-length": str(len(content)), "connection": "close"}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in named.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *answers: Answer) -> None:
        """The last of the `answers` is given again and again."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.lock = list(answers), threading.Lock()
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, *args: object) -> None:
        """Print nothing where a client has left."""


@contextmanager
def serving(*answers: Answer) -> Iterator[Server]:
    server = Server(*answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def event(text: str | list | None, reason: str | None = None) -> str:
    delta = {} if text is None else {"content": text}
    return f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta, 'finish_reason': reason}]})}\n\n"


def streamed(text: str, end: str = event(None, "stop") + "data: [DONE]\n\n", seconds: float = 0.0) -> Answer:
    """Stream `text` word by word, and `end`, after `seconds`."""

    def answer(handler: Handler) -> None:
        time.sleep(seconds)
        words = "".join(event(word + " ") for word in text.split(" ")) if text else ""
        handler.send(200, "text/event-stream; charset=utf-8", (event("") + words + end).encode())

    return answer


def telling(status: int, content: object, kind: str = "application/json", **headers: str) -> Answer:
    """Answer with `content`: JSON, or a text as it is."""
    data = content if isinstance(content, str) else json.dumps(content)
    return lambda handler: handler.send(status, kind, data.encode(), **headers)


def packing(content: bytes) -> Answer:
    """Answer with `content`, which gzip makes smaller."""
    return lambda handler: handler.send(200, "application/json", gzip.compress(content), content_encoding="gzip")


def hanging_up(handler: Handler) -> None:
    """Send half an event, and reset the connection."""
    handler.send(200, "text/event-stream", event("half of")[:40].encode(), content_length="1000")
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def dripping(handler: Handler) -> None:
    """Send a comment again and again, and never a reply."""
    handler.send(200, "text/event-stream", b"", content_length="100000")
    try:
        for _ in range(500):
            handler.wfile.write(b": still here\n")
            time.sleep(0.02)
    except OSError:
        pass


def creeping(start: bytes) -> Answer:
    """Send `start`, and then a byte again and again: of a header or of a chunk's length that never ends."""

    def answer(handler: Handler) -> None:
        handler.close_connection = True
        try:
            handler.wfile.write(start)
            for _ in range(500):
                handler.wfile.write(b"0")
                time.sleep(0.02)
        except OSError:
            pass

    return answer


def refusing(status: int, message: str, **headers: str) -> Answer:
    return telling(status, {"error": {"message": message, "type": "x"}}, **headers)
