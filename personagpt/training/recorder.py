"""What a run writes while it goes: rows of its logs, evaluations (validation.py), checkpoints (saver.py), plots."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterator
from dataclasses import replace

from personagpt.files import write_json
from personagpt.output import is_first_process, say
from personagpt.sequences.batches import StepBatches
from personagpt.training.csv_log import Rows, best_effort
from personagpt.training.logs import RunLogs, describe_run
from personagpt.training.optimization import StepResult, Trainer
from personagpt.training.plots import PLOTS, draw_plots
from personagpt.training.progress import FiniteCheck, Progress
from personagpt.training.resume import RunState
from personagpt.training.saver import Saver
from personagpt.training.start import RunPlan
from personagpt.training.validation import is_best, validate

PLOT_SECONDS = 10.0  # at least, between two drawings of the plots: one takes as long as many steps of a small model


@contextlib.contextmanager
def record_run(plan: RunPlan, trainer: Trainer, state: RunState) -> Iterator[Recorder]:
    """Yield the Recorder of a run. Then end its progress bar, so that an error is printed below it, and its saves."""
    recorder = Recorder(plan, trainer, state)
    with recorder.saver.thread, recorder.progress.bar:
        yield recorder


class Recorder:
    """Records a run from step `state.step` on. All processes call every method, and only the first writes."""

    def __init__(self, plan: RunPlan, trainer: Trainer, state: RunState) -> None:
        self.plan, self.trainer, self.state = plan, trainer, state
        self.processes = trainer.processes
        self.samples = trainer.settings.save_path / "samples"
        self.finite = FiniteCheck(trainer.may_overflow)
        self.saver, self.drawn = Saver(plan, trainer), time.monotonic()
        if is_first_process():
            self.logs = RunLogs(trainer.settings, state)
            with best_effort(self.samples / "run.json") as path:
                write_json(path, describe_run(plan, trainer))
        self.progress = Progress(plan, trainer, state)  # last, so that no bar surrounds an error of the logs

    def finish_step(self, step: int, result: StepResult, batches: StepBatches) -> None:
        """Count a step. Raises RunError where its loss or gradient is not finite, or a save has failed."""
        self.state.step = step
        self.progress.add(result, batches)
        self.finite.add(step, result, batches.group)
        self.saver.thread.check()

    def log_losses(self) -> None:
        """Add a row to loss.csv: the mean over the response tokens since the last row."""
        self.finite.check()
        loss = self.progress.total_loss() / self.state.label_tokens
        with self.progress.pause():
            row = self.progress.finish_row(loss)
            if is_first_process():
                self.logs.add_losses(row)
            self.progress.show(row)

    def evaluate(self) -> None:
        """Compute the metrics and sample replies, and save the best model so far: after an epoch, or at the start."""
        self.finite.check()
        with self.progress.pause():
            if is_first_process():
                self._evaluate()
            self.processes.wait()

    def _evaluate(self) -> None:
        evaluation, replies = validate(self.plan, self.trainer, self.state.step)
        self.state.evaluation = evaluation
        self.logs.add_evaluation(evaluation, replies)
        if is_best(evaluation, self.state.best):
            self.state.best = {"loss": evaluation["loss"], "step": self.state.step}
            self.saver.save_best(self.state)
        gain = f", persona gain {evaluation['persona_gain']:.2f}" if "persona_gain" in evaluation else ""
        say(
            f"epoch {evaluation['epoch']:.0f}, step {self.state.step}: validation loss {evaluation['loss']:.4f}, "
            f"perplexity {evaluation['perplexity']:.2f}{gain}"
        )

    def save(self) -> None:
        """Write a checkpoint of this step, with everything that resuming needs."""
        self.finite.check()
        with self.progress.pause():
            loss_sum, tally = self.progress.total_loss(), self.progress.total_tally()
            if is_first_process():
                self.logs.flush()  # first, because a run that resumes from the checkpoint does not write these rows
                self.state.scaling, self.state.batch_size = self.trainer.scaling(), self.trainer.batch_size
                rows = list(self.logs.losses.rows), list(self.logs.evaluations.rows)
                since_row = {"loss_sum": loss_sum, "preference_tally": None if tally is None else tally.tolist()}
                self.saver.save_checkpoint(replace(self.state, **since_row), functools.partial(self._draw_plots, *rows))
            self.processes.wait()

    def _draw_plots(self, losses: Rows, evaluations: Rows, seconds: float = PLOT_SECONDS) -> None:
        """Draw the plots, unless they were drawn less than `seconds` ago."""
        if time.monotonic() - self.drawn >= seconds:
            with best_effort(self.samples / PLOTS[0]):
                draw_plots(self.samples, losses, evaluations)
            self.drawn = time.monotonic()

    def wait_for_save(self) -> None:
        """Return when the last save and its plots are on the disk.

        Every process must ask, because torchrun ends all when one ends.
        """
        self.saver.thread.wait()
        if is_first_process():
            self._draw_plots(self.logs.losses.rows, self.logs.evaluations.rows, seconds=0.0)
        self.processes.wait()
