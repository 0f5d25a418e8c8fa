"""The tensor files: a corpus -> its sequences in arrays, and the dataset that reads them back.

A file holds the sequences of one text, in file order, first speaker first. Its metadata says from which text and for
which tokenizer they were made: training refuses a file that was made from something else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from tqdm import tqdm

from personagpt.files import file_checksum
from personagpt.sequences.format import (
    IGNORED,
    DataError,
    Encoder,
    check_present,
    side_sequences,
    tokenizer_checksum,
)
from personagpt.sequences.tensors import DTYPES, Tensors
from personagpt.text.convai2 import CheckedText, Corpus, Dialogue
from personagpt.text.lines import TextError
from personagpt.text.style import Style, StyleMeter, parse_style

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Encoded together: enough to keep the tokenizer's threads busy, not more than memory has room for.
DIALOGUES_PER_BATCH, LETTERS_PER_BATCH = 500, 1_000_000
MOST_KNOWN_FACTS = 50_000  # whose tokens are kept


def tensor_metadata(
    text_sha256: str,
    tokenizer: PreTrainedTokenizerFast,
    max_turns: int,
    context_length: int,
    style: Style | None = None,
) -> dict[str, str]:
    """What a tensor file says of itself: from which text, tokenizer and settings its sequences were made."""
    written = {} if style is None else {"style": json.dumps(style.plain())}
    return written | {
        "tokenizer_sha256": tokenizer_checksum(tokenizer),
        "vocabulary": str(len(tokenizer)),
        "context": str(context_length),
        "max_turns": str(max_turns),
        "text_sha256": text_sha256,
    }


class PersonaChatDataset(torch.utils.data.Dataset):
    """The sequences of a tensor file. Raises DataError where the file is missing, damaged or hostile."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.metadata, self.tensors = _read_tensors(self.path)
        try:
            _check_tensors(self.tensors, int(self.metadata["vocabulary"]), int(self.metadata["context"]))
            # Tensors made before styles were measured have none.
            self.style = parse_style(json.loads(self.metadata["style"])) if "style" in self.metadata else None
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: damaged tensors ({error}); run preprocess_dataset.py again") from None
        self._count()

    @classmethod
    def from_tensors(cls, tensors: Tensors, context_length: int, text_sha256: str = "") -> PersonaChatDataset:
        """The dataset of tensors just made, for a model with `context_length` positions."""
        dataset = cls.__new__(cls)
        dataset.metadata = {"context": str(context_length), "text_sha256": text_sha256}
        dataset.tensors, dataset.style = tensors, None
        dataset._count()
        return dataset

    def _count(self) -> None:
        sizes = np.diff(self.tensors.responses).ravel()  # (R,) tokens of each response
        sums = np.concatenate([[0], np.cumsum(sizes)])[self.tensors.response_offsets]  # (S + 1,)
        self.lengths = np.diff(self.tensors.offsets)  # (S,) tokens of each sequence
        self.label_tokens = np.diff(sums)  # (S,) label tokens of each sequence

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """{"input_ids": LongTensor (T,), "labels": LongTensor (T,)}; labels are -100 outside the responses."""
        tokens, spans = self.sequence(index)
        labels = np.full_like(tokens, IGNORED)
        for start, end in spans:
            labels[start:end] = tokens[start:end]
        return {"input_ids": torch.from_numpy(tokens), "labels": torch.from_numpy(labels)}

    def sequence(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Sequence `index` as int64 tokens (T,), and the start and end of each of its responses in it, (R, 2)."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"sequence {index} of {len(self)}")
        index %= len(self)
        start, end = self.tensors.offsets[index : index + 2]
        first, last = self.tensors.response_offsets[index : index + 2]
        return self.tensors.tokens[start:end].astype(np.int64), self.tensors.responses[first:last] - start


def _read_tensors(path: Path) -> tuple[dict[str, str], Tensors]:
    check_present(path)
    try:
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in DTYPES}
            return file.metadata() or {}, Tensors(**arrays)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = str(error).split("\n", 1)[0]
        raise DataError(f"{path}: not a tensor file of ours ({reason}); run preprocess_dataset.py again") from None


def _check_tensors(tensors: Tensors, vocabulary: int, context_length: int) -> None:
    """Raise ValueError unless every number is in range, so that nothing wrong can reach a kernel."""

    def need(holds: Any, what: str) -> None:
        if not holds:
            raise ValueError(what)

    for name, dtype in DTYPES.items():
        need(getattr(tensors, name).dtype == dtype, f"{name} has the wrong type")
        need(getattr(tensors, name).ndim == (2 if name == "responses" else 1), f"{name} has the wrong shape")
    tokens, offsets, responses = tensors.tokens, tensors.offsets, tensors.responses
    response_offsets, dialogues = tensors.response_offsets, tensors.dialogues
    count = len(dialogues)
    need(responses.shape[1] == 2, "responses has the wrong shape")
    need(count > 0 and len(offsets) == len(response_offsets) == count + 1, "the numbers of sequences differ")
    for name, edges, total in (
        ("offsets", offsets, len(tokens)),
        ("response_offsets", response_offsets, len(responses)),
    ):
        need(edges[0] == 0 and edges[-1] == total, f"{name} out of range")
        # Compared, not subtracted: a difference of hostile numbers could overflow.
        need((edges[1:] > edges[:-1]).all(), f"{name} out of order")
    need(np.diff(offsets).max() <= context_length, f"a sequence is longer than the context of {context_length}")
    need(((tokens >= 0) & (tokens < vocabulary)).all(), f"a token outside the vocabulary of {vocabulary}")
    need(dialogues[0] >= 0 and (dialogues[1:] >= dialogues[:-1]).all(), "dialogues out of order")
    owner = np.repeat(np.arange(count), np.diff(response_offsets))  # (R,) each response's sequence
    starts, ends = responses[:, 0], responses[:, 1]
    need((starts < ends).all() and (starts[1:] >= ends[:-1]).all(), "responses out of order")
    # A sequence's first token has nothing before it to be predicted from.
    need((starts > offsets[owner]).all() and (ends <= offsets[owner + 1]).all(), "a response outside its sequence")


def open_tensors(
    path: Path, text: Path, tokenizer: PreTrainedTokenizerFast, max_turns: int, context_length: int
) -> PersonaChatDataset:
    """The dataset at `path`. Raises DataError where it was not made from `text`, with `tokenizer` and `max_turns`, for
    a model with `context_length` positions.

    A text that is no longer there is not missed: tensors may travel to another machine without it.
    """
    dataset = PersonaChatDataset(path)
    again = f"{path}: made {{}}; run preprocess_dataset.py with these settings again"
    if text.exists() and dataset.metadata.get("text_sha256") != file_checksum(text):
        raise DataError(again.format(f"from another text than {text}"))
    if dataset.metadata.get("tokenizer_sha256") != tokenizer_checksum(tokenizer):
        raise DataError(again.format("with another tokenizer than model_name's"))
    if int(dataset.metadata["vocabulary"]) != len(tokenizer):
        raise DataError(again.format("for another vocabulary than model_name's"))
    if dataset.metadata.get("max_turns") != str(max_turns):
        raise DataError(again.format(f"with max_turns = {dataset.metadata.get('max_turns')}, not {max_turns}"))
    if int(dataset.metadata["context"]) != context_length:
        raise DataError(
            again.format(f"for a context of {dataset.metadata['context']} tokens, model_name's is {context_length}")
        )
    _check_format(dataset, Encoder(tokenizer))
    return dataset


def _check_format(dataset: PersonaChatDataset, encoder: Encoder) -> None:
    """Raise DataError unless every sequence is one of this format, on which evaluation relies."""
    tensors = dataset.tensors
    firsts = tensors.offsets[:-1]
    starts = np.flatnonzero(tensors.tokens == encoder.start)
    sound = (
        np.isin(tensors.tokens[firsts], encoder.speakers).all()
        and len(starts) == len(firsts)
        and (np.searchsorted(tensors.offsets, starts, "right") - 1 == np.arange(len(firsts))).all()
        and (starts < tensors.responses[tensors.response_offsets[:-1], 0]).all()
        and (tensors.tokens[tensors.responses[:, 1] - 1] == encoder.eos).all()
    )
    if not sound:
        raise DataError(
            f"{dataset.path}: damaged tensors (not this format's sequences); run preprocess_dataset.py again"
        )


def encode_corpus(
    corpus: Corpus | CheckedText | StyleMeter, encoder: Encoder, max_turns: int, context_length: int, name: str
) -> Tensors:
    """All sequences of a corpus, in file order, first speaker first; `name` is the file's, for messages.

    Raises TextError, naming file and line, where a persona and one response alone exceed the model's context.
    """
    pieces = [vars(piece) for piece in encode_pieces(corpus, encoder, max_turns, context_length, name)]
    return Tensors(**{array: np.concatenate([piece[array] for piece in pieces]) for array in DTYPES})


def encode_pieces(
    corpus: Corpus | CheckedText | StyleMeter, encoder: Encoder, max_turns: int, context_length: int, name: str
) -> Iterator[Tensors]:
    """`encode_corpus`'s arrays in pieces, which only need to be concatenated: memory holds one batch of dialogues."""
    buffer = SequenceBuffer()
    known_facts: dict[str, list[int]] = {}  # personas come back in many dialogues
    number = 0
    title = f"encode {Path(name).name}"
    with tqdm(total=len(corpus), desc=title, unit="dialogue", leave=False, disable=None) as bar:
        for batch in _batches(corpus, max_turns):
            facts = {fact for dialogue, _ in batch for persona in dialogue.personas for fact in persona}
            if len(known_facts) > MOST_KNOWN_FACTS:
                known_facts.clear()
            new = sorted(facts - known_facts.keys())
            known_facts.update(zip(new, encoder.texts(new), strict=True))
            spoken = iter(encoder.texts([text for dialogue, _ in batch for text in dialogue.utterances[:max_turns]]))
            for dialogue, sides in batch:
                utterances = [next(spoken) for _ in dialogue.utterances[:max_turns]]
                prefixes = [
                    encoder.prefix(speaker, [known_facts[fact] for fact in dialogue.personas[speaker]])
                    for speaker in sides
                ]
                try:
                    buffer.add(number, sides, prefixes, utterances, encoder.eos, context_length)
                except OverflowError as error:
                    raise _too_long(dialogue, error.args[0], context_length, name) from None
                number += 1
            yield buffer.take()
            bar.update(len(batch))
    if not buffer.tokens_taken:
        raise TextError(f"{name}: no sequence: no side whose persona is given has an utterance of its own")


def _batches(
    corpus: Corpus | CheckedText | StyleMeter, max_turns: int
) -> Iterator[list[tuple[Dialogue, tuple[int, ...]]]]:
    """The dialogues that are encoded together."""
    batch, letters = [], 0
    for dialogue, sides in corpus:
        batch.append((dialogue, sides))
        letters += sum(map(len, [*dialogue.utterances[:max_turns], *dialogue.personas[0], *dialogue.personas[1]]))
        if len(batch) == DIALOGUES_PER_BATCH or letters > LETTERS_PER_BATCH:
            yield batch
            batch, letters = [], 0
    if batch:
        yield batch


def _too_long(dialogue: Dialogue, index: int, context_length: int, name: str) -> TextError:
    return TextError(
        f"{name}:{dialogue.utterance_lines[index]}: the speaker's persona and this utterance alone exceed the model's "
        f"context of {context_length} tokens: shorten them"
    )


@dataclass
class SequenceBuffer:
    """Sequences, one after another, on their way into arrays."""

    tokens: list[np.ndarray] = field(default_factory=list)
    ends: list[int] = field(default_factory=lambda: [0])  # where each sequence ends, a first 0 before them
    responses: list[tuple[int, int]] = field(default_factory=list)
    response_ends: list[int] = field(default_factory=lambda: [0])
    dialogues: list[int] = field(default_factory=list)
    tokens_taken: int = 0
    responses_taken: int = 0

    def add(
        self,
        dialogue: int,
        sides: Iterable[int],
        prefixes: Iterable[list[int]],
        utterances: list[list[int]],
        eos: int,
        limit: int,
    ) -> None:
        """Add the sequences of a dialogue's sides, `side_sequences`'s. Raises what it raises."""
        for speaker, prefix in zip(sides, prefixes, strict=True):
            for tokens, spans in side_sequences(prefix, utterances, speaker, eos, limit):
                first = self.tokens_taken
                self.tokens.append(np.array(tokens, dtype=np.int32))
                self.tokens_taken += len(tokens)
                self.responses_taken += len(spans)
                self.ends.append(self.tokens_taken)
                self.responses += [(first + start, first + end) for start, end in spans]
                self.response_ends.append(self.responses_taken)
                self.dialogues.append(dialogue)

    def take(self) -> Tensors:
        """The arrays' next piece: what was added since the last one."""
        piece = Tensors(
            tokens=np.concatenate([np.zeros(0, np.int32), *self.tokens]),
            offsets=np.array(self.ends, np.int64),
            responses=np.array(self.responses, np.int64).reshape(-1, 2),
            response_offsets=np.array(self.response_ends, np.int64),
            dialogues=np.array(self.dialogues, np.int64),
        )
        self.tokens, self.ends, self.responses, self.response_ends, self.dialogues = [], [], [], [], []
        return piece
