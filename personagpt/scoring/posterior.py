"""Who is behind a talk: the probability of each persona after each reply, and what a question is worth.

After the replies r_1 ... r_n, persona k has the probability

    p_k proportional to exp(sum over i of log P(r_i | persona k, the talk before r_i))

which is Bayes' rule with equal probabilities before the first reply. Tang et al. 2021 ("Persona Authentication through
Generative Dialogue") ask questions whose replies have the largest mutual information with the persona. The mutual
information of a question is the expected drop of the entropy of p (Lindley 1956).
"""

from __future__ import annotations

import numpy as np

from personagpt.scoring.bootstrap import percentile_interval, resamples
from personagpt.scoring.identification import rank

COVERED = 0.99  # `likeliest` personas have this probability together
MEASURES = ("persona_at_1", "persona_mrr", "persona_entropy")


def posterior(nll: np.ndarray) -> np.ndarray:
    """Return the probability (..., P) of each persona for the summed negative log-likelihoods `nll` (..., P), nats."""
    weights = np.exp(nll.min(axis=-1, keepdims=True) - nll)
    return weights / weights.sum(axis=-1, keepdims=True)


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Return the entropy (...) in nats of `probabilities` (..., P), of which some may be 0."""
    return -(probabilities * np.log(np.where(probabilities > 0, probabilities, 1))).sum(axis=-1)


def expected_drop(nll: np.ndarray, replies_nll: np.ndarray) -> float:
    """Return by how many nats a question lowers the entropy of the posterior, as it is expected before the reply.

    With H the entropy, and reply j as what persona j would say to the question:

        H(p) - sum over j of p_j H(p after reply j)

    `nll` (P,) is of the talk so far, and row j of `replies_nll` (P, P) is of reply j under each persona. One reply
    stands for all that a persona may say. So this is an estimate of the mutual information of persona and reply.
    """
    before = posterior(nll)
    return float(entropy(before) - before @ entropy(posterior(nll + replies_nll)))


def likeliest(nll: np.ndarray) -> np.ndarray:
    """Return the indices of the fewest personas that have COVERED of the probability, likeliest first."""
    probabilities = posterior(nll)
    order = np.argsort(-probabilities, kind="stable")
    return order[: int(np.searchsorted(probabilities[order].cumsum(), COVERED)) + 1][: len(order)]


def measures(nll: np.ndarray, own: list[int]) -> dict[str, np.ndarray]:
    """Return each of MEASURES (I,) for I interviews, from `nll` (I, P) and the index of each partner's persona."""
    ranks = np.array([rank(row, persona) for row, persona in zip(nll, own, strict=True)])  # (I, 2)
    return dict(zip(MEASURES, (*ranks.T, entropy(posterior(nll))), strict=True))


def with_intervals(measured: dict[str, np.ndarray], seed: int) -> dict[str, dict[str, float]]:
    """Return the mean `value` of each measure (I,) over the interviews, and its interval from `low` to `high`.

    The interval comes from resamples of the interviews, the same for all measures. One interview has no interval.
    """
    count = len(next(iter(measured.values())))
    drawn = np.array(list(resamples(count, seed))) / count if count > 1 else np.empty((0, count))  # (R, I)
    result = {}
    for name, values in measured.items():
        result[name] = {"value": float(values.mean())}
        if len(drawn):
            result[name] |= dict(zip(("low", "high"), percentile_interval(drawn @ values), strict=True))
    return result
