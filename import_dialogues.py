"""Bring dialogues from other formats into ConvAI2's text, for preprocess_dataset.py.

    python import_dialogues.py talks.txt --to my_data                 your own talks, or another corpus
    python import_dialogues.py a.json b.json --to my_data --valid 0.1 one dialogue in ten validates
    python import_dialogues.py train.csv --to my_data --valid 0       all for training ...
    python import_dialogues.py valid.csv --to my_data --valid 1       ... and all for validation
    python import_dialogues.py talks.jsonl --to my_data --keep-going  leave out however many records do not parse

Reads   files in five formats, recognised by their content (personagpt/importing/layouts.py shows them).
Writes  FOLDER/train_both_original_no_cands.txt, valid_both_original_no_cands.txt; never over a file that is there.
"""

from __future__ import annotations

from personagpt.signals import end_at_once  # isort: skip

if __name__ == "__main__":
    end_at_once()  # Ctrl-C is answered by one line from here on: before anything else is imported

from utils import add_env_option, command, parse_options, run_script

import argparse
import shlex
import sys
from pathlib import Path

from personagpt.errors import UserError
from personagpt.files import write_atomically
from personagpt.importing.layouts import FORMATS, RecordError, read_records, to_dialogue
from personagpt.settings import TEXT_NAMES
from personagpt.text.convai2 import Dialogue, write_corpus
from personagpt.text.splitting import split_by_persona

MOST_FAILED = 0.01  # of the records
SHOWN = 10  # of those that fail


def command_line(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_env_option(parser)
    add = parser.add_argument
    add("files", metavar="FILE", type=Path, nargs="+", help="dialogues in another format")
    add("--to", metavar="FOLDER", type=Path, required=True, help="where the two text files go")
    add("--format", choices=FORMATS, help="(default: recognised by the content)")
    add(
        "--valid", metavar="SHARE", type=float,
        help="of the dialogues, for validation (default: as the file is split, else 0.1); no persona is in both parts",
    )  # fmt: skip
    add("--keep-going", action="store_true", help="also where more than 1%% of the records do not parse")
    options = parse_options(parser, arguments)
    if options.valid is not None and not 0 <= options.valid <= 1:
        raise UserError(f"--valid {options.valid:g}: expected a share from 0 (none) to 1 (all)")
    if options.to.is_file():
        raise UserError(f"--to {options.to}: there is a file of that name; expected a folder")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = command_line(arguments)
    written = {0: ["train"], 1: ["valid"]}.get(options.valid, ["train", "valid"])
    texts = {split: options.to / TEXT_NAMES[split] for split in written}
    for path in texts.values():
        if path.exists():
            raise UserError(f"{path} is there already and stays as it is: import into another folder, or remove it")
    dialogues, formats, failed = read_dialogues(options.files, options.format)
    check_failed(failed, sum(map(len, dialogues.values())), options.keep_going)
    parts, crossing = split(dialogues, options.valid)
    for name, path in texts.items():
        if not parts[name]:
            raise UserError(f"no dialogue is left for {path.name}: nothing was written")
    made = {path: write_corpus(parts[name]) for name, path in texts.items()}
    for path, text in made.items():
        write_atomically(path, text)
    print(summary(parts, formats, failed, crossing))
    print(f"text in {options.to}; next: {next_command(options)}")
    return 0


def read_dialogues(
    files: list[Path], wanted: str | None
) -> tuple[dict[str | None, list[Dialogue]], list[str], list[str]]:
    """The dialogues of all files by the part that their file puts them in, the formats, and the lines on failures."""
    dialogues: dict[str | None, list[Dialogue]] = {"train": [], "valid": [], None: []}
    formats, failed = [], []
    for path in files:
        try:
            name, records = read_records(path, wanted)
        except OSError as error:
            raise UserError(f"{path}: cannot read this file: {error.strerror}") from None
        formats.append(name)
        for record in records:
            try:
                dialogues[record.split].append(to_dialogue(record.content, name))
            except RecordError as error:
                failed.append(f"{path}: {record.place}: {error}")
    return dialogues, list(dict.fromkeys(formats)), failed


def check_failed(failed: list[str], parsed: int, keep_going: bool) -> None:
    """Name the first records that did not parse; raise UserError where they are too many."""
    for line in failed[:SHOWN]:
        print(line, file=sys.stderr)
    if len(failed) > SHOWN:
        print(f"... and {len(failed) - SHOWN:,} more", file=sys.stderr)
    count = f"{len(failed):,} of {len(failed) + parsed:,} records do not parse"
    if not parsed:
        raise UserError(f"{count}: nothing was written" if failed else "no record in these files: nothing was written")
    if len(failed) > MOST_FAILED * (len(failed) + parsed) and not keep_going:
        raise UserError(f"{count}, more than 1%: nothing was written; --keep-going leaves them out")


def split(
    dialogues: dict[str | None, list[Dialogue]], share: float | None
) -> tuple[dict[str, list[Dialogue]], list[Dialogue]]:
    """The training and validation part, and what belongs to neither. Without a `share` a file's own parts stay."""
    train, valid, pool = dialogues["train"], dialogues["valid"], dialogues[None]
    if share is not None:
        train, valid, pool = [], [], train + valid + pool
    if share in (0, 1) or not pool:
        return {"train": train + pool * (share == 0), "valid": valid + pool * (share == 1)}, []
    more_train, more_valid, crossing = split_by_persona(pool, 0.1 if share is None else share)
    return {"train": train + more_train, "valid": valid + more_valid}, crossing


def summary(parts: dict[str, list[Dialogue]], formats: list[str], failed: list[str], crossing: list[Dialogue]) -> str:
    """The line that says what became of the records."""
    train, valid = len(parts["train"]), len(parts["valid"])
    line = f"{', '.join(formats)}: {train:,} dialogues for training, {valid:,} for validation"
    if failed:
        line += f"; {len(failed):,} records left out that do not parse"
    if crossing:
        line += f"; {len(crossing):,} dialogues left out whose two personas fell into different parts"
    given = [sum(map(bool, dialogue.personas)) for part in parts.values() for dialogue in part]
    if 2 in given and (lacking := len(given) - given.count(2)):
        line += f"; {lacking:,} lack a persona that others have: that speaker trains without facts"
    return line


def next_command(options: argparse.Namespace) -> str:
    """What to run now: for validation text first, where there is only training text, or the other way round."""
    missing = [split for split, name in TEXT_NAMES.items() if not (options.to / name).exists()]
    if missing:
        share, purpose = {"train": (0, "training"), "valid": (1, "validation")}[missing[0]]
        again = command("import_dialogues.py", options.env)
        return f"{again} FILE --to {shlex.quote(str(options.to))} --valid {share}   (talks for {purpose})"
    return command("preprocess_dataset.py", options.env, data_path=options.to, save_path=options.to / "save")


if __name__ == "__main__":
    run_script(main)
