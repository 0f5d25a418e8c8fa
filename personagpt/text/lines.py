"""A text file's lines, one at a time, and the mistakes found in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from personagpt.errors import UserError

LONGEST_LINE = 1_000_000  # bytes: a real line has some hundreds, with 20 candidates some thousands
MOST_MISTAKES = 10  # shown at once


class TextError(UserError):
    """Text that is not in the ConvAI2 format: a line `FILE:LINE: what is wrong, what was expected` for each mistake."""


class Mistakes:
    """What is wrong in the file `name`: noted as it is found, and raised together as TextError."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.found: list[str] = []

    def note(self, line: int, what: str) -> None:
        self.found.append(f"{self.name}:{line}: {what}")
        if len(self.found) == MOST_MISTAKES:
            self.found.append(f"these are its first {MOST_MISTAKES} mistakes; there may be more")
            self.raise_found()

    def raise_found(self) -> None:
        if self.found:
            raise TextError("\n".join(self.found))


class Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


def read_lines(file: BinaryIO, total: Hash, mistakes: Mistakes) -> Iterator[tuple[int, str]]:
    """Each line's number and text, without its end; `total` takes every byte. Blank lines at the end do not count.

    Only \\n ends a line: an utterance may hold other characters that str.splitlines would split at. Raises TextError
    at once where nothing after can be read: a byte that is not UTF-8, a line without end.
    """
    number, blank = 0, 0  # blank: the first of the blank lines just passed
    while data := file.readline(LONGEST_LINE + 2):
        number += 1
        total.update(data)
        text = _decoded(data, number, mistakes)
        if not text or text.isspace():
            blank = blank or number
            continue
        if blank:
            mistakes.note(blank, "a blank line; remove it: the number 1 is what starts a dialogue")
            blank = 0
        yield number, text


def _decoded(data: bytes, number: int, mistakes: Mistakes) -> str:
    line = data.rstrip(b"\r\n")  # \r\r\n, too: a file saved twice by a program that adds \r
    wrong = None
    if b"\r" in line:
        wrong = "a carriage return inside the line; save the file with \\n or \\r\\n at the end of each line"
    elif len(line) > LONGEST_LINE:
        wrong = f"a line of more than {LONGEST_LINE:,} bytes; is this the text file?"
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        # A line that is cut short may end amid a character.
        wrong = wrong or f"byte 0x{line[error.start]:02x} is not UTF-8; save the file as UTF-8"
    if wrong:
        mistakes.note(number, wrong)
        mistakes.raise_found()
    return text


def no_number(line: str) -> str:
    return f"no line number; expected `N your persona: FACT` or `N PARTNER<TAB>YOU`, got {short(line)}"


def no_tab(rest: str) -> str:
    """What is wrong with a line, after its number, that is no persona line and has no tab."""
    # What people write: `Your Persona:`, no colon, no space, a curly apostrophe, "my".
    if re.match(r"\s*(your|my|(your )?partner.{0,2}s?)\s*persona\b", rest, re.IGNORECASE):
        return (
            "not a persona line; expected `your persona: FACT` or `partner's persona: FACT` (lower case, a straight "
            f"apostrophe, a colon and a space), got {short(rest)}"
        )
    if found := re.search(r"<tab>|\\t", rest, re.IGNORECASE):
        return f"no tab, but the characters {found.group()}; write the tab character itself between the two utterances"
    return f"no tab; expected `N PARTNER<TAB>YOU`, a tab between the two utterances, got {short(rest)}"


def short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
