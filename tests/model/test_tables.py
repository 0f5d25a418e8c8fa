"""personagpt/model/tables.py: the tables of a TOML file, checked key by key; tests/study/test_settings.py has more."""

from __future__ import annotations

import pytest

from personagpt.errors import UserError
from personagpt.model.tables import Keys, check_table

KEYS: Keys = {"count": (int, lambda value: value > 0, "1 or more"), "open": (bool, lambda value: value, "true")}


def test_a_table_without_mistakes() -> None:
    check_table({"count": 1, "open": True, "more": object()}, KEYS, ("count",), "x", ["more"])


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ({"cuont": 1}, "x: unknown key 'cuont'; the nearest known one is 'count'"),
        ({}, "x: count missing; add count = ... (1 or more)"),
        ({"count": 0}, "x: count = 0 is not allowed; expected 1 or more"),
        ({"count": True}, "x: count = True is not allowed; expected 1 or more"),  # a bool is an int for Python
        ({"count": 1, "open": 1}, "x: open = 1 is not allowed; expected true"),
        ({"count": 1, "open": False}, "x: open = False is not allowed; expected true"),
    ],
)
def test_a_mistake_is_one_line(table, line) -> None:
    with pytest.raises(UserError) as caught:
        check_table(table, KEYS, ("count",), "x")
    assert str(caught.value) == line
