"""The sides of talks: the utterances of one speaker, a person or a program, from recorded talks and ConvAI2 text."""

from __future__ import annotations

import codecs
import datetime
import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from personagpt.errors import UserError, printable
from personagpt.records.talks import DELETED, Talk, parse_talk, public_model
from personagpt.text.convai2 import Corpus, read_corpus
from personagpt.text.words import split_words

FEWEST = 20  # sides of each kind, programs and people
LONGEST_REASON = 150  # characters of an error that a message repeats
ENOUGH = 0.75  # the share of the sides of each kind that have the number of utterances that is looked at
# Programs that record a person's reading and typing, but of a model only the time that its computer took. A study
# shows a reply even later than that. So these times would tell a model from a person by how they were measured.
TIMED_UNLIKE = ("interact.py", "app.py", "self-play", "study")

LeftOut = Counter[str]  # why sides were left out -> how many


@dataclass(frozen=True)
class TalkSide:
    """One speaker's side of a talk; the speaker's own utterances are those with i % 2 == `speaker`."""

    talk: str  # the talk's id; the same for twins, and for talks that go on from the same start
    speaker: int  # 0 talks first
    is_program: bool
    persona: tuple[str, ...]  # empty if it is not known
    utterances: tuple[str, ...]  # of both speakers
    seconds: tuple[float, ...] = ()  # of each utterance, since the talk began; empty if they cannot be compared
    clock: str = ""  # the source whose times `seconds` are
    participant: str | None = None  # the key of the person who spoke, if known
    program: str = ""  # the name of the program that spoke; empty for a person

    @property
    def own(self) -> tuple[str, ...]:
        """All utterances of this speaker."""
        return self.utterances[self.speaker :: 2]

    @property
    def counted(self) -> tuple[str, ...]:
        """This speaker's utterances that a detector looks at: all but the first.

        The first speaker's first utterance answers nobody, and the second speaker's first answers a greeting. Both
        would tell who speaks first. After that, people who speak first and people who speak second sound alike.
        """
        return self.own[1:]

    @property
    def heard(self) -> tuple[str, ...]:
        """The partner's utterance before each counted utterance."""
        return self.utterances[self.speaker + 1 :: 2][: len(self.counted)]

    @property
    def keys(self) -> dict[str, str]:
        """What a detector must not have learnt from before it judges this side: talk, persona, participant."""
        known = {"persona": "\n".join(sorted(self.persona)), "participant": self.participant, "talk": self.talk}
        return {kind: f"{kind} {value}" for kind, value in known.items() if value}

    @property
    def digests(self) -> set[str]:
        """The keys in a form that tells nobody a persona's or a participant's words."""
        return {hashlib.sha256(key.encode()).hexdigest()[:16] for key in self.keys.values()}


def alike(side: TalkSide) -> TalkSide:
    """Return the side with case, spacing and punctuation of all its texts made alike: words in lower case, spaces."""
    persona, utterances = (
        tuple(" ".join(split_words(text)) for text in texts) for texts in (side.persona, side.utterances)
    )
    return replace(side, persona=persona, utterances=utterances)


def sides_of_talks(talks: list[Talk]) -> tuple[list[TalkSide], LeftOut]:
    """Return both sides of each recorded talk, and why others were left out.

    Of twins, each gives its own participant's side. Talks of the same id count once. A program's side is left out if a
    person corrected one of its replies.
    """
    sides, left_out, starts = [], Counter(), {}
    by_id = {talk.id: talk for talk in talks}
    left_out["of talks that are there twice"] = 2 * (len(talks) - len(by_id))
    for talk in by_id.values():
        name_of_talk = min(talk.id, talk.twin or talk.id)
        if talk.partner == "human" and talk.turns:
            # After a flag, /retry, /undo and /set go on as another talk, in which the start is the same.
            name_of_talk = starts.setdefault((*talk.origin, talk.texts[0]), name_of_talk)
        for speaker, name in enumerate(talk.speakers):
            own = talk.turns[speaker::2]
            if talk.partner == "person" and name == "partner":
                continue  # the twin's
            if any(turn.corrected for turn in own):
                left_out["with a reply that a person corrected"] += 1
            elif DELETED in talk.texts:
                left_out["whose partner deleted the talk"] += 1
            elif own:
                persona, participant = tuple(talk.facts_of(name)), talk.participant if name == "human" else None
                seconds, is_program = _seconds(talk), name != "human"
                side = (name_of_talk, speaker, is_program, persona, tuple(talk.texts), seconds)
                program = public_model(talk) if is_program else ""
                sides.append(TalkSide(*side, talk.source if seconds else "", participant, program))
    return sides, left_out


def _seconds(talk: Talk) -> tuple[float, ...]:
    """Return the time of each utterance since the first; nothing where both speakers' were not measured alike."""
    if talk.source.split(":")[0] in TIMED_UNLIKE or not all("T" in turn.time for turn in talk.turns):
        return ()  # published talks have days only
    times = [datetime.datetime.fromisoformat(turn.time) for turn in talk.turns]
    if len({time.tzinfo is None for time in times}) > 1:
        return ()
    return tuple((time - times[0]).total_seconds() for time in times)


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
                talks.append(parse_talk(line.removeprefix(codecs.BOM_UTF8)))
                _seconds(talks[-1])
                for turn in talks[-1].turns:
                    datetime.datetime.fromisoformat(turn.time)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
                reason = printable(str(error))[:LONGEST_REASON]
                raise UserError(f"{path}:{number}: no talk as interact.py --export writes it ({reason})") from None
    return talks


def is_exported(path: Path) -> bool:
    """Return whether the file holds talks in JSON, and not a text in the ConvAI2 format."""
    with open(path, "rb") as file:
        return file.read(64).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{")


def read_file(path: Path) -> tuple[list[TalkSide], LeftOut]:
    """Return the sides of a file of exported talks, or of a text in the ConvAI2 format. Raises UserError."""
    if is_exported(path):
        return sides_of_talks(read_exported(path))
    return sides_of_people(read_corpus(path), path.name), Counter()


def long_enough(sides: list[TalkSide], left_out: LeftOut, count: int) -> tuple[list[TalkSide], LeftOut]:
    """Return the sides with `count` utterances to look at; add the others to `left_out`."""
    chosen = [side for side in sides if len(side.counted) >= count]
    return chosen, left_out + Counter({f"shorter than {count + 1} utterances": len(sides) - len(chosen)})


def utterances_seen(sides: list[TalkSide]) -> int:
    """Return the number of utterances to look at: ENOUGH of the sides of each kind have so many after their first.

    The number is the same for all sides, because otherwise a side's length would tell its kind. Raises UserError if
    there are too few sides, or if they are too short.
    """
    found = []
    for is_program, kind in ((False, "people"), (True, "programs")):
        counts = sorted(len(side.counted) for side in sides if side.is_program == is_program)
        how = "interact.py --self-play --talks 200" if is_program else "--people FILE"
        if len(counts) < FEWEST:
            raise UserError(f"{len(counts)} sides of {kind}: at least {FEWEST} are needed; add some with {how}")
        found.append(counts[int((1 - ENOUGH) * len(counts))])
        if not found[-1]:
            raise UserError(f"of {kind} too many sides have one utterance only: add longer talks with {how}")
    return min(found)
