"""What kind of file it is, its sample and its records."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from personagpt.errors import UserError
from personagpt.files import read_bytes
from personagpt.importing.sources import Source
from tests.importing.helpers import json_lines, source


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ([1], "JSON"), ({"a": 1}, "JSON"), (json_lines({"a": 1}, {"a": 2}), "JSON lines"),
        ('{"a": 1}\nx\n{"a"', "JSON lines"),
        ('{"a": [}', "damaged JSON"), ("[10:11] Ann: hi", "text"), ("{{user}}: hi", "text"), ("hello", "text"),
        ("a,b\n1,2\n", "table"), ("a\tb\n1\t2\n", "table"), ("a;b\n1,0;2\n", "table"), (',x\n0,"a\nb"\n', "table"),
        ("Ann: hi, you\nBob: ho, ho\n", "text"), ("hi, you, there\nyes\nno\n", "text"), ("a,a\n1,2\n", "text"),
        ("a,b", "text"), ("<|im_start|>user\na<|im_end|>\n<|im_start|>user\n", "text"),
    ],
)  # fmt: skip
def test_kinds(content: object, kind: str) -> None:
    assert source(content).kind == kind


@pytest.mark.parametrize(
    ("content", "records"),
    [
        ([7, 8], [("record 1", 7, None), ("record 2", 8, None)]),
        ({"a": 1}, [("record 1", {"a": 1}, None)]),
        ({"messages": [1]}, [("record 1", {"messages": [1]}, None)]),
        ('{"a": 1}\n\nx\n{"a": 2}', [("line 1", {"a": 1}, None), ("line 3", None, None), ("line 4", {"a": 2}, None)]),
        ({"train": [1], "Dev": [2], "more": [3]},
         [("train record 1", 1, "train"), ("Dev record 1", 2, "valid"), ("more record 1", 3, "more")]),
        ({"held out": [{"messages": []}]}, [("held out record 1", {"messages": []}, "held out")]),
        ({"conversations": [{"from": "a"}]}, [("record 1", {"conversations": [{"from": "a"}]}, None)]),
        ("a,B \n1,2\n\n3\n", [("record 1", {"a": "1", "b": "2"}, None), ("record 2", {"a": "3"}, None)]),
        ('a\tb\n1\t"2" or 3\n', [("record 1", {"a": "1", "b": '"2" or 3'}, None)]),
    ],
)  # fmt: skip
def test_records(content: object, records: list[tuple]) -> None:
    read = source(content).records(Counter())
    assert [(record.place, record.content, record.part) for record in read] == records


def test_the_test_part_is_left_out() -> None:
    left_out: Counter[str] = Counter()
    records = list(source({"train": [1], "test": [2, 3]}).records(left_out))
    assert [record.content for record in records] == [1]
    assert left_out == {"records of the test part": 2}


def test_lines_are_numbered() -> None:
    file = source("a\r\n\n b \u2028\n")
    assert list(file.lines()) == [(1, "a"), (2, ""), (3, " b \u2028")]
    assert file.first_lines == ["a", "b"]
    assert source("a\rb\r").first_lines == ["a", "b"]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", "the file is empty"),
        ("\ufeff \n", "the file is empty"),
        (
            "PK\x03\x04\0\0",
            "not UTF-8 text; unpack it, or if it is a sheet or a page of an office program, save it as CSV or as text",
        ),
        ("A: hi".encode("utf-16-le"), "not UTF-8 text; unpack it, or save it as UTF-8"),
    ],
)
def test_a_file_that_is_no_text(tmp_path: Path, data: object, line: str) -> None:
    path = tmp_path / "talks"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(UserError) as caught:
        Source(str(path), read_bytes(path))
    assert str(caught.value) == f"{path}: {line}"


@pytest.mark.parametrize("order", ["le", "be"])
def test_utf_16_as_windows_writes_it_is_read(order: str) -> None:
    file = source("\ufeffAnn: h\xe9 \U0001f642\r\nBen: ho\r\n".encode(f"utf-16-{order}"))
    assert file.first_lines == ["Ann: h\xe9 \U0001f642", "Ben: ho"]


def test_a_quotation_mark_that_is_never_closed() -> None:
    with pytest.raises(UserError, match="talks: line 3: not CSV from there on: unexpected end of data"):
        list(source('a,b\n1,2\n3,"4\n').records(Counter()))
