"""The varieties of a training run that bench/torture.py kills, and the settings file of each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

GOALS = "ask about work.\task\twork job living\nask about music.\task\tmusic listen\n"


@dataclass(frozen=True)
class Variety:
    """The settings on which the exactness of a resume could depend."""

    init: str = "pretrained"
    precision: str = "fp32"
    goals: bool = False
    gradient_checkpointing: bool = False
    processes: int = 1
    preferences: bool = False

    def lines(self) -> str:
        """Return the lines of a settings file. A goals.tsv and a preferences.jsonl lie beside the file."""
        preferences = "preferences = preferences.jsonl\n" if self.preferences else ""
        goals = "goals = goals.tsv\n" if self.goals else ""
        turns = "max_turns = 4\n" if self.precision == "bf16" else ""  # many processors are slow in bf16
        checkpointing = f"gradient_checkpointing = {self.gradient_checkpointing}\n"
        return f"init = {self.init}\nprecision = {self.precision}\n{checkpointing}{goals}{preferences}{turns}"


# Every pair of values of two settings occurs in at least one variety.
VARIETIES = [
    Variety(),
    Variety(init="random", gradient_checkpointing=True, processes=2, preferences=True),
    Variety(init="random", precision="bf16", processes=2),
    Variety(init="random", precision="bf16", goals=True, preferences=True),
    Variety(precision="bf16", goals=True, gradient_checkpointing=True, preferences=True),
    Variety(goals=True, gradient_checkpointing=True, processes=2),
]


def preference_line(number: int) -> str:
    """Return a line of preferences: two pairs, then a rejected reply alone. Each has another persona."""
    prompt = [{"role": "system", "content": f"i have {number} cats ."}, {"role": "user", "content": "any pets ?"}]
    better, worse = ([{"role": "assistant", "content": text}] for text in (f"yes , {number} cats .", "no ."))
    if number % 3 == 2:
        return json.dumps({"prompt": prompt, "completion": worse, "label": False}) + "\n"
    pair = {"prompt": prompt, "chosen": better, "rejected": worse, "goal": None, "source": "corrected"}
    return json.dumps(pair) + "\n"


def write_run_settings(folder: Path, data: Path, variety: Variety = VARIETIES[0]) -> Path:
    """Write the settings of a run of at least 12 steps that saves at every second step. Return the settings file.

    `data` holds the text and `base/`.
    """
    folder.mkdir()
    (folder / "goals.tsv").write_text(GOALS)
    (folder / "preferences.jsonl").write_text("".join(preference_line(number) for number in range(12)))
    env = folder / ".env"
    env.write_text(
        f"save_path = './save'\ndata_path = '{data}'\nmodel_name = '{data / 'base'}'\n"
        f"epochs = 3\nlearn_rate = 1e-3\ngradient_accumulation_steps = {2 // variety.processes}\nbatch_size = 2\n"
        f"weight_decay = 0.0\nlogging_steps = 3\nsave_steps = 2\n{variety.lines()}"
    )
    return env
