"""Turn the ConvAI2 Persona-Chat text files into token tensors.

    python preprocess_dataset.py                       settings from .env
    python preprocess_dataset.py --env .env.demo       other settings
    python preprocess_dataset.py --download            fetch the text files into data_path first

Reads   data_path/train_both_original_no_cands.txt, valid_both_original_no_cands.txt, and model_name's tokenizer.
Writes  save_path/train_data.safetensors, valid_data.safetensors: tokens and offsets (personagpt/sequences/dataset.py).
"""

from __future__ import annotations

from personagpt.signals import end_at_once  # isort: skip

if __name__ == "__main__":
    end_at_once()  # Ctrl-C is answered by one line from here on: before anything else is imported

import argparse
import time

from personagpt.errors import UserError
from personagpt.settings import Settings, read_settings
from personagpt.text.convai2 import Corpus, read_corpus
from personagpt.text.download import SHA256, URL, download
from utils import add_env_option, before_torch, command, parse_options, run_script

SPLITS = ("train", "valid")


def command_line(arguments: list[str] | None = None) -> tuple[argparse.Namespace, Settings]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_env_option(parser)
    parser.add_argument("--download", action="store_true", help="fetch the text files into data_path first")
    options = parse_options(parser, arguments)
    return options, read_settings(options.env)


def read_texts(
    arguments: list[str] | None = None, url: str = URL, sha256: str = SHA256
) -> tuple[argparse.Namespace, Settings, dict[str, tuple[Corpus, float]]]:
    """The command line, and each split's text with the seconds it took to parse; fetched first, if that is asked."""
    options, settings = command_line(arguments)
    missing = [settings.text(split) for split in SPLITS if not settings.text(split).exists()]
    if missing and not options.download:
        raise UserError(
            f"{', '.join(map(str, missing))} not found: put the text there, or run "
            f"`{command('preprocess_dataset.py', options.env)} --download`, which fetches ConvAI2's"
        )
    if missing:
        download(missing, settings.save_path / "download", url, sha256)
    texts = {}
    for split in SPLITS:
        start = time.perf_counter()
        texts[split] = read_corpus(settings.text(split)), time.perf_counter() - start
    return options, settings, texts


if __name__ == "__main__":
    prepared = before_torch(read_texts)

import os

import numpy as np

from personagpt.files import file_checksum
from personagpt.model.loading import load_config, load_tokenizer
from personagpt.sequences.dataset import Tensors, encode_corpus, tensor_metadata
from personagpt.sequences.format import Encoder


def main(arguments: list[str] | None = None, url: str = URL, sha256: str = SHA256) -> int:
    return write_tensors(*read_texts(arguments, url, sha256))


def write_tensors(options: argparse.Namespace, settings: Settings, texts: dict[str, tuple[Corpus, float]]) -> int:
    """Encode both texts and write their tensors."""
    tokenizer = load_tokenizer(settings.model_name)
    encoder = Encoder(tokenizer)
    context_length = load_config(settings.model_name).n_positions
    encoded = {}
    for split, (corpus, seconds) in texts.items():  # both before anything is written: a mistake leaves the old alone
        start, name = time.perf_counter(), str(settings.text(split))
        tensors = encode_corpus(corpus, encoder, settings.max_turns, context_length, name)
        encoded[split] = tensors, corpus, seconds + time.perf_counter() - start
    settings.save_path.mkdir(parents=True, exist_ok=True)
    for split, (tensors, corpus, seconds) in encoded.items():
        start, path = time.perf_counter(), settings.tensors(split)
        new = path.with_name(path.name + ".new")
        checksum = file_checksum(settings.text(split))
        tensors.save(new, tensor_metadata(checksum, tokenizer, settings.max_turns, context_length))
        os.replace(new, path)
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
    run_script(write_tensors, *prepared)
