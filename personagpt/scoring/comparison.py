"""Compare two models on one text: the difference of each metric, and how far it may be chance."""

from __future__ import annotations

import numpy as np

from personagpt.scoring.bootstrap import percentile_interval, resamples
from personagpt.scoring.definitions import METRICS
from personagpt.scoring.entries import Entries, Metric
from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.sequences.format import Encoder


def differences(
    ours: dict[str, Entries], theirs: dict[str, Entries], same_vocabulary: bool, seed: int
) -> dict[str, dict[str, float]]:
    """Return for each comparable metric the `difference`, theirs less ours, and its interval from `low` to `high`.

    A metric is comparable where both models have it, and `per_token` only where they have the same vocabulary.
    """
    result = {}
    for metric in METRICS:
        if metric.name not in ours or metric.name not in theirs or (metric.per_token and not same_vocabulary):
            continue
        pair = ours[metric.name], theirs[metric.name]
        first, second = map(metric.figure, pair)
        result[metric.name] = {"difference": second - first} | interval(metric, *pair, seed)
    return result


def interval(metric: Metric, ours: Entries, theirs: Entries, seed: int) -> dict[str, float]:
    """Return the interval of the difference over resamples of the dialogues, drawn alike for both models.

    Empty for a metric of n-grams' counts, which changes where a dialogue is drawn twice, and for less than two
    dialogues.
    """
    dialogues = np.intersect1d(ours.places.dialogues, theirs.places.dialogues)
    count = len(dialogues)
    if metric.of_counts or count < 2:
        return {}
    our_sums, their_sums = (_dialogue_sums(entries, dialogues) for entries in (ours, theirs))
    resampled = []
    for drawn in resamples(count, seed):
        first, second = (metric.of_sums(values @ drawn, weights @ drawn) for values, weights in (our_sums, their_sums))
        resampled.append(second - first)
    low, high = percentile_interval(resampled)
    return {"low": low, "high": high}


def _dialogue_sums(entries: Entries, dialogues: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of values, (D,) or (K, D), and of weights, (D,), in each of `dialogues` (D,)."""
    part = entries[np.isin(entries.places.dialogues, dialogues)]
    where = np.searchsorted(dialogues, part.places.dialogues)
    values, weights = np.zeros((len(dialogues), *part.values.shape[1:])), np.zeros(len(dialogues))
    np.add.at(values, where, part.values)
    np.add.at(weights, where, part.weights)
    return values.T, weights


def per_word(loss: Entries, dataset: PersonaChatDataset, encoder: Encoder) -> Entries:
    """Return `loss` with the responses' words, and one for the end, as weights: comparable across vocabularies."""
    sequences = [dataset.sequence(index) for index in range(len(dataset))]
    texts = [encoder.decode_reply(tokens[start:end].tolist()) for tokens, spans in sequences for start, end in spans]
    return Entries(loss.places, loss.values, np.array([len(text.split()) + 1 for text in texts]))
