"""Learning from preferences: the batches of a step's items, and how much each of their tokens weighs.

An item is a pair of replies to one context, or a rejected reply alone (personagpt/sequences/preferences.py). With log p
the log-likelihood of a reply, and ref the model that the run started from, a pair's loss is

    -log sigmoid(margin),  margin = beta ((log p(chosen) - log ref(chosen)) - (log p(rejected) - log ref(rejected)))

(Rafailov et al. 2023, equation 7). A rejected reply alone has the unlikelihood -sum log(1 - p) of its tokens (Welleck
et al. 2020, equation 4). Both depend on the model through each token's negative log-likelihood n = -log p only. So
their gradient is that of a sum of weight * n, where the weight of a token is the loss's derivative by its n:

    chosen     beta sigmoid(-margin)      because d loss / d margin = -sigmoid(-margin), d margin / d n = -beta
    rejected  -beta sigmoid(-margin)      because d margin / d n = beta
    alone     -p / (1 - p)                because d -log(1 - p) / d p = 1 / (1 - p), d p / d n = -p
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from personagpt.scoring.metrics import score
from personagpt.sequences.batches import Batch, collate, micro_batches
from personagpt.sequences.preference_tensors import PreferenceData, collate_branches

LEAST_GAIN = 1e-3  # nats by which a chosen reply became likelier: less may be rounding
LEAST_DOUBT = 1e-6  # of 1 - p, which float32 rounds to 0 where a token is nearly certain


@dataclass(frozen=True)
class Replies:
    """The S replies of some items, N tokens in all: of pairs the chosen, then the rejected, then those alone."""

    sizes: list[int]  # (S,) the tokens of each reply
    pairs: int
    reference: Tensor  # (S,) the reference's log-likelihood of each reply, nats

    def to(self, device: torch.device) -> Replies:
        """Return the replies for a loss on `device`, which may lack float64."""
        dtype = torch.float32 if device.type == "mps" else torch.float64
        return replace(self, reference=self.reference.to(device, dtype))

    def weigh(self, nll: Tensor, beta: float) -> tuple[Tensor, Tensor]:
        """Return the weight of each row (N,), and the tally (4,) of the items.

        `nll` (N,) are the rows' negative log-likelihoods in nats. A tally holds the items' losses, summed; the number
        of pairs whose chosen reply is likelier than under the reference; the numbers of items and of pairs.
        """
        nll = nll.to(self.reference.dtype)
        log_p = torch.stack([-part.sum() for part in nll.split(self.sizes)])  # (S,)
        chosen, rejected, _ = (log_p - self.reference).split(self._parts)  # twice (P,)
        margins = beta * (chosen - rejected)  # (P,)
        pull = beta * torch.sigmoid(-margins)  # (P,)
        of_sequences = torch.cat([pull, -pull, pull.new_zeros(self._parts[2])])  # (S,)
        weights = torch.cat([weight.expand(size) for weight, size in zip(of_sequences, self.sizes, strict=True)])
        start = sum(self.sizes[: 2 * self.pairs])
        doubt = -torch.expm1(-nll[start:])  # 1 - p of the tokens of rejected replies alone
        doubt = doubt.clamp(min=LEAST_DOUBT)
        weights[start:] = 1 - 1 / doubt  # -p / (1 - p)
        loss = -logsigmoid(margins).sum() - doubt.log().sum()
        counts = loss.new_tensor([self.pairs + self._parts[2], self.pairs])
        likelier = (chosen > LEAST_GAIN).sum().to(loss.dtype)
        return weights.float(), torch.cat([loss[None], likelier[None], counts])

    @property
    def _parts(self) -> list[int]:
        return [self.pairs, self.pairs, len(self.sizes) - 2 * self.pairs]


@dataclass(frozen=True)
class StepItems:
    """The items of one process in one optimizer step. Their batches can be made again in another size."""

    data: PreferenceData
    reference: Tensor  # (all sequences,) on the CPU
    group: np.ndarray  # the step's items, of all processes
    rank: int = 0
    processes: int = 1
    multiple: int = 1  # of which each batch's width is one
    shares_contexts: bool = False  # whether a pair is one row: its context, then both replies (`reads_branches`)

    def of_size(self, batch_size: int) -> Iterator[tuple[Batch, Replies]]:
        """Yield batches of at most `batch_size` rows. A pair stays together, also where that is 1."""
        group = self.group[np.argsort(-self.data.lengths()[self.group], kind="stable")]
        count = batch_size if self.shares_contexts else max(1, batch_size // 2)
        for items in micro_batches(group, count, self.rank, self.processes):
            if len(items):
                indices, replies = replies_of(self.data, items, self.reference)
                sequences = [self.data.dataset.sequence(int(index)) for index in indices]
                if self.shares_contexts:
                    yield collate_branches(sequences, replies.pairs, self.multiple), replies
                else:
                    yield collate(sequences, multiple=self.multiple), replies


def replies_of(data: PreferenceData, items: np.ndarray, reference: Tensor) -> tuple[np.ndarray, Replies]:
    """Return the indices of the items' sequences, (S,), and their replies. `reference` is of all sequences."""
    sizes, starts = data.sizes[items], data.starts[items]
    paired = starts[sizes == 2]
    indices = np.concatenate([paired, paired + 1, starts[sizes == 1]])
    tokens = data.dataset.label_tokens[indices].tolist()
    return indices, Replies(tokens, len(paired), reference[torch.from_numpy(indices)])


def log_likelihoods(model: torch.nn.Module, data: PreferenceData, autocast: AbstractContextManager) -> Tensor:
    """Return the log-likelihood of each sequence's reply under `model`, (S,) float64, in nats."""
    nll = _reply_nll(model, data, np.arange(len(data.dataset)), autocast)
    return torch.stack([-tokens.sum() for tokens in nll])


def held_back_figures(
    model: torch.nn.Module, data: PreferenceData, reference: Tensor, beta: float, autocast: AbstractContextManager
) -> dict[str, float]:
    """Return `tally_figures` of the items that are held back; no figure where none is."""
    if data.trained == len(data):
        return {}
    indices, replies = replies_of(data, np.arange(data.trained, len(data)), reference)
    _, tally = replies.weigh(torch.cat(_reply_nll(model, data, indices, autocast)), beta)
    return tally_figures(tally)


def _reply_nll(
    model: torch.nn.Module, data: PreferenceData, indices: np.ndarray, autocast: AbstractContextManager
) -> list[Tensor]:
    """Return the negative log-likelihoods of the tokens of each reply, float64, nats."""
    scores = score(model, [data.dataset.sequence(int(index)) for index in indices], autocast)
    return [torch.from_numpy(replies[0].nll).double() for replies in scores]


def tally_figures(tally: Tensor) -> dict[str, float]:
    """Return the mean loss of a tally's items, and the share of pairs whose chosen reply is likelier than before."""
    loss, likelier, items, pairs = tally.tolist()
    figures = {"preference_loss": loss / items} if items else {}
    return figures | ({"preference_accuracy": likelier / pairs} if pairs else {})
