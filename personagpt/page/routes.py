"""The web application: the addresses that the browser asks, and the server. The page itself is in static/.

    GET    /api/start             the kinds of flag, the goals, the limits, the visitor's checksum
    GET    /api/persona           a random persona of the validation text
    GET    /api/talks             the visitor's talks in short; /api/talks.jsonl: in full
    POST   /api/talks             {persona, text, goal}: begin a talk
    GET    /api/talks/ID          a talk
    GET    /api/talks/ID/reply    the talk's pending reply, as server-sent events
    POST   /api/talks/ID/ACTION   say {text, goal}, retry {goal}, undo, correct {text}, flag {turn, kinds, note}
    DELETE /api/talks/ID          a talk; /api/talks: all talks of the visitor

Every address serves only the talks of the visitor who asks. Answers are JSON.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from personagpt.page.access import AccessControl, Rate
from personagpt.page.connections import BACKLOG, connection_class, most_connections
from personagpt.page.problems import FAULTS, visitors_problem
from personagpt.page.replies import POLL_SECONDS
from personagpt.page.visitors import Limits, Page, Refused, visible_talks
from personagpt.records.database import Recordings
from personagpt.records.talks import public_model

STATIC = Path(__file__).with_name("static")
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
SILENCE = 10.0  # seconds without an event, after which proxies need a sign that the connection lives

Method = Callable[[str, dict], dict | Response]  # (a visitor's checksum, the request's data) -> the answer
Event = tuple[str, dict] | None  # an event's name and content; None where there is nothing new


class AnyPage(Protocol):
    """What every page has."""

    limits: Limits
    start: Method


class TalkPage(AnyPage, Protocol):
    """What the page of free talks and the page of a study have in common."""

    recordings: Recordings
    talks: Method
    talk: Method
    delete: Method
    delete_all: Method


def make_server(page: AnyPage, routes: Iterable[Route], password: str | None, local: bool) -> uvicorn.Server:
    """Return the server of `page`, whose addresses are `routes`. With `local`, only this machine may use it.

    `app.state.is_ending` of a request returns whether the server is about to end, so that endless answers end too.
    """
    rates = Rate(page.limits.requests), Rate(page.limits.guesses)
    access = Middleware(AccessControl, password, local, *rates)
    app = Starlette(routes=[*routes, Route("/api/start", endpoint(page.start))], middleware=[access])
    # No access log, because it would hold addresses and the ids of talks. No proxy is trusted to name a client.
    quiet = {"log_level": "error", "access_log": False, "proxy_headers": False}
    limits = {"http": connection_class(most_connections()), "backlog": BACKLOG, "timeout_graceful_shutdown": 2}
    server = uvicorn.Server(uvicorn.Config(app, ws="none", **limits, **quiet))
    app.state.is_ending = lambda: server.should_exit
    return server


def own_talks_routes(page: TalkPage) -> list[Route]:
    """Return the addresses at which visitors see, download and delete their own talks."""

    def download(visitor: str, data: dict) -> Response:
        talks = visible_talks(page.recordings, visitor)
        lines = "".join(replace(talk, model=public_model(talk)).line() for talk in talks)
        headers = {"content-disposition": 'attachment; filename="talks.jsonl"'}
        return Response(lines, media_type="application/jsonl", headers=headers)

    return [
        Route("/api/talks.jsonl", endpoint(download)),
        Route("/api/talks", endpoint(page.talks)),
        Route("/api/talks", endpoint(page.delete_all), methods=["DELETE"]),
        Route("/api/talks/{id}", endpoint(page.talk)),
        Route("/api/talks/{id}", endpoint(page.delete), methods=["DELETE"]),
    ]


def talk_routes(page: Page) -> list[Route]:
    """Return the addresses of the page of free talks."""

    async def reply(request: Request) -> Response:
        visitor, talk_id = request.scope["participant"], request.path_params["id"]
        pending = page.queue.reply_of(talk_id)
        if pending is None or pending.talk.participant != visitor:  # the visitor's own reply may have left no talk
            try:
                await run_in_threadpool(page.recorded, visitor, talk_id)
            except (Refused, *FAULTS) as error:
                return problem_answer(error, request.method)
        return event_stream(growing_reply(page, visitor, talk_id))

    actions = (page.say, page.retry, page.undo, page.correct, page.flag)
    return [
        *static_routes(STATIC / "index.html", STATIC / "page.css", STATIC / "text.js", STATIC / "page.js"),
        Route("/api/persona", endpoint(page.persona)),
        Route("/api/talks", endpoint(page.begin), methods=["POST"]),
        Route("/api/talks/{id}/reply", reply),
        *(Route("/api/talks/{id}/" + action.__name__, endpoint(action), methods=["POST"]) for action in actions),
        *own_talks_routes(page),
    ]


async def growing_reply(page: Page, visitor: str, talk_id: str) -> AsyncIterator[Event]:
    """Yield `text` with the whole reply so far whenever it grows, then `end` with the talk."""
    pending, shown = page.queue.reply_of(talk_id), None
    while pending is not None and not pending.done:
        text = pending.text  # another thread writes it
        yield None if text == shown else ("text", {"text": text})
        shown = text
        await asyncio.sleep(POLL_SECONDS)
    talk, problem = None, pending.problem if pending is not None else ""
    try:
        talk = await run_in_threadpool(page.talk, visitor, {"id": talk_id})
    except Refused as error:  # the only utterance was taken back, or the talk was deleted
        problem = problem or str(error)
    except FAULTS as error:
        problem = problem or visitors_problem(error, "GET")[0]
    yield "end", {"talk": talk, "problem": problem}


def event_stream(events: AsyncIterator[Event]) -> Response:
    return StreamingResponse(server_sent(events), media_type="text/event-stream")


async def server_sent(events: AsyncIterator[Event]) -> AsyncIterator[str]:
    """Yield the lines of server-sent events, and after SILENCE without an event a comment."""
    last = time.monotonic()
    async for event in events:
        if event is not None:
            last = time.monotonic()
            yield f"event: {event[0]}\ndata: {json.dumps(event[1])}\n\n"
        elif time.monotonic() - last > SILENCE:
            last = time.monotonic()
            yield ": still there\n\n"


def endpoint(method: Method) -> Callable:
    """Return the endpoint that answers with the result of `method`, or with a line that says what went wrong."""

    async def answer(request: Request) -> Response:
        try:
            body = await request.body() if request.method == "POST" else b""
            data = json.loads(body or b"{}")
            if not isinstance(data, dict):
                raise ValueError
            result = await run_in_threadpool(method, request.scope["participant"], data | request.path_params)
            return result if isinstance(result, Response) else JSONResponse(result)
        except (Refused, *FAULTS) as error:
            return problem_answer(error, request.method)
        except (ValueError, RecursionError):
            return JSONResponse({"problem": "not a JSON object"}, 400)
        except ClientDisconnect:
            return Response(status_code=413)

    return answer


def problem_answer(error: Exception, method: str) -> Response:
    """Return the answer to a request that failed. `method` is HTTP's."""
    problem, status = (str(error), error.status) if isinstance(error, Refused) else visitors_problem(error, method)
    return JSONResponse({"problem": problem}, status)


def static_routes(index: Path, *files: Path) -> list[Route]:
    """Return the addresses of the page's files: `index` at /, and every other file under its name."""

    def static(path: Path) -> Callable:
        content, kind = path.read_bytes(), TYPES[path.suffix]
        return lambda request: Response(content, media_type=kind)

    return [Route("/", static(index)), *(Route("/" + path.name, static(path)) for path in files)]
