"""README, docs/, data/README.md and bench/RESULTS.md name only links, files, commands and options that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from personagpt.settings import Settings
from personagpt.study.settings import CONDITION_KEYS, KEYS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / name for name in ("README.md", "data/README.md", "bench/RESULTS.md")] + sorted(ROOT.glob("docs/*.md"))
FOLDERS = ("personagpt", "bench", "data", "docs", "tests", ".ci")
SCRIPTS = sorted([*ROOT.glob("*.py"), *(ROOT / "bench").glob("*.py")])
SOURCES = "\n".join(path.read_text("utf-8") for path in [*SCRIPTS, *sorted((ROOT / "personagpt").rglob("*.py"))])
NAMED = {name.rstrip(".") for name in re.findall(r"[\w.-]+", SOURCES)}

MUST_EXIST = re.compile(r"(.*/)?(\w[\w.-]*\.(py|md|toml|cff)|\.env[\w.]*)")
DATA_FILE = re.compile(r"(.*/)?(\w[\w.-]*\.(csv|jsonl?|png|safetensors|txt|tgz|lock))")
OF_A_RUN = ("save_path/", "data_path/", "save/", ".venv/", ".../")  # folders of a run, a user or make
OF_A_USER = {"persona.txt", "chat.md"}  # files of an example, or of another program
PLACEHOLDER = re.compile(r"[A-Z]+\.\w+|\d{4}-\d\d-\d\d\.\w+")  # DATE.jsonl, 2026-11-22.jsonl
OTHERS = {  # options of other programs' commands
    "torchrun": {"--nproc_per_node"},
    "transformers": {"--host", "--port", "--device"},
    "hf": {"--exclude", "--private", "--repo-type", "--space-sdk", "--type"},
    "COPY": {"--chown"},
    "tensorboard": {"--logdir"},
    "curl": set(),
    "pip": {"--no-cache-dir", "--no-deps"},
}
OTHER_MODULES = {"venv", "pip", "pytest", "transformers"}


@pytest.fixture(params=PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def page(request: pytest.FixtureRequest) -> Path:
    """Return each page in turn."""
    return request.param


def code_pieces(text: str) -> list[str]:
    """Return the lines of a page's code blocks and its `code spans`. A backslash joins a line with the next line."""
    blocks, prose, fenced = [], [], False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        else:
            (blocks if fenced or line.startswith("    ") else prose).append(line.strip())
    joined = "\n".join(blocks).replace("\\\n", " ").splitlines()
    spans = re.findall(r"`([^`]+)`", "\n".join(prose))
    return [*joined, *(" ".join(span.split()) for span in spans)]


def anchors(text: str) -> set[str]:
    """Return the names of a page's headings in a link, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def broken_links(text: str, folder: Path) -> list[str]:
    """Return the relative links and images of a page in `folder` that lead to no file or to no heading."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[[^]]+\]: *(\S+)", text, re.MULTILINE):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = folder / name
        leads = target.exists()
        if leads and anchor:
            leads = anchor in anchors(target.read_text("utf-8") if name else text)
        if not leads:
            broken.append(link)
    return broken


def is_right(name: str, places: list[Path]) -> bool:
    """Return whether a name in a page's code is no path of this repository, or exists in one of `places`.

    A source file, a page and a folder must exist, unless a run makes them. A data file must exist, unless the source
    code names it, because then a run writes it.
    """
    if any((place / name).exists() for place in places) or name in OF_A_USER or PLACEHOLDER.fullmatch(Path(name).name):
        return True
    of_repository = "/" in name and name.split("/")[0] in FOLDERS
    if DATA_FILE.fullmatch(name) and not of_repository:
        return Path(name).name in NAMED
    looks_like_path = of_repository or name.endswith("/") or MUST_EXIST.fullmatch(name)
    return not looks_like_path or name.startswith(OF_A_RUN)


def missing_files(text: str, folder: Path) -> list[str]:
    """Return the files, folders and modules in the code of a page in `folder` that do not exist.

    Names start at the root, beside the page, or in the folder at the start of their line.
    """
    missing = []
    for piece in code_pieces(text):
        names = [name.rstrip(".,") for name in re.findall(r"[\w./-]+", re.sub(r"https?://\S+", "", piece))]
        places = [ROOT, folder, *(ROOT / name for name in names[:1] if name.endswith("/"))]
        missing += [name for name in names if not is_right(name, places)]
        for module in re.findall(r"-m ([a-z][\w.]*)", piece) + re.findall(r"^from ([\w.]+) import", piece):
            path = ROOT / module.replace(".", "/")
            if module not in OTHER_MODULES and not path.with_suffix(".py").exists() and not path.is_dir():
                missing.append(module)
    return missing


def options_of(script: Path) -> set[str]:
    """Return the command-line options of a script: those in its source, and those of `new_parser`."""
    source = script.read_text("utf-8")
    if "new_parser" in source:
        source += (ROOT / "utils.py").read_text("utf-8")
    return {"--help", *re.findall(r"""["'](--[a-z][\w-]*)["']""", source)}


def unknown_options(text: str) -> list[str]:
    """Return the `--options` that the command before them lacks. Without a command, any script may have the option."""
    of_any_script = set().union(*map(options_of, SCRIPTS))
    unknown = []
    for piece in code_pieces(text):
        known = of_any_script
        for word in re.findall(r"[\w./-]+", piece):
            script = ROOT / (word.replace(".", "/") + ".py" if word.startswith("bench.") else word)
            if script in SCRIPTS:
                known = options_of(script)
            elif word in OTHERS:
                known = OTHERS[word]
            elif re.fullmatch(r"--[a-z][\w-]*", word) and word not in known:
                unknown.append(word)
    return unknown


def unknown_commands(text: str) -> list[str]:
    """Return each `make TARGET` that the Makefile lacks, and each `/command` that no talk knows."""
    targets = set(re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    unknown = []
    for piece in code_pieces(text):
        unknown += [f"make {name}" for name in re.findall(r"^make ([\w./-]+)", piece) if name not in targets]
        unknown += [name for name in re.findall(r"^(/[a-z]+)\b(?!/)", piece) if f'"{name}' not in SOURCES]
    return unknown


def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert broken_links(page.read_text("utf-8"), page.parent) == []


def test_every_file_that_is_named_exists(page: Path) -> None:
    assert missing_files(page.read_text("utf-8"), page.parent) == []


def test_every_option_that_is_named_exists(page: Path) -> None:
    assert unknown_options(page.read_text("utf-8")) == []


def test_every_command_that_is_named_exists(page: Path) -> None:
    assert unknown_commands(page.read_text("utf-8")) == []


def test_the_readme_is_short_and_links_every_page() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.split()) <= 850
    assert len(text.splitlines()) <= 130
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)", text))
    assert linked == {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}


def test_the_settings_page_has_every_key_and_the_readme_the_required_ones() -> None:
    fields = {name: field.metadata for name, field in Settings.__dataclass_fields__.items() if field.metadata}
    required = [name for name in fields if fields[name]["required"]]
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "settings.md").read_text("utf-8"), re.MULTILINE)
    assert rows == list(fields)
    shown = re.findall(r"^    (\w+ = \S+)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert shown == re.findall(r"^(\w+ = \S+)", (ROOT / ".env").read_text("utf-8"), re.MULTILINE)
    assert [line.split()[0] for line in shown] == required


def test_the_study_page_has_every_key_of_a_study() -> None:
    rows = re.findall(r"^\| (`.+?) \|", (ROOT / "docs" / "study.md").read_text("utf-8"), re.MULTILINE)
    named = {name.strip("`[]") for row in rows for name in row.split(", ")}
    assert {*KEYS, *CONDITION_KEYS} <= named


# The following tests show that the checks report mistakes, and only mistakes.


def test_a_link_to_nowhere_is_found() -> None:
    text = (
        "[a](docs/settings.md) [b](docs/nowhere.md) ![c](docs/nowhere.png) [d](https://example.org/x)\n"
        "# One GPU, or two\n[e](#one-gpu-or-two) [f](#three) [g](docs/settings.md#installing) [h](docs/settings.md#x)\n"
    )
    assert broken_links(text, ROOT) == ["docs/nowhere.md", "docs/nowhere.png", "#three", "docs/settings.md#x"]


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("`train.py`, `personagpt/errors.py`, `.env.demo`, `bench/RESULTS.md`, `data/sample/`", []),
        ("`trian.py` and\n`personagpt/eror.py`, `.env.dmo`", ["trian.py", "personagpt/eror.py", ".env.dmo"]),
        ("    personagpt/  errors.py  mirrors.py: what can\n\n    personagtp/\n", ["mirrors.py", "personagtp/"]),
        ("`personagpt/text` and `bench/nothing` run at 4 `tokens/s`", ["bench/nothing"]),
        ("    python -m bench.torture\n    python -m bench.torment\n    python -m venv .venv", ["bench.torment"]),
        ("    from personagpt import PersonaChatDataset\n    from dialogue import PersonaChatDataset", ["dialogue"]),
        (
            "`loss.csv`, `save_path/samples/loss.csv`, `save/demo/x/`, `save_path/DATE.jsonl`, `save_path/oss.csv`",
            ["save_path/oss.csv"],
        ),
        ("`losses.csv`, `save/demo/samples/losses.png`", ["losses.csv", "save/demo/samples/losses.png"]),
        ("train.py in prose, https://example.org/a.py, and `https://example.org/b.py`", []),
        ("```\ncat docs/gone.md | head\n```", ["docs/gone.md"]),
    ],
)
def test_a_missing_file_is_found(text: str, missing: list[str]) -> None:
    assert missing_files(text, ROOT) == missing


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("    python train.py --env .env.demo --restart\n    python train.py --download", ["--download"]),
        ("    epochs=1 python evaluate.py \\\n        --generate 5 --generat 5", ["--generat"]),
        ("    python -m bench.torture --kills 2 --kill 2; python -m bench.persona_recall --env X", ["--kill"]),
        ("    torchrun --nproc_per_node=2 train.py --restart --nproc_per_node=2", ["--nproc_per_node"]),
        ("`--top-k` (10) and\n`--top-z`", ["--top-z"]),
        ("    pip install x --user\n    hf upload me/it . --exclude 'a' --include 'b'", ["--user", "--include"]),
        ("| a |\n|---|\n| train.py -- it trains |", []),
    ],
)
def test_an_unknown_option_is_found(text: str, unknown: list[str]) -> None:
    assert unknown_options(text) == unknown


def test_an_unknown_command_is_found() -> None:
    text = "    make .venv/installed && true\n`make test`, `make coffee`, `/retry`, `/persona [FACT]`, `/sing`"
    assert unknown_commands(text) == ["make coffee", "/sing"]
