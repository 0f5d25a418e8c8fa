"""personagpt/page/connections.py through a real server: connections that never send a whole request."""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Iterator

import pytest

from personagpt.page import connections
from tests.page.served import ServedPage, Visitor, talked, wait_until

HALF = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-"


@pytest.fixture
def page(serve_page, monkeypatch) -> ServedPage:
    monkeypatch.setattr(connections, "MOST", 20)
    return serve_page()


@pytest.fixture
def connect(page) -> Iterator:
    """connect(data) opens a connection that sends `data` and stays open."""
    opened = []

    def call(data: bytes) -> socket.socket:
        opened.append(socket.create_connection(("127.0.0.1", page.port), timeout=60))
        opened[-1].sendall(data)
        return opened[-1]

    yield call
    for connection in opened:
        connection.close()


def wait_for_end(connection: socket.socket) -> None:
    """Read until the server ends the connection."""
    with contextlib.suppress(ConnectionResetError):
        while connection.recv(65536):
            pass


def test_half_requests_stop_nobody_and_print_nothing(page, connect, monkeypatch, capsys) -> None:
    monkeypatch.setattr(connections, "SECONDS", 3600.0)  # so that no time ends them
    halves = [connect(HALF) for _ in range(100)]
    assert talked(Visitor(page), "hi")["turns"]
    for half in halves[:70]:  # the oldest make room
        wait_for_end(half)
    assert len(page.server.server_state.connections) <= 20
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        HALF,
        b"GET /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n" + HALF,
        b"POST /api/talks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Cookie: visitor=" + b"a" * 43 + b"\r\nContent-Length: 9\r\n\r\n{",
    ],
    ids=["nothing", "half a header", "half a second request", "half a body"],
)
def test_a_request_that_does_not_become_whole_ends(connect, page, monkeypatch, data) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(connections, "SECONDS", 0.05)
        wait_for_end(connect(data))
    assert Visitor(page).ask("GET", "/api/start").status == 200


def test_a_whole_request_may_wait_for_its_answer(page, connect, gate) -> None:
    """Only the connection with half a request has a deadline, and it is the one that may have to make room."""
    visitor = Visitor(page)
    talk = visitor.begin("hi")
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", page.port, timeout=60)) as waiting:
        waiting.request("GET", f"/api/talks/{talk['id']}/reply", headers=visitor.headers)
        assert waiting.getresponse().readline() == b"event: text\n"
        connect(HALF)
        wait_until(lambda: len(page.server.server_state.connections) == 2)
        whole, half = sorted(page.server.server_state.connections, key=lambda each: each.cycle is None)
        wait_until(lambda: half.deadline is not None)
        assert whole.deadline is None
        for _ in range(30):
            connect(HALF)
        wait_until(lambda: half.transport.is_closing())
        assert not whole.transport.is_closing()


def test_a_process_with_few_files_takes_fewer_connections(monkeypatch) -> None:
    for files, most in ((256, 128), (1024, connections.MOST), (connections.resource.RLIM_INFINITY, connections.MOST)):
        monkeypatch.setattr(connections.resource, "getrlimit", lambda kind, files=files: (files, files))
        assert connections.most_connections() == most
