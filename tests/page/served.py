"""Helpers for tests of the page: a served page, and visitors of it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from starlette.routing import Route

from personagpt.model.api import ApiProgram
from personagpt.model.loading import TrainedModel
from personagpt.page import replies
from personagpt.page.api_replies import ApiQueue
from personagpt.page.replies import ReplyQueue
from personagpt.page.routes import AnyPage, make_server, talk_routes
from personagpt.page.visitors import Limits, Page
from personagpt.records.database import Recordings
from personagpt.records.talks import Talk
from personagpt.study.pairing import Pairing
from personagpt.study.participants import StudyPage
from personagpt.study.routes import study_routes
from personagpt.study.settings import Study


@contextlib.contextmanager
def served(page: AnyPage, routes: list[Route]) -> Iterator[int]:
    """Serve the page in a thread while open. Yield its port."""
    server = make_server(page, routes, None, local=True)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    wait_until(lambda: server.started)
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join()


class Clock:
    """A clock that stands still until a test moves it. With a `tick`, each look moves it by as many seconds."""

    tick = 0.0

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        self.seconds += self.tick
        return self.seconds


class ServedPage:
    """The page with a model, or the page of a study, served by a thread on a port of its own.

    A study goes by `clock`, so that no test depends on how busy the machine is.
    """

    def __init__(
        self,
        folder: Path,
        trained: TrainedModel,
        password: str | None = None,
        study: Study | None = None,
        **limits: int,
    ) -> None:
        self.recordings = Recordings(folder)
        limits, self.clock = Limits(**limits), Clock()
        self.queue = ReplyQueue(trained, self.recordings, limits.waiting)
        self.api_queue: ApiQueue | None = None
        if study:
            queues = {program.model: self.queue for program in study.local_programs}
            for api in {program.model for program in study.programs} - queues.keys():
                given = self.recordings, limits.waiting, study.away, self.queue.restyled
                self.api_queue = queues[api] = ApiQueue(ApiProgram(api), *given)
            page = StudyPage(Pairing(study, queues, self.recordings, self.clock), limits)
            self.study, self.stages, routes = page.study, page.stages, study_routes(page)
        else:
            page = Page(self.queue, [["i have a duck ."]], ["ask about pets."], limits)
            routes = talk_routes(page)
        self.page = page
        self.server = make_server(page, routes, password, local=True)
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]})
        self.thread.start()
        wait_until(lambda: self.server.started)

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.queue.close()
        if self.api_queue is not None:
            self.api_queue.close()
        self.recordings.close()


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> dict:
        return json.loads(self.text)


class Visitor:
    """A browser without a screen: it opens the page and keeps its cookie."""

    def __init__(self, page: ServedPage, cookie: str | None = None) -> None:
        self.port, self.headers = page.port, {} if cookie is None else {"cookie": cookie}
        if cookie is None:
            self.headers["cookie"] = self.ask("GET", "/").headers["set-cookie"].partition(";")[0]

    def ask(self, method: str, path: str, content: object = None, **headers: str) -> Answer:
        """Send `content`, bytes or JSON. In the name of a header, _ stands for -."""
        body = content if isinstance(content, bytes) else json.dumps(content or {}).encode()
        named = {"content-type": "application/json"} | self.headers
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request(method, path, body if method == "POST" else None, named)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode())

    def begin(self, text: str, *persona: str, **content: object) -> dict:
        return self.ask("POST", "/api/talks", {"persona": persona or ["i am old ."], "text": text, **content}).json

    def do(self, talk: dict, action: str, **content: object) -> Answer:
        return self.ask("POST", f"/api/talks/{talk['id']}/{action}", content)

    def reply(self, talk: dict) -> dict:
        """Wait for the reply, and return the content of its last event."""
        answer = self.ask("GET", f"/api/talks/{talk['id']}/reply")
        return json.loads(answer.text.rpartition("event: end\ndata: ")[2])


def wait_until(is_so: Callable[[], object]) -> None:
    """Wait for what another thread is about to do."""
    for _ in range(60_000):
        if is_so():
            return
        time.sleep(0.002)
    raise AssertionError("it has not happened in two minutes")


def recorded(page: ServedPage) -> Talk:
    (talk,) = page.recordings.talks()
    return talk


def talked(visitor: Visitor, *texts: str) -> dict:
    """Return a talk in which the visitor said `texts`, each with its reply."""
    talk = visitor.begin(texts[0])
    visitor.reply(talk)
    for text in texts[1:]:
        assert visitor.do(talk, "say", text=text).status == 200
        visitor.reply(talk)
    return visitor.ask("GET", f"/api/talks/{talk['id']}").json


def script(monkeypatch, *texts: str) -> None:
    """Let the replies be these texts, in batches of one reply."""
    waiting = list(texts)

    def stream(model, encoder, drafts, autocast):  # noqa: ANN202
        text = waiting.pop(0)
        for shown, done in ((text[:20], False), (text, True)):
            yield [SimpleNamespace(shown=shown, text=text, done=done)]

    monkeypatch.setattr(replies, "stream_replies", stream)


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"me:{password}".encode()).decode()
