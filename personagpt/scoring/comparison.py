"""Two models on one text: the difference of each metric, and how far it might be chance."""

from __future__ import annotations

import numpy as np

from personagpt.scoring.bootstrap import percentile_interval, resamples
from personagpt.scoring.metrics import METRICS
from personagpt.scoring.tally import Metric, Tally
from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.sequences.format import Encoder


def differences(
    ours: dict[str, Tally], theirs: dict[str, Tally], same_vocabulary: bool, seed: int
) -> dict[str, dict[str, float]]:
    """For each metric that both have and that compares: `difference`, theirs less ours, with `low` and `high`."""
    found = {}
    for metric in METRICS:
        if metric.name not in ours or metric.name not in theirs or (metric.per_token and not same_vocabulary):
            continue
        pair = ours[metric.name], theirs[metric.name]
        first, second = map(metric.figure, pair)
        found[metric.name] = {"difference": second - first} | interval(metric, *pair, seed)
    return found


def interval(metric: Metric, ours: Tally, theirs: Tally, seed: int) -> dict[str, float]:
    """Between which differences lie most of those of resamples of the dialogues; both models are resampled alike.

    Nothing for a metric `is_distinct`, which falls where a dialogue is drawn twice, and for less than two dialogues.
    """
    dialogues = np.intersect1d(ours.places.dialogues, theirs.places.dialogues)
    count = len(dialogues)
    if metric.is_distinct or count < 2:
        return {}
    sums = np.concatenate([_dialogue_sums(tally, dialogues) for tally in (ours, theirs)])  # (4, D)
    found = []
    for drawn in resamples(count, seed):
        ours_and_theirs = sums @ drawn
        found.append(metric.of_sums(*ours_and_theirs[2:]) - metric.of_sums(*ours_and_theirs[:2]))
    low, high = percentile_interval(found)
    return {"low": low, "high": high}


def _dialogue_sums(tally: Tally, dialogues: np.ndarray) -> np.ndarray:
    """The values and weights of each of `dialogues` (D,), summed: (2, D)."""
    part = tally[np.isin(tally.places.dialogues, dialogues)]
    where = np.searchsorted(dialogues, part.places.dialogues)
    return np.stack([np.bincount(where, numbers, len(dialogues)) for numbers in (part.values, part.weights)])


def per_word(loss: Tally, dataset: PersonaChatDataset, encoder: Encoder) -> Tally:
    """`loss` per word, and one for the end, of the responses' text: the same for every vocabulary."""
    sequences = [dataset.sequence(index) for index in range(len(dataset))]
    texts = [encoder.decode_reply(tokens[start:end].tolist()) for tokens, spans in sequences for start, end in spans]
    return Tally(loss.places, loss.values, np.array([len(text.split()) + 1 for text in texts]))
