"""Measure how a training text is written, and write typed text in the same way.

A model that has only seen "what is your name ?" answers "What is your name?" as if it were another language. So
preprocessing measures the style, training keeps it beside the model as style.json, and a Persona rewrites what people
type. It follows only what at least DECIDED of the text agrees on, and only in a text without capitals, as texts for
research are. A text with capitals, or in a script that has none, leaves typed text alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from personagpt.errors import UserError
from personagpt.files import read_json
from personagpt.text.dialogues import Corpus
from personagpt.text.words import SENTENCE_ENDS

STYLE = "style.json"  # in a model's folder
DECIDED = 0.95  # the share of a text that must agree
MARKS = re.compile(r"(?<=[^\s.,!?;:])( *)([.,!?;:]+)(?=\s|$)")  # at the end of a word
END = re.compile(rf"[{SENTENCE_ENDS}]\s*$")


@dataclass(frozen=True)
class Writing:
    """How facts, or utterances, are written: shares, None where the text has nothing to count."""

    lower: float | None  # of the texts in a script with capitals, those without a capital
    spaced: float | None  # of the punctuation marks at the end of a text, those after a space
    ended: float | None  # of the texts, those that end in a mark
    spaced_inside: float | None = None  # of the other marks at the end of a word: facts often have `tea , and cake.`

    @property
    def is_lower(self) -> bool:
        """Whether the text has no capitals."""
        return (self.lower or 0) >= DECIDED

    @property
    def gaps(self) -> tuple[str | None, str | None]:
        """What stands before a mark inside a text, and before its last mark: a space, nothing, None if undecided."""
        return _gap(self.spaced_inside, self.spaced), _gap(self.spaced, self.spaced_inside)

    def bring(self, text: str) -> str:
        """Return `text` in this style, unchanged where the style has capitals or is undecided."""
        if not self.is_lower:
            return text
        text = " ".join(text.lower().split())
        inside, at_end = self.gaps

        def respaced(mark: re.Match[str]) -> str:
            gap = at_end if mark.end() == len(text) else inside
            return mark[0] if gap is None else gap + gap.join(mark[2])

        text = MARKS.sub(respaced, text)
        # A full stop would be the wrong mark in Chinese, so letters that have no capitals get none.
        has_case = all(letter.lower() != letter.upper() for letter in text if letter.isalpha())
        if (self.ended or 0) >= DECIDED and text and has_case and not END.search(text):
            text += f"{at_end or ''}."
        return text


def _gap(*shares: float | None) -> str | None:
    """Return what stands before a mark by the first of the `shares` that is not None."""
    share = next((share for share in shares if share is not None), 0.5)
    return " " if share >= DECIDED else "" if share <= 1 - DECIDED else None


@dataclass(frozen=True)
class Style:
    """How a text is written, and how much of a talk it shows before a reply."""

    facts: Writing
    utterances: Writing
    facts_a_persona: int  # the most
    utterances_a_dialogue: int  # the 5th percentile
    fewest_facts_a_persona: int = 0  # of the sides that are trained; 0 in a style.json that does not say

    @property
    def max_history(self) -> int:
        """How many utterances a model sees at most: three fewer than the 5th percentile of dialogue length, at least 3.

        After more utterances some dialogues of the text were about to end. A model that sees a longer talk says
        goodbye, is answered with goodbye, and goes on so for ever (bench/RESULTS.md).
        """
        return max(3, self.utterances_a_dialogue - 3)

    def plain(self) -> dict[str, Any]:
        """Return the content of style.json."""
        return asdict(self)


def newest(utterances: list[str], count: int) -> list[str]:
    """Return the last `count` utterances of a talk, or all for 0.

    Where more than a single utterance is left, the first speaker of the talk says the first of them: so up to one less.
    """
    left_out = max(0, len(utterances) - (count or len(utterances)))
    return utterances[left_out + left_out % 2 if left_out + 1 < len(utterances) else left_out :]


def measure_style(corpus: Corpus, max_turns: int) -> Style:
    """Return the style of a corpus, of whose dialogues the first `max_turns` utterances are used."""
    dialogues = corpus.dialogues
    lengths = sorted(min(max_turns, len(dialogue.utterances)) for dialogue in dialogues)
    return Style(
        _measure(fact for dialogue in dialogues for facts in dialogue.personas for fact in facts),
        _measure(text for dialogue in dialogues for text in dialogue.utterances[:max_turns]),
        max(len(facts) for dialogue in dialogues for facts in dialogue.personas),
        lengths[len(lengths) // 20],
        min((len(dialogue.personas[speaker]) for dialogue, sides in corpus for speaker in sides), default=0),
    )


def _measure(texts: Iterable[str]) -> Writing:
    counts = Counter[str]()
    for text in texts:
        lower = text.lower()
        counts["texts"] += 1
        counts["cased"] += lower != text.upper()
        counts["capitals"] += text != lower
        for mark in MARKS.finditer(text):
            place = "end" if mark.end() == len(text) else "inside"
            counts[place] += 1
            counts[f"spaced {place}"] += bool(mark[1])
        counts["ended"] += END.search(text) is not None

    def share(part: int, whole: str) -> float | None:
        return round(part / counts[whole], 4) if counts[whole] else None

    return Writing(
        lower=share(counts["cased"] - counts["capitals"], "cased"),
        spaced=share(counts["spaced end"], "end"),
        ended=share(counts["ended"], "texts"),
        spaced_inside=share(counts["spaced inside"], "inside"),
    )


def read_style(folder: Path | None) -> Style | None:
    """Return the style in a model's folder, None where there is none. Raises UserError where the file is no style."""
    path = folder / STYLE if folder else None
    if path is None or not path.is_file():
        return None
    try:
        return parse_style(read_json(path))
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path}: not a style: correct it, or delete it to leave typed text alone") from None


def parse_style(raw: Any) -> Style:
    """Return the style that style.json's object holds. Raises KeyError, TypeError or ValueError."""
    facts, utterances = (Writing(**raw[kind]) for kind in ("facts", "utterances"))
    for value in [*asdict(facts).values(), *asdict(utterances).values()]:
        if value is not None and not (isinstance(value, (int, float)) and 0 <= value <= 1):
            raise ValueError(f"{value!r} is no share")
    lengths = [raw["facts_a_persona"], raw["utterances_a_dialogue"], raw.get("fewest_facts_a_persona", 0)]
    if not all(type(number) is int and number >= 0 for number in lengths):
        raise ValueError(f"{lengths} are no numbers of facts and utterances")
    return Style(facts, utterances, *lengths)
