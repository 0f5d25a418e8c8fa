"""What visitors of the teaching page do: answer questions, go back to an earlier question, answer it in another way.

    GET    /api/teach             the visitor's questions with their answers; the last question waits for an answer
    POST   /api/teach/answer      {id, reply} the number of a draw, {id, text} a better reply, {id, kinds, note} a flag:
                                  no reply is right, or {id, skip}

The questions are those of the terminal (talking/teaching.py), and each is asked once. Every answer is on record at
once. Another answer to the same question takes the place of the answer before.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from starlette.routing import Route

from personagpt.page.problems import tell_operator
from personagpt.page.routes import STATIC, endpoint, static_routes
from personagpt.page.visitors import Limits, Refused, checked, flagged
from personagpt.records.database import Recordings
from personagpt.records.talks import FLAGS, TEACH, Talk
from personagpt.talking.teaching import ASKED, Question, shares

Draw = Callable[[threading.Event], Iterator[Question]]  # the event says that no further question is wanted


class QuestionQueue:
    """Draw questions in a thread, before visitors ask for them."""

    def __init__(self, draw: Draw) -> None:
        self._drawn: queue.Queue[Question] = queue.Queue(ASKED)
        self._draw, self._stop, self._ended = draw, threading.Event(), False
        self._thread = threading.Thread(target=self._work, name="questions", daemon=True)
        self._thread.start()

    def take(self) -> tuple[Question | None, str]:
        """Return the next question, or None and why there is none: "drawing", or "none" after the last question."""
        ended = self._ended  # before the look, because the thread ends after it has put the last question
        try:
            return self._drawn.get_nowait(), ""
        except queue.Empty:
            return None, "none" if ended else "drawing"

    def close(self) -> None:
        """Finish the batch of replies in progress, then draw no more."""
        self._stop.set()
        while self._thread.is_alive():
            while not self._drawn.empty():
                self._drawn.get()  # the thread may wait for room
            self._thread.join(0.1)

    def _work(self) -> None:
        try:
            for question in self._draw(self._stop):
                if self._stop.is_set():
                    return
                self._drawn.put(question)
        except Exception as error:  # the page goes on with the questions that it has, whatever the error is
            tell_operator(f"no more questions can be drawn: {type(error).__name__}: {error}")
        self._ended = True


@dataclass
class Asked:
    """A question that a visitor got, and the answer."""

    question: Question
    answer: str = ""  # accepted, replaced or skipped; empty before the answer
    talk: Talk | None = None  # as it is on record

    def shown(self) -> dict:
        """Return what the page shows of the question."""
        place, talk = self.question.talk, self.talk
        last = len(place.turns)
        return {
            "id": place.id,
            "persona": place.persona,
            "turns": [{"speaker": turn.speaker, "text": turn.text} for turn in place.turns],
            "replies": self.question.replies,
            "answer": self.answer,
            "text": talk.texts[-1] if talk else "",
            "flags": [{"kind": flag.kind, "note": flag.note} for flag in talk.flags if flag.turn == last]
            if talk
            else [],
        }


class TeachPage:
    """Answer the requests of visitors with JSON. Every method takes the visitor's checksum. Raises Refused where the
    page does not grant the request."""

    def __init__(
        self,
        questions: QuestionQueue,
        recordings: Recordings,
        restyled: Callable[[str], str],
        goal: str | None,
        limits: Limits,
    ) -> None:
        """`restyled` brings a typed reply into the style of the model's training text. `goal` is the replies'."""
        self.questions, self.recordings, self.restyled = questions, recordings, restyled
        self.goal, self.limits = goal, limits
        self.asked: dict[str, list[Asked]] = {}  # by visitor, in order; their number is at most that of the questions
        self.changing = threading.Lock()  # held from finding a question to recording its answer

    def start(self, visitor: str, data: dict) -> dict:
        return {"flags": FLAGS, "goal": self.goal, "participant": visitor}

    def state(self, visitor: str, data: dict) -> dict:
        with self.changing:
            return self._since(visitor, 0)

    def answer(self, visitor: str, data: dict) -> dict:
        with self.changing:
            mine = self.asked.get(visitor, [])
            number = next((n for n, asked in enumerate(mine) if asked.question.talk.id == data.get("id")), None)
            if number is None:
                raise Refused(404, "this question is not asked any more: load the page again")
            asked = mine[number]
            answer, talk = ("skipped", None) if data.get("skip") else self._answered(asked, visitor, data)
            if talk or asked.talk:
                self.recordings.save(talk or replace(asked.talk, turns=[], flags=[]))  # without turns it is removed
            mine[number] = Asked(asked.question, answer, talk)
            return self._since(visitor, number)

    def _answered(self, asked: Asked, visitor: str, data: dict) -> tuple[str, Talk]:
        """Return whether the visitor accepted the model's reply, and the talk to record."""
        replies, number, talk = asked.question.replies, data.get("reply", 0), asked.question.answered(self.goal)
        last = len(talk.turns) - 1
        if talk.source == TEACH:  # a recorded talk that goes on stays its participant's
            talk = replace(talk, participant=visitor)
        if asked.talk:
            talk.base = asked.talk.base
        if "kinds" in data:
            if not data["kinds"]:
                raise Refused(400, "choose what is wrong with the reply")
            return "replaced", flagged(talk, data | {"turn": last}, self.limits.letters)
        if "text" in data:
            text = self.restyled(checked(data["text"], "the reply", self.limits.letters))
            if text not in replies:
                return "replaced", talk.ending_with(talk.turns[-1].instead(text, corrected=True))
            number = replies.index(text)
        if type(number) is not int or not 0 <= number < len(replies):
            raise Refused(400, "no such reply")
        if number == 0:
            return "accepted", talk
        return "replaced", talk.ending_with(talk.turns[-1].instead(replies[number], corrected=False))

    def _since(self, visitor: str, number: int) -> dict:
        """Return the visitor's questions from `number` on, with a new question if all of them have answers."""
        mine, waits = self.asked.get(visitor, []), ""
        if not mine or mine[-1].answer:
            question, waits = self.questions.take()
            if question is not None:
                mine = self.asked[visitor] = [*mine, Asked(question)]
        accepted = [asked.answer == "accepted" for asked in mine if asked.answer in ("accepted", "replaced")]
        shown = {"from": number, "asked": [asked.shown() for asked in mine[number:]]}
        return shown | {"waits": waits, "shares": shares(accepted)}


def teach_routes(page: TeachPage) -> list[Route]:
    return [
        *static_routes(STATIC / "teach.html", STATIC / "page.css", STATIC / "text.js", STATIC / "teach.js"),
        Route("/api/teach", endpoint(page.state)),
        Route("/api/teach/answer", endpoint(page.answer), methods=["POST"]),
    ]
