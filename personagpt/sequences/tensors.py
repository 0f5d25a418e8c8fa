"""A tensor file's arrays, and how they are written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from personagpt.files import replacing

# The arrays' types, in the order in which safetensors stores them.
DTYPES = dict.fromkeys(("dialogues", "offsets", "response_offsets", "responses"), np.int64) | {"tokens": np.int32}
TYPE_NAMES = {np.int64: "I64", np.int32: "I32"}


@dataclass(frozen=True)
class Tensors:
    """The arrays of S sequences with N tokens and R responses in all, in file order, first speaker first."""

    tokens: np.ndarray  # (N,) int32
    offsets: np.ndarray  # (S + 1,) int64: sequence i is tokens[offsets[i]:offsets[i + 1]]
    responses: np.ndarray  # (R, 2) int64: where each response starts and ends in `tokens`
    # (S + 1,) int64: sequence i has responses[response_offsets[i]:response_offsets[i + 1]]
    response_offsets: np.ndarray
    dialogues: np.ndarray  # (S,) int64: each sequence's dialogue, counted from 0 among those of its file

    def sizes(self, repeated: int = 0) -> str:
        """Return the numbers for people. `repeated` responses are in a second sequence, for a goal, and count once."""
        longest = int(np.diff(self.offsets).max())
        return (
            f"{len(self.dialogues):,} sequences, {len(self.responses) - repeated:,} responses, {len(self.tokens):,} "
            f"tokens, longest sequence {longest:,}"
        )

    def write(self, file: BinaryIO, metadata: dict[str, str]) -> None:
        """Write the arrays in safetensors' format: 8 bytes of length, a header in JSON, the numbers.

        The library's own `save` holds the file in memory twice. Its `save_file` leaves a file that only its owner can
        read and, where it is killed, a temporary file that nothing removes.
        """
        header: dict[str, object] = {"__metadata__": metadata}
        arrays = [np.ascontiguousarray(getattr(self, name), dtype) for name, dtype in DTYPES.items()]
        end = 0
        for (name, dtype), array in zip(DTYPES.items(), arrays, strict=True):
            start, end = end, end + array.nbytes
            header[name] = {"dtype": TYPE_NAMES[dtype], "shape": array.shape, "data_offsets": [start, end]}
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # the numbers start at a multiple of 8
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays:
            file.write(array.data)

    def save(self, path: Path, metadata: dict[str, str]) -> None:
        """Write the tensor file at `path`. Raises OSError where the disk is full, and keeps the old file then."""
        with replacing(path) as file:
            self.write(file, metadata)
