"""The sides of talks: the utterances of one speaker, a person or a program, from recorded talks and ConvAI2 text."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

from personagpt.errors import UserError
from personagpt.records.talks import Talk, parse_talk
from personagpt.text.convai2 import Corpus, read_corpus

FEWEST = 20  # sides of each kind, programs and people
ENOUGH = 0.75  # the share of the sides of each kind that have the number of utterances that is looked at


@dataclass(frozen=True)
class TalkSide:
    """One speaker's side of a talk; the speaker's own utterances are those with i % 2 == `speaker`."""

    talk: str  # the talk's id; the same for twins
    speaker: int  # 0 talks first
    is_program: bool
    persona: tuple[str, ...]  # empty if it is not known
    utterances: tuple[str, ...]  # of both speakers
    seconds: tuple[float, ...] = ()  # of each utterance, since the talk began; empty if they are not known

    @property
    def own(self) -> tuple[str, ...]:
        return self.utterances[self.speaker :: 2]

    @property
    def persona_or_talk(self) -> object:
        """The key that only one part of a cross-validation may have."""
        return frozenset(self.persona) or self.talk


def sides_of_talks(talks: list[Talk]) -> list[TalkSide]:
    """Return both sides of each recorded talk. Of twins, each gives its own participant's side.

    A program's side is left out if a person corrected one of its replies.
    """
    sides = []
    for talk in talks:
        times = [datetime.datetime.fromisoformat(turn.time).timestamp() for turn in talk.turns]
        is_timed = all("T" in turn.time for turn in talk.turns)  # published talks have days only
        seconds = tuple(time - times[0] for time in times) if is_timed else ()
        name_of_talk = min(talk.id, talk.twin or talk.id)
        for speaker, name in enumerate(talk.speakers):
            is_in_twin = talk.partner == "person" and name == "partner"
            own = talk.turns[speaker::2]
            if own and not is_in_twin and not any(turn.corrected for turn in own):
                persona = tuple(talk.facts_of(name))
                sides.append(TalkSide(name_of_talk, speaker, name != "human", persona, tuple(talk.texts), seconds))
    return sides


def sides_of_people(corpus: Corpus, name: str) -> list[TalkSide]:
    """Return both sides of each dialogue of a text that people wrote; `name` is the text's name."""
    return [
        TalkSide(f"{name}:{dialogue.line}", speaker, False, tuple(persona), tuple(dialogue.utterances))
        for dialogue in corpus.dialogues
        for speaker, persona in enumerate(dialogue.personas)
        if dialogue.utterances[speaker:]
    ]


def read_exported(path: Path) -> list[Talk]:
    """Return the talks of a file that `interact.py --export` wrote, one talk a line. Raises UserError."""
    talks = []
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                talks.append(parse_talk(line))
                for turn in talks[-1].turns:
                    datetime.datetime.fromisoformat(turn.time)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise UserError(f"{path}:{number}: no talk as interact.py --export writes it ({error})") from None
    return talks


def read_file(path: Path) -> list[TalkSide]:
    """Return the sides of a file of exported talks, or of a text in the ConvAI2 format. Raises UserError."""
    with open(path, "rb") as file:
        is_json = file.read(1) == b"{"
    return sides_of_talks(read_exported(path)) if is_json else sides_of_people(read_corpus(path), path.name)


def utterances_seen(sides: list[TalkSide]) -> int:
    """Return the number of own utterances to look at: ENOUGH of the sides of each kind have so many.

    The number is the same for all sides, because otherwise a side's length would tell its kind. Raises UserError if
    there are too few sides.
    """
    lengths = {program: [len(side.own) for side in sides if side.is_program == program] for program in (False, True)}
    for program, counts in lengths.items():
        if len(counts) < FEWEST:
            kind, how = ("programs", "interact.py --self-play --talks 200") if program else ("people", "--people FILE")
            raise UserError(f"{len(counts)} sides of {kind}: at least {FEWEST} are needed; add some with {how}")
    return min(sorted(counts)[int((1 - ENOUGH) * len(counts))] for counts in lengths.values())
