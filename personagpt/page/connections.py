"""Limit the connections of the server, and the time that each may take to send a request.

A browser that sends half a request and waits holds a connection, and a process has only so many. uvicorn's own limit
answers whole requests only, so that this module adds two rules to uvicorn's protocol:

    a request must be whole in SECONDS, or the connection ends
    when MOST connections are open, a new one takes the place of the oldest that has no whole request
"""

from __future__ import annotations

import asyncio
import resource

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST = 400
SECONDS = 15.0
BACKLOG = 64  # connections that asyncio accepts in one go, before any can be refused


def most_connections() -> int:
    """Return MOST, or half of the files that this process may open where that is less."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST if files == resource.RLIM_INFINITY else min(MOST, files // 2)


def connection_class(most: int) -> type[H11Protocol]:
    """Return the protocol of a server that keeps at most `most` connections."""
    unfinished: dict[H11Protocol, None] = {}  # the connections without a whole request, oldest first

    class Connection(H11Protocol):
        deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            unfinished[self] = None
            self._follow()
            if len(self.connections) > most:
                next(iter(unfinished)).refuse()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._follow()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._follow()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._forget()

        def refuse(self) -> None:
            """End the connection at once. It counts no longer, although asyncio closes it a little later."""
            self._forget()
            self.connections.discard(self)
            self.transport.abort()

        def _follow(self) -> None:
            """Start the time of an unfinished request, or stop it because the request is whole."""
            if self.transport.is_closing():
                return
            if self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete:
                self._forget()
            else:
                unfinished.setdefault(self)
                if self.deadline is None:
                    self.deadline = self.loop.call_later(SECONDS, self.refuse)

        def _forget(self) -> None:
            unfinished.pop(self, None)
            if self.deadline is not None:
                self.deadline.cancel()
                self.deadline = None

    return Connection
