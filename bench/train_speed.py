"""Training speed: this project's step against the two original programs' (reference_loop.py), in one process.

    python -m bench.train_speed --model mini                    on a CPU, some minutes
    python -m bench.train_speed --model medium                  DialoGPT-medium's size; less than six minutes on a GPU
    python -m bench.train_speed --model tiny --check            no timing: compare the losses with a plain loop's

Reads   ../shared/convai2 and ../shared/dialogpt-medium if they exist, else data/sample. Weights are random.
Prints  the responses per second of the three loops, which take turns (medians over rounds), and their ratios; the share
        of a large matrix product's rate that each loop reaches, measured in the same run and number format; the time
        that three epochs of ConvAI2 would take; the time of a checkpoint, and how much of it training waits. On a GPU
        also the best batch size and the peak memory. There the originals run in float32 with TF32.
Operations are counted as 6 x parameters of the blocks x tokens (without padding) + 6 x parameters of the vocabulary
projection x label tokens. The program of August 2021 reads each context anew for every response, and all these tokens
count. That of October 2020 reads a dialogue once, with both personas; every utterance is a response.
"""

from __future__ import annotations

import argparse
import functools
import gc
import itertools
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch

from bench.common import SIZES, TRAINED_DIALOGUES, Material, Training, Work, matrix_rate, prepare, run_steps, seconds
from bench.reference_loop import Item, dialogue_pairs, train_dialogues, train_pairs, whole_dialogues
from personagpt.device import hardware, pick_device
from personagpt.sequences.format import IGNORED
from personagpt.training.checkpoint import save_checkpoint
from personagpt.training.optimization import optimizer_tensors, schedule
from personagpt.training.saver import SaveThread, copies

CONVAI2_TOKENS = 491_447 * TRAINED_DIALOGUES // 1_000  # an epoch: 491,447 tokens in 1,000 dialogues
BATCH_SIZES = (8, 16, 32, 64, 128)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CHECKED_STEPS, TOLERANCE = 20, 1e-5
OURS = "this project"
SAVES = 5  # how often a save is timed


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SIZES, default="mini")
    parser.add_argument("--batch-size", type=int, help="default: 8 on a CPU, the best of several on a GPU")
    parser.add_argument("--precision", choices=("auto", *DTYPES), default="auto", help="of this project's loop")
    parser.add_argument("--seconds", type=float, default=10, help="length of a turn (default: 10)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each loop (default: 5)")
    parser.add_argument("--check", action="store_true", help="compare losses with a plain loop's, without dropout")
    options = parser.parse_args(arguments)
    device = pick_device()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        material = prepare(folder, options.model)
        print(f"{hardware(device)}, torch {torch.__version__}; {material.text}, {len(material.dataset)} sequences")
        if options.check:
            return check(material, device, options.batch_size or 8)
        training = Training(material, material.model(), device, options.precision, options.batch_size or 8)
        if device.type == "cuda" and not options.batch_size:
            training.use_batch_size(best_batch_size(training))
        tokens_per_second = compare(material, training, options.seconds, options.rounds)
        projection(tokens_per_second)
        steps = 2 * TRAINED_DIALOGUES * 3 / training.plan.per_step
        print(f"three epochs have {steps:,.0f} steps, with a checkpoint every {training.settings.save_steps}")
        report_save(material, training, folder)
        if device.type == "cuda":
            del training
            memory(options.model, folder, device)
    return 0


def best_batch_size(training: Training) -> int:
    """Return the batch size with the most responses per second, in one pass over the data after a warm-up."""
    rates = {}
    for batch_size in BATCH_SIZES:
        training.use_batch_size(batch_size)
        torch.cuda.reset_peak_memory_stats()
        numbers = range(1, training.plan.steps_per_epoch + 1)
        try:
            first = seconds(functools.partial(run_steps, training, numbers[:3]), training.device)
            taken = seconds(functools.partial(run_steps, training, numbers), training.device)
        except torch.OutOfMemoryError:
            print(f"batch_size {batch_size}: out of memory")
            break
        rates[batch_size] = sum(training.work(number).responses for number in numbers) / taken
        peak = torch.cuda.max_memory_allocated() / 1e9
        print(
            f"batch_size {batch_size}: {rates[batch_size]:.0f} responses/s, peak memory {peak:.1f} GB "
            f"(its first 3 steps, with what had to be compiled: {first:.1f} s)"
        )
    return max(rates, key=rates.__getitem__)


def compare(material: Material, training: Training, turn: float, rounds: int) -> float:
    """Let the loops take turns of about `turn` seconds, on the same dialogues. Return this project's tokens/s."""
    device = training.device
    training.step(1)
    numbers = range(
        1, 1 + count_within(turn, (functools.partial(training.step, k) for k in itertools.count(1)), device)
    )
    work = sum((training.work(number) for number in numbers), Work())
    loops = dict(originals(material, training, numbers))
    counts = {name: count_steps(steps, turn, device) for name, steps in loops.items()}

    taken: dict[str, list[float]] = {name: [] for name in (OURS, *loops)}
    done: dict[str, list[Work]] = {name: [] for name in (OURS, *loops)}
    for _ in range(rounds):
        taken[OURS].append(seconds(functools.partial(run_steps, training, numbers), device))
        done[OURS].append(work)
        for name, steps in loops.items():
            seen: list[list[Item]] = []
            taken[name].append(seconds(functools.partial(seen.extend, itertools.islice(steps, counts[name])), device))
            done[name].append(sum((item_work(item, material.encoder.eos) for step in seen for item in step), Work()))

    model = training.trainer.model
    print(
        f"{Path(training.settings.model_name).name}: {sum(each.numel() for each in model.parameters()):,} parameters; "
        f"{rounds} rounds of {len(numbers)} steps of {training.plan.per_step} sequences (batch_size "
        f"{training.settings.batch_size}), and of {' and '.join(map(str, counts.values()))} steps of the originals"
    )
    ours = report(OURS, model, training.precision, done[OURS], taken[OURS], device)
    for name in loops:
        theirs = report(name, model, "fp32", done[name], taken[name], device)
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        print(f"ratio to {name} {median(ratios):.2f} (rounds: {', '.join(f'{ratio:.2f}' for ratio in ratios)})")
    return work.tokens / median(taken[OURS])


def originals(material: Material, training: Training, numbers: range) -> Iterator[tuple[str, Iterator[list[Item]]]]:
    """Yield the name and the endless steps of each original program, on the sequences of the steps `numbers`."""
    data, chance = material.dataset, random.Random(0)
    indices = [index for k in numbers for index in training.plan.group(k)]
    dialogues = np.unique(data.tensors.dialogues[indices]).tolist()
    for name, items, train in (
        ("August 2021", list(dialogue_pairs(data, indices)), train_pairs),
        ("October 2020", list(whole_dialogues(data, material.encoder, dialogues)), train_dialogues),
    ):
        chance.shuffle(items)
        model = material.model().to(training.device)
        yield name, train(model, itertools.cycle(items), training.settings.learn_rate)


def count_steps(steps: Iterator[list[Item]], turn: float, device: torch.device) -> int:
    """Return how many of `steps` fit into `turn` seconds, after a first step."""
    next(steps)
    return count_within(turn, itertools.repeat(functools.partial(next, steps)), device)


def count_within(limit: float, steps: Iterator[Callable[[], object]], device: torch.device) -> int:
    """Return how many steps fit into `limit` seconds, at least 2."""
    total = 0.0
    for count in itertools.count(1):
        total += seconds(next(steps), device)
        if total >= limit and count >= 2:
            return count
    raise AssertionError


def item_work(item: Item, eos: int) -> Work:
    """Return how much an original program trains with an item. Each response among its labels ends in `eos`."""
    context, labels = item
    return Work(int((labels == eos).sum()), len(context) + len(labels), len(labels))


def report(
    name: str, model: torch.nn.Module, precision: str, work: list[Work], taken: list[float], device: torch.device
) -> list[float]:
    """Print the line of a loop. Return its responses per second in each round."""
    rates = [done.responses / time for done, time in zip(work, taken, strict=True)]
    tokens = median(done.tokens / time for done, time in zip(work, taken, strict=True))
    operations = median(done.operations(model) / time for done, time in zip(work, taken, strict=True))
    peak = matrix_rate(device, DTYPES[precision])
    print(
        f"{name:13}{precision}  {median(rates):9.2f} responses/s ({min(rates):.2f} to {max(rates):.2f})  {tokens:9.0f} "
        f"tokens/s  {operations / 1e12:8.3f} of {peak / 1e12:.3f} T operations/s = {operations / peak:.1%}"
    )
    return rates


def projection(tokens_per_second: float) -> None:
    """Print the time that three epochs of ConvAI2 would take."""
    minutes = 3 * CONVAI2_TOKENS / tokens_per_second / 60
    print(
        f"three epochs of ConvAI2: 3 x {CONVAI2_TOKENS:,} tokens / {tokens_per_second:,.0f} tokens/s = {minutes:,.1f} "
        "min (without evaluations and checkpoints)"
    )


def report_save(material: Material, training: Training, folder: Path) -> None:
    """Print the time of a checkpoint, flushed to the disk, and the time that the steps beside it lose."""
    model, saves, numbers = training.trainer.model, SaveThread(), itertools.count(1)

    def save(beside: Callable[[], object]) -> None:
        weights = copies(model.state_dict())
        tensors = copies(optimizer_tensors(training.trainer.optimizer, with_masters=False))

        def write_model(target: Path) -> None:
            model.save_pretrained(target, state_dict=weights)
            material.tokenizer.save_pretrained(target)

        saves.start(lambda: save_checkpoint(folder / "checkpoint", 1, write_model, {"step": 1}, tensors))
        beside()
        saves.wait()

    alone = median(seconds(functools.partial(save, lambda: None), training.device) for _ in range(SAVES))
    steps = count_within(3 * alone, (functools.partial(training.step, k) for k in numbers), training.device)
    train = functools.partial(run_steps, training, range(1, 1 + steps))
    lost = [
        seconds(functools.partial(save, train), training.device) - seconds(train, training.device) for _ in range(SAVES)
    ]
    print(
        f"a checkpoint takes {alone:.2f} s; beside {steps} steps it costs {median(lost):.2f} s "
        f"({min(lost):.2f} to {max(lost):.2f})"
    )


def memory(size: str, folder: Path, device: torch.device) -> None:
    """Print the peak GPU memory at batch_size 1, in the step with the longest sequence, not compiled."""
    for number, (model_size, precision, recompute) in enumerate([(size, "fp32", False), ("large", "auto", True)]):
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        material = prepare(folder / f"memory-{number}", model_size)
        training = Training(
            material, material.model(), device, precision, 1, compile="False", gradient_checkpointing=recompute
        )
        longest = material.dataset.lengths.argmax()
        step = next(k for k in itertools.count(1) if longest in training.plan.group(k))
        training.step(step)  # the first call also makes the optimizer's moments
        training.step(step)
        print(
            f"peak memory of {model_size}, {training.precision}, batch_size 1, gradient_checkpointing {recompute}, "
            f"longest sequence {material.dataset.lengths.max()}: {torch.cuda.max_memory_allocated() / 1e9:.2f} GB"
        )
        del training


def check(material: Material, device: torch.device, batch_size: int) -> int:
    """Compare the first losses with a plain loop's: full logits of padded batches, the library's loss, plain AdamW.

    Return the exit status.
    """
    training = Training(material, material.model(dropout=0.0), device, "fp32", batch_size)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("highest")  # TF32's ten bits would hide a difference
    model = material.model(dropout=0.0).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=training.settings.learn_rate, eps=1e-8, weight_decay=0.0)
    worst = 0.0
    for number in range(1, CHECKED_STEPS + 1):
        ours = training.step(number).item()
        inputs = padded([material.dataset[int(index)] for index in training.plan.group(number)], material.encoder.eos)
        loss = model(**{key: tensor.to(device) for key, tensor in inputs.items()}).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), training.settings.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = training.settings.learn_rate * schedule(number, training.total_steps, 0)
        optimizer.step()
        optimizer.zero_grad()
        difference = abs(ours - loss.item())
        worst = max(worst, difference)
        print(f"step {number:2}: {ours:.7f} and {loss.item():.7f}, difference {difference:.1e}")
    verdict = "agree" if worst <= TOLERANCE else "DISAGREE"
    print(
        f"batch_size {batch_size}: {CHECKED_STEPS} losses {verdict}, largest difference {worst:.1e}, "
        f"allowed {TOLERANCE:.0e}"
    )
    return 0 if worst <= TOLERANCE else 1


def padded(items: list[dict[str, torch.Tensor]], pad: int) -> dict[str, torch.Tensor]:
    """Return a batch for the library's model: input_ids, labels and attention_mask, each (B, T)."""
    pad_to_longest = functools.partial(torch.nn.utils.rnn.pad_sequence, batch_first=True)
    return {
        "input_ids": pad_to_longest([item["input_ids"] for item in items], padding_value=pad),
        "labels": pad_to_longest([item["labels"] for item in items], padding_value=IGNORED),
        "attention_mask": pad_to_longest([torch.ones_like(item["labels"]) for item in items]),
    }


if __name__ == "__main__":
    sys.exit(main())
