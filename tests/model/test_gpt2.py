"""gpt2.py: the forward pass is the library's, and so are the replaced parts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from personagpt.model.gpt2 import hidden_states, use_fused_gelu
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
    with Reads() as reads:
        hidden = hidden_states(tiny_model.eval(), ids)
    assert reads.count == 0
    assert torch.equal(hidden, tiny_model.transformer(ids).last_hidden_state)


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable")  # its name in every version
def test_gradient_checkpointing_changes_no_gradient(tiny_model: torch.nn.Module) -> None:
    ids = torch.arange(60).view(2, 30)
    gradients = []
    for _ in range(2):
        tiny_model.train().zero_grad()
        hidden_states(tiny_model, ids).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in tiny_model.parameters()])
        tiny_model.gradient_checkpointing_enable({"use_reentrant": False})
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))
