"""Where the page listens, and the password that other machines need."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from personagpt.errors import UserError
from personagpt.files import read_text
from personagpt.page.access import is_loopback

SHORTEST_PASSWORD = 8


@dataclass(frozen=True)
class Door:
    """Where the page listens, and whom it lets in."""

    listener: socket.socket
    password: str | None
    local: bool  # only this machine may use the page

    @property
    def address(self) -> str:
        host, port = self.listener.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def read_password(path: Path | None, host: str) -> str | None:
    """Return the first line of --password-file. Raises UserError where other machines need a password and have none."""
    if path is None:
        if is_loopback(host):
            return None
        raise UserError(f"--host {host}: other machines can reach the page there; add --password-file FILE")
    password = read_text(path).partition("\n")[0].strip()
    if len(password) < SHORTEST_PASSWORD:
        raise UserError(f"--password-file {path}: its first line must be a password of {SHORTEST_PASSWORD} letters")
    return password


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there. The port is taken before the model is loaded."""
    if not 0 <= port <= 65535:
        raise UserError(f"--port {port}: expected 0 (any that is free) to 65535")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        raise UserError(f"--host {host} --port {port}: cannot listen there: {error}; try another --port") from None
