"""Lines of preferences for the tests."""

import json
from pathlib import Path

from personagpt.text.convai2 import read_corpus


def messages(*texts: str, last: str = "user", persona: str = "i ski .") -> list[dict[str, str]]:
    roles = ("user", "assistant") if last == "user" else ("assistant", "user")
    talk = [{"role": roles[place % 2], "content": text} for place, text in enumerate(reversed(texts))]
    return [{"role": "system", "content": persona}] * bool(persona) + talk[::-1]


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def pair(**changes: object) -> dict[str, object]:
    values = {"prompt": messages("hi"), "chosen": said("good"), "rejected": said("bad"), "goal": None}
    return values | {"source": "corrected"} | changes


def of_corpus(text: Path, dialogues: int) -> list[dict[str, object]]:
    """Two lines for each of the first `dialogues` of a text: pairs, but the fourth is a rejected reply alone."""
    lines = []
    for dialogue in read_corpus(text).dialogues[:dialogues]:
        for facts, said_next in zip(dialogue.personas, dialogue.utterances[:2], strict=True):
            lines.append(pair(prompt=messages("hi !", persona="\n".join(facts)), chosen=said(said_next)))
    lines[3] = {"prompt": lines[3]["prompt"], "completion": said("no ."), "label": False}
    return lines


def written(folder: Path, *lines: object) -> Path:
    path = folder / "preferences.jsonl"
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path
