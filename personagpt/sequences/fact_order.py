"""The facts of a sequence in another order.

A persona is a set of facts, but a model reads them in a row, and its figures depend on the order. Neither the length of
a sequence nor the places of its responses change.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from personagpt.sequences.format import Encoder


@dataclass(frozen=True)
class FactOrder:
    """An order of the facts of every sequence, drawn under `seed`. Another `number` is another order.

    It depends on nothing else, so that every process, and a run that goes on, gives a sequence the same order.
    """

    encoder: Encoder
    seed: int
    number: int

    def apply(self, index: int, tokens: np.ndarray) -> np.ndarray:
        """Return the tokens (T,) of sequence `index` of a dataset with its facts in this order."""
        first = int(np.argmax(np.isin(tokens, self.encoder.speakers))) + 1  # a goal may stand before the speaker
        last = int(np.argmax(tokens == self.encoder.start)) - 1  # the place of <|sep|>
        ends = np.flatnonzero(tokens[first:last] == self.encoder.eos) + 1
        if len(ends) < 2:
            return tokens
        facts = np.split(tokens[first:last], ends[:-1])
        # numpy has frozen RandomState's numbers, not a Generator's.
        drawn = np.random.RandomState([self.seed, self.number, index]).permutation(len(facts))
        return np.concatenate([tokens[:first], *(facts[place] for place in drawn), tokens[last:]])
