"""compile: one program for all lengths."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounter

from personagpt.model.fast_cpu import use_cpu_dropout, use_cpu_products
from personagpt.model.gpt2 import use_fused_gelu
from personagpt.model.loss import ResponseLoss
from personagpt.sequences.batches import collate


def batch_of(random: np.random.RandomState, rows: int, longest: int):  # noqa: ANN201
    """Random sequences, each with one response at its end."""
    sequences = []
    for length in random.randint(longest // 2, longest, rows):
        tokens = random.randint(0, 500, length).astype(np.int64)
        sequences.append((tokens, np.array([[length // 2, length]])))
    return collate(sequences, pad=0)


@pytest.mark.parametrize("train", [True, False])
def test_few_programs_serve_every_shape(tiny_model: torch.nn.Module, train: bool) -> None:
    torch._dynamo.reset()
    use_fused_gelu(tiny_model)
    module = ResponseLoss(tiny_model).train(train)
    compiled = ResponseLoss(tiny_model).train(train)
    counter = CompileCounter()
    compiled.compile(dynamic=True, backend=counter)
    random = np.random.RandomState(0)
    for rows, longest in ((8, 100), (8, 200), (8, 60), (3, 130), (1, 90), (8, 101), (5, 250)):
        batch = batch_of(random, rows, longest)
        expected = module(batch.input_ids, batch.label_index, batch.targets)
        assert torch.allclose(compiled(batch.input_ids, batch.label_index, batch.targets), expected, rtol=1e-5)
        if (rows, longest) == (8, 200):
            warmed_up = counter.frame_count
    # One sequence alone may be a program of its own; every other shape shares what the first two made.
    assert warmed_up <= 3
    assert counter.frame_count <= warmed_up + 2
    torch._dynamo.reset()


def test_what_replaces_parts_on_the_cpu_still_runs_compiled(
    tiny_model: torch.nn.Module, onednn_is_faster: bool
) -> None:
    torch._dynamo.reset()
    use_cpu_dropout(tiny_model)
    use_cpu_products(tiny_model)
    compiled = ResponseLoss(tiny_model).train()
    counter = CompileCounter()
    compiled.compile(dynamic=True, backend=counter)
    random = np.random.RandomState(0)
    for longest in (80, 90, 150, 151, 200):
        batch = batch_of(random, 2, longest)
        compiled(batch.input_ids, batch.label_index, batch.targets).backward()
        assert all(parameter.grad is not None for parameter in tiny_model.transformer.h.parameters())
        tiny_model.zero_grad()
    assert counter.frame_count <= 2
    torch._dynamo.reset()


def test_attention_gets_no_mask(tiny_model: torch.nn.Module) -> None:
    """With one, PyTorch has no flash attention."""
    torch._dynamo.reset()
    calls = []

    def look(graph: torch.fx.GraphModule, inputs: list) -> object:
        calls.extend(node.kwargs for node in graph.graph.nodes if "scaled_dot_product" in str(node.target))
        return graph.forward

    compiled = ResponseLoss(tiny_model).train()
    compiled.compile(dynamic=True, backend=look)
    batch = batch_of(np.random.RandomState(0), 3, 80)
    compiled(batch.input_ids, batch.label_index, batch.targets)
    assert len(calls) == tiny_model.config.n_layer
    assert all(call["attn_mask"] is None and call["is_causal"] is True for call in calls)
    torch._dynamo.reset()
