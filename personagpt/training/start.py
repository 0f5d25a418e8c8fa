"""What a run starts from: the data, and the model with its optimizer, fresh or as a checkpoint left them."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from personagpt.device import Processes, hardware
from personagpt.model.generation import set_generation_defaults
from personagpt.model.loading import draw_model, load_config, load_model, load_tokenizer
from personagpt.sequences.dataset import PersonaChatDataset, open_tensors
from personagpt.sequences.format import Encoder
from personagpt.sequences.goals import Goal, read_goals
from personagpt.settings import Settings
from personagpt.training.checkpoint import load_optimizer
from personagpt.training.optimization import Trainer
from personagpt.training.resume import RunState


def open_data(
    settings: Settings, goals: list[Goal]
) -> tuple[PreTrainedTokenizerFast, PersonaChatDataset, PersonaChatDataset]:
    """Return the base model's tokenizer, and the training and validation sequences made with it.

    The validation sequences leave out those for a goal, because their responses are in the other sequences.
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


def base_model(settings: Settings, vocabulary: int) -> PreTrainedModel:
    """Return the model that a run starts from, with rows for `vocabulary` tokens. `init` concerns this model alone."""
    start = draw_model if settings.init == "random" else load_model
    return start(settings.model_name, vocabulary, settings.seed)


def load_trainer(
    settings: Settings,
    processes: Processes,
    precision: str,
    tokenizer: PreTrainedTokenizerFast,
    checkpoint: Path | None,
    state: RunState,
) -> Trainer:
    """Return the model and its optimizer as `checkpoint` left them, or without a checkpoint the base model."""
    # A checkpoint has a row for every token: asked for no more rows, loading draws nothing.
    model = load_model(str(checkpoint), vocabulary=0) if checkpoint else base_model(settings, len(tokenizer))
    model.to(processes.device)
    set_generation_defaults(model, tokenizer)
    model.config.goals = [goal.text for goal in read_goals(settings.goals)]  # config.json keeps them with the model
    trainer = Trainer(settings, processes, precision, model)
    if checkpoint:
        load_optimizer(trainer.optimizer, checkpoint)
        trainer.load_scaling(state.scaling)
        if state.batch_size and state.settings["batch_size"] == settings.batch_size:
            trainer.batch_size = state.batch_size  # larger batches did not fit into memory
    return trainer


def opening_words(trainer: Trainer, sequences: int, total_steps: int, per_step: int) -> str:
    """Return the line that says what is about to run, with a hint where a GPU gets one sequence at a time."""
    device, size = trainer.processes.device, sum(parameter.numel() for parameter in trainer.model.parameters())
    line = f"{sequences} sequences, {total_steps} steps of {per_step}, {size:,} parameters, "
    line += f"{trainer.precision} on {hardware(device)}"
    if device.type == "cuda" and trainer.batch_size == 1 and per_step > trainer.processes.count:
        line += (
            "\nbatch_size is 1: with 12 GB of GPU memory or more, batch_size = 8 and gradient_accumulation_steps = 1 "
            "take the same steps several times as fast"
        )
    return line
