"""Whether replies follow the goals they are given: `goal_hit`, and `goal_base` to compare it with."""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager

import numpy as np
from transformers import PreTrainedModel

from personagpt.model.generation import ReplyRequest, fit_context, generate_replies
from personagpt.model.sampling import GREEDY
from personagpt.scoring.metrics import response_places
from personagpt.scoring.tally import Tally
from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.sequences.format import Encoder
from personagpt.sequences.goals import Goal, followed_goals


def goal_metrics(
    model: PreTrainedModel,
    dataset: PersonaChatDataset,
    encoder: Encoder,
    autocast: AbstractContextManager,
    goals: list[Goal],
    count: int,
) -> dict[str, Tally]:
    """Of `goal_hit` and `goal_base`, an entry for each of the first `count` responses that follow a goal: whether the
    greedy reply in its place follows the goal where it was given, and where it was not.

    A response that follows several stands for the one that fewest responses follow. Without any, no metric.
    """
    sequences = [dataset.sequence(index) for index in range(len(dataset))]
    spans = [(tokens, start, end) for tokens, own in sequences for start, end in own.tolist()]
    chosen = chosen_goals([encoder.decode_reply(tokens[start:end].tolist()) for tokens, start, end in spans], goals)
    responses = [index for index, goal in enumerate(chosen) if goal][:count]
    if not responses:
        return {}
    drafts: dict[str, list[ReplyRequest]] = {"goal_hit": [], "goal_base": []}
    for index in responses:
        tokens, start, _ = spans[index]
        front = [encoder.act, *encoder.texts([chosen[index].text])[0]]
        context = fit_context(
            tokens[:start].tolist(), encoder, model.config.n_positions - GREEDY.max_new_tokens - len(front)
        )
        drafts["goal_hit"].append(ReplyRequest(front + context))
        drafts["goal_base"].append(ReplyRequest(context))
    places = response_places(sequences, dataset.tensors.dialogues, encoder)[np.array(responses)]
    tallies = {}
    for name, asked in drafts.items():
        replies = generate_replies(model, encoder, asked, autocast, f"generate for {name}")
        followed = [
            float(chosen[index] in followed_goals(goals, reply))
            for index, reply in zip(responses, replies, strict=True)
        ]
        tallies[name] = Tally.of_equals(places, np.array(followed))
    return tallies


def chosen_goals(responses: list[str], goals: list[Goal]) -> list[Goal | None]:
    """For each response the goal it follows, of several the one that fewest of them follow; None where it is none."""
    followed = [followed_goals(goals, response) for response in responses]
    counts = Counter(goal.text for found in followed for goal in found)
    return [min(found, key=lambda goal: counts[goal.text], default=None) for found in followed]
