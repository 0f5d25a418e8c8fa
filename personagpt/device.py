"""Devices, the processes of a run, and the number format of its products."""

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
    """This process among those torchrun started; one process without it."""

    rank: int
    count: int
    device: torch.device
    cpu_group: dist.ProcessGroup | None = None  # flags travel between CPUs: asking for one never waits for a GPU

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether `flag` is set in any process; every process must ask."""
        return bool(self.max(int(flag)))

    def max(self, number: int) -> int:
        """The largest `number` of all processes; every process must ask."""
        if self.count == 1:
            return number
        gathered = torch.tensor([number])
        dist.all_reduce(gathered, op=dist.ReduceOp.MAX, group=self.cpu_group)
        return int(gathered.item())

    def agree(self, number: int) -> bool:
        """Whether `number` is the same in all processes; every process must ask."""
        if self.count == 1:
            return True
        both = torch.tensor([number, -number])
        dist.all_reduce(both, op=dist.ReduceOp.MAX, group=self.cpu_group)
        return both[0].item() == -both[1].item()

    def sum(self, value: Tensor) -> Tensor:
        """The sum of `value` over all processes; every process must ask."""
        if self.count > 1:
            dist.all_reduce(value)
        return value

    def add_up(self, tensors: list[Tensor]) -> None:
        """Make each of `tensors` its sum over all processes; every process must ask."""
        for exchange in [dist.all_reduce(tensor, async_op=True) for tensor in tensors]:
            exchange.wait()

    def wait(self) -> None:
        """Return when every process is here."""
        if self.count > 1:
            dist.barrier(group=self.cpu_group)


def pick_device(local_rank: int = 0) -> torch.device:
    """CUDA where there is one, else Apple's MPS, else the CPU. CUDA_VISIBLE_DEVICES picks among several GPUs."""
    if torch.cuda.is_available():
        return torch.device("cuda", local_rank)
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def keep_freed_memory() -> None:
    """Let glibc keep what is freed for the next tensor. For large ones it asks Linux anew, who clears every page."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-4, 0)  # M_MMAP_MAX: no memory beside the heap,
        mallopt(-1, -1)  # M_TRIM_THRESHOLD: which never shrinks


def configure_cuda() -> None:
    """How CUDA computes in this process: float32 products in TF32, attention without cuDNN. Without CUDA, nothing."""
    if not torch.cuda.is_available():
        return
    # 10 of 23 mantissa bits, several times the speed. Asked for by this function, and not by `fp32_precision`: after
    # that, every reader of the older names raises, torch's own compiler among them.
    torch.set_float32_matmul_precision("high")
    # cuDNN's attention, which newer PyTorch prefers, plans anew for every length: 1 s each time was seen
    # (https://github.com/modelscope/FunASR/issues/3704). Flash attention needs no plan.
    torch.backends.cuda.enable_cudnn_sdp(False)


@contextlib.contextmanager
def start_processes() -> Iterator[Processes]:
    """Join the processes torchrun started, if it did, and leave them at the end."""
    count, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    device = pick_device(int(os.environ.get("LOCAL_RANK", 0)))
    configure_cuda()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if count == 1:
        yield Processes(0, 1, device)
        return
    # The others wait while the first process evaluates and saves; that may take long on a large validation set.
    patience = datetime.timedelta(hours=4)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=patience)
    try:
        yield Processes(rank, count, device, dist.new_group(backend="gloo", timeout=patience))
    finally:
        dist.destroy_process_group()


def resolve_precision(name: str, device: torch.device) -> str:
    """`auto` made definite; raises UserError where the device or apex cannot do what was asked."""
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
    """apex's amp module. Raises UserError, which says what to build, where it is missing."""
    try:
        from apex import amp
    except Exception as error:  # the index's `apex` fails in ways of its own when imported
        raise UserError(APEX_MISSING.format(name=name, reason=str(error).split("\n", 1)[0])) from None
    return amp


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """The context of forward passes: bf16 or fp16 matrix products over float32 weights, or nothing."""
    if precision not in ("bf16", "fp16"):
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16 if precision == "bf16" else torch.float16)


def hardware(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    return f"{device.type}, {torch.get_num_threads()} threads"
