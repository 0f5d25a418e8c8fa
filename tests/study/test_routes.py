"""personagpt/study/routes.py: the events of a study, and who may ask for them."""

from __future__ import annotations

import asyncio

from personagpt.errors import RunError
from personagpt.page.routes import Event
from personagpt.study import routes
from tests.study.participation import PEOPLE, PROGRAM, Participant, pair, study_of


def test_another_participants_talk_is_out_of_reach(serve_page) -> None:
    page = serve_page(study=study_of(PEOPLE, turns=1))
    first, second = pair(page)
    first.do("say", text="hi")
    second.do("say", text="hello")
    one, other = page.recordings.talks()
    key = second.ask("GET", "/api/start").json["participant"]
    mine, theirs = (one, other) if one.participant == key else (other, one)
    assert second.ask("GET", f"/api/talks/{theirs.id}").status == 404
    assert second.ask("DELETE", f"/api/talks/{theirs.id}").status == 404
    assert [talk["id"] for talk in second.ask("GET", "/api/talks").json["talks"]] == [mine.id]
    assert Participant(page, cookie="").ask("GET", "/api/study").status == 403


class Views:
    """A page whose participants see these views, one after another; an exception is raised."""

    def __init__(self, *views: dict | Exception) -> None:
        self.views, self.advanced = list(views), 0

    def advance(self, participant: str) -> None:
        self.advanced += 1

    def view(self, participant: str) -> dict:
        view = self.views.pop(0)
        if isinstance(view, Exception):
            raise view
        return view


def events(page: Views) -> list[Event]:
    async def collect() -> list[Event]:
        return [event async for event in routes.changing_view(page, "p", lambda: not page.views)]

    return asyncio.run(collect())


def test_a_view_is_sent_when_more_than_its_time_changes(monkeypatch) -> None:
    monkeypatch.setattr(routes, "VIEW_SECONDS", 0.0)
    views = [{"stage": "start", "time": 1}, {"stage": "start", "time": 2}, {"stage": "talk", "time": 3}]
    page = Views(*views)
    assert events(page) == [("state", views[0]), None, ("state", views[2])]
    assert page.advanced == 3


def test_the_events_end_where_the_recordings_cannot_be_read(monkeypatch, capsys) -> None:
    monkeypatch.setattr(routes, "VIEW_SECONDS", 0.0)
    page = Views({"stage": "start", "time": 1}, RunError("the disk does not take it"), {"stage": "talk", "time": 3})
    assert len(events(page)) == len(page.views) == 1
    assert capsys.readouterr().err == "the disk does not take it\n"


def test_the_page_of_a_study_is_served(serve_page) -> None:
    who = Participant(serve_page(study=study_of(PROGRAM)))
    assert '<script src="study.js" defer>' in who.ask("GET", "/").text
    assert "EventSource" in who.ask("GET", "/study.js").text
    assert who.ask("GET", "/page.js").status == 404
