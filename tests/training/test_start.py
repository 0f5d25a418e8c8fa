"""start.py: how many steps a run takes, what it says when it begins."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from personagpt.device import Processes
from personagpt.model.loading import load_model
from personagpt.sequences.goals import read_goals
from personagpt.settings import Settings, read_settings
from personagpt.training.optimization import Trainer
from personagpt.training.start import RunPlan, opening_words, plan_run
from tests.helpers import prepare_run, write_data


@pytest.fixture
def data(tmp_path: Path, base: Path) -> Path:
    """6 training dialogues (12 sequences) and 2 validation dialogues, with the sample's base model."""
    write_data(tmp_path, train=6, valid=2)
    (tmp_path / "base").symlink_to(base)
    return tmp_path


def planned(data: Path, processes: int = 1, **changes: object) -> tuple[Settings, RunPlan]:
    settings = read_settings(prepare_run(data, data, **changes), {})
    return settings, plan_run(settings, read_goals(settings.goals), processes)


def test_steps_of_all_processes(data: Path) -> None:
    _, plan = planned(data, epochs=2, batch_size=2, gradient_accumulation_steps=2)
    assert (plan.steps.per_step, plan.steps.steps_per_epoch, plan.total_steps) == (4, 3, 6)
    _, plan = planned(data, processes=2, epochs=2, batch_size=2, gradient_accumulation_steps=2)
    assert (plan.steps.per_step, plan.steps.steps_per_epoch, plan.total_steps) == (8, 2, 4)


def test_sequences_for_a_goal_are_trained_on_only(data: Path) -> None:
    _, plain = planned(data)
    for tensors in (data / "save").glob("*.safetensors"):
        tensors.unlink()
    (data / "goals.tsv").write_text("ask about work.\task\twork job living\nask about music.\task\tmusic listen\n")
    _, plan = planned(data, goals=data / "goals.tsv")
    assert len(plan.train) > len(plain.train)
    assert len(plan.valid) == len(plain.valid)


def test_facts_are_in_another_order_in_each_epoch(data: Path) -> None:
    _, plain = planned(data)
    assert plain.data(1) is plain.train
    _, plan = planned(data, shuffle_facts=True)
    per_epoch = plan.steps.steps_per_epoch

    def facts(step: int) -> list[list[str]]:
        seen = plan.data(step)
        assert seen.lengths is plan.train.lengths
        return [plan.order.encoder.decode(seen.sequence(index)[0].tolist())[1] for index in range(len(seen))]

    orders = [facts(step) for step in (1, per_epoch + 1, 2 * per_epoch + 1)]
    assert facts(per_epoch) == orders[0]
    assert facts(2 * per_epoch) == orders[1]
    assert all(ours != theirs for ours, theirs in itertools.pairwise([*orders, orders[0]]))
    in_the_text = [plan.order.encoder.decode(plan.train.sequence(index)[0].tolist())[1] for index in range(12)]
    assert in_the_text not in orders
    assert [sorted(each) for each in orders[0]] == [sorted(each) for each in in_the_text]
    assert plan.valid.order is None  # figures stay comparable


def test_what_a_run_says_when_it_begins(data: Path) -> None:
    for warmup_steps, words in ((5, []), (6, ["warmup_steps = 6 is longer than the run: it warms up over 5 steps"])):
        settings, plan = planned(data, warmup_steps=warmup_steps, epochs=2, batch_size=2, gradient_accumulation_steps=2)
        model = load_model(settings.model_name, len(plan.tokenizer))
        trainer = Trainer(settings, Processes(0, 1, torch.device("cpu")), "fp32", model)
        first, *rest = opening_words(plan, trainer).split("\n")
        count = sum(parameter.numel() for parameter in model.parameters())
        assert first.startswith(f"12 sequences, 6 steps of 4, {count:,} parameters, fp32 on cpu, ")
        assert (plan.warmup_steps, rest) == (5, words)
