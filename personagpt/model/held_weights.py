"""Weights for use, held in the number format in which they are used.

Autocast rounds a float32 weight anew for each product. While a model trains, its weights must stay float32. For use,
this module rounds the weights once. A reply of one speaker reads every weight for each token, so its speed is the
memory's, and weights of half the size are read in half the time.

On the CPU, oneDNN multiplies with weights that lie in the order in which it reads them. So do the weights here, in
float32 too, where oneDNN is the faster library. bench/RESULTS.md has the rates.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from personagpt.model.cpu_products import has_onednn, onednn_is_faster
from personagpt.model.gpt2 import replace_modules

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# oneDNN orders weights for products with this many rows. The order for 16 rows is also the fastest for a single row.
ROWS = 16


def hold_weights(model: PreTrainedModel, precision: str) -> None:
    """Let `model` hold the weights of its products in `precision`: fp32, bf16 or fp16. It can no longer be trained.

    Embeddings and norms stay float32. The output layer gets weights of its own, because embeddings may share them.
    """
    dtype, head = DTYPES[precision], model.get_output_embeddings()
    if model.device.type == "cpu" and is_faster_reordered(dtype):
        for kind in (Conv1D, nn.Linear):
            replace_modules(model.base_model, kind, lambda layer: HeldProjection(layer, dtype))
        model.set_output_embeddings(HeldOutput(head, dtype))
    elif dtype != torch.float32:
        head.weight = nn.Parameter(head.weight.detach())  # of its own from here on
        for layer in [head, *(each for each in model.base_model.modules() if isinstance(each, Conv1D | nn.Linear))]:
            layer.to(dtype)


def is_faster_reordered(dtype: torch.dtype) -> bool:
    """Return whether products of `dtype` on this CPU are faster with weights in oneDNN's order."""
    if not has_onednn() or not hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
        return False
    return onednn_is_faster() if dtype == torch.float32 else dtype == torch.bfloat16 and multiplies_bf16()


def multiplies_bf16() -> bool:
    """Return whether this CPU has instructions for products of bf16 numbers."""
    return torch.cpu._is_avx512_bf16_supported()


def needs_autocast(model: PreTrainedModel) -> bool:
    """Return whether `model` still needs autocast to compute in half precision: its layers do not cast by themselves.

    Without autocast, attention is in float32. A CPU attends from one query three to six times as fast in float32.
    """
    return not isinstance(model.get_output_embeddings(), HeldOutput)


class HeldProjection(nn.Module):
    """The product of GPT-2's Conv1D or of a Linear layer. Outputs have the number format of the inputs."""

    def __init__(self, layer: Conv1D | nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        weight = layer.weight.detach().to(dtype)
        rows = weight.T.contiguous() if isinstance(layer, Conv1D) else weight  # (N, K)
        self.dtype = dtype
        self.reordered = torch.ops.mkldnn._reorder_linear_weight(rows, ROWS)  # no parameter, and of no other use
        self.bias = None if layer.bias is None else layer.bias.detach().to(dtype)  # (N,)

    def forward(self, values: Tensor) -> Tensor:
        """Return values (..., K) @ weight.T + bias -> (..., N)."""
        rows = values.to(self.dtype)
        return torch.ops.mkldnn._linear_pointwise(rows, self.reordered, self.bias, "none", [], "").to(values.dtype)


class HeldOutput(HeldProjection):
    """A model's output layer. Scoring multiplies with its `weight`, which may be the embeddings' too."""

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__(layer, dtype)
        self.full = layer.weight  # (V, C) float32

    @property
    def weight(self) -> Tensor:
        """The matrix (V, C), rounded as the products round it."""
        return self.full.detach().to(self.dtype)
