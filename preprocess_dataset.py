"""Turn the ConvAI2 Persona-Chat text files into token tensors.

    python preprocess_dataset.py                       settings from .env
    python preprocess_dataset.py --env .env.demo       other settings
    python preprocess_dataset.py --download            fetch the text files into data_path first

Reads   data_path/train_both_original_no_cands.txt, valid_both_original_no_cands.txt, and model_name's tokenizer.
Writes  save_path/train_data.safetensors, valid_data.safetensors: tokens and offsets; dialogue.py describes them.
"""

from __future__ import annotations

import argparse
import sys

from personagpt.errors import UserError, exit_status
from personagpt.settings import Settings, add_env_option, command, read_settings


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

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from personagpt.device import file_checksum
from personagpt.model.loading import load_config, load_tokenizer
from personagpt.sequences.format import Encoder, Tensors, side_sequences, tokenizer_checksum
from personagpt.text.convai2 import Corpus, Dialogue, TextError, read_corpus
from personagpt.text.download import SHA256, URL, download

SPLITS = ("train", "valid")
DIALOGUES_PER_BATCH = 500  # encoded together: enough to keep the tokenizer's threads busy


def main(arguments: list[str] | None = None, url: str = URL, sha256: str = SHA256) -> int:
    options, settings = command_line(arguments)
    missing = [settings.text(split) for split in SPLITS if not settings.text(split).exists()]
    if missing and not options.download:
        raise UserError(
            f"{', '.join(map(str, missing))} not found: put the text there, or run "
            "`python preprocess_dataset.py --download`, which fetches ConvAI2's"
        )
    if missing:
        download(missing, settings.save_path / "download", url, sha256)
    tokenizer = load_tokenizer(settings.model_name)
    encoder = Encoder(tokenizer)
    context = load_config(settings.model_name).n_positions
    metadata = {
        "tokenizer_sha256": tokenizer_checksum(tokenizer),
        "vocabulary": str(len(tokenizer)),
        "context": str(context),
        "max_turns": str(settings.max_turns),
    }
    encoded = {}
    for split in SPLITS:  # both before anything is written: a mistake in either leaves the old tensors alone
        start, text = time.perf_counter(), settings.text(split)
        corpus = read_corpus(text)
        tensors = encode_corpus(corpus, encoder, settings.max_turns, context, str(text))
        encoded[split] = tensors, corpus, time.perf_counter() - start
    settings.save_path.mkdir(parents=True, exist_ok=True)
    for split, (tensors, corpus, seconds) in encoded.items():
        start, path = time.perf_counter(), settings.tensors(split)
        new = path.with_name(path.name + ".new")
        tensors.save(new, metadata | {"text_sha256": file_checksum(settings.text(split))})
        os.replace(new, path)
        print(summary(split, tensors, corpus, seconds + time.perf_counter() - start))
    print(f"tensors in {settings.save_path}; next: {command('train.py', options.env)}")
    return 0


def encode_corpus(corpus: Corpus, encoder: Encoder, max_turns: int, context: int, name: str) -> Tensors:
    """All sequences of a corpus, in file order, first speaker first.

    Raises TextError, naming file and line, where a persona and one response alone exceed the model's context.
    """
    parts = _Parts()
    known_facts: dict[str, list[int]] = {}  # personas come back in many dialogues
    batches = [
        slice(start, start + DIALOGUES_PER_BATCH) for start in range(0, len(corpus.dialogues), DIALOGUES_PER_BATCH)
    ]
    with tqdm(total=len(corpus.dialogues), desc=f"encode {Path(name).name}", unit="dialogue", leave=False) as bar:
        for batch in batches:
            dialogues = corpus.dialogues[batch]
            facts = {fact for dialogue in dialogues for persona in dialogue.personas for fact in persona}
            new = sorted(facts - known_facts.keys())
            known_facts.update(zip(new, encoder.texts(new), strict=True))
            spoken = iter(encoder.texts([text for dialogue in dialogues for text in dialogue.utterances[:max_turns]]))
            for number, (dialogue, sides) in enumerate(zip(dialogues, corpus.sides[batch], strict=True), batch.start):
                utterances = [next(spoken) for _ in dialogue.utterances[:max_turns]]
                for speaker in sides:
                    prefix = encoder.prefix(speaker, [known_facts[fact] for fact in dialogue.personas[speaker]])
                    try:
                        sequences = side_sequences(prefix, utterances, speaker, encoder.eos, context)
                    except OverflowError as error:
                        raise _too_long(dialogue, error.args[0], context, name) from None
                    parts.add(number, sequences)
            bar.update(len(dialogues))
    if not parts.dialogues:
        raise TextError(f"{name}: no sequence: no side whose persona is given has an utterance of its own")
    return parts.tensors()


def _too_long(dialogue: Dialogue, index: int, context: int, name: str) -> TextError:
    return TextError(
        f"{name}:{dialogue.utterance_lines[index]}: the speaker's persona and this utterance alone exceed the model's "
        f"context of {context} tokens: shorten them"
    )


@dataclass
class _Parts:
    """Sequences, one after another, on their way into arrays."""

    tokens: list[np.ndarray] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    dialogues: list[int] = field(default_factory=list)

    def add(self, dialogue: int, sequences: Iterable[tuple[list[int], list[tuple[int, int]]]]) -> None:
        for tokens, spans in sequences:
            self.tokens.append(np.array(tokens, dtype=np.int32))
            self.lengths.append(len(tokens))
            self.spans += spans
            self.counts.append(len(spans))
            self.dialogues.append(dialogue)

    def tensors(self) -> Tensors:
        offsets = np.concatenate([[0], np.cumsum(self.lengths)])
        first_token = np.repeat(offsets[:-1], self.counts)[:, None]  # (R, 1) where each response's sequence starts
        return Tensors(
            tokens=np.concatenate(self.tokens),
            offsets=offsets,
            responses=np.array(self.spans, dtype=np.int64) + first_token,
            response_offsets=np.concatenate([[0], np.cumsum(self.counts)]),
            dialogues=np.array(self.dialogues, dtype=np.int64),
        )


def summary(split: str, tensors: Tensors, corpus: Corpus, seconds: float) -> str:
    """The line that says what became of a text file, and a second one for what was left out of it."""
    lengths = np.diff(tensors.offsets)
    line = (
        f"{split}: {len(corpus.dialogues):,} dialogues, {len(lengths):,} sequences, {len(tensors.responses):,} responses, "
        f"{len(tensors.tokens):,} tokens, longest sequence {lengths.max():,}, {seconds:.1f} s"
    )
    if corpus.left_out:
        listed = ", ".join(map(str, corpus.left_out[:10])) + (", ..." if len(corpus.left_out) > 10 else "")
        count = len(corpus.left_out)
        line += f"\n{split}: left out {count} with an empty utterance: the dialogue{'s' * (count > 1)} at line {listed}"
    return line


if __name__ == "__main__":
    sys.exit(exit_status(main))
