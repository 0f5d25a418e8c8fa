"""The shared reader: a file -> JSON values, table rows, or lines, each read once and only when it is asked for."""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from personagpt.errors import UserError
from personagpt.importing.talks import Record

PARTS = {"train": "train", "valid": "valid", "validation": "valid", "dev": "valid", "test": "test"}
RECORD_KEYS = {"messages", "conversations", "conversation", "utterances", "instruction"}  # of a record that is a talk
SAMPLED = 40  # lines, records or rows by which a layout is recognised
DELIMITERS = ",\t;|"
DAMAGED_JSON = re.compile(r'\{\s*["}]|\[\s*[{\["\]]')  # how JSON starts, and talks as text do not


class Source:
    """A file to import. `recognises` looks at `kind` and at the sample; `read` reads the whole.

    kind       "JSON": one value; "JSON lines": a value a line; "table": CSV or TSV with a header; "damaged JSON": text
               that starts as JSON does; "text": anything else
    sample     first_records (JSON), columns (table), first_lines (any kind)
    whole      records() (JSON and table), document (JSON), lines() (any kind)
    """

    def __init__(self, name: str, data: bytes) -> None:
        """Raise UserError where `data` is no text; `name` stands in the messages."""
        self.name = name
        if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):  # as Windows writes "Unicode" text
            with contextlib.suppress(UnicodeDecodeError):
                data = data.decode("utf-16", errors="surrogatepass").encode(errors="surrogatepass")
        if b"\0" in data[:4096]:
            raise UserError(f"{name}: not UTF-8 text; {_way_on(data)}")
        # A byte that is not UTF-8 becomes half a surrogate pair. `mend` refuses only the record that holds it.
        self.text = data.decode("utf-8-sig", errors="surrogateescape").replace("\r\n", "\n")
        if "\n" not in self.text:
            self.text = self.text.replace("\r", "\n")  # as programs of old Macs end a line
        if not self.text.strip():
            raise UserError(f"{name}: the file is empty")

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield the number and text of each line, blank ones included."""
        start, number = 0, 1
        while (end := self.text.find("\n", start)) >= 0:
            yield number, self.text[start:end]
            start, number = end + 1, number + 1
        if start < len(self.text):
            yield number, self.text[start:]

    @cached_property
    def first_lines(self) -> list[str]:
        """Return the first lines that are not blank, without space around them."""
        spoken = (line.strip() for _, line in self.lines() if line.strip())
        return list(itertools.islice(spoken, SAMPLED))

    @cached_property
    def kind(self) -> str:
        if self.first_lines[0][0] in "{[":
            if self.document is not None:
                return "JSON"
            if any(isinstance(_line_value(line), (dict, list)) for line in self.first_lines[:10]):
                return "JSON lines"
            if DAMAGED_JSON.match(self.text.lstrip()):
                return "damaged JSON"
        return "table" if self._delimiter else "text"

    @cached_property
    def document(self) -> Any:
        """Return the JSON value of the whole file; None where the file is no single JSON value."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError) as error:
            self.json_error = str(error)
            return None

    @cached_property
    def first_records(self) -> list[Any]:
        """Return the content of the first records; none where the file is no JSON."""
        if not self.kind.startswith("JSON"):
            return []
        return [record.content for record in itertools.islice(self.records(Counter()), SAMPLED)]

    def records(self, left_out: Counter[str]) -> Iterator[Record]:
        """Yield the records of JSON (a list's items, a part's items, or the one value) and the rows of a table.

        A row's content is {column: cell}, the columns as `columns` has them. A line that is no JSON gives None. Records
        of a part called "test" are counted in `left_out`.
        """
        if self.kind == "JSON lines":
            yield from (Record(f"line {n}", _line_value(line)) for n, line in self.lines() if line.strip())
        elif self.kind == "table":
            for number, row in enumerate(self._rows, start=1):
                yield Record(f"record {number}", dict(zip(self.columns, row, strict=False)))
        elif self._has_parts:
            for name, items in self.document.items():
                part = PARTS.get(name.lower(), name)
                if part == "test":
                    left_out["records of the test part"] += len(items)
                else:
                    yield from (Record(f"{name} record {n}", item, part) for n, item in enumerate(items, start=1))
        else:
            items = self.document if isinstance(self.document, list) else [self.document]
            yield from (Record(f"record {n}", item) for n, item in enumerate(items, start=1))

    @property
    def _has_parts(self) -> bool:
        """Return whether the file is an object of lists, such as {"train": [...], "valid": [...]}."""
        content = self.document
        if not isinstance(content, dict) or not all(isinstance(items, list) for items in content.values()):
            return False
        if any(name.lower() in PARTS for name in content):
            return True
        # Other names are parts, too, where each holds records, {"held out": [{"messages": [...]}, ...]}.
        firsts = [items[0] if items else None for items in content.values()]
        return bool(firsts) and all(isinstance(first, dict) and RECORD_KEYS & first.keys() for first in firsts)

    @cached_property
    def columns(self) -> list[str]:
        """Return the names in a table's header, in lower case; none where the file is no table."""
        if self.kind != "table":
            return []
        header = next(csv.reader(self.text.split("\n", 1)[:1], delimiter=self._delimiter))
        return [name.strip().lower() for name in header]

    @cached_property
    def _delimiter(self) -> str:
        """Return what separates the cells of a table; "" where the file looks like no table."""
        csv.field_size_limit(2**31 - 1)
        return next((delimiter for delimiter in DELIMITERS if self._is_table(delimiter)), "")

    def _is_table(self, delimiter: str) -> bool:
        """Return whether the first line is a header, and the first rows have a cell for each of its names."""
        header, *others = self.text.split("\n", 1)
        if re.search(":|\uff1a|<\\|", header) or header.count(delimiter) == 0 or len(header) > 5_000:
            return False
        try:
            names = next(csv.reader([header], delimiter=delimiter))
            start = io.StringIO("".join(others)[:200_000], newline="")
            rows = [row for row in itertools.islice(csv.reader(start, delimiter=delimiter), SAMPLED) if row]
        except csv.Error:
            return False
        plain = [name.strip() for name in names]
        if len(set(plain)) < len(plain) or not all(plain[1:]) or any(len(name) > 60 for name in plain):
            return False
        # The last row may be cut by the end of the sample, and some files leave empty cells at a row's end away.
        return bool(rows) and sum(len(row) == len(names) for row in rows) >= 0.5 * len(rows)

    @cached_property
    def _rows(self) -> list[list[str]]:
        """Return the cells of each row. Raises UserError where a quotation mark swallows the rest of the file."""
        # strict: otherwise a quotation mark that is never closed would make one cell of the rest of the file.
        reader = csv.reader(io.StringIO(self.text, newline=""), delimiter=self._delimiter, strict=True)
        try:
            return [row for row in reader if row][1:]
        except csv.Error as error:
            if self._delimiter == "\t":  # most programs that write tabs write quotation marks as they are
                plain = csv.reader(io.StringIO(self.text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
                return [row for row in plain if row][1:]
            raise UserError(f"{self.name}: line {reader.line_num}: not CSV from there on: {error}") from None


def _way_on(data: bytes) -> str:
    """Return what to do with a file that is no text."""
    if data.startswith((b"PK", b"\xd0\xcf\x11\xe0")):
        return "unpack it, or if it is a sheet or a page of an office program, save it as CSV or as text"
    if data.startswith(b"PAR1"):
        return "save this Parquet file as CSV or JSON lines, which pandas' read_parquet, to_csv and to_json do"
    return "unpack it, or save it as UTF-8"


def _line_value(line: str) -> Any:
    """Return the JSON value of a line; None, which no record is, where the line is not JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
