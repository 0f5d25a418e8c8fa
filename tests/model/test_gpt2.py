"""gpt2.py: the forward pass is the library's, and so are the replaced parts; the evaluation mode."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from personagpt.model.gpt2 import evaluation_mode, hidden_states, use_fused_gelu
from personagpt.model.loading import load_model


def test_the_fused_gelu_is_the_same_function(base: Path) -> None:
    inputs = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    model = load_model(str(base), 0)
    composed = model.transformer.h[0].mlp.act
    use_fused_gelu(model)
    fused = model.transformer.h[0].mlp.act
    assert type(fused) is not type(composed)
    assert (fused(inputs) - composed(inputs)).abs().max() < 1e-14
    assert model.config.activation_function == "gelu_new"  # what is saved stays GPT-2's


class Reads(TorchDispatchMode):
    """Counts how often a value is read out of a tensor: on a GPU, each time the CPU waits."""

    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):  # noqa: ANN204
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*arguments, **(options or {}))


@pytest.mark.parametrize("length", [1, 2, 40])
def test_the_forward_pass_is_the_librarys_and_reads_no_value(tiny_model: torch.nn.Module, length: int) -> None:
    torch.manual_seed(0)
    ids = torch.randint(50, (3, length))
    rows = torch.arange(3 * length)
    with Reads() as reads:
        hidden = hidden_states(tiny_model.eval(), ids, rows)
    assert reads.count == 0
    assert torch.equal(hidden.view(3, length, -1), tiny_model.transformer(ids).last_hidden_state)


@pytest.mark.parametrize("wanted", [[0, 7, 8, 29, 30, 58], [59], []])
def test_fewer_rows_are_the_same_rows(tiny_model: torch.nn.Module, wanted: list[int]) -> None:
    """Values and all gradients, in training mode, where only dropout draws other numbers: it is off."""
    ids, rows = torch.arange(60).view(2, 30), torch.tensor(wanted, dtype=torch.int64)
    without_dropout(tiny_model.double().train())
    factors = torch.randn(len(rows), tiny_model.config.n_embd, dtype=torch.float64)
    everywhere = tiny_model.transformer(ids).last_hidden_state.flatten(0, 1)
    gradients = []
    for hidden in (everywhere[rows], hidden_states(tiny_model, ids, rows)):
        tiny_model.zero_grad()
        (hidden * factors).sum().backward()
        gradients.append([parameter.grad.clone() for parameter in tiny_model.parameters()])
        torch.testing.assert_close(hidden, everywhere[rows], rtol=1e-12, atol=1e-12)
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_after_attention_the_last_block_sees_the_wanted_rows_only(tiny_model: torch.nn.Module) -> None:
    seen = {}
    for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc"):
        module = tiny_model.transformer.h[-1].get_submodule(name)
        module.register_forward_hook(lambda _, inputs, __, name=name: seen.update({name: inputs[0].numel()}))
    hidden_states(tiny_model, torch.arange(60).view(2, 30), torch.tensor([3, 4, 50]))
    width = tiny_model.config.n_embd
    assert seen == {"attn.c_attn": 60 * width, "attn.c_proj": 3 * width, "mlp.c_fc": 3 * width}


def without_dropout(model: torch.nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable")  # its name in every version
def test_gradient_checkpointing_changes_no_gradient(tiny_model: torch.nn.Module) -> None:
    ids = torch.arange(60).view(2, 30)
    gradients = []
    for _ in range(2):
        tiny_model.train().zero_grad()
        hidden_states(tiny_model, ids, torch.arange(60)).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in tiny_model.parameters()])
        tiny_model.gradient_checkpointing_enable({"use_reentrant": False})
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_mode_restores_the_mode_also_after_an_error(tiny_model: torch.nn.Module, training: bool) -> None:
    tiny_model.train(training)
    parts = list(tiny_model.modules())
    with evaluation_mode(tiny_model):
        assert not any(module.training for module in parts)
    assert all(module.training == training for module in parts)
    with pytest.raises(ZeroDivisionError), evaluation_mode(tiny_model):
        raise ZeroDivisionError
    assert all(module.training == training for module in parts)
