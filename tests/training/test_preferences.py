"""preferences.py: the loss of preferences and its gradient, by hand and by autograd; runs that learn preferences."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import log_softmax, logsigmoid

import preprocess_dataset
from personagpt.device import Processes
from personagpt.sequences.batches import StepPlan
from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.sequences.format import Encoder
from personagpt.sequences.preference_tensors import PreferenceData, encode_preferences
from personagpt.sequences.preferences import read_preferences
from personagpt.settings import Settings, read_settings
from personagpt.training import optimization
from personagpt.training.optimization import Trainer
from personagpt.training.preferences import Replies, StepItems, held_back_figures, log_likelihoods, tally_figures
from tests.helpers import copy_base, prepare_run, rows, same, train_run, weights, write_data
from tests.sequences.pairs import messages, of_corpus, pair, said, written

PLAIN = contextlib.nullcontext()


def test_weights_by_hand() -> None:
    """A pair of two tokens each and a reply alone of one token, whose probability is a quarter."""
    nll = torch.tensor([0.5, 0.5, 1.0, 2.0, math.log(4)])
    replies = Replies([2, 2, 1], 1, torch.tensor([-2.0, -2.0, -9.0], dtype=torch.float64))
    row_weights, tally = replies.weigh(nll, beta=0.5)
    margin = 0.5 * ((-1 + 2) - (-3 + 2))  # the chosen reply has gained 1 nat, the rejected reply has lost 1
    pull = 0.5 / (1 + math.e**margin)
    assert row_weights.tolist() == pytest.approx([pull, pull, -pull, -pull, -1 / 3])
    loss = math.log(1 + math.e**-margin) - math.log(1 - 0.25)
    assert tally.tolist() == pytest.approx([loss, 1, 2, 1])
    assert tally_figures(tally) == pytest.approx({"preference_loss": loss / 2, "preference_accuracy": 1.0})
    assert tally_figures(torch.zeros(4)) == {}


def test_a_certain_token_of_a_rejected_reply_weighs_a_finite_number() -> None:
    row_weights, tally = Replies([2], 0, torch.zeros(1, dtype=torch.float64)).weigh(torch.tensor([0.0, 1e-9]), 0.1)
    assert torch.isfinite(row_weights).all()
    assert torch.isfinite(tally).all()
    assert (row_weights < 0).all()


@pytest.fixture
def items(tmp_path, tokenizer) -> PreferenceData:
    """Three pairs and two rejected replies alone, of which no token is so likely that float32 rounds 1 - p."""
    alone = {"prompt": messages("hi !", "hello .", "what do you do ?"), "completion": said("hi work"), "label": False}
    pairs = [pair(chosen=said(f"i like to ski {number} .")) for number in range(3)]
    path = written(tmp_path, pairs[0], alone, *pairs[1:], alone | {"completion": said("ski not the")})
    tensors, _ = encode_preferences(read_preferences(path), Encoder(tokenizer), 320, str(path))
    dataset = PersonaChatDataset.from_tensors(tensors, 320)
    dataset.metadata["held_back"] = "0"
    return PreferenceData(dataset)


def slow_loss(
    model: torch.nn.Module, data: PreferenceData, reference: torch.Tensor, settings: Settings
) -> torch.Tensor:
    """Return the mean loss of all items, computed one sequence at a time with the library's forward pass."""
    losses, number = [], 0
    for size in data.sizes:
        replies = []
        for index in range(number, number + size):
            tokens, ((start, end),) = data.dataset.sequence(index)
            logits = model(torch.from_numpy(tokens)[None]).logits[0, start - 1 : end - 1]
            replies.append(log_softmax(logits, -1)[torch.arange(end - start), torch.from_numpy(tokens[start:end])])
        if size == 2:
            gains = [log_p.sum() - reference[number + place] for place, log_p in enumerate(replies)]
            losses.append(-logsigmoid(settings.preference_beta * (gains[0] - gains[1])))
        else:
            losses.append(-torch.log(1 - replies[0].exp()).sum())
        number += size
    return torch.stack(losses).mean()


@pytest.mark.parametrize(
    ("batch_size", "shares_contexts", "checkpointing"),
    [(1, True, False), (4, True, True), (16, True, False), (1, False, False), (16, False, False)],
)
def test_loss_and_gradient_are_those_of_a_slow_computation(
    tiny_model, items, write_settings, base, batch_size: int, shares_contexts: bool, checkpointing: bool
) -> None:
    changes = {"batch_size": batch_size, "gradient_checkpointing": checkpointing}
    settings = read_settings(write_settings(model_name=base, preference_weight=0.5, preference_beta=0.3, **changes))
    trainer = Trainer(settings, Processes(0, 1, torch.device("cpu")), "fp32", tiny_model.eval())
    trainer.reference = log_likelihoods(tiny_model, items, PLAIN) + torch.linspace(-2, 2, 8)
    expected = slow_loss(tiny_model, items, trainer.reference, settings)
    (0.5 * expected).backward()
    slow = {name: parameter.grad.clone() for name, parameter in tiny_model.named_parameters()}
    trainer.optimizer.zero_grad()
    step_items = trainer.items(items, np.arange(5))
    assert step_items.shares_contexts
    tally = trainer.add_preferences(replace(step_items, shares_contexts=shares_contexts))
    assert tally_figures(tally)["preference_loss"] == pytest.approx(expected.item(), abs=1e-5)
    for name, parameter in tiny_model.named_parameters():
        torch.testing.assert_close(parameter.grad, slow[name], atol=1e-5, rtol=1e-4)


def test_processes_share_the_items(items) -> None:
    reference = torch.arange(8.0, dtype=torch.float64)
    group = np.array([4, 0, 2])
    whole = StepItems(items, reference, group)
    parts = [StepItems(items, reference, group, rank, 2) for rank in (0, 1)]
    everywhere = [replies for part in parts for _, replies in part.of_size(2)]
    assert len(everywhere) == 3
    together = sum(replies.weigh(torch.ones(sum(replies.sizes)), 0.1)[1] for replies in everywhere)
    ((_, replies),) = whole.of_size(8)
    torch.testing.assert_close(together, replies.weigh(torch.ones(sum(replies.sizes)), 0.1)[1])


def test_each_item_comes_once_an_epoch_and_steps_take_equal_shares() -> None:
    plan = StepPlan(np.ones(12, np.int64), 7, 4)
    shares = [plan.share(10, step) for step in range(1, 7)]
    for epoch in (shares[:3], shares[3:]):
        assert sorted(np.concatenate(epoch)) == list(range(10))
        assert [len(share) for share in epoch] == [3, 3, 4]
    assert not np.array_equal(np.concatenate(shares[:3]), np.concatenate(shares[3:]))
    assert [len(plan.share(1, step)) for step in (1, 2, 3)] == [0, 0, 1]
    assert len(plan.share(0, 1)) == 0


def test_held_back_items_are_scored(tiny_model, items) -> None:
    reference = log_likelihoods(tiny_model, items, PLAIN)
    assert held_back_figures(tiny_model, items, reference, 0.1, PLAIN) == {}
    items.trained = 2  # two pairs and a reply alone are held back
    reference[items.starts[2]] -= 1  # of a chosen reply
    figures = held_back_figures(tiny_model, items, reference, 0.1, PLAIN)
    assert figures["preference_accuracy"] == 0.5
    unlikelihood = -torch.log(1 - torch.from_numpy(_probabilities(tiny_model, items, int(items.starts[4])))).sum()
    pairs = math.log(1 + math.exp(-0.1)) + math.log(2)
    assert figures["preference_loss"] == pytest.approx((pairs + unlikelihood.item()) / 3, rel=1e-4)


def _probabilities(model: torch.nn.Module, items: PreferenceData, index: int) -> np.ndarray:
    tokens, ((start, end),) = items.dataset.sequence(index)
    with torch.no_grad():
        logits = model.eval()(torch.from_numpy(tokens)[None]).logits[0, start - 1 : end - 1].double()
    return logits.softmax(-1)[torch.arange(end - start), torch.from_numpy(tokens[start:end])].numpy()


@pytest.fixture(scope="module")
def prepare(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """prepare(dropout, batch_size=1, ...) returns settings for a run of 3 steps that learns 16 preferences."""
    data = tmp_path_factory.mktemp("data")
    write_data(data, train=12, valid=3)
    written(data, *of_corpus(data / "train_both_original_no_cands.txt", 8))

    def make(dropout: float = 0.0, **changes: object) -> Path:
        folder = tmp_path_factory.mktemp("run")
        base = data / f"base-{dropout}"
        if not base.exists():
            copy_base(base, dropout)
        values = {"model_name": base, "preferences": data / "preferences.jsonl", "epochs": 1, "logging_steps": 1}
        chosen = {key: value for key, value in (values | changes).items() if value is not None}
        return prepare_run(folder, data, **chosen)

    return make


def test_splits_of_a_step_agree(prepare) -> None:
    runs = []
    for batch_size, accumulation in ((8, 1), (1, 8)):
        env = prepare(batch_size=batch_size, gradient_accumulation_steps=accumulation, learn_rate=5e-5)
        assert train_run(env) == 0
        columns = ("loss", "grad_norm", "preference_loss", "preference_accuracy")
        runs.append([float(row[column]) for row in rows(env) for column in columns])
    assert runs[0] == pytest.approx(runs[1], abs=1e-4)


def test_weight_0_and_no_file_train_the_same_bits(prepare) -> None:
    without, zero = prepare(0.1, preferences=None), prepare(0.1, preference_weight=0)
    assert train_run(without) == train_run(zero) == 0
    assert same(weights(without), weights(zero))
    assert rows(without) == rows(zero)
    assert "preference_loss" not in rows(zero)[0]


def test_a_run_learns_and_a_run_that_was_stopped_ends_with_the_same_bytes(
    prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = (prepare(0.1, logging_steps=2, save_steps=1, epochs=2) for _ in range(2))
    assert train_run(whole) == 0
    logged, scored = rows(whole), rows(whole, "eval.csv")
    assert float(logged[-1]["preference_loss"]) < float(logged[0]["preference_loss"])
    assert (scored[-1]["preference_accuracy"], float(scored[-1]["preference_loss"]) < math.log(2)) == ("1", True)
    described = json.loads((whole.parent / "save" / "samples" / "run.json").read_text())
    assert described["data"]["preferences"]["held_back"] == "1"

    real = optimization.training_step
    taken = []

    def step(*arguments: object) -> object:
        if len(taken) == 3:  # between two rows of loss.csv
            raise KeyboardInterrupt
        taken.append(1)
        return real(*arguments)

    monkeypatch.setattr(optimization, "training_step", step)
    with contextlib.suppress(KeyboardInterrupt):
        assert train_run(stopped) != 0
    monkeypatch.undo()
    assert train_run(stopped) == 0
    assert same(weights(whole), weights(stopped))
    assert rows(whole) == rows(stopped)
    assert rows(whole, "eval.csv") == rows(stopped, "eval.csv")


def test_other_preferences_are_another_run_and_a_changed_file_asks_for_preprocessing(
    prepare, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = prepare()
    assert train_run(env) == 0
    monkeypatch.setenv("preference_weight", "0")
    assert train_run(env) == 2
    assert "holds a run with other settings (preference_weight was 1.0, is 0.0)" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setenv("preferences", str(written(tmp_path, pair())))
    assert train_run(env) == 2
    assert "made from another text than" in capsys.readouterr().err
    assert preprocess_dataset.main(["--env", str(env)]) == 0
    assert train_run(env) == 2
    assert "preferences was" in capsys.readouterr().err
    (env.parent / "save" / "preferences.safetensors").unlink()
    assert train_run(env) == 2
    assert "preferences.safetensors: no such file; first run `" in capsys.readouterr().err
