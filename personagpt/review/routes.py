"""The addresses of the review, in addition to /api/start (page/routes.py).

    GET    /api/review            the talk that the reviewer reads now, and how far they are
    POST   /api/review/ACTION     label {talk, turn, kinds, note}, finish {talk}, reopen, result

`finish` and `reopen` answer with the new state, `result` with the agreement and the disagreements.
"""

from __future__ import annotations

from pathlib import Path

from starlette.routing import Route

from personagpt.page.routes import STATIC as COMMON
from personagpt.page.routes import endpoint, static_routes
from personagpt.review.reviewers import ReviewPage

STATIC = Path(__file__).with_name("static")


def review_routes(page: ReviewPage) -> list[Route]:
    actions = (page.label, page.finish, page.reopen, page.result)
    return [
        *static_routes(STATIC / "review.html", COMMON / "page.css", COMMON / "text.js", STATIC / "review.js"),
        Route("/api/review", endpoint(page.state)),
        *(Route("/api/review/" + action.__name__, endpoint(action), methods=["POST"]) for action in actions),
    ]
