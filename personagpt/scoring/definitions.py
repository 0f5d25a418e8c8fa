"""Every metric: its name, its meaning, and how its figure follows from its entries.

A metric of this table appears in the tables, by turn, in comparisons, in eval.csv and in the JSON files. Its entries
are computed in metrics.py (teacher-forced), generated.py (replies), candidates.py, identification.py, goals.py and
nli.py. This module loads no model's library.
"""

from __future__ import annotations

import functools

import numpy as np

from personagpt.scoring.entries import Metric, perplexity


def share_of_different(counts: np.ndarray) -> float:
    """Return the different n-grams over all n-grams (Li et al. 2016), 0 without any; `counts` (G,) of each n-gram."""
    return len(counts) / max(1, int(counts.sum()))


def entropy(counts: np.ndarray) -> float:
    """Return the entropy in nats of the n-grams' frequencies (Zhang et al. 2018, Ent-n), from `counts` (G,)."""
    shares = counts / max(1, counts.sum())
    return float(-(shares * np.log(shares)).sum())


def bleu(order: int, totals: np.ndarray, _: float) -> float:
    """Return sacrebleu's corpus BLEU of 1 to `order` words, with its default smoothing.

    `totals` (2 * 4 + 2,) are sums over the replies: the n-grams of 1 to 4 words that the true response has, too; all
    n-grams of 1 to 4 words; the words of the replies; the words of the true responses.
    """
    from sacrebleu.metrics import BLEU

    hits, grams, (replies, true) = np.split(totals.astype(int), [4, 8])
    score = BLEU.compute_bleu(
        hits[:order].tolist(), grams[:order].tolist(), int(replies), int(true), "exp", max_ngram_order=order
    )
    return score.score / 100


def spread(nll: np.ndarray, tokens: float) -> float:
    """Return the perplexity in the worst orders less that in the best, from the summed `nll` (2,) of both, in nats."""
    worst, best = (perplexity(float(order) / tokens) for order in nll)
    return worst - best


# Every evaluation of a run computes the teacher-forced metrics.
FORCED = {"in_training": True, "per_token": True}
GAIN = "perplexity with exchanged personas over perplexity; above 1: the model uses the persona"
METRICS = (
    Metric("loss", "nats per response token", **FORCED),
    Metric("perplexity", "exp(loss)", is_exponential=True, **FORCED),
    Metric("turn_perplexity", "mean over responses, first token left out", is_exponential=True, **FORCED),
    Metric("word_perplexity", "exp(nats per word and end): compares vocabularies", is_exponential=True),
    Metric("token_f1", "of sets of teacher-forced tokens: to be distrusted", as_percent=True, **FORCED),
    Metric("persona_gain", GAIN, is_exponential=True, **FORCED),
    Metric(
        "order_spread",
        "perplexity with each side's facts in their worst order less in their best",
        of_totals=spread,
        per_token=True,
    ),
    Metric("word_f1", "generated words against the human's", as_percent=True),
    *(
        Metric(
            f"bleu_{order}",
            f"sacrebleu's corpus BLEU of {f'1 to {order} words in a row' if order > 1 else 'single words'}",
            as_percent=True,
            of_totals=functools.partial(bleu, order),
        )
        for order in (1, 2, 3, 4)
    ),
    Metric("rouge_l", "F1 of the longest common subsequence of words, as rouge-score's", as_percent=True),
    Metric("distinct_1", "distinct words of the replies", as_percent=True, of_counts=share_of_different),
    Metric("distinct_2", "distinct pairs of words", as_percent=True, of_counts=share_of_different),
    Metric("entropy_4", "nats, of the replies' four words in a row (Zhang et al. 2018)", of_counts=entropy),
    Metric("repeat_rate", "replies that repeat four words in a row of their speaker's", as_percent=True),
    Metric("c_score", "facts that a reply entails less those it contradicts (Madotto et al. 2019)"),
    Metric("c_score_pair", "the same for each pair of a reply and a fact", as_percent=True),
    Metric("contradicts_self", "replies that contradict what their speaker said before", as_percent=True),
    Metric("goal_hit", "replies that follow the goal they were given", as_percent=True),
    Metric("goal_base", "replies that follow it without having been given it", as_percent=True),
    Metric("hits_at_1", "the true response scored highest among its candidates", as_percent=True),
    Metric("dnli_hits", "Dialogue NLI: the true response scored highest (hits@1)", as_percent=True),
    Metric("dnli_entail", "a response similar to it (entail@1)", as_percent=True),
    Metric("dnli_neutral", "a response of another dialogue (neutral@1)", as_percent=True),
    Metric("dnli_contradict", "a response that contradicts the persona (contradict@1)", as_percent=True),
    Metric("persona_at_1", "a side's own persona scored highest", as_percent=True),
    Metric("persona_mrr", "1 / the rank of a side's own persona, on average"),
)


def shown(metric: Metric, value: float, sign: str = "") -> str:
    """Return a metric's value as the tables show it; a `sign` of "+" shows the sign of a positive value."""
    if metric.as_percent:
        return f"{100 * value:{sign}.1f} %"
    return f"{value:{sign}.{4 if metric.name == 'loss' else 2}f}"
