"""What a pair of replies for every eight sequences adds to the time of a training step.

    python -m bench.preference_speed                         on a CPU, a minute
    python -m bench.preference_speed --model medium          DialoGPT-medium's size
    python -m bench.preference_speed --batch-size 1          as in .env: eight batches of one sequence each

Reads   ../shared/convai2 and ../shared/dialogpt-medium if they exist, else data/sample. Weights are random.
Prints  the median time of a step of eight sequences with one pair, and without, and the median ratio of the two (aim:
        at most 1.35). On a CPU these are seconds of the processor, which other programs hardly change. The same steps
        are taken with and without, in turns. A pair's context ends before an utterance of the text, drawn at random.
        The utterance is the chosen reply, and an utterance of another dialogue is the rejected reply.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import random
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch

from bench.common import SIZES, Material, Training, prepare, seconds
from personagpt.device import autocast, hardware, pick_device
from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.sequences.preference_tensors import PreferenceData, encode_preferences
from personagpt.sequences.preferences import Preference
from personagpt.text.convai2 import read_corpus
from personagpt.training.preferences import log_likelihoods


def make_pairs(material: Material, count: int) -> PreferenceData:
    """Return `count` pairs of the material's text."""
    chance = random.Random(0)
    dialogues = read_corpus(material.text).dialogues
    items = []
    while len(items) < count:
        dialogue, other = chance.sample(dialogues, 2)
        turn = chance.randrange(1, min(len(dialogue.utterances), material.settings.max_turns))
        speaker, before = turn % 2, list(dialogue.utterances[:turn])
        chosen, rejected = dialogue.utterances[turn], chance.choice(other.utterances)
        items.append(Preference(0, list(dialogue.personas[speaker]), before, speaker, None, chosen, rejected))
    longest = int(material.dataset.metadata["context"])
    tensors, _ = encode_preferences(items, material.encoder, longest, str(material.text))
    dataset = PersonaChatDataset.from_tensors(tensors, longest)
    dataset.metadata["held_back"] = "0"
    return PreferenceData(dataset)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SIZES, default="mini")
    parser.add_argument("--batch-size", type=int, default=8, help="sequences of a batch; a step has 8 (default: 8)")
    parser.add_argument("--precision", default="auto", help="default: auto")
    parser.add_argument("--steps", type=int, default=20, help="default: 20")
    parser.add_argument(
        "--apart", action="store_true", help="read the context once for each reply, as models that are no GPT-2 do"
    )
    options = parser.parse_args(arguments)
    device = pick_device()
    with tempfile.TemporaryDirectory() as name:
        material = prepare(Path(name), options.model, dialogues=200)
        training = Training(material, material.model(), device, options.precision, options.batch_size)
    pairs, trainer = make_pairs(material, options.steps + 1), training.trainer
    trainer.reference = log_likelihoods(trainer.model, pairs, autocast(training.precision, device))
    lengths, contexts = material.dataset.lengths, pairs.dataset.lengths - pairs.dataset.label_tokens
    print(
        f"{hardware(device)}, torch {torch.__version__}; {options.model}, {training.precision}, {material.text}; "
        f"tokens: {lengths.mean():.0f} in a sequence, {contexts.mean():.0f} in a pair's context, "
        f"{pairs.dataset.label_tokens.mean():.0f} in a reply"
    )
    taken: dict[bool, list[float]] = {False: [], True: []}
    for number in range(options.steps + 1):
        for paired in (False, True) if number % 2 else (True, False):
            items = trainer.items(pairs, np.array([number])) if paired else None
            if items and options.apart:
                items = dataclasses.replace(items, shares_contexts=False)
            before = time.process_time()
            passed = seconds(functools.partial(training.take_step, number + 1, items), device)
            taken[paired].append(time.process_time() - before if device.type == "cpu" else passed)
    without, with_pair = (times[1:] for times in taken.values())  # the first step is a warm-up
    ratios = sorted(late / early for early, late in zip(without, with_pair, strict=True))
    quarter = len(ratios) // 4
    print(
        f"step without {median(without):.3f} s, with a pair {median(with_pair):.3f} s, ratio {median(ratios):.2f} "
        f"(half of the steps: {ratios[quarter]:.2f} to {ratios[-1 - quarter]:.2f})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
