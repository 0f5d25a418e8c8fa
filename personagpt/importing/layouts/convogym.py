"""convogym's talks: a talk a row, each cell a list as Python writes it. PersonaGPT's own personachat.csv has this form.
Also the published model's goal data, active_learning_data.csv, with its control tokens.

hx,p1,p2,split
"['hi !', 'hello !']","['i bake .', 'i row .']","['i sing .']",train

context,response
"<|act|> ask about pets.<|p1|><|sep|><|start|> hi !<|endoftext|>hello !<|endoftext|>",any pets ?<|endoftext|>

`hx` are the utterances, `p1` the facts of the first speaker, `p2` those of the second. `split` may be absent. Special
tokens at the ends of a text, such as `<|endoftext|>`, are dropped. train_personas.csv (Fact 1, Fact 2, ...) has
personas alone, so that there is no talk to import; its error says what to do. The goals in front of a context are left
out, because a goals file finds a goal by its words (docs/goals.md).
"""

from __future__ import annotations

import ast
import re
import warnings
from collections import Counter
from collections.abc import Iterator

from personagpt.errors import UserError, shorten
from personagpt.importing.sources import PARTS, Source
from personagpt.importing.talks import (
    SPEAKERS,
    ImportedTalk,
    ImportedTurn,
    Record,
    RecordError,
    parse_each,
    texts_of,
    value_of,
)

COLUMNS = ("hx", "p1", "p2")
GOAL_COLUMNS = ("context", "response")
FACT_COLUMN = "fact 1"  # of train_personas.csv, which has a persona a row
SPECIAL = re.compile(r"^(?:\s*<\|start\|>)+|(?:<\|endoftext\|>\s*)+$")
EOS = "<|endoftext|>"
CONTEXT = re.compile(
    r"\s*(?:<\|act\|>(?P<goal>.*?))?(?:<\|sep\|>\s*)?(?P<speaker><\|p[12]\|>)(?P<facts>.*?)<\|sep\|>\s*(?:<\|start\|>)?"
    r"(?P<said>.*)",
    re.DOTALL,
)


def recognises(source: Source) -> bool:
    return set(COLUMNS) <= set(source.columns) or FACT_COLUMN in source.columns or _has_goals(source)


def _has_goals(source: Source) -> bool:
    """Return whether a table of contexts and responses has control tokens in its first rows."""
    return set(GOAL_COLUMNS) <= set(source.columns) and "<|sep|>" in "".join(source.first_lines)


def read(source: Source, left_out: Counter[str]) -> Iterator[ImportedTalk | RecordError]:
    if FACT_COLUMN in source.columns:
        raise UserError(
            f"{source.name}: personas without talks; import talks, and give a persona with --speaker NAME "
            "--persona-file FILE, a fact a line"
        )
    if _has_goals(source):
        return parse_each(source.records(left_out), lambda record: _goal_talk(record, left_out))
    if not recognises(source):
        raise UserError(f"{source.name}: expected a CSV with the columns {', '.join(COLUMNS)}")
    return parse_each(_kept(source.records(left_out), left_out), _talk)


def _kept(rows: Iterator[Record], left_out: Counter[str]) -> Iterator[Record]:
    """Yield the rows, each with its part of the file, without those of the test part."""
    for row in rows:
        split = row.content.get("split", "").strip()
        part = PARTS.get(split.lower(), split) or None
        if part == "test":
            left_out["records of the test part"] += 1
        else:
            yield Record(row.place, row.content, part)


def _talk(record: Record) -> ImportedTalk:
    said, *personas = (_texts(record.content, column) for column in COLUMNS)
    turns = [ImportedTurn(SPEAKERS[number % 2], text) for number, text in enumerate(said)]
    return ImportedTalk(record.place, turns, dict(zip(SPEAKERS, personas, strict=True)), part=record.part)


def _goal_talk(record: Record, left_out: Counter[str]) -> ImportedTalk:
    """Return the talk of a context and its response. Raises RecordError."""
    context = value_of(record.content, "context", str)
    response = SPECIAL.sub("", value_of(record.content, "response", str))
    parts = CONTEXT.fullmatch(context)
    if not parts:
        raise RecordError(f"'context' is {shorten(context)}; expected such as <|act|>GOAL<|p1|><|sep|><|start|>...")
    left_out["goals of replies"] += bool(parts["goal"])
    said = [*_between(parts["said"]), response.strip()]
    speakers = [SPEAKERS[(len(said) - 1 - number) % 2] for number in range(len(said))]
    turns = [ImportedTurn(speaker, text) for speaker, text in zip(speakers, said, strict=True)]
    facts = {SPEAKERS[0]: _between(parts["facts"])}
    return ImportedTalk(record.place, turns, facts, SPEAKERS[0], record.part)


def _between(text: str) -> list[str]:
    """Return the texts between the end tokens."""
    return [piece.strip() for piece in text.split(EOS) if piece.strip()]


def _texts(row: dict[str, str], column: str) -> list[str]:
    """Return the texts of a cell without special tokens at their ends. Raises RecordError."""
    cell = value_of(row, column, str)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a backslash in a talk is no matter for the user
            value = ast.literal_eval(cell.strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise RecordError(f"{column!r} is {shorten(cell)}; expected a list as Python writes it") from None
    return [SPECIAL.sub("", text) for text in texts_of({column: value}, column)]
