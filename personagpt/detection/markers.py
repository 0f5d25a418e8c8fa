"""Markers: figures that may tell a program's side of a talk from a person's, among them the model's own surprise."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from personagpt.detection.sides import TalkSide
from personagpt.detection.surprise import Surprise
from personagpt.scoring.generated import repeats, words
from personagpt.text.words import asks

MARKERS = {
    "words": "words in an utterance",
    "words_spread": "standard deviation of the words in an utterance",
    "questions": "utterances that ask",
    "own_words": "words that the speaker has said before",
    "own_phrases": "utterances that repeat three words in a row of the speaker's earlier ones",
    "echoes": "content words that the partner's last utterance has, too",
    "persona_words": "content words that the speaker's persona has",
    "function_words": "English function words among all words; 0 in another language",
    "first_person": "i, me, my among all words; English only",
    "seconds": "logarithm of the median time to answer",
    "surprise": "nats per token under the model",
    "surprise_spread": "standard deviation of the nats per token over utterances",
    "rank": "logarithm of a token's rank among the tokens that the model expects",
    "curvature": "surprise above what the model expects of its own draws (Fast-DetectGPT)",
    "end": "nats of the end of an utterance",
}
FIRST_PERSON = {"i", "me", "my", "mine", "myself", "im"}
OTHER_FUNCTION_WORDS = (
    "you your yours yourself he him his she her hers it its we us our they them their this that these those who whom "
    "which what where when why how is am are was were be been being do does did doing done have has had having can "
    "could will would shall should may might must not no nor and or but if then than so because as of at by for with "
    "about into through to from up down in out on off over under again here there all any both each more most other "
    "some such only own same too very just also s t m re ve ll d don didn doesn isn"
)
FUNCTION_WORDS = FIRST_PERSON | set(OTHER_FUNCTION_WORDS.split())


def available_markers(sides: list[TalkSide]) -> list[str]:
    """Return the markers that every side has. A marker that only one kind of sides has would give that kind away.

    Times are compared only where a single clock measured all of them.
    """
    lacking = set() if all(side.persona for side in sides) else {"persona_words"}
    is_timed = all(side.seconds for side in sides) and len({side.clock for side in sides}) == 1
    lacking |= set() if is_timed else {"seconds"}
    return [name for name in MARKERS if name not in lacking]


def marker_values(sides: list[TalkSide], surprises: list[list[Surprise]], count: int, markers: list[str]) -> np.ndarray:
    """Return the values of the markers (S, M) for the first `count` counted utterances of each side.

    `surprises` has the model's surprise at each side's counted utterances, at least `count` of them.
    """
    measured = [measure(side, count, surprise) for side, surprise in zip(sides, surprises, strict=True)]
    return np.array([[values[name] for name in markers] for values in measured])


def measure(side: TalkSide, count: int, surprises: list[Surprise]) -> dict[str, float]:
    """Return all markers of a side's first `count` counted utterances, at which the model has these `surprises`.

    No marker looks at the speaker's first utterance, because it differs between who speaks first and second.
    """
    own = side.counted[:count]
    said = [words(text) for text in own]
    all_words = [word for utterance in said for word in utterance]
    content = [word for word in all_words if word not in FUNCTION_WORDS]
    partners = [set(words(text)) - FUNCTION_WORDS for text in side.heard[:count]]
    echoes = sum(word in heard for utterance, heard in zip(said, partners, strict=True) for word in utterance)
    earlier: set[str] = set()
    again = 0
    for utterance in said:
        again += sum(word in earlier for word in utterance)
        earlier.update(utterance)
    persona = {word for fact in side.persona for word in words(fact)} - FUNCTION_WORDS
    lengths = [len(utterance) for utterance in said]
    return {
        "words": float(np.mean(lengths)),
        "words_spread": float(np.std(lengths)),
        "questions": _share(map(asks, own)),
        "own_words": again / max(1, len(all_words)),
        "own_phrases": _share(repeats(text, own[:index], 3) for index, text in enumerate(own)),
        "echoes": echoes / max(1, len(content)),
        "persona_words": _share(word in persona for word in content),
        "function_words": _share(word in FUNCTION_WORDS for word in all_words),
        "first_person": _share(word in FIRST_PERSON for word in all_words),
        "seconds": _log_seconds(side, count),
        "surprise": float(np.mean([surprise.nats for surprise in surprises[:count]])),
        "surprise_spread": float(np.std([surprise.nats for surprise in surprises[:count]])),
        "rank": float(np.mean([surprise.rank for surprise in surprises[:count]])),
        "curvature": float(np.mean([surprise.curvature for surprise in surprises[:count]])),
        "end": float(np.mean([surprise.end for surprise in surprises[:count]])),
    }


def _share(answers: Iterable[bool]) -> float:
    answers = list(answers)
    return sum(answers) / max(1, len(answers))


def _log_seconds(side: TalkSide, count: int) -> float:
    """Return the logarithm of the median time to answer the partner's utterance, 0 where times are not known."""
    ends = range(side.speaker + 2, len(side.seconds), 2)[:count]
    waits = [side.seconds[end] - side.seconds[end - 1] for end in ends]
    return math.log(max(1e-3, float(np.median(waits)))) if waits else 0.0
