"""What visitors of the page do: begin, continue, correct, flag and delete their talks. routes.py serves it."""

from __future__ import annotations

import secrets
import threading
import unicodedata
from dataclasses import asdict, dataclass, replace
from typing import Any

from personagpt.model.sampling import Sampling
from personagpt.output import counted
from personagpt.page.access import Rate
from personagpt.page.log_clearing import LogClearing
from personagpt.page.replies import ReplyQueue
from personagpt.records.database import Recordings
from personagpt.records.talks import FLAGS, Flag, Talk, Turn, is_blind


@dataclass(frozen=True)
class Limits:
    """How much the page takes from a visitor, from an address, and in total."""

    letters: int = 500  # of an utterance, a correction or a note
    fact_letters: int = 200
    facts: int = 20
    turns: int = 200  # of a talk
    talks: int = 200  # of a visitor
    all_talks: int = 100_000
    replies: int = 30  # a minute, of a visitor
    requests: int = 1200  # a minute, of an address
    guesses: int = 10  # wrong passwords a minute, of an address
    waiting: int = 40  # pending replies


class Refused(Exception):
    """The page refuses a request. The message is one line for the visitor; `status` is HTTP's."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


class Page:
    """Answer the requests of visitors with JSON. Every method takes the visitor's checksum, and reaches no other
    visitor's talks. Raises Refused where the page does not grant the request."""

    def __init__(self, queue: ReplyQueue, personas: list[list[str]], goals: list[str], limits: Limits) -> None:
        self.queue, self.personas, self.goals, self.limits = queue, personas, goals, limits
        self.recordings = queue.recordings
        self.log, self.replies = LogClearing(self.recordings), Rate(limits.replies)
        self.changing = threading.Lock()  # held from reading a talk to saving it

    def start(self, visitor: str, data: dict) -> dict:
        trained = self.queue.trained
        return {
            "model": "" if trained.folder else trained.name,  # a hub's name; a folder's says nothing to a visitor
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
        talks = [
            {"id": talk.id, "started": talk.started, "persona": talk.persona, "turns": len(talk.turns)}
            for talk in reversed(visible_talks(self.recordings, visitor))
        ]
        return {"talks": talks}

    def talk(self, visitor: str, data: dict) -> dict:
        return self.shown(self.recorded(visitor, data["id"]))

    def begin(self, visitor: str, data: dict) -> dict:
        facts = data.get("persona")
        if not isinstance(facts, list) or not 1 <= len(facts) <= self.limits.facts:
            raise Refused(400, f"a persona has 1 to {self.limits.facts} facts")
        facts = [checked(fact, "a fact", self.limits.fact_letters) for fact in facts]
        with self.changing:
            check_room(self.recordings, visitor, self.limits)
            talk = self.queue.new_talk(facts, Sampling(), secrets.randbits(32), visitor, "app.py")
            return self.say_in(talk, visitor, data)

    def say(self, visitor: str, data: dict) -> dict:
        with self.changing:
            talk = self.idle(visitor, data["id"])
            if talk.turns[-1].speaker != "model":
                raise Refused(409, "the last utterance has no reply yet: ask for it, or take it back")
            return self.say_in(talk, visitor, data)

    def say_in(self, talk: Talk, visitor: str, data: dict) -> dict:
        """Add the visitor's utterance to the talk, and ask for the reply."""
        if len(talk.turns) >= self.limits.turns:
            raise Refused(403, f"a talk has at most {self.limits.turns} utterances: begin another")
        goal = self.allowed_goal(visitor, data)
        text = self.queue.restyled(checked(data.get("text"), "what you say", self.limits.letters))
        talk = replace(talk, turns=[*talk.turns, Turn("human", text)])
        self.queue.ask(talk, goal)
        self.replies.allows(visitor)  # counts the reply, because nothing refuses it any more
        return self.shown(talk)

    def retry(self, visitor: str, data: dict) -> dict:
        """Ask for another reply; or for the first reply, where the page stopped before it was made."""
        with self.changing:
            talk = self.idle(visitor, data["id"])
            rejected = talk.texts[-1] if talk.turns[-1].speaker == "model" else None
            asked = talk if rejected is None else self.without(talk, 1)
            stands = rejected is not None and asked.id == talk.id
            self.queue.ask(asked, self.allowed_goal(visitor, data), rejected, stands)
            self.replies.allows(visitor)
            return self.shown(asked)

    def without(self, talk: Talk, count: int) -> Talk:
        """Return the talk without its last turns; where one of them has a flag, another talk, for which there is room.

        Raises Refused where there is no room.
        """
        shorter = talk.without(count)
        if shorter.id != talk.id and shorter.turns:
            check_room(self.recordings, talk.participant, self.limits)
        return shorter

    def allowed_goal(self, visitor: str, data: dict) -> str | None:
        """Return the goal for a reply that the visitor may ask for now."""
        goal = data.get("goal") or None
        if goal is not None and goal not in self.goals:
            raise Refused(400, "no such goal")
        if not self.replies.allows(visitor, counts=False):
            raise Refused(429, "too many replies in a minute: wait a little")
        return goal

    def undo(self, visitor: str, data: dict) -> dict:
        with self.changing:
            talk = self.idle(visitor, data["id"])
            shorter = self.without(talk, 2 if talk.turns[-1].speaker == "model" else 1)
            self.recordings.save(shorter)
            return self.shown(shorter)

    def correct(self, visitor: str, data: dict) -> dict:
        text = self.queue.restyled(checked(data.get("text"), "the correction", self.limits.letters))
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
        with self.changing:
            talk = flagged(self.idle(visitor, data["id"]), data, self.limits.letters)
            self.recordings.save(talk)
            return self.shown(talk)

    def delete(self, visitor: str, data: dict) -> dict:
        count = self.recordings.delete(visitor, [data["id"]])
        if not count:
            raise Refused(404, "you have no such talk")
        return self.log.after(count)

    def delete_all(self, visitor: str, data: dict) -> dict:
        return self.log.after(self.recordings.delete(visitor))

    def recorded(self, visitor: str, talk_id: str) -> Talk:
        """Return the visitor's recorded talk. The answer is the same for another visitor's talk as for no talk."""
        talks = visible_talks(self.recordings, visitor, [talk_id])
        if not talks:
            raise Refused(404, "you have no such talk")
        return talks[0]

    def idle(self, visitor: str, talk_id: str) -> Talk:
        """Return the visitor's recorded talk, which must belong to this page and have no pending reply."""
        talk = self.recorded(visitor, talk_id)
        if talk.source != "app.py":
            raise Refused(409, "this talk was recorded elsewhere, and stays as it is")
        if self.queue.is_busy(talk_id):
            raise Refused(409, "a reply is being made: wait for it")
        return talk

    def shown(self, talk: Talk) -> dict:
        """Return what the page shows of a talk. A reply that is being replaced is not shown."""
        busy = self.queue.is_busy(talk.id)
        turns = talk.turns[: len(self.queue.reply_of(talk.id).talk.turns)] if busy else talk.turns
        content = {"id": talk.id, "started": talk.started, "persona": talk.persona, "replying": busy}
        return content | {"turns": list(map(asdict, turns)), "flags": list(map(asdict, talk.flags))}


def visible_talks(recordings: Recordings, visitor: str, ids: list[str] | None = None) -> list[Talk]:
    """Return the visitor's talks (those of `ids`), except a talk of a study that is still blind."""
    return [talk for talk in recordings.talks(visitor, ids) if not is_blind(talk)]


def check_room(recordings: Recordings, visitor: str, limits: Limits) -> None:
    """Raise Refused where the visitor, or all visitors together, have as many talks as the limits allow."""
    if recordings.count(visitor) >= limits.talks:
        raise Refused(403, f"you have {counted(limits.talks, 'talks')}: delete some to begin another")
    if recordings.count() >= limits.all_talks:
        raise Refused(503, "this page has recorded all the talks it takes")


def flagged(talk: Talk, data: dict, letters: int) -> Talk:
    """Return the talk with the flags of `data` on one reply, in place of that reply's earlier flags. Raises Refused."""
    kinds, number = data.get("kinds"), data.get("turn")
    if not isinstance(kinds, list) or not all(isinstance(kind, str) and kind in FLAGS for kind in kinds):
        raise Refused(400, f"the kinds of flag are {', '.join(FLAGS)}")
    note = checked(data.get("note") or "", "the note", letters, may_be_empty=True)
    if type(number) is not int or not 0 <= number < len(talk.turns) or talk.turns[number].speaker == "human":
        raise Refused(400, "no such reply")
    flags = [flag for flag in talk.flags if flag.turn != number]
    return replace(talk, flags=flags + [Flag(number, kind, note) for kind in dict.fromkeys(kinds)])


def checked(text: Any, name: str, most: int, may_be_empty: bool = False) -> str:
    """Return a visitor's text as one line without control characters. Raises Refused where it is unusable."""
    if not isinstance(text, str):
        raise Refused(400, f"{name} must be text")
    if len(text) > 4 * most:
        raise Refused(400, f"{name} is too long: at most {most} letters")
    line = "".join(letter for letter in " ".join(text.split()) if unicodedata.category(letter) not in ("Cc", "Cs"))
    if not line and not may_be_empty:
        raise Refused(400, f"{name} is empty")
    if len(line) > most:
        raise Refused(400, f"{name} is too long: {len(line)} letters, at most {most}")
    return line
