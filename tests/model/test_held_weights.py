"""held_weights.py: the products of float32, or of autocast, with weights that were cast once."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from personagpt.model import held_weights
from personagpt.model.cpu_products import has_onednn
from personagpt.model.decoders import hidden_states, output_matrix
from personagpt.model.generation import ReplyRequest, generate_replies
from personagpt.model.held_weights import HeldProjection, hold_weights, is_faster_reordered, needs_autocast
from personagpt.model.loading import load_model
from personagpt.scoring.metrics import score
from personagpt.sequences.format import Encoder
from tests.families import FAMILIES, write_base

PLAIN = contextlib.nullcontext()
reorders = pytest.mark.skipif(not has_onednn(), reason="a PyTorch without oneDNN")


@pytest.fixture(params=["gpt2", *FAMILIES])
def model(request: pytest.FixtureRequest, base: Path, tmp_path: Path, tokenizer) -> PreTrainedModel:
    folder = base if request.param == "gpt2" else write_base(tmp_path / "base", request.param)
    return load_model(str(folder), len(tokenizer)).eval()


def reorder(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype | None) -> None:
    """Let products of `dtype` be the faster ones with reordered weights, whichever processor this is."""
    monkeypatch.setattr(held_weights, "is_faster_reordered", lambda wanted: wanted == dtype)


@reorders
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [(1,), (2, 3), (1, 40)])
def test_a_held_projection_multiplies_and_adds(dtype: torch.dtype, rows: tuple[int, ...]) -> None:
    """With whole numbers, which are exact in every format. The outputs are float32, as the inputs are."""
    values = torch.randint(-3, 4, (*rows, 24)).float()
    conv, linear = Conv1D(10, 24), nn.Linear(24, 10, bias=False)
    for layer in (conv, linear):
        layer.weight.data = torch.randint(-3, 4, layer.weight.shape).float()
    conv.bias.data = torch.arange(10.0)
    assert torch.equal(HeldProjection(conv, dtype)(values), values @ conv.weight + conv.bias)
    assert torch.equal(HeldProjection(linear, dtype)(values), values @ linear.weight.T)


@reorders
def test_in_float32_replies_and_scores_stay(model: PreTrainedModel, tokenizer, monkeypatch) -> None:
    encoder, held = Encoder(tokenizer), copy.deepcopy(model)
    reorder(monkeypatch, torch.float32)
    hold_weights(held, "fp32")
    assert any(isinstance(module, HeldProjection) for module in held.base_model.modules())
    contexts = [encoder.context(1, ["i have two dogs."] * count, ["hi !"] * count, 300) for count in (2, 1)]
    requests = [ReplyRequest(context) for context in contexts]
    replies = [generate_replies(each, encoder, requests, PLAIN) for each in (model, held)]
    assert replies[0] == replies[1]
    sequences = [(torch.arange(7, 47).numpy(), torch.tensor([[10, 13], [30, 40]]).numpy())]
    for ours, theirs in zip(score(held, sequences, PLAIN)[0], score(model, sequences, PLAIN)[0], strict=True):
        assert ours.nll == pytest.approx(theirs.nll, abs=1e-4)


@pytest.mark.parametrize("is_reordered", [pytest.param(True, marks=reorders), False])
def test_in_half_precision_logits_are_autocasts(model: PreTrainedModel, is_reordered: bool, monkeypatch) -> None:
    """Up to roundings, of which attention in float32 has fewer; the model's own weights are out of reach of both."""
    held = copy.deepcopy(model)
    reorder(monkeypatch, torch.bfloat16 if is_reordered else None)
    hold_weights(held, "bf16")
    assert needs_autocast(held) != is_reordered
    ids, rows = torch.arange(7, 47)[None], torch.arange(40)
    with torch.inference_mode():
        exact = hidden_states(model, ids, rows) @ output_matrix(model).T
        with torch.autocast("cpu", torch.bfloat16):
            cast = hidden_states(model, ids, rows) @ output_matrix(model).T
        with torch.autocast("cpu", torch.bfloat16, enabled=needs_autocast(held)):
            hidden, matrix = hidden_states(held, ids, rows), output_matrix(held)
            logits = hidden.to(matrix.dtype) @ matrix.T
    assert matrix.dtype == torch.bfloat16
    if not is_reordered:
        assert torch.equal(logits, cast)
    # No farther from float32's than autocast's, with some room for chance.
    assert (logits - exact).abs().mean() <= 1.5 * (cast - exact).abs().mean()


def test_embeddings_stay_float32(tiny_model: PreTrainedModel, monkeypatch) -> None:
    """Their matrix may be the output layer's, too."""
    before = tiny_model.get_input_embeddings().weight
    assert before is tiny_model.get_output_embeddings().weight
    reorder(monkeypatch, None)
    hold_weights(tiny_model, "bf16")
    assert tiny_model.get_input_embeddings().weight is before
    assert before.dtype == tiny_model.transformer.ln_f.weight.dtype == torch.float32
    assert tiny_model.get_output_embeddings().weight.dtype == torch.bfloat16


def test_where_reordered_weights_are_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_weights, "onednn_is_faster", lambda: False)
    monkeypatch.setattr(held_weights, "multiplies_bf16", lambda: has_onednn())
    assert [is_faster_reordered(dtype) for dtype in (torch.float32, torch.float16)] == [False, False]
    assert is_faster_reordered(torch.bfloat16) == has_onednn()
    monkeypatch.setattr(held_weights, "has_onednn", lambda: False)
    assert not is_faster_reordered(torch.bfloat16)
