"""The scripts that ask nothing, one after the other on a terminal: bars and lines, and no library's warning."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.helpers import NINE_KEYS, SAMPLE, free_port, write_data
from tests.pseudo_terminal import run_on_terminal

# In a single process, because to import torch takes seconds. A visitor of app.py's page presses Ctrl-C.
PROGRAM = """
import os, runpy, signal, sys, threading, time, urllib.request

def visit(port):
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/").read()
            return os.kill(os.getpid(), signal.SIGINT)
        except OSError:
            time.sleep(0.05)

for command in sys.argv[1].splitlines():
    sys.argv, is_page = command.split(), command.startswith("app.py")
    if is_page:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # the script before has ended
        threading.Thread(target=visit, args=sys.argv[-1:], daemon=True).start()
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        assert end.code in (0, None) or (is_page and end.code == 130), command
"""


def test_no_script_warns_on_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "talks.txt").write_text("Ann: hi !\nBen: hello .\n")
    write_data(tmp_path, train=12, valid=6)
    changes = {"model_name": SAMPLE / "base", "epochs": 1, "learn_rate": 1e-3, "goals": SAMPLE / "goals.tsv"}
    values = NINE_KEYS | {"data_path": tmp_path, "save_path": tmp_path / "save", "max_turns": 4} | changes
    env = tmp_path / ".env"
    env.write_text("".join(f"{key} = '{value}'\n" for key, value in values.items()))
    commands = (
        f"import_dialogues.py --env {env} {tmp_path}/talks.txt --to {tmp_path}/imported --valid 0",
        f"preprocess_dataset.py --env {env}",
        f"train.py --env {env}",
        f"evaluate.py --env {env} --generate 3 --identify --by-turn",
        f"interact.py --env {env} --self-play --talks 10 --turns 4",
        f"detect.py --env {env} --people {SAMPLE}/valid_both_original_no_cands.txt",
        f"app.py --env {env} --port {free_port()}",
    )
    said = run_on_terminal([sys.executable, "-W", "error", "-c", PROGRAM, "\n".join(commands)], OMP_NUM_THREADS="1")
    assert "Warning" not in said
    lines = ("train: ", "figures in", "10 of 10 talks recorded", "detector in", "talk on http", "stopped by Ctrl-C")
    for words in lines:
        assert words in said
