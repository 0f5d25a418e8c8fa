"""Damage a `save_path` as people and their tools do between two runs: lose links in copying, edit and delete logs."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

LINKS = ("model", "previous", "best")
NO_SECTION = "=== step x\n"  # begins as the sections of responses.txt do


def lose_links(checkpoints: Path, chance: random.Random) -> list[str]:
    """Damage every link as some copying tool does. Return the names of the links that the next run must restore."""
    links = [checkpoints / name for name in LINKS if (checkpoints / name).is_dir()]
    how = chance.choice(("none", "text", "folder"))
    for link in links:
        name = os.readlink(link)
        link.unlink()
        if how == "text":
            link.write_text(name)
        if how == "folder" and (checkpoints / name).exists():  # two links may have named one folder
            (checkpoints / name).rename(link)
    return [link.name for link in links if how != "folder" or link.exists()]


def semicolons(text: str) -> str:
    return text.replace(",", ";").replace(".", ",")


def no_header(text: str) -> str:
    return text.partition("\n")[2]


def superscript(text: str) -> str:
    return text + "\u00b2,1\n"


def long_field(text: str) -> str:
    return text + "9" * 200_000 + ",1\n"


def byte_order_mark(text: str) -> str:
    return "\ufeff" + text


DAMAGES: dict[str, list[Callable[[str], str] | None]] = {  # None deletes the file
    "loss.csv": [semicolons, no_header, superscript, long_field, byte_order_mark, None],
    "eval.csv": [semicolons, no_header, superscript, long_field, byte_order_mark, None],
    "responses.txt": [lambda text: text + NO_SECTION, None],
    "eval.json": [lambda text: "[1]", lambda text: text[:9], None],
    "run.json": [lambda text: "", None],
    "loss.png": [lambda text: "", None],
}


def damage_logs(samples: Path, chance: random.Random) -> set[str]:
    """Edit or delete a few logs. Return their names."""
    damaged = set()
    for name in chance.sample(sorted(DAMAGES), k=3):
        path = samples / name
        if path.exists():
            damage = chance.choice(DAMAGES[name])
            if damage is None:
                path.unlink()
            else:
                path.write_text(damage(path.read_text(errors="replace")))
            damaged.add(name)
    return damaged


def saved_step(checkpoints: Path) -> int:
    """Return the step of the newest checkpoint, 0 before the first checkpoint."""
    path = checkpoints / "model" / "training_state.json"
    return json.loads(path.read_text())["step"] if path.exists() else 0
