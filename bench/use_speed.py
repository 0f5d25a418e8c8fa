"""How fast a model is used: scoring against training, batched replies against single ones, the first token of a talk.

    python bench/use_speed.py                                    the sample's base model
    python bench/use_speed.py --model FOLDER --init random       another one, for example a larger configuration
    python bench/use_speed.py --text FILE                        other dialogues (default: the sample's validation text)

Each figure is the best of three rounds: other programs on the machine only ever make it worse.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import torch

from interact import Session, check_options
from personagpt.device import Processes, autocast, hardware, pick_device, resolve_precision
from personagpt.model.generation import generate_replies
from personagpt.model.loading import load_model, load_tokenizer
from personagpt.model.trained import TrainedModel
from personagpt.scoring.metrics import teacher_forced_metrics
from personagpt.sequences.batches import load_batch
from personagpt.sequences.format import Encoder, PersonaChatDataset
from personagpt.settings import read_settings
from personagpt.text.convai2 import read_corpus
from preprocess_dataset import encode_corpus
from train import Trainer

ROUNDS, BATCH = 3, 16


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(ROOT / "data/sample/base"))
    parser.add_argument("--init", default="pretrained", choices=["pretrained", "random"])
    parser.add_argument("--text", type=Path, default=ROOT / "data/sample/valid_both_original_no_cands.txt")
    parser.add_argument("--dialogues", type=int, default=24, help="how many of the text's dialogues")
    options = parser.parse_args()
    device = pick_device()
    tokenizer = load_tokenizer(options.model)
    encoder = Encoder(tokenizer)
    model = load_model(options.model, len(tokenizer), options.init).to(device)
    precision = autocast(resolve_precision("auto", device), device)
    corpus = read_corpus(options.text)
    corpus.dialogues, corpus.sides = corpus.dialogues[: options.dialogues], corpus.sides[: options.dialogues]
    tensors = encode_corpus(corpus, encoder, 20, model.config.n_positions, str(options.text))
    dataset = PersonaChatDataset.from_tensors(tensors, model.config.n_positions)
    print(f"{hardware(device)}; {sum(p.numel() for p in model.parameters()):,} parameters, {len(dataset)} sequences")

    tokens = int(dataset.lengths.sum())
    settings = read_settings(ROOT / ".env", {})
    trainer = Trainer(settings, Processes(0, 1, device), resolve_precision("auto", device), model)
    training, scoring = best_of(
        lambda: train_once(trainer, dataset, encoder),
        lambda: teacher_forced_metrics(model, dataset, encoder, precision),
    )
    train, score = tokens / training, 2 * tokens / scoring  # true and exchanged personas
    print(f"train      {train:>10,.0f} tokens/s")
    print(f"evaluate   {score:>10,.0f} tokens/s, {score / train:.1f} times as many")

    contexts = [dataset.sequence(i)[0][: dataset.sequence(i)[1][0, 0]].tolist() for i in range(BATCH)]
    single, batched = best_of(
        lambda: [generate_replies(model, encoder, [context], precision) for context in contexts],
        lambda: generate_replies(model, encoder, contexts, precision),
    )
    print(f"replies    {BATCH / single:>10.1f} a second one by one")
    print(f"           {BATCH / batched:>10.1f} a second in a batch of {BATCH}, {single / batched:.1f} times as many")
    trained = TrainedModel(options.model, model.eval(), tokenizer, encoder, precision, "", None)
    waits = [first_token(trained, corpus.dialogues[i].utterances[0]) for i in range(min(10, len(corpus.dialogues)))]
    print(
        f"first text {np.median(waits):>10.3f} s after the question (median of {len(waits)}), {max(waits):.3f} s at worst"
    )
    return 0


def best_of(*works: Callable[[], object]) -> list[float]:
    """The shortest time of each work, in seconds: by turns, so that other programs disturb all alike."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS + 1):  # the first one warms up
        for work, taken in zip(works, times, strict=True):
            start = time.perf_counter()
            with contextlib.redirect_stderr(io.StringIO()):
                work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - start)
    return [min(taken[1:]) for taken in times]


def train_once(trainer: Trainer, dataset: PersonaChatDataset, encoder: Encoder) -> None:
    """One epoch in steps of 8 sequences, as train.py takes them, with learning rate 0."""
    trainer.model.train()
    order, device = np.argsort(-dataset.lengths), trainer.processes.device
    for start in range(0, len(order), 8):
        batch = load_batch(dataset, order[start : start + 8], encoder.eos).to(device)
        with autocast(trainer.precision, device):
            total = trainer.loss_module(batch.input_ids, batch.label_index, batch.targets)
        trainer.backward(total / len(batch.targets))
        trainer.optimizer_step(0.0)


class Clock(io.StringIO):
    """Notes when the first text after `model: ` is written."""

    def __init__(self) -> None:
        super().__init__()
        self.first = 0.0

    def write(self, text: str) -> int:
        if text.strip() and text != "model: " and not self.first:
            self.first = time.perf_counter()
        return super().write(text)


def first_token(trained: TrainedModel, question: str) -> float:
    """Seconds from a question to the first text of the reply in the terminal."""
    options = argparse.Namespace(
        top_k=10, top_p=0.92, temperature=1.0, max_new_tokens=40, seed=1, turns=1, export=None, only_flagged=False,
        persona_file=None, persona=["i have two dogs .", "i work as a nurse .", "i like tea ."],
    )  # fmt: skip
    check_options(options)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        session = Session(trained, options, Path(folder))
        session.begin(options.persona)
        with contextlib.redirect_stdout(Clock()) as clock:
            start = time.perf_counter()
            session.answer(question)
    return clock.first - start


if __name__ == "__main__":
    sys.exit(main())
