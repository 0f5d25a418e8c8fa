"""Make a small database of talks that may be given away: self-play and interviews of models of the sample corpus.

    make database                        of the demo model, after make demo
    make database MODEL=save/RUN         ... and of another model
    python -m data.sample.make_database save/demo [save/RUN ...] [--talks N]

Reads   the runs' checkpoints, and the settings .env.demo.
Writes  save/database/published/, the talks and their card. A database of an earlier call stays until the new one is
        whole.

Before it loads a model, it checks what each run learned from (samples/run.json): the license in the card holds for
models of the sample corpus only, and an interviewer asks with the sample's goals. A part of the corpus will do. A base
may know no persona dialogues but those of such a run.
"""

from __future__ import annotations

from utils import new_parser, parse_options, run_script

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import evaluate
import interact
from data.sample import make_sample
from personagpt.errors import UserError
from personagpt.files import file_checksum, read_json, read_text
from personagpt.output import say
from personagpt.sequences.goals import goals_checksum, read_goals
from personagpt.settings import TEXT_NAMES, Settings, read_settings
from personagpt.signals import importing

LICENSE = make_sample.FOLDER / "license.md"
SETTINGS = make_sample.FOLDER.parents[1] / ".env.demo"
TRAIN_IT = "train it with .env.demo, as docs/study.md shows"


@dataclass(frozen=True)
class Options:
    env: Path
    runs: list[Path]
    talks: int
    folder: Path


def command_line(arguments: list[str] | None = None) -> Options:
    parser = new_parser(__doc__)
    parser.set_defaults(env=SETTINGS)
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="+", help="the save_path of a run")
    parser.add_argument("--talks", metavar="N", type=int, default=100, help="self-plays of each model (100)")
    parser.add_argument("--folder", type=Path, default=Path("save/database"), help="the database (%(default)s)")
    return parse_options(parser, Options, arguments)


def main(arguments: list[str] | None = None) -> int:
    options = command_line(arguments)
    settings = read_settings(options.env)
    if options.talks < 1:
        raise UserError(f"TALKS={options.talks}: expected 1 or more")
    check_text(settings.text("valid"), f"{settings.text('valid')}: personas of this text would be published, but it")
    runs: dict[str, Path] = {}
    for run in options.runs:
        name = run.resolve().name
        if name in runs:
            raise UserError(f"{run}: two runs are called {name}, and so their models would be; rename a folder")
        runs[name] = run
    for base in {check_run(run, settings) for run in runs.values()}:
        check_base(base)
    new = options.folder.with_name(options.folder.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    make(options, runs, new)
    shutil.rmtree(options.folder, ignore_errors=True)
    new.rename(options.folder)
    say(f"The database is {options.folder / 'published'}; read its README.md")
    return 0


def check_run(run: Path, settings: Settings) -> str:
    """Return the base of the run, or where another run trained the base, the base of that run.

    Raises UserError unless both runs learned from the sample corpus with its goals.
    """
    if not (run / "checkpoint" / "model" / "config.json").is_file():
        make_it = "run `make demo` first" if run.name == "demo" else f"name the save_path of a run, or {TRAIN_IT}"
        raise UserError(f"{run}: no trained model there (checkpoint/model is missing); {make_it}")
    described = read_json(run / "samples" / "run.json")
    try:
        learned, made = described["settings"], described["data"]["train"]
        base = Path(learned["model_name"])
        text = Path(learned["data_path"]) / TEXT_NAMES["train"]
        has_preferences = "preferences" in described["data"]
    except (TypeError, KeyError):
        raise UserError(f"{run}: samples/run.json does not say what the model learned from; {TRAIN_IT}") from None
    if made.get("text_sha256") != file_checksum(make_sample.TRAIN_FILE):
        if not text.is_file() or file_checksum(text) != made.get("text_sha256"):
            raise UserError(f"{run}: the text that it learned from, {text}, is gone or has changed; {TRAIN_IT}")
        check_text(text, f"{run}: the text that it learned from, {text},")
    if made.get("goals_sha256") != goals_checksum(read_goals(settings.goals)):
        raise UserError(f"{run}: trained without the goals of {settings.goals}, which an interviewer needs; {TRAIN_IT}")
    if has_preferences:
        raise UserError(f"{run}: it learned from preferences, too, whose talks may hold people's words; {TRAIN_IT}")
    return check_run(base.parents[1], settings) if base.parent.name == "checkpoint" else str(base)


def check_base(base: str) -> None:
    """Raise UserError where the model `base` learned from persona dialogues before, of which no run is known."""
    with importing():
        from personagpt.model.loading import knows_format

    if knows_format(base):
        raise UserError(f"{base}: this base learned from persona dialogues that nobody can check; {TRAIN_IT}")


def check_text(path: Path, what: str) -> None:
    """Raise UserError, which begins with `what`, where the text at `path` has a line that the corpus has not."""
    known = {line for own in (make_sample.TRAIN_FILE, make_sample.VALID_FILE) for line in lines(own)}
    if not known.issuperset(lines(path)):
        raise UserError(f"{what} is not the sample corpus; the license in the card holds for that corpus only")


def lines(path: Path) -> set[str]:
    """Return the lines of a text in the ConvAI2 format, without their numbers."""
    return set(re.sub(r"^\d+ ", "", read_text(path), flags=re.MULTILINE).splitlines())


def make(options: Options, runs: dict[str, Path], new: Path) -> None:
    """Let the models of the runs talk under the names of the runs, and write the database into the folder `new`."""
    models, env = new / "models", ["--env", str(options.env)]
    models.mkdir(parents=True)
    os.environ.update(save_path=str(new))
    for name, run in runs.items():
        model = models / name
        model.symlink_to((run / "checkpoint" / "model").absolute())
        of_model = [*env, "--model", str(model)]
        interact.main([*of_model, "--self-play", "--talks", str(options.talks), "--seed", "42"])
        evaluate.main([*of_model, "--interview", "3", "--ask", "random", "--record"])
    publish = ["--export", "--publish", str(new / "published"), "--source", "self-play", "--license", str(LICENSE)]
    interact.main([*env, *publish])


if __name__ == "__main__":
    run_script(main)
