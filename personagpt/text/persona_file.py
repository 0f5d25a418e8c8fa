"""A persona in a text file, a fact a line."""

from __future__ import annotations

import re
from pathlib import Path

from personagpt.errors import UserError
from personagpt.files import read_text

# What a CSV, a TSV and a JSON file have and facts do not.
TABLE = re.compile(r'.*\t|\w+([,;]\w+)+\s*$|.*",|\s*[{\["]')


def read_persona_file(path: Path) -> list[str]:
    """Return the facts of `--persona-file`. Raises UserError where the file has none, or is a table or JSON."""
    option = f"--persona-file {path}"
    facts = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if path.suffix.lower() in (".csv", ".tsv", ".json", ".jsonl") or (facts and TABLE.match(facts[0])):
        raise UserError(
            f"{option}: this is a table or JSON; expected text with one fact a line, such as `i have two dogs.`; copy "
            "one persona's facts into a text file"
        )
    if not facts:
        raise UserError(f"{option}: an empty persona; expected at least one fact, such as `i have two dogs.`")
    return facts
