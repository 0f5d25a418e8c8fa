"""The addresses of a study, in addition to those that it shares with the page of free talks (page/routes.py).

    GET    /api/study             the participant's view whenever it changes, as server-sent events
    POST   /api/study/ACTION      begin {agreed: the wording}, say {text}, flag {turn, kinds, note}, leave, finish,
                                  rate {fluency, consistency, engagement, persona, partner}

A POST answers with the participant's new view.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from personagpt.page.problems import FAULTS, tell_operator
from personagpt.page.routes import STATIC as COMMON
from personagpt.page.routes import Event, endpoint, event_stream, own_talks_routes, static_routes
from personagpt.study.participants import StudyPage

STATIC = Path(__file__).with_name("static")
VIEW_SECONDS = 0.3  # between two looks at a participant's view


def study_routes(page: StudyPage) -> list[Route]:
    async def views(request: Request) -> Response:
        return event_stream(changing_view(page, request.scope["participant"], request.app.state.is_ending))

    actions = (page.begin, page.say, page.flag, page.leave, page.finish, page.rate)
    return [
        *static_routes(STATIC / "study.html", COMMON / "page.css", COMMON / "text.js", STATIC / "study.js"),
        Route("/api/study", views),
        *(Route("/api/study/" + action.__name__, endpoint(action), methods=["POST"]) for action in actions),
        *own_talks_routes(page),
    ]


async def changing_view(page: StudyPage, participant: str, is_ending: Callable[[], bool]) -> AsyncIterator[Event]:
    """Yield `state` with the participant's view whenever it changes, until the connection or the server ends."""
    shown = None
    while not is_ending():
        try:
            await run_in_threadpool(page.advance, participant)
            view = await run_in_threadpool(page.view, participant)
        except FAULTS as error:
            tell_operator(str(error))
            return  # the browser asks again
        is_new = shown is None or view != shown | {"time": view["time"]}
        shown = view if is_new else shown
        yield ("state", view) if is_new else None
        await asyncio.sleep(VIEW_SECONDS)
