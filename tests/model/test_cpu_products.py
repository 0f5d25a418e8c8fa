"""cpu_products.py: the same products as PyTorch's own, forward and backward."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from personagpt.model import cpu_products
from personagpt.model.cpu_products import (
    Projection,
    add_product_over_rows,
    has_onednn,
    onednn_product,
    onednn_product_over_rows,
    product,
    should_use_onednn,
    use_cpu_products,
)
from personagpt.model.loss import ResponseLoss, score_hidden
from personagpt.sequences.batches import Batch

pytestmark = pytest.mark.skipif(not has_onednn(), reason="a PyTorch without oneDNN")


def test_worked_products() -> None:
    left, right = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert onednn_product(left, right).tolist() == [[1.0, 3.0], [3.0, 7.0], [5.0, 11.0]]
    assert onednn_product(left, right, torch.tensor([10.0, 20.0])).tolist() == [
        [11.0, 23.0],
        [13.0, 27.0],
        [15.0, 31.0],
    ]
    wide = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert onednn_product_over_rows(left, wide).tolist() == [[1.0, 3.0, 7.0], [2.0, 4.0, 10.0]]
    assert onednn_product_over_rows(wide, left).tolist() == [[1.0, 2.0], [3.0, 4.0], [7.0, 10.0]]


def test_both_libraries_multiply_and_add_alike(onednn_is_faster: bool) -> None:
    left, right = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 2.0]])
    out = torch.empty(2, 3)
    assert product(left, right).tolist() == [[1.0, 3.0, 4.0], [3.0, 7.0, 8.0]]
    assert product(left, right, out=out).tolist() == out.tolist() == [[1.0, 3.0, 4.0], [3.0, 7.0, 8.0]]
    total = add_product_over_rows(None, left, right)
    assert total.tolist() == [[1.0, 4.0, 6.0], [2.0, 6.0, 8.0]]
    assert add_product_over_rows(total, left, right).tolist() == [[2.0, 8.0, 12.0], [4.0, 12.0, 16.0]]
    half = add_product_over_rows(None, left.bfloat16(), right.bfloat16())
    assert half.dtype == torch.float32


@pytest.mark.parametrize(("rows", "inner", "columns"), [(2, 3, 5), (64, 48, 200), (301, 128, 96)])
def test_products_are_exact_to_rounding(rows: int, inner: int, columns: int) -> None:
    torch.manual_seed(rows)
    left, right = torch.randn(rows, inner), torch.randn(columns, inner)
    exact = left.double() @ right.double().T
    for given in (right, right.T.contiguous().T):  # rows after rows in memory, and columns after columns
        torch.testing.assert_close(onednn_product(left, given).double(), exact, rtol=1e-5, atol=1e-5)
    for one, other in ((left.T, right.T), (left.T.contiguous(), right.T.contiguous())):
        torch.testing.assert_close(onednn_product_over_rows(one, other).double(), exact, rtol=1e-5, atol=1e-5)


def test_a_projection_is_gpt2s(onednn_is_faster: bool) -> None:
    torch.manual_seed(0)
    theirs = Conv1D(24, 10)
    torch.nn.init.normal_(theirs.bias)
    ours = Projection(copy.deepcopy(theirs))
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    results: list[list[Tensor]] = []
    for layer in (ours, theirs):
        values = torch.linspace(-1, 1, 60).view(2, 3, 10).requires_grad_()
        output = layer(values)
        output.square().sum().backward()
        results.append([output, values.grad, layer.weight.grad, layer.bias.grad])
    for our, their in zip(*results, strict=True):
        torch.testing.assert_close(our, their, rtol=1e-5, atol=1e-5)


def test_onednn_is_used_for_plain_float32_rows_on_the_cpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_products, "onednn_is_faster", lambda: True)
    rows = torch.ones(2, 3)
    assert should_use_onednn(rows)
    assert not should_use_onednn(rows[:1])
    assert not should_use_onednn(rows.double())
    assert not should_use_onednn(rows.to("meta"))
    with torch.autocast("cpu", torch.bfloat16):
        assert not should_use_onednn(rows)
        assert Projection(Conv1D(4, 3))(rows).dtype == torch.bfloat16
    torch._dynamo.reset()
    assert torch.equal(torch.compile(lambda rows: rows + should_use_onednn(rows), backend="eager")(rows), rows)
    monkeypatch.setattr(cpu_products, "onednn_is_faster", lambda: False)
    assert not should_use_onednn(rows)


def test_a_model_computes_the_same(tiny_model: torch.nn.Module, onednn_is_faster: bool) -> None:
    plain = copy.deepcopy(tiny_model)
    use_cpu_products(tiny_model)
    assert any(isinstance(module, Projection) for module in tiny_model.modules()) == onednn_is_faster
    assert tiny_model.state_dict().keys() == plain.state_dict().keys()
    torch.manual_seed(0)
    batch = Batch(torch.randint(50, (2, 30)), torch.tensor([4, 5, 30, 59]), torch.tensor([1, 2, 3, 4]))
    logits = plain(batch.input_ids).logits.flatten(0, 1)[batch.label_index]
    expected = torch.nn.functional.cross_entropy(logits, batch.targets, reduction="sum")
    expected.backward()
    loss = ResponseLoss(tiny_model)(batch.input_ids, batch.label_index, batch.targets)
    loss.backward()
    torch.testing.assert_close(loss, expected)
    for our, their in zip(tiny_model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(our.grad, their.grad, rtol=1e-4, atol=1e-5)
        assert our.grad.stride() == our.stride()
    hidden = torch.randn(5, tiny_model.config.n_embd)
    nll, predicted = score_hidden(hidden, plain.lm_head.weight, torch.arange(5))
    logits = hidden @ plain.lm_head.weight.T
    torch.testing.assert_close(nll, torch.nn.functional.cross_entropy(logits, torch.arange(5), reduction="none"))
    assert torch.equal(predicted, logits.argmax(1))
