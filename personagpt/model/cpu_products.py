"""Matrix products by the faster of the CPU's two libraries.

For float32, torch.mm calls Intel's MKL, which leaves the AVX-512 units of AMD's processors idle. PyTorch ships a second
library, oneDNN, which uses these units and is twice as fast there. torch.compile reaches oneDNN through the operator
that this module calls. The sums are the same up to the order of their terms. On Intel's processors both libraries take
the same time, and MKL stays: https://github.com/pytorch/pytorch/pull/91763 (review of 2023-01-05). bench/RESULTS.md
has the rates.
"""

from __future__ import annotations

import functools
import platform
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from personagpt.model.gpt2 import replace_modules


@functools.cache
def has_onednn() -> bool:
    """Return whether this PyTorch has oneDNN and the operator that reaches it."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@functools.cache
def onednn_is_faster() -> bool:
    """Return whether oneDNN multiplies faster than torch.mm on this machine: on AMD's processors with AVX-512."""
    described = Path("/proc/cpuinfo")
    maker = described.read_text() if described.is_file() else platform.processor()
    is_amd_with_avx512 = "AuthenticAMD" in maker and torch.backends.cpu.get_cpu_capability() == "AVX512"
    return has_onednn() and is_amd_with_avx512


def should_use_onednn(left: Tensor) -> bool:
    """Return whether a product with `left` (M, K) is faster through oneDNN than through torch.mm."""
    # torch.compile chooses a library itself, and fails at oneDNN's operator.
    if torch.compiler.is_compiling() or not onednn_is_faster():
        return False
    # A single row waits for memory, not for arithmetic, and oneDNN would first reorder the other matrix.
    plain_float32 = left.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return left.device.type == "cpu" and plain_float32 and len(left) > 1


def onednn_product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return left (M, K) @ right (N, K).T + bias (N,) -> (M, N)."""
    return torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")


def onednn_product_over_rows(left: Tensor, right: Tensor) -> Tensor:
    """Return left (K, M).T @ right (K, N) -> (M, N), perhaps as a view of its transpose."""
    # The operator copies its first argument into rows, so the smaller matrix comes first.
    if left.shape[1] <= right.shape[1]:
        return onednn_product(left.T, right.T)
    return onednn_product(right.T, left.T).T


def product(left: Tensor, right: Tensor, out: Tensor | None = None) -> Tensor:
    """Return left (M, K) @ right (K, N) -> (M, N) by the faster library, on any device; `out` may hold the result."""
    if not should_use_onednn(left):
        return torch.mm(left, right, out=out)
    result = onednn_product(left, right.T)
    return result if out is None else out.copy_(result)


def add_product_over_rows(total: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
    """Return total + left (K, M).T @ right (K, N) -> (M, N) float32, in place; a `total` of None counts as 0."""
    if total is not None and left.dtype == torch.float32 and not should_use_onednn(left):
        return total.addmm_(left.T, right)
    part = onednn_product_over_rows(left, right) if should_use_onednn(left) else left.T @ right
    return part.float() if total is None else total.add_(part)


def use_cpu_products(model: PreTrainedModel) -> None:
    """Let a model on the CPU multiply in its blocks by the functions above, where oneDNN is faster."""
    if onednn_is_faster() and model.device.type == "cpu":
        replace_modules(model.base_model, Conv1D, Projection)
        replace_modules(model.base_model, nn.Linear, Projection)


class Projection(nn.Module):
    """GPT-2's Conv1D, or a Linear layer, over the same parameters, which keep their names."""

    def __init__(self, layer: Conv1D | nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias  # (K, N) or Linear's (N, K); (N,) or None
        self.is_linear = isinstance(layer, nn.Linear)

    def forward(self, values: Tensor) -> Tensor:
        """Return values (..., K) @ weight + bias -> (..., N)."""
        rows, weight = values.flatten(0, -2), self.weight.T if self.is_linear else self.weight  # (M, K), (K, N)
        if should_use_onednn(rows):
            output = _Projection.apply(rows, weight, self.bias)
        else:
            output = rows @ weight if self.bias is None else torch.addmm(self.bias, rows, weight)
        return output.unflatten(0, values.shape[:-1])


class _Projection(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return onednn_product(rows, weight.T, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        rows, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_bias = gradient.sum(0) if ctx.needs_input_grad[2] else None
        return onednn_product(gradient, weight), onednn_product_over_rows(rows, gradient), of_bias
