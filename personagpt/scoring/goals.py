"""Whether replies follow the goals they are given: `goal_hit`, and `goal_base` to compare it with."""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager

import numpy as np
from transformers import PreTrainedModel

from personagpt.model.decoders import context_length
from personagpt.model.generation import ReplyRequest, fit_context, generate_replies
from personagpt.model.loading import recorded_goals
from personagpt.model.sampling import GREEDY
from personagpt.scoring.entries import Entries
from personagpt.scoring.metrics import response_places
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
) -> dict[str, Entries]:
    """Return the entries of `goal_hit` and `goal_base` for the first `count` responses that follow a goal.

    An entry says whether a greedy reply in the response's place follows the goal: with the goal in front of the
    context, and without it. A model that does not say with which goals it was trained gets the goal as the published
    model learned goals: with <|p1|> and no facts. A response that follows several goals stands for the rarest. Empty
    without such responses.
    """
    sequences = [dataset.sequence(index) for index in range(len(dataset))]
    spans = [(tokens, start, end) for tokens, own in sequences for start, end in own.tolist()]
    chosen = chosen_goals([encoder.decode_reply(tokens[start:end].tolist()) for tokens, start, end in spans], goals)
    responses = [index for index, goal in enumerate(chosen) if goal][:count]
    if not responses:
        return {}
    requests: dict[str, list[ReplyRequest]] = {"goal_hit": [], "goal_base": []}
    for index in responses:
        tokens, start, _ = spans[index]
        front = [encoder.act, *encoder.texts([chosen[index].text])[0]]
        room = context_length(model.config) - GREEDY.max_new_tokens - len(front)
        context = fit_context(tokens[:start].tolist(), encoder, room)
        with_goal = front + context
        if recorded_goals(model.config) is None:
            with_goal = encoder.prefix(0, [], chosen[index].text) + context[context.index(encoder.start) + 1 :]
        requests["goal_hit"].append(ReplyRequest(with_goal))
        requests["goal_base"].append(ReplyRequest(context))
    places = response_places(sequences, dataset.tensors.dialogues, encoder)[np.array(responses)]
    entries = {}
    for name, asked in requests.items():
        replies = generate_replies(model, encoder, asked, autocast, f"generate for {name}")
        followed = [chosen[i] in followed_goals(goals, reply) for i, reply in zip(responses, replies, strict=True)]
        entries[name] = Entries.of_equals(places, np.array(followed, float))
    return entries


def chosen_goals(responses: list[str], goals: list[Goal]) -> list[Goal | None]:
    """Return for each response the goal that it follows, of several the one that fewest responses follow, or None."""
    followed = [followed_goals(goals, response) for response in responses]
    counts = Counter(goal.text for response_goals in followed for goal in response_goals)
    return [min(goals_here, key=lambda goal: counts[goal.text], default=None) for goals_here in followed]
