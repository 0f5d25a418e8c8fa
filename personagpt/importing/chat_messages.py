"""Dialogues -> chat messages, JSON lines in the form that other trainers read."""

from __future__ import annotations

import json
from collections.abc import Iterator

from personagpt.text.convai2 import Dialogue, parse_corpus, write_corpus


def message_lines(dialogues: list[Dialogue]) -> Iterator[str]:
    """Yield a JSON line for each side that ConvAI2's text of `dialogues` is trained on.

    The side's facts are the system message, a fact a line; its utterances are the assistant's, and its last one ends
    the messages. They start with the assistant where that speaker starts the talk.
    """
    for dialogue, sides in parse_corpus(write_corpus(dialogues).encode(), "the dialogues"):
        for side in sides:
            own = [number for number in range(len(dialogue.utterances)) if number % 2 == side]
            if not own:
                continue
            messages = [{"role": "system", "content": "\n".join(dialogue.personas[side])}] * bool(
                dialogue.personas[side]
            )
            for number, text in enumerate(dialogue.utterances[: own[-1] + 1]):
                messages.append({"role": "assistant" if number % 2 == side else "user", "content": text})
            yield json.dumps({"messages": messages}, ensure_ascii=False)
