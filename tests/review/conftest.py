"""A served review of a few recorded talks."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from personagpt.page.routes import make_server
from personagpt.page.visitors import Limits
from personagpt.records.database import Recordings
from personagpt.records.talks import Talk
from personagpt.review.reviewers import ReviewPage
from personagpt.review.routes import review_routes
from tests.page.served import wait_until


@pytest.fixture
def serve_review(tmp_path) -> Iterator:
    """serve_review(talk, ...) records the talks and serves their review, in this order."""
    served = []

    def serve(*talks: Talk) -> SimpleNamespace:
        recordings = Recordings(tmp_path / "conversations")
        recordings.save(*talks)
        page = ReviewPage(recordings, list(talks), "doubt", Limits(), seed=3)
        server = make_server(page, review_routes(page), None, local=True)
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        wait_until(lambda: server.started)
        served.append((server, thread, recordings))
        url = f"http://127.0.0.1:{port}/"
        return SimpleNamespace(port=port, url=url, page=page, recordings=recordings, reviews=page.reviews)

    yield serve
    for server, thread, recordings in served:
        server.should_exit = True
        thread.join()
        recordings.close()
