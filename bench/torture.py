"""Kill a run at random instants, many of them inside a save, start it again, and check that nothing is lost.

    python -m bench.torture [--kills 200] [--seed 0]      (make torture)

Trains on a few dialogues of data/sample in a temporary folder, with dropout on. The baseline run is not interrupted.
Other runs are killed with SIGKILL and started again until they end; every other kill hits a checkpoint that is being
written. The runs take turns in `init`, precision, goals, gradient checkpointing, preferences and the number of
processes. A run's weights, loss.csv, eval.csv and responses.txt must equal the baseline's byte for byte (columns of
time and speed aside).

Meanwhile one process loads `checkpoint/model` and `checkpoint/best` with from_pretrained over and over, and another
process runs evaluate.py. Between kills, links are lost as copies lose them, and logs are edited or deleted. Such a log
must hold every line that was written after the damage. Preprocessing, export and --restart are killed too, and must
then give the same files.

Prints kills survived, checkpoints read, and losses. Exits with 1 if there is a loss. A traceback and a file that no
program needs count as losses.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.damage import NO_SECTION, damage_logs, lose_links, saved_step
from bench.run_server import ROOT, RunServer
from bench.varieties import VARIETIES, Variety, write_run_settings
from personagpt.records.database import Recordings
from personagpt.records.talks import Talk, Turn
from personagpt.settings import TEXT_NAMES

SAMPLE = ROOT / "data" / "sample"
TIMES = ("tokens_per_second", "seconds", "peak_gpu_memory_gb")
LITTER = (".*", "tmp-*", "*.new", "*.unfinished")


@dataclass(frozen=True)
class Baseline:
    """The files of a run without interruption."""

    outcome: dict[str, str | list[dict[str, str]]]
    made: dict[str, str]  # checksums of the tensors and of the exported text
    seconds: float
    steps: int


@dataclass
class Tally:
    """Counts of kills, damages and checks, and a line for each loss."""

    kills: int = 0
    kills_inside_save: int = 0
    kills_elsewhere: int = 0  # inside preprocessing, export and --restart
    runs_finished: int = 0
    links_lost: int = 0
    logs_damaged: int = 0
    checkpoints_read: int = 0
    evaluations: int = 0
    lost: list[str] = field(default_factory=list)


def first_dialogues(path: Path, count: int) -> str:
    """Return the text of the first `count` dialogues of a ConvAI2 file."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    starts = [index for index, line in enumerate(lines) if line.startswith("1 ")]
    return "".join(lines[: starts[count]])


def write_data(folder: Path, train: int, valid: int) -> None:
    """Write the first dialogues of the sample corpus to `folder`."""
    for name, count in (("train", train), ("valid", valid)):
        file = TEXT_NAMES[name]
        (folder / file).write_text(first_dialogues(SAMPLE / file, count), encoding="utf-8")


def copy_base(folder: Path, dropout: float) -> Path:
    """Copy the base model to `folder`. With `dropout`, a run depends on every random number. Return `folder`."""
    shutil.copytree(SAMPLE / "base", folder)
    config = json.loads((folder / "config.json").read_text())
    config |= dict.fromkeys(("attn_pdrop", "resid_pdrop", "embd_pdrop"), dropout)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def outcome(env: Path, save: Path | None = None) -> dict[str, str | list[dict[str, str]]]:
    """Return checksums of a run's weights, and its logs without times. `save`: where --restart moved the run."""
    save = save or env.parent / "save"
    logs = {}
    for name in ("loss.csv", "eval.csv"):
        with open(save / "samples" / name, newline="") as file:
            logs[name] = [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]
    weights = {
        name: hashlib.sha256((save / "checkpoint" / name / "model.safetensors").read_bytes()).hexdigest()
        for name in ("model", "best")
    }
    return weights | logs | {"responses.txt": (save / "samples" / "responses.txt").read_text()}


def record_talks(save: Path) -> None:
    """Record twenty talks to export."""
    with contextlib.closing(Recordings(save / "conversations")) as recordings:
        for number in range(20):
            turns = [Turn(("human", "model")[n % 2], f"turn {n} .", "now") for n in range(4)]
            persona = [f"i am {number} ."]
            recordings.save(Talk("m", "c0ffee", {}, persona, turns=turns, id=str(number), started="now"))


@dataclass
class Torture:
    """Runs under kills, one `save_path` after another."""

    server: RunServer
    folder: Path
    chance: random.Random
    tally: Tally = field(default_factory=Tally)
    beside: dict[str, int] = field(default_factory=dict)  # process ids of the programs that run beside training
    damaged: set[str] = field(default_factory=set)  # logs of this run
    variety: Variety = VARIETIES[0]  # of this run
    baselines: dict[Variety, Baseline] = field(default_factory=dict)

    def baseline(self, data: Path) -> Baseline:
        """Return the files of an uninterrupted run of this variety. The first call makes the run."""
        if self.variety not in self.baselines:
            self.env = write_run_settings(self.folder / f"baseline-{len(self.baselines)}", data, self.variety)
            record_talks(self.save)
            started = time.monotonic()
            for kind in ("preprocess", "train", "export"):
                if self.finish(self.start(kind)) != 0:
                    raise RuntimeError(self.log.read_text())
            seconds, steps = time.monotonic() - started, saved_step(self.save / "checkpoint")
            self.baselines[self.variety] = Baseline(outcome(self.env), self.made(), seconds, steps)
        return self.baselines[self.variety]

    @property
    def save(self) -> Path:
        return self.env.parent / "save"

    @property
    def log(self) -> Path:
        return self.env.parent / "log"

    def made(self) -> dict[str, str]:
        """Return the checksums of the tensors and of the exported text."""
        files = sorted([*self.save.glob("*.safetensors"), *(self.env.parent / "exported").glob("*")])
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def start(self, kind: str, *options: str, log: str = "log") -> int:
        """Fork a run of `kind`."""
        if kind == "export":
            options = ("--export", str(self.env.parent / "exported"))
        arguments = ["--env", str(self.env), *options] if kind != "read" else list(options)
        processes = self.variety.processes if kind == "train" else 1
        return self.server.start(kind, arguments, self.env.parent / log, processes=processes)

    def finish(self, pid: int) -> int:
        """Wait for the end of a run. Return its exit status."""
        return self.server.status(pid, wait=True)

    def run(self, number: int, variety: Variety, data: Path, kills: int) -> None:
        """Kill a run until it ends, and compare it with the baseline. Do both once more after --restart."""
        self.variety = variety
        self.expected = self.baseline(data)
        self.env, self.damaged = write_run_settings(self.folder / f"run-{number}", data, variety), set()
        record_talks(self.save)
        self.survive("preprocess", lambda: any(self.save.glob("*train_data*")))
        self.train(kills)
        self.survive("export", (self.env.parent / "exported").exists)  # killed while text is written
        self.compare(self.save)
        self.kill_when(self.start("train", "--restart"), lambda: any(self.save.glob("old-*")), 0.01)
        self.train(0)
        self.compare(self.save / "old-1")
        self.damaged = set()
        self.compare(self.save)
        if (self.save / "old-2").exists():
            self.tally.lost.append(f"{self.env.parent.name}: one --restart moved twice")
        if "Traceback" in self.log.read_text():
            self.tally.lost.append(f"{self.env.parent.name}: a traceback: {self.log.read_text()[-2000:]}")
        self.tally.lost += [f"{self.env.parent.name}: litter: {path}" for path in self.litter()]

    def litter(self) -> list[Path]:
        """Return the files that a killed run left and the next run did not remove."""
        folders = (self.save, self.env.parent / "exported")
        return [path for folder in folders for name in LITTER for path in folder.rglob(name)]

    def survive(self, kind: str, begun: Callable[[], bool]) -> None:
        """Kill a short run once, after `begun`. The next run must end well."""
        self.kill_when(self.start(kind), begun, 0.02)
        if kind == "export":  # its message says to delete the files of the killed export
            for path in (self.env.parent / "exported").glob("*.*"):
                path.unlink()
        if self.finish(self.start(kind)) != 0:
            self.tally.lost.append(f"{self.env.parent.name}: {kind} does not end: {self.log.read_text()[-800:]}")

    def kill_when(self, pid: int, begun: Callable[[], bool], longest: float) -> None:
        """Send SIGKILL up to `longest` seconds after `begun`."""
        while not begun() and self.server.status(pid, wait=False) is None:
            time.sleep(0.0005)
        time.sleep(self.chance.uniform(0, longest))
        self.tally.kills_elsewhere += self.end(pid, signal.SIGKILL) == -signal.SIGKILL

    def end(self, pid: int, number: signal.Signals) -> int:
        """Send a signal to all processes of a run at once. Return the exit status."""
        os.killpg(pid, number)
        return self.finish(pid)

    def train(self, kills: int) -> None:
        """Train under kills until the run ends. After `kills` kills in all, let it run to its end."""
        lost_links: list[str] = []
        while True:
            pid = self.start("train")
            status = self.await_links(pid, lost_links)
            self.start_beside()
            if status is None:
                status = self.finish(pid) if self.tally.kills >= kills else self.kill_later(pid)
            if status not in (0, -signal.SIGKILL):
                raise RuntimeError(f"status {status}: {self.log.read_text()[-2000:]}")
            if status == 0:
                self.stop_beside()
                return
            lost_links = self.damage()

    def await_links(self, pid: int, names: list[str]) -> int | None:
        """Wait until the new run restores lost links and finishes a move. Return its status if it ends before."""
        checkpoints = self.save / "checkpoint"
        while not all((checkpoints / name).is_symlink() for name in names) or any(self.save.glob("*.unfinished")):
            if (status := self.server.status(pid, wait=False)) is not None:
                self.tally.lost.append(f"{self.env.parent.name}: its links, or its move to old-1, were given up")
                return status
            time.sleep(0.002)
        return None

    def damage(self) -> list[str]:
        """Damage files now and then, as people do while nothing runs. Return the links that were lost."""
        if self.chance.random() < 0.3 and saved_step(self.save / "checkpoint") < self.expected.steps:
            damaged = damage_logs(self.save / "samples", self.chance)
            self.damaged |= damaged
            self.tally.logs_damaged += len(damaged)
        if self.chance.random() < 0.3:
            self.stop_beside()
            self.tally.links_lost += 1
            return lose_links(self.save / "checkpoint", self.chance)
        return []

    def start_beside(self) -> None:
        """Start the programs that read checkpoints while training replaces them."""
        if not self.beside:
            links = [str(self.save / "checkpoint" / name) for name in ("model", "best")]
            self.beside["read"] = self.start("read", *links, log="read.log")
            self.beside["evaluate"] = self.start("evaluate", log="evaluate.log")

    def stop_beside(self) -> None:
        """Stop these programs, and count what they read."""
        for kind, pid in self.beside.items():
            status, log = self.end(pid, signal.SIGTERM), self.env.parent / f"{kind}.log"
            if status != 0:
                self.tally.lost.append(f"{kind} failed: {log.read_text()[-2000:]}")
                continue
            count = int(log.read_text().split()[-1])
            self.tally.checkpoints_read += count if kind == "read" else 0
            self.tally.evaluations += count if kind == "evaluate" else 0
        self.beside = {}

    def kill_later(self, pid: int) -> int:
        """Send SIGKILL after a random time. Every other kill comes earlier, a moment after a save has begun."""
        tally, checkpoints = self.tally, self.save / "checkpoint"
        inside_save = tally.kills % 2 == 1
        deadline = time.monotonic() + self.chance.uniform(0.05, 1.0) * self.expected.seconds
        while time.monotonic() < deadline:
            if inside_save and any(checkpoints.glob("tmp-*")):
                time.sleep(self.chance.uniform(0, 0.04))
                break
            if (ended := self.server.status(pid, wait=False)) is not None:
                return ended
            time.sleep(0.001)
        inside = any(checkpoints.glob("tmp-*"))
        status = self.end(pid, signal.SIGKILL)
        tally.kills += status == -signal.SIGKILL  # it may have ended just before the signal
        tally.kills_inside_save += inside and status == -signal.SIGKILL
        return status

    def compare(self, save: Path) -> None:
        """Note every difference from the baseline. A damaged log must hold the lines written after the damage."""
        actual = outcome(self.env, save) | (self.made() if save == self.save else {})
        for name, content in (self.expected.outcome | (self.expected.made if save == self.save else {})).items():
            if name in self.damaged and name == "responses.txt":
                same = content.endswith(actual[name].replace(NO_SECTION, ""))
            elif name in self.damaged:
                same = len(actual[name]) > 0 and content[-len(actual[name]) :] == actual[name]
            else:
                same = content == actual.get(name)
            if not same:
                self.tally.lost.append(f"{save.relative_to(self.folder)}: {name} differs")


def torture(server: RunServer, folder: Path, kills: int, seed: int = 0) -> Tally:
    """Kill `kills` times, and compare every run that ends with a baseline that was never interrupted."""
    data = folder / "data"
    data.mkdir()
    write_data(data, train=8, valid=2)
    copy_base(data / "base", dropout=0.1)
    all_runs = Torture(server, folder, random.Random(seed))
    tally = all_runs.tally
    while tally.kills < kills or tally.runs_finished == 0:
        variety = VARIETIES[(seed + tally.runs_finished) % len(VARIETIES)]
        all_runs.run(tally.runs_finished, variety, data, kills)
        tally.runs_finished += 1
        print(
            f"{tally.kills} kills, {tally.runs_finished} runs finished, {len(tally.lost)} lost; the last was {variety}"
        )
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    server = RunServer()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tally = torture(server, Path(folder), options.kills, options.seed)
    server.close()
    print(f"kills survived        {tally.kills} ({tally.kills_inside_save} of them inside a save)")
    print(f"                      {tally.kills_elsewhere} inside preprocessing, export and --restart")
    print(f"between them          {tally.links_lost} copies that lost their links, {tally.logs_damaged} logs damaged")
    print(f"runs compared         {tally.runs_finished}, each byte for byte with one never interrupted")
    print(f"checkpoints read      {tally.checkpoints_read} while they were being replaced, {tally.evaluations} scored")
    print(f"lost                  {len(tally.lost)}")
    print(f"seconds               {time.monotonic() - start:.0f}")
    for line in tally.lost:
        print("  " + line)
    return 1 if tally.lost else 0


if __name__ == "__main__":
    sys.exit(main())
