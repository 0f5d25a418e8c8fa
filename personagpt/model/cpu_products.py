"""Float32 matrix products on AMD's processors, twice as fast: through oneDNN in place of Intel's MKL.

torch.mm and its kin call MKL for float32 on the CPU, and MKL leaves the AVX-512 units of another maker's processor idle.
PyTorch ships a second library, oneDNN, which uses them; torch.compile reaches it through the operator that is called
here. The sums are the same up to the order of their terms. On Intel's processors both are alike, and MKL stays:
https://github.com/pytorch/pytorch/pull/91763 (review of 2023-01-05). bench/RESULTS.md has the rates.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from personagpt.model.loading import replace_modules

# oneDNN writes a program for each shape and keeps 1,024 of them in each of two caches: half a gigabyte, for lengths that
# hardly come back. A step has about 15 shapes.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
os.environ.setdefault("LRU_CACHE_CAPACITY", "64")


def _is_amd_with_avx512() -> bool:
    described = Path("/proc/cpuinfo")
    maker = described.read_text() if described.is_file() else platform.processor()
    return "AuthenticAMD" in maker and torch.backends.cpu.get_cpu_capability() == "AVX512"


AVAILABLE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
PAYS = AVAILABLE and _is_amd_with_avx512()


def fast(left: Tensor) -> bool:
    """Whether a product with `left` (M, K) should go through the functions below."""
    if not PAYS or torch.compiler.is_compiling():  # the compiler chooses for itself, and fails at this operator
        return False
    # One row alone waits for memory, not for arithmetic, and oneDNN would first bring the other matrix into its order.
    plain_float32 = left.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return left.device.type == "cpu" and plain_float32 and len(left) > 1


def product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """left (M, K) @ right (N, K).T + bias (N,) -> (M, N)"""
    return torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")


def product_over_rows(left: Tensor, right: Tensor) -> Tensor:
    """left (K, M).T @ right (K, N) -> (M, N), perhaps as a view of its transpose."""
    # The operator copies its first argument into rows: let that be the smaller one.
    if left.shape[1] <= right.shape[1]:
        return product(left.T, right.T)
    return product(right.T, left.T).T


def use_cpu_products(model: PreTrainedModel) -> None:
    """Let the blocks of a GPT-2 on the CPU multiply by the functions above, where that pays."""
    if not PAYS or model.device.type != "cpu":
        return
    replace_modules(model, Conv1D, Projection)


class Projection(nn.Module):
    """GPT-2's Conv1D over the same parameters, which keep their names."""

    def __init__(self, conv1d: Conv1D) -> None:
        super().__init__()
        self.weight, self.bias = conv1d.weight, conv1d.bias  # (K, N), (N,)

    def forward(self, values: Tensor) -> Tensor:
        """values (..., K) -> (..., N)"""
        rows = values.flatten(0, -2)  # (M, K)
        if fast(rows):
            output = _Projection.apply(rows, self.weight, self.bias)
        else:
            output = torch.addmm(self.bias, rows, self.weight)
        return output.unflatten(0, values.shape[:-1])


class _Projection(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return product(rows, weight.T, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        return product(gradient, weight), product_over_rows(rows, gradient), gradient.sum(0)
