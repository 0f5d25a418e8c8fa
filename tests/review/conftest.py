"""A served review of a few recorded talks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from personagpt.page.visitors import Limits
from personagpt.records.database import Recordings
from personagpt.records.talks import Talk
from personagpt.review.reviewers import ReviewPage
from personagpt.review.routes import review_routes
from tests.page.served import served


@pytest.fixture
def serve_review(tmp_path) -> Iterator:
    """serve_review(talk, ...) records the talks and serves their review, in this order."""
    with contextlib.ExitStack() as stack:

        def serve(*talks: Talk) -> SimpleNamespace:
            recordings = stack.enter_context(contextlib.closing(Recordings(tmp_path / "conversations")))
            recordings.save(*talks)
            page = ReviewPage(recordings, list(talks), "doubt", Limits(), seed=3)
            port = stack.enter_context(served(page, review_routes(page)))
            url = f"http://127.0.0.1:{port}/"
            return SimpleNamespace(port=port, url=url, page=page, recordings=recordings, reviews=page.reviews)

        yield serve
