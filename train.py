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

from personagpt.signals import end_at_once  # isort: skip

if __name__ == "__main__":
    end_at_once()  # Ctrl-C is answered by one line from here on: before anything else is imported

import argparse
import shlex

from personagpt.errors import Stopped
from personagpt.sequences.format import check_present
from personagpt.sequences.goals import Goal, read_goals
from personagpt.settings import Settings, read_settings
from personagpt.signals import StopSignals
from utils import add_env_option, before_torch, command, lasting_output, parse_options, run_script


def command_line(arguments: list[str] | None = None) -> tuple[argparse.Namespace, Settings, list[Goal]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_env_option(parser)
    parser.add_argument("--restart", action="store_true", help="set the old run aside and start over")
    options = parse_options(parser, arguments)
    settings = read_settings(options.env)
    goals = read_goals(settings.goals)
    for split in ("train", "valid"):
        check_present(settings.tensors(split), command("preprocess_dataset.py", options.env))
    return options, settings, goals


if __name__ == "__main__":
    prepared = before_torch(command_line)

from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from personagpt.device import Processes, hardware, resolve_precision, start_processes
from personagpt.model.generation import set_generation_defaults
from personagpt.model.loading import knows_format, load_config, load_model, load_tokenizer
from personagpt.sequences.batches import StepPlan
from personagpt.sequences.dataset import PersonaChatDataset, open_tensors
from personagpt.sequences.format import Encoder
from personagpt.training.checkpoint import load_optimizer
from personagpt.training.logs import draw_stale_plots
from personagpt.training.optimization import Trainer, schedule, step_seed, training_step
from personagpt.training.recorder import Recorder
from personagpt.training.resume import RunState, check_same_run, claim_run, run_identity


def main(arguments: list[str] | None = None) -> int:
    return run(*command_line(arguments))


def run(options: argparse.Namespace, settings: Settings, goals: list[Goal]) -> int:
    with lasting_output(), start_processes() as processes, StopSignals() as stop:
        return train(settings, goals, options, processes, stop)


def train(
    settings: Settings, goals: list[Goal], options: argparse.Namespace, processes: Processes, stop: StopSignals
) -> int:
    """One run, from its start or its last checkpoint to its end."""
    say = tqdm.write if processes.is_first else lambda line: None
    precision = resolve_precision(settings.precision, processes.device)
    tokenizer, train_data, valid_data = open_data(settings, goals)

    # Which sequences form which step, and how many steps there are.
    per_step = settings.batch_size * settings.gradient_accumulation_steps * processes.count
    plan = StepPlan(train_data.lengths, settings.seed, per_step)
    total_steps = settings.epochs * plan.steps_per_epoch
    warmup_steps = min(settings.warmup_steps, total_steps - 1)

    # Where the run stands.
    identity = run_identity(settings, per_step, train_data, valid_data)
    with claim_run(settings.save_path, options.restart, processes, say) as (checkpoint, state):
        check_same_run(state, identity, settings, say)
        if state.step >= total_steps:
            if processes.is_first:
                draw_stale_plots(settings.save_path / "samples")
            say(f"already finished: {state.step} steps, {settings.epochs} epochs")
            say(closing_words(settings, options.env, state))
            return 0
        trainer = load_trainer(settings, processes, precision, tokenizer, checkpoint, state, say)
        state.identity, state.settings = identity, settings.plain()
        if checkpoint:
            say(f"going on after step {state.step} of {total_steps}")
        ahead = total_steps, plan.steps_per_epoch
        recorder = Recorder(settings, processes, tokenizer, trainer, state, *ahead, train_data.style)
        recorder.describe({"train": train_data.metadata, "valid": valid_data.metadata}, per_step)
        say(opening_words(trainer, len(train_data), total_steps, per_step))

        if warmup_steps < settings.warmup_steps:
            say(f"warmup_steps = {settings.warmup_steps} is longer than the run: it warms up over {warmup_steps} steps")
        trainer.model.train()
        with recorder.saves, recorder.bar:  # the bar is closed, also by an error, before anything else is printed
            if state.step == 0 and settings.init == "pretrained" and knows_format(settings.model_name):
                recorder.evaluate(valid_data, Encoder(tokenizer))  # a model that learns more: is it better afterwards?
            for step in range(state.step + 1, total_steps + 1):
                seed = step_seed(settings.seed, step, processes.rank)
                learn_rate = settings.learn_rate * schedule(step, total_steps, warmup_steps)
                result = training_step(trainer, train_data, plan.group(step), seed, learn_rate)
                recorder.finish_step(step, result, train_data.lengths[result.group].sum())

                if step == 1 or step % settings.logging_steps == 0 or step == total_steps:
                    recorder.log_losses()
                if step % plan.steps_per_epoch == 0:
                    recorder.evaluate(valid_data, Encoder(tokenizer))
                stopped = processes.any(stop.status != 0)
                if step % settings.save_steps == 0 or step == total_steps or stopped:
                    recorder.save()
                if stopped or step == total_steps:
                    recorder.wait_for_save()
                if stopped and step < total_steps:
                    line = f"stopped after step {step} of {total_steps} and saved; the same command goes on from there"
                    raise Stopped(line, stop.status or 143)
        say(f"finished: {total_steps} steps in {state.seconds:.0f} s of training")
        say(closing_words(settings, options.env, state))
    return 0


def open_data(
    settings: Settings, goals: list[Goal]
) -> tuple[PreTrainedTokenizerFast, PersonaChatDataset, PersonaChatDataset]:
    """The base model's tokenizer, and the training and validation sequences made with it.

    Validation goes without the sequences for a goal: their responses are in the others.
    """
    tokenizer = load_tokenizer(settings.model_name)
    context_length = load_config(settings.model_name).n_positions
    train_data, valid_data = (
        open_tensors(
            settings.tensors(split), settings.text(split), tokenizer, settings.max_turns, context_length, goals
        )
        for split in ("train", "valid")
    )
    return tokenizer, train_data, valid_data.without_goals(Encoder(tokenizer).act)


def load_trainer(
    settings: Settings,
    processes: Processes,
    precision: str,
    tokenizer: PreTrainedTokenizerFast,
    checkpoint: Path | None,
    state: RunState,
    say: Callable[[str], None],
) -> Trainer:
    """The model and its optimizer as `checkpoint` left them; without one, the base model at the run's start."""
    model = load_model(str(checkpoint or settings.model_name), len(tokenizer), settings.init, settings.seed)
    model.to(processes.device)
    set_generation_defaults(model, tokenizer)
    trainer = Trainer(settings, processes, precision, model, say)
    if checkpoint:
        load_optimizer(trainer.optimizer, checkpoint)
        trainer.load_scaling(state.scaling)
        if state.batch_size and state.settings["batch_size"] == settings.batch_size:
            trainer.batch_size = state.batch_size  # memory gave out with larger ones
    return trainer


def opening_words(trainer: Trainer, sequences: int, total_steps: int, per_step: int) -> str:
    """What is about to run, on what; and a hint where a GPU is given one sequence at a time."""
    device, size = trainer.processes.device, sum(parameter.numel() for parameter in trainer.model.parameters())
    line = f"{sequences} sequences, {total_steps} steps of {per_step}, {size:,} parameters, "
    line += f"{trainer.precision} on {hardware(device)}"
    if device.type == "cuda" and trainer.batch_size == 1 and per_step > trainer.processes.count:
        line += (
            "\nbatch_size is 1: with 12 GB of GPU memory or more, batch_size = 8 and gradient_accumulation_steps = 1 "
            "take the same steps several times as fast"
        )
    return line


def closing_words(settings: Settings, env_file: Path, state: RunState) -> str:
    """Where everything is, and what to try next; `env_file` is the one these commands need.

    Where the last model is not the best, the commands name the best.
    """
    samples, checkpoint = settings.save_path / "samples", settings.save_path / "checkpoint"
    best, named, note = checkpoint / "best", "", ""
    if state.best and state.best["step"] != state.step:
        named = f" --model {shlex.quote(str(best))}"
        since = "before this training" if state.best["step"] == 0 else f"after step {state.best['step']}"
        note = f"The validation loss was lowest {since}: these commands take that model, and not the last one.\n"
    return (
        f"  model            {checkpoint / 'model'}\n"
        f"  best model       {best}   (lowest validation loss)\n"
        f"  losses           {samples / 'loss.csv'}, {samples / 'loss.png'}, {samples / 'learn_rate.png'}\n"
        f"  evaluations      {samples / 'eval.csv'}, {samples / 'eval.json'}\n"
        f"  sample replies   {samples / 'responses.txt'}\n"
        f"  this run         {samples / 'run.json'}\n"
        f"{note}"
        f"score it         {command('evaluate.py', env_file)}{named}\n"
        f"talk to it       {command('interact.py', env_file)}{named} --random-persona\n"
        "With more epochs the same command trains on; --restart starts over."
    )


if __name__ == "__main__":
    run_script(run, *prepared)
