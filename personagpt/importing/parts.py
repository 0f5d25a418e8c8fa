"""Dialogues -> a training and a validation part."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from personagpt.errors import UserError
from personagpt.text.convai2 import Dialogue
from personagpt.text.splitting import split_by_persona

FAR_MORE = 1.5  # times the share: a split by persona that takes more than this for validation is not used


@dataclass(frozen=True)
class Split:
    train: list[Dialogue]
    valid: list[Dialogue]
    left_out: list[Dialogue]  # between a persona of one part and a persona of the other part
    warning: str | None = None  # a line on what a split by dialogue means for the figures


def split_dialogues(dialogues: list[Dialogue], share: float) -> Split:
    """Split by persona; by dialogue where whole personas are too many dialogues. Raises UserError for one dialogue."""
    if len(dialogues) < 2:
        raise UserError(
            f"{len(dialogues):,} dialogue(s) cannot be split so that every persona is trained: import them with "
            "--valid 0, and other talks, for validation, with --valid 1"
        )
    wanted = max(1, round(share * len(dialogues)))
    try:
        split = Split(*split_by_persona(dialogues, share))
    except UserError:
        return _split_by_dialogue(dialogues, wanted)
    return split if len(split.valid) <= FAR_MORE * wanted else _split_by_dialogue(dialogues, wanted)


def _split_by_dialogue(dialogues: list[Dialogue], wanted: int) -> Split:
    """Draw `wanted` dialogues for validation; the same dialogues give the same parts."""
    marks = [hashlib.sha256("\n".join(dialogue.utterances).encode()).digest() for dialogue in dialogues]
    drawn = sorted(range(len(dialogues)), key=lambda number: (marks[number], number))
    chosen = set(drawn[: min(wanted, len(dialogues) - 1)])
    return Split(
        train=[dialogue for number, dialogue in enumerate(dialogues) if number not in chosen],
        valid=[dialogue for number, dialogue in enumerate(dialogues) if number in chosen],
        left_out=[],
        warning="personas are in both parts: validation says how well a model plays known personas, not new ones",
    )
