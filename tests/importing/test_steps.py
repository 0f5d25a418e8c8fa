"""The steps between a layout and a dialogue, one at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from personagpt.importing.steps import (
    count_turns,
    finish,
    is_paragraph,
    keep_speaker,
    mend,
    mend_talk,
    pauses,
    sentences,
    split_at_pauses,
    to_dialogue,
    usual_gap,
)
from personagpt.importing.talks import Encounter, ImportedTalk, ImportedTurn, RecordError


def talk(*said: str, **fields: object) -> ImportedTalk:
    """Return a talk of `NAME: text` turns; `NAME: text @ HOURS` says when."""
    turns = []
    for line in said:
        text, _, hours = line.partition(" @ ")
        name, text = text.split(": ", 1)
        turns.append(ImportedTurn(name, text, seconds=float(hours) * 3600 if hours else None))
    return ImportedTalk("record 1", turns, **fields)


def said(imported: ImportedTalk) -> list[str]:
    return [f"{turn.speaker}: {turn.text}" for turn in imported.turns]


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        (" a\tb ", "a b"), ("c\nd\r\ne\u2028f\x85g", "c d e f g"), ("\x1b[31mred\x1b[0m", "red"),
        ("a\u202eb\u2066c\x00\x1f", "abc"),
        ("\u200e\ufeffhi", "hi"), ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"), ("\x07", ""),
    ],
)  # fmt: skip
def test_text_is_on_one_line_and_controls_nothing(text: str, mended: str) -> None:
    assert mend(text, "a fact") == mended


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a\udce9", "byte 0xe9 in a fact is not UTF-8 text; save the file as UTF-8"),
        ("a\ud800", "half a character (\\ud800) in a fact is not UTF-8 text; save the file as UTF-8"),
        ("a" * 100_001, "a fact has 100,001 characters; at most 100,000 are read"),
    ],
)
def test_what_is_no_text(text: str, reason: str) -> None:
    with pytest.raises(RecordError) as caught:
        mend(text, "a fact")
    assert str(caught.value) == reason


def test_ids_are_one_line() -> None:
    left_out: Counter[str] = Counter()
    ids = Encounter("Bot\n6", " \t", None, None, {}, False)
    mended = mend_talk(replace(talk("A: a", "B: b"), encounter=ids), left_out).encounter
    assert (mended.model, mended.participant) == ("Bot 6", None)
    with pytest.raises(RecordError, match="half a character"):
        mend_talk(replace(talk("A: a", "B: b"), encounter=replace(ids, model="B\ud800")), left_out)


def test_empty_utterances() -> None:
    left_out: Counter[str] = Counter()
    with pytest.raises(RecordError, match="utterance 2 is empty"):
        mend_talk(talk("A: a", "B:  "), left_out)
    assert said(mend_talk(talk("A: a @ 0", "B:  @ 0", "B: b @ 0"), left_out)) == ["A: a", "B: b"]
    assert left_out == {"empty messages": 1}
    assert said(mend_talk(talk("A: __ SILENCE __", "B: b"), left_out)) == ["B: b"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("i bake. i have a goat! really?", ["i bake.", "i have a goat!", "really?"]),
        ("Mr. A. Smith sews, e.g. coats. He rows.", ["Mr. A. Smith sews, e.g. coats.", "He rows."]),
        ("\u6211\u517b\u732b\u3002\u6211\u6f02\u4eae\uff01", ["\u6211\u517b\u732b\u3002", "\u6211\u6f02\u4eae\uff01"]),
        ("i bake . i row .", ["i bake .", "i row ."]),
        ("no end", ["no end"]),
        ("wait ... what ? yes", ["wait ...", "what ?", "yes"]),
    ],
)
def test_sentences(text: str, parts: list[str]) -> None:
    assert sentences(text) == parts


def test_a_paragraph_is_one_long_text() -> None:
    assert is_paragraph(["i sew. i row. i bake."])
    assert is_paragraph(["i sew" * 50 + ". i row."])
    assert not is_paragraph(["i sew. i row."])
    assert not is_paragraph(["i sew. i row. i bake.", "i ski."])
    assert not is_paragraph([])


def test_a_speaker_among_many() -> None:
    script = talk("Ada: (waves) Hi. [Rain.]", "Pim: hi", "Vex: Out (now) .", "Ada: [She goes.]", facts={"Ada": ["x"]})
    kept = keep_speaker(script, "Vex", ["i build ."])
    assert said(kept) == ["partner: Hi.", "partner: hi", "Vex: Out ."]
    assert (kept.facts, kept.replier) == ({"Vex": ["i build ."]}, "Vex")
    assert keep_speaker(script, "Bob", []) is None
    assert keep_speaker(talk("Vex: a"), "Vex", []) is None
    # Chat messages have times and no stage directions.
    assert said(keep_speaker(talk("A: (a) @ 0", "B: b @ 0"), "B", [])) == ["partner: (a)", "B: b"]


def test_pauses_start_talks() -> None:
    chat = talk("A: a @ 0", "B: b @ 0.1", "A: c @ 9", "B: d @ 9.1")
    assert pauses([chat]) == pytest.approx([0.1, 8.9, 0.1])
    assert [said(piece) for piece in split_at_pauses(chat, 8)] == [["A: a", "B: b"], ["A: c", "B: d"]]
    assert len(split_at_pauses(chat, 9)) == 1
    assert len(split_at_pauses(talk("A: a", "B: b"), 0.1)) == 1


def test_the_usual_gap_lies_where_fewest_pauses_are() -> None:
    assert usual_gap([0.01] * 50 + [1, 1.2, 1.5] * 5 + [10, 11, 14] * 5) in (3, 4, 5)
    assert usual_gap([0.01] * 50 + [5, 6, 8, 10, 14, 16] * 5) in (1, 2)
    assert 1 <= usual_gap([]) <= 12


def test_finish_joins_and_ends_with_the_persona() -> None:
    ((ended, dialogue),) = finish(talk("A: a", "A: b", "B: c", "A: d", facts={"B": ["x"]}), 1, Counter())
    assert said(ended) == ["A: a b", "B: c"]
    assert (dialogue.personas, dialogue.utterances) == (([], ["x"]), ["a b", "c"])
    ((_, dialogue),) = finish(talk("A: a", "B: c", "A: d", replier="B"), 1, Counter())
    assert dialogue.utterances == ["a", "c"]


def test_pieces_without_a_reply_are_counted() -> None:
    left_out: Counter[str] = Counter()
    results = finish(talk("A: a @ 0", "A: b @ 5", "B: c @ 5", "A: your persona: x @ 9", "B: y @ 9"), 1, left_out)
    assert [dialogue.utterances for _, dialogue in results] == [["b", "c"]]
    assert left_out["pieces of talks without a reply"] == 1
    assert left_out.total() == 2


@pytest.mark.parametrize(
    ("imported", "reason"),
    [
        (talk("A: a", "B: b", "C: c"), r"3 speakers \('A, B, C'\); expected two"),
        (talk("A: a"), r"1 speaker \('A'\); expected two"),
        (talk(), "nobody says anything"),
        (talk("A: a", replier="B"), "B says nothing"),
        (talk("A: your persona: a", "B: b"), "cannot be written in the ConvAI2 format"),
    ],
)
def test_a_talk_that_is_no_dialogue(imported: ImportedTalk, reason: str) -> None:
    with pytest.raises(RecordError, match=reason):
        finish(imported, 1, Counter())


def test_a_reply_may_be_the_whole_talk() -> None:
    assert to_dialogue(talk("B: b", facts={"B": ["x"]})).personas == (["x"], [])
    assert len(finish(talk("B: b", replier="B"), 1, Counter())) == 1


def test_turns_are_counted_by_name() -> None:
    assert count_turns([talk("A: a", "B: b"), talk("A: c")]) == {"A": 2, "B": 1}
