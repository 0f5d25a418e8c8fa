"""A talk: who said what, and what was wrong with it. As JSON, one line a talk:

    {"id": ..., "started": ..., "source": "interact.py", "participant": null, "model": ..., "model_checksum": ...,
     "sampling": {"top_k": 10, ..., "seed": 7}, "persona": [fact, ...], "partner": "human", "partner_persona": [],
     "turns": [{"speaker": "human", "text": ..., "time": ..., "goal": null, "replaced": null, "corrected": false}, ...],
     "flags": [{"turn": 1, "kind": "inconsistent", "note": ...}], "ratings": {"fluency": 4}}

A person ("human") talks first, or in a self-play the model under another persona ("partner"); in some talks of a study
the model does. In a study two people talk with each other, too (partner "person"): each has a talk of their own, with
the same turns, in which they are the human and the other one is the partner; `persona` is the other one's.
"""

from __future__ import annotations

import datetime
import json
import re
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

FLAGS = {
    "inconsistent": "with the persona",
    "contradicts": "itself",
    "repetitive": "says the same again",
    "off-topic": "does not answer",
    "ungrammatical": "broken language",
    "unsafe": "hurtful or dangerous",
    "other": "see the note",
}
SCALES = ("fluency", "consistency", "engagement")  # what a study asks to rate from 1 to 5
DELETED = "(deleted)"  # stands in a person's talk for what their partner said, who has deleted it
SPEAKERS = {"human": ("human", "model"), "partner": ("partner", "model"), "person": ("human", "partner")}
HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
STUDY = "study:"  # what the source of a study's talk begins with


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def new_id() -> str:
    return uuid.uuid4().hex


def twin_of(talk_id: str) -> str:
    """The id of the other participant's talk, where two people talked with each other."""
    return f"{int(talk_id, 16) ^ 1:032x}"


@dataclass
class Turn:
    speaker: str  # "human", "partner" or "model"
    text: str
    time: str = field(default_factory=now)
    goal: str | None = None  # what a model was asked to do with this reply
    replaced: str | None = None  # the reply that stood here before: another draw, or what a person corrected
    corrected: bool = False  # a person wrote this text in the model's place

    def instead(self, text: str, corrected: bool) -> Turn:
        """This reply with another text in its place; what the model said there stays on record."""
        return replace(self, text=text, replaced=self.replaced if self.corrected else self.text, corrected=corrected)


@dataclass
class Flag:
    turn: int  # index of a reply, or of what the other person said
    kind: str
    note: str = ""


@dataclass
class Talk:
    """What was said, by whom, and what was wrong with it."""

    model: str
    model_checksum: str
    sampling: dict[str, Any]
    persona: list[str]
    partner: str = "human"
    partner_persona: list[str] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    flags: list[Flag] = field(default_factory=list)
    started: str = field(default_factory=now)
    id: str = field(default_factory=new_id)
    source: str = "interact.py"  # what recorded it
    participant: str | None = None  # whose talk it is, where that is known
    ratings: dict[str, Any] = field(default_factory=dict)  # question -> answer

    @property
    def texts(self) -> list[str]:
        return [turn.text for turn in self.turns]

    @property
    def speakers(self) -> tuple[str, str]:
        """Who talks first, and who second."""
        first, second = SPEAKERS[self.partner]
        return (second, first) if self.turns and self.turns[0].speaker == second else (first, second)

    def facts_of(self, speaker: str) -> list[str]:
        return self.persona if speaker == SPEAKERS[self.partner][1] else self.partner_persona

    def without(self, count: int) -> Talk:
        """This talk without its last `count` turns, for the caller to change.

        A flag is evidence: where one of those turns has one, the talk with it stays, and this is another talk.
        """
        kept = len(self.turns) - count
        flags = [flag for flag in self.flags if flag.turn < kept]
        changed = {"id": self.id if len(flags) == len(self.flags) else new_id()}
        return replace(self, turns=self.turns[:kept], flags=flags, **changed)

    @property
    def origin(self) -> tuple[str, ...]:
        """What this talk has in common with the talks that went on from it, or that it went on from.

        After a flag, /undo, /retry, /choose and /set go on as another talk, of the same start.
        """
        given = self.persona, self.partner_persona, self.sampling.get("seed")
        return self.started, self.source, self.participant or "", self.partner, json.dumps(given)

    def shares(self, other: Talk, count: int) -> bool:
        """Whether the first `count` turns of both talks are the same, said at the same time."""
        return len(other.turns) >= count <= len(self.turns) and other.turns[:count] == self.turns[:count]

    def ending_with(self, turn: Turn) -> Talk:
        """This talk with `turn` in the place of its last one."""
        return replace(self, turns=[*self.turns[:-1], turn])

    def line(self) -> str:
        """The talk as one line of JSON."""
        return json.dumps(asdict(self)) + "\n"


def is_blind(talk: Talk) -> bool:
    """Whether it is a study's, and its participant has not answered the questions nor given it up.

    Until then nobody may show them who they talk with.
    """
    is_over = "partner" in talk.ratings or talk.ratings.get("ended") == "left"
    return talk.source.startswith(STUDY) and not is_over


def branches_of(talks: Iterable[Talk]) -> dict[tuple[str, ...], list[Talk]]:
    """The talks of each origin, in order."""
    branches: dict[tuple[str, ...], list[Talk]] = {}
    for talk in talks:
        branches.setdefault(talk.origin, []).append(talk)
    return branches


def talks_by_study(talks: Iterable[Talk]) -> dict[str, list[Talk]]:
    """The talks of each study, whose source is "study:STUDY:CONDITION"."""
    found: dict[str, list[Talk]] = {}
    for talk in talks:
        if talk.source.startswith(STUDY):
            found.setdefault(talk.source.removeprefix(STUDY).rpartition(":")[0], []).append(talk)
    return found


def public_model(talk: Talk) -> str:
    """The model's name without a path of this machine: of a folder its last name, and which model it held."""
    if not talk.model or (HUB_NAME.fullmatch(talk.model) and not Path(talk.model).is_dir()):
        return talk.model
    return f"{Path(talk.model).name}-{talk.model_checksum[:12]}"


def parse_talk(line: bytes) -> Talk:
    """A line of JSON -> its talk. Raises ValueError, KeyError, TypeError or RecursionError where it is not one."""
    raw = json.loads(line)
    if not isinstance(raw, dict):
        raise ValueError("not an object")
    turns, flags = [Turn(**turn) for turn in raw.pop("turns")], [Flag(**flag) for flag in raw.pop("flags")]
    talk = Talk(**raw, turns=turns, flags=flags)
    if not isinstance(talk.persona, list) or not isinstance(talk.partner_persona, list):
        raise ValueError("a persona that is no list of facts")
    if not isinstance(talk.sampling, dict) or not isinstance(talk.ratings, dict):
        raise ValueError("sampling or ratings that are no object")
    facts = [*talk.persona, *talk.partner_persona]
    texts = [talk.id, talk.started, talk.source, talk.model, talk.model_checksum, talk.partner, *facts]
    texts += [text for turn in turns for text in (turn.text, turn.time, turn.goal or "", turn.replaced or "")]
    if not all(isinstance(text, str) for text in [*texts, talk.participant or ""]):
        raise ValueError("not text")
    json.dumps([texts, talk.participant, talk.sampling, talk.ratings], ensure_ascii=False).encode()  # half a surrogate
    if not all(fact.strip() for fact in facts):
        raise ValueError("an empty fact")
    if talk.partner not in SPEAKERS:
        raise ValueError(f"unknown partner {talk.partner!r}")
    if talk.partner == "person":
        twin_of(talk.id)  # raises where it can have none
    for number, turn in enumerate(turns):
        if turn.speaker != talk.speakers[number % 2] or not turn.text.strip():
            raise ValueError(f"turn {number} is empty or another speaker's")
    for flag in flags:
        known = flag.kind in FLAGS and isinstance(flag.note, str)
        if not known or type(flag.turn) is not int or not 0 <= flag.turn < len(turns):
            raise ValueError(f"unknown flag {flag}")
    return talk
