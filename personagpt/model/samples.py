"""Sample replies: what the model says in a few validation dialogues, beside what the human said."""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np
from transformers import PreTrainedModel

from personagpt.model.generation import MAX_NEW_TOKENS, generate_replies
from personagpt.sequences.format import Encoder, PersonaChatDataset

DIALOGUES, TURNS = 4, 3  # how many dialogues to show, and how many of the utterances before the reply


def sample_replies(
    model: PreTrainedModel, data: PersonaChatDataset, encoder: Encoder, autocast: AbstractContextManager
) -> str:
    """Persona, last turns, the human's reply and the model's greedy one, at responses spread over the data."""
    contexts, shown = [], []
    for index in np.linspace(0, len(data) - 1, min(DIALOGUES, len(data)), dtype=int):
        tokens, spans = data.sequence(int(index))
        # Neither the opening line nor the good-bye: a response from the middle of the talk.
        start, end = spans[len(spans) // 2]
        room = model.config.n_positions - MAX_NEW_TOKENS
        if start > room:
            continue
        _, facts, utterances = encoder.decode(tokens[:end].tolist())
        contexts.append(tokens[:start].tolist())
        shown.append((facts, utterances))
    replies = generate_replies(model, encoder, contexts, autocast) if contexts else []
    return "".join(_section(*parts, reply) for parts, reply in zip(shown, replies, strict=True))


def _section(facts: list[str], utterances: list[str], reply: str) -> str:
    """One dialogue; the last of `utterances` is the human's reply."""
    *before, human = utterances
    # The speaker of the reply spoke every second utterance before it.
    turns = [("partner" if (len(before) - i) % 2 else "speaker", text) for i, text in enumerate(before)][-TURNS:]
    lines = ["persona: " + " ".join(facts)]
    lines += [f"  {who}: {text}" for who, text in turns]
    lines += [f"  speaker, the human: {human}", f"  speaker, the model: {reply}"]
    return "\n".join(lines) + "\n\n"
