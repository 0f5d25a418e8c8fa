"""The text that this repository trains on, to mix it with other talks or to write it as chat messages.

    1 your persona: i have two dogs .
    2 partner's persona: i paint .
    3 hi !<TAB>hello !
    4 any pets ?<TAB>two dogs .

Candidates are not kept. A dialogue that mirrors another one and a dialogue with an empty utterance are left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from personagpt.importing.sources import Source
from personagpt.importing.talks import SPEAKERS, ImportedTalk, ImportedTurn, RecordError
from personagpt.text.convai2 import parse_corpus

FIRST_LINE = re.compile(r"1 (your persona:|partner's persona:|.*\t)")


def recognises(source: Source) -> bool:
    return bool(FIRST_LINE.match(source.first_lines[0]))


def read(source: Source, left_out: Counter[str]) -> Iterator[ImportedTalk | RecordError]:
    corpus = parse_corpus(source.text.encode(errors="surrogateescape"), source.name)
    left_out["dialogues repeated from the other side"] += len(corpus.mirrors)
    left_out["dialogues with an empty utterance"] += len(corpus.left_out)
    for dialogue, sides in corpus:
        turns = [ImportedTurn(SPEAKERS[number % 2], text) for number, text in enumerate(dialogue.utterances)]
        replier = SPEAKERS[sides[0]] if len(sides) == 1 else None
        facts = dict(zip(SPEAKERS, dialogue.personas, strict=True))
        yield ImportedTalk(f"line {dialogue.line}", turns, facts, replier)
