"""Fine-tune DialoGPT, or another decoder, on the tensors that preprocess_dataset.py wrote.

    python train.py                                    settings from .env; a stopped run continues
    python train.py --env .env.demo                    other settings
    epochs=1 python train.py                           one setting changed for this run
    python train.py --restart                          move the old run to save_path/old-N/ and start over
    torchrun --nproc_per_node=2 train.py               one process for each of two GPUs

Reads   save_path/train_data.safetensors, valid_data.safetensors and the base model `model_name`;
        with `preferences` set, preferences.safetensors.
Writes  save_path/samples/      loss.csv, eval.csv, eval.json, responses.txt, run.json; loss, learn_rate: .png, .pdf
        save_path/checkpoint/   model, previous, best (folders that from_pretrained loads)
"""

from __future__ import annotations

from utils import closed_pipe_output, command, new_parser, parse_options, run_script

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from personagpt.errors import Stopped
from personagpt.files import check_present
from personagpt.model.folders import named_model
from personagpt.output import counted, say
from personagpt.records.preferences import PAIRS
from personagpt.sequences.goals import Goal, read_goals
from personagpt.settings import Settings, read_settings
from personagpt.signals import StopSignals, importing

if TYPE_CHECKING:
    from personagpt.training.optimization import Trainer
    from personagpt.training.recorder import Recorder
    from personagpt.training.resume import RunState
    from personagpt.training.start import RunPlan


@dataclass(frozen=True)
class Options:
    env: Path
    restart: bool


def command_line(arguments: list[str] | None = None) -> Options:
    parser = new_parser(__doc__)
    parser.add_argument("--restart", action="store_true", help="set the old run aside and start over")
    return parse_options(parser, Options, arguments)


def main(arguments: list[str] | None = None) -> int:
    options = command_line(arguments)
    settings = read_settings(options.env)
    goals = read_goals(settings.goals)
    for split in ("train", "valid"):
        check_present(settings.tensors(split), command("preprocess_dataset.py", options.env))
    if settings.learns_preferences:
        check_present(settings.preference_tensors, command("preprocess_dataset.py", options.env))
    named_model(settings.model_name, "model_name = ")
    with closed_pipe_output():
        return train(options, settings, goals)


def train(options: Options, settings: Settings, goals: list[Goal]) -> int:
    """Run the training, from its start or its last checkpoint to its end."""
    with importing():
        from personagpt.device import resolve_precision, start_processes
        from personagpt.training.plots import draw_stale_plots
        from personagpt.training.recorder import record_run
        from personagpt.training.resume import check_same_run, claim_run, run_identity
        from personagpt.training.start import load_trainer, opening_words, plan_run

    with start_processes() as processes, StopSignals() as stop:
        precision = resolve_precision(settings.precision, processes.device)
        plan = plan_run(settings, goals, processes.count)
        learned = plan.preferences and plan.preferences.dataset
        identity = run_identity(settings, plan.steps.per_step, plan.train, plan.valid, learned)
        with claim_run(settings.save_path, options.restart, processes) as (checkpoint, state):
            check_same_run(state, identity, settings)
            if state.step >= plan.total_steps:
                draw_stale_plots(settings.save_path / "samples")
                epochs = counted(state.step / plan.steps.steps_per_epoch, "epochs")
                say(f"already finished: {counted(state.step, 'steps')}, {epochs}")
                say(closing_words(settings, options.env, state))
                return 0
            trainer = load_trainer(settings, processes, precision, plan, checkpoint, state)
            state.identity, state.settings = identity, settings.plain()
            if checkpoint:
                say(f"going on after step {state.step} of {plan.total_steps}")
            say(opening_words(plan, trainer))
            with record_run(plan, trainer, state) as recorder:
                take_steps(plan, trainer, recorder, stop)
            say(f"finished: {plan.total_steps} steps in {state.seconds:.0f} s of training")
            say(closing_words(settings, options.env, state))
    return 0


def take_steps(plan: RunPlan, trainer: Trainer, recorder: Recorder, stop: StopSignals) -> None:
    """Take the steps that are left. Raises Stopped after the step in which a signal comes."""
    from personagpt.training.optimization import schedule, step_seed, training_step
    from personagpt.training.start import starts_from_trained

    settings, processes, total_steps = trainer.settings, trainer.processes, plan.total_steps
    trainer.model.train()
    if recorder.state.step == 0 and starts_from_trained(settings):
        recorder.evaluate()  # so that the user sees whether the model is better afterwards
    for step in range(recorder.state.step + 1, total_steps + 1):
        batches = trainer.batches(plan.data(step), plan.steps.group(step))
        seed = step_seed(settings.seed, step, processes.rank)
        learn_rate = settings.learn_rate * schedule(step, total_steps, plan.warmup_steps)
        items = trainer.items(plan.preferences, plan.items(step))
        result = training_step(trainer, batches, seed, learn_rate, items)
        recorder.finish_step(step, result, batches)

        is_last = step == total_steps
        if step == 1 or step % settings.logging_steps == 0 or is_last:
            recorder.log_losses()
        if step % plan.steps.steps_per_epoch == 0:
            recorder.evaluate()
        stopped = processes.any(stop.status != 0)
        if step % settings.save_steps == 0 or is_last or stopped:
            recorder.save()
        if stopped or is_last:
            recorder.wait_for_save()
        if stopped and not is_last:
            line = f"stopped after step {step} of {total_steps} and saved; the same command goes on from there"
            raise Stopped(line, stop.status or 143)


def closing_words(settings: Settings, env_file: Path, state: RunState) -> str:
    """Return where everything is, and the commands to try next with the settings of `env_file`.

    Where the last model is not the best model, the commands name the best model. Where the run went on from a trained
    model with the preferences of an export, one command compares both models on the replies that people rejected. If
    the best model is the model before, that command takes the last model.
    """
    from personagpt.training.start import starts_from_trained

    samples, checkpoint = settings.save_path / "samples", settings.save_path / "checkpoint"
    best, named, note = checkpoint / "best", "", ""
    if state.best and state.best["step"] != state.step:
        named = f" --model {shlex.quote(str(best))}"
        since = "before this training" if state.best["step"] == 0 else f"after step {state.best['step']}"
        note = f"The validation loss was lowest {since}: these commands take that model, and not the last one.\n"
    helped, export = "", Path(settings.preferences)
    if settings.learns_preferences and export.name == PAIRS and starts_from_trained(settings):
        after = best if named and state.best["step"] else settings.save_path
        pair = shlex.join([settings.model_name, str(after)])
        helped = f"did it help?     {command('evaluate.py', env_file)} --failures {shlex.quote(str(export.parent))} "
        helped += f"--compare {pair}\n"
    return (
        f"  model            {checkpoint / 'model'}\n"
        f"  best model       {best}   (lowest validation loss)\n"
        f"  losses           {samples / 'loss.csv'}, {samples / 'loss.png'}, {samples / 'learn_rate.png'}\n"
        f"  evaluations      {samples / 'eval.csv'}, {samples / 'eval.json'}\n"
        f"  sample replies   {samples / 'responses.txt'}\n"
        f"  this run         {samples / 'run.json'}\n"
        f"{helped}"
        f"{note}"
        f"score it         {command('evaluate.py', env_file)}{named}\n"
        f"talk to it       {command('interact.py', env_file)}{named} --random-persona\n"
        "With more epochs the same command trains on; --restart starts over."
    )


if __name__ == "__main__":
    run_script(main)
