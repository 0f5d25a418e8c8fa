"""listening.py: where the page listens, and the password that other machines need."""

from __future__ import annotations

import contextlib

import pytest

from personagpt.errors import UserError
from personagpt.page.listening import Door, listen, read_password


def test_other_machines_need_a_password(tmp_path) -> None:
    path = tmp_path / "password"
    path.write_text("  long enough \nanother line\n")
    assert read_password(None, "127.0.0.1") is None
    assert read_password(path, "0.0.0.0") == "long enough"
    with pytest.raises(UserError, match="other machines can reach the page there; add --password-file FILE"):
        read_password(None, "0.0.0.0")
    path.write_text("short\n")
    with pytest.raises(UserError, match="its first line must be a password of 8 letters"):
        read_password(path, "127.0.0.1")


def test_a_port_of_its_own() -> None:
    with contextlib.closing(listen("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert Door(listener, None, True).address == f"http://127.0.0.1:{port}/"
        with pytest.raises(UserError, match=f"--port {port}: cannot listen there: .*; try another --port"):
            listen("127.0.0.1", port)
    with pytest.raises(UserError, match="--port 65536: expected 0"):
        listen("127.0.0.1", 65536)
