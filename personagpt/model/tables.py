"""Check the tables of a TOML file, such as study.toml. A mistake gives one line: file, key, and allowed values."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

from personagpt.errors import UserError, shorten

NAME, NAME_ALLOWED = re.compile(r"[A-Za-z0-9_-]{1,40}"), "1 to 40 letters a-z, digits, - and _"

# For each key of a table: the type of its value, whether a value is allowed, and the words for the allowed values.
Keys = dict[str, tuple[type | tuple[type, ...], Callable[[Any], bool], str]]


def check_table(
    table: dict[str, Any],
    keys: Keys,
    required: Iterable[str],
    where: str,
    others: Iterable[str] = (),
    above: Iterable[str] = (),
) -> None:
    """Raise UserError for a key that is not in `keys` or `others`, a missing key, or a value that is not allowed.

    A key of `above` belongs to the table above this one.
    """
    for key in table:
        if key in above:
            raise UserError(f"{where}: {key} is a key of the study: move it above the first [[...]] table")
        if key not in keys and key not in others:
            nearest = difflib.get_close_matches(key.lower(), sorted({*keys, *others}), n=1, cutoff=0)[0]
            raise UserError(f"{where}: unknown key {key!r}; the nearest known one is {nearest!r}")
    if missing := [key for key in required if key not in table]:
        example = "[[condition]]" if missing[0] == "condition" else f"{missing[0]} = ..."
        raise UserError(f"{where}: {', '.join(missing)} missing; add {example} ({keys[missing[0]][2]})")
    for key in (key for key in table if key in keys):
        (kind, is_allowed, allowed), value = keys[key], table[key]
        is_kind = isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
        if not is_kind or (isinstance(value, float) and not math.isfinite(value)) or not is_allowed(value):
            raise UserError(f"{where}: {key} = {shorten(value)} is not allowed; expected {allowed}")
