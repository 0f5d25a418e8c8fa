"""No optimisation changes the result: 20 steps agree with a plain loop over the library's own loss."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from personagpt.model.loading import load_tokenizer
from personagpt.sequences.batches import StepPlan
from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.sequences.format import IGNORED
from tests.helpers import copy_base, prepare_run, rows, train_run, write_data

STEPS = 20


def plain_losses(base: Path, data: PersonaChatDataset, learn_rate: float, weight_decay: float) -> list[float]:
    """Padded batches with attention masks, full logits, the model as loaded, a plain AdamW with its scheduler."""
    torch.manual_seed(42)
    tokenizer = load_tokenizer(str(base))
    model = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(42)
    model.resize_token_embeddings(len(tokenizer))
    model.train()
    decay = [p for n, p in model.named_parameters() if not (n.endswith(".bias") or ".ln_" in n)]
    plain = [p for n, p in model.named_parameters() if n.endswith(".bias") or ".ln_" in n]
    groups = [{"params": decay, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=learn_rate, eps=1e-8, foreach=False)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / STEPS)
    plan, losses = StepPlan(data.lengths, 42, 4), []
    for step in range(1, STEPS + 1):
        items = [data[int(index)] for index in plan.group(step)]
        longest = max(len(item["labels"]) for item in items)
        ids = torch.zeros(len(items), longest, dtype=torch.long)
        labels, mask = torch.full_like(ids, IGNORED), torch.zeros_like(ids)
        for row, item in enumerate(items):
            length = len(item["labels"])
            ids[row, :length], labels[row, :length], mask[row, :length] = item["input_ids"], item["labels"], 1
        loss = model(ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def test_the_first_20_losses_are_a_plain_loops(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    write_data(data, train=40, valid=1)
    base = copy_base(data / "base", dropout=0.0)
    env = prepare_run(
        tmp_path, data, epochs=1, batch_size=2, gradient_accumulation_steps=2, logging_steps=1, save_steps=100,
        learn_rate=1e-4,
    )  # fmt: skip
    assert train_run(env) == 0
    ours = [float(row["loss"]) for row in rows(env)]
    assert len(ours) == STEPS
    dataset = PersonaChatDataset(tmp_path / "save" / "train_data.safetensors")
    assert ours == pytest.approx(plain_losses(base, dataset, 1e-4, 0.01), abs=1e-5)
