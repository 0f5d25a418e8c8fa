"""Read the lines of a text file, and collect the mistakes in them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import BinaryIO

from personagpt.errors import UserError, shorten
from personagpt.files import NOT_UTF8

LONGEST_LINE = 1_000_000  # bytes: a real line has some hundreds, with 20 candidates some thousands
MOST_MISTAKES = 10  # named at once


class TextError(UserError):
    """Text that is not in the ConvAI2 format. The message has a line `FILE:LINE: mistake, correction` a mistake."""


class Mistakes:
    """Collects the mistakes in the file `name`, so that one TextError names all of them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.noted: list[str] = []

    def note(self, line: int, mistake: str) -> None:
        """Note a mistake in the line of this number. Raises TextError when there are MOST_MISTAKES."""
        self.noted.append(f"{self.name}:{line}: {mistake}")
        if len(self.noted) == MOST_MISTAKES:
            self.noted.append(f"these are its first {MOST_MISTAKES} mistakes; there may be more")
            self.raise_noted()

    def raise_noted(self) -> None:
        """Raise TextError if a mistake was noted."""
        if self.noted:
            raise TextError("\n".join(self.noted))


def read_lines(file: BinaryIO, checksum: hashlib._Hash, mistakes: Mistakes) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line that is not blank. `checksum` is updated with every byte.

    Only \\n ends a line, because an utterance may hold other characters at which str.splitlines would split. A blank
    line may stand between dialogues and at the end of the file. Raises TextError at once where reading on is no use:
    at a byte that is not UTF-8 or a line that is too long.
    """
    number, blank = 0, 0  # blank: the number of the first of the blank lines just read
    while data := file.readline(LONGEST_LINE + 2):
        number += 1
        checksum.update(data)
        text = _decode(data, number, mistakes)
        if not text or text.isspace():
            blank = blank or number
            continue
        if blank and not text.startswith("1 "):
            mistakes.note(blank, "a blank line inside a dialogue; remove it")
        blank = 0
        yield number, text


def _decode(data: bytes, number: int, mistakes: Mistakes) -> str:
    """Return a line's text without its end and without a byte-order mark at the start of the file."""
    line = data.rstrip(b"\r\n")  # \r\r\n, too: some programs add a \r each time they save a file
    mistake = None
    if b"\r" in line:
        mistake = "a carriage return inside the line; save the file with \\n or \\r\\n at the end of each line"
    elif len(line) > LONGEST_LINE:
        mistake = f"a line of more than {LONGEST_LINE:,} bytes; is this the text file?"
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        # A line that is too long was cut, perhaps inside a character.
        mistake = mistake or NOT_UTF8.format(error.object[error.start])
    if mistake:
        mistakes.note(number, mistake)
        mistakes.raise_noted()
    return text


def no_tab(rest: str) -> str:
    """Return the mistake of a line, given without its number, that is no persona line and has no tab."""
    # People write `Your Persona:`, a curly apostrophe or "my", and forget the colon or the space.
    if re.match(r"\s*(your|my|(your )?partner.{0,2}s?)\s*persona\b", rest, re.IGNORECASE):
        return (
            "not a persona line; expected `your persona: FACT` or `partner's persona: FACT` (lower case, a straight "
            f"apostrophe, a colon and a space), got {shorten(rest)}"
        )
    if match := re.search(r"<tab>|\\t", rest, re.IGNORECASE):
        return f"no tab, but the characters {match[0]}; write the tab character itself between the two utterances"
    return f"no tab; expected `N PARTNER<TAB>YOU`, a tab between the two utterances, got {shorten(rest)}"
