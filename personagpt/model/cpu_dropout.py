"""Dropout that is faster on a CPU: the same function and distribution as PyTorch's.

PyTorch's fused CPU attention has no dropout. With dropout on, attention therefore falls back to full (T x T) matrices,
and each mask takes one random number an element: together a quarter of a training step. Here attention runs over
blocks of queries, each against the keys up to the block's own end, and a mask takes 16 random bits an element. The
probability of dropping is p rounded to 1/65536; the kept elements are scaled to match the rounded probability.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from personagpt.model.gpt2 import replace_modules

ATTENTION = "blocked_causal"  # the name under which transformers knows `attention_forward`
BLOCK = 64  # queries at a time; 32 to 128 take the same time


def use_cpu_dropout(model: PreTrainedModel) -> None:
    """Give a model that trains on the CPU the attention and dropout of this module."""
    AttentionInterface.register(ATTENTION, attention_forward)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    if model.config._attn_implementation == "sdpa":  # older kinds of models know only the plain one
        model.set_attn_implementation(ATTENTION)
    replace_modules(model, nn.Dropout, lambda module: Dropout(module.p))


def attention_forward(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Compute causal attention for transformers: query, key, value (B, H, T, D) -> (B, T, H, D)."""
    dropout, scaling = options.get("dropout", 0.0), options.get("scaling")
    # Another number of heads: several heads of queries share their keys.
    by_library = not dropout or attention_mask is not None or query.shape[1:3] != key.shape[1:3]
    if by_library or torch.compiler.is_compiling():  # compiled, the loop over blocks would be a program per length
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    with torch.autocast("cpu", enabled=False):  # bf16 gains nothing for products as small as these
        output = blocked_attention(query.float(), key.float(), value.float(), dropout, scaling)
    return output.transpose(1, 2), None


def blocked_attention(query: Tensor, key: Tensor, value: Tensor, p: float, scaling: float) -> Tensor:
    """Return dropout(softmax(query key^T * scaling)) value, causal; all four tensors are (B, H, T, D)."""
    return _BlockedAttention.apply(query, key, value, p, scaling)


class Dropout(nn.Module):
    """nn.Dropout with masks from `keep_mask`."""

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
    """Draw a mask that is True where an element is kept, from 16 bits of torch's generator for each element."""
    count = math.prod(shape)
    bits = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    return (bits[:count] >= round(p * 2**16) - 2**15).view(shape)


def keep_scale(p: float) -> float:
    """Return the factor on kept elements that leaves the expected value as it is."""
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
    """`blocked_attention`. Inside, B and H are one dimension N."""

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
            # First the product, then the sum: into a part of a tensor, baddbmm_ multiplies one matrix at a time.
            grad_value[:, :end] += torch.bmm(kept.transpose(1, 2), gradient[:, start:end])
            grad_scores = torch.bmm(gradient[:, start:end], value[:, :end].transpose(1, 2)).mul_(kept)
            grad_scores.sub_(weights.mul(row_sums[:, start:end]))
            grad_query[:, start:end] = torch.bmm(grad_scores, key[:, :end])
            grad_key[:, :end] += torch.bmm(grad_scores.transpose(1, 2), query[:, start:end])
        grad_query, grad_key = grad_query.mul_(ctx.scaling), grad_key.mul_(ctx.scaling)
        return grad_query.view(shape), grad_key.view(shape), grad_value.view(shape), None, None


def _blocks(length: int) -> list[tuple[int, int]]:
    """Return where each block of queries starts and ends."""
    return [(start, min(start + BLOCK, length)) for start in range(0, length, BLOCK)]
