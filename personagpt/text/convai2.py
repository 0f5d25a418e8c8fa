"""The ConvAI2 text format: text files <-> dialogues.

    1 your persona: i have two dogs.
    2 partner's persona: i am a wrestler.
    3 hi ! how are you ?<TAB>great . just walking my dogs .<TAB><TAB>candidate|candidate|great . just walking my dogs .

Numbered lines; number 1 starts a dialogue; persona lines come first, then exchanges (the partner's utterance, a tab,
your utterance). The partner talks first, unless the first utterance is `__SILENCE__`. All published variants parse:
both / self / other / none personas, original / revised, with or without candidates.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from personagpt.errors import UserError

SILENCE = "__SILENCE__"
YOUR_PERSONA, PARTNER_PERSONA = "your persona: ", "partner's persona: "


class TextError(UserError):
    """Text that is not in the ConvAI2 format: `FILE:LINE: what is wrong, what was expected`."""


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


def read_corpus(path: Path) -> Corpus:
    """Parse the file at `path`. Raises TextError."""
    try:
        return parse_corpus(path.read_bytes(), str(path))
    except (IsADirectoryError, PermissionError) as error:
        raise TextError(f"{path}: cannot read this file: {error.strerror}") from None


def parse_corpus(data: bytes, name: str) -> Corpus:
    """Parse a file's bytes; `name` stands in the messages. Raises TextError."""
    lines = _lines(data, name)
    if not lines:
        raise TextError(f"{name}: the file is empty; expected dialogues in the ConvAI2 format (see data/README.md)")
    drafts: list[_Draft] = []
    for number, line in enumerate(lines, start=1):
        _add_line(drafts, line, f"{name}:{number}", number)
    drafts[-1].check_ended(name)
    both = [any(draft.personas[who] for draft in drafts) for who in ("you", "partner")]
    # A file that gives one speaker's persona only serves that speaker's side; one that gives none serves both.
    made = [who for who, given in zip(("you", "partner"), both, strict=True) if given or not any(both)]
    kept = [draft for draft in drafts if not draft.has_empty_utterance]
    if not kept:
        raise TextError(f"{name}: no dialogue is left: each of the {len(drafts)} has an empty utterance")
    return Corpus(
        dialogues=[draft.finish() for draft in kept],
        sides=[tuple(sorted(draft.speaker(who) for who in made)) for draft in kept],
        left_out=[draft.line for draft in drafts if draft.has_empty_utterance],
    )


def write_corpus(dialogues: Iterable[Dialogue]) -> str:
    """The text of `dialogues` with both personas. "You" are the last to speak, as the format demands.

    Raises ValueError on text the format cannot carry: no utterance, an empty fact or utterance, one with a tab or a
    line end in it, or a first utterance `__SILENCE__`.
    """
    lines: list[str] = []
    for dialogue in dialogues:
        utterances = list(dialogue.utterances)
        if not utterances or utterances[0] == SILENCE:
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


class _Draft:
    """A dialogue while its lines are read."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.next_number = 1
        self.personas: dict[str, list[str]] = {"you": [], "partner": []}
        self.utterances: list[str] = []  # partner, you, partner, you, ...
        self.lines: list[int] = []
        self.candidates: dict[int, list[str]] = {}

    def speaker(self, who: str) -> int:
        """0 if `who` ("you" or "partner") talks first, else 1."""
        return int((who == "you") != self.you_first)

    @property
    def you_first(self) -> bool:
        return self.utterances[0] == SILENCE

    @property
    def has_empty_utterance(self) -> bool:
        return not all(text.strip() for text in self.utterances)

    def check_ended(self, name: str) -> None:
        if not self.utterances:
            raise TextError(f"{name}:{self.line}: this dialogue has no exchange; expected `N PARTNER<TAB>YOU` lines")

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


def _lines(data: bytes, name: str) -> list[str]:
    """The file's lines, without line ends; blank lines at its end do not count."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TextError(f"{name}:{line}: byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8") from None
    # Only \n ends a line: an utterance may hold other characters that str.splitlines would split at.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _add_line(drafts: list[_Draft], line: str, where: str, line_number: int) -> None:
    number_text, _, rest = line.partition(" ")
    if not re.fullmatch("[0-9]{1,9}", number_text):
        raise TextError(
            f"{where}: no line number; expected `N your persona: FACT` or `N PARTNER<TAB>YOU`, got {_short(line)}"
        )
    number = int(number_text)
    if number == 1:
        if drafts:
            drafts[-1].check_ended(where.rpartition(":")[0])
        drafts.append(_Draft(line_number))
    if not drafts:
        raise TextError(f"{where}: the file starts with number {number}; expected 1, which starts a dialogue")
    draft = drafts[-1]
    if number != draft.next_number:
        raise TextError(
            f"{where}: number {number} is out of order; expected {draft.next_number}, or 1 to start a dialogue"
        )
    draft.next_number += 1
    for who, prefix in (("you", YOUR_PERSONA), ("partner", PARTNER_PERSONA)):
        if (rest + " ").startswith(prefix) and "\t" not in rest:
            _add_fact(draft, who, rest[len(prefix) :], where)
            return
    _add_exchange(draft, rest, where, line_number)


def _add_fact(draft: _Draft, who: str, fact: str, where: str) -> None:
    if draft.utterances:
        raise TextError(f"{where}: a persona line after the talk began; expected all persona lines before it")
    if not fact.strip():
        raise TextError(f"{where}: an empty fact; expected text after `persona:`")
    draft.personas[who].append(fact)


def _add_exchange(draft: _Draft, rest: str, where: str, line_number: int) -> None:
    fields = rest.split("\t")
    if len(fields) == 1:
        raise TextError(
            f"{where}: no tab; expected `N PARTNER<TAB>YOU`, a tab between the two utterances, got {_short(rest)}"
        )
    if len(fields) > 4 or (len(fields) > 2 and fields[2].strip()):
        raise TextError(
            f"{where}: too many tabs; expected `N PARTNER<TAB>YOU` or `N PARTNER<TAB>YOU<TAB><TAB>CANDIDATES`"
        )
    draft.utterances += fields[:2]
    draft.lines += [line_number, line_number]
    if len(fields) == 4 and fields[3].strip():
        draft.candidates[len(draft.utterances) - 1] = fields[3].split("|")


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
