"""Subtitles and transcripts of meetings, SRT and WebVTT, in which each piece of text says who speaks.

    1                                            WEBVTT
    00:00:01,000 --> 00:00:04,000
    Ann: Can you hear me?                        00:01.000 --> 00:04.000
                                                 <v Ann>Can you hear me?</v>
    2
    00:00:05,000 --> 00:00:07,000                00:05.000 --> 00:07.000
    Ben: Yes, go on.                             <v Ben>Yes, go on.</v>

A file is one talk. A few pieces may lack the name: they go on with the speaker above. A film's subtitles name nobody,
and no program can tell who speaks in them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from personagpt.errors import UserError
from personagpt.importing.sources import Source
from personagpt.importing.speaker_lines import is_direction, split_name
from personagpt.importing.talks import ImportedTalk, ImportedTurn

CLOCK = r"(?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3}"
TIMING = re.compile(rf"{CLOCK}\s*-->\s*{CLOCK}")
VOICE = re.compile(r"<v(?:\.[^\s<>]*)?\s+(?P<name>[^<>]+)>(?P<text>.*)")
TAG = re.compile(r"</?[a-z][^<>]*>|\{\\[^{}]*\}", re.IGNORECASE)  # <i>, {\an8}
MOST_NAMELESS = 0.1  # of the pieces


def recognises(source: Source) -> bool:
    timed = sum(TIMING.match(line) is not None for line in source.first_lines)
    return source.kind == "text" and timed > 0 and 5 * timed >= len(source.first_lines)


def read(source: Source, left_out: Counter[str]) -> Iterator[ImportedTalk]:
    turns: list[ImportedTurn] = []
    pieces = nameless = 0
    for lines in _pieces(source):
        spoken = [line for line in lines if not is_direction(line)]
        left_out["stage directions"] += len(lines) - len(spoken)
        names = 0
        for line in spoken:
            voice = VOICE.match(line)
            named = (voice["name"], voice["text"]) if voice else split_name(TAG.sub("", line).lstrip("- "))
            names += named is not None
            if named:
                turns.append(ImportedTurn(named[0].strip(), TAG.sub("", named[1])))
            elif turns:
                turns[-1].text += f"\n{TAG.sub('', line)}"
        pieces += bool(spoken)
        nameless += bool(spoken) and not names
    if not pieces or nameless > MOST_NAMELESS * pieces:
        raise UserError(
            f"{source.name}: subtitles that do not say who speaks ({nameless:,} of {pieces:,} pieces name nobody): "
            "write `NAME: ` in front of what each one says"
        )
    yield ImportedTalk("the chat", [turn for turn in turns if turn.text.strip()])


def _pieces(source: Source) -> Iterator[list[str]]:
    """Yield the lines of text under each timing. What stands under no timing is a number or a comment."""
    piece: list[str] | None = None
    for _, line in source.lines():
        text = line.strip()
        if not text or TIMING.match(text):
            yield from [piece] if piece else []
            piece = [] if text else None
        elif piece is not None:
            piece.append(text)
    yield from [piece] if piece else []
