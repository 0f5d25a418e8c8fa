"""Turn the ConvAI2 Persona-Chat text files into token tensors.

    python preprocess_dataset.py                       settings from .env
    python preprocess_dataset.py --env .env.demo       other settings
    python preprocess_dataset.py --download            fetch the text files into data_path first

Reads   data_path/train_both_original_no_cands.txt, valid_both_original_no_cands.txt, and model_name's tokenizer.
Writes  save_path/train_data.safetensors, valid_data.safetensors: tokens and offsets (personagpt/sequences/dataset.py).
"""

from __future__ import annotations

import argparse
import sys

from personagpt.errors import UserError
from personagpt.settings import Settings, read_settings
from utils import add_env_option, command, exit_status


def command_line(arguments: list[str] | None = None) -> tuple[argparse.Namespace, Settings]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_env_option(parser)
    parser.add_argument("--download", action="store_true", help="fetch the text files into data_path first")
    options = parser.parse_args(arguments)
    return options, read_settings(options.env)


if __name__ == "__main__":
    # --help and a mistake in the settings are answered now, before the seconds that importing torch takes.
    if status := exit_status(lambda: command_line() and 0):
        sys.exit(status)

import time

import numpy as np

from personagpt.files import file_checksum
from personagpt.model.loading import load_config, load_tokenizer
from personagpt.sequences.dataset import Tensors, encode_corpus, tensor_metadata
from personagpt.sequences.format import Encoder
from personagpt.text.convai2 import Corpus, read_corpus
from personagpt.text.download import CANDIDATES_NAME, CONVAI2, Archive, download

SPLITS = ("train", "valid")


def main(arguments: list[str] | None = None, archive: Archive = CONVAI2) -> int:
    options, settings = command_line(arguments)
    missing = [settings.text(split) for split in SPLITS if not settings.text(split).exists()]
    if missing and not options.download:
        raise UserError(
            f"{', '.join(map(str, missing))} not found: put the text there, or run "
            "`python preprocess_dataset.py --download`, which fetches ConvAI2's"
        )
    if options.download:
        candidates = settings.data_path / CANDIDATES_NAME
        if wanted := missing + [candidates] * (not candidates.exists()):
            download(wanted, settings.save_path / "download", archive)
    tokenizer = load_tokenizer(settings.model_name)
    encoder = Encoder(tokenizer)
    context_length = load_config(settings.model_name).n_positions
    encoded = {}
    for split in SPLITS:  # both before anything is written: a mistake in either leaves the old tensors alone
        start, text = time.perf_counter(), settings.text(split)
        corpus = read_corpus(text)
        tensors = encode_corpus(corpus, encoder, settings.max_turns, context_length, str(text))
        encoded[split] = tensors, corpus, time.perf_counter() - start
    settings.save_path.mkdir(parents=True, exist_ok=True)
    for split, (tensors, corpus, seconds) in encoded.items():
        start, path = time.perf_counter(), settings.tensors(split)
        checksum = file_checksum(settings.text(split))
        tensors.save(path, tensor_metadata(checksum, tokenizer, settings.max_turns, context_length))
        print(summary(split, tensors, corpus, seconds + time.perf_counter() - start))
    print(f"tensors in {settings.save_path}; next: {command('train.py', options.env)}")
    return 0


def summary(split: str, tensors: Tensors, corpus: Corpus, seconds: float) -> str:
    """The line that says what became of a text file, and a second one for what was left out of it."""
    lengths = np.diff(tensors.offsets)
    line = (
        f"{split}: {len(corpus.dialogues):,} dialogues, {len(lengths):,} sequences, {len(tensors.responses):,} "
        f"responses, {len(tensors.tokens):,} tokens, longest sequence {lengths.max():,}, {seconds:.1f} s"
    )
    if corpus.left_out:
        listed = ", ".join(map(str, corpus.left_out[:10])) + (", ..." if len(corpus.left_out) > 10 else "")
        count = len(corpus.left_out)
        line += f"\n{split}: left out {count} with an empty utterance: the dialogue{'s' * (count > 1)} at line {listed}"
    return line


if __name__ == "__main__":
    sys.exit(exit_status(main))
