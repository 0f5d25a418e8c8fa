"""startup.py: a script's environment, and signals from its first line on."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from personagpt import startup
from tests.helpers import ROOT


def test_variables_that_the_user_set_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*startup.ENVIRONMENT, "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "7")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")  # the user's own way of waiting
    startup.set_environment()
    expected = startup.ENVIRONMENT | {"LRU_CACHE_CAPACITY": "7"}
    del expected["GOMP_SPINCOUNT"]
    assert {name: os.environ.get(name) for name in expected} == expected
    assert "GOMP_SPINCOUNT" not in os.environ


@pytest.mark.parametrize(("program", "answers"), [("train.py", True), ("no_script.py", False), ("-c", False)])
def test_only_a_script_of_the_root_answers_signals(program: str, answers: bool) -> None:
    """A program that imports the package keeps its own handlers."""
    code = (
        f"import os, signal, sys; sys.argv[0] = {program!r}; import personagpt.startup\n"
        "print(signal.getsignal(signal.SIGINT) is not signal.default_int_handler)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"{answers}\n"


def test_it_imports_nothing_that_takes_time() -> None:
    code = (
        "import sys, personagpt.startup\n"
        "assert not {'argparse', 'dotenv', 'numpy', 'pathlib', 'torch', 'tqdm'} & set(sys.modules) - before"
    )
    code = "import sys; before = set(sys.modules)\n" + code
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
