"""Helpers for tests of studies: conditions, and participants who talk."""

from __future__ import annotations

import contextlib
import http.client
import json
import time

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

    def state(self) -> dict:
        """What the page would show now: the first event."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request("GET", "/api/study", headers=self.headers)
            answer = connection.getresponse()
            assert answer.readline() == b"event: state\n"
            return json.loads(answer.readline().removeprefix(b"data: "))

    def until(self, stage: str = "talk", yours: bool | None = True) -> dict:
        """Wait for a stage; for the participant's turn."""
        for _ in range(1000):
            state = self.state()
            if state["stage"] == stage and (stage != "talk" or yours in (None, state["yours"])):
                return state
            time.sleep(0.01)
        raise AssertionError(state)

    def begin(self) -> dict:
        return self.do("begin", agreed=wording("you agree")).json

    def talk_through(self) -> dict:
        """Say something whenever it is their turn, until the questions."""
        for number in range(100):
            state = self.state()
            if state["stage"] == "questions":
                return state
            if state.get("yours"):
                assert self.do("say", text=f"word {number}").status == 200
        raise AssertionError(state)


def pair(page: ServedPage) -> tuple[Participant, Participant]:
    """Two who talk with each other; the first one begins."""
    both = Participant(page), Participant(page)
    for one in both:
        one.begin()
    both[0].until(yours=None)
    return both if both[0].state()["yours"] else both[::-1]
