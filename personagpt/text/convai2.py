"""The ConvAI2 text format: text files <-> dialogues.

    1 your persona: i have two dogs.
    2 partner's persona: i am a wrestler.
    3 hi ! how are you ?<TAB>great . just walking my dogs .<TAB><TAB>candidate|candidate|great . just walking my dogs .

Numbered lines; number 1 starts a dialogue; persona lines come first, then exchanges (the partner's utterance, a tab,
your utterance). The partner talks first, unless the first utterance is `__SILENCE__`. All published variants parse:
both / self / other / none personas, original / revised, with or without candidates.
"""

from __future__ import annotations

import functools
import hashlib
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from personagpt.text.lines import Mistakes, TextError, no_number, no_tab, read_lines, short
from personagpt.text.mirrors import MirrorFinder

SILENCE = "__SILENCE__"
YOUR_PERSONA, PARTNER_PERSONA = "your persona: ", "partner's persona: "


@dataclass
class Dialogue:
    """Two speakers: 0 talks first, 1 answers; utterance i is speaker i % 2's."""

    personas: tuple[list[str], list[str]]  # each speaker's facts
    utterances: list[str]
    line: int = 1  # where the dialogue starts in its file
    utterance_lines: list[int] = field(default_factory=list)
    candidates: dict[int, list[str]] = field(default_factory=dict)  # utterance's index -> what it might have been


@dataclass
class Corpus:
    """A parsed file. `sides` are the speakers (0, 1) of each dialogue whose sequences are made."""

    dialogues: list[Dialogue]
    sides: list[tuple[int, ...]]
    left_out: list[int]  # first lines of the dialogues left out for an empty utterance
    mirrors: set[int] = field(default_factory=set)  # first lines of those left out because they mirror another one
    sha256: str = field(default="", compare=False)  # of the file's bytes

    def __len__(self) -> int:
        return len(self.dialogues)

    def __iter__(self) -> Iterator[tuple[Dialogue, tuple[int, ...]]]:
        return zip(self.dialogues, self.sides, strict=True)


def read_corpus(path: Path) -> Corpus:
    """Parse the file at `path`. Raises TextError."""
    return CheckedText(path).corpus()


def parse_corpus(data: bytes, name: str) -> Corpus:
    """Parse a file's bytes; `name` stands in the messages. Raises TextError."""
    return CheckedText(name, lambda: io.BytesIO(data)).corpus()


class CheckedText:
    """A text file that was read through once and found sound; to iterate over it reads it again.

    Memory holds one dialogue at a time, and some bytes for each. Raises TextError with the file's first mistakes; while
    iterating, where the file is no longer what it was.
    """

    def __init__(self, path: Path | str, open_file: Callable[[], BinaryIO] | None = None) -> None:
        """`path` stands in the messages; `open_file` opens another file in its place."""
        self.name = str(path)
        self._open = open_file or (functools.partial(open, path, "rb"))
        self.left_out: list[int] = []
        self.personas: set[int] = set()  # a number for each
        found, given, self.count = MirrorFinder(), set(), 0
        for unfinished in self._read_dialogues():
            given |= {who for who, facts in unfinished.personas.items() if facts}
            if unfinished.has_empty_utterance:
                self.left_out.append(unfinished.line)
                continue
            self.count += 1
            self.personas |= {hash(tuple(facts)) for facts in unfinished.personas.values() if facts}
            dialogue = unfinished.finish()
            found.add(dialogue.line, dialogue.personas, dialogue.utterances, unfinished.you_first)
        # A file that gives one speaker's persona only serves that speaker's side; one that gives none serves both.
        self._made = [who for who in ("you", "partner") if who in given or not given]
        if not self.count:
            raise TextError(
                f"{self.name}: no dialogue is left: each of the {len(self.left_out)} has an empty utterance"
            )
        # A dialogue of which one side only is made leaves the responses of the other side to its mirror.
        self.mirrors = found.found if len(self._made) == 2 else set()
        self.sha256 = self._total.hexdigest()

    def __len__(self) -> int:
        return self.count - len(self.mirrors)

    def __iter__(self) -> Iterator[tuple[Dialogue, tuple[int, ...]]]:
        """Each dialogue, and the speakers whose sequences are made."""
        for unfinished in self._read_dialogues():
            if not unfinished.has_empty_utterance and unfinished.line not in self.mirrors:
                yield unfinished.finish(), tuple(sorted(unfinished.speaker(who) for who in self._made))
        if self._total.hexdigest() != self.sha256:
            raise TextError(f"{self.name}: the file changed while it was read; run the same command again")

    def corpus(self) -> Corpus:
        """The whole of it, in memory."""
        pairs = list(self)
        dialogues, sides = [dialogue for dialogue, _ in pairs], [made for _, made in pairs]
        return Corpus(dialogues, sides, self.left_out, self.mirrors, self.sha256)

    def _read_dialogues(self) -> Iterator[_UnfinishedDialogue]:
        self._total, mistakes = hashlib.sha256(), Mistakes(self.name)
        try:
            with self._open() as file:
                yield from _read_dialogues(read_lines(file, self._total, mistakes), mistakes)
        except (IsADirectoryError, PermissionError) as error:
            raise TextError(f"{self.name}: cannot read this file: {error.strerror}") from None


def write_corpus(dialogues: Iterable[Dialogue]) -> str:
    """The text of `dialogues` with both personas. "You" are the last to speak, as the format demands.

    Raises ValueError on text the format cannot carry: no utterance, an empty fact or utterance, one with a tab or a
    line end in it, an utterance `__SILENCE__`, or a first one that reads like a persona line.
    """
    lines: list[str] = []
    for dialogue in dialogues:
        utterances = list(dialogue.utterances)
        if not is_writable(utterances):
            raise ValueError(f"cannot be written in the ConvAI2 format: a talk that starts with {utterances[:1]!r}")
        you = (len(utterances) - 1) % 2
        if you == 0:
            utterances.insert(0, SILENCE)
        facts = [YOUR_PERSONA + fact for fact in dialogue.personas[you]]
        facts += [PARTNER_PERSONA + fact for fact in dialogue.personas[1 - you]]
        for text in [*dialogue.personas[0], *dialogue.personas[1], *utterances]:
            if not text.strip() or re.search(r"[\t\n\r]", text):
                raise ValueError(f"cannot be written in the ConvAI2 format: {text!r}")
        exchanges = [f"{a}\t{b}" for a, b in zip(utterances[::2], utterances[1::2], strict=True)]
        lines += [f"{number} {text}" for number, text in enumerate(facts + exchanges, start=1)]
    return "".join(line + "\n" for line in lines)


def is_writable(utterances: list[str]) -> bool:
    """Whether the format can carry these utterances: some of them would read as something else."""
    is_silence = any(text.strip() == SILENCE for text in utterances)
    return bool(utterances) and not is_silence and not utterances[0].startswith((YOUR_PERSONA, PARTNER_PERSONA))


class _UnfinishedDialogue:
    """A dialogue while its lines are read."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.next_number: int | None = 2  # None after a mistake: any
        self.is_broken = False  # a line of it is missing
        self.personas: dict[str, list[str]] = {"you": [], "partner": []}
        self.utterances: list[str] = []  # partner, you, partner, you, ...
        self.lines: list[int] = []
        self.candidates: dict[int, list[str]] = {}

    def speaker(self, who: str) -> int:
        """0 if `who` ("you" or "partner") talks first, else 1."""
        return int((who == "you") != self.you_first)

    @property
    def you_first(self) -> bool:
        return self.utterances[0].strip() == SILENCE

    @property
    def has_empty_utterance(self) -> bool:
        return not all(text.strip() for text in self.utterances)

    def finish(self) -> Dialogue:
        skip = 1 if self.you_first else 0
        personas = [self.personas["partner"], self.personas["you"]]
        return Dialogue(
            personas=(personas[skip], personas[1 - skip]),
            utterances=self.utterances[skip:],
            line=self.line,
            utterance_lines=self.lines[skip:],
            candidates={index - skip: texts for index, texts in self.candidates.items()},
        )


def _read_dialogues(lines: Iterable[tuple[int, str]], mistakes: Mistakes) -> Iterator[_UnfinishedDialogue]:
    """The dialogues of a file's lines. Raises TextError with its first mistakes."""
    unfinished: _UnfinishedDialogue | None = None
    for line_number, line in lines:
        number_text, _, rest = line.partition(" ")
        try:
            if not re.fullmatch("[0-9]{1,9}", number_text):
                raise ValueError(no_number(line))
            number = int(number_text)
            if number == 1 or unfinished is None:
                if unfinished and _is_whole(unfinished, mistakes):
                    yield unfinished
                unfinished = _UnfinishedDialogue(line_number)
                if number != 1:
                    raise ValueError(f"the file starts with number {number}; expected 1, which starts a dialogue")
            elif unfinished.next_number not in (None, number):
                raise ValueError(
                    f"number {number} is out of order; expected {unfinished.next_number}, or 1 to start a dialogue"
                )
            unfinished.next_number = number + 1
            _add_line(unfinished, rest, line_number)
        except ValueError as error:
            mistakes.note(line_number, str(error))
            unfinished = unfinished or _UnfinishedDialogue(line_number)
            unfinished.is_broken, unfinished.next_number = True, None
    if unfinished is None:
        raise TextError(
            f"{mistakes.name}: the file is empty; expected dialogues in the ConvAI2 format (see data/README.md)"
        )
    if _is_whole(unfinished, mistakes):
        yield unfinished
    mistakes.raise_found()


def _is_whole(unfinished: _UnfinishedDialogue, mistakes: Mistakes) -> bool:
    if not unfinished.utterances and not unfinished.is_broken:
        mistakes.note(unfinished.line, "this dialogue has no exchange; expected `N PARTNER<TAB>YOU` lines")
    return bool(unfinished.utterances) and not unfinished.is_broken


def _add_line(unfinished: _UnfinishedDialogue, rest: str, line_number: int) -> None:
    """Add a line without its number. Raises ValueError with what is wrong in it."""
    for who, prefix in (("you", YOUR_PERSONA), ("partner", PARTNER_PERSONA)):
        if (rest + " ").startswith(prefix) and not ("\t" in rest and unfinished.utterances):
            _add_fact(unfinished, who, rest[len(prefix) :])
            return
    _add_exchange(unfinished, rest, line_number)


def _add_fact(unfinished: _UnfinishedDialogue, who: str, fact: str) -> None:
    if unfinished.utterances:
        raise ValueError("a persona line after the talk began; expected all persona lines before it")
    if "\t" in fact:
        raise ValueError("a tab in a persona line; expected one fact a line, without tabs")
    if not fact.strip():
        raise ValueError("an empty fact; expected text after `persona:`")
    unfinished.personas[who].append(fact)


def _add_exchange(unfinished: _UnfinishedDialogue, rest: str, line_number: int) -> None:
    fields = rest.split("\t")
    if len(fields) == 1:
        raise ValueError(no_tab(rest))
    if len(fields) > 4 or (len(fields) > 2 and fields[2].strip()):
        raise ValueError("too many tabs; expected `N PARTNER<TAB>YOU` or `N PARTNER<TAB>YOU<TAB><TAB>CANDIDATES`")
    utterances = fields[:2]
    if SILENCE in (utterances[1].strip(), unfinished.utterances and utterances[0].strip()):
        raise ValueError(f"{SILENCE} stands for the partner's first utterance; expected it nowhere else")
    unfinished.utterances += utterances
    unfinished.lines += [line_number, line_number]
    if len(fields) == 4 and fields[3].strip() and utterances[1].strip():
        unfinished.candidates[len(unfinished.utterances) - 1] = _candidates(fields[3], utterances[1])


def _candidates(text: str, truth: str) -> list[str]:
    """The candidates, the true one last; it alone may have a `|` in it."""
    if text.strip() == truth.strip():
        return [truth]
    if not text.rstrip().endswith("|" + truth.strip()):
        raise ValueError(f"the last candidate is not the utterance; expected {short(truth)}, the true one, last")
    return [*text.rstrip().removesuffix("|" + truth.strip()).split("|"), truth]
