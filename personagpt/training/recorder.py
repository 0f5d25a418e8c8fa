"""What a training run leaves behind while it goes: the progress bar, loss.csv, plots, evaluations and checkpoints."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from personagpt.device import Processes, autocast, hardware
from personagpt.errors import RunError
from personagpt.model.samples import sample_replies
from personagpt.scoring.metrics import teacher_forced_metrics
from personagpt.sequences.format import Encoder, PersonaChatDataset
from personagpt.settings import Settings
from personagpt.training import logs
from personagpt.training.card import write_card
from personagpt.training.checkpoint import check_room, optimizer_tensors, save_best, save_checkpoint


class Recorder:
    """Follows a run from step `state["step"]` on. Only the first process writes; all call every method."""

    def __init__(
        self,
        settings: Settings,
        processes: Processes,
        tokenizer: PreTrainedTokenizerFast,
        trainer: Any,
        state: dict[str, Any],
        total_steps: int,
        steps_per_epoch: int,
    ) -> None:
        self.settings, self.processes, self.tokenizer, self.trainer = settings, processes, tokenizer, trainer
        self.total_steps, self.steps_per_epoch = total_steps, steps_per_epoch
        self.state = state
        # Summed on the device, read once per row of loss.csv. MPS has no float64.
        dtype = torch.float32 if processes.device.type == "mps" else torch.float64
        # The sum since the last row, over all processes, goes on in the first one.
        before = state["since_row"]["loss_sum"] if processes.is_first else 0.0
        self.loss_sum = torch.tensor(before, dtype=dtype, device=processes.device)
        self.pending: tuple[Any, ...] | None = None
        self.clock, self.sequence_tokens, self.window = time.perf_counter(), 0, 0.0
        self.bar = tqdm(
            total=total_steps, initial=state["step"], desc="train", unit="step", disable=not processes.is_first
        )
        if processes.is_first:
            self.samples = settings.save_path / "samples"
            self.losses = logs.CsvLog(self.samples / "loss.csv", logs.LOSS_COLUMNS, state["step"])
            self.evaluations = logs.CsvLog(self.samples / "eval.csv", logs.EVAL_COLUMNS, state["step"])
            logs.keep_sections(self.samples / "responses.txt", state["step"])
            if (logs.read_json(self.samples / "eval.json") or {"step": 0}).get("step", 0) > state["step"]:
                logs.write_json(self.samples / "eval.json", state["evaluation"] or {})
            self.board = logs.open_board(self.samples, state["step"]) if settings.tensorboard else None

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
            logs.write_json(self.samples / "run.json", content)

    def finish_step(
        self, step: int, group: np.ndarray, label_tokens: int, tokens: int, learn_rate: float, grad_norm: Tensor
    ) -> None:
        """Count a step, and stop the run where its loss or gradient is not finite."""
        self.state["step"] = step
        self.state["since_row"]["label_tokens"] += label_tokens
        self.sequence_tokens += tokens
        self.learn_rate, self.grad_norm = learn_rate, grad_norm
        finite = torch.isfinite(self.loss_sum)
        if not self.trainer.may_overflow:
            finite = finite & torch.isfinite(grad_norm)
        # On a GPU a step is checked while the next one runs, so that neither waits for the other; a save checks first.
        self.check_finite()
        if finite.is_cuda:
            answer = torch.empty((), dtype=torch.bool, pin_memory=True).copy_(finite, non_blocking=True)
            copied = torch.cuda.Event()
            copied.record()
            self.pending = (step, group, answer, copied)
        else:
            self.pending = (step, group, finite, None)
            self.check_finite()
        self.bar.update()

    def check_finite(self) -> None:
        """Raise RunError if the step that awaits its check had a loss or gradient that is not finite."""
        if self.pending is None:
            return
        step, group, finite, copied = self.pending
        self.pending = None
        if copied is not None:
            copied.synchronize()
        if not finite:
            listed = ", ".join(map(str, group[:8].tolist())) + (", ..." if len(group) > 8 else "")
            raise RunError(
                f"step {step}: the loss or its gradient is not finite (sequences {listed} of the training tensors); "
                "the last checkpoint is intact: lower learn_rate, or set precision = bf16 or fp32, and run again"
            )

    def log_losses(self) -> None:
        """Add a row to loss.csv: the mean over the response tokens since the last row."""
        self.check_finite()
        step, since = self.state["step"], self.state["since_row"]
        loss = self.processes.sum(self.loss_sum).item() / since["label_tokens"]
        self.loss_sum.zero_()
        self._pause()
        row = {
            "step": step,
            "epoch": step / self.steps_per_epoch,
            "loss": loss,
            "learn_rate": self.learn_rate,
            "grad_norm": self.grad_norm.item(),
            "tokens_per_second": self.sequence_tokens / max(self.window, 1e-9),
            "seconds": self.state["seconds"],
        }
        if self.processes.device.type == "cuda":
            row["peak_gpu_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
        since["label_tokens"], self.sequence_tokens, self.window = 0, 0, 0.0
        if self.processes.is_first:
            self.losses.append(row)
            self._show_on_board("train", row)
        self.bar.set_postfix(loss=f"{loss:.3f}", learn_rate=f"{self.learn_rate:.1e}")
        self._resume_clock()

    def evaluate(self, valid_data: PersonaChatDataset, encoder: Encoder) -> None:
        """The end of an epoch: metrics, sample replies, and the best model so far."""
        self.check_finite()
        self._pause()
        if self.processes.is_first:
            step, epoch = self.state["step"], self.state["step"] / self.steps_per_epoch
            context = autocast(self.trainer.precision, self.processes.device)
            metrics = teacher_forced_metrics(self.trainer.model, valid_data, encoder, context)
            self.evaluations.append({"step": step, "epoch": epoch} | metrics)
            self.state["evaluation"] = {"step": step, "epoch": epoch} | metrics
            logs.write_json(self.samples / "eval.json", self.state["evaluation"])
            title = f"{logs.SECTION}{step}, epoch {epoch:.2f} ===\n"
            replies = sample_replies(self.trainer.model, valid_data, encoder, context)
            with open(self.samples / "responses.txt", "a", encoding="utf-8") as file:
                file.write(title + replies)
                file.flush()
                os.fsync(file.fileno())
            self._show_on_board("valid", {"step": step} | metrics, replies)
            if self.state["best"] is None or metrics["loss"] < self.state["best"]["loss"]:
                self.state["best"] = {"loss": metrics["loss"], "step": step}
                folder = self.settings.save_path / "checkpoint"
                folder.mkdir(exist_ok=True)
                check_room(folder, self._weight_bytes())
                save_best(folder, step, self.write_model)
            gain = f", persona gain {metrics['persona_gain']:.2f}" if "persona_gain" in metrics else ""
            tqdm.write(
                f"epoch {epoch:.0f}, step {step}: validation loss {metrics['loss']:.4f}, "
                f"perplexity {metrics['perplexity']:.2f}{gain}"
            )
        self.processes.wait()
        self._resume_clock()

    def save(self, identity: dict[str, Any]) -> None:
        """Write a checkpoint of this step, with everything that going on from it needs."""
        self._pause()
        self.check_finite()
        total = self.processes.sum(self.loss_sum.clone()).item()
        if self.processes.is_first:
            self.losses.flush()
            self.evaluations.flush()
            folder = self.settings.save_path / "checkpoint"
            folder.mkdir(exist_ok=True)
            masters = self.trainer.precision == "apex-O2"
            tensors = optimizer_tensors(self.trainer.optimizer, masters)
            moments = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
            check_room(folder, self._weight_bytes() + moments)
            since = self.state["since_row"] | {"loss_sum": total}
            state = self.state | {
                "since_row": since,
                "scaling": self.trainer.scaling(),
                "identity": identity,
                "settings": self.settings.plain(),
            }
            logs.draw_plots(self.samples, self.losses, self.evaluations)  # first: after the last save nothing follows
            save_checkpoint(folder, state["step"], self.write_model, state, tensors)
        self.processes.wait()
        self._resume_clock()

    def write_model(self, folder: Path) -> None:
        """Model and tokenizer, as from_pretrained loads them, and the model card, into `folder`."""
        self.trainer.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        context = self.trainer.model.config.n_positions
        write_card(folder, self.settings, context, self.state["step"], self.state["evaluation"])

    def _show_on_board(self, group: str, row: dict[str, Any], replies: str = "") -> None:
        """The same figures for TensorBoard, where it is asked for."""
        if self.board is None:
            return
        for name in row.keys() - {"step", "epoch"}:
            self.board.add_scalar(f"{group}/{name}", row[name], row["step"])
        if replies:
            self.board.add_text("sample replies", f"```\n{replies}```", row["step"])
        self.board.flush()

    def _weight_bytes(self) -> int:
        return sum(parameter.numel() * parameter.element_size() for parameter in self.trainer.model.parameters())

    def _pause(self) -> None:
        """Stop the clock: evaluating, saving and plotting are not training."""
        passed = time.perf_counter() - self.clock
        self.window += passed
        self.state["seconds"] += passed

    def _resume_clock(self) -> None:
        self.clock = time.perf_counter()
