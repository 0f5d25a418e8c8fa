"""Who said what in a talk: each speaker's side, a person's or a program's, from recorded talks and ConvAI2 text."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

from personagpt.errors import UserError
from personagpt.records.talks import Talk, parse_talk
from personagpt.text.convai2 import Corpus, read_corpus

FEWEST = 20  # sides of each class
ENOUGH = 0.75  # of the sides of each class have the utterances that are looked at


@dataclass(frozen=True)
class Side:
    """One speaker's side of a talk; utterance i of the talk is its own where i % 2 is `speaker`."""

    talk: str  # the talk's id; the same for both talks of two people
    speaker: int  # 0 talks first
    is_program: bool
    persona: tuple[str, ...]  # none where it is not known
    utterances: tuple[str, ...]  # the whole talk's
    seconds: tuple[float, ...] = ()  # since the talk began, of each of them; none where nobody knows

    @property
    def own(self) -> tuple[str, ...]:
        return self.utterances[self.speaker :: 2]

    @property
    def persona_or_talk(self) -> object:
        """What no two parts of a cross-validation may share."""
        return frozenset(self.persona) or self.talk


def sides_of_talks(talks: list[Talk]) -> list[Side]:
    """Both sides of each recorded talk, a person's once: from their own talk.

    A program's side in which a person corrected a reply is left out.
    """
    sides = []
    for talk in talks:
        times = [datetime.datetime.fromisoformat(turn.time).timestamp() for turn in talk.turns]
        is_timed = all("T" in turn.time for turn in talk.turns)  # published talks have days only
        seconds = tuple(time - times[0] for time in times) if is_timed else ()
        dialogue = min(talk.id, talk.twin or talk.id)
        for speaker, name in enumerate(talk.speakers):
            of_other = talk.partner == "person" and name == "partner"
            own = talk.turns[speaker::2]
            if own and not of_other and not any(turn.corrected for turn in own):
                persona = tuple(talk.facts_of(name))
                sides.append(Side(dialogue, speaker, name != "human", persona, tuple(talk.texts), seconds))
    return sides


def sides_of_people(corpus: Corpus, name: str) -> list[Side]:
    """Both sides of each dialogue, which people wrote; `name` is the text's."""
    return [
        Side(f"{name}:{dialogue.line}", speaker, False, tuple(dialogue.personas[speaker]), tuple(dialogue.utterances))
        for dialogue in corpus.dialogues
        for speaker in (0, 1)
        if dialogue.utterances[speaker:]
    ]


def read_exported(path: Path) -> list[Talk]:
    """The talks of a file as `interact.py --export` writes it, one a line. Raises UserError."""
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


def read_file(path: Path) -> list[Side]:
    """The sides of a file of recorded talks, or of a text in the ConvAI2 format. Raises UserError."""
    with open(path, "rb") as file:
        is_json = file.read(1) == b"{"
    return sides_of_talks(read_exported(path)) if is_json else sides_of_people(read_corpus(path), path.name)


def utterances_seen(sides: list[Side]) -> int:
    """How many own utterances are looked at: as many as ENOUGH of the sides of each class have.

    Of all sides the same number, or their length would give them away. Raises UserError where there are too few sides.
    """
    counts = {program: [len(side.own) for side in sides if side.is_program == program] for program in (False, True)}
    for program, listed in counts.items():
        if len(listed) < FEWEST:
            who, how = ("programs", "interact.py --self-play --talks 200") if program else ("people", "--people FILE")
            raise UserError(f"{len(listed)} sides of {who}: at least {FEWEST} are needed; add some with {how}")
    return min(sorted(listed)[int((1 - ENOUGH) * len(listed))] for listed in counts.values())
