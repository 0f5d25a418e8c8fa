"""Scripts in which a name stands alone on its line, in capitals or again and again, with the speech below.

    INT. WORKSHOP - NIGHT

    VEX
    (not looking up)
    Get up, kid: we are leaving.

    PIM (V.O.)
    What, now?

A blank line ends a speech. Scene headings, rules (`* * *`) and more blank lines than usual separate the talks. What
stands under no name, and lines in brackets, are stage directions and left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from personagpt.importing.sources import Source
from personagpt.importing.speaker_lines import COLONS, LONGEST_NAME, is_direction, is_name
from personagpt.importing.talks import ImportedTalk, ImportedTurn, RecordError

HEADING = re.compile(r"(INT|EXT|SCENE|ACT|CUT TO|FADE (IN|OUT)|CHAPTER|EPISODE)\b|[*=_~#-]{3,}|\*( \*)+", re.IGNORECASE)


def recognises(source: Source) -> bool:
    if source.kind != "text":
        return False
    lines = [(0, line) for line in source.first_lines]
    names = _names(lines)
    spoken = sum(_bare(line) in names for _, line in lines)
    return len(names) >= 2 and spoken >= 3 and 4 * spoken >= len(lines)


def read(source: Source, left_out: Counter[str]) -> Iterator[ImportedTalk | RecordError]:
    names = _names(source.lines())
    usual = _usual_blanks(source, names)
    talk, speech, blanks = ImportedTalk("", []), None, 0
    for number, line in source.lines():
        text = line.strip()
        if not text:
            blanks, speech = blanks + 1, None
            continue
        if talk.turns and (HEADING.match(text) or blanks > usual):
            yield talk
            talk = ImportedTalk("", [])
        blanks = 0
        if _bare(text) in names and not HEADING.match(text):
            talk.place = talk.place or f"line {number}"
            speech = ImportedTurn(_bare(text), "")
        elif speech is None or is_direction(text) or HEADING.match(text):
            left_out["stage directions"] += 1
        else:
            if not speech.text:
                talk.turns.append(speech)
            speech.text += f"{text}\n"
    if talk.turns:
        yield talk


def _bare(line: str) -> str:
    """Return a name without what stands in brackets behind it, `PIM (V.O.)`."""
    return re.sub(r"\s*\([^()]*\)$", "", line.strip())


def _names(lines: Iterable[tuple[int, str]]) -> set[str]:
    """Return the lines that are names: in capitals or there several times, and with text on the line below."""
    texts = [_bare(line) for _, line in lines]
    counts = Counter(texts)
    names = set()
    for text, below in zip(texts, [*texts[1:], ""], strict=True):
        if not below or len(text) > LONGEST_NAME or not is_name(text) or not text[0].isalpha() or HEADING.match(text):
            continue
        is_repeated = counts[text] > 1 and not text[0].islower()
        if (text.isupper() or is_repeated) and not re.search(rf"[.,!?;\u2026{COLONS}]$|[{COLONS}] ", text):
            names.add(text)
    return names


def _usual_blanks(source: Source, names: set[str]) -> int:
    """Return how many blank lines most names have before them; at least one."""
    counts: Counter[int] = Counter()
    blanks = 0
    for _, line in source.lines():
        if _bare(line) in names:
            counts[blanks] += 1
        blanks = 0 if line.strip() else blanks + 1
    return max(1, counts.most_common(1)[0][0]) if counts else 1
