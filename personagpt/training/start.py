"""What a run starts from: its data, and the model with its optimizer, fresh or as a checkpoint left them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from safetensors.torch import load_file
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from personagpt.device import Processes, autocast, hardware
from personagpt.model.decoders import context_length
from personagpt.model.folders import OPTIMIZER
from personagpt.model.generation import set_generation_defaults
from personagpt.model.loading import draw_model, knows_format, load_config, load_model, load_tokenizer
from personagpt.sequences.batches import StepPlan
from personagpt.sequences.dataset import PersonaChatDataset, open_tensors
from personagpt.sequences.fact_order import FactOrder
from personagpt.sequences.format import Encoder
from personagpt.sequences.goals import Goal, read_goals
from personagpt.sequences.preference_tensors import PreferenceData
from personagpt.settings import Settings
from personagpt.training.optimization import REFERENCE, Trainer, load_optimizer
from personagpt.training.preferences import log_likelihoods
from personagpt.training.resume import RunState


@dataclass(frozen=True)
class RunPlan:
    """What a run trains on, and how many steps it takes."""

    tokenizer: PreTrainedTokenizerFast
    train: PersonaChatDataset
    valid: PersonaChatDataset
    steps: StepPlan  # which sequences form which step
    total_steps: int
    warmup_steps: int  # at most all steps but the last
    order: FactOrder | None  # of the facts in the first epoch, with `shuffle_facts`; None: as in the text
    preferences: PreferenceData | None = None

    def data(self, step: int) -> PersonaChatDataset:
        """Return the training sequences as `step` sees them: with `shuffle_facts`, their facts in its epoch's order."""
        if self.order is None:
            return self.train
        return self.train.with_facts_in(replace(self.order, number=(step - 1) // self.steps.steps_per_epoch))

    def items(self, step: int) -> np.ndarray:
        """Return the preferences that `step` learns."""
        return self.steps.share(self.preferences.trained if self.preferences else 0, step)


def plan_run(settings: Settings, goals: list[Goal], processes: int) -> RunPlan:
    """Return the plan of a run in so many processes. Raises UserError where the tensors do not fit the settings.

    The validation sequences leave out those for a goal, because their responses are in the other sequences.
    """
    tokenizer = load_tokenizer(settings.model_name)
    longest = context_length(load_config(settings.model_name))
    train, valid = (
        open_tensors(settings.tensors(split), settings.text(split), tokenizer, settings.max_turns, longest, goals)
        for split in ("train", "valid")
    )
    preferences = None
    if settings.learns_preferences:
        path, file = settings.preference_tensors, Path(settings.preferences)
        preferences = PreferenceData(open_tensors(path, file, tokenizer, settings.max_turns, longest))
    per_step = settings.batch_size * settings.gradient_accumulation_steps * processes
    steps = StepPlan(train.lengths, settings.seed, per_step)
    total_steps = settings.epochs * steps.steps_per_epoch
    warmup_steps = min(settings.warmup_steps, total_steps - 1)
    encoder = Encoder(tokenizer)
    order = FactOrder(encoder, settings.seed, number=0) if settings.shuffle_facts else None
    valid = valid.without_goals(encoder.act)
    return RunPlan(tokenizer, train, valid, steps, total_steps, warmup_steps, order, preferences)


def base_model(settings: Settings, vocabulary: int) -> PreTrainedModel:
    """Return the model that a run starts from, with rows for `vocabulary` tokens. `init` concerns this model alone."""
    start = draw_model if settings.init == "random" else load_model
    return start(settings.model_name, vocabulary, settings.seed)


def starts_from_trained(settings: Settings) -> bool:
    """Return whether the run starts from a model that was trained on persona dialogues before."""
    return settings.init == "pretrained" and knows_format(settings.model_name)


def load_trainer(
    settings: Settings,
    processes: Processes,
    precision: str,
    plan: RunPlan,
    checkpoint: Path | None,
    state: RunState,
) -> Trainer:
    """Return the model and its optimizer as `checkpoint` left them, or without a checkpoint the base model."""
    tokenizer = plan.tokenizer
    # A checkpoint has a row for every token: asked for no more rows, loading draws nothing.
    model = load_model(str(checkpoint), vocabulary=0) if checkpoint else base_model(settings, len(tokenizer))
    model.to(processes.device)
    set_generation_defaults(model, tokenizer)
    model.config.goals = [goal.text for goal in read_goals(settings.goals)]  # config.json keeps them with the model
    trainer = Trainer(settings, processes, precision, model)
    if checkpoint:
        load_optimizer(trainer.optimizer, checkpoint)
        if plan.preferences:
            trainer.reference = load_file(checkpoint / OPTIMIZER)[REFERENCE]
        trainer.load_scaling(state.scaling)
        if state.batch_size and state.settings["batch_size"] == settings.batch_size:
            trainer.batch_size = state.batch_size  # larger batches did not fit into memory
    elif plan.preferences:
        trainer.reference = log_likelihoods(trainer.model, plan.preferences, autocast(precision, processes.device))
    return trainer


def opening_words(plan: RunPlan, trainer: Trainer) -> str:
    """Return what is about to run, with a hint where a GPU gets one sequence at a time or the warm-up is too long."""
    device, settings, per_step = trainer.processes.device, trainer.settings, plan.steps.per_step
    parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    lines = [
        f"{len(plan.train)} sequences, {plan.total_steps} steps of {per_step}, {parameters:,} parameters, "
        f"{trainer.precision} on {hardware(device)}"
    ]
    if device.type == "cuda" and trainer.batch_size == 1 and per_step > trainer.processes.count:
        lines.append(
            "batch_size is 1: with 12 GB of GPU memory or more, batch_size = 8 and gradient_accumulation_steps = 1 "
            "take the same steps several times as fast"
        )
    if plan.warmup_steps < settings.warmup_steps:
        lines.append(
            f"warmup_steps = {settings.warmup_steps} is longer than the run: it warms up over {plan.warmup_steps} steps"
        )
    return "\n".join(lines)
