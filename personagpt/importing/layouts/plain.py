"""Talks as text: `NAME: what they say` (or `NAME> what they say`) lines, a blank line between talks.

    Anna's persona: i have two dogs .
    Anna: hi ! how are you ?
    Ben: great , and you ?

    [10:11] Ben: hello ?
    ANNA (laughs):
    hi .

Persona lines come before their talk. A name may stand alone on its line, with the text below. Times around a name are
dropped. A line in brackets is a stage direction and left out. Where lines start or end with a language model's marker
(`<|endoftext|>`, `</s>`), the markers and not the blank lines separate the talks.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import groupby, islice

from personagpt.errors import shorten
from personagpt.importing.sources import SAMPLED, Source
from personagpt.importing.speaker_lines import COLONS, is_direction, same_name, split_fact, split_name
from personagpt.importing.talks import ImportedTalk, ImportedTurn, Record, RecordError, parse_each

MARKER = re.compile(
    r"<\|(?:end|start|begin)_?of_?(?:text|talk|dialog|dialogue|conversation|turn)\|>|<\|?/?(?:s|bos|eos)\|?>|\[[BE]OS\]",
    re.IGNORECASE,
)


RULE = re.compile(r"\s*(?:[*=_~#-]{3,}|\*( \*)+)\s*")


def recognises(source: Source) -> bool:
    lines = [line for line in source.first_lines if not is_direction(line)]
    spoken = [line for line in lines if split_fact(line) or split_name(MARKER.sub("", line))]
    return source.kind == "text" and len(spoken) * 3 >= len(lines) > 0 and bool(spoken)


def read(source: Source, left_out: Counter[str]) -> Iterator[ImportedTalk | RecordError]:
    names = _names_with_colons(source)
    return parse_each(_spoken(_blocks(source), left_out), lambda record: _talk(record, names, left_out))


def _spoken(blocks: Iterator[Record], left_out: Counter[str]) -> Iterator[Record]:
    """Yield the blocks that are more than stage directions and headings, which stand between talks, too."""
    for block in blocks:
        if all(map(is_direction, block.content)):
            left_out["stage directions"] += len(block.content)
        else:
            yield block


def _names_with_colons(source: Source) -> list[str]:
    """Return the names that have a colon in them, in lower case, such as `R2:D2` and `Unit 7: Alpha`.

    Persona lines tell such a name, or all lines (at least two) with the same first word have the same second word.
    """
    declared, following = set(), defaultdict(set)
    repeated: set[str] = set()
    for _, line in source.lines():
        if fact := split_fact(line):
            declared |= {fact[0].casefold()} if re.search(f"[{COLONS}]", fact[0]) else set()
        elif outer := split_name(line):
            inner = split_name(outer[1]) if re.search(f"[{COLONS}]", outer[1]) else None
            is_close = inner and (inner[0][0].isupper() or not re.search(f"[{COLONS}]\\s", line[: -len(outer[1])]))
            second = re.match(rf"\s*(.*?[{COLONS}]\s*{re.escape(inner[0])})\s*[{COLONS}]", line) if is_close else None
            repeated |= {outer[0]} if outer[0] in following else set()
            following[outer[0]].add(second[1].casefold() if second else "")
    alike = {name for first in repeated for name in following[first] if len(following[first]) == 1 and name}
    return sorted(declared | alike, key=len, reverse=True)


def _blocks(source: Source) -> Iterator[Record]:
    """Yield the lines of each talk. A blank line between persona lines and their talk does not end it.

    Where a blank line stands after every utterance, only two blank lines or a rule (`---`) end a talk.
    """
    has_markers = any(_unmarked(line)[1] for line in source.first_lines)
    is_loose = not has_markers and _is_loose(source)
    block: Record | None = None
    blanks = 0
    for number, line in source.lines():
        text, starts, ends = line, False, not line.strip()
        blanks = blanks + 1 if ends else 0
        if is_loose:
            ends = blanks > 1 or RULE.fullmatch(line) is not None
            text = "" if ends else line
        elif has_markers:
            text, is_marked = _unmarked(line)
            starts = is_marked and bool(MARKER.match(line.strip())) and bool(text)
            ends = is_marked and not starts
        elif ends and block:
            ends = not all(split_fact(said) for said in block.content)
        if block and (starts or (ends and not text.strip())):
            yield block
            block = None
        if text.strip():
            block = block or Record(f"line {number}", [])
            block.content.append(text)
        if block and ends and text.strip():
            yield block
            block = None
    if block:
        yield block


def _is_loose(source: Source) -> bool:
    """Return whether one utterance stands between nearly all of the first blank lines, so that they end no talk."""
    lines = [line for _, line in islice(source.lines(), 4 * SAMPLED)]
    blocks = [list(block) for is_said, block in groupby(lines, key=lambda line: bool(line.strip())) if is_said]
    counts = [sum(not split_fact(line) and split_name(line) is not None for line in block) for block in blocks]
    spoken = [count for count in counts if count]
    return len(spoken) > 2 and spoken.count(1) >= 0.9 * len(spoken)


def _unmarked(line: str) -> tuple[str, bool]:
    """Return `line` without a marker at its start and end, and whether it has such a marker."""
    text = line.strip()
    if first := MARKER.match(text):
        text = text[first.end() :].strip()
    if (last := [*MARKER.finditer(text)][-1:]) and last[0].end() == len(text):
        text = text[: last[0].start()].strip()
    return text, text != line.strip()


def _talk(record: Record, names_with_colons: list[str], left_out: Counter[str]) -> ImportedTalk:
    turns: list[ImportedTurn] = []
    facts: dict[str, list[str]] = {}
    is_name_alone = False  # the last name stands alone: the lines below it are what that speaker says
    for line in record.content:
        if fact := split_fact(line):
            if turns:
                raise RecordError(f"{shorten(line)} stands in the talk; expected all persona lines before it")
            facts.setdefault(fact[0], []).append(fact[1])
        elif spoken := _split_known(line, names_with_colons) or split_name(line):
            turns.append(ImportedTurn(*spoken))
            is_name_alone = not spoken[1]
        elif is_direction(line):
            left_out["stage directions"] += 1
        elif is_name_alone:
            turns[-1].text += f"\n{line}"
        else:
            raise RecordError(f"expected `NAME: what they say`, got {shorten(line)}")
    names = list(dict.fromkeys(turn.speaker for turn in turns))
    owners = {name: same_name(name, names) for name in facts}
    if silent := [name for name, owner in owners.items() if owner is None]:
        raise RecordError(f"a persona of {shorten(silent[0])}, who says nothing")
    return ImportedTalk(record.place, turns, {owners[name]: lines for name, lines in facts.items()})


def _split_known(line: str, names: list[str]) -> tuple[str, str] | None:
    """Return the speaker and the text of a line that starts with one of `names`, which have colons in them."""
    for name in names:
        rest = line.strip()[len(name) :].lstrip()
        if line.strip().casefold().startswith(name) and rest[:1] in tuple(COLONS):
            return line.strip()[: len(name)], rest[1:].strip()
    return None
