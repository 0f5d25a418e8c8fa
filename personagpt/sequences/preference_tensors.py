"""The tensors of preferences: two sequences an item, the chosen reply's first, or the rejected reply's alone.

They are a tensor file as any (dataset.py), in which a sequence's only response is the reply, `dialogues` counts items,
and the metadata says how many of the last items are held back.
"""

from __future__ import annotations

import numpy as np
import torch

from personagpt.sequences.batches import Batch
from personagpt.sequences.dataset import AGAIN, PersonaChatDataset
from personagpt.sequences.format import DataError, Encoder
from personagpt.sequences.preferences import Preference, held_back_personas
from personagpt.sequences.tensors import Tensors
from personagpt.text.lines import Mistakes


def encode_preferences(
    items: list[Preference], encoder: Encoder, context_length: int, name: str
) -> tuple[Tensors, int]:
    """Return the sequences of the items, those held back last, and how many items are held back.

    Both sequences of a pair have the same context, without the oldest utterances where they do not fit. Raises
    TextError, which names the lines of the file `name` whose persona, last utterance and reply do not fit.
    """
    held_back = held_back_personas(items)
    mistakes, sequences = Mistakes(name), []
    items = sorted(items, key=lambda item: tuple(item.facts) in held_back)
    for number, item in enumerate(items):
        replies = [[*ids, encoder.eos] for ids in encoder.texts(item.replies)]
        longest = max(map(len, replies))
        room = max(0, context_length - longest)
        try:
            context = encoder.context(item.speaker, item.facts, item.utterances, room, item.goal)
        except DataError as error:
            mistakes.note(item.line, f"beside a reply of {longest} tokens, {error}")
            continue
        sequences += [(number, context, reply) for reply in replies]
    mistakes.raise_noted()
    ends = np.cumsum([len(context) + len(reply) for _, context, reply in sequences])
    starts = ends - [len(reply) for _, _, reply in sequences]
    tensors = Tensors(
        tokens=np.concatenate([[*context, *reply] for _, context, reply in sequences]).astype(np.int32),
        offsets=np.concatenate([[0], ends]),
        responses=np.stack([starts, ends], axis=1),
        response_offsets=np.arange(len(sequences) + 1),
        dialogues=np.array([number for number, _, _ in sequences]),
    )
    return tensors, sum(tuple(item.facts) in held_back for item in items)


class PreferenceData:
    """The items of a tensor file: the first `trained` items are trained on, the others are held back."""

    def __init__(self, dataset: PersonaChatDataset) -> None:
        """Raises DataError where the tensors are not items."""
        self.dataset = dataset
        owners = dataset.tensors.dialogues  # (S,) the item of each sequence
        _, self.sizes = np.unique(owners, return_counts=True)  # (I,) the number of each item's sequences
        self.starts = np.cumsum(self.sizes) - self.sizes  # (I,) each item's first sequence
        held_back = dataset.metadata.get("held_back", "")
        is_sound = (
            held_back.isdecimal()
            and owners[-1] == len(self.sizes) - 1
            and int(held_back) < len(self.sizes)
            and np.isin(self.sizes, (1, 2)).all()
            and (np.diff(dataset.tensors.response_offsets) == 1).all()
        )
        if not is_sound:
            raise DataError(f"{dataset.path}: damaged tensors (not of preferences); {AGAIN}")
        self.trained = len(self.sizes) - int(held_back)

    def __len__(self) -> int:
        return len(self.sizes)

    def lengths(self) -> np.ndarray:
        """Return the tokens of each item's longest sequence, (I,)."""
        return np.maximum.reduceat(self.dataset.lengths, self.starts)


def collate_branches(sequences: list[tuple[np.ndarray, np.ndarray]], pairs: int, multiple: int = 1) -> Batch:
    """Return a batch in which each item is one row: its context, then its replies side by side.

    `sequences` are the chosen, then the rejected replies of so many `pairs`, then the replies alone, each as tokens
    (T,) and the reply's start and end in them (1, 2). The labels are in this order. The batch's width is a multiple of
    `multiple`. The last token of a reply predicts nothing, so it is left out.
    """
    places = []  # each sequence's row, branch, and by how many columns its reply lies further to the right
    for number in range(len(sequences)):
        is_rejected = pairs <= number < 2 * pairs
        row = number if number < pairs else number - pairs
        before = sequences[row][1][0] if is_rejected else (0, 1)  # the chosen reply is in the way
        places.append((row, 1 + is_rejected, int(before[1] - before[0]) - 1))
    width = max(len(tokens) - 1 + shift for (tokens, _), (_, _, shift) in zip(sequences, places, strict=True))
    width += -width % multiple
    input_ids, branches = np.zeros((2, len(sequences) - pairs, width), dtype=np.int64)
    label_index, targets = [], []
    for (tokens, ((start, end),)), (row, branch, shift) in zip(sequences, places, strict=True):
        reply = slice(start + shift, end - 1 + shift)
        input_ids[row, :start], input_ids[row, reply] = tokens[:start], tokens[start : end - 1]
        branches[row, reply] = branch
        label_index += [row * width + start - 1, *range(row * width + reply.start, row * width + reply.stop)]
        targets.append(tokens[start:end])
    index = np.array(label_index, dtype=np.int64)
    return Batch(*map(torch.from_numpy, (input_ids, index, np.concatenate(targets), branches)))
