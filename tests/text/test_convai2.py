"""The ConvAI2 text format, on cases small enough to read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from personagpt.text.convai2 import parse_corpus, read_corpus, write_corpus
from personagpt.text.dialogues import Corpus, Dialogue
from personagpt.text.lines import TextError

YOURS = ["your persona: i have two dogs.", "your persona: i am tall."]
PARTNERS = ["partner's persona: i am a wrestler."]
CANDIDATES = "\t\tno .|maybe .|"


def text(*dialogues: list[str]) -> bytes:
    """Each dialogue's lines, numbered from 1."""
    return "".join(f"{n} {line}\n" for lines in dialogues for n, line in enumerate(lines, start=1)).encode()


def utterance_lines(corpus: Corpus) -> list[list[int]]:
    """The line of each utterance of each dialogue."""
    return [[dialogue.line_of(i) for i in range(len(dialogue.utterances))] for dialogue in corpus.dialogues]


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
    assert utterance_lines(corpus) == [[len(facts) + 1, len(facts) + 2, len(facts) + 2]]


def test_silence_with_a_space_after_it() -> None:
    (dialogue,) = parse_corpus(text(["__SILENCE__ \tfirst", "second\tthird"]), "t.txt").dialogues
    assert dialogue.utterances == ["first", "second", "third"]


def mistakes(data: bytes) -> list[str]:
    with pytest.raises(TextError) as caught:
        parse_corpus(data, "t")
    return str(caught.value).split("\n")


@pytest.mark.parametrize(
    "lines",
    [["a\tb", "__SILENCE__\tc"], ["a\tb", "c\t__SILENCE__"], ["b\tc", "__SILENCE__ \td"], ["a\tb", "c\t __SILENCE__"]],
)
def test_silence_anywhere_but_first_is_a_mistake(lines) -> None:
    assert mistakes(text(lines)) == [
        "t:2: __SILENCE__ stands for the partner's first utterance; expected it nowhere else"
    ]
    assert mistakes(text(["__SILENCE__\t__SILENCE__"]))[0].startswith("t:1: __SILENCE__ stands for")


def test_the_first_ten_mistakes_at_once() -> None:
    # A mistake is told once: what follows from it is not. After the third line any number may come.
    data = b"1 a\tb\n2 c\nhello\n4 e\tf\n6 g\th\n7 i\tj\n1 your persona: x\n2 k\n1 your persona: y\n1 m\tn\n"
    assert [line.partition(";")[0] for line in mistakes(data)] == [
        "t:2: no tab",
        "t:3: no line number",
        "t:5: number 6 is out of order",
        "t:8: no tab",
        "t:9: this dialogue has no exchange",
    ]
    many = mistakes(text(["a\tb"], *[["no tab"]] * 12))
    assert [line.partition(": ")[0] for line in many[:-1]] == [f"t:{number}" for number in range(2, 12)]
    assert many[-1] == "these are its first 10 mistakes; there may be more"


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("hi<TAB>hello", "no tab, but the characters <TAB>; write the tab character itself between the two utterances"),
        ("hi <tab> hello", "no tab, but the characters <tab>; write the tab character itself"),
        (r"hi\thello", r"no tab, but the characters \t; write the tab character itself"),
        *(
            (line, "not a persona line; expected `your persona: FACT` or `partner's persona: FACT` (lower case, a str")
            for line in (
                "Your Persona: i ski.",
                "your persona i ski.",
                "your persona:i ski.",
                "YOUR PERSONA - i ski.",
                "partner\u2019s persona: i ski.",
                "partners persona: i ski.",
                "your partner's persona: i ski.",
            )
        ),
        ("your persona: i ski.\t", "a tab in a persona line; expected one fact a line, without tabs"),
        ("partner's persona: i\tski.", "a tab in a persona line; expected one fact a line, without tabs"),
    ],
)
def test_hints_for_what_people_write(line, hint) -> None:
    (mistake,) = mistakes(text([line, "a\tb"]))
    assert mistake.startswith("t:1: " + hint)


def test_blank_lines_between_dialogues() -> None:
    plain = text([*YOURS, "a\tb"], ["c\td"], ["__SILENCE__\te"])
    for gap in (b"\n", b"\n \r\n\t\n"):
        spread = plain.replace(b"\n1 ", b"\n" + gap + b"1 ")
        corpus, expected = parse_corpus(gap + spread + gap, "t"), parse_corpus(plain, "t")
        assert [(d.personas, d.utterances) for d in corpus.dialogues] == [
            (d.personas, d.utterances) for d in expected.dialogues
        ]
    assert utterance_lines(parse_corpus(b"1 a\tb\n\n1 c\td\n2 e\tf\n\n\n1 __SILENCE__\te\n", "t")) == [
        [1, 1],
        [3, 3, 4, 4],
        [7],
    ]


def test_a_blank_line_inside_a_dialogue_is_named_once() -> None:
    assert mistakes(b"1 a\tb\n\n \r\n2 c\td\n\n1 e\tf\n\n2 g\th\n\n") == [
        f"t:{line}: a blank line inside a dialogue; remove it" for line in (2, 7)
    ]


def test_carriage_returns() -> None:
    (dialogue,) = parse_corpus(b"1 a\tb\r\r\n2 c\td\r\r\n", "t").dialogues
    assert dialogue.utterances == ["a", "b", "c", "d"]
    expected = "t:1: a carriage return inside the line; save the file with \\n or \\r\\n at the end of each line"
    assert mistakes(b"1 a\tb\r2 c\td\r") == [expected]
    assert mistakes(b"1 a\tb\r" * 10**6) == [expected]


def test_a_line_without_end_is_refused_at_once() -> None:
    # Whoever reads the whole file never returns.
    with pytest.raises(TextError, match=r"^/dev/zero:1: a line of more than 1,000,000 bytes; is this the text file\?$"):
        read_corpus(Path("/dev/zero"))
    assert parse_corpus(b"1 a\t" + b"b" * 999_996, "t").dialogues  # the longest line


def test_the_true_candidate_is_the_last_one() -> None:
    (dialogue,) = parse_corpus(text(["a\tyes|no\t\tmaybe|yes|no", "c\td\t\t|x|d "]), "t").dialogues
    assert dialogue.candidates == {1: ["maybe", "yes|no"], 3: ["", "x", "d"]}
    for candidates in ("b|c", "c", "xb", "b|", "c|xb"):
        assert mistakes(text([f"a\tb\t\t{candidates}"])) == [
            "t:1: the last candidate is not the utterance; expected 'b', the true one, last"
        ]


def test_every_dialogue_of_a_file_with_its_lines() -> None:
    data = text([*YOURS, "a\tb"], ["c\td", "e\tf"], [*PARTNERS, "g\th"])
    corpus = parse_corpus(data, "t.txt")
    assert [dialogue.utterances for dialogue in corpus.dialogues] == [["a", "b"], ["c", "d", "e", "f"], ["g", "h"]]
    assert [dialogue.line for dialogue in corpus.dialogues] == [1, 4, 6]
    assert utterance_lines(corpus) == [[3, 3], [4, 4, 5, 5], [7, 7]]
    assert corpus.sha256 == hashlib.sha256(data).hexdigest()


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


@pytest.mark.parametrize("exchange", ["\tb", "a\t", "\t", " \tb", "a\t\u3000", "a\t\t\tx|y"])
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
        Dialogue((["a"], ["c"]), ["hi", "__SILENCE__ "]),
        Dialogue((["a"], ["c"]), ["your persona: x", "ho"]),
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
