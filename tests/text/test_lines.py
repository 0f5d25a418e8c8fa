"""lines.py: what a line is, what it may not be, and how mistakes are told."""

from __future__ import annotations

import hashlib
import io

import pytest

from personagpt.text.lines import LONGEST_LINE, MOST_MISTAKES, Mistakes, TextError, read_lines

BLANK = "a blank line inside a dialogue; remove it"


def read(data: bytes) -> tuple[list[tuple[int, str]], list[str]]:
    """The numbered lines, and the mistakes noted."""
    mistakes, total = Mistakes("t.txt"), hashlib.sha256()
    lines = list(read_lines(io.BytesIO(data), total, mistakes))
    assert total.digest() == hashlib.sha256(data).digest()
    return lines, mistakes.noted


def refused(data: bytes) -> str:
    """What is raised at once."""
    with pytest.raises(TextError) as raised:
        read(data)
    return str(raised.value)


def test_only_a_line_feed_ends_a_line() -> None:
    assert read("a\u2028b\x0bc\x85d\ne".encode()) == ([(1, "a\u2028b\x0bc\x85d"), (2, "e")], [])
    assert read(b"a\r\nb\r\r\nX\r\n") == ([(1, "a"), (2, "b"), (3, "X")], [])


def test_a_byte_order_mark_is_no_text_at_the_start_alone() -> None:
    mark = "\ufeff".encode()
    assert read(mark + b"a\n" + mark + b"b\n") == ([(1, "a"), (2, "\ufeffb")], [])


def test_blank_lines_are_mistakes_inside_a_dialogue() -> None:
    assert read(b"a\nb\n\n \t\n\n") == ([(1, "a"), (2, "b")], [])
    assert read(b"\n1 a\n\n\n1 b\n") == ([(2, "1 a"), (5, "1 b")], [])
    lines, noted = read(b"a\n\n\t\nb\n1 c\n\n10 d\n\n")
    assert lines == [(1, "a"), (4, "b"), (5, "1 c"), (7, "10 d")]
    assert noted == [f"t.txt:2: {BLANK}", f"t.txt:6: {BLANK}"]  # each gap once, by its first line


def test_the_longest_line() -> None:
    longest = "x" * LONGEST_LINE
    for end in ("", "\n", "\r\n"):
        assert read(f"{longest}{end}".encode()) == ([(1, longest)], [])
    told = "t.txt:2: a line of more than 1,000,000 bytes; is this the text file?"
    assert refused(f"a\n{longest}x\n".encode()) == told
    assert refused(b"a\n" + b"x" * LONGEST_LINE + "\u20ac".encode() * 9) == told  # cut amid a letter
    file = io.BytesIO(b"x" * 2 * LONGEST_LINE)
    with pytest.raises(TextError):
        list(read_lines(file, hashlib.sha256(), Mistakes("t.txt")))
    assert file.tell() == LONGEST_LINE + 2  # what tells that it is too long, whatever follows


def test_what_cannot_be_read_is_told_at_once() -> None:
    assert refused(b"a\nb \xff\nc\n") == "t.txt:2: byte 0xff is not UTF-8; save the file as UTF-8"
    assert refused(b"a\rb\n") == (
        "t.txt:1: a carriage return inside the line; save the file with \\n or \\r\\n at the end of each line"
    )
    # What was noted before stands before it.
    assert refused(b"a\n\nb\nc\rd\n").splitlines()[0] == f"t.txt:2: {BLANK}"


def test_no_more_than_the_first_mistakes() -> None:
    mistakes = Mistakes("t.txt")
    mistakes.raise_noted()
    for line in range(1, MOST_MISTAKES):
        mistakes.note(line, "odd")
    with pytest.raises(TextError) as raised:
        mistakes.note(MOST_MISTAKES, "odd")
    *told, last = str(raised.value).splitlines()
    assert told == [f"t.txt:{line}: odd" for line in range(1, MOST_MISTAKES + 1)]
    assert last == "these are its first 10 mistakes; there may be more"
