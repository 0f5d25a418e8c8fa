"""Speed of using a model: scoring against training, `--identify`, batched replies against single replies, and the
first text of a reply.

    python -m bench.use_speed                                    the base model of data/sample
    python -m bench.use_speed --model FOLDER --init random       another model, such as a larger configuration
    python -m bench.use_speed --text FILE                        other dialogues (default: the sample's validation text)

Each figure is the best of three rounds, because other programs on the machine can only make it worse.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from personagpt.device import Processes, autocast, hardware, pick_device, resolve_precision
from personagpt.model.decoders import context_length
from personagpt.model.generation import ReplyRequest, generate_replies
from personagpt.model.loading import TrainedModel, draw_model, load_model, load_tokenizer
from personagpt.model.sampling import Sampling
from personagpt.records.database import Recordings
from personagpt.scoring.identification import identify
from personagpt.scoring.metrics import teacher_forced_metrics
from personagpt.sequences.dataset import PersonaChatDataset, encode_corpus
from personagpt.sequences.format import Encoder
from personagpt.settings import read_settings
from personagpt.talking.session import Session
from personagpt.text.convai2 import read_corpus
from personagpt.training.optimization import Trainer, training_step

ROOT = Path(__file__).resolve().parents[1]
ROUNDS, BATCH = 3, 16


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(ROOT / "data/sample/base"))
    parser.add_argument("--init", default="pretrained", choices=["pretrained", "random"])
    parser.add_argument("--text", type=Path, default=ROOT / "data/sample/valid_both_original_no_cands.txt")
    parser.add_argument("--dialogues", type=int, default=24, help="number of the text's dialogues (default: 24)")
    options = parser.parse_args()
    device = pick_device()
    tokenizer = load_tokenizer(options.model)
    encoder = Encoder(tokenizer)
    make = draw_model if options.init == "random" else load_model
    model = make(options.model, len(tokenizer), seed=0).to(device)
    precision = resolve_precision("auto", device)
    half_precision = autocast(precision, device)
    corpus = read_corpus(options.text)
    corpus.dialogues, corpus.sides = corpus.dialogues[: options.dialogues], corpus.sides[: options.dialogues]
    tensors = encode_corpus(corpus, encoder, 20, context_length(model.config), str(options.text))
    dataset = PersonaChatDataset.from_tensors(tensors, context_length(model.config))
    print(f"{hardware(device)}; {sum(p.numel() for p in model.parameters()):,} parameters, {len(dataset)} sequences")

    tokens = int(dataset.lengths.sum())
    settings = dataclasses.replace(read_settings(ROOT / ".env", {}), batch_size=8)
    trainer = Trainer(settings, Processes(0, 1, device), resolve_precision("auto", device), model)
    training, scoring = best_of(
        lambda: train_once(trainer, dataset),
        lambda: teacher_forced_metrics(model, dataset, encoder, half_precision),
    )
    train, score = tokens / training, 2 * tokens / scoring  # each text is read with true and with exchanged personas
    print(f"train      {train:>10,.0f} tokens/s")
    print(f"evaluate   {score:>10,.0f} tokens/s, {score / train:.1f} times as many")

    (identifying,) = best_of(lambda: identify(model, dataset, encoder, half_precision, 0))
    print(f"identify   {len(dataset) / identifying:>10.1f} sides a second")

    requests = [ReplyRequest(dataset.sequence(i)[0][: dataset.sequence(i)[1][0, 0]].tolist()) for i in range(BATCH)]
    single, batched = best_of(
        lambda: [generate_replies(model, encoder, [request], half_precision) for request in requests],
        lambda: generate_replies(model, encoder, requests, half_precision),
    )
    print(f"replies    {BATCH / single:>10.1f} a second one by one")
    print(f"           {BATCH / batched:>10.1f} a second in a batch of {BATCH}, {single / batched:.1f} times as many")
    trained = TrainedModel(options.model, None, model.eval(), tokenizer, encoder, precision, "", None)
    waits = [first_token(trained, corpus.dialogues[i].utterances[0]) for i in range(min(10, len(corpus.dialogues)))]
    print(
        f"first text {np.median(waits):>10.3f} s after the question (median of {len(waits)}), "
        f"{max(waits):.3f} s at worst"
    )
    return 0


def best_of(*works: Callable[[], object]) -> list[float]:
    """Return the shortest time of each work in seconds. They take turns, so that other programs disturb all alike."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS + 1):  # the first round warms up
        for work, taken in zip(works, times, strict=True):
            start = time.perf_counter()
            with contextlib.redirect_stderr(io.StringIO()):
                work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - start)
    return [min(taken[1:]) for taken in times]


def train_once(trainer: Trainer, dataset: PersonaChatDataset) -> None:
    """Train for one epoch in steps of 8 sequences, with learning rate 0."""
    trainer.model.train()
    order = np.argsort(-dataset.lengths)
    for start in range(0, len(order), 8):
        batches = trainer.batches(dataset, order[start : start + 8])
        training_step(trainer, batches, seed=start, learn_rate=0.0)


class Clock(io.StringIO):
    """A stream that notes the time of the first text after `model: `."""

    def __init__(self) -> None:
        super().__init__()
        self.first = 0.0

    def write(self, text: str) -> int:
        if text.strip() and text != "model: " and not self.first:
            self.first = time.perf_counter()
        return super().write(text)


def first_token(trained: TrainedModel, question: str) -> float:
    """Return the seconds from a question to the first text of the reply in the terminal."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        session = Session(trained, Sampling(), 1, Recordings(Path(folder)))
        session.begin(["i have two dogs.", "i work as a nurse.", "i like tea."])
        with contextlib.redirect_stdout(Clock()) as clock:
            start = time.perf_counter()
            session.answer(question)
    return clock.first - start


if __name__ == "__main__":
    sys.exit(main())
