"""How a training text is written, and bringing what people type into that style.

A model that has only seen "what is your name ?" answers "What is your name?" as if it were another language. So
preprocessing measures the style, training keeps it beside the model as style.json, and a Persona writes that way. Only
what at least DECIDED of a text's writing agrees on is followed, and only where it is written without capitals, as
data sets for research are. Text of another style, or of a script without capitals, is left alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from personagpt.errors import UserError
from personagpt.files import read_json
from personagpt.text.convai2 import CheckedText, Dialogue

STYLE = "style.json"  # in a model's folder
DECIDED = 0.95  # the share of a text's writing that makes it the style
MARKS = re.compile(r"(?<=[^\s.,!?;:])( *)([.,!?;:]+)(?=\s|$)")  # at the end of a word
END = re.compile(r"[.!?]\s*$")


@dataclass(frozen=True)
class Writing:
    """How facts, or utterances, are written: shares, None where nothing tells."""

    lower: float | None  # of those with letters that have a case, those without capitals
    spaced: float | None  # of the punctuation marks that end a text, those after a space
    ended: float | None  # of the texts, those that end in a mark
    spaced_inside: float | None = None  # of the other marks at the end of a word: facts often have `tea , and cake.`

    @property
    def is_lower(self) -> bool:
        """Whether it is decided that there are no capitals."""
        return (self.lower or 0) >= DECIDED

    @property
    def gaps(self) -> tuple[str | None, str | None]:
        """What stands before a mark inside a text and before its last one: a space or nothing, None if not decided."""
        return _gap(self.spaced_inside, self.spaced), _gap(self.spaced, self.spaced_inside)

    def bring(self, text: str) -> str:
        """`text` in this style; unchanged where it is not decided, or has capitals."""
        if not self.is_lower:
            return text
        text = " ".join(text.lower().split())
        inside, at_end = self.gaps

        def respaced(found: re.Match[str]) -> str:
            gap = at_end if found.end() == len(text) else inside
            return found[0] if gap is None else gap + gap.join(found[2])

        text = MARKS.sub(respaced, text)
        if (self.ended or 0) >= DECIDED and text and not END.search(text):
            text += f"{at_end or ''}."
        return text


def _gap(*shares: float | None) -> str | None:
    """What stands before a mark, by the first of the `shares` that tells; None where it is not decided."""
    share = next((share for share in shares if share is not None), 0.5)
    return " " if share >= DECIDED else "" if share <= 1 - DECIDED else None


@dataclass(frozen=True)
class Style:
    """How a text is written, and how much of it stands before a reply."""

    facts: Writing
    utterances: Writing
    facts_a_persona: int  # the most
    utterances_a_dialogue: int  # nineteen in twenty dialogues have at least as many

    @property
    def max_history(self) -> int:
        """How many utterances a model of this text is shown: after more of them some dialogues were about to end.

        Shown a longer talk, it says goodbye, and is answered with goodbye, for ever (bench/RESULTS.md).
        """
        return max(3, self.utterances_a_dialogue - 3)

    def plain(self) -> dict[str, Any]:
        """What style.json holds."""
        return asdict(self)


class StyleMeter:
    """The dialogues of a text, measured as they pass."""

    def __init__(self, text: CheckedText, max_turns: int) -> None:
        self.text, self.max_turns = text, max_turns
        self._counts = {"facts": Counter[str](), "utterances": Counter[str]()}
        self._most_facts = 0
        self._lengths = Counter[int]()  # utterances -> dialogues

    def __len__(self) -> int:
        return len(self.text)

    def __iter__(self) -> Iterator[tuple[Dialogue, tuple[int, ...]]]:
        for dialogue, sides in self.text:
            for persona in dialogue.personas:
                self._most_facts = max(self._most_facts, len(persona))
                self._count("facts", persona)
            utterances = dialogue.utterances[: self.max_turns]
            self._lengths[len(utterances)] += 1
            self._count("utterances", utterances)
            yield dialogue, sides

    @property
    def style(self) -> Style:
        """That of the dialogues that have passed."""
        facts, utterances = (_writing(self._counts[kind]) for kind in ("facts", "utterances"))
        lengths = sorted(self._lengths.elements())
        return Style(facts, utterances, self._most_facts, lengths[len(lengths) // 20])

    def _count(self, kind: str, texts: list[str]) -> None:
        counts = self._counts[kind]
        for text in texts:
            lower = text.lower()
            counts["cased"] += lower != text.upper()
            counts["capitals"] += text != lower
            for mark in MARKS.finditer(text):
                where = "end" if mark.end() == len(text) else "inside"
                counts[where] += 1
                counts[f"spaced {where}"] += bool(mark[1])
            counts["ended"] += END.search(text) is not None
        counts["texts"] += len(texts)


def _writing(counts: Counter[str]) -> Writing:
    def share(part: int, whole: str) -> float | None:
        return round(part / counts[whole], 4) if counts[whole] else None

    return Writing(
        lower=share(counts["cased"] - counts["capitals"], "cased"),
        spaced=share(counts["spaced end"], "end"),
        ended=share(counts["ended"], "texts"),
        spaced_inside=share(counts["spaced inside"], "inside"),
    )


def read_style(folder: Path | None) -> Style | None:
    """The style beside a model; None where none is kept. Raises UserError where the file holds none."""
    path = folder / STYLE if folder else None
    if path is None or not path.is_file():
        return None
    try:
        return parse_style(read_json(path))
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path}: not a style: mend it, or delete it to leave typed text alone") from None


def parse_style(raw: Any) -> Style:
    """style.json's object -> the style. Raises KeyError, TypeError or ValueError."""
    facts, utterances = (Writing(**raw[kind]) for kind in ("facts", "utterances"))
    for value in [*asdict(facts).values(), *asdict(utterances).values()]:
        if value is not None and not (isinstance(value, (int, float)) and 0 <= value <= 1):
            raise ValueError(f"{value!r} is no share")
    most = [raw["facts_a_persona"], raw["utterances_a_dialogue"]]
    if not all(type(number) is int and number >= 0 for number in most):
        raise ValueError(f"{most} are no numbers of facts and utterances")
    return Style(facts, utterances, *most)
