"""Which layout a file has, and for a file of no known layout what to try."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from personagpt.errors import UserError, shorten
from personagpt.files import read_bytes
from personagpt.importing.layouts.columns import Mapping, nearest_mapping, read_columns, written
from personagpt.importing.sources import Source
from personagpt.importing.table import LAYOUTS, read
from personagpt.importing.talks import ImportedTalk, RecordError

MOST_NAMED = 12  # columns or keys in a message

Talks = Iterator[ImportedTalk | RecordError]


def read_talks(
    path: Path, wanted: str | None, mapping: Mapping | None, left_out: Counter[str], advice: str = ""
) -> tuple[str, Talks]:
    """Return the name of the layout of the file at `path`, and its talks.

    `wanted` names the layout, `mapping` the columns of a table or keys of JSON; without either the content tells the
    layout. Raises UserError where the file cannot be read, now or while the talks are read; for a file of no known
    layout its message ends with `advice`, where there is one.
    """
    source = Source(str(path), read_bytes(path))
    if mapping:
        return f"columns ({written(mapping)})", read_columns(source, mapping, left_out)
    name = wanted or recognise(source, advice)
    talks = read(name, source, left_out)
    return f"columns ({written(nearest_mapping(source))})" if name == "columns" else name, talks


def recognise(source: Source, advice: str = "") -> str:
    """Return the name of the first layout that recognises `source`. Raises UserError where none does."""
    for name, layout in LAYOUTS.items():
        if layout.recognises(source):
            return name
    raise UserError(unknown(source, advice))


def unknown(source: Source, advice: str = "") -> str:
    """Return the line for a file of no known layout: its content, and what to try: `advice`, or else --columns."""
    if source.kind == "damaged JSON":
        return f"{source.name}: not JSON: {source.json_error}"
    if source.kind == "text":
        lines = "expected `NAME: what they say` lines with a blank line between talks; data/README.md shows all formats"
        first = shorten(source.first_lines[0])
        return f"{source.name}: text of no format that is known; its first line: {first}; {advice or lines}"
    if source.columns:
        rows = source.records(Counter())
        kind, names = "a CSV", "the columns " + _listed(source.columns)
        first = shorten(list(row.content.values()) if (row := next(rows, None)) else "none")
    else:
        records = source.first_records
        keys = list(dict.fromkeys(key for record in records if isinstance(record, dict) for key in record))
        kind, names = source.kind, "the keys " + _listed(keys) if keys else "no objects"
        first = shorten(records[0]) if records else "none"
    found = f"{source.name}: {kind} of no format that is known, with {names}; its first record: {first}"
    if advice:
        return f"{found}; {advice}"
    suggestion = written(nearest_mapping(source)) or "text=COLUMN, speaker=COLUMN, talk=COLUMN, persona=COLUMN"
    hint = "; where its first line is no header, add one such as `name,line`" if source.columns else ""
    return f'{found}; try --columns "{suggestion}"{hint}'


def _listed(names: list[str]) -> str:
    shown = ", ".join(map(shorten, names[:MOST_NAMED]))
    return shown + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")
