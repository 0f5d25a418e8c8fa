"""Fine-tune a GPT-2 (DialoGPT) on the tensors that preprocess_dataset.py wrote.

    python train.py                                    settings from .env; goes on where it was stopped
    python train.py --env .env.demo                    other settings
    epochs=1 python train.py                           one setting changed for this run
    python train.py --restart                          move the old run to save_path/old-N/ and start over
    torchrun --nproc_per_node=2 train.py               one process for each of two GPUs

Reads   save_path/train_data.safetensors, valid_data.safetensors and the base model `model_name`.
Writes  save_path/samples/      loss.csv, eval.csv, eval.json, loss.png, learn_rate.png, responses.txt, run.json
        save_path/checkpoint/   model, previous, best (folders that from_pretrained loads)
"""

from __future__ import annotations

import argparse
import sys

from personagpt.errors import Stopped, UserError, exit_status
from personagpt.settings import Settings, add_env_option, command, read_settings


def command_line(arguments: list[str] | None = None) -> tuple[argparse.Namespace, Settings]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_env_option(parser)
    parser.add_argument("--restart", action="store_true", help="set the old run aside and start over")
    options = parser.parse_args(arguments)
    return options, read_settings(options.env)


if __name__ == "__main__":
    # --help and a mistake in the settings are answered now, before the seconds that importing torch takes.
    if status := exit_status(lambda: command_line() and 0):
        sys.exit(status)

import contextlib
import signal
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm
from transformers import PreTrainedModel

from personagpt.device import Processes, autocast, hardware, import_apex, resolve_precision, start_processes
from personagpt.model.cpu_dropout import use_cpu_dropout
from personagpt.model.cpu_products import use_cpu_products
from personagpt.model.loading import load_config, load_model, load_tokenizer, use_fused_gelu
from personagpt.model.loss import ResponseLoss
from personagpt.sequences.batches import StepPlan, load_batch, micro_batches
from personagpt.sequences.format import Encoder, check_present, open_tensors
from personagpt.training.card import set_generation_defaults
from personagpt.training.checkpoint import load_optimizer
from personagpt.training.recorder import Recorder
from personagpt.training.resume import check_same_run, claim_run, run_identity


def main(arguments: list[str] | None = None) -> int:
    options, settings = command_line(arguments)
    with start_processes() as processes, StopSignals() as stop:
        return train(settings, options.restart, options.env, processes, stop)


def train(settings: Settings, restart: bool, env_file: Path, processes: Processes, stop: StopSignals) -> int:
    """One run, from its start or its last checkpoint to its end; `env_file` is named in its closing words."""
    device = processes.device
    say = tqdm.write if processes.is_first else lambda text: None
    for split in ("train", "valid"):  # before a base model is looked for, perhaps on the hub
        check_present(settings.tensors(split))
    precision = resolve_precision(settings.precision, device)
    tokenizer = load_tokenizer(settings.model_name)
    encoder, context = Encoder(tokenizer), load_config(settings.model_name).n_positions
    train_data, valid_data = (
        open_tensors(settings.tensors(split), settings.text(split), tokenizer, settings.max_turns, context)
        for split in ("train", "valid")
    )

    # Which sequences form which step, and how many steps there are.
    per_step = settings.batch_size * settings.gradient_accumulation_steps * processes.count
    plan = StepPlan(train_data.lengths, settings.seed, per_step)
    total_steps = settings.epochs * plan.steps_per_epoch
    if settings.warmup_steps >= total_steps:
        raise UserError(f"warmup_steps = {settings.warmup_steps} must be below the run's {total_steps} steps: lower it")

    # Where the run stands.
    identity = run_identity(settings, per_step, train_data, valid_data)
    with claim_run(settings.save_path, restart, processes, say) as (checkpoint, state):
        check_same_run(state, identity, settings, say)
        if state["step"] >= total_steps:
            say(f"already finished: {state['step']} steps, {settings.epochs} epochs")
            say(closing_words(settings, env_file))
            return 0

        model = load_model(str(checkpoint or settings.model_name), len(tokenizer), settings.init, settings.seed)
        model.to(device)
        set_generation_defaults(model, tokenizer)
        trainer = Trainer(settings, processes, precision, model)
        if checkpoint:
            load_optimizer(trainer.optimizer, checkpoint)
            trainer.load_scaling(state["scaling"])
            say(f"going on after step {state['step']} of {total_steps}")
        run = Recorder(settings, processes, tokenizer, trainer, state, total_steps, plan.steps_per_epoch)
        run.describe({"train": train_data.metadata, "valid": valid_data.metadata}, per_step)
        say(
            f"{len(train_data)} sequences, {total_steps} steps of {per_step}, {sum(p.numel() for p in model.parameters()):,}"
            f" parameters, {precision} on {hardware(device)}"
        )

        model.train()
        with run.bar:  # closed, also by an error, before anything else is printed
            for step in range(state["step"] + 1, total_steps + 1):
                # Random numbers of a step depend on seed, step and process alone: there is no state to lose, and
                # whatever evaluation draws in between changes nothing.
                torch.manual_seed(step_seed(settings.seed, step, processes.rank))
                group = plan.group(step)
                label_tokens = int(train_data.label_tokens[group].sum())  # in all batches and processes of the step
                batches = micro_batches(group, settings.batch_size, processes.rank, processes.count)
                for number, indices in enumerate(batches, start=1):
                    batch = load_batch(train_data, indices, encoder.eos).to(device)
                    with trainer.reduce_gradients(number == len(batches)):
                        with autocast(precision, device):
                            loss_sum = trainer.loss_module(batch.input_ids, batch.label_index, batch.targets)
                        # The mean over the step's response tokens, whatever the split; DDP averages over processes.
                        trainer.backward(loss_sum * (processes.count / label_tokens))
                    run.loss_sum += loss_sum.detach()
                learn_rate = settings.learn_rate * schedule(step, total_steps, settings.warmup_steps)
                grad_norm = trainer.optimizer_step(learn_rate)
                run.finish_step(step, group, label_tokens, train_data.lengths[group].sum(), learn_rate, grad_norm)

                if step % settings.logging_steps == 0 or step == total_steps:
                    run.log_losses()
                if step % plan.steps_per_epoch == 0:
                    run.evaluate(valid_data, encoder)
                stopped = processes.any(stop.status != 0)
                if step % settings.save_steps == 0 or step == total_steps or stopped:
                    run.save(identity)
                if stopped and step < total_steps:
                    raise Stopped(
                        f"stopped after step {step} of {total_steps} and saved; the same command goes on from there",
                        stop.status or 143,
                    )
        say(
            f"finished: {total_steps} steps in {run.state['seconds']:.0f} s of training\n{closing_words(settings, env_file)}"
        )
    return 0


def schedule(step: int, total_steps: int, warmup_steps: int) -> float:
    """The factor on learn_rate in `step` (from 1): linear to 1 in the warm-up, then linear towards 0 at the end."""
    if step <= warmup_steps:
        return step / warmup_steps
    return (total_steps - step + 1) / (total_steps - warmup_steps)


def step_seed(seed: int, step: int, rank: int) -> int:
    """A seed for each step and process: far apart for neighbours, since generators seeded alike start out alike."""
    mixed = (seed * 1_000_003 + step) * 1_000_003 + rank
    return (mixed * 0x9E3779B97F4A7C15 + 0x7F4A7C15) % 2**63


def closing_words(settings: Settings, env_file: Path) -> str:
    """Where everything is, and what to try next."""
    samples, checkpoint = settings.save_path / "samples", settings.save_path / "checkpoint"
    return (
        f"  model            {checkpoint / 'model'}\n"
        f"  best model       {checkpoint / 'best'}   (lowest validation loss)\n"
        f"  losses           {samples / 'loss.csv'}, {samples / 'loss.png'}, {samples / 'learn_rate.png'}\n"
        f"  evaluations      {samples / 'eval.csv'}, {samples / 'eval.json'}\n"
        f"  sample replies   {samples / 'responses.txt'}\n"
        f"  this run         {samples / 'run.json'}\n"
        f"score it         {command('evaluate.py', env_file)}\n"
        f"talk to it       {command('interact.py', env_file)} --random-persona\n"
        "With more epochs the same command trains on; --restart starts over."
    )


class StopSignals:
    """While open, the first SIGINT or SIGTERM only sets `status` (130, 143); a second Ctrl-C stops at once."""

    def __enter__(self) -> StopSignals:
        self.status = 0
        self.before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.status = 128 + number
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __exit__(self, *exception: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


class Trainer:
    """The model under its loss, the optimizer, and what a precision asks of the backward pass."""

    def __init__(self, settings: Settings, processes: Processes, precision: str, model: PreTrainedModel) -> None:
        self.model, self.processes, self.precision, self.settings = model, processes, precision, settings
        self.amp = import_apex(precision) if precision.startswith("apex") else None
        use_fused_gelu(model)
        if processes.device.type == "cpu":
            use_cpu_dropout(model)
        use_cpu_products(model)
        if settings.gradient_checkpointing:
            # Newer transformers call it so, and warn of the name that older ones have.
            newer = getattr(model, "activation_checkpointing_enable", None)
            (newer or model.gradient_checkpointing_enable)({"use_reentrant": False})
        matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
        vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]  # biases and LayerNorm
        groups = [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        # One kernel for the whole update; apex wraps the step and wants the plain one.
        fused = self.amp is None and processes.device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.AdamW(groups, lr=settings.learn_rate, eps=1e-8, fused=fused)
        if self.amp:
            level = precision.removeprefix("apex-")
            self.model, self.optimizer = self.amp.initialize(model, self.optimizer, opt_level=level, verbosity=0)
        self.scaler = torch.amp.GradScaler(processes.device.type, enabled=precision == "fp16")
        uncast = self.amp.disable_casts if precision == "apex-O1" else contextlib.nullcontext
        self.loss_module: torch.nn.Module = ResponseLoss(self.model, uncast)
        on_cuda = processes.device.type == "cuda" and not self.amp
        if settings.compile == "True" or (settings.compile == "auto" and on_cuda):
            # Lengths differ from batch to batch: one program for all of them.
            self.loss_module.compile(dynamic=True)
        if processes.count > 1:
            self.loss_module = DistributedDataParallel(self.loss_module, gradient_as_bucket_view=True)

    def reduce_gradients(self, now: bool) -> contextlib.AbstractContextManager:
        """Exchange gradients between processes in the step's last backward pass only."""
        return contextlib.nullcontext() if now or self.processes.count == 1 else self.loss_module.no_sync()

    def backward(self, loss: Tensor) -> None:
        if self.amp:
            with self.amp.scale_loss(loss, self.optimizer) as scaled:
                scaled.backward()
        else:
            self.scaler.scale(loss).backward()

    def optimizer_step(self, learn_rate: float) -> Tensor:
        """Clip, update, clear; returns the norm the gradients had."""
        for group in self.optimizer.param_groups:
            group["lr"] = learn_rate
        parameters = list(self.amp.master_params(self.optimizer)) if self.amp else list(self.model.parameters())
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.settings.max_grad_norm)
        self.scaler.step(self.optimizer)  # does without the step where fp16 overflowed
        self.scaler.update()
        self.optimizer.zero_grad()
        return norm

    @property
    def may_overflow(self) -> bool:
        """Whether gradients that are not finite are part of the precision's method."""
        return self.precision == "fp16" or self.amp is not None

    def scaling(self) -> dict[str, Any]:
        return {"apex": self.amp is not None, "state": (self.amp or self.scaler).state_dict()}

    def load_scaling(self, saved: dict[str, Any]) -> None:
        """Go on with the loss scale of `scaling()`; one that another precision left is not of use."""
        if saved["apex"] == (self.amp is not None) and saved["state"] and (self.amp or self.scaler.is_enabled()):
            (self.amp or self.scaler).load_state_dict(saved["state"])


if __name__ == "__main__":
    sys.exit(exit_status(main))
