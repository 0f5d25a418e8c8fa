"""cpu_dropout.py: the same function and the same distribution as PyTorch's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from personagpt.model.cpu_dropout import (
    Dropout,
    attention_forward,
    blocked_attention,
    keep_mask,
    keep_scale,
    use_cpu_dropout,
)
from personagpt.model.loading import load_model


def test_the_share_dropped_and_the_scale() -> None:
    torch.manual_seed(0)
    keep = keep_mask(torch.Size([1000, 1003]), 0.1)
    share = 1 - keep.double().mean().item()
    assert share == pytest.approx(0.1, abs=4 * (0.1 * 0.9 / 1_003_000) ** 0.5)  # four standard deviations
    assert keep_scale(0.1) * (1 - 6554 / 65536) == 1.0
    # Each of the four elements that share a random number is dropped alike, and independently of its neighbour.
    columns = keep.flatten()[:1_000_000].view(-1, 4).double()
    assert torch.allclose(columns.mean(0), torch.full((4,), 0.9, dtype=torch.double), atol=0.003)
    assert torch.corrcoef(columns.T).fill_diagonal_(0).abs().max() < 0.01


def test_dropout_keeps_what_it_keeps_in_both_directions() -> None:
    layer = Dropout(0.25)
    values = torch.ones(10_000, requires_grad=True)
    dropped = layer(values)
    dropped.sum().backward()
    assert set(dropped.tolist()) == {0.0, torch.tensor(keep_scale(0.25)).item()}
    assert torch.equal(values.grad, dropped.detach())
    assert layer.eval()(values) is values


def inputs(length: int) -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randn(2, 3, length, 8, dtype=torch.double, requires_grad=True) for _ in range(3)]


@pytest.mark.parametrize("length", [1, 63, 64, 65, 150])
def test_without_dropping_it_is_causal_attention(length: int) -> None:
    tensors, gradient = inputs(length), torch.randn(2, 3, length, 8, dtype=torch.double)
    output = blocked_attention(*tensors, 0.0, 0.3)
    expected = scaled_dot_product_attention(*tensors, is_causal=True, scale=0.3)
    assert torch.allclose(output, expected, atol=1e-12)
    for ours, theirs in zip(
        torch.autograd.grad(output, tensors, gradient), torch.autograd.grad(expected, tensors, gradient), strict=True
    ):
        assert torch.allclose(ours, theirs, atol=1e-12)


def test_gradients_under_dropout_are_those_of_its_own_output() -> None:
    tensors = [tensor[:1, :2, :9].detach().requires_grad_() for tensor in inputs(70)]

    def attention(*given: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(5)  # the same masks at every evaluation
        return blocked_attention(*given, 0.3, 0.35)

    assert torch.autograd.gradcheck(attention, tensors, atol=1e-6)


def test_the_expected_output_is_the_one_without_dropout() -> None:
    tensors = [tensor.detach() for tensor in inputs(70)]
    torch.manual_seed(3)
    mean = torch.stack([blocked_attention(*tensors, 0.1, 0.35) for _ in range(400)]).mean(0)
    expected = scaled_dot_product_attention(*tensors, is_causal=True, scale=0.35)
    assert (mean - expected).abs().max() < 0.15
    assert (mean - expected).abs().mean() < 0.01


def test_bf16_differs_by_its_rounding_only() -> None:
    tensors = [tensor.detach().bfloat16().requires_grad_() for tensor in inputs(70)]
    results = []
    for dtype in (torch.bfloat16, torch.float32):
        given = [tensor.detach().to(dtype).requires_grad_() for tensor in tensors]
        torch.manual_seed(2)  # the same masks
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            output, _ = attention_forward(torch.nn.Module(), *given, None, dropout=0.2, scaling=0.35)
        output.sum().backward()
        assert [tensor.grad.dtype for tensor in given] == [dtype] * 3
        results.append([output, *(tensor.grad for tensor in given)])
    for ours, exact in zip(*results, strict=True):
        torch.testing.assert_close(ours.float(), exact, rtol=0.02, atol=0.02)


def test_in_a_model(base: Path, tmp_path: Path) -> None:
    for name in ("model.safetensors", "generation_config.json"):
        shutil.copy(base / name, tmp_path)
    dropout = {"attn_pdrop": 0.1, "resid_pdrop": 0.1, "embd_pdrop": 0.1}
    (tmp_path / "config.json").write_text(json.dumps(json.loads((base / "config.json").read_text()) | dropout))
    ours, plain = load_model(str(tmp_path), 0), load_model(str(tmp_path), 0)
    use_cpu_dropout(ours)
    assert not any(isinstance(module, torch.nn.Dropout) for module in ours.modules())
    ids = torch.arange(150).remainder(50)[None]
    assert torch.equal(ours.eval()(ids).logits, plain.eval()(ids).logits)
    torch.manual_seed(0)
    draws = [ours.train()(ids).logits for _ in range(2)]
    assert not torch.equal(*draws)
    assert ours.config.to_json_string() == plain.config.to_json_string()  # what is saved is a plain GPT-2
    replies = [m.eval().generate(ids[:, :20], max_new_tokens=5, do_sample=False) for m in (ours, plain)]
    assert torch.equal(*replies)
