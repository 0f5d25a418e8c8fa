"""Send a signal to each script at many instants of its run, imports included. Each run must end with one line.

    python -m bench.interrupts [--instants 40] [--signal SIGINT]

Every script runs in a temporary folder on a few dialogues of data/sample. Its first run goes to the end and gives the
time that the script takes. Each further run gets the signal a little later, at instants spread evenly over that time. A
run must end with status 130 (SIGINT) or 143 and exactly one line on stderr, or finish its work. A traceback is a
failure. Instants before a script's first line belong to Python's own start and are counted apart.

Prints a row for each script. Exits with 1 if any run failed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from bench.torture import copy_base, write_data

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = {
    "preprocess_dataset.py": [],
    "train.py": [],
    "evaluate.py": ["--generate", "20"],
    "interact.py": ["--persona", "i have a duck.", "--seed", "1"],
    "import_dialogues.py": ["FOLDER/talks.jsonl", "--to", "FOLDER/imported"],
}
# Removed before each run of the script, because a second run refuses to start with them.
WRITTEN = {
    "train.py": ["save/checkpoint", "save/samples"],
    "import_dialogues.py": ["imported"],
}
SAID = "hi ! how are you ?\n" * 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instants", type=int, default=40)
    parser.add_argument("--signal", default="SIGINT", choices=["SIGINT", "SIGTERM", "SIGHUP"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        env = prepare(folder)
        wrong = 0
        for script in SCRIPTS:
            outcomes = interrupt(script, env, options.instants, signal.Signals[options.signal])
            counts = [f"{count} {outcome}" for outcome, count in Counter(outcomes).most_common()]
            print(f"{script:<24}{', '.join(counts)}")
            wrong += sum(outcome not in ("one line", "finished", "before its first line") for outcome in outcomes)
    return int(wrong > 0)


def prepare(folder: Path) -> Path:
    """Write the data and the settings of small runs of all scripts to `folder`. Return the settings file."""
    write_data(folder, train=20, valid=4)
    said = [{"role": role, "content": "hi !"} for role in ("user", "assistant")] * 2
    talks = [json.dumps({"messages": [{"role": "system", "content": f"i am {age}."}, *said]}) for age in range(5000)]
    (folder / "talks.jsonl").write_text("\n".join(talks))
    copy_base(folder / "base", dropout=0.1)
    env = folder / ".env"
    env.write_text(
        f"save_path = '{folder / 'save'}'\ndata_path = '{folder}'\nmodel_name = '{folder / 'base'}'\nepochs = 4\n"
        "learn_rate = 1e-3\ngradient_accumulation_steps = 1\nbatch_size = 8\nweight_decay = 0.0\nlogging_steps = 2\n"
        "save_steps = 5\n"
    )
    return env


def start(script: str, env: Path) -> subprocess.Popen:
    """Start `script`, with what a user types on its standard input."""
    for name in WRITTEN.get(script, []):
        shutil.rmtree(env.parent / name, ignore_errors=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    options = [option.replace("FOLDER", str(env.parent)) for option in SCRIPTS[script]]
    command = [sys.executable, script, "--env", str(env), *options]
    pipe = subprocess.PIPE
    # A process inherits ignored signals. SIGINT must not stay ignored if this program was started so.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment, cwd=ROOT)
    finally:
        signal.signal(signal.SIGINT, before)
    process.stdin.write(SAID if script == "interact.py" else "")
    process.stdin.close()
    process.stdin = None
    return process


def interrupt(script: str, env: Path, instants: int, number: signal.Signals) -> list[str]:
    """Return the outcome at each instant: "one line", "finished", "before its first line", or what went wrong."""
    begun = time.perf_counter()
    whole = start(script, env)
    out, err = whole.communicate()
    if whole.returncode:
        raise RuntimeError(f"{script} does not run: {err}")
    seconds = time.perf_counter() - begun
    outcomes = []
    for instant in range(instants):
        process = start(script, env)
        time.sleep(seconds * instant / instants)
        process.send_signal(number)
        out, err = process.communicate(timeout=300)
        outcomes.append(judge(process.returncode, out, err.removeprefix("loading ...\n"), number))
    if script == "train.py":  # the scripts that follow need its model
        start(script, env).communicate()
    return outcomes


def judge(status: int, out: str, err: str, number: signal.Signals) -> str:
    """Return the outcome of a run from its exit status and its output."""
    if status == -number and not err and not out:
        return "before its first line"  # Python had no handler yet, so the system ended the process
    if "Traceback" in err and not re.search(r'File ".*(personagpt|utils)|site-packages', err):
        return "before its first line"  # Python was still importing its own modules
    if status == 0 and not err:
        return "finished"
    if status == (130 if number == signal.SIGINT else 143) and err.startswith("stopped") and err.count("\n") == 1:
        return "one line"
    return f"status {status}: {err!r}"


if __name__ == "__main__":
    sys.exit(main())
