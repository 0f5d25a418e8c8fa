"""Every layout is in the table, has its test and recognises nothing in a file of no layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from personagpt.importing.table import LAYOUTS
from tests.importing.helpers import source


def test_the_table_lists_every_module(root: Path) -> None:
    modules = {path.stem for path in (root / "personagpt/importing/layouts").glob("[a-z]*.py")}
    assert {name.replace("-", "_") for name in LAYOUTS} == modules
    tests = {path.stem.removeprefix("test_") for path in (root / "tests/importing/layouts").glob("test_*.py")}
    assert tests == modules


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("content", ["of no kind", "a,b\n1,2\n", {"a": 1}, [], [None], 7, '{"a', {"messages": None}])
def test_no_layout_recognises_a_file_of_no_layout(name: str, content: object) -> None:
    assert LAYOUTS[name].recognises(source(content)) is False
