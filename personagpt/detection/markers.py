"""What tells a program's side of a talk from a person's: markers that have a name, and the model's own surprise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from personagpt.detection.sides import Side
from personagpt.model.loading import TrainedModel
from personagpt.scoring.metrics import repeats, response_losses, words
from personagpt.sequences.dataset import PersonaChatDataset, encode_corpus
from personagpt.text.convai2 import Corpus, Dialogue

MARKERS = {
    "words": "words an utterance",
    "words_spread": "standard deviation of that",
    "questions": "utterances that ask",
    "own_words": "words that the speaker has said before",
    "own_phrases": "utterances that repeat three words in a row of the speaker's earlier ones",
    "echoes": "content words that the partner's last utterance has, too",
    "persona_words": "content words that the speaker's persona has",
    "function_words": "function words among all words",
    "first_person": "i, me, my among all words",
    "seconds": "logarithm of the median time to answer",
    "surprise": "nats per token, as the model finds them",
    "surprise_spread": "standard deviation of that over utterances",
}
FIRST_PERSON = {"i", "me", "my", "mine", "myself", "im"}
LISTED = (
    "you your yours yourself he him his she her hers it its we us our they them their this that these those who whom "
    "which what where when why how is am are was were be been being do does did doing done have has had having can "
    "could will would shall should may might must not no nor and or but if then than so because as of at by for with "
    "about into through to from up down in out on off over under again here there all any both each more most other "
    "some such only own same too very just also s t m re ve ll d don didn doesn isn"
)
FUNCTION_WORDS = FIRST_PERSON | set(LISTED.split())


@dataclass(frozen=True)
class Available:
    """What is known of all sides that are compared; a marker that only one class had would give it away."""

    personas: bool
    times: bool

    @classmethod
    def of(cls, sides: list[Side]) -> Available:
        return cls(all(side.persona for side in sides), all(side.seconds for side in sides))

    def markers(self) -> list[str]:
        """The names of the markers that can be told."""
        return [
            name for name in MARKERS if (name != "persona_words" or self.personas) and (name != "seconds" or self.times)
        ]


def measure(side: Side, count: int, losses: np.ndarray) -> dict[str, float]:
    """The markers of a side's first `count` own utterances, of which `losses` (n,) are the nats per token."""
    own = side.own[:count]
    said = [words(text) for text in own]
    everything = [word for listed in said for word in listed]
    content = [word for word in everything if word not in FUNCTION_WORDS]
    before = [side.utterances[index - 1] for index in range(side.speaker, side.speaker + 2 * len(own), 2) if index]
    earlier: set[str] = set()
    again = 0
    for listed in said:
        again += sum(word in earlier for word in listed)
        earlier.update(listed)
    echoed = 0
    for listed, text in zip(said[len(own) - len(before) :], before, strict=True):
        partners = set(words(text)) - FUNCTION_WORDS
        echoed += sum(word in partners for word in listed)
    persona = {word for fact in side.persona for word in words(fact)} - FUNCTION_WORDS
    lengths = [len(listed) for listed in said]
    return {
        "words": float(np.mean(lengths)),
        "words_spread": float(np.std(lengths)),
        "questions": _share("?" in text for text in own),
        "own_words": again / max(1, len(everything)),
        "own_phrases": _share(repeats(text, own[:index], 3) for index, text in enumerate(own)),
        "echoes": echoed / max(1, len(content)),
        "persona_words": _share(word in persona for word in content),
        "function_words": _share(word in FUNCTION_WORDS for word in everything),
        "first_person": _share(word in FIRST_PERSON for word in everything),
        "seconds": _log_seconds(side, count),
        "surprise": float(np.mean(losses[:count])),
        "surprise_spread": float(np.std(losses[:count])),
    }


def _share(held: object) -> float:
    listed = list(held)
    return sum(listed) / max(1, len(listed))


def _log_seconds(side: Side, count: int) -> float:
    """The logarithm of the median time between the partner's utterance and the answer, 0 where there is none."""
    own = [index for index in range(side.speaker, len(side.seconds), 2) if index][:count]
    waits = [side.seconds[index] - side.seconds[index - 1] for index in own]
    return math.log(max(1e-3, float(np.median(waits)))) if waits else 0.0


def token_losses(trained: TrainedModel, sides: list[Side], count: int, with_personas: bool) -> list[np.ndarray]:
    """For each side the nats per token of each of its first `count` own utterances, under its persona.

    Without personas for all, under none. Raises TextError where a persona and an utterance exceed the context.
    """
    dialogues = []
    for side in sides:
        facts = list(side.persona) if with_personas else []
        personas = (facts, []) if side.speaker == 0 else ([], facts)
        utterances = list(side.utterances[: side.speaker + 2 * count - 1])
        dialogues.append(Dialogue(personas, utterances))
    corpus = Corpus(dialogues, [(side.speaker,) for side in sides], [])
    tensors = encode_corpus(corpus, trained.encoder, 2 * count, trained.context_length, "the talks")
    dataset = PersonaChatDataset.from_tensors(tensors, trained.context_length)
    losses = response_losses(trained.model, dataset, trained.encoder, trained.autocast)
    ends = np.flatnonzero(np.diff(losses.places.dialogues)) + 1
    return np.split(losses.values / losses.weights, ends)
