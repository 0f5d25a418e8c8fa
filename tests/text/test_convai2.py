"""The ConvAI2 text format, on cases small enough to read."""

from __future__ import annotations

import pytest

from personagpt.text.convai2 import Dialogue, TextError, parse_corpus, read_corpus, write_corpus

YOURS = ["your persona: i have two dogs.", "your persona: i am tall."]
PARTNERS = ["partner's persona: i am a wrestler."]
CANDIDATES = "\t\tno .|maybe .|"


def text(*dialogues: list[str]) -> bytes:
    """Each dialogue's lines, numbered from 1."""
    return "".join(f"{n} {line}\n" for lines in dialogues for n, line in enumerate(lines, start=1)).encode()


def talk(candidates: str = "") -> list[str]:
    lines = ["hi !\thello .", "how are you ?\tfine ."]
    return [f"{line}{candidates}{line.split(chr(9))[1]}" if candidates else line for line in lines]


@pytest.mark.parametrize("candidates", ["", CANDIDATES])
@pytest.mark.parametrize(
    ("facts", "personas", "sides"),
    [
        (YOURS + PARTNERS, (["i am a wrestler."], ["i have two dogs.", "i am tall."]), (0, 1)),
        (YOURS, ([], ["i have two dogs.", "i am tall."]), (1,)),
        (PARTNERS, (["i am a wrestler."], []), (0,)),
        ([], ([], []), (0, 1)),
    ],
    ids=["both", "self", "other", "none"],
)
def test_published_variants(facts, personas, sides, candidates) -> None:
    corpus = parse_corpus(text(facts + talk(candidates)), "t.txt")
    (dialogue,) = corpus.dialogues
    assert dialogue.personas == personas
    assert dialogue.utterances == ["hi !", "hello .", "how are you ?", "fine ."]
    assert corpus.sides == [sides]
    expected = {1: ["no .", "maybe .", "hello ."], 3: ["no .", "maybe .", "fine ."]} if candidates else {}
    assert dialogue.candidates == expected


@pytest.mark.parametrize(
    ("facts", "personas", "sides"),
    [
        (YOURS + PARTNERS, (["i have two dogs.", "i am tall."], ["i am a wrestler."]), (0, 1)),
        (YOURS, (["i have two dogs.", "i am tall."], []), (0,)),
        (PARTNERS, ([], ["i am a wrestler."]), (1,)),
        ([], ([], []), (0, 1)),
    ],
    ids=["both", "self", "other", "none"],
)
def test_after_silence_you_talk_first(facts, personas, sides) -> None:
    lines = [*facts, "__SILENCE__\tfirst\t\ta|first", "second\tthird\t\tb|third"]
    corpus = parse_corpus(text(lines), "t.txt")
    (dialogue,) = corpus.dialogues
    assert dialogue.utterances == ["first", "second", "third"]
    assert dialogue.personas == personas
    assert corpus.sides == [sides]
    assert dialogue.candidates == {0: ["a", "first"], 2: ["b", "third"]}
    assert dialogue.utterance_lines == [len(facts) + 1, len(facts) + 2, len(facts) + 2]


def test_silence_later_in_a_dialogue_is_text() -> None:
    (dialogue,) = parse_corpus(text(["hi\t__SILENCE__", "__SILENCE__\tbye"]), "t.txt").dialogues
    assert dialogue.utterances == ["hi", "__SILENCE__", "__SILENCE__", "bye"]


def test_every_dialogue_of_a_file_with_its_lines() -> None:
    corpus = parse_corpus(text([*YOURS, "a\tb"], ["c\td", "e\tf"], [*PARTNERS, "g\th"]), "t.txt")
    assert [dialogue.utterances for dialogue in corpus.dialogues] == [["a", "b"], ["c", "d", "e", "f"], ["g", "h"]]
    assert [dialogue.line for dialogue in corpus.dialogues] == [1, 4, 6]
    assert [dialogue.utterance_lines for dialogue in corpus.dialogues] == [[3, 3], [4, 4, 5, 5], [7, 7]]


def test_sides_follow_the_whole_file_not_one_dialogue() -> None:
    corpus = parse_corpus(text([*YOURS, "a\tb"], [*PARTNERS, "__SILENCE__\tc"], ["d\te"]), "t.txt")
    assert corpus.sides == [(0, 1)] * 3
    corpus = parse_corpus(text([*YOURS, "a\tb"], ["__SILENCE__\tc"]), "t.txt")
    assert corpus.sides == [(1,), (0,)]


WHOLE = text([*YOURS, *PARTNERS, "hi !\thello .", "naïve ?\t…"], ["a\tb"])


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + WHOLE,
        WHOLE.replace(b"\n", b"\r\n"),
        WHOLE.removesuffix(b"\n"),
        b"\xef\xbb\xbf" + WHOLE.replace(b"\n", b"\r\n").removesuffix(b"\r\n"),
        WHOLE + b"\n\n  \r\n",
    ],
    ids=["BOM", "CRLF", "no last newline", "all three", "blank lines at the end"],
)
def test_ways_to_save_the_same_text(data) -> None:
    assert parse_corpus(data, "t.txt") == parse_corpus(WHOLE, "t.txt")


def test_text_is_kept_exactly() -> None:
    lines = ["your persona:  two  spaces ", " leading\ttrailing ", "u\u2028v\x0b\x1c\u00a0w\tthe your persona: of it"]
    (dialogue,) = parse_corpus(text(lines), "t.txt").dialogues
    assert dialogue.personas[1] == [" two  spaces "]
    assert dialogue.utterances == [" leading", "trailing ", "u\u2028v\x0b\x1c\u00a0w", "the your persona: of it"]


def test_an_utterance_may_look_like_a_persona_line() -> None:
    (dialogue,) = parse_corpus(text(["hi\thello", "your persona: who ?\tme"]), "t.txt").dialogues
    assert dialogue.utterances == ["hi", "hello", "your persona: who ?", "me"]


def test_an_empty_third_field_is_no_mistake() -> None:
    (dialogue,) = parse_corpus(text(["a\tb\t", "c\td\t\t", "e\tf\t \tg|f"]), "t.txt").dialogues
    assert dialogue.utterances == ["a", "b", "c", "d", "e", "f"]
    assert dialogue.candidates == {5: ["g", "f"]}


@pytest.mark.parametrize("exchange", ["\tb", "a\t", "\t", " \tb", "a\t\u3000", "__SILENCE__\t", "a\t\t\tx|y"])
def test_an_empty_utterance_leaves_its_dialogue_out(exchange) -> None:
    corpus = parse_corpus(text(["a\tb"], [*YOURS, "c\td", exchange], ["e\tf"]), "t.txt")
    assert [dialogue.utterances for dialogue in corpus.dialogues] == [["a", "b"], ["e", "f"]]
    assert corpus.left_out == [2]
    # The left-out dialogue still says what the file gives: your persona.
    assert corpus.sides == [(1,), (1,)]


def test_a_file_left_without_a_dialogue() -> None:
    with pytest.raises(TextError, match=r"^t\.txt: no dialogue is left: each of the 2 has an empty utterance$"):
        parse_corpus(text(["a\t"], ["\tb"]), "t.txt")


def test_read_corpus_names_the_file(tmp_path) -> None:
    path = tmp_path / "train.txt"
    path.write_bytes(b"1 hello\n")
    with pytest.raises(TextError) as caught:
        read_corpus(path)
    assert str(caught.value).startswith(f"{path}:1: no tab; expected ")
    with pytest.raises(TextError, match="cannot read this file: Is a directory"):
        read_corpus(tmp_path)


ROUND_TRIP = [
    Dialogue((["i ski.", "i swim."], ["i sing."]), ["hi", "hello", "bye", "bye ."]),
    Dialogue((["i ski."], ["i sing."]), ["only one"]),
    Dialogue((["your persona: i act."], ["partner's persona: me too."]), ["a", "b", "your persona: c"]),
    Dialogue(([" x "], ["\u2028|"]), ["1 2 3", "|", "\x0b y"]),
]


def test_write_corpus_round_trip() -> None:
    corpus = parse_corpus(write_corpus(ROUND_TRIP).encode(), "t.txt")
    assert [(d.personas, d.utterances) for d in corpus.dialogues] == [(d.personas, d.utterances) for d in ROUND_TRIP]
    assert corpus.sides == [(0, 1)] * len(ROUND_TRIP)
    assert corpus.left_out == []


def test_write_corpus_by_hand() -> None:
    dialogues = [Dialogue((["a."], ["b."]), ["hi", "hello"]), Dialogue((["c."], ["d."]), ["hey"])]
    assert write_corpus(dialogues) == (
        "1 your persona: b.\n2 partner's persona: a.\n3 hi\thello\n"
        "1 your persona: c.\n2 partner's persona: d.\n3 __SILENCE__\they\n"
    )


@pytest.mark.parametrize(
    "dialogue",
    [
        Dialogue((["a\tb"], ["c"]), ["hi"]),
        Dialogue((["a"], ["c\nd"]), ["hi"]),
        Dialogue(([" "], ["c"]), ["hi"]),
        Dialogue((["a"], ["c"]), ["hi", ""]),
        Dialogue((["a"], ["c"]), ["hi\r", "ho"]),
        Dialogue((["a"], ["c"]), ["__SILENCE__", "ho"]),
        Dialogue((["a"], ["c"]), []),
        Dialogue(([], []), []),
    ],
)
def test_write_corpus_refuses_what_the_format_cannot_carry(dialogue) -> None:
    with pytest.raises(ValueError, match="cannot be written in the ConvAI2 format"):
        write_corpus([dialogue])


def test_the_shared_text_is_read_whole(shared) -> None:
    for split, count in (("train", 400), ("valid", 100)):
        path = shared / "convai2" / f"{split}_both_original_no_cands.txt"
        corpus = read_corpus(path)
        assert len(corpus.dialogues) == count
        assert corpus.left_out == []
        assert corpus.sides == [(0, 1)] * count
        # Written once more, it is the same talk.
        again = parse_corpus(write_corpus(corpus.dialogues).encode(), "again")
        assert [(d.personas, d.utterances) for d in again.dialogues] == [
            (d.personas, d.utterances) for d in corpus.dialogues
        ]
        exchanges = sum(b"\t" in line for line in path.read_bytes().split(b"\n"))
        assert sum(len(d.utterances) for d in corpus.dialogues) == 2 * exchanges
