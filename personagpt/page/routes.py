"""The web application: what the browser asks for, and what it is answered. The page itself is in static/.

    GET    /api/start             what there is: flags, goals, limits, the visitor's own key
    GET    /api/persona           a persona of the validation text, drawn at random
    GET    /api/talks             the visitor's talks in short; /api/talks.jsonl: whole
    POST   /api/talks             {persona, text, goal}: begin one
    GET    /api/talks/ID          one talk
    GET    /api/talks/ID/reply    its reply while it is made: server-sent events
    POST   /api/talks/ID/ACTION   say {text, goal}, retry {goal}, undo, correct {text}, flag {turn, kinds, note}
    DELETE /api/talks/ID          one talk; /api/talks: all of the visitor's

All are about the talks of the visitor who asks, and answer in JSON. In a study (study_page.py) there are, beside
/api/start, and /api/talks to see, download and delete:

    GET    /api/round             the participant's stage, whenever it changes: server-sent events
    POST   /api/round/ACTION      begin {agreed: the wording}, say {text}, flag {turn, kinds, note}, leave, finish,
                                  rate {fluency, consistency, engagement, persona, partner}
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from personagpt.errors import RunError, UserError
from personagpt.page.access import AccessControl, Rate
from personagpt.page.replies import POLL_SECONDS, QueueFull
from personagpt.page.visitors import Page, Refused, shown_talks
from personagpt.records.talks import public_model
from personagpt.study.participants import StudyPage

STATIC = {"/": "index.html", "/page.css": "page.css", "/text.js": "text.js", "/page.js": "page.js"}
STUDY_STATIC = STATIC | {"/": "study.html", "/page.js": "study.js"}
LOOK = 0.3  # seconds between two looks at a participant's stage
SILENCE = 10.0  # seconds
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}

News = tuple[str, dict] | None  # an event's name and content; None where a look found nothing new


async def server_sent(found: AsyncIterator[News]) -> AsyncIterator[str]:
    """News as server-sent events; after SILENCE without any, a comment tells proxies that the connection lives."""
    last = time.monotonic()
    async for news in found:
        if news is not None:
            last = time.monotonic()
            yield f"event: {news[0]}\ndata: {json.dumps(news[1])}\n\n"
        elif time.monotonic() - last > SILENCE:
            last = time.monotonic()
            yield ": still there\n\n"


async def growing_reply(page: Page, visitor: str, talk_id: str) -> AsyncIterator[News]:
    """`text` with the whole reply so far, whenever it grew, then `end` with the talk."""
    order, shown = page.desk.order_of(talk_id), None
    while order is not None and not order.done:
        text = order.text  # it grows meanwhile
        yield None if text == shown else ("text", {"text": text})
        shown = text
        await asyncio.sleep(POLL_SECONDS)
    problem = order.problem if order is not None else ""
    talk = None
    try:
        talk = await run_in_threadpool(page.talk, visitor, {"id": talk_id})
    except Refused as error:  # its only utterance was taken back, or it was deleted
        problem = problem or str(error)
    yield "end", {"talk": talk, "problem": problem}


async def states(
    page: StudyPage, participant: str, say: Callable[[str], None], is_ending: Callable[[], bool]
) -> AsyncIterator[News]:
    """`state` with the participant's stage, whenever it changes, until connection or server end."""
    shown = None
    while not is_ending():
        try:
            state = await run_in_threadpool(page.state, participant)
        except (UserError, RunError, OSError) as error:
            say(str(error))
            return  # the browser asks again
        is_new = shown is None or state != shown | {"time": state["time"]}
        shown = state if is_new else shown
        yield ("state", state) if is_new else None
        await asyncio.sleep(LOOK)


def answers(method: Callable[[str, dict], dict | Response], say: Callable[[str], None]) -> Callable:
    """The endpoint that gives what `method` gives, as JSON if it is no response; `say` is told of what is no visitor's
    fault."""

    async def answer(request: Request) -> Response:
        try:
            body = await request.body() if request.method == "POST" else b""
            data = json.loads(body or b"{}")
            if not isinstance(data, dict):
                raise ValueError
            data |= request.path_params
            found = await run_in_threadpool(method, request.scope["participant"], data)
            return found if isinstance(found, Response) else JSONResponse(found)
        except Refused as error:
            return JSONResponse({"problem": str(error)}, error.status)
        except QueueFull as error:
            return JSONResponse({"problem": str(error)}, 503)
        except UserError as error:
            return JSONResponse({"problem": str(error)}, 400)
        except (RunError, OSError) as error:
            say(str(error))
            return JSONResponse({"problem": "the talks cannot be recorded now: tell who runs this page"}, 503)
        except (ValueError, RecursionError):
            return JSONResponse({"problem": "not a JSON object"}, 400)
        except ClientDisconnect:
            return Response(status_code=413)

    return answer


def static(name: str) -> Callable:
    """The endpoint that gives a file of static/."""
    path = Path(__file__).with_name("static") / name
    content, kind = path.read_bytes(), TYPES[path.suffix]
    return lambda request: Response(content, media_type=kind)


def make_app(page: Page | StudyPage, password: str | None, local: bool, say: Callable[[str], None]) -> Starlette:
    """The application; `say` is told of what is no visitor's fault.

    Who serves it sets its `state.is_ending`, which says whether the server is to end: then a study's events do.
    """

    def download(visitor: str, data: dict) -> Response:
        talks = shown_talks(page.recordings, visitor)
        lines = "".join(replace(talk, model=public_model(talk)).line() for talk in talks)
        headers = {"content-disposition": 'attachment; filename="talks.jsonl"'}
        return Response(lines, media_type="application/jsonl", headers=headers)

    def answer(method: Callable[[str, dict], dict | Response]) -> Callable:
        return answers(method, say)

    routes = study_routes(page, answer, say) if isinstance(page, StudyPage) else talk_routes(page, answer)
    routes += [
        Route("/api/start", answer(page.start)),
        Route("/api/talks.jsonl", answer(download)),
        Route("/api/talks", answer(page.talks)),
        Route("/api/talks", answer(page.delete_all), methods=["DELETE"]),
        Route("/api/talks/{id}", answer(page.talk)),
        Route("/api/talks/{id}", answer(page.delete), methods=["DELETE"]),
    ]
    limits = page.limits
    guard = Middleware(AccessControl, password, local, Rate(limits.requests), Rate(limits.guesses))
    return Starlette(routes=routes, middleware=[guard])


def study_routes(page: StudyPage, answer: Callable, say: Callable[[str], None]) -> list[Route]:
    async def stages(request: Request) -> Response:
        found = states(page, request.scope["participant"], say, request.app.state.is_ending)
        return StreamingResponse(server_sent(found), media_type="text/event-stream")

    actions = (page.begin, page.say, page.flag, page.leave, page.finish, page.rate)
    return [
        *(Route(path, static(name)) for path, name in STUDY_STATIC.items()),
        Route("/api/round", stages),
        *(Route("/api/round/" + one.__name__, answer(one), methods=["POST"]) for one in actions),
    ]


def talk_routes(page: Page, answer: Callable) -> list[Route]:
    async def reply(request: Request) -> Response:
        visitor, talk_id = request.scope["participant"], request.path_params["id"]
        made = page.desk.order_of(talk_id)
        if made is None or made.talk.participant != visitor:  # else it may have ended without anything on record
            try:
                await run_in_threadpool(page.find, visitor, talk_id)
            except Refused as error:
                return JSONResponse({"problem": str(error)}, error.status)
        found = growing_reply(page, visitor, talk_id)
        return StreamingResponse(server_sent(found), media_type="text/event-stream")

    actions = (page.say, page.retry, page.undo, page.correct, page.flag)
    return [
        *(Route(path, static(name)) for path, name in STATIC.items()),
        Route("/api/persona", answer(page.persona)),
        Route("/api/talks", answer(page.begin), methods=["POST"]),
        Route("/api/talks/{id}/reply", reply),
        *(Route("/api/talks/{id}/" + one.__name__, answer(one), methods=["POST"]) for one in actions),
    ]
