"""The tensor file as it is written piece by piece: the library's own, byte for byte."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest

from personagpt.sequences import dataset
from personagpt.sequences.dataset import PersonaChatDataset, encode_corpus, encode_pieces
from personagpt.sequences.format import Encoder
from personagpt.sequences.tensors import DTYPES, SequenceBuffer, Tensors, TensorSpool
from personagpt.settings import TEXT_NAMES
from personagpt.text.convai2 import CheckedText
from tests.helpers import METADATA, VALID


def test_the_spooled_file_is_safetensors_own(sample, tokenizer, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(dataset, "DIALOGUES_PER_BATCH", 7)
    text, encoder = CheckedText(sample / TEXT_NAMES["valid"]), Encoder(tokenizer)
    metadata = {"text_sha256": text.sha256}  # the library writes several in any order
    whole = encode_corpus(text, encoder, 20, 320, "t")
    whole.save(tmp_path / "whole", metadata)
    with TensorSpool(tmp_path) as spool:
        for piece in encode_pieces(text, encoder, 20, 320, "t"):
            spool.add(piece)
        with open(tmp_path / "spooled", "wb") as file:
            spool.write(file, metadata)
        assert spool.longest == np.diff(whole.offsets).max()
        assert {name: spool.count(name) for name in vars(whole)} == {
            name: len(array) for name, array in vars(whole).items()
        }
    assert (tmp_path / "spooled").read_bytes() == (tmp_path / "whole").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["spooled", "whole"]  # nothing else was left


def test_pieces_by_hand(tmp_path) -> None:
    """The second one has no sequence, the third one's only sequence is the longest."""
    nothing = np.empty(0, np.int64)
    with TensorSpool(tmp_path) as spool:
        spool.add(VALID)
        assert spool.longest == 5
        spool.add(Tensors(nothing, nothing, nothing.reshape(0, 2), nothing, nothing))
        assert spool.longest == 5
        spool.add(Tensors(np.arange(6), np.array([15]), np.array([[10, 15]]), np.array([4]), np.array([2])))
        assert spool.longest == 6
        with open(tmp_path / "t", "wb") as file:
            spool.write(file, METADATA | {"context": "6"})
    data = PersonaChatDataset(tmp_path / "t")
    assert data.lengths.tolist() == [5, 4, 6]
    assert data[2]["input_ids"].tolist() == list(range(6))
    assert data[2]["labels"].tolist() == [-100, 1, 2, 3, 4, 5]
    assert data.metadata == METADATA | {"context": "6"}


def test_the_numbers_start_at_a_multiple_of_eight(tmp_path) -> None:
    nothing = np.empty(0, np.int64)
    with TensorSpool(tmp_path) as spool:
        spool.add(Tensors(nothing, nothing, nothing.reshape(0, 2), nothing, nothing))
        assert spool.longest == 0
        for letters in range(8):
            written = io.BytesIO()
            spool.write(written, {"name": "x" * letters})
            assert int.from_bytes(written.getvalue()[:8], "little") % 8 == 0


def test_a_folder_that_cannot_be_written(tmp_path) -> None:
    with pytest.raises(OSError, match="No such file or directory"):
        TensorSpool(tmp_path / "nowhere")


def test_a_piece_without_sequences_has_the_types_of_others() -> None:
    assert {name: array.dtype for name, array in vars(SequenceBuffer().take()).items()} == DTYPES
