"""Does this project's loop learn as well as the original loop? Validation perplexity after the same epochs, by seed.

    python -m bench.same_quality [--model tiny] [--epochs 3] [--seeds 3]        about an hour of CPU time for tiny

Reads   ../shared/convai2 and ../shared/dialogpt-medium if they exist, else data/sample. Weights are random.
Prints  the validation perplexity of each run, and mean and standard deviation of each loop.
Dropout is on. Both loops take about the same number of steps. A step of this project holds 8 sequences, with about 62
responses. A step of the reference holds 64 (context, response) pairs, as in the original program of August 2021. This
project averages its loss over tokens, the reference over responses.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path
from statistics import mean, stdev

import torch

from bench.common import SIZES, Material, Training, prepare, run_steps
from bench.reference_loop import PAIRS_PER_STEP, dialogue_pairs, train_pairs
from personagpt.device import autocast
from personagpt.scoring.metrics import figures, teacher_forced
from personagpt.sequences.dataset import PersonaChatDataset, encode_corpus
from personagpt.settings import TEXT_NAMES
from personagpt.text.convai2 import read_corpus

LEARN_RATE = 1e-3


def train_ours(material: Material, seed: int, epochs: int) -> torch.nn.Module:
    """Return a model that this project's loop has trained."""
    model = material.model()
    training = Training(material, model, torch.device("cpu"), seed=seed, epochs=epochs, learn_rate=LEARN_RATE)
    run_steps(training, range(1, training.total_steps + 1))
    return model


def train_reference(material: Material, seed: int, epochs: int) -> torch.nn.Module:
    """Return a model that the reference loop has trained."""
    model, chance = material.model(), random.Random(seed)
    torch.manual_seed(seed)
    pairs = list(dialogue_pairs(material.dataset, range(len(material.dataset))))
    order = [pair for _ in range(epochs) for pair in chance.sample(pairs, len(pairs))]
    for _ in train_pairs(model, order, LEARN_RATE, PAIRS_PER_STEP, steps=len(order) // PAIRS_PER_STEP):
        pass
    return model


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SIZES, default="tiny")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        material = prepare(Path(folder), options.model)
        text = material.text.with_name(TEXT_NAMES["valid"])
        tensors = encode_corpus(read_corpus(text), material.encoder, material.settings.max_turns, 1024, str(text))
        valid = PersonaChatDataset.from_tensors(tensors, 1024)
        perplexities: dict[str, list[float]] = {}
        for seed in range(options.seeds):
            for name, train in (("this project", train_ours), ("reference loop", train_reference)):
                model = train(material, seed, options.epochs)
                metrics = figures(teacher_forced(model, valid, material.encoder, autocast("fp32", model.device)))
                perplexities.setdefault(name, []).append(metrics["perplexity"])
                print(f"seed {seed}, {name}: validation perplexity {perplexities[name][-1]:.2f}", flush=True)
        for name, values in perplexities.items():
            spread = f" +- {stdev(values):.2f}" if len(values) > 1 else ""
            print(f"{name}: {mean(values):.2f}{spread} over {len(values)} seeds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
