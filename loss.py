"""The loss over response tokens: the vocabulary projection only where there is a label, in pieces.

About 42% of a sequence's tokens are labels, and a (tokens x 50k) matrix of logits would be the largest tensor of the
whole step. Here hidden states are gathered at the label positions first, and logits exist for a few rows at a time.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Logits in memory at a time: 2**24 are 64 MB in float32, 333 rows of GPT-2's vocabulary. Larger pieces buy nothing.
PIECE = 1 << 24
# cuBLAS and tensor cores want rows of aligned length; 50263 is odd, so the (small) cast copy of the matrix is padded.
ALIGN = 64


class ResponseLoss(nn.Module):
    """Wraps a GPT-2; its forward pass is the summed negative log-likelihood of the label tokens."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, label_index: Tensor, targets: Tensor) -> Tensor:
        """input_ids (B, T); label_index (N,): rows of the flattened (B * T) that predict targets (N,). -> scalar, nats."""
        # No attention mask: padding is on the right, where a causal model never looks.
        hidden = self.model.transformer(input_ids, use_cache=False).last_hidden_state  # (B, T, C)
        hidden = hidden.flatten(0, 1).index_select(0, label_index)  # (N, C)
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
    def forward(ctx, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        vocabulary = len(weight)
        matrix = weight.to(hidden.dtype)  # (V, C)
        if hidden.is_cuda:
            matrix = nn.functional.pad(matrix, (0, 0, 0, -vocabulary % ALIGN))
        rows = max(1, PIECE // vocabulary)
        need_hidden, need_weight = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(hidden) if need_hidden else None
        grad_weight = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device) if need_weight else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for start in range(0, len(hidden), rows):
            piece, wanted = hidden[start : start + rows], targets[start : start + rows]  # (n, C), (n,)
            logits = (piece @ matrix.T)[:, :vocabulary].float()  # (n, V)
            log_total = logits.logsumexp(1, keepdim=True)  # (n, 1)
            total += (log_total - logits.gather(1, wanted[:, None])).sum()
            if need_hidden or need_weight:
                # d nll / d logits = softmax - one_hot
                error = logits.sub_(log_total).exp_()
                error[torch.arange(len(wanted), device=wanted.device), wanted] -= 1
                error = error.to(hidden.dtype)
            if need_hidden:
                grad_hidden[start : start + len(piece)] = error @ matrix[:vocabulary]
            if need_weight:
                grad_weight += error.T @ piece
        ctx.save_for_backward(grad_hidden, grad_weight)
        return total

    @staticmethod
    def backward(ctx, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_weight = ctx.saved_tensors
        if grad_hidden is not None:
            grad_hidden = grad_hidden * grad_output.to(grad_hidden.dtype)
        if grad_weight is not None:
            grad_weight = grad_weight.mul_(grad_output)
        return grad_hidden, grad_weight, None
