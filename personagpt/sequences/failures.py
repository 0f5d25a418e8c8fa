"""Failures: the places in recorded talks where people said that a reply was worse than another, or bad.

`interact.py --export` writes them, as preferences.jsonl and feedback.jsonl (preferences.py).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from personagpt.errors import UserError
from personagpt.sequences.preferences import Preference, held_back_personas, read_preferences


@dataclass(frozen=True)
class Failures:
    """The failures of an export, each once."""

    folder: Path
    items: list[Preference]
    places: list[str]  # of each item: its file and line
    personas: list[int]  # of each item: the number of its persona
    held_back: set[int]  # the personas that training holds back
    sha256: str  # of the files


def read_failures(folder: Path, names: tuple[str, ...]) -> Failures:
    """Return the failures in the files `names` of `folder`, of which some may be empty or missing.

    A failure that stands in two files is there once, because people join the files to train. Raises UserError, which
    names file and line.
    """
    paths = [folder / name for name in names if (folder / name).is_file() and (folder / name).stat().st_size]
    if not paths:
        raise UserError(
            f"{folder}: no failure here: no {' and no '.join(names)} with a line in it; interact.py --export FOLDER "
            "writes them from talks with a flag, a correction or a chosen draw"
        )
    places: dict[tuple[object, ...], tuple[str, Preference]] = {}
    for path in paths:
        for item in read_preferences(path):
            key = (*item.facts, None, *item.utterances, None, item.goal, item.chosen, item.rejected)
            places.setdefault(key, (f"{path}:{item.line}", item))
    items = [item for _, item in places.values()]
    numbers: dict[tuple[str, ...], int] = {}
    personas = [numbers.setdefault(tuple(item.facts), len(numbers)) for item in items]
    held_back = {numbers[persona] for persona in held_back_personas(items)}
    checksum = hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()
    return Failures(folder, items, [place for place, _ in places.values()], personas, held_back, checksum)
