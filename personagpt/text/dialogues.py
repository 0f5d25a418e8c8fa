"""A dialogue, and the dialogues of a file. Everything that reads, encodes or writes text works on these two types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

SIDES = ("first", "second", "both")  # whose responses are meant: those of speaker 0, of speaker 1, of both
NO_CANDIDATES: Mapping[int, list[str]] = MappingProxyType({})  # shared, because a million dialogues may have none


@dataclass(slots=True)
class Dialogue:
    """What two speakers say. Speaker 0 talks first, speaker 1 answers, and utterance i is speaker i % 2's."""

    personas: tuple[list[str], list[str]]  # each speaker's facts
    utterances: list[str]
    line: int = 1  # the dialogue's first line in its file
    # What a response might have been, by the index of its utterance; the true response comes last.
    candidates: Mapping[int, list[str]] = field(default_factory=lambda: NO_CANDIDATES)

    @property
    def silence_first(self) -> bool:
        """Whether `__SILENCE__` stands first in the file. Its lines hold two utterances each, so one is missing."""
        return len(self.utterances) % 2 == 1

    def line_of(self, index: int) -> int:
        """Return the line of utterance `index` in the file: the facts stand before it, a line each."""
        return self.line + sum(map(len, self.personas)) + (index + self.silence_first) // 2


@dataclass(slots=True)
class Corpus:
    """The dialogues of a file. `sides` are the speakers (0, 1) of each dialogue for whom sequences are made."""

    dialogues: list[Dialogue]
    sides: list[tuple[int, ...]]
    left_out: list[int]  # first lines of the dialogues that are left out because an utterance is empty
    mirrors: set[int] = field(default_factory=set)  # first lines of those that are left out as mirrors of others
    sha256: str = field(default="", compare=False)  # of the file's bytes

    def has_response_of(self, speaker: int) -> bool:
        """Return whether `speaker` says anything in a dialogue in which that side counts."""
        return any(speaker in sides and len(dialogue.utterances) > speaker for dialogue, sides in self)

    def __len__(self) -> int:
        return len(self.dialogues)

    def __iter__(self) -> Iterator[tuple[Dialogue, tuple[int, ...]]]:
        return zip(self.dialogues, self.sides, strict=True)
