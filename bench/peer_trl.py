"""This project's training against TRL's SFTTrainer: the same model, sequences, labels and optimizer, in one process.

    python -m bench.peer_trl --model mini                       on a CPU, some minutes; --model llama: another family
    python -m bench.peer_trl --model medium --dialogues 400     on a GPU

TRL is no requirement of this project. Install it, with the pinned torch, into an environment of its own:

    python -m venv .venv-trl && .venv-trl/bin/pip install -r requirements.txt && .venv-trl/bin/pip install trl==1.16.0

Reads   ../shared/convai2 and ../shared/dialogpt-medium if they exist, else data/sample. Weights are random.
Prints  the responses per second of one pass over the data, for each batch size and each way in which TRL can batch:
        padded and grouped by length; on a GPU also padding-free and packed, and each way with Liger kernels if that
        package is installed; every way also compiled. Then the best of each program takes turns with the other: the
        medians over rounds, and their ratio.
TRL gets tokenized sequences with labels on the responses only. Its loss needs no full matrix of logits either.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.utils import is_flash_attn_2_available

from bench.common import SIZES, Material, Training, prepare, run_steps, seconds, synchronize
from personagpt.device import hardware, pick_device

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
    """Return the ways in which TRL can run on `device`. A CPU has no attention without padding: batches are padded."""
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
    """Take the time of training alone, without the trainer's own preparation."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def on_train_begin(self, *arguments: Any, **options: Any) -> None:
        synchronize(self.device)
        self.start = time.perf_counter()

    def on_train_end(self, *arguments: Any, **options: Any) -> None:
        synchronize(self.device)
        self.seconds = time.perf_counter() - self.start


class Peer:
    """TRL's trainer. Each pass trains on all sequences of the material once."""

    def __init__(
        self, material: Material, folder: Path, device: torch.device, variant: Variant, batch_size: int
    ) -> None:
        from datasets import Dataset  # TRL and its requirements are optional
        from trl import SFTConfig, SFTTrainer

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
        self.trainer.log = lambda *arguments, **options: None  # without this line TRL prints a summary after each pass

    def one_pass(self) -> float:
        """Train on all sequences. Return the seconds."""
        self.trainer.train()
        return self.stopwatch.seconds


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SIZES, default="mini")
    parser.add_argument("--dialogues", type=int, default=32, help="how many dialogues to train on (default: 32)")
    parser.add_argument("--batch-sizes", type=int, nargs="+", help="default: 1 2 4 8 on a CPU, 8 16 32 64 on a GPU")
    parser.add_argument("--rounds", type=int, default=3, help="passes of each program in turns (default: 3)")
    options = parser.parse_args(arguments)
    if importlib.util.find_spec("trl") is None:
        print("error: TRL is not installed here; the first lines of bench/peer_trl.py say how", file=sys.stderr)
        return 2
    from datasets import disable_progress_bars

    disable_progress_bars()
    warnings.simplefilter("ignore", FutureWarning)  # TRL uses names that transformers is about to change
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

        variant, size = best_of_trl(material, folder, device, batch_sizes)
        peer = Peer(material, folder, device, variant, size)
        peer.one_pass()
        our_pass(training, best)
        turns = [(responses / one_pass(training), responses / peer.one_pass()) for _ in range(options.rounds)]

    print(f"this project, batch_size {best}: {median(our for our, _ in turns):.2f} responses/s")
    print(f"TRL, {variant.name}, batch_size {size}: {median(their for _, their in turns):.2f} responses/s")
    ratios = [our / their for our, their in turns]
    print(f"ratio {median(ratios):.2f} (rounds: {', '.join(f'{ratio:.2f}' for ratio in ratios)})")
    return 0


def best_of_trl(
    material: Material, folder: Path, device: torch.device, batch_sizes: Sequence[int]
) -> tuple[Variant, int]:
    """Measure each way of TRL with each batch size, and print its rate. Return the fastest way and its batch size."""
    responses = len(material.dataset.tensors.responses)
    rates: list[tuple[float, Variant, int]] = []
    for variant in variants(device):
        for size in batch_sizes:
            try:
                peer = Peer(material, folder, device, variant, size)
                warm_up, taken = peer.one_pass(), peer.one_pass()
            except Exception as error:  # a way that cannot run here must not cost the figures of the others
                reason = str(error).strip().split("\n", 1)[0]
                print(f"TRL, {variant.name}, batch_size {size}: {type(error).__name__}: {reason}")
                continue
            rates.append((responses / taken, variant, size))
            print(f"TRL, {variant.name}, batch_size {size}: {responses / taken:.2f} responses/s", end="")
            print(f" (first pass: {responses / warm_up:.2f})")
            del peer
    _, variant, size = max(rates, key=lambda rate: rate[0])
    return variant, size


def our_pass(training: Training, batch_size: int) -> float:
    """Return the seconds of the second pass with `batch_size`. The first pass warms up."""
    training.use_batch_size(batch_size)
    one_pass(training)
    return one_pass(training)


def one_pass(training: Training) -> float:
    """Train on all sequences once. Return the seconds."""
    numbers = range(1, training.plan.steps_per_epoch + 1)
    return seconds(functools.partial(run_steps, training, numbers), training.device)


if __name__ == "__main__":
    sys.exit(main())
