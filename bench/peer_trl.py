"""This project's training against TRL's SFTTrainer: the same model, sequences, labels and optimizer, in one process.

    python -m bench.peer_trl --model mini                       on a CPU, some minutes
    python -m bench.peer_trl --model medium --dialogues 400     on a GPU

TRL is none of this project's requirements. Install it beside the pinned torch, in an environment of its own:

    python -m venv .venv-trl && .venv-trl/bin/pip install -r requirements.txt && .venv-trl/bin/pip install trl==1.16.0

Reads   ../shared/convai2 and ../shared/dialogpt-medium where they are, else data/sample. Weights are random.
Prints  for each batch size and each of TRL's ways to batch (padded and grouped by length; on a GPU also padding-free
        and packed, and each with Liger kernels where that package is installed; all also compiled), the responses per
        second of one pass over the data; then, for the best of each, passes in turns, medians over rounds, and their
        ratio.
TRL gets the sequences tokenized, with labels on the responses only; its loss needs no full matrix of logits either.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import os
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

if importlib.util.find_spec("trl") is None:
    print("error: TRL is not installed here; the first lines of bench/peer_trl.py say how", file=sys.stderr)
    sys.exit(2)

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from datasets import Dataset, disable_progress_bars
from transformers import TrainerCallback
from transformers.utils import is_flash_attn_2_available
from trl import SFTConfig, SFTTrainer

from bench.common import SIZES, Material, Training, prepare, run_steps, seconds, synchronize
from personagpt.device import hardware, pick_device

warnings.simplefilter("ignore", FutureWarning)  # TRL uses names that transformers is about to change

CPU_BATCH_SIZES = (1, 2, 4, 8)
GPU_BATCH_SIZES = (8, 16, 32, 64)


@dataclass
class Variant:
    """One way to run TRL."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    attention: str | None = None  # None: the library's choice


GROUPED = {"train_sampling_strategy": "group_by_length"}
COMPILED = {"torch_compile": True}
LIGER = {"use_liger_kernel": True}


def variants(device: torch.device) -> list[Variant]:
    """TRL's ways that can run here. On a CPU, which has no attention without padding, batches are padded."""
    padded = Variant("padded", GROUPED)
    kernels = {"": {}, ", compiled": COMPILED}
    if device.type != "cuda":
        return [Variant(padded.name + name, padded.options | options) for name, options in kernels.items()]
    flash = "flash_attention_2" if is_flash_attn_2_available() else None
    batching = [
        padded,
        Variant("padding-free", GROUPED | {"padding_free": True, "max_length": None}, flash),
        Variant("packed", {"packing": True, "max_length": 1024}, flash),
    ]
    if importlib.util.find_spec("liger_kernel"):
        kernels |= {", Liger": LIGER, ", Liger, compiled": LIGER | COMPILED}
    return [
        Variant(way.name + name, way.options | options, way.attention)
        for way in batching
        for name, options in kernels.items()
    ]


class Stopwatch(TrainerCallback):
    """Times training alone, without the trainer's own preparation."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def on_train_begin(self, *arguments: Any, **options: Any) -> None:
        synchronize(self.device)
        self.start = time.perf_counter()

    def on_train_end(self, *arguments: Any, **options: Any) -> None:
        synchronize(self.device)
        self.seconds = time.perf_counter() - self.start


class Peer:
    """TRL's trainer over the material; each pass trains on all of it once."""

    def __init__(
        self, material: Material, folder: Path, device: torch.device, variant: Variant, batch_size: int
    ) -> None:
        on_gpu = device.type == "cuda"
        config = SFTConfig(
            output_dir=str(folder / "trl"),
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=max(1, 8 // batch_size),
            num_train_epochs=1,
            learning_rate=material.settings.learn_rate,
            weight_decay=0.0,
            max_grad_norm=1.0,
            optim="adamw_torch_fused",
            bf16=on_gpu,
            use_cpu=not on_gpu,
            gradient_checkpointing=False,  # TRL's default is True: less memory, a third more time
            dataloader_num_workers=4 if on_gpu else 0,
            dataloader_persistent_workers=on_gpu,
            logging_steps=1000,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=42,
            **variant.options,
        )
        model = material.model()
        if variant.attention:
            model.set_attn_implementation(variant.attention)
        items = [material.dataset[index] for index in range(len(material.dataset))]
        rows = [{key: tensor.tolist() for key, tensor in item.items()} for item in items]
        self.stopwatch = Stopwatch(device)
        self.trainer = SFTTrainer(
            model=model,
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=material.tokenizer,
            callbacks=[self.stopwatch],
        )
        self.trainer.log = lambda *arguments, **options: None  # it prints a summary after each pass

    def one_pass(self) -> float:
        """Train on all sequences; returns the seconds it took."""
        self.trainer.train()
        return self.stopwatch.seconds


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SIZES, default="mini")
    parser.add_argument("--dialogues", type=int, default=32, help="how many are trained on (default: 32)")
    parser.add_argument("--batch-sizes", type=int, nargs="+", help="default: 1 2 4 8 on a CPU, 8 16 32 64 on a GPU")
    parser.add_argument("--rounds", type=int, default=3, help="passes of each in turns (default: 3)")
    options = parser.parse_args(arguments)
    disable_progress_bars()
    device = pick_device()
    batch_sizes = options.batch_sizes or (GPU_BATCH_SIZES if device.type == "cuda" else CPU_BATCH_SIZES)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        material = prepare(folder, options.model, options.dialogues)
        responses = len(material.dataset.tensors.responses)
        print(f"{hardware(device)}, torch {torch.__version__}; {options.model}, {material.text}, {responses} responses")

        training = Training(material, material.model(), device)
        ours = {size: responses / our_pass(training, size) for size in batch_sizes}
        for size, rate in ours.items():
            print(f"this project, batch_size {size}: {rate:.2f} responses/s")
        best = max(ours, key=ours.__getitem__)

        theirs: dict[tuple[str, int], float] = {}
        for variant in variants(device):
            for size in batch_sizes:
                try:
                    peer = Peer(material, folder, device, variant, size)
                    warm_up, taken = peer.one_pass(), peer.one_pass()
                except Exception as error:  # a way that cannot run here must not cost the others their figures
                    reason = str(error).strip().split("\n", 1)[0]
                    print(f"TRL, {variant.name}, batch_size {size}: {type(error).__name__}: {reason}")
                    continue
                theirs[variant.name, size] = responses / taken
                print(f"TRL, {variant.name}, batch_size {size}: {responses / taken:.2f} responses/s", end="")
                print(f" (first pass: {responses / warm_up:.2f})")
                del peer
        name, size = max(theirs, key=theirs.__getitem__)
        peer = Peer(material, folder, device, next(v for v in variants(device) if v.name == name), size)
        peer.one_pass()
        our_pass(training, best)
        turns = [(responses / one_pass(training), responses / peer.one_pass()) for _ in range(options.rounds)]

    print(f"this project, batch_size {best}: {median(our for our, _ in turns):.2f} responses/s")
    print(f"TRL, {name}, batch_size {size}: {median(their for _, their in turns):.2f} responses/s")
    ratios = [our / their for our, their in turns]
    print(f"ratio {median(ratios):.2f} (rounds: {', '.join(f'{ratio:.2f}' for ratio in ratios)})")
    return 0


def our_pass(training: Training, batch_size: int) -> float:
    """Seconds of a second pass with `batch_size`: the first one warms up."""
    training.use_batch_size(batch_size)
    one_pass(training)
    return one_pass(training)


def one_pass(training: Training) -> float:
    """Train on all sequences once; returns the seconds it took."""
    numbers = range(1, training.plan.steps_per_epoch + 1)
    return seconds(functools.partial(run_steps, training, numbers), training.device)


if __name__ == "__main__":
    sys.exit(main())
