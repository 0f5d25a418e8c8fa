"""The loss over response tokens: the vocabulary projection only where there is a label, in pieces.

About 42% of a sequence's tokens are labels, and a (tokens x 50k) matrix of logits would be the largest tensor of the
whole step. Here hidden states are gathered at the label positions first, and logits exist for a few rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from personagpt.model import cpu_products
from personagpt.model.loading import hidden_states

# Logits in memory at a time: 2**25 are 128 MB in float32, 667 rows of GPT-2's vocabulary. bench/loss_pieces.py
PIECE = 1 << 25
# cuBLAS and tensor cores want rows of aligned length; 50263 is odd, so the (small) cast copy of the matrix is padded.
ALIGN = 64


class ResponseLoss(nn.Module):
    """Wraps a GPT-2; its forward pass is the summed negative log-likelihood of the label tokens."""

    def __init__(self, model: nn.Module, uncast: Callable[[], AbstractContextManager] = nullcontext) -> None:
        """`uncast` suspends the casts that apex-O1 puts into torch's own functions: into copies, for those with `out=`."""
        super().__init__()
        self.model, self.uncast = model, uncast

    def forward(self, input_ids: Tensor, label_index: Tensor, targets: Tensor) -> Tensor:
        """input_ids (B, T); label_index (N,): rows of the flattened (B * T) that predict targets (N,). -> scalar, nats."""
        hidden = hidden_states(self.model, input_ids).flatten(0, 1).index_select(0, label_index)  # (N, C)
        with self.uncast():
            return nll_sum(hidden, self.model.lm_head.weight, targets)


@torch.compiler.disable  # a loop over pieces of two matrix products each: nothing to fuse, and N changes every time
def nll_sum(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Sum of -log softmax(hidden @ weight.T)[targets] over the N rows: hidden (N, C), weight (V, C), targets (N,)."""
    if torch.is_autocast_enabled(hidden.device.type):
        hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
    return _PiecewiseNLL.apply(hidden, weight, targets)


class _PiecewiseNLL(torch.autograd.Function):
    """Gradients are taken during the forward pass, piece by piece, while the logits are at hand."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        vocabulary = len(weight)
        matrix = weight.to(hidden.dtype)  # (V', C)
        if hidden.is_cuda:
            matrix = nn.functional.pad(matrix, (0, 0, 0, -vocabulary % ALIGN))
        pieces = max(1, -(-len(hidden) * len(matrix) // PIECE))
        rows = max(1, -(-len(hidden) // pieces))  # pieces of equal size: a small last one would be slow
        need_hidden, need_weight = ctx.needs_input_grad[:2]
        by_onednn = cpu_products.fast(hidden)
        grad_hidden = torch.empty_like(hidden) if need_hidden else None
        grad_weight = None
        if need_weight and not by_onednn:
            grad_weight = torch.zeros(matrix.shape, dtype=torch.float32, device=weight.device)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        # One buffer for all pieces: fresh memory costs the CPU page faults.
        buffer = None if by_onednn else hidden.new_empty(min(rows, len(hidden)), len(matrix))
        for start in range(0, len(hidden), rows):
            piece, wanted = hidden[start : start + rows], targets[start : start + rows, None]  # (n, C), (n, 1)
            if by_onednn:
                products = cpu_products.product(piece, matrix)
            else:
                products = torch.mm(piece, matrix.T, out=buffer[: len(piece)])
            logits = products.float()  # (n, V')
            logits[:, vocabulary:] = -torch.inf
            log_likelihood = torch.log_softmax(logits, 1, out=logits)
            total -= log_likelihood.gather(1, wanted).sum()
            if not (need_hidden or need_weight):
                continue
            # d nll / d logits = softmax - one_hot
            error = log_likelihood.exp_().scatter_add_(1, wanted, log_likelihood.new_full(wanted.shape, -1))
            error = products.copy_(error)  # into the matrix products' precision; nothing to do in float32
            if need_hidden and by_onednn:
                grad_hidden[start : start + rows] = cpu_products.product(error, matrix.T)
            elif need_hidden:
                torch.mm(error, matrix, out=grad_hidden[start : start + rows])
            if need_weight and by_onednn:
                part = cpu_products.product_over_rows(error, piece)
                grad_weight = part if grad_weight is None else grad_weight.add_(part)
            elif need_weight and error.dtype == torch.float32:
                grad_weight.addmm_(error.T, piece)
            elif need_weight:
                grad_weight += error.T @ piece
        # Not among the saved tensors: autograd may then keep what it is given in place of a copy.
        ctx.gradients = grad_hidden, grad_weight[:vocabulary].contiguous() if need_weight else None
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        return *(gradient if gradient is None else gradient.mul_(grad_output) for gradient in gradients), None
