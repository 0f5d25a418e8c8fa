"""Markers: figures that may tell a program's side of a talk from a person's, among them the model's own surprise."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from personagpt.detection.sides import TalkSide
from personagpt.model.loading import TrainedModel
from personagpt.scoring.generated import repeats, words
from personagpt.scoring.metrics import LabelledTokens, score
from personagpt.sequences.format import side_sequences
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


def marker_values(sides: list[TalkSide], losses: list[np.ndarray], count: int, markers: list[str]) -> np.ndarray:
    """Return the values of the markers (S, M) for the first `count` counted utterances of each side.

    `losses` has the nats per token of each side's counted utterances (N,), N at least `count`.
    """
    measured = [measure(side, count, nats) for side, nats in zip(sides, losses, strict=True)]
    return np.array([[values[name] for name in markers] for values in measured])


def measure(side: TalkSide, count: int, losses: np.ndarray) -> dict[str, float]:
    """Return all markers of a side's first `count` counted utterances, whose nats per token are `losses` (N,).

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
        "surprise": float(np.mean(losses[:count])),
        "surprise_spread": float(np.std(losses[:count])),
    }


def _share(answers: Iterable[bool]) -> float:
    answers = list(answers)
    return sum(answers) / max(1, len(answers))


def _log_seconds(side: TalkSide, count: int) -> float:
    """Return the logarithm of the median time to answer the partner's utterance, 0 where times are not known."""
    ends = range(side.speaker + 2, len(side.seconds), 2)[:count]
    waits = [side.seconds[end] - side.seconds[end - 1] for end in ends]
    return math.log(max(1e-3, float(np.median(waits)))) if waits else 0.0


def token_losses(trained: TrainedModel, sides: list[TalkSide], count: int, with_personas: bool) -> list[np.ndarray]:
    """Return for each side the nats per token (N,) of each of its first `count` counted utterances.

    The model gets each side's persona, or no persona without `with_personas`, and the talk from the speaker's first
    utterance on, as if every speaker talked first. Otherwise its surprise would tell who did. Where a persona or an
    utterance exceeds the context, its end is cut.
    """
    sequences, sizes = [], []
    for side in sides:
        parts = _sequences(trained, side, count, with_personas)
        sequences += parts
        sizes.append(len(parts))
    scores = iter(score(trained.model, sequences, trained.autocast, "score"))
    losses = []
    for size in sizes:
        responses = [response for _ in range(size) for response in next(scores)]
        losses.append(np.array([response.nll.mean(dtype=np.float64) for response in responses[1:]]))
    return losses


def _sequences(trained: TrainedModel, side: TalkSide, count: int, with_personas: bool) -> list[LabelledTokens]:
    """Return a side's sequences up to counted utterance number `count`. The first utterance is labelled, too."""
    encoder, limit = trained.encoder, trained.context_length
    facts = encoder.texts(list(side.persona)) if with_personas else []
    prefix = encoder.prefix(0, facts)
    if len(prefix) > limit // 2:
        *_, sep, start = prefix
        prefix = [*prefix[: limit // 2 - 2], sep, start]
    room = limit - len(prefix) - 1  # for an utterance without its <eos>
    utterances = [ids[:room] for ids in encoder.texts(list(side.utterances[side.speaker :][: 2 * count + 1]))]
    parts = side_sequences(prefix, utterances, 0, encoder.eos, limit)
    return [(np.array(tokens), np.array(spans)) for tokens, spans in parts]
