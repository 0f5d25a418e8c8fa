"""A goals file and its mistakes, and which responses follow a goal: small cases by hand."""

from __future__ import annotations

import pytest

from personagpt.errors import UserError
from personagpt.sequences.goals import Goal, count_followed, followed_goals, read_goals
from personagpt.text.convai2 import parse_corpus

PETS = Goal("ask about pets.", True, frozenset({"pet", "pets", "dog"}))
WORK = Goal("talk about work.", False, frozenset({"work", "job"}))
FILE = "# goals\nask about pets.\task\tpet pets dog\n\n  # more\ntalk about work.\ttalk\tWORK  Job job\n"

PUBLISHED = """\
ask about kids. ask about pets. talk about work. ask about marital status. talk about travel. ask about age and gender.
ask about hobbies. ask about favorite food. talk about movies. talk about music. talk about politics."""


def written(tmp_path, data: str | bytes) -> str:
    path = tmp_path / "goals.tsv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return str(path)


def test_a_goals_file(tmp_path) -> None:
    assert read_goals(written(tmp_path, FILE)) == [PETS, WORK]
    # A byte-order mark, CRLF line ends, a missing last newline.
    data = b"\xef\xbb\xbf" + FILE.encode().replace(b"\n", b"\r\n").removesuffix(b"\r\n")
    assert read_goals(written(tmp_path, data)) == [PETS, WORK]
    assert read_goals("") == []


def test_the_published_goals(root) -> None:
    goals = read_goals(root / "data" / "goals.tsv")
    assert " ".join(goal.text for goal in goals) == PUBLISHED.replace("\n", " ")
    assert all(goal.is_question == goal.text.startswith("ask ") for goal in goals)


EXPECTED = "expected GOAL<TAB>ask or talk<TAB>words separated by spaces"


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", f": no goal in this file; {EXPECTED}"),
        (b"\xef\xbb\xbf# a\task\tb\n \n", f": no goal in this file; {EXPECTED}"),
        (b"a\task\tb\nx ask y\n", f":2: 1 column, not three; {EXPECTED}"),
        (b"a\task\n", f":1: 2 columns, not three; {EXPECTED}"),
        (b"a\task\tb\tc\n", f":1: 4 columns, not three; {EXPECTED}"),
        (b"\task\tb\n", f":1: no goal before the first tab; {EXPECTED}"),
        (b"# x\n\na\tAsk\tb\n", f":3: unknown kind 'Ask'; {EXPECTED}"),
        (b"a\t\tb\n", f":1: unknown kind ''; {EXPECTED}"),
        (b"a\ttalk\t \n", f":1: no words; {EXPECTED}"),
        (b"a\ttalk\tb, c\n", ":1: 'b,' is no word; expected letters and digits, a space between two words"),
        (b"a\ttalk\tco-worker\n", ":1: 'co-worker' is no word; expected letters and digits, a space between two words"),
        (b"a\task\tb\nc\task\td\n a \ttalk\td\n", ":3: the goal 'a' stands on line 1 already"),
        (b"a\task\tb\nc\task\t\xe9\n", ":2: byte 0xe9 is not UTF-8; save the file as UTF-8"),
        (b"\xff\xfea\0", ":1: byte 0xff is not UTF-8; save the file as UTF-8"),
    ],
)
def test_mistakes_in_a_goals_file(tmp_path, data, line) -> None:
    path = written(tmp_path, data)
    with pytest.raises(UserError) as caught:
        read_goals(path)
    assert str(caught.value) == path + line


def test_a_goals_file_that_is_a_folder(tmp_path) -> None:
    with pytest.raises(UserError, match=r"cannot read this goals file: Is a directory$"):
        read_goals(tmp_path)


@pytest.mark.parametrize(
    ("response", "goals"),
    [
        ("do you have pets ?", [PETS]),
        ("i have pets . do you ?", []),
        ("do you have pets ? i have .", [PETS]),
        ("Do you have a DOG? I do.", [PETS]),
        ("I have a dog. And you?", []),
        ("how are you ? my dog is fine", []),
        ("how are you?my dog is fine", []),
        ("pets?i have none", [PETS]),
        ("you have a dog ?!", [PETS]),
        ("you have a dog !? i work", [PETS, WORK]),
        ("my dog ! and you ?", []),
        ("is it a hotdog ?", []),
        ("what is your dog's name ?", [PETS]),
        ("a dog 3.5 years old ?", [PETS]),
        ("i work .", [WORK]),
        ("nice job", [WORK]),
        ("do you work ?", [WORK]),
        ("my workout", []),
        ("", []),
    ],
)
def test_which_responses_follow_a_goal(response, goals) -> None:
    assert followed_goals([PETS, WORK], response) == goals


def test_how_many_responses_follow_a_goal() -> None:
    talk = b"1 your persona: a\n2 partner's persona: b\n3 any pets ?\ti work .\n4 a dog , you ?\tmy job . any pets ?\n"
    assert count_followed([PETS, WORK], parse_corpus(talk, "t"), 20) == {"ask about pets.": 3, "talk about work.": 2}
    # Only what is used of a dialogue, and only the sides that are made.
    assert count_followed([PETS, WORK], parse_corpus(talk, "t"), 3) == {"ask about pets.": 2, "talk about work.": 1}
    one_side = talk.replace(b"2 partner's persona: b\n3", b"2").replace(b"\n4", b"\n3")
    assert count_followed([PETS], parse_corpus(one_side, "t"), 20) == {"ask about pets.": 1}
