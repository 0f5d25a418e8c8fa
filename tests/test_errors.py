"""errors.py: what counts as out of memory, and how text from outside is shown."""

from __future__ import annotations

import contextlib

import pytest

from personagpt.errors import Stopped, is_out_of_memory, printable, shorten

OutOfMemoryError = type("OutOfMemoryError", (Exception,), {})  # named as torch's, which needs a GPU


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (OutOfMemoryError("x"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_is_out_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_nothing_that_handles_errors_swallows_a_stop() -> None:
    def work() -> None:
        with contextlib.suppress(Exception):
            raise Stopped("stopped by SIGTERM", 143)

    with pytest.raises(Stopped, match="by SIGTERM"):
        work()


def test_text_that_cannot_control_a_terminal() -> None:
    assert printable("a\x1b[31m\nb \u4f60\u2028c") == "a [31m b \u4f60 c"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a\tb", r"'a\tb'"),
        ("x" * 60, "'" + "x" * 60 + "'"),
        ("x" * 61, "'" + "x" * 57 + "...'"),
        ({"key": [1, None]}, "{'key': [1, None]}"),
        ([0] * 30, "[" + "0, " * 18 + "0,..."),
        (["x" * 1000], "['" + "x" * 55 + "..."),
    ],
)
def test_a_value_in_a_message(value: object, shown: str) -> None:
    assert shorten(value) == shown
