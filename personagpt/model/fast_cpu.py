"""What makes training on a CPU faster. GPT-2's parts are replaced by parts that compute the same.

Dropout: PyTorch's fused CPU attention has none, so with dropout on, attention falls back to full (T x T) matrices, and
every mask takes one random number an element. Together that is a quarter of a training step. Here attention runs over
blocks of queries, each against the keys up to its own end, and a mask takes 16 random bits an element. The probability
of dropping is p rounded to 1/65536; the kept elements are scaled by exactly what that leaves.

Products: torch.mm calls Intel's MKL for float32, and MKL leaves the AVX-512 units of AMD's processors idle. PyTorch
ships a second library, oneDNN, which uses them and is twice as fast there; torch.compile reaches it through the
operator that is called here. The sums are the same up to the order of their terms. On Intel's processors both are
alike, and MKL stays: https://github.com/pytorch/pytorch/pull/91763 (review of 2023-01-05). bench/RESULTS.md has the
rates.
"""

from __future__ import annotations

import math
import platform
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.pytorch_utils import Conv1D

from personagpt.model.gpt2 import replace_modules

ATTENTION = "blocked_causal"  # the attention's name among those transformers knows
BLOCK = 64  # queries at a time; 32 to 128 are alike


def use_cpu_dropout(model: PreTrainedModel) -> None:
    """Give a GPT-2 that trains on the CPU the functions below in place of PyTorch's."""
    AttentionInterface.register(ATTENTION, attention_forward)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    model.set_attn_implementation(ATTENTION)
    replace_modules(model, nn.Dropout, lambda module: Dropout(module.p))


def attention_forward(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Causal attention for transformers: query, key, value (B, H, T, D) -> (B, T, H, D)."""
    dropout, scaling = options.get("dropout", 0.0), options.get("scaling")
    by_library = not dropout or attention_mask is not None or query.shape[2] != key.shape[2]
    if by_library or torch.compiler.is_compiling():  # compiled, our loop would be one program for every length
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    with torch.autocast("cpu", enabled=False):  # under bf16 too: for products this small it would gain nothing
        output = _BlockedAttention.apply(query.float(), key.float(), value.float(), dropout, scaling)
    return output.transpose(1, 2), None


class Dropout(nn.Module):
    """nn.Dropout with `keep_mask`."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, values: Tensor) -> Tensor:
        if not self.training or not self.p:
            return values
        if torch.compiler.is_compiling():
            return nn.functional.dropout(values, self.p)
        return _Dropout.apply(values, self.p)


def keep_mask(shape: torch.Size, p: float) -> Tensor:
    """True where an element is kept; drawn from torch's generator, 16 bits an element, whatever the threads."""
    count = math.prod(shape)
    bits = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    return (bits[:count] >= round(p * 2**16) - 2**15).view(shape)


def keep_scale(p: float) -> float:
    """What kept elements are multiplied by, so that the expected value stays the same."""
    return 1 / (1 - round(p * 2**16) / 2**16)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, p: float) -> Tensor:
        keep = keep_mask(values.shape, p)
        ctx.save_for_backward(keep)
        ctx.scale = keep_scale(p)
        return (values * keep).mul_(ctx.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (keep,) = ctx.saved_tensors
        return (gradient * keep).mul_(ctx.scale), None


class _BlockedAttention(torch.autograd.Function):
    """softmax(q k^T * scaling), dropout, times v. H and B are one dimension N inside."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, p: float, scaling: float) -> Tensor:
        shape = query.shape
        query, key, value = (tensor.flatten(0, 1).contiguous() for tensor in (query, key, value))  # (N, T, D)
        ctx.scaling, ctx.scale = scaling, keep_scale(p)
        future = torch.full((BLOCK, BLOCK), -math.inf).triu_(1)
        output, saved = torch.empty_like(query), []
        for start, end in _blocks(query.shape[1]):
            scores = torch.bmm(query[:, start:end], key[:, :end].transpose(1, 2)).mul_(scaling)  # (N, block, end)
            scores[:, :, start:].add_(future[: end - start, : end - start])
            weights = scores.softmax(-1)
            keep = keep_mask(weights.shape, p)
            output[:, start:end] = torch.bmm(weights * keep, value[:, :end]).mul_(ctx.scale)
            saved += [weights, keep]
        ctx.save_for_backward(query, key, value, output, *saved)
        return output.view(shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, output, *saved = ctx.saved_tensors
        shape, gradient = gradient.shape, gradient.flatten(0, 1).mul(ctx.scale)  # (N, T, D)
        grad_query, grad_key, grad_value = (torch.zeros_like(tensor) for tensor in (query, key, value))
        # For softmax, d scores = weights * (d weights - rowsum(weights * d weights)); that sum is gradient . output.
        row_sums = (gradient * output).sum(-1, keepdim=True).div_(ctx.scale)  # (N, T, 1)
        for number, (start, end) in enumerate(_blocks(query.shape[1])):
            weights, keep = saved[2 * number : 2 * number + 2]  # (N, block, end)
            kept = weights * keep
            # Products first, then sums: into a part of a tensor, baddbmm_ would multiply one matrix at a time.
            grad_value[:, :end] += torch.bmm(kept.transpose(1, 2), gradient[:, start:end])
            grad_scores = torch.bmm(gradient[:, start:end], value[:, :end].transpose(1, 2)).mul_(kept)
            grad_scores.sub_(weights.mul(row_sums[:, start:end]))
            grad_query[:, start:end] = torch.bmm(grad_scores, key[:, :end])
            grad_key[:, :end] += torch.bmm(grad_scores.transpose(1, 2), query[:, start:end])
        grad_query, grad_key = grad_query.mul_(ctx.scaling), grad_key.mul_(ctx.scaling)
        return grad_query.view(shape), grad_key.view(shape), grad_value.view(shape), None, None


def _blocks(length: int) -> list[tuple[int, int]]:
    return [(start, min(start + BLOCK, length)) for start in range(0, length, BLOCK)]


def _is_amd_with_avx512() -> bool:
    described = Path("/proc/cpuinfo")
    maker = described.read_text() if described.is_file() else platform.processor()
    return "AuthenticAMD" in maker and torch.backends.cpu.get_cpu_capability() == "AVX512"


HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
ONEDNN_IS_FASTER = HAS_ONEDNN and _is_amd_with_avx512()


def should_use_onednn(left: Tensor) -> bool:
    """Whether a product with `left` (M, K) is faster through oneDNN than through torch.mm."""
    if (
        not ONEDNN_IS_FASTER or torch.compiler.is_compiling()
    ):  # the compiler chooses for itself, and fails at this operator
        return False
    # One row alone waits for memory, not for arithmetic, and oneDNN would first bring the other matrix into its order.
    plain_float32 = left.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return left.device.type == "cpu" and plain_float32 and len(left) > 1


def onednn_product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """left (M, K) @ right (N, K).T + bias (N,) -> (M, N)"""
    return torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")


def onednn_product_over_rows(left: Tensor, right: Tensor) -> Tensor:
    """left (K, M).T @ right (K, N) -> (M, N), perhaps as a view of its transpose."""
    # The operator copies its first argument into rows: let that be the smaller one.
    if left.shape[1] <= right.shape[1]:
        return onednn_product(left.T, right.T)
    return onednn_product(right.T, left.T).T


def product(left: Tensor, right: Tensor, out: Tensor | None = None) -> Tensor:
    """left (M, K) @ right (K, N) -> (M, N) by the faster library, on any device; `out` may hold the result."""
    if not should_use_onednn(left):
        return torch.mm(left, right, out=out)
    result = onednn_product(left, right.T)
    return result if out is None else out.copy_(result)


def add_product_over_rows(total: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
    """total + left (K, M).T @ right (K, N) -> (M, N) float32, in place where there is a `total`; None counts as 0."""
    if total is not None and left.dtype == torch.float32 and not should_use_onednn(left):
        return total.addmm_(left.T, right)
    part = onednn_product_over_rows(left, right) if should_use_onednn(left) else left.T @ right
    return part.float() if total is None else total.add_(part)


def use_cpu_products(model: PreTrainedModel) -> None:
    """Let the blocks of a GPT-2 on the CPU multiply by the functions above, where that pays."""
    if not ONEDNN_IS_FASTER or model.device.type != "cpu":
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
        if should_use_onednn(rows):
            output = _Projection.apply(rows, self.weight, self.bias)
        else:
            output = torch.addmm(self.bias, rows, self.weight)
        return output.unflatten(0, values.shape[:-1])


class _Projection(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return onednn_product(rows, weight.T, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        return onednn_product(gradient, weight), onednn_product_over_rows(rows, gradient), gradient.sum(0)
