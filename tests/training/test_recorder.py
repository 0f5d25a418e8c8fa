"""recorder.py: the end of a record. tests/test_train.py holds what whole runs leave behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from personagpt.device import Processes
from personagpt.model.loading import load_model
from personagpt.settings import read_settings
from personagpt.training.optimization import Trainer, training_step
from personagpt.training.recorder import PLOT_SECONDS, record_run
from personagpt.training.resume import RunState
from personagpt.training.start import RunPlan, plan_run
from tests.helpers import be_process, copy_base, prepare_run, write_data


@pytest.fixture
def run(tmp_path: Path) -> tuple[RunPlan, Trainer, Path]:
    """A run of 2 steps that has not begun, and its save_path."""
    write_data(tmp_path, train=4, valid=2)
    copy_base(tmp_path / "base", dropout=0.0)
    settings = read_settings(prepare_run(tmp_path, tmp_path, epochs=2), {})
    plan = plan_run(settings, [], 1)
    model = load_model(settings.model_name, len(plan.tokenizer)).train()
    return plan, Trainer(settings, Processes(0, 1, torch.device("cpu")), "fp32", model), settings.save_path


def test_one_step_and_its_record(run: tuple[RunPlan, Trainer, Path], capsys: pytest.CaptureFixture[str]) -> None:
    plan, trainer, save_path = run
    state = RunState(identity={}, settings=trainer.settings.plain())
    with record_run(plan, trainer, state) as recorder:
        batches = trainer.batches(plan.train, plan.steps.group(1))
        result = training_step(trainer, batches, seed=1, learn_rate=1e-3)
        recorder.finish_step(1, result, batches)
        recorder.log_losses()
        recorder.evaluate()
        recorder.save()
        recorder.saver.thread.wait()
        assert not (save_path / "samples" / "loss.png").exists()  # the plots can wait for the end
        recorder.drawn -= PLOT_SECONDS
        recorder.save()
        recorder.saver.thread.wait()
        (save_path / "samples" / "loss.png").unlink()
        recorder.wait_for_save()
        assert (save_path / "samples" / "loss.png").exists()
    assert state.best == {"loss": state.evaluation["loss"], "step": 1}
    assert json.loads((save_path / "samples" / "eval.json").read_text()) == state.evaluation
    saved = json.loads((save_path / "checkpoint" / "model" / "training_state.json").read_text())
    assert RunState.from_json(saved) == state
    assert (state.step, state.label_tokens, state.batch_size) == (1, 0, 4)
    for name in ("loss.csv", "eval.csv"):
        header, row = (save_path / "samples" / name).read_text().splitlines()
        assert (header.split(",")[:2], row.split(",")[:2]) == (["step", "epoch"], ["1", "1"])
    mean = float(result.loss_sum) / batches.label_tokens
    assert f"step 1 of 2: loss {mean:.3f}, learning rate 1.0e-03, " in capsys.readouterr().out


def test_a_second_process_writes_nothing(
    run: tuple[RunPlan, Trainer, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, trainer, save_path = run
    be_process(monkeypatch, "1")
    capsys.readouterr()
    with record_run(plan, trainer, RunState()) as recorder:
        batches = trainer.batches(plan.train, plan.steps.group(1))
        recorder.finish_step(1, training_step(trainer, batches, seed=1, learn_rate=1e-3), batches)
        recorder.log_losses()
        recorder.evaluate()
        recorder.save()
    assert not (save_path / "samples").exists()
    assert not (save_path / "checkpoint").exists()
    assert tuple(capsys.readouterr()) == ("", "")
