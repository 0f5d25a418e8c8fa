"""The page: what a visitor may do with talks of their own. web.py brings it to the browser."""

from __future__ import annotations

import secrets
import threading
import unicodedata
from dataclasses import asdict, dataclass, replace
from typing import Any

from personagpt.model.sampling import Sampling
from personagpt.page.access import Rate
from personagpt.page.replies import ReplyQueue
from personagpt.records.database import Recordings
from personagpt.records.talks import FLAGS, Flag, Talk, Turn, is_blind


@dataclass(frozen=True)
class Limits:
    """What one visitor, one address and all together may ask of the page."""

    letters: int = 500  # of an utterance, a correction or a note
    fact_letters: int = 200
    facts: int = 20
    turns: int = 200  # of a talk
    talks: int = 200  # of a visitor
    all_talks: int = 100_000
    replies: int = 30  # a minute, of a visitor
    requests: int = 1200  # a minute, of an address
    guesses: int = 10  # wrong passwords a minute, of an address
    waiting: int = 40  # replies under way


class Refused(Exception):
    """A request that is answered with a line that says why not."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


class Page:
    """The answers. Every method gets the visitor's participant key, and finds that visitor's talks only."""

    def __init__(self, desk: ReplyQueue, personas: list[list[str]], goals: list[str], limits: Limits) -> None:
        self.desk, self.personas, self.goals, self.limits = desk, personas, goals, limits
        self.recordings = desk.recordings
        self.replies = Rate(limits.replies)
        self.changing = threading.Lock()  # a talk is read, changed and saved by one thread

    def start(self, visitor: str, data: dict) -> dict:
        trained = self.desk.trained
        return {
            "model": trained.checksum[:12] if trained.folder else trained.name,  # no path of this machine
            "flags": FLAGS,
            "goals": self.goals,
            "limits": asdict(self.limits),
            "has_personas": bool(self.personas),
            "participant": visitor,
        }

    def persona(self, visitor: str, data: dict) -> dict:
        if not self.personas:
            raise Refused(404, "there is no validation text here to draw a persona from")
        return {"persona": secrets.choice(self.personas)}

    def talks(self, visitor: str, data: dict) -> dict:
        return {
            "talks": [
                {"id": talk.id, "started": talk.started, "persona": talk.persona, "turns": len(talk.turns)}
                for talk in reversed(shown_talks(self.recordings, visitor))
            ]
        }

    def talk(self, visitor: str, data: dict) -> dict:
        return self.shown(self.find(visitor, data["id"]))

    def begin(self, visitor: str, data: dict) -> dict:
        limits, facts = self.limits, data.get("persona")
        if not isinstance(facts, list) or not 1 <= len(facts) <= limits.facts:
            raise Refused(400, f"a persona has 1 to {limits.facts} facts")
        facts = [checked(fact, "a fact", limits.fact_letters) for fact in facts]
        with self.changing:
            if self.recordings.count(visitor) >= limits.talks:
                raise Refused(403, f"you have {limits.talks} talks: delete some to begin another")
            if self.recordings.count() >= limits.all_talks:
                raise Refused(503, "this page has recorded all the talks it takes")
            talk = self.desk.begin(facts, Sampling(), secrets.randbits(32), visitor, "app.py")
            return self.ask(visitor, talk, data, said=True)

    def say(self, visitor: str, data: dict) -> dict:
        with self.changing:
            talk = self.idle(visitor, data["id"])
            if talk.turns[-1].speaker != "model":
                raise Refused(409, "the last utterance has no reply yet: ask for it, or take it back")
            return self.ask(visitor, talk, data, said=True)

    def retry(self, visitor: str, data: dict) -> dict:
        """Another reply; or the first one, where the page was ended before there was any."""
        with self.changing:
            return self.ask(visitor, self.idle(visitor, data["id"]), data, said=False)

    def ask(self, visitor: str, talk: Talk, data: dict, said: bool) -> dict:
        """Ask for the reply to what is `said` now, or another reply to what was said last."""
        goal, rejected, on_record = data.get("goal") or None, None, talk.id
        if goal is not None and goal not in self.goals:
            raise Refused(400, "no such goal")
        if len(talk.turns) + said > self.limits.turns:
            raise Refused(403, f"a talk has at most {self.limits.turns} utterances: begin another")
        if not self.replies.allows(visitor):
            raise Refused(429, "too many replies in a minute: wait a little")
        if said:
            text = self.desk.restyled(checked(data.get("text"), "what you say", self.limits.letters))
            talk = replace(talk, turns=[*talk.turns, Turn("human", text)])
        elif talk.turns[-1].speaker == "model":
            talk, rejected = talk.without(1), talk.texts[-1]
        self.desk.ask(talk, goal, rejected, stands=rejected is not None and talk.id == on_record)
        return self.shown(talk)

    def undo(self, visitor: str, data: dict) -> dict:
        with self.changing:
            talk = self.idle(visitor, data["id"])
            shorter = talk.without(2 if talk.turns[-1].speaker == "model" else 1)
            self.recordings.save(shorter)
            return self.shown(shorter)

    def correct(self, visitor: str, data: dict) -> dict:
        text = self.desk.restyled(checked(data.get("text"), "the correction", self.limits.letters))
        with self.changing:
            talk = self.idle(visitor, data["id"])
            turn = talk.turns[-1]
            if turn.speaker != "model":
                raise Refused(409, "there is no reply yet")
            if text != turn.text:
                talk.turns[-1] = turn.instead(text, corrected=True)
                self.recordings.save(talk)
            return self.shown(talk)

    def flag(self, visitor: str, data: dict) -> dict:
        """Let a reply have these kinds of flag, and no others."""
        with self.changing:
            talk = flagged(self.idle(visitor, data["id"]), data, self.limits.letters)
            self.recordings.save(talk)
            return self.shown(talk)

    def delete(self, visitor: str, data: dict) -> dict:
        if not self.recordings.delete(visitor, [data["id"]]):
            raise Refused(404, "you have no such talk")
        return {}

    def delete_all(self, visitor: str, data: dict) -> dict:
        return {"deleted": self.recordings.delete(visitor)}

    def find(self, visitor: str, talk_id: str) -> Talk:
        found = self.recordings.talks(visitor, [talk_id])
        if not found or is_blind(found[0]):  # another visitor's looks the same as none
            raise Refused(404, "you have no such talk")
        return found[0]

    def idle(self, visitor: str, talk_id: str) -> Talk:
        """The talk, which no reply will change meanwhile."""
        talk = self.find(visitor, talk_id)
        if talk.source != "app.py":
            raise Refused(409, "this talk was recorded elsewhere, and stays as it is")
        if self.desk.is_busy(talk_id):
            raise Refused(409, "a reply is being made: wait for it")
        return talk

    def shown(self, talk: Talk) -> dict:
        """What the page shows of a talk."""
        busy = self.desk.is_busy(talk.id)
        turns = talk.turns[: len(self.desk.order_of(talk.id).talk.turns)] if busy else talk.turns
        names = ("id", "started", "persona")
        return {name: getattr(talk, name) for name in names} | {
            "turns": [asdict(turn) for turn in turns],
            "flags": [asdict(flag) for flag in talk.flags],
            "replying": busy,
        }


def shown_talks(recordings: Recordings, visitor: str) -> list[Talk]:
    """The visitor's talks, without one of a study that still runs."""
    return [talk for talk in recordings.talks(visitor) if not is_blind(talk)]


def flagged(talk: Talk, data: dict, letters: int) -> Talk:
    """The talk, with the kinds of flag that `data` has on its reply, and no others there. Raises Refused."""
    kinds, number = data.get("kinds"), data.get("turn")
    if not isinstance(kinds, list) or not all(isinstance(kind, str) and kind in FLAGS for kind in kinds):
        raise Refused(400, f"the kinds of flag are {', '.join(FLAGS)}")
    note = checked(data.get("note") or " ", "the note", letters, empty=True)
    if type(number) is not int or not 0 <= number < len(talk.turns) or talk.turns[number].speaker == "human":
        raise Refused(400, "no such reply")
    flags = [flag for flag in talk.flags if flag.turn != number]
    return replace(talk, flags=flags + [Flag(number, kind, note) for kind in dict.fromkeys(kinds)])


def checked(text: Any, what: str, most: int, empty: bool = False) -> str:
    """Text of a visitor: one line without control characters. Raises Refused."""
    if not isinstance(text, str):
        raise Refused(400, f"{what} must be text")
    if len(text) > 4 * most:
        raise Refused(400, f"{what} is too long: at most {most} letters")
    line = "".join(letter for letter in " ".join(text.split()) if unicodedata.category(letter) not in ("Cc", "Cs"))
    if not line and not empty:
        raise Refused(400, f"{what} is empty")
    if len(line) > most:
        raise Refused(400, f"{what} is too long: {len(line)} letters, at most {most}")
    return line
