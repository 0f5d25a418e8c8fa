"""Which sequences form an optimizer step, and how they become padded batches.

The order depends only on the seed, the epoch and the number of sequences per step. So any step can be made at once,
without replaying the data before it, and every split of a step into batches and processes sees the same sequences.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from personagpt.sequences.dataset import PersonaChatDataset

WINDOW = 128  # steps whose sequences are sorted by length together


class StepPlan:
    """The sequences of every step of a run; steps count from 1."""

    def __init__(self, lengths: np.ndarray, seed: int, per_step: int) -> None:
        self.lengths, self.seed, self.per_step = lengths, seed, per_step
        self.steps_per_epoch = -(-len(lengths) // per_step)
        self._epoch, self._groups = -1, []

    def group(self, step: int) -> np.ndarray:
        """Indices of the sequences of `step`, longest first."""
        epoch, position = divmod(step - 1, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._groups = epoch, epoch_groups(self.lengths, self.seed, epoch, self.per_step)
        return self._groups[position]

    def share(self, count: int, step: int) -> np.ndarray:
        """Return which of `count` other items belong to `step`: each once an epoch, spread evenly over its steps."""
        epoch, position = divmod(step - 1, self.steps_per_epoch)
        order = np.random.RandomState([self.seed, epoch, 1]).permutation(count)
        first, end = (count * place // self.steps_per_epoch for place in (position, position + 1))
        return order[first:end]


def epoch_groups(lengths: np.ndarray, seed: int, epoch: int, per_step: int) -> list[np.ndarray]:
    """Return the sequences of each step of an epoch.

    Shuffle, sort by length within large windows, cut into steps, shuffle the steps. A smaller last step stays last.
    """
    # numpy has frozen RandomState's numbers, not a Generator's: a run must resume alike under another numpy.
    random = np.random.RandomState([seed, epoch])
    order = random.permutation(len(lengths))
    whole = len(order) - len(order) % per_step
    groups = []
    for start in range(0, whole, WINDOW * per_step):
        window = order[start : min(start + WINDOW * per_step, whole)]
        window = window[np.argsort(-lengths[window], kind="stable")]
        groups += np.split(window, len(window) // per_step)
    groups = [groups[i] for i in random.permutation(len(groups))]
    rest = order[whole:]
    return groups + ([rest[np.argsort(-lengths[rest], kind="stable")]] if len(rest) else [])


def micro_batches(group: np.ndarray, batch_size: int, rank: int = 0, processes: int = 1) -> list[np.ndarray]:
    """Return the batches of process `rank`: the group is cut into batches, which are dealt out in turn.

    Every process gets equally many, because all take part in the reduction of gradients. The last may be empty.
    """
    batches = [group[start : start + batch_size] for start in range(0, len(group), batch_size)]
    batches += [group[:0]] * (-len(batches) % processes)
    return batches[rank::processes]


@dataclass
class Batch:
    """B sequences padded on the right to T tokens, with N labels in all."""

    input_ids: Tensor  # (B, T) int64
    label_index: Tensor  # (N,) int64: the rows of the flattened (B * T) that predict a label
    targets: Tensor  # (N,) int64: the labels
    # (B, T) int64: 0 for a context, 1 and 2 for the replies that follow it and do not see each other. None: a sequence
    # in each row, all of which its later tokens see.
    branches: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """Return the batch on `device`. A GPU copies from pinned memory, and nobody waits for the copy."""
        tensors = {name: tensor for name, tensor in vars(self).items() if tensor is not None}
        if device.type != "cuda":
            return Batch(**{name: tensor.to(device) for name, tensor in tensors.items()})
        return Batch(**{name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in tensors.items()})


def collate(sequences: list[tuple[np.ndarray, np.ndarray]], pad: int = 0, multiple: int = 1) -> Batch:
    """Return the batch of sequences, which are tokens (T,) and the start and end of each response (R, 2).

    The batch's width is a multiple of `multiple`. A sequence's last token predicts nothing, so it is left out of the
    input. No sequence at all gives a batch of one padding token without labels, whose loss is 0. Any token may pad,
    because a causal model never looks to the right.
    """
    width = max([len(tokens) - 1 for tokens, _ in sequences], default=1)
    width += -width % multiple
    input_ids = np.full((max(1, len(sequences)), width), pad, dtype=np.int64)
    positions, targets = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for row, (tokens, spans) in enumerate(sequences):
        input_ids[row, : len(tokens) - 1] = tokens[:-1]
        labelled = np.concatenate([np.arange(start, end) for start, end in spans])
        positions.append(row * width + labelled - 1)  # the token before a label predicts it
        targets.append(tokens[labelled])
    return Batch(*map(torch.from_numpy, (input_ids, np.concatenate(positions), np.concatenate(targets))))


def load_batch(dataset: PersonaChatDataset, indices: np.ndarray, pad: int = 0, multiple: int = 1) -> Batch:
    """Return the batch of the dataset's sequences `indices`. The other arguments are `collate`'s."""
    return collate([dataset.sequence(int(index)) for index in indices], pad, multiple)


@dataclass(frozen=True)
class StepBatches:
    """The batches of one process in one optimizer step. They can be made again in another size."""

    dataset: PersonaChatDataset
    group: np.ndarray  # (S,) indices of the step's sequences, of all processes
    rank: int = 0
    processes: int = 1
    multiple: int = 1  # of which each batch's width is one

    @property
    def label_tokens(self) -> int:
        """The number of response tokens in the step, of all processes."""
        return int(self.dataset.label_tokens[self.group].sum())

    @property
    def tokens(self) -> int:
        """The number of tokens in the step, of all processes."""
        return int(self.dataset.lengths[self.group].sum())

    def of_size(self, batch_size: int) -> Iterator[Batch]:
        """Yield batches of at most `batch_size` sequences, on the CPU. Each is made when it is asked for."""
        for indices in micro_batches(self.group, batch_size, self.rank, self.processes):
            yield load_batch(self.dataset, indices, multiple=self.multiple)
