"""A line of a written talk -> the speaker's name and the text: `Ann: hi`, `[10:11] Ann> hi`, `ANN (laughs): hi`.

A time, a number and the start of a link are no names, so that `12/11/23, 21:55 - Ann: hi` is Ann's.
The times of chat programs, in any country's form, are in stamps.py.
"""

from __future__ import annotations

import re
import unicodedata

COLONS = ":\uff1a"
LONGEST_NAME = 40
DATE = r"\d{1,4}[./-]\s?\d{1,2}[./-]\s?\d{1,4}\.?"
CLOCK = r"\d{1,2}[:.h]\d{2}(?:[:.]\d{2})?(?:[.,]\d{1,3})?(?:\s?[ap]\.?\s?m\b\.?)?+Z?"
TIME_OF_LINE = rf"(?:{DATE}(?:,|T|\s|at)*)?{CLOCK}"
# A time or a date before the name, in brackets or with a dash after it; or the number of the line, `1.`, `1)` or `#1`.
LEADING_STAMP = re.compile(
    rf"""\s*(?:[\[(<]\s*(?:{TIME_OF_LINE}|{DATE})\s*[\])>]
    |(?:{TIME_OF_LINE}|{DATE}|\d{{1,2}}\s?[ap]m|\d{{1,6}}[.)]|\#\d{{1,6}})(?=[\s|-]))
    \s*(?:[-\u2013\u2014|]\s*)?""",
    re.VERBOSE | re.IGNORECASE,
)
BULLET = re.compile(r"^\s*[-*\u2022\u2013\u2014]\s+")
BRACKETED = re.compile(rf"^\s*\[([^\[\]{COLONS}]{{1,{LONGEST_NAME}}})\](?=\s*[{COLONS}])")  # [SPEAKER_00]: hi
SPOKEN = re.compile(
    rf"""\s*(?P<name>[^{COLONS}()\[\]<>{{}}]{{1,{LONGEST_NAME}}}?)
    (?:\s*(?:\([^()]*\)|\[[^\[\]]*\]))?            # ANN (laughs): or Ann [10:11]:
    (?:[\s,-]+(?:{TIME_OF_LINE}|{DATE}))?          # Ann 10:11:
    \s*(?:(?<!\d)[{COLONS}]|[{COLONS}](?!\d\d\b))  # `at 10:30` has no colon after a name
    (?!//)(?P<text>.*)""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
# Ann> hi, or <Ann> hi. A name before an arrow, `a -> b`, and HTML are none.
ANGLED = re.compile(
    rf"\s*<?(?P<name>[^{COLONS}()\[\]<>{{}}|/&]{{1,{LONGEST_NAME}}})(?<![\s=-])>\s+(?P<text>[^<]+)", re.DOTALL
)
LINK_SCHEMES = {"http", "https", "ftp", "file", "mailto", "tel"}
FACT = re.compile(rf"\s*(.{{1,{LONGEST_NAME}}}?)['\u2019`]s?\s+persona\s*[{COLONS}](.*)", re.IGNORECASE)
DIRECTION = re.compile(r"\[.*\]|\(.*\)|\*[^*]+\*|[*=_~#-]{3,}|[*\s]+|#{1,6}\s.*|(INT|EXT)\b[^:]*")
BOLD = re.compile(
    rf"^\s*(?:\*\*|__)([^*_]{{1,{LONGEST_NAME}}}?[{COLONS}]?)(?:\*\*|__)(?=\s|[{COLONS}])"
)  # Markdown: **Ann:** hi
INVISIBLE_MARKS = re.compile("[\u200e\u200f\ufeff]")  # WhatsApp puts them in front of dates and names


def split_name(line: str) -> tuple[str, str] | None:
    """Return who speaks in `line`, and the text; None where no name stands before a colon."""
    line = BOLD.sub(r"\1", BULLET.sub("", INVISIBLE_MARKS.sub("", line).strip()))
    if stamp := LEADING_STAMP.match(line):
        line = line[stamp.end() :]
    line = BRACKETED.sub(r"\1", line)
    spoken = SPOKEN.match(line) or ANGLED.fullmatch(line)
    if not spoken or not is_name(spoken["name"]):
        return None
    return spoken["name"].strip(), spoken["text"].strip()


def is_name(text: str) -> bool:
    """Return whether `text` may be a speaker's name: no number, time or link, and with a letter or a picture in it."""
    text = text.strip()
    if text.lower() in LINK_SCHEMES or re.fullmatch(r"[\d\W_]*\d(\s?[ap]\.?m\.?|h|th|st|nd|rd)?", text, re.IGNORECASE):
        return False
    return any(letter.isalpha() or unicodedata.category(letter) == "So" for letter in text)


def split_fact(line: str) -> tuple[str, str] | None:
    """Return whose persona line (`Ann's persona: FACT`, `James' persona: FACT`) `line` is, and the fact; else None."""
    if "persona" not in line.lower():  # nearly every line
        return None
    fact = FACT.match(INVISIBLE_MARKS.sub("", line))
    return (fact[1].strip(), fact[2].strip()) if fact else None


def is_direction(line: str) -> bool:
    """Return whether `line` is a stage direction, `[They leave.]`, a rule, `* * *`, or a heading, `INT. SHIP`."""
    return DIRECTION.fullmatch(line.strip()) is not None


def same_name(name: str, names: list[str]) -> str | None:
    """Return which of `names` is `name`, in upper or lower case; None where none or several are."""
    if name in names:
        return name
    equal = [other for other in names if other.casefold() == name.casefold()]
    return equal[0] if len(equal) == 1 else None
