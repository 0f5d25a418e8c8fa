"""What a training run leaves behind while it goes: the progress bar, loss.csv, plots, evaluations and checkpoints."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from personagpt.device import Processes, autocast, hardware
from personagpt.errors import RunError
from personagpt.files import write_json
from personagpt.model.generation import sample_replies
from personagpt.scoring.metrics import teacher_forced_metrics
from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.sequences.format import Encoder
from personagpt.settings import Settings
from personagpt.text.style import STYLE, Style
from personagpt.training import logs
from personagpt.training.card import write_card
from personagpt.training.checkpoint import (
    SaveThread,
    check_room,
    copies,
    has_memory,
    optimizer_tensors,
    save_best,
    save_checkpoint,
    size_of,
)
from personagpt.training.optimization import StepResult, Trainer, sum_dtype
from personagpt.training.resume import RunState

# Given the folder of checkpoints, what writes the model into one, and the optimizer's tensors.
Write = Callable[[Path, Callable[[Path], None], dict[str, Tensor]], None]


class Recorder:
    """Follows a run from step `state.step` on. Only the first process writes; all call every method."""

    def __init__(
        self,
        settings: Settings,
        processes: Processes,
        tokenizer: PreTrainedTokenizerFast,
        trainer: Trainer,
        state: RunState,
        total_steps: int,
        steps_per_epoch: int,
        style: Style | None,
    ) -> None:
        self.settings, self.processes, self.tokenizer, self.trainer = settings, processes, tokenizer, trainer
        self.total_steps, self.steps_per_epoch = total_steps, steps_per_epoch
        self.state, self.style = state, style
        # Summed on the device, read once per row of loss.csv. After a resume the first process goes on with the saved
        # sum, which is that of all processes; the others start at 0.
        before = state.loss_sum if processes.is_first else 0.0
        self.loss_sum = torch.tensor(before, dtype=sum_dtype(processes.device), device=processes.device)
        self.last_step: StepResult | None = None
        self.finite = FiniteCheck(trainer.may_overflow)
        self.saves = SaveThread()
        self.clock, self.sequence_tokens, self.window = time.perf_counter(), 0, 0.0
        if processes.is_first:
            self.samples = settings.save_path / "samples"
            on_record = state.step or -1  # a run that starts anew evaluates step 0 anew
            self.losses = logs.CsvLog(self.samples / "loss.csv", logs.LOSS_COLUMNS, on_record)
            self.evaluations = logs.CsvLog(self.samples / "eval.csv", logs.EVAL_COLUMNS, on_record)
            logs.keep_sections(self.samples / "responses.txt", on_record)
            logs.keep_evaluation(self.samples / "eval.json", state.evaluation, state.step)
            self.tensorboard = logs.open_tensorboard(self.samples, state.step) if settings.tensorboard else None
        self.first_step, self.started = state.step, time.perf_counter()
        # Last: where a log cannot be opened, no bar is drawn around the line that says so. None asks for a bar where
        # there is a terminal; elsewhere `log_losses` prints lines.
        hidden = not processes.is_first or None
        self.bar = tqdm(total=total_steps, initial=state.step, desc="train", unit="step", disable=hidden)

    def describe(self, data: dict[str, dict[str, str]], per_step: int) -> None:
        """Write run.json: all that is needed to know what this run was."""
        if self.processes.is_first:
            content = {
                "settings": self.settings.plain(),
                "precision": self.trainer.precision,
                "sequences_per_step": per_step,
                "processes": self.processes.count,
                "total_steps": self.total_steps,
                "data": data,
                "hardware": hardware(self.processes.device),
                "versions": logs.versions(),
                "commit": logs.commit(),
            }
            with logs.for_people(self.samples / "run.json"):
                write_json(self.samples / "run.json", content)

    def finish_step(self, step: int, result: StepResult, tokens: int) -> None:
        """Count a step over `tokens` tokens, and stop the run where its loss or gradient is not finite."""
        self.state.step, self.last_step = step, result
        self.state.label_tokens += result.label_tokens
        self.sequence_tokens += tokens
        self.loss_sum += result.loss_sum
        self.finite.add(step, result)
        self.saves.check()
        self.bar.update()

    def log_losses(self) -> None:
        """Add a row to loss.csv: the mean over the response tokens since the last row."""
        self.finite.check()
        step, last = self.state.step, self.last_step
        loss = self.processes.sum(self.loss_sum).item() / self.state.label_tokens
        self.loss_sum.zero_()
        self._pause()
        row = {
            "step": step,
            "epoch": step / self.steps_per_epoch,
            "loss": loss,
            "learn_rate": last.learn_rate,
            "grad_norm": last.grad_norm.item(),
            "tokens_per_second": self.sequence_tokens / max(self.window, 1e-9),
            "seconds": self.state.seconds,
        }
        if self.processes.device.type == "cuda":
            row["peak_gpu_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
        self.state.label_tokens, self.sequence_tokens, self.window = 0, 0, 0.0
        if self.processes.is_first:
            self.losses.append(row)
            self._add_to_tensorboard("train", row)
            if self.bar.disable:
                passed = time.perf_counter() - self.started
                left = passed / (step - self.first_step) * (self.total_steps - step)
                tqdm.write(
                    f"step {step} of {self.total_steps}: loss {loss:.3f}, learning rate {last.learn_rate:.1e}, "
                    f"{tqdm.format_interval(left)} left"
                )
        self.bar.set_postfix(loss=f"{loss:.3f}", learn_rate=f"{last.learn_rate:.1e}")
        self._resume_clock()

    def evaluate(self, valid_data: PersonaChatDataset, encoder: Encoder) -> None:
        """Record metrics and sample replies, and save the best model so far: after an epoch, or at the start."""
        self.finite.check()
        self._pause()
        if self.processes.is_first:
            step, epoch = self.state.step, self.state.step / self.steps_per_epoch
            products = autocast(self.trainer.precision, self.processes.device)
            metrics = teacher_forced_metrics(self.trainer.model, valid_data, encoder, products)
            self.evaluations.append({"step": step, "epoch": epoch} | metrics)
            self.state.evaluation = {"step": step, "epoch": epoch} | metrics
            with logs.for_people(self.samples / "eval.json"):
                write_json(self.samples / "eval.json", self.state.evaluation)
            replies = sample_replies(self.trainer.model, valid_data, encoder, products)
            with logs.for_people(self.samples / "responses.txt"):
                logs.append_section(self.samples / "responses.txt", step, epoch, replies)
            self._add_to_tensorboard("valid", {"step": step} | metrics, replies)
            if self.state.best is None or metrics["loss"] < self.state.best["loss"]:
                self.state.best = {"loss": metrics["loss"], "step": step}
                self._save({}, lambda folder, write_model, _: save_best(folder, step, write_model))
            gain = f", persona gain {metrics['persona_gain']:.2f}" if "persona_gain" in metrics else ""
            tqdm.write(
                f"epoch {epoch:.0f}, step {step}: validation loss {metrics['loss']:.4f}, "
                f"perplexity {metrics['perplexity']:.2f}{gain}"
            )
        self.processes.wait()
        self._resume_clock()

    def save(self) -> None:
        """Write a checkpoint of this step, with everything that going on from it needs."""
        self._pause()
        self.finite.check()
        total = self.processes.sum(self.loss_sum.clone()).item()
        if self.processes.is_first:
            self.losses.flush()  # before the checkpoint: going on from it, nobody would write these rows again
            self.evaluations.flush()
            self.state.scaling, self.state.batch_size = self.trainer.scaling(), self.trainer.batch_size
            state = replace(self.state, loss_sum=total)
            rows = list(self.losses.rows), list(self.evaluations.rows)

            def write(folder: Path, write_model: Callable[[Path], None], tensors: dict[str, Tensor]) -> None:
                save_checkpoint(folder, state.step, write_model, state.to_json(), tensors)
                with logs.for_people(self.samples / "loss.png"):
                    logs.draw_plots(self.samples, *rows)

            apex_o2 = self.trainer.precision == "apex-O2"
            self._save(optimizer_tensors(self.trainer.optimizer, with_masters=apex_o2), write)
        self.processes.wait()
        self._resume_clock()

    def wait_for_save(self) -> None:
        """Return when the last save is on the disk. Every process must ask: torchrun ends all when one ends."""
        self.saves.wait()
        self.processes.wait()

    def _save(self, tensors: dict[str, Tensor], write: Write) -> None:
        """Let `write` save the model and `tensors` as they are now, beside the next steps where memory allows."""
        self.saves.wait()  # it may be the one that frees the room
        folder = self.settings.save_path / "checkpoint"
        folder.mkdir(parents=True, exist_ok=True)
        weights = self._weights()
        size = size_of(weights) + size_of(tensors)
        check_room(folder, size)
        beside = has_memory(size)
        if beside:
            weights, tensors = copies(weights), copies(tensors)
        write_model = functools.partial(self.write_model, weights, replace(self.state))
        self.saves.start(lambda: write(folder, write_model, tensors))
        if not beside:
            self.saves.wait()

    def write_model(self, weights: dict[str, Tensor], state: RunState, folder: Path) -> None:
        """Model and tokenizer, as from_pretrained loads them, the text's style and the model card, into `folder`."""
        self.trainer.model.save_pretrained(folder, state_dict=weights)
        self.tokenizer.save_pretrained(folder)
        if self.style:
            (folder / STYLE).write_text(json.dumps(self.style.plain(), indent=2), encoding="utf-8")
        context_length = self.trainer.model.config.n_positions
        write_card(folder, self.settings, self.tokenizer, context_length, state.step, state.evaluation)

    def _add_to_tensorboard(self, group: str, row: dict[str, Any], replies: str = "") -> None:
        """The same figures for TensorBoard, where it is asked for."""
        if self.tensorboard is None:
            return
        with logs.for_people(self.samples / "tensorboard"):
            for name in row.keys() - {"step", "epoch"}:
                self.tensorboard.add_scalar(f"{group}/{name}", row[name], row["step"])
            if replies:
                self.tensorboard.add_text("sample replies", f"```\n{replies}```", row["step"])
            self.tensorboard.flush()

    def _weights(self) -> dict[str, Tensor]:
        """What is saved of the model. Under apex-O2 every entry is a float32 copy, so the tied matrix would be two."""
        weights = self.trainer.model.state_dict()
        if self.trainer.model.config.tie_word_embeddings:
            del weights["lm_head.weight"]
        return weights

    def _pause(self) -> None:
        """Stop the clock: evaluating, saving and plotting are not training."""
        passed = time.perf_counter() - self.clock
        self.window += passed
        self.state.seconds += passed

    def _resume_clock(self) -> None:
        self.clock = time.perf_counter()


class FiniteCheck:
    """Stops the run at a step whose loss or gradient is not finite.

    On a GPU the answer is read while the next step runs, so that neither waits for the other.
    """

    def __init__(self, may_overflow: bool) -> None:
        self.may_overflow = may_overflow  # then a gradient that is not finite is part of the precision's method
        self.pending: tuple[int, StepResult, Tensor, torch.cuda.Event | None] | None = None

    def add(self, step: int, result: StepResult) -> None:
        """Ask about `step`. The step before is answered now, and without a GPU this one is too. Raises RunError."""
        finite = torch.isfinite(result.loss_sum)
        if not self.may_overflow:
            finite = finite & torch.isfinite(result.grad_norm)
        self.check()
        if not finite.is_cuda:
            self.pending = (step, result, finite, None)
            self.check()
            return
        answer = torch.empty((), dtype=torch.bool, pin_memory=True).copy_(finite, non_blocking=True)
        copied = torch.cuda.Event()
        copied.record()
        self.pending = (step, result, answer, copied)

    def check(self) -> None:
        """Raise RunError if the step that awaits its answer had a loss or gradient that is not finite."""
        if self.pending is None:
            return
        step, result, finite, copied = self.pending
        self.pending = None
        if copied is not None:
            copied.synchronize()
        if not finite:
            listed = ", ".join(map(str, result.group[:8].tolist())) + (", ..." if len(result.group) > 8 else "")
            raise RunError(
                f"step {step}: the loss or its gradient is not finite (sequences {listed} of the training tensors); "
                "the last checkpoint is intact: lower learn_rate, or set precision = bf16 or fp32, and run again"
            )
