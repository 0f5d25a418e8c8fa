"""The texts that a study's participants agreed to, kept beside the recordings: consent.STUDY.WORDING.txt."""

from __future__ import annotations

import hashlib
from pathlib import Path

from personagpt.files import write_atomically


def wording(text: str) -> str:
    """Return a short checksum that identifies a consent text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def keep_consent(folder: Path, study: str, text: str) -> None:
    """Write the text that a participant of a study agreed to into `folder`, each wording once."""
    path = folder / f"consent.{study}.{wording(text)}.txt"
    if not path.exists():
        write_atomically(path, text)


def kept_consents(folder: Path, study: str) -> list[str]:
    """Return every text that participants of the study agreed to."""
    return [path.read_text("utf-8", errors="replace") for path in sorted(folder.glob(f"consent.{study}.*.txt"))]
