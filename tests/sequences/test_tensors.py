"""The tensor file as it is written piece by piece: the library's own, byte for byte."""

from __future__ import annotations

import os

import numpy as np
import pytest

from personagpt.sequences import dataset
from personagpt.sequences.dataset import encode_corpus, encode_pieces
from personagpt.sequences.format import Encoder
from personagpt.sequences.tensors import TensorSpool
from personagpt.settings import TEXT_NAMES
from personagpt.text.convai2 import CheckedText


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


def test_a_folder_that_cannot_be_written(tmp_path) -> None:
    with pytest.raises(OSError, match="No such file or directory"):
        TensorSpool(tmp_path / "nowhere")
