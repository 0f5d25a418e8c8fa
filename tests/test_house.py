"""The house: rooms, imports that go one way, a tests file for each module, small modules and functions."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
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
STATIONS["review"] = STATIONS["study"] | {"study", "detection"}
SCRIPTS = {path.stem for path in ROOT.glob("*.py")}
MODULES = sorted((ROOT / "personagpt").rglob("*.py"))
MOST_LINES, MOST_FUNCTION_LINES, MOST_NESTING = 350, 60, 4
LARGEST_ROOM, ROOT_ENTRIES = 0.2, 24  # a share of the package's lines; files and folders
# Tests of several modules at once: what they hold is no module's own.
ACROSS = {
    "test_bad_input", "test_bases", "test_demo", "test_docs", "test_early_answers", "test_gpu", "test_house",
    "test_processes", "test_same_losses", "test_serve", "test_browser", "test_on_a_terminal",
}  # fmt: skip
CODE = [*MODULES, *ROOT.glob("*.py"), *(ROOT / "bench").glob("*.py")]


def imports(source: str) -> set[str]:
    """Return the modules that `source` imports, wherever in it, and the names that it imports from them."""
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            modules |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
    return modules


def station(module: str) -> str:
    """Return the folder, or the module of the ground: personagpt.text.convai2 -> text, personagpt.files -> files."""
    return [*module.split("."), ""][1]


def allowed(where: str) -> set[str]:
    """Return the folders, and modules of the ground, that the modules of `where` may import."""
    return GROUND if where in GROUND else GROUND | STATIONS[where] | {where}


def wrong_imports(module: str, source: str) -> set[str]:
    """Return the imports of `source` that run back, sideways, or into a script."""
    ours = {name for name in imports(source) if name.split(".")[0] == "personagpt"}
    back = {name for name in ours if station(name) not in allowed(station(module))}
    return back | {name for name in imports(source) if name.split(".")[0] in SCRIPTS | {"bench", "tests"}}


def circles(graph: dict[str, set[str]]) -> set[str]:
    """Return the modules that import themselves, directly or through others."""

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
    """Return how deep statements are nested in a function: 0 without any block."""
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


def test_every_module_has_its_tests_file_and_every_tests_file_its_module() -> None:
    modules = {path.relative_to(ROOT / "personagpt") for path in MODULES if path.name != "__init__.py"}
    modules |= {path.relative_to(ROOT) for path in ROOT.glob("*.py")}
    tests = {path.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")}
    mirrored = {path.with_name(path.name.removeprefix("test_")) for path in tests if path.stem not in ACROSS}
    benchmarks = {path.relative_to(ROOT) for path in (ROOT / "bench").glob("*.py")}
    untested, homeless = modules - mirrored, mirrored - modules - benchmarks
    assert not untested, "modules without a tests file: " + ", ".join(sorted(map(str, untested)))
    assert not homeless, "tests files of no module: " + ", ".join(sorted(map(str, homeless)))


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=name_of)
def test_tests_import_no_benchmark_but_those_they_test(path: Path) -> None:
    if path.parent != ROOT / "tests" / "bench":
        assert {name for name in imports(path.read_text()) if name.split(".")[0] == "bench"} == set()


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in (ROOT / "personagpt").rglob("__init__.py")), ids=name_of
)
def test_every_folder_is_a_room_of_the_package(folder: Path) -> None:
    assert not folder.with_suffix(".py").exists(), "a module beside a folder of its name"
    assert folder.name == "personagpt" or station(name_of(folder)) in STATIONS
    module = name_of(folder)
    subprocess.run([sys.executable, "-c", f"import {module}; assert {module}.__doc__"], cwd=ROOT, check=True)


def test_no_room_is_too_large() -> None:
    """A room is a folder of the package with its subfolders."""
    rooms: Counter[str] = Counter()
    for path in MODULES:
        rooms[path.relative_to(ROOT / "personagpt").parts[0]] += len(path.read_text().splitlines())
    (largest, size), total = rooms.most_common(1)[0], rooms.total()
    assert size <= LARGEST_ROOM * total, f"{largest} has {size} of {total} lines"


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.py")), ids=name_of)
def test_a_script_has_one_block_of_imports(path: Path) -> None:
    """After the imports and what belongs to them (`if TYPE_CHECKING`), no import stands at the top level."""
    tree, ended = ast.parse(path.read_text()), False
    for node in tree.body[1:]:  # the first is the docstring
        is_import = isinstance(node, (ast.Import, ast.ImportFrom))
        assert not (is_import and ended), f"line {node.lineno}: a second block of imports"
        ended |= not is_import and "TYPE_CHECKING" not in ast.unparse(node).split("\n")[0]


def test_no_rule_of_imports_is_switched_off() -> None:
    sources = [*CODE, *(ROOT / "tests").rglob("*.py"), ROOT / "pyproject.toml"]
    switched_off = re.compile(r"isort: *(skip|off)|noqa: *E402|[\"']E402[\"']")
    assert [str(path) for path in sources if switched_off.search(path.read_text())] == []


def test_the_rank_is_read_in_one_place() -> None:
    """Whether this process speaks and writes for all is `output.is_first_process`; device.py joins the processes."""
    ground = {ROOT / "personagpt" / name for name in ("output.py", "device.py")}
    modules = [*MODULES, *ROOT.glob("*.py")]
    assert {path for path in modules if re.search(r"[\"']RANK[\"']", path.read_text())} == ground


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
    assert len({line.split("/")[0] for line in tracked.stdout.splitlines()}) <= ROOT_ENTRIES
