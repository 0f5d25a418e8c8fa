"""The ConvAI2 text format: text files <-> dialogues.

    1 your persona: i have two dogs.
    2 partner's persona: i am a wrestler.
    3 hi ! how are you ?<TAB>great . just walking my dogs .<TAB><TAB>candidate|candidate|great . just walking my dogs .

The lines of a dialogue are numbered from 1. Persona lines come first, then exchanges: the partner's utterance, a tab,
your utterance. The partner talks first, unless the first utterance is `__SILENCE__`. All published variants parse:
both / self / other / none personas, original / revised, with or without candidates.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from personagpt.errors import shorten
from personagpt.text.dialogues import NO_CANDIDATES, Corpus, Dialogue
from personagpt.text.lines import Mistakes, TextError, no_tab, read_lines
from personagpt.text.mirrors import find_mirrors

SILENCE = "__SILENCE__"
YOUR_PERSONA, PARTNER_PERSONA = "your persona: ", "partner's persona: "
PARTNER, YOU = 0, 1  # in the order of an exchange


def read_corpus(path: Path) -> Corpus:
    """Parse the file at `path`. Raises TextError with the file's first mistakes."""
    try:
        with open(path, "rb") as file:
            return _parse(file, str(path))
    except (IsADirectoryError, PermissionError) as error:
        raise TextError(f"{path}: cannot read this file: {error.strerror}") from None


def parse_corpus(data: bytes, name: str) -> Corpus:
    """Parse a file's bytes. `name` stands in messages. Raises TextError with the first mistakes."""
    return _parse(io.BytesIO(data), name)


def _parse(file: BinaryIO, name: str) -> Corpus:
    mistakes, checksum = Mistakes(name), hashlib.sha256()
    dialogues: list[Dialogue] = []
    left_out: list[int] = []
    given: set[int] = set()  # YOU and PARTNER, where the file has facts of theirs
    for draft in _read_drafts(read_lines(file, checksum, mistakes), mistakes):
        given |= {who for who in (YOU, PARTNER) if draft.facts[who]}
        if all(text.strip() for text in draft.utterances):
            dialogues.append(draft.dialogue())
        else:
            left_out.append(draft.line)
    if not dialogues:
        raise TextError(f"{name}: no dialogue is left: each of the {len(left_out)} has an empty utterance")
    # A file that gives one speaker's facts serves that speaker's side. A file without facts serves both sides.
    trained = given or {YOU, PARTNER}
    # Where one side is trained, the responses of the other side come from the mirrors.
    mirrors = find_mirrors(dialogues) if len(trained) == 2 else set()
    dialogues = [dialogue for dialogue in dialogues if dialogue.line not in mirrors]
    # The partner is speaker 0, unless `__SILENCE__` stands first.
    sides = {first: tuple(sorted(who ^ first for who in trained)) for first in (False, True)}
    made = [sides[dialogue.silence_first] for dialogue in dialogues]
    return Corpus(dialogues, made, left_out, mirrors, checksum.hexdigest())


def write_corpus(dialogues: Iterable[Dialogue]) -> str:
    """Return the text of `dialogues` with both personas. "You" are the last to speak, because lines hold pairs.

    Raises ValueError on text that the format cannot hold: no utterance, an empty fact or utterance, a tab or a line
    end, an utterance `__SILENCE__`, or a first utterance that reads like a persona line.
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
    """Return whether the format can hold these utterances. It reads some texts as something else."""
    is_silence = any(text.strip() == SILENCE for text in utterances)
    return bool(utterances) and not is_silence and not utterances[0].startswith((YOUR_PERSONA, PARTNER_PERSONA))


@dataclass(slots=True)
class _Draft:
    """A dialogue while its lines are read."""

    line: int
    facts: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))  # PARTNER's, YOU's
    utterances: list[str] = field(default_factory=list)  # PARTNER's, YOU's, PARTNER's, ...
    candidates: dict[int, list[str]] = field(default_factory=dict)
    next_number: int | None = 2  # None after a mistake: any number
    is_broken: bool = False  # a line has a mistake

    def dialogue(self) -> Dialogue:
        skipped = int(self.utterances[0].strip() == SILENCE)
        candidates = {index - skipped: texts for index, texts in self.candidates.items()}
        facts = self.facts[::-1] if skipped else self.facts
        return Dialogue(facts, self.utterances[skipped:], self.line, candidates or NO_CANDIDATES)


def _read_drafts(lines: Iterable[tuple[int, str]], mistakes: Mistakes) -> Iterator[_Draft]:
    """Yield the whole dialogues of a file's lines. Raises TextError with the file's first mistakes."""
    draft: _Draft | None = None
    for line_number, line in lines:
        number_text, _, rest = line.partition(" ")
        try:
            if not re.fullmatch("[0-9]{1,9}", number_text):
                expected = "`N your persona: FACT` or `N PARTNER<TAB>YOU`"
                raise ValueError(f"no line number; expected {expected}, got {shorten(line)}")
            number = int(number_text)
            if number == 1 or draft is None:
                if draft and _is_whole(draft, mistakes):
                    yield draft
                draft = _Draft(line_number)
                if number != 1:
                    raise ValueError(f"the file starts with number {number}; expected 1, which starts a dialogue")
            elif draft.next_number not in (None, number):
                raise ValueError(
                    f"number {number} is out of order; expected {draft.next_number}, or 1 to start a dialogue"
                )
            draft.next_number = number + 1
            _add_line(draft, rest)
        except ValueError as error:
            mistakes.note(line_number, str(error))
            draft = draft or _Draft(line_number)
            draft.is_broken, draft.next_number = True, None
    if draft is None:
        raise TextError(
            f"{mistakes.name}: the file is empty; expected dialogues in the ConvAI2 format (see data/README.md)"
        )
    if _is_whole(draft, mistakes):
        yield draft
    mistakes.raise_noted()


def _is_whole(draft: _Draft, mistakes: Mistakes) -> bool:
    if not draft.utterances and not draft.is_broken:
        mistakes.note(draft.line, "this dialogue has no exchange; expected `N PARTNER<TAB>YOU` lines")
    return bool(draft.utterances) and not draft.is_broken


def _add_line(draft: _Draft, rest: str) -> None:
    """Add a line, given without its number. Raises ValueError with the mistake in it."""
    for who, prefix in ((YOU, YOUR_PERSONA), (PARTNER, PARTNER_PERSONA)):
        if (rest + " ").startswith(prefix) and not ("\t" in rest and draft.utterances):
            _add_fact(draft, who, rest[len(prefix) :])
            return
    _add_exchange(draft, rest)


def _add_fact(draft: _Draft, who: int, fact: str) -> None:
    if draft.utterances:
        raise ValueError("a persona line after the talk began; expected all persona lines before it")
    if "\t" in fact:
        raise ValueError("a tab in a persona line; expected one fact a line, without tabs")
    if not fact.strip():
        raise ValueError("an empty fact; expected text after `persona:`")
    draft.facts[who].append(fact)


def _add_exchange(draft: _Draft, rest: str) -> None:
    columns = rest.split("\t")
    if len(columns) == 1:
        raise ValueError(no_tab(rest))
    if len(columns) > 4 or (len(columns) > 2 and columns[2].strip()):
        raise ValueError("too many tabs; expected `N PARTNER<TAB>YOU` or `N PARTNER<TAB>YOU<TAB><TAB>CANDIDATES`")
    partner, you = columns[:2]
    if SILENCE in (you.strip(), draft.utterances and partner.strip()):
        raise ValueError(f"{SILENCE} stands for the partner's first utterance; expected it nowhere else")
    draft.utterances += partner, you
    if len(columns) == 4 and columns[3].strip() and you.strip():
        draft.candidates[len(draft.utterances) - 1] = _candidates(columns[3], you)


def _candidates(text: str, truth: str) -> list[str]:
    """Return the candidates, the true response last. Only the true response may hold a `|`."""
    if text.strip() == truth.strip():
        return [truth]
    if not text.rstrip().endswith("|" + truth.strip()):
        raise ValueError(f"the last candidate is not the utterance; expected {shorten(truth)}, the true one, last")
    return [*text.rstrip().removesuffix("|" + truth.strip()).split("|"), truth]
