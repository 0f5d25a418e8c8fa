"""The loss over response tokens: the vocabulary projection only where there is a label, a piece at a time.

About 42% of a sequence's tokens are labels, and a (tokens x 50k) matrix of logits would be the largest tensor of the
whole step. Here hidden states exist at the label positions only, and logits for a few of these rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from personagpt.model.cpu_products import add_product_over_rows, product, should_use_onednn
from personagpt.model.decoders import hidden_states, output_matrix

# Logits in memory at a time: 2**25 are 128 MB in float32, 667 rows of GPT-2's vocabulary. bench/loss_pieces.py
PIECE = 1 << 25
# cuBLAS and tensor cores want rows of aligned length; 50263 is odd, so the (small) cast copy of the matrix is padded.
ALIGN = 64


class ResponseLoss(nn.Module):
    """Wraps a decoder; its forward pass is the weighted sum of the label tokens' negative log-likelihoods."""

    def __init__(self, model: nn.Module, uncast: Callable[[], AbstractContextManager] = nullcontext) -> None:
        """`uncast` suspends apex-O1's casts, which replace a function's arguments by copies, its `out=` included."""
        super().__init__()
        self.model, self.uncast = model, uncast

    def forward(
        self, input_ids: Tensor, label_index: Tensor, targets: Tensor, row_weights: Tensor | None = None
    ) -> Tensor:
        """Return the loss of input_ids (B, T), a scalar in nats.

        label_index (N,) are the rows of the flattened (B * T) that predict targets (N,); `row_weights` (N,) are
        `nll_sum`'s.
        """
        hidden = hidden_states(self.model, input_ids, label_index)  # (N, C)
        with self.uncast():
            return nll_sum(hidden, output_matrix(self.model), targets, row_weights)

    def weighted(
        self, input_ids: Tensor, label_index: Tensor, targets: Tensor, weigh: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Return a loss whose rows weigh what `weigh` returns, (N,), for their negative log-likelihoods (N,), nats.

        The other arguments are `forward`'s. The likelihoods and the gradient come from one pass, so that dropout's
        masks are the same in both.
        """
        hidden = hidden_states(self.model, input_ids, label_index)  # (N, C)
        matrix = output_matrix(self.model)
        with torch.no_grad():
            nll, _ = score_hidden(hidden, matrix, targets)
            weights = weigh(nll)
        with self.uncast():
            return nll_sum(hidden, matrix, targets, weights)


@torch.compiler.disable  # a loop over pieces of two matrix products each: nothing to fuse, and N changes every time
def nll_sum(hidden: Tensor, weight: Tensor, targets: Tensor, row_weights: Tensor | None = None) -> Tensor:
    """Return the sum of row_weights * -log softmax(hidden @ weight.T)[targets] over the N rows, a float32 scalar.

    hidden (N, C), weight (V, C), targets (N,). `row_weights` (N,) float32 may be negative, and get no gradient. Without
    them every row counts once. A loss that depends on the rows' likelihoods only has the gradient of such a sum: the
    weight of a row is then the derivative of that loss by the row's negative log-likelihood.
    """
    if torch.is_autocast_enabled(hidden.device.type):
        hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
    return _PiecewiseNLL.apply(hidden, weight, targets, row_weights)


class _PiecewiseNLL(torch.autograd.Function):
    """`nll_sum`. Gradients are computed in the forward pass, piece by piece, while the logits are in memory."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, row_weights: Tensor | None) -> Tensor:
        vocabulary = len(weight)
        matrix = aligned(weight, hidden) if hidden.is_cuda else weight.to(hidden.dtype)  # (V', C)
        need_hidden, need_weight = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(hidden) if need_hidden else None
        grad_weight = None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        rows = rows_per_piece(len(hidden), len(matrix))
        # One buffer for the logits of all pieces: fresh memory costs the CPU page faults.
        buffer = None if should_use_onednn(hidden) else hidden.new_empty(min(rows, len(hidden)), len(matrix))
        for start in range(0, len(hidden), rows):
            piece, true = hidden[start : start + rows], targets[start : start + rows, None]  # (n, C), (n, 1)
            products = product(piece, matrix.T, out=None if buffer is None else buffer[: len(piece)])
            logits = products.float()  # (n, V')
            logits[:, vocabulary:] = -torch.inf
            true_logits, largest = logits.gather(1, true), logits.amax(1, keepdim=True)  # (n, 1)
            # In place, and no exponential twice: the likeliest token's probability gives the normalizer.
            probabilities = torch.softmax(logits, 1, out=logits)
            nll = largest - probabilities.amax(1, keepdim=True).log() - true_logits  # (n, 1)
            # d nll / d logits = softmax - one_hot
            error = probabilities.scatter_add_(1, true, true_logits.new_full(true.shape, -1))
            if row_weights is not None:
                factors = row_weights[start : start + rows, None]  # (n, 1)
                nll, error = nll * factors, error.mul_(factors)
            total += nll.sum()
            error = products.copy_(error)  # into the matrix products' precision; nothing to do in float32
            if need_hidden:
                product(error, matrix, out=grad_hidden[start : start + rows])
            if need_weight:
                grad_weight = add_product_over_rows(grad_weight, error, piece)
        if grad_weight is None and need_weight:  # a batch without a label
            grad_weight = torch.zeros_like(weight, dtype=torch.float32)
        # Not among the saved tensors, and without the padding no view: autograd may then keep the tensors that it is
        # given, and add to them in place.
        ctx.gradients = grad_hidden, grad_weight.resize_(weight.shape).contiguous() if need_weight else None
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        return *(gradient if gradient is None else gradient.mul_(grad_output) for gradient in gradients), None, None


def aligned(weight: Tensor, like: Tensor) -> Tensor:
    """Return `weight` (V, C) in the type of `like`, with rows of zeros up to a multiple of ALIGN: one copy (V', C)."""
    matrix = like.new_empty(len(weight) + -len(weight) % ALIGN, weight.shape[1])
    matrix[: len(weight)] = weight
    matrix[len(weight) :] = 0
    return matrix


def rows_per_piece(count: int, vocabulary: int) -> int:
    """Return how many of `count` rows of logits to hold at a time, in equal pieces: a small last one would be slow."""
    pieces = max(1, -(-count * vocabulary // PIECE))
    return max(1, -(-count // pieces))


def score_hidden(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the negative log-likelihood (N,) of targets (N,) in nats, and the most likely token (N,) of each row.

    hidden (N, C), weight (V, C). A weight in half precision makes the products half precision, too.
    """
    nll, predicted = [], []
    rows = max(1, PIECE // len(weight))
    for piece, true in zip(hidden.split(rows), targets.split(rows), strict=True):
        logits = product(piece.to(weight.dtype), weight.T).float()  # (n, V)
        true_logits, (largest, token) = logits.gather(1, true[:, None])[:, 0], logits.max(1)
        # log-sum-exp by hand and in place: the maximum is known, and a second matrix is not needed.
        nll.append(logits.sub_(largest[:, None]).exp_().sum(1).log_() + largest - true_logits)
        predicted.append(token)
    return torch.cat(nll), torch.cat(predicted)
