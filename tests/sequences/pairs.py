"""Lines of preferences for the tests."""

import json
from pathlib import Path


def messages(*texts: str, last: str = "user", persona: str = "i ski .") -> list[dict[str, str]]:
    roles = ("user", "assistant") if last == "user" else ("assistant", "user")
    talk = [{"role": roles[place % 2], "content": text} for place, text in enumerate(reversed(texts))]
    return [{"role": "system", "content": persona}] * bool(persona) + talk[::-1]


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def pair(**changes: object) -> dict[str, object]:
    values = {"prompt": messages("hi"), "chosen": said("good"), "rejected": said("bad"), "goal": None}
    return values | {"source": "corrected"} | changes


def written(folder: Path, *lines: object) -> Path:
    path = folder / "preferences.jsonl"
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path
