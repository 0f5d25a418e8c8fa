"""progress.py: sums since the last row, the clock, lines in place of a bar, losses that are not finite."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from personagpt.device import Processes
from personagpt.errors import RunError
from personagpt.training.optimization import StepResult
from personagpt.training.progress import FiniteCheck, Progress
from personagpt.training.resume import RunState
from tests.helpers import be_process

CPU = torch.device("cpu")


def result(loss_sum: float, grad_norm: float = 0.5) -> StepResult:
    """A step of 4 response tokens."""
    return StepResult(4, torch.tensor(loss_sum, dtype=torch.float64), torch.tensor(grad_norm), 1e-3)


def start(state: RunState) -> Progress:
    """A run of 10 steps, 5 an epoch, in one process."""
    plan = SimpleNamespace(preferences=None, total_steps=10, steps=SimpleNamespace(steps_per_epoch=5))
    return Progress(plan, SimpleNamespace(processes=Processes(0, 1, CPU)), state)


def take_step(progress: Progress, step: int, loss_sum: float) -> None:
    progress.state.step = step
    progress.add(result(loss_sum), SimpleNamespace(tokens=100))


def test_a_row_is_of_the_steps_since_the_last_row() -> None:
    progress = start(RunState())
    take_step(progress, 1, 8.0)
    take_step(progress, 2, 4.0)
    assert (progress.total_loss(), progress.state.label_tokens) == (12.0, 8)
    with progress.pause():
        row = progress.finish_row(1.5)
    assert {name: row[name] for name in ("step", "epoch", "loss", "learn_rate", "grad_norm")} == {
        "step": 2, "epoch": 0.4, "loss": 1.5, "learn_rate": 1e-3, "grad_norm": 0.5,
    }  # fmt: skip
    assert row["tokens_per_second"] == pytest.approx(200 / row["seconds"])
    take_step(progress, 3, 2.0)
    assert (progress.total_loss(), progress.state.label_tokens) == (2.0, 4)


def test_the_sum_of_an_unfinished_row_comes_back_in_the_first_process_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for rank, expected in (("0", 7.0), ("1", 2.0)):
        be_process(monkeypatch, rank)
        progress = start(RunState(step=4, loss_sum=5.0, label_tokens=6))
        take_step(progress, 5, 2.0)
        assert (progress.total_loss(), progress.state.label_tokens) == (expected, 10)


def test_pauses_are_no_time_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    progress = start(RunState(seconds=50.0))
    now[0] += 3
    with progress.pause():
        now[0] += 1000
    now[0] += 4
    with progress.pause():
        pass
    assert (progress.state.seconds, progress.row_seconds) == (57.0, 7.0)


def test_without_a_terminal_a_line_says_what_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    progress = start(RunState(step=4))
    now[0] += 20
    progress.state.step = 6
    progress.show({"loss": 1.23456, "learn_rate": 1e-3})
    assert capsys.readouterr().out == "step 6 of 10: loss 1.235, learning rate 1.0e-03, 00:40 left\n"


GROUP = np.arange(20)


@pytest.mark.parametrize(
    ("loss_sum", "grad_norm", "may_overflow"),
    [(float("nan"), 1.0, False), (float("inf"), 1.0, True), (1.0, float("inf"), False), (1.0, float("nan"), False)],
)
def test_a_step_that_is_not_finite_is_named(loss_sum: float, grad_norm: float, may_overflow: bool) -> None:
    check = FiniteCheck(may_overflow)
    check.add(2, result(1.0), GROUP)
    with pytest.raises(
        RunError, match=r"step 3: .* \(sequences 0, 1, 2, 3, 4, 5, 6, 7, \.\.\. of the training tensors"
    ):
        check.add(3, result(loss_sum, grad_norm), GROUP)
    check.check()  # each step is told of once


def test_a_precision_that_may_overflow_skips_such_a_step() -> None:
    check = FiniteCheck(may_overflow=True)
    check.add(2, result(1.0, float("inf")), GROUP[:1])
    with pytest.raises(RunError, match=r"\(sequences 0 of the training tensors\)"):
        check.add(3, result(float("nan"), float("inf")), GROUP[:1])
