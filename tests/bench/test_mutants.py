"""Mutation testing of a small package, whose mutants end in every way there is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FILES = {
    "pyproject.toml": """
[tool.mutmut]
source_paths = ["personagpt"]
pytest_add_cli_args_test_selection = ["tests"]
pytest_add_cli_args = ["--import-mode=importlib"]
""",
    "personagpt/__init__.py": "",
    "personagpt/scoring/__init__.py": "",
    "personagpt/scoring/tally.py": """
import time

def perplexity(loss):
    return loss + 1

def from_the_session():
    return [1, 2]

def from_the_module():
    return [3, 4]

def waits(done):
    while not done:
        time.sleep(0.1)
    return 5

def half_noticed(name):
    return name.encode("utf-8") + b"!"

def reached_slowly():
    return 7

def never_called():
    return 6
""",
    "tests/conftest.py": """
import pytest
from personagpt.scoring import tally

@pytest.fixture(scope="session")
def tokenizer():
    return tally.from_the_session()
""",
    "tests/test_elsewhere.py": """
import time
from personagpt.scoring import tally

def test_slowly():
    time.sleep(0.6)  # more than a mutant's share of tests elsewhere
    assert tally.reached_slowly() == 7
""",
    "tests/scoring/test_tally.py": """
import time
import pytest
from personagpt.scoring import tally

@pytest.fixture(scope="module")
def pair():
    return tally.from_the_module()

def test_perplexity():
    assert tally.perplexity(2) == 3

def test_first_of_the_session(tokenizer):
    assert tokenizer[0] == 1

def test_second_of_the_session(tokenizer):
    assert tokenizer[1] == 2

def test_first_of_the_module(pair):
    assert pair[0] == 3

def test_second_of_the_module(pair):
    assert pair[1] == 4

def test_waits():
    assert tally.waits(True) == 5

def test_half_noticed(tmp_path):
    (tmp_path / "file").write_bytes(tally.half_noticed("a"))
    time.sleep(0.2)  # while other mutants' tests run
    assert (tmp_path / "file").read_bytes() == b"a!"

def test_that_fails_beside_a_folder_for_mutants_temporary_files(tmp_path):
    assert not tmp_path.parents[1].name.startswith("mutants-")
""",
}


def run(folder: Path, root: Path, before: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program on the package, after a line of Python."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    code = f"import sys; sys.path[0] = {str(root / 'bench')!r}; import mutants; {before}; sys.exit(mutants.main())"
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=folder, text=True, capture_output=True)


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory, root: Path) -> tuple[str, dict[str, int]]:
    """What the program prints, and the verdicts it leaves."""
    folder = tmp_path_factory.mktemp("package")
    done = run(folder, root, "mutants.IDLE_SECONDS, mutants.IDLE_CPU = 1.0, 0.1")
    assert done.returncode == 0, done.stdout + done.stderr
    verdicts = json.loads((folder / "mutants/personagpt/scoring/tally.py.meta").read_text())["exit_code_by_key"]
    return done.stdout, {name.rpartition(".x_")[2]: code for name, code in verdicts.items()}


def test_who_notices_what(tried: tuple[str, dict[str, int]]) -> None:
    _, verdicts = tried
    # A fixture of the session or of a module belongs to all tests that use it, not to the first alone.
    for function in ("perplexity", "from_the_session", "from_the_module"):
        assert [verdicts[f"{function}__mutmut_{number}"] for number in (1, 2)] == [1, 1]
    assert [verdicts[f"waits__mutmut_{number}"] for number in (1, 2, 3, 4)] == [36, 0, 0, 1]  # `while done`, sleeps, 6
    assert [verdicts[f"half_noticed__mutmut_{number}"] for number in (1, 2, 3, 4, 5)] == [1, 1, 1, 0, 1]  # "UTF-8"
    assert verdicts["reached_slowly__mutmut_1"] == 1
    assert verdicts["never_called__mutmut_1"] == 33


def test_what_is_printed(tried: tuple[str, dict[str, int]]) -> None:
    printed = tried[0]
    name = "personagpt.scoring.tally.x_"
    assert "left out, since it fails without any mutant: tests/scoring/test_tally.py::test_that_fails_beside" in printed
    survivors = [line for line in printed.splitlines() if line.startswith(name)]
    assert survivors == [
        f"{name}waits__mutmut_2",
        f"{name}waits__mutmut_3",
        f"{name}half_noticed__mutmut_4",
        f"{name}never_called__mutmut_1   no test reaches it",
    ]
    rows = [line.split() for line in printed.splitlines() if line.endswith(" %")]
    assert rows == [[label, "17", "13", "1", "4", "76.5", "%"] for label in ("personagpt.scoring.tally", "all")]


def test_tests_that_do_not_run_the_mutants_are_noticed(tmp_path: Path, root: Path) -> None:
    done = run(tmp_path, root, "sys.path.insert(1, '.'); import personagpt.scoring.tally")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "no test notices that every function is broken" in done.stdout + done.stderr


def test_a_pattern_that_no_mutant_matches(tmp_path: Path, root: Path) -> None:
    done = run(tmp_path, root, "pass", "personagpt.scoring.tale.*")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "-c: error: no mutant's name matches personagpt.scoring.tale.*; "
        "they look like personagpt.scoring.tally.x_perplexity__mutmut_1"
    )
