"""The loss over response tokens, forward and backward: loss.nll_sum against other ways to compute it.

    python -m bench.loss_pieces                                N = 1000 label rows of width 1024 (DialoGPT-medium's)
    python -m bench.loss_pieces --rows 8000 --width 384

Reads   nothing. Hidden states, weights (50,263 x width) and labels are random. The hidden states are bfloat16 on a GPU,
        as in training there, else float32.
Prints  the time of each way (best and median of several rounds in turns), its peak memory beyond inputs and gradients,
        and the difference of its loss from nll_sum's. The ways are the library's loss over the full matrix of logits,
        torch's linear_cross_entropy (from torch 2.13 on), whole and in chunks, and nll_sum with pieces of other sizes.
"""

from __future__ import annotations

import argparse
import functools
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional

from bench.common import matrix_rate, seconds
from personagpt.device import hardware, pick_device
from personagpt.model import loss

VOCABULARY = 50_263
CHUNKS = (64, 256, 1024)
PIECES = (22, 23, 24, 25, 26)

Way = Callable[[Tensor, Tensor, Tensor], Tensor]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000, help="labels (default: 1000, about 8 sequences)")
    parser.add_argument("--width", type=int, default=1024, help="the model's width (default: 1024)")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    options = parser.parse_args(arguments)
    device = pick_device()
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    torch.manual_seed(0)
    hidden = torch.randn(options.rows, options.width, device=device, dtype=dtype, requires_grad=True)
    weight = (torch.randn(VOCABULARY, options.width, device=device) * 0.02).requires_grad_()
    targets = torch.randint(VOCABULARY, (options.rows,), device=device)

    def run(way: Way) -> Tensor:
        hidden.grad = weight.grad = None
        result = way(hidden, weight, targets)
        result.backward()
        return result.detach()

    by_name = ways()
    expected = run(by_name["nll_sum"]).item()  # a warm-up too
    results = {
        name: (run(way).item(), peak_memory(functools.partial(run, way), device)) for name, way in by_name.items()
    }
    taken: dict[str, list[float]] = {name: [] for name in by_name}
    for _ in range(options.rounds):
        for name, way in by_name.items():
            taken[name].append(seconds(functools.partial(run, way), device))

    least = 6 * options.rows * VOCABULARY * options.width / matrix_rate(device, dtype)
    print(
        f"{hardware(device)}, torch {torch.__version__}, {options.rows} rows x {options.width}, {VOCABULARY} tokens, "
        f"{dtype}"
    )
    print(f"three matrix products at the machine's rate: {least * 1e3:.1f} ms")
    print(f"{'':44}{'best ms':>9}{'median ms':>11}{'memory MB':>11}{'error':>9}")
    for name, (value, peak) in results.items():
        memory = f"{peak / 1e6:.0f}" if peak is not None else "-"
        print(
            f"{name:44}{min(taken[name]) * 1e3:9.1f}{median(taken[name]) * 1e3:11.1f}{memory:>11}"
            f"{abs(value - expected) / options.rows:9.0e}"
        )
    return 0


def ways() -> dict[str, Way]:
    """Return each way by its name. Every way computes the summed negative log-likelihood."""
    by_name: dict[str, Way] = {"nll_sum": loss.nll_sum, "cross_entropy of the full matrix": full_matrix}
    if hasattr(functional, "linear_cross_entropy"):
        from torch.nn import LinearCrossEntropyOptions

        by_name["linear_cross_entropy"] = functools.partial(linear, None)
        by_name["linear_cross_entropy, default options"] = functools.partial(linear, LinearCrossEntropyOptions())
        for chunk in CHUNKS:
            options = LinearCrossEntropyOptions(batch_chunk_size=chunk)
            by_name[f"linear_cross_entropy, batch_chunk_size {chunk}"] = functools.partial(linear, options)
    for exponent in PIECES:
        by_name[f"nll_sum, PIECE 2**{exponent}"] = functools.partial(in_pieces, 1 << exponent)
    return by_name


def full_matrix(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    logits = functional.linear(hidden, weight.to(hidden.dtype))
    return functional.cross_entropy(logits.float(), targets, reduction="sum")


def linear(options: object, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    matrix = weight.to(hidden.dtype)
    return functional.linear_cross_entropy(hidden, matrix, targets, reduction="sum", options=options).float()


def in_pieces(piece: int, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    before, loss.PIECE = loss.PIECE, piece
    try:
        return loss.nll_sum(hidden, weight, targets)
    finally:
        loss.PIECE = before


def peak_memory(work: Callable[[], object], device: torch.device) -> int | None:
    """Return the bytes that `work` needs at its peak beyond what it leaves allocated, None if that is unknown."""
    gc.collect()
    work()
    if device.type == "cuda":
        left = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated() - left
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        return None
    left = status("VmRSS")
    reset.write_text("5")  # Linux forgets the peak of the resident memory so far
    work()
    return status("VmHWM") - left


def status(field: str) -> int:
    """Return a field of Linux's /proc/self/status, in bytes."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(text.split(f"{field}:")[1].split()[0])


if __name__ == "__main__":
    sys.exit(main())
