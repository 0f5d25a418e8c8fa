"""Fine-tune a GPT-2 (DialoGPT) on the tensors that preprocess_dataset.py wrote.

    python train.py                                    settings from .env; a stopped run continues
    python train.py --env .env.demo                    other settings
    epochs=1 python train.py                           one setting changed for this run
    python train.py --restart                          move the old run to save_path/old-N/ and start over
    torchrun --nproc_per_node=2 train.py               one process for each of two GPUs

Reads   save_path/train_data.safetensors, valid_data.safetensors and the base model `model_name`.
Writes  save_path/samples/      loss.csv, eval.csv, eval.json, loss.png, learn_rate.png, responses.txt, run.json
        save_path/checkpoint/   model, previous, best (folders that from_pretrained loads)
"""

from __future__ import annotations

from utils import closed_pipe_output, command, new_parser, parse_options, run_script

from dataclasses import dataclass
from pathlib import Path

from personagpt.errors import Stopped
from personagpt.output import say
from personagpt.sequences.format import check_present
from personagpt.sequences.goals import Goal, read_goals
from personagpt.settings import Settings, read_settings
from personagpt.signals import StopSignals, importing


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
    with closed_pipe_output():
        return train(options, settings, goals)


def train(options: Options, settings: Settings, goals: list[Goal]) -> int:
    """Run the training, from its start or its last checkpoint to its end."""
    with importing():
        from personagpt.device import resolve_precision, start_processes
        from personagpt.sequences.batches import StepPlan
        from personagpt.sequences.format import Encoder
        from personagpt.training.logs import draw_stale_plots
        from personagpt.training.optimization import schedule, step_seed, training_step
        from personagpt.training.recorder import Recorder
        from personagpt.training.resume import check_same_run, claim_run, run_identity
        from personagpt.training.start import load_trainer, open_data, opening_words

    with start_processes() as processes, StopSignals() as stop:
        precision = resolve_precision(settings.precision, processes.device)
        tokenizer, train_data, valid_data = open_data(settings, goals)

        # Which sequences form which step, and how many steps there are.
        per_step = settings.batch_size * settings.gradient_accumulation_steps * processes.count
        plan = StepPlan(train_data.lengths, settings.seed, per_step)
        total_steps = settings.epochs * plan.steps_per_epoch
        warmup_steps = min(settings.warmup_steps, total_steps - 1)

        # Where the run stands.
        identity = run_identity(settings, per_step, train_data, valid_data)
        with claim_run(settings.save_path, options.restart, processes) as (checkpoint, state):
            check_same_run(state, identity, settings)
            if state.step >= total_steps:
                if processes.is_first:
                    draw_stale_plots(settings.save_path / "samples")
                epochs = counted(state.step / plan.steps_per_epoch, "epoch")
                say(f"already finished: {counted(state.step, 'step')}, {epochs}")
                say(closing_words(settings, options.env))
                return 0
            trainer = load_trainer(settings, processes, precision, tokenizer, checkpoint, state)
            state.identity, state.settings = identity, settings.plain()
            if checkpoint:
                say(f"going on after step {state.step} of {total_steps}")
            ahead = total_steps, plan.steps_per_epoch
            recorder = Recorder(settings, processes, tokenizer, trainer, state, *ahead, train_data.style)
            recorder.describe({"train": train_data.metadata, "valid": valid_data.metadata}, per_step)
            say(opening_words(trainer, len(train_data), total_steps, per_step))
            if warmup_steps < settings.warmup_steps:
                say(
                    f"warmup_steps = {settings.warmup_steps} is longer than the run: it warms up over {warmup_steps} "
                    "steps"
                )

            trainer.model.train()
            with recorder.saves, recorder.bar:  # the bar is closed before an error is printed
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
                        line = f"stopped after step {step} of {total_steps} and saved; "
                        raise Stopped(line + "the same command goes on from there", stop.status or 143)
            say(f"finished: {total_steps} steps in {state.seconds:.0f} s of training")
            say(closing_words(settings, options.env))
    return 0


def counted(number: float, noun: str) -> str:
    """Return `number` with its noun: "1 epoch", "1.5 epochs"."""
    return f"{round(number, 2):.10g} {noun}" + ("s" if number != 1 else "")


def closing_words(settings: Settings, env_file: Path) -> str:
    """Return where everything is, and the commands to try next, which need the settings of `env_file`."""
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


if __name__ == "__main__":
    run_script(main)
