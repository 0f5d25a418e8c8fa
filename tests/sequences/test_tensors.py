"""The tensor file as it is written: the library's own, byte for byte, and read back the same."""

from __future__ import annotations

import io
import os
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load, save

from personagpt.sequences.dataset import PersonaChatDataset, encode_corpus
from personagpt.sequences.format import Encoder
from personagpt.sequences.tensors import DTYPES, Tensors
from personagpt.settings import TEXT_NAMES
from personagpt.text.convai2 import read_corpus
from tests.helpers import METADATA, VALID


def written(tensors: Tensors, metadata: dict[str, str]) -> bytes:
    file = io.BytesIO()
    tensors.write(file, metadata)
    return file.getvalue()


@pytest.mark.parametrize("letters", range(8))
def test_the_file_is_what_the_library_writes(letters) -> None:
    metadata = {"name": "x" * letters}  # one entry, because the library writes several in any order
    data = written(VALID, metadata)
    assert data == save(vars(VALID), metadata)
    assert int.from_bytes(data[:8], "little") % 8 == 0


def test_the_library_reads_the_file_of_a_real_text(sample, tokenizer, tmp_path) -> None:
    tensors = encode_corpus(read_corpus(sample / TEXT_NAMES["valid"]), Encoder(tokenizer), 20, 320, "t")
    arrays = load(written(tensors, METADATA))
    assert arrays.keys() == DTYPES.keys()
    for name, array in vars(tensors).items():
        assert arrays[name].dtype == array.dtype == DTYPES[name]
        assert np.array_equal(arrays[name], array)
    tensors.save(tmp_path / "t", METADATA | {"vocabulary": str(len(tokenizer)), "context": "320"})
    assert len(PersonaChatDataset(tmp_path / "t")) == len(tensors.dialogues)
    assert os.listdir(tmp_path) == ["t"]
    assert (tmp_path / "t").stat().st_mode & 0o044 == 0o044 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_arrays_that_are_views_of_others() -> None:
    tokens = np.repeat(VALID.tokens, 2)[::2]
    assert not tokens.flags.c_contiguous
    assert written(replace(VALID, tokens=tokens), METADATA) == written(VALID, METADATA)


def test_the_sizes() -> None:
    assert VALID.sizes() == "2 sequences, 3 responses, 9 tokens, longest sequence 5"
    assert VALID.sizes(repeated=1) == "2 sequences, 2 responses, 9 tokens, longest sequence 5"


def test_a_folder_that_cannot_be_written(tmp_path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="File exists"):
        VALID.save(tmp_path / "file" / "t", METADATA)
