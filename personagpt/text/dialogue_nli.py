"""The ranking sets of Dialogue NLI (Welleck et al. 2019): does a model choose a reply that contradicts the persona?

The files are valid_attributes.jsonl, valid_havenot.jsonl and valid_likedislike.jsonl. A line is a JSON object:

    {"persona": [facts], "prefix": [utterances so far],
     "candidates": {"label": [the true response], "neg": [10 that contradict the persona],
                    "similar": [10 like the true response], "rand": [10 of other dialogues]}, ...}

The speakers take turns in `prefix`, and the persona is that of the speaker who is next.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from personagpt.files import read_text
from personagpt.text.convai2 import SILENCE
from personagpt.text.dialogues import Corpus, Dialogue
from personagpt.text.lines import TextError

KINDS = ("neg", "similar", "rand")  # the order of a record's candidates; the true response comes last
OF_EACH_KIND = 10  # a record may hold more; published figures are of the first ten
EXPECTED = (
    "expected a record of Dialogue NLI's ranking sets: a JSON object with persona, prefix and candidates "
    "(label, and 10 each of neg, similar and rand)"
)


def read_rankings(path: Path) -> Corpus:
    """Return a dialogue for each record, whose last utterance has candidates: ten of each of KINDS, the true one last.

    Raises TextError with the first line that is no such record, and UserError where the file cannot be read.
    """
    dialogues, sides = [], []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            dialogue, speaker = _dialogue(json.loads(line), number)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise TextError(f"{path}:{number}: {EXPECTED}") from None
        dialogues.append(dialogue)
        sides.append((speaker,))
    if not dialogues:
        raise TextError(f"{path}: the file is empty; {EXPECTED}, one a line")
    return Corpus(dialogues, sides, [])


def _dialogue(record: dict[str, Any], number: int) -> tuple[Dialogue, int]:
    """Return a record's dialogue, and the speaker of its last utterance. Raises an error where it is no such record."""
    # The facts of these files end in " .", those of ConvAI2 in ".".
    facts = [re.sub(r" (?=[.!?]$)", "", fact) for fact in _texts(record["persona"])]
    said = _texts(record["prefix"])
    said = said[1:] if said and said[0].strip() == SILENCE else said
    (true,) = _texts(record["candidates"]["label"])
    others = [text for kind in KINDS for text in _texts(record["candidates"][kind])[:OF_EACH_KIND]]
    if len(others) != len(KINDS) * OF_EACH_KIND:
        raise ValueError
    speaker = len(said) % 2
    personas = ([], facts) if speaker else (facts, [])
    return Dialogue(personas, [*said, true], number, {len(said): [*others, true]}), speaker


def _texts(texts: Any) -> list[str]:
    """Return a list of texts as it is. Raises TypeError where it is none."""
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise TypeError
    return texts
