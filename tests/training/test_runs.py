"""runs.py: what differs between runs, their last figures, their picture, and folders that hold no run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import evaluate
from personagpt.errors import UserError
from personagpt.training.csv_log import EVAL_COLUMNS, LOSS_COLUMNS, CsvLog
from personagpt.training.runs import compare_runs, default_picture, read_run, settings_that_differ
from tests.helpers import ROOT

RUN = {
    "settings": {"env_file": "a/.env", "save_path": "a/save", "learn_rate": 1e-3, "goals": "", "seed": 42},
    "precision": "fp32",
    "data": {"train": {"text_sha256": "0123456789abcdef" * 4, "tokenizer_sha256": "ab"}},
    "versions": {"torch": "2.13.0"},
    "commit": "c0ffee" * 6 + "c0ff+changes",
}


def make_run(save_path: Path, described: dict[str, Any], losses: list[float], evaluation: dict[str, Any] | None) -> str:
    samples = save_path / "samples"
    samples.mkdir(parents=True)
    (samples / "run.json").write_text(json.dumps(described))
    log = CsvLog(samples / "loss.csv", LOSS_COLUMNS, 0)
    for step, loss in enumerate(losses, start=1):
        log.append({"step": 10 * step, "epoch": step / 2, "loss": loss, "learn_rate": 0.25})
    if evaluation is not None:
        CsvLog(samples / "eval.csv", EVAL_COLUMNS, 0).append({"step": 10, "epoch": 1.0, "loss": 2.5})
        (samples / "eval.json").write_text(json.dumps(evaluation))
    return str(save_path)


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    """Two runs: the second has another learning rate and goals, ran under a newer torch, and has no evaluation."""
    changed = {"save_path": "b/save", "learn_rate": 5e-4, "goals": "/a/long/path/to/some/goals.tsv"}
    other = RUN | {"settings": RUN["settings"] | changed, "versions": {"torch": "2.14.0", "apex": "1"}}
    first = make_run(tmp_path / "a", RUN, [4.0, 3.0], {"step": 20, "loss": 2.5, "bleu_2": 0.25, "responses": 7})
    return [first, make_run(tmp_path / "b", other, [4.5], None)]


def test_settings_and_figures_side_by_side(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    path = compare_runs(runs, None)
    printed = capsys.readouterr()
    rows = [re.split(r"  +", line) for line in printed.out.splitlines()]
    assert rows == [
        [f"A: {runs[0]}"],
        [f"B: {runs[1]}"],
        [""],
        ["settings that differ", "A", "B"],
        ["learn_rate", "0.001", "0.0005"],
        ["goals", "not set", "...ath/to/some/goals.tsv"],
        ["versions.torch", "2.13.0", "2.14.0"],
        ["versions.apex", "-", "1"],
        [""],
        ["last figures", "A", "B"],
        ["step", "20", "10"],
        ["epoch", "1", "0.5"],
        ["training loss", "3", "4.5"],
        ["learn_rate", "0.25", "0.25"],
        ["loss", "2.5000", "-"],
        ["bleu_2", "25.0 %", "-"],
        ["responses", "7", "-"],
    ]
    assert printed.err.count("\n") == 1
    assert f"{runs[1]}/samples/eval.json: no evaluation yet" in printed.err
    assert path == default_picture(runs)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert re.fullmatch(rf"{runs[0]}/samples/runs-a-b-[0-9a-f]{{8}}\.png", str(path))


def test_texts_vocabularies_and_commits(runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed = RUN | {"data": {"train": {"text_sha256": "f" * 64, "tokenizer_sha256": "cd"}}, "commit": "beef" * 10}
    third = make_run(tmp_path / "c", changed, [1.0], {})
    assert settings_that_differ([read_run(runs[0]), read_run(third)]) == [
        ["train.text_sha256", "0123456789ab", "f" * 12],
        ["train.tokenizer_sha256", "ab", "cd"],
        ["commit", "c0ffeec0ffee+changes", "beefbeefbeef"],
    ]
    assert compare_runs([runs[0], third], tmp_path / "p.png") == tmp_path / "p.png"
    assert "The runs' vocabularies differ" in capsys.readouterr().out
    compare_runs([runs[0], runs[0], runs[0]], tmp_path / "p.png")
    out = capsys.readouterr().out
    assert "The settings are the same." in out
    assert "The runs' vocabularies" not in out


def test_folders_that_hold_no_run(runs: list[str], tmp_path: Path) -> None:
    samples = tmp_path / "a" / "samples"
    (samples / "loss.csv").write_text("step,loss\n")
    with pytest.raises(UserError, match=r"loss\.csv: no row of figures yet: wait for the first step"):
        read_run(runs[0])
    (samples / "loss.csv").write_text("mine\n")
    with pytest.raises(UserError, match=r"loss\.csv: its first line does not name the columns"):
        read_run(runs[0])
    (samples / "loss.csv").unlink()
    with pytest.raises(UserError, match=r"^\S+/a/samples/loss\.csv: no such file; --runs takes the save_paths of runs"):
        read_run(runs[0])
    (samples / "run.json").write_text("{")
    (samples / "loss.csv").write_text("step,loss\n1,2\n")
    with pytest.raises(UserError, match=r"run\.json: not a whole JSON object"):
        read_run(runs[0])
    with pytest.raises(UserError, match=r"nowhere/samples/run\.json: no such file"):
        read_run("nowhere")
    with pytest.raises(UserError, match=r"^~nosuchuser/a/samples/run\.json: no such file"):
        read_run("~nosuchuser/a")


def test_a_damaged_row_is_named_and_left_out(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(runs[0]) / "samples" / "loss.csv"
    path.write_text("step,loss\n1,good\n2,3.5\n")
    assert read_run(runs[0]).losses == [{"step": "2", "loss": "3.5"}]
    assert f"{path}: its line 2 is no row of figures; it is left out" in capsys.readouterr().err


def test_the_script_loads_no_torch(runs: list[str], run: Any) -> None:
    program = "import sys; sys.modules['torch'] = None; import evaluate; sys.exit(evaluate.main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "--runs", *runs, "--out", str(Path(runs[0]) / "p.png")]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (answer.returncode, answer.stdout.splitlines()[-1]) == (0, f"losses in {runs[0]}/p.png")
    outcome = run(evaluate.main, "--runs", runs[0], "nowhere")
    assert (outcome.status, outcome.err.count("\n")) == (2, 1)
