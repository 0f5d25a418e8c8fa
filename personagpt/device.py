"""The device, the processes of a run, and the number format of matrix products."""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from personagpt.errors import UserError

APEX_MISSING = (
    "precision = {name} needs NVIDIA apex with its amp module ({reason}): build apex from "
    "https://github.com/NVIDIA/apex at tag 25.04 (amp was removed on 2025-05-08; the package index's `apex` is another "
    "project), or set precision = fp16, which needs no apex"
)


@dataclass(frozen=True)
class Processes:
    """This process among those that torchrun started. Without torchrun there is one process.

    A method that exchanges something returns when every process has called it.
    """

    rank: int
    count: int
    device: torch.device
    cpu_group: dist.ProcessGroup | None = None  # numbers travel between CPUs, which never wait for a GPU

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is set in any process."""
        return bool(self.max(int(flag)))

    def max(self, number: int) -> int:
        """Return the largest `number` of all processes."""
        if self.count == 1:
            return number
        gathered = torch.tensor([number])
        dist.all_reduce(gathered, op=dist.ReduceOp.MAX, group=self.cpu_group)
        return int(gathered.item())

    def agree(self, number: int) -> bool:
        """Return whether `number` is the same in all processes."""
        return self.max(number) == -self.max(-number)

    def sum(self, value: Tensor) -> Tensor:
        """Add up `value` over all processes, in place. Return it."""
        if self.count > 1:
            dist.all_reduce(value)
        return value

    def add_up(self, tensors: list[Tensor]) -> None:
        """Add up each of `tensors` over all processes, in place."""
        for exchange in [dist.all_reduce(tensor, async_op=True) for tensor in tensors]:
            exchange.wait()

    def wait(self) -> None:
        """Return when every process has called this."""
        if self.count > 1:
            dist.barrier(group=self.cpu_group)


def pick_device(local_rank: int = 0) -> torch.device:
    """Return a CUDA GPU, else Apple's MPS, else the CPU. CUDA_VISIBLE_DEVICES chooses among several GPUs."""
    if torch.cuda.is_available():
        return torch.device("cuda", local_rank)
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next tensor. By default it asks Linux for pages, which Linux clears first."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-4, 0)  # M_MMAP_MAX: allocate from the heap only
        mallopt(-1, -1)  # M_TRIM_THRESHOLD: never shrink the heap


def configure_cuda() -> None:
    """Let CUDA compute float32 products in TF32, and attention without cuDNN. Without CUDA do nothing."""
    if not torch.cuda.is_available():
        return
    # TF32 has 10 of float32's 23 mantissa bits, at several times the speed. After a write to the newer setting
    # `fp32_precision`, every reader of the older names raises, and torch's own compiler is a reader.
    torch.set_float32_matmul_precision("high")
    # Newer versions of PyTorch prefer cuDNN's attention, which makes a plan for every length. A plan was seen to take
    # 1 s (https://github.com/modelscope/FunASR/issues/3704). Flash attention needs no plan.
    torch.backends.cuda.enable_cudnn_sdp(False)


@contextlib.contextmanager
def start_processes() -> Iterator[Processes]:
    """Join the processes that torchrun started, and leave them at the end. Without torchrun yield one process."""
    count, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    device = pick_device(int(os.environ.get("LOCAL_RANK", 0)))
    configure_cuda()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if count == 1:
        yield Processes(0, 1, device)
        return
    # The other processes wait while the first evaluates, which takes long on a large validation set.
    patience = datetime.timedelta(hours=4)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=patience)
    try:
        yield Processes(rank, count, device, dist.new_group(backend="gloo", timeout=patience))
    finally:
        dist.destroy_process_group()


def resolve_precision(name: str, device: torch.device) -> str:
    """Return the precision to use, also for `auto`. Raises UserError where the device or apex does not support it."""
    if name == "auto":
        if device.type != "cuda":
            return "fp32"
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if name.startswith("apex") or name == "fp16":
        if device.type != "cuda" and not (name == "fp16" and device.type == "mps"):
            raise UserError(f"precision = {name} needs a CUDA GPU; set precision = auto, fp32 or bf16")
    if name.startswith("apex"):
        import_apex(name)
    return name


def import_apex(name: str) -> Any:
    """Return apex's amp module. Raises UserError, which says what to build, where it is missing."""
    try:
        from apex import amp
    except Exception as error:  # the package index's `apex` raises errors of its own
        raise UserError(APEX_MISSING.format(name=name, reason=str(error).split("\n", 1)[0])) from None
    return amp


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """Return the context of forward passes: matrix products in bf16 or fp16 over float32 weights, or as they are."""
    if precision not in ("bf16", "fp16"):
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16 if precision == "bf16" else torch.float16)


def hardware(device: torch.device) -> str:
    """Return the device in words."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    return f"{device.type}, {torch.get_num_threads()} threads"
