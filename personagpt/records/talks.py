"""A talk: utterances with their speakers, flags on utterances, and ratings. As JSON, one line for each talk:

    {"id": ..., "started": ..., "source": "interact.py", "participant": null, "model": ..., "model_checksum": ...,
     "sampling": {"top_k": 10, ..., "seed": 7}, "persona": [fact, ...], "partner": "human", "partner_persona": [],
     "turns": [{"speaker": "human", "text": ..., "time": ..., "goal": null, "replaced": null, "corrected": false,
                "chosen": false}, ...],
     "flags": [{"turn": 1, "kind": "inconsistent", "note": ...}], "ratings": {"fluency": 4}, "twin": null,
     "thumbs": [{"turn": 1, "up": false}]}

A person ("human") talks first. In a self-play the model under another persona ("partner") talks first, and in some
talks of a study the model does. In a study two people also talk with each other (partner "person"). Each of them has an
own talk, and the two talks are twins: they have the same turns, but in each talk its participant is the human and the
other person is the partner. There `persona` is the persona of the other person.

Talks between people and other programs are imported (import_dialogues.py --talks). There `model` is the program's id,
`model_checksum` is empty, and `source` is "convai2:FILE". Of their times the files tell a talk's start and end, so that
the turns between have the day alone.
"""

from __future__ import annotations

import datetime
import json
import re
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
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
SCALES = ("fluency", "consistency", "engagement")  # a study asks for ratings from 1 to 5 on these scales
ANSWERS = {"partner": ["person", "program"], "ended": ["left", "rating"], "waited": [True, False]}
NO_ANSWERS = {"ended", "waited"}  # ratings that the program itself records
DELETED = "(deleted)"  # replaces the partner's words in a person's talk when the partner has deleted the twin
SPEAKERS = {"human": ("human", "model"), "partner": ("partner", "model"), "person": ("human", "partner")}
HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
IMPORTED = "convai2"  # the source of an imported talk is "convai2:FILE"
UNKNOWN_DAY = "1970-01-01"  # of an imported talk whose file has no times
UNKNOWN_PROGRAM = "unknown program"  # the model of an imported talk whose file does not name it
SELF_PLAY = "self-play"  # the source of a talk of a model with itself, or with a program behind an API
INTERVIEW = "self-play:interview"  # ... of an interview: the partner has no persona, and a goal for each question
TEACH = "teach"  # the source of a talk that only asks a person about one reply
STUDY = "study:"  # the source of a study's talk is "study:STUDY:CONDITION"
STUDY_SOURCE = re.compile(r"study:[A-Za-z0-9_-]{1,40}:[^/:\\]{1,100}")  # STUDY stands in names of files


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def new_id() -> str:
    """Return a new id for a talk."""
    return uuid.uuid4().hex


def twin_before_stored(talk_id: str) -> str:
    """Return the id of a talk's twin by the rule that held before twins were stored: only the last bit differs.

    Raises ValueError if `talk_id` is no hexadecimal number.
    """
    return f"{int(talk_id, 16) ^ 1:032x}"


@dataclass
class Turn:
    speaker: str  # "human", "partner" or "model"
    text: str
    time: str = field(default_factory=now)
    goal: str | None = None  # the goal that the model got for this reply
    replaced: str | None = None  # the earlier reply in this place: another draw, or a reply that a person corrected
    corrected: bool = False  # a person wrote this text in the model's place
    chosen: bool = False  # a person chose this draw among others that they saw

    def instead(self, text: str, corrected: bool) -> Turn:
        """Return this reply with a correction, or another draw that a person chose, in its place.

        `replaced` keeps the model's own text.
        """
        said = self.replaced if self.corrected else self.text
        return replace(self, text=text, replaced=said, corrected=corrected, chosen=not corrected)


@dataclass
class Flag:
    turn: int  # index of a reply, or of the other person's utterance
    kind: str
    note: str = ""


@dataclass
class Thumb:
    """A person's judgement on a reply. A reply of several messages may have several thumbs."""

    turn: int  # index of the reply
    up: bool


@dataclass
class Talk:
    """The utterances of a talk, the two speakers, and the flags and ratings that it got."""

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
    source: str = "interact.py"  # the program, or the study and condition, that recorded the talk
    participant: str | None = None  # the key of the person who talked, if known
    ratings: dict[str, Any] = field(default_factory=dict)  # question -> answer
    twin: str | None = None  # the id of the other person's talk
    thumbs: list[Thumb] = field(default_factory=list)
    # The talk on record that this talk changes or goes on from, as this program last saw it. It is not recorded.
    base: Talk | None = field(default=None, compare=False, repr=False)

    @property
    def texts(self) -> list[str]:
        return [turn.text for turn in self.turns]

    @property
    def speakers(self) -> tuple[str, str]:
        """The first and the second speaker."""
        first, second = SPEAKERS[self.partner]
        return (second, first) if self.turns and self.turns[0].speaker == second else (first, second)

    def facts_of(self, speaker: str) -> list[str]:
        """Return the persona of a speaker."""
        return self.persona if speaker == SPEAKERS[self.partner][1] else self.partner_persona

    def without(self, count: int) -> Talk:
        """Return this talk without its last `count` turns, for the caller to change.

        A flag is evidence. If a removed turn has a flag, the returned talk has a new id, so that the recorded talk
        keeps that turn.
        """
        kept = len(self.turns) - count
        flags = [flag for flag in self.flags if flag.turn < kept]
        thumbs = [thumb for thumb in self.thumbs if thumb.turn < kept]
        changed = {"id": self.id if len(flags) == len(self.flags) else new_id()}
        return replace(self, turns=self.turns[:kept], flags=flags, thumbs=thumbs, **changed)

    def set_base(self, is_stored: bool) -> None:
        """Note that the present state is on record, or that nothing of it is."""
        as_it_is = replace(self, turns=list(self.turns), flags=list(self.flags), base=None)
        self.base = as_it_is if is_stored else None

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

    def filled_from(self, other: Talk) -> Talk:
        """Return this imported talk with what it lacks and another copy of it has.

        That is the program, the participant, the times, the ratings, and the thumbs on replies without thumbs.
        """
        timed = other if self.started == UNKNOWN_DAY else self
        turns = [replace(turn, time=same.time) for turn, same in zip(self.turns, timed.turns, strict=True)]
        judged = {thumb.turn for thumb in self.thumbs}
        return replace(
            self,
            model=other.model if self.model == UNKNOWN_PROGRAM else self.model,
            participant=self.participant or other.participant,
            started=timed.started,
            turns=turns,
            ratings=other.ratings | self.ratings,
            thumbs=self.thumbs + [thumb for thumb in other.thumbs if thumb.turn not in judged],
        )

    def line(self) -> str:
        """Return the talk as one line of JSON."""
        return json.dumps(self.content()) + "\n"

    def content(self) -> dict[str, Any]:
        """Return what the line of JSON holds."""
        content = asdict(replace(self, base=None))
        del content["base"]
        return content


def is_blind(talk: Talk) -> bool:
    """Return whether this is a study talk that its participant has neither rated nor abandoned.

    Until then the participant must not learn who the partner is.
    """
    return talk.source.startswith(STUDY) and not has_answers(talk) and talk.ratings.get("ended") != "left"


def has_answers(talk: Talk) -> bool:
    """Return whether a participant has answered the questions of a study about this talk."""
    return not talk.ratings.keys() <= NO_ANSWERS


def is_imported(talk: Talk) -> bool:
    """Return whether another program than ours recorded the talk, with a program that is not here."""
    return talk.source.split(":")[0] == IMPORTED


def branches_of(talks: Iterable[Talk]) -> dict[tuple[str, ...], list[Talk]]:
    """The talks of each origin, in order."""
    branches: dict[tuple[str, ...], list[Talk]] = {}
    for talk in talks:
        branches.setdefault(talk.origin, []).append(talk)
    return branches


def talks_by_study(talks: Iterable[Talk]) -> dict[str, list[Talk]]:
    """Return the talks of each study."""
    studies: dict[str, list[Talk]] = {}
    for talk in talks:
        if talk.source.startswith(STUDY):
            studies.setdefault(talk.source.removeprefix(STUDY).rpartition(":")[0], []).append(talk)
    return studies


def public_model(talk: Talk) -> str:
    """Return the model's name without a path of this machine: a hub name, or a folder's last name and the checksum.

    The name of a program behind an API, api://HOST/MODEL, has no path.
    """
    if "://" in talk.model or not talk.model or (HUB_NAME.fullmatch(talk.model) and not Path(talk.model).is_dir()):
        return talk.model
    name = Path(talk.model).name
    return f"{name}-{talk.model_checksum[:12]}" if talk.model_checksum else name


def program_of(talk: Talk) -> str:
    """Return what made the replies: the model's checksum, and how its replies were drawn, as a line of JSON.

    It is the same for all talks of two people. A program without a checksum has its name in place of it.
    """
    sampling = {name: value for name, value in talk.sampling.items() if name != "seed"}
    return json.dumps([talk.model_checksum or talk.model, sampling], sort_keys=True)


def check_study(talk: Talk) -> None:
    """Raise ValueError where a talk of a study has a source or an answer that no study gives.

    Such a talk comes from a damaged file, or from somebody who wants a report to be written elsewhere.
    """
    if not talk.source.startswith(STUDY):
        return
    if not STUDY_SOURCE.fullmatch(talk.source):
        raise ValueError(f"source {talk.source!r} is not study:STUDY:CONDITION")
    for question, answer in talk.ratings.items():
        if question in SCALES:
            is_right = is_scale(answer)
        elif question == "persona":
            is_right = isinstance(answer, dict) and {answer.get("chosen"), answer.get("true")} <= {0, 1}
        elif question in ANSWERS:
            is_right = answer in ANSWERS[question]
        else:  # a study's own question
            words = answer.get("words") if isinstance(answer, dict) else answer
            is_right = is_scale(answer) or isinstance(words, str)
        if not is_right:
            raise ValueError(f"unknown answer to {question}")


def is_scale(answer: object) -> bool:
    """Return whether this is an answer on a scale from 1 to 5."""
    return type(answer) is int and 1 <= answer <= 5


# By annotation, the types that JSON gives a field of a talk, a turn or a flag.
TYPES = {"str": (str,), "str | None": (str, type(None)), "int": (int,), "bool": (bool,), "dict[str, Any]": (dict,)}
TYPES |= dict.fromkeys(("list[str]", "list[Turn]", "list[Flag]", "list[Thumb]"), (list,))


def parse_talk(line: bytes) -> Talk:
    """Return the talk of a line of JSON. Raises ValueError, KeyError, TypeError or RecursionError if it holds none."""
    raw = json.loads(line)
    if not isinstance(raw, dict) or "base" in raw:
        raise ValueError("not an object of a talk")
    if raw.get("partner") == "person" and "twin" not in raw:
        raw["twin"] = twin_before_stored(raw["id"])
    turns, flags = [Turn(**turn) for turn in raw.pop("turns")], [Flag(**flag) for flag in raw.pop("flags")]
    thumbs = [Thumb(**thumb) for thumb in raw.pop("thumbs", [])]
    talk = Talk(**raw, turns=turns, flags=flags, thumbs=thumbs)
    for part in (talk, *turns, *flags, *thumbs):
        for member in fields(part):
            if member.name != "base" and type(getattr(part, member.name)) not in TYPES[member.type]:
                raise ValueError(f"{member.name} is not of the type {member.type}")
    json.dumps(talk.content(), ensure_ascii=False).encode()  # raises for half a surrogate pair
    if not all(isinstance(fact, str) and fact.strip() for fact in [*talk.persona, *talk.partner_persona]):
        raise ValueError("an empty fact, or a fact that is no text")
    if talk.partner not in SPEAKERS:
        raise ValueError(f"unknown partner {talk.partner!r}")
    for number, turn in enumerate(turns):
        if turn.speaker != talk.speakers[number % 2] or not turn.text.strip():
            raise ValueError(f"turn {number} is empty or another speaker's")
    for flag in flags:
        if flag.kind not in FLAGS or not 0 <= flag.turn < len(turns):
            raise ValueError(f"unknown flag {flag}")
    if not all(0 <= thumb.turn < len(turns) and turns[thumb.turn].speaker == "model" for thumb in thumbs):
        raise ValueError("a thumb on what is no reply")
    check_study(talk)
    return talk
