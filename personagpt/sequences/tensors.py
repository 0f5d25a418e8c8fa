"""A tensor file's arrays, and the file as it is written: in safetensors' format, without holding it in memory."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from safetensors.numpy import save

from personagpt.files import write_atomically
from personagpt.sequences.format import Sequence


@dataclass(frozen=True)
class Tensors:
    """A tensor file's arrays: S sequences, N tokens and R responses in all, in file order, first speaker first."""

    tokens: np.ndarray  # (N,) int32
    offsets: np.ndarray  # (S + 1,) int64: sequence i is tokens[offsets[i]:offsets[i + 1]]
    responses: np.ndarray  # (R, 2) int64: where each response starts and ends in `tokens`
    response_offsets: (
        np.ndarray
    )  # (S + 1,) int64: sequence i has responses[response_offsets[i]:response_offsets[i + 1]]
    dialogues: np.ndarray  # (S,) int64: each sequence's dialogue, counted from 0 among those of its file

    def save(self, path: Path, metadata: dict[str, str]) -> None:
        # Not safetensors' save_file: it leaves the file to its owner only, and a full disk is then an error of its own.
        arrays = {name: np.ascontiguousarray(array) for name, array in vars(self).items()}
        write_atomically(path, save(arrays, metadata))


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

    def add(self, dialogue: int, sequences: Iterable[Sequence]) -> None:
        """Add sequences of a dialogue, in order."""
        for tokens, spans in sequences:
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


# In the order of the file.
DTYPES = dict.fromkeys(("dialogues", "offsets", "response_offsets", "responses"), np.int64) | {"tokens": np.int32}
NAMES = {np.int64: "I64", np.int32: "I32"}


class TensorSpool:
    """Arrays on their way into one file, piece by piece, in unnamed files in `folder`; memory holds one piece."""

    def __init__(self, folder: Path) -> None:
        self.longest = 0  # tokens of a sequence
        self._last_end = 0
        with contextlib.ExitStack() as stack:  # closes those that were opened where one cannot be
            self._files = {name: stack.enter_context(tempfile.TemporaryFile(dir=folder)) for name in DTYPES}
            self._opened = stack.pop_all()

    def __enter__(self) -> TensorSpool:
        return self

    def __exit__(self, *exception: object) -> None:
        self._opened.close()

    def add(self, piece: Tensors) -> None:
        """Add the next piece of `encode_pieces`, or whole tensors."""
        for name, file in self._files.items():
            file.write(np.ascontiguousarray(getattr(piece, name), DTYPES[name]).tobytes())
        lengths = np.diff(piece.offsets, prepend=self._last_end)
        self.longest = max(self.longest, int(lengths.max(initial=0)))
        self._last_end = int(piece.offsets[-1]) if len(piece.offsets) else self._last_end

    def count(self, name: str) -> int:
        """How many rows the array `name` has."""
        return self._files[name].tell() // np.dtype(DTYPES[name]).itemsize // (2 if name == "responses" else 1)

    def write(self, target: BinaryIO, metadata: dict[str, str]) -> None:
        """Write the tensor file."""
        header: dict[str, dict] = {"__metadata__": metadata}
        end = 0
        for name, file in self._files.items():
            start, end = end, end + file.tell()
            shape = [self.count(name), 2] if name == "responses" else [self.count(name)]
            header[name] = {"dtype": NAMES[DTYPES[name]], "shape": shape, "data_offsets": [start, end]}
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # the data starts at a multiple of 8
        target.write(len(text).to_bytes(8, "little") + text)
        for file in self._files.values():
            file.seek(0)
            shutil.copyfileobj(file, target, 2**20)
