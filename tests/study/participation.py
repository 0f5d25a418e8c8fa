"""Helpers for tests of studies: conditions, and participants who talk."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Callable

from personagpt.model.sampling import Sampling
from personagpt.records.consents import wording
from personagpt.study.settings import Condition, Study
from tests.page.served import Answer, ServedPage, Visitor

PROGRAM = Condition("program-1", "m", Sampling(), None)
COLD = Condition("program-2", "m", Sampling(temperature=0.5), 4)
PEOPLE = Condition("people", None, Sampling(), None)
PERSONAS = tuple((f"i have {name} .", f"i like {name} a lot .") for name in ("dogs", "cats", "tea", "cars", "books"))
QUICK = {"wait": 0.0, "letters_per_second": 0.0}
ANSWERS = {"fluency": 1, "consistency": 3, "engagement": 5, "persona": 0, "partner": "person"}


def study_of(*conditions: Condition, turns: int = 2, **times: float) -> Study:
    return Study("s", "A study", "you agree", turns, conditions, PERSONAS, **QUICK | times)


class Participant(Visitor):
    def do(self, action: str, **content: object) -> Answer:
        return self.ask("POST", f"/api/study/{action}", content)

    def when(self, is_so: Callable[[dict], object]) -> dict:
        """Keep the page open until its view is as wanted, and return that view."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request("GET", "/api/study", headers=self.headers)
            view, signs_of_life = None, 0
            for line in connection.getresponse():
                if line.startswith(b"data: "):
                    view = json.loads(line.removeprefix(b"data: "))
                    if is_so(view):
                        return view
                signs_of_life += line.startswith(b":")  # after each ten seconds without news
                assert signs_of_life < 12, view
        raise AssertionError(view)

    def state(self) -> dict:
        """What the page would show now: the first event."""
        return self.when(lambda view: True)

    def until(self, stage: str = "talk", yours: bool | None = True) -> dict:
        """Wait for a stage; for the participant's turn."""
        return self.when(lambda view: view["stage"] == stage and (stage != "talk" or yours in (None, view["yours"])))

    def begin(self) -> dict:
        return self.do("begin", agreed=wording("you agree")).json

    def talk_through(self) -> dict:
        """Say something whenever it is their turn, until the questions."""
        for number in range(100):
            state = self.when(lambda view: view["stage"] == "questions" or view.get("yours"))
            if state["stage"] == "questions":
                return state
            assert self.do("say", text=f"word {number}").status == 200
        raise AssertionError(state)


def pair(page: ServedPage) -> tuple[Participant, Participant]:
    """Two who talk with each other; the first one begins."""
    both = Participant(page), Participant(page)
    for one in both:
        one.begin()
    return both if both[0].until(yours=None)["yours"] else both[::-1]
