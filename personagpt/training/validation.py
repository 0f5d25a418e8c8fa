"""The validation of a run: its metrics and sample replies, and which model is the best so far."""

from __future__ import annotations

from typing import Any

from personagpt.device import autocast
from personagpt.model.generation import sample_replies
from personagpt.scoring.metrics import figures, teacher_forced
from personagpt.sequences.format import Encoder
from personagpt.training.optimization import Trainer
from personagpt.training.preferences import held_back_figures
from personagpt.training.start import RunPlan


def validate(plan: RunPlan, trainer: Trainer, step: int) -> tuple[dict[str, Any], str]:
    """Return the row of eval.csv after `step`, and the text of responses.txt."""
    model, encoder = trainer.model, Encoder(plan.tokenizer)
    context = autocast(trainer.precision, trainer.processes.device)
    metrics = figures(teacher_forced(model, plan.valid, encoder, context))
    if plan.preferences:
        beta = trainer.settings.preference_beta
        metrics |= held_back_figures(model, plan.preferences, trainer.reference, beta, context)
    evaluation = {"step": step, "epoch": step / plan.steps.steps_per_epoch} | metrics
    return evaluation, sample_replies(model, plan.valid, encoder, context)


def is_best(evaluation: dict[str, Any], best: dict[str, Any] | None) -> bool:
    """Return whether an evaluation has the lowest validation loss so far: the model then becomes checkpoint/best."""
    return best is None or evaluation["loss"] < best["loss"]
