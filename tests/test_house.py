"""The house: imports go one way, nothing in the package imports a script, and modules and functions stay small."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT

GROUND = {"errors", "files", "settings", "signals", "startup", "output", "device"}
# What each folder may import beside the ground and itself. Folders that stand side by side do not know each other.
STATIONS: dict[str, set[str]] = {"text": set()}
STATIONS["importing"] = STATIONS["records"] = STATIONS["sequences"] = {"text"}
STATIONS["model"] = {"text", "sequences"}
STATIONS["scoring"] = STATIONS["model"] | {"model"}
STATIONS["training"] = STATIONS["scoring"] | {"scoring"}
STATIONS["talking"] = STATIONS["detection"] = STATIONS["scoring"] | {"scoring", "records"}
STATIONS["page"] = STATIONS["talking"] | {"talking"}
STATIONS["study"] = STATIONS["page"] | {"page"}
SCRIPTS = {path.stem for path in ROOT.glob("*.py")}
MODULES = sorted((ROOT / "personagpt").rglob("*.py"))
MOST_LINES, MOST_FUNCTION_LINES, MOST_NESTING = 350, 60, 4
CODE = [*MODULES, *ROOT.glob("*.py"), *(ROOT / "bench").glob("*.py")]


def imports(source: str) -> set[str]:
    """The modules that `source` imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            found |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
    return found


def station(module: str) -> str:
    """personagpt.text.convai2 -> text; personagpt.files -> files"""
    return [*module.split("."), ""][1]


def allowed(where: str) -> set[str]:
    """Return the folders, and modules of the ground, that the modules of `where` may import."""
    return GROUND if where in GROUND else GROUND | STATIONS[where] | {where}


def wrong_imports(module: str, source: str) -> set[str]:
    """The imports of `source` that run back, sideways, or into a script."""
    ours = {name for name in imports(source) if name.split(".")[0] == "personagpt"}
    back = {name for name in ours if station(name) not in allowed(station(module))}
    return back | {name for name in imports(source) if name.split(".")[0] in SCRIPTS | {"bench", "tests"}}


def circles(graph: dict[str, set[str]]) -> set[str]:
    """The modules that reach themselves."""

    def reached(start: str) -> set[str]:
        seen, waiting = set(), [start]
        while waiting:
            new = graph.get(waiting.pop(), set()) - seen
            seen |= new
            waiting += new
        return seen

    return {name for name in graph if name in reached(name)}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def deepest(node: ast.AST, depth: int = 0) -> int:
    """How deep statements are nested in a function: 0 without any block."""
    blocks = (ast.For, ast.While, ast.If, ast.With, ast.Try)
    depths = [depth]
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, (ast.FunctionDef, ast.ClassDef)) or not isinstance(child, ast.AST):
                continue
            is_elif = name == "orelse" and isinstance(node, ast.If) and isinstance(child, ast.If)
            depths.append(deepest(child, depth + (isinstance(child, blocks) and not is_elif)))
    return max(depths)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_one_way(path: Path) -> None:
    if name_of(path) == "personagpt":
        assert imports(path.read_text()) <= {
            "__future__",
            "__future__.annotations",
            "importlib",
            "importlib.import_module",
        }
    else:
        assert wrong_imports(name_of(path), path.read_text()) == set()


def test_no_module_reaches_itself() -> None:
    names = {name_of(path) for path in MODULES}
    assert circles({name_of(path): imports(path.read_text()) & names for path in MODULES}) == set()


def test_what_these_tests_would_find() -> None:
    back = "def f():\n    from personagpt.training.card import write_card\n"
    assert wrong_imports("personagpt.model.loss", back) == {
        "personagpt.training.card",
        "personagpt.training.card.write_card",
    }
    assert wrong_imports("personagpt.talking.session", back)
    assert wrong_imports("personagpt.training.resume", back) == set()
    assert wrong_imports("personagpt.training.card", "import train\nfrom utils import exit_status\nimport errno\n") == {
        "train",
        "utils",
        "utils.exit_status",
    }
    assert wrong_imports("personagpt.errors", "from personagpt.text import convai2")
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == {"b", "c"}
    nested = ast.parse(
        "def f():\n    for x in y:\n        if x:\n            pass\n        elif y:\n            pass\n"
    )
    assert deepest(nested.body[0]) == 2


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_fit_a_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_functions_do_one_thing(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < MOST_FUNCTION_LINES, f"{node.name} is too long"
            assert deepest(node) <= MOST_NESTING, f"{node.name} nests too deeply"


def test_a_step_is_short_and_flat() -> None:
    tree = ast.parse((ROOT / "personagpt/training/optimization.py").read_text())
    (step,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "training_step")
    assert step.end_lineno - step.lineno < 40
    assert deepest(step) <= 3


def test_the_package_loads_torch_only_when_asked_for_a_name() -> None:
    program = (
        "import sys, personagpt; assert 'torch' not in sys.modules\n"
        "from personagpt import PersonaChatDataset; assert 'torch' in sys.modules\n"
        "assert PersonaChatDataset.__module__ == 'personagpt.sequences.dataset'"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@pytest.mark.parametrize("path", sorted((ROOT / "personagpt/records").glob("*.py")), ids=name_of)
def test_recorded_talks_need_no_model(path: Path) -> None:
    program = (
        "import importlib, sys\n"
        "for name in ('torch', 'numpy', 'transformers'): sys.modules[name] = None\n"
        f"importlib.import_module({name_of(path)!r})"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_the_root_says_what_to_run() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout: other files may lie here")
    assert len({line.split("/")[0] for line in tracked.stdout.splitlines()}) <= 26
