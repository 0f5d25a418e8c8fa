"""The first talks as they will be trained on."""

from __future__ import annotations

from collections import Counter

from personagpt.importing.preview import preview
from personagpt.importing.steps import finish
from personagpt.importing.talks import ImportedTalk, ImportedTurn


def shown(*talks: ImportedTalk) -> list[str]:
    finished = [pair for talk in talks for pair in finish(talk, 1, Counter())]
    return preview([talk for talk, _ in finished], [dialogue for _, dialogue in finished]).split("\n")


def talk(count: int, **facts: list[str]) -> ImportedTalk:
    return ImportedTalk("line 1", [ImportedTurn("AB"[n % 2], f"text {n}") for n in range(count)], facts)


def test_the_side_with_a_persona_is_learned() -> None:
    assert shown(talk(6, B=["i sew .", "b", "c", "d"])) == [
        "the first 1 as they will be trained on (* is learned):",
        "  line 1",
        "      B's persona: i sew .",
        "      B's persona: b",
        "      B's persona: c",
        "      ... and 1 more",
        "      A: text 0",
        "    * B: text 1",
        "      A: text 2",
        "    * B: text 3",
        "      ... and 2 more",
    ]


def test_both_sides_are_learned_without_a_persona() -> None:
    assert [line[:6] for line in shown(talk(3))[2:]] == ["    * "] * 3


def test_three_talks_are_shown_and_long_lines_cut() -> None:
    lines = shown(*[ImportedTalk("p", [ImportedTurn("A", "x" * 200), ImportedTurn("B", "y")])] * 5)
    assert lines.count("  p") == 3
    assert max(map(len, lines)) == 100
