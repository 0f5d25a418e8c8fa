"""Who speaks in a line."""

from __future__ import annotations

import pytest

from personagpt.importing.speaker_lines import is_direction, same_name, split_fact, split_name


@pytest.mark.parametrize(
    "line",
    [
        "Ann: hi", "  Ann : hi ", "Ann\uff1ahi", "12/11/23, 21:55 - Ann: hi", "Ann (09:01): hi", "00:01 Ann: hi",
        "[01.02.24, 10:11:05 PM] Ann: hi", "[01.02.24, 10:11:05\u202fPM] Ann: hi",
        "\u200e[1/2/24, 10:11] \u200eAnn: hi",
        "2024-02-01 10:11:05 Ann: hi", "2024-02-01T10:11:05Z Ann: hi", "(10:11) Ann: hi", "10.11 - Ann: hi",
        "[10:11] Ann (shouts): hi", "Ann 10:11: hi", "Ann, 10:11 PM: hi", "<10:11> Ann: hi",
        "01.02.24 10:11 a.m. - Ann: hi", "01.02.2024 Ann: hi", "[2024-02-01] Ann: hi", "12/11/23 - Ann: hi",
        "10h30 Ann: hi", "1. Ann: hi", "12) Ann: hi", "#12 Ann: hi", "10pm Ann: hi", "Ann, 01.02.2024: hi",
        "- Ann: hi", "* **Ann**: hi", "\u2022 Ann: hi", "[Ann]: hi", "[10:11] [Ann] : hi",
        "Ann> hi", "<Ann> hi", "[10:11] <Ann> hi", "01.02.2024 Ann> hi",
    ],
)  # fmt: skip
def test_times_are_no_part_of_a_name(line: str) -> None:
    assert split_name(line) == ("Ann", "hi")


@pytest.mark.parametrize(
    ("line", "name", "text"),
    [
        ("Ann: at 10:30: tea", "Ann", "at 10:30: tea"),
        ("User 1: a : b", "User 1", "a : b"),
        ("\U0001f98a: hi", "\U0001f98a", "hi"),
        ("\u5c0f\u738b\uff1a\u4f60\u597d", "\u5c0f\u738b", "\u4f60\u597d"),
        ("Ann: https://example.org", "Ann", "https://example.org"),
        ("Ann:", "Ann", ""),
    ],
)
def test_names(line: str, name: str, text: str) -> None:
    assert split_name(line) == (name, text)


@pytest.mark.parametrize(
    "line",
    [
        "12:30: hi", "21:55", "at 10:30 we meet", "https://example.org/a: b", "mailto:ann@example.org", "3: hi",
        "10 pm: hi",
        "12/11/23: hi", "12/11/23, 21: hi", "no name here", ": hi", "{\"a\": 1}", "x" * 50 + ": hi", "10:11:12 AM: hi",
        "[10:11] hi", "2nd: hi", "-- : hi",
        "- a point", "[They leave]", "[1]: hi", "a -> b", "a => b", "> quoted", "<p>", "<b> bold</b>",
        "<https://a.b> c", "2> 1", "1. hi", "01.02.2024 hi",
    ],
)  # fmt: skip
def test_what_is_no_name(line: str) -> None:
    assert split_name(line) is None


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("Ann's persona: i sew .", "Ann"), ("James' persona: i sew .", "James"),
        ("Boris\u2019 Persona : i sew .", "Boris"),
        ("James's persona\uff1ai sew .", "James"), ("R2:D2's persona: i sew .", "R2:D2"),
    ],
)  # fmt: skip
def test_facts(line: str, name: str) -> None:
    assert split_fact(line) == (name, "i sew .")
    assert split_fact(f"Ann: {line}"[:8]) is None


def test_directions() -> None:
    assert all(map(is_direction, ["[They leave.]", " (Rain.) ", "* * *", "---", "*rain*", "INT. SHIP - NIGHT"]))
    assert not any(map(is_direction, ["a [b]", "(a) b", "a", "INT: hi", "Interest grows."]))


def test_the_same_name_in_other_letters() -> None:
    assert same_name("ann", ["Ann", "Bob"]) == "Ann"
    assert same_name("ann", ["Ann", "ann"]) == "ann"
    assert same_name("ANN", ["Ann", "ann"]) is None
    assert same_name("Cy", ["Ann"]) is None


def test_a_line_of_white_space_takes_no_time() -> None:
    line = "\t" * 20_000 + "b"  # with cubic patterns, hours
    assert split_name(line) is None
    assert not is_direction(line)
