"""How far a run is: losses and time since the last row of loss.csv, the progress bar; whether the loss is finite."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from personagpt.errors import RunError
from personagpt.output import is_first_process, say
from personagpt.sequences.batches import StepBatches
from personagpt.training.optimization import StepResult, Trainer, sum_dtype
from personagpt.training.preferences import tally_figures
from personagpt.training.resume import RunState
from personagpt.training.start import RunPlan


class Progress:
    """Adds up the steps of a run, and shows them. Every process has one, and all call every method."""

    def __init__(self, plan: RunPlan, trainer: Trainer, state: RunState) -> None:
        self.plan, self.processes, self.state = plan, trainer.processes, state
        # The sum is on the device, and is read once per row of loss.csv. After a resume the first process goes on with
        # the saved sum, which is the sum of all processes; the others start at 0.
        before, device = state.loss_sum if is_first_process() else 0.0, self.processes.device
        self.loss_sum = torch.tensor(before, dtype=sum_dtype(device), device=device)
        self.tally = torch.tensor(state.preference_tally or [0.0] * 4, dtype=sum_dtype(device), device=device)
        if not is_first_process():
            self.tally.zero_()
        self.last: StepResult | None = None
        self.sequence_tokens, self.row_seconds = 0, 0.0
        self.clock = self.started = time.perf_counter()
        self.first_step = state.step
        # None asks for a bar where there is a terminal. Elsewhere `show` prints lines.
        hidden = None if is_first_process() else True
        self.bar = tqdm(total=plan.total_steps, initial=state.step, desc="train", unit="step", disable=hidden)

    def add(self, result: StepResult, batches: StepBatches) -> None:
        """Count a step."""
        self.last = result
        self.state.label_tokens += result.label_tokens
        self.sequence_tokens += batches.tokens
        self.loss_sum += result.loss_sum
        if result.preferences is not None:
            self.tally += result.preferences
        self.bar.update()

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Stop the clock: the time of evaluations, saves and plots is not training's."""
        passed = time.perf_counter() - self.clock
        self.row_seconds += passed
        self.state.seconds += passed
        yield
        self.clock = time.perf_counter()

    def total_loss(self) -> float:
        """Return the loss since the last row, summed over the response tokens of all processes, in nats."""
        return self.processes.sum(self.loss_sum.clone()).item()

    def total_tally(self) -> Tensor | None:
        """Return the tally of preferences since the last row, of all processes; None without preferences."""
        return self.processes.sum(self.tally.clone()) if self.plan.preferences else None

    def finish_row(self, loss: float) -> dict[str, float]:
        """Return the row of loss.csv for the steps since the last row, whose mean loss is `loss`. Begin a new row."""
        row = {
            "step": self.state.step,
            "epoch": self.state.step / self.plan.steps.steps_per_epoch,
            "loss": loss,
            "learn_rate": self.last.learn_rate,
            "grad_norm": self.last.grad_norm.item(),
            "tokens_per_second": self.sequence_tokens / max(self.row_seconds, 1e-9),
            "seconds": self.state.seconds,
        }
        if (tally := self.total_tally()) is not None:
            row |= tally_figures(tally)
        if self.processes.device.type == "cuda":
            row["peak_gpu_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
        self.loss_sum.zero_()
        self.tally.zero_()
        self.state.label_tokens, self.sequence_tokens, self.row_seconds = 0, 0, 0.0
        return row

    def show(self, row: dict[str, float]) -> None:
        """Show a row beside the progress bar, or where there is no terminal, print it with the time that is left."""
        loss, learn_rate = f"{row['loss']:.3f}", f"{row['learn_rate']:.1e}"
        if self.bar.disable:
            step, total_steps = self.state.step, self.plan.total_steps
            passed = time.perf_counter() - self.started
            left = tqdm.format_interval(passed / (step - self.first_step) * (total_steps - step))
            say(f"step {step} of {total_steps}: loss {loss}, learning rate {learn_rate}, {left} left")
        self.bar.set_postfix(loss=loss, learn_rate=learn_rate)


class FiniteCheck:
    """Checks each step. On a GPU a step is checked while the next step runs, so that neither waits for the other."""

    def __init__(self, may_overflow: bool) -> None:
        self.may_overflow = may_overflow  # gradients that are not finite are part of the precision's method
        self.pending: tuple[int, np.ndarray, Tensor, torch.cuda.Event | None] | None = None

    def add(self, step: int, result: StepResult, group: np.ndarray) -> None:
        """Check the step before, and without a GPU this step, too. Raises RunError.

        `group` are the indices of the step's sequences, which the error's line names.
        """
        finite = torch.isfinite(result.loss_sum)
        if not self.may_overflow:
            finite = finite & torch.isfinite(result.grad_norm)
        self.check()
        if not finite.is_cuda:
            self.pending = (step, group, finite, None)
            return self.check()
        answer = torch.empty((), dtype=torch.bool, pin_memory=True).copy_(finite, non_blocking=True)
        copied = torch.cuda.Event()
        copied.record()
        self.pending = (step, group, answer, copied)

    def check(self) -> None:
        """Check the step that was added last. Raises RunError."""
        if self.pending is None:
            return
        (step, group, finite, copied), self.pending = self.pending, None
        if copied is not None:
            copied.synchronize()
        if not finite:
            sequences = ", ".join(map(str, group[:8].tolist())) + (", ..." if len(group) > 8 else "")
            raise RunError(
                f"step {step}: the loss or its gradient is not finite (sequences {sequences} of the training tensors); "
                "the last checkpoint is intact: lower learn_rate, or set precision = bf16 or fp32, and run again"
            )
