"""Scripts with the names on lines of their own."""

from __future__ import annotations

from collections import Counter

from tests.importing.helpers import layout, read, same

SCRIPT = """\
INT. WORKSHOP - NIGHT

It is dark.

VEX
(not looking up)
Get up, kid: we
are leaving.

PIM (V.O.)
What, now?

EXT. ROAD

PIM
NO

VEX
Yes.
"""


def test_scenes_are_talks() -> None:
    assert layout(SCRIPT) == "names-alone"
    left_out: Counter[str] = Counter()
    first, second = read(SCRIPT, left_out=left_out)
    assert same(first, ([], []), ["Get up, kid: we are leaving.", "What, now?"])
    assert same(second, ([], []), ["NO", "Yes."])
    assert +left_out == {"stage directions": 4}


def test_names_that_come_again() -> None:
    text = "Anna\nhi !\nBen\nhello .\nAnna\nbye .\n\n\nBen\nwho ?\nAnna\nme .\n"
    assert layout(text) == "names-alone"
    first, second = read(text)
    assert same(first, ([], []), ["hi !", "hello .", "bye ."])
    assert same(second, ([], []), ["who ?", "me ."])


def test_shouting_in_a_plain_talk_is_no_name() -> None:
    assert layout("A: a\nB:\nNO\nnever\nA:\nYES\nyes\n") == "plain"
