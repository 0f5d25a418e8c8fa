"""A goals file and its mistakes, and which responses follow a goal: small cases by hand."""

from __future__ import annotations

import pytest

from personagpt.errors import UserError
from personagpt.sequences.dataset import PersonaChatDataset, encode_corpus
from personagpt.sequences.format import Encoder, goal_sequence
from personagpt.sequences.goals import (
    Goal,
    GoalDraw,
    count_followed,
    followed_goals,
    goals_checksum,
    read_goals,
)
from personagpt.text.convai2 import parse_corpus
from personagpt.text.lines import TextError

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
    # Only white space goes from a line's ends, and the mark only from the file's.
    odd = read_goals(written(tmp_path, "X-rays.\ttalk\tray XX\n\ufeffx\task\ty\n"))
    assert odd == [Goal("X-rays.", False, frozenset({"ray", "xx"})), Goal("\ufeffx", True, frozenset({"y"}))]


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
        (b"\xef\xbb\xbf\xe9\task\ta\n", ":1: byte 0xe9 is not UTF-8; save the file as UTF-8"),
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
        ("and you ?pets ?", [PETS]),
        ("i work .", [WORK]),
        ("nice job", [WORK]),
        ("do you work ?", [WORK]),
        ("my workout", []),
        ("", []),
    ],
)
def test_which_responses_follow_a_goal(response, goals) -> None:
    assert followed_goals([PETS, WORK], response) == goals


CAT = Goal("询问宠物。", True, frozenset({"猫", "宠物", "ペット", "แมว", "قطة", "बिल्ली"}))


@pytest.mark.parametrize(
    ("response", "follows"),
    [
        ("你养猫吗？", True),
        ("我养猫。你呢？", False),
        ("你有宠物吗?我没有", True),
        ("你喜欢动物吗？", False),
        ("宠?物？", False),  # no word runs from one sentence into the next
        ("ペットはいますか？", True),
        ("คุณมีแมวไหม?", True),
        ("هل لديك قطة؟", True),
        ("क्या आपके पास बिल्ली है?", True),
    ],
)
def test_responses_in_other_scripts(tmp_path, response, follows) -> None:
    assert read_goals(written(tmp_path, f"{CAT.text}\task\t{' '.join(CAT.words)}\n")) == [CAT]
    assert followed_goals([CAT], response) == [CAT] * follows


def test_how_many_responses_follow_a_goal() -> None:
    talk = b"1 your persona: a\n2 partner's persona: b\n3 any pets ?\ti work .\n4 a dog , you ?\tmy job . any pets ?\n"
    assert count_followed([PETS, WORK], parse_corpus(talk, "t"), 20) == {"ask about pets.": 3, "talk about work.": 2}
    unfollowed = count_followed([WORK], parse_corpus(b"1 your persona: a\n2 b\tc\n", "t"), 20)
    assert dict(unfollowed) == {"talk about work.": 0}
    # Only what is used of a dialogue, and only the sides that are made.
    assert count_followed([PETS, WORK], parse_corpus(talk, "t"), 3) == {"ask about pets.": 2, "talk about work.": 1}
    one_side = talk.replace(b"2 partner's persona: b\n3", b"2").replace(b"\n4", b"\n3")
    assert count_followed([PETS], parse_corpus(one_side, "t"), 20) == {"ask about pets.": 1}


# The sequences


PREFIX = [6, 7, 8, 9]
UTTERANCES = [[10], [11, 11], [12], [13, 13, 13]]  # with <eos> (0): 2, 3, 2, 4 tokens


def test_a_goal_sequence_has_one_label_and_what_fits_before_it() -> None:
    talk = [10, 0, 11, 11, 0, 12, 0]
    # 4 + 2 + 3 + 2 + 4 = 15: nothing after the response; one token less: utterance 0 goes, as a whole.
    assert goal_sequence(PREFIX, UTTERANCES, 3, 0, 15) == (PREFIX + talk + [13, 13, 13, 0], [(11, 15)])
    assert goal_sequence(PREFIX, UTTERANCES, 3, 0, 14) == (PREFIX + talk[2:] + [13, 13, 13, 0], [(9, 13)])
    assert goal_sequence(PREFIX, UTTERANCES, 2, 0, 100) == (PREFIX + talk, [(9, 11)])
    assert goal_sequence(PREFIX, UTTERANCES, 0, 0, 6) == ([*PREFIX, 10, 0], [(4, 6)])
    with pytest.raises(OverflowError) as caught:
        goal_sequence(PREFIX, UTTERANCES, 3, 0, 7)
    assert caught.value.args == (3,)


def test_rarer_goals_come_first_and_a_response_is_drawn() -> None:
    counts = {PETS.text: 3, WORK.text: 2}
    said = ["any pets ?", "i work .", "a dog ?", "my job . your pet ?", "a dog ?"]
    draws = [GoalDraw([PETS, WORK], counts, seed) for seed in range(20)]
    # The first speaker follows one goal, in any of three responses; the other the rarer one of two, in either.
    assert {draw.draw(said, 0) for draw in draws} == {(PETS.text, 0), (PETS.text, 2), (PETS.text, 4)}
    assert {draw.draw(said, 1) for draw in draws} == {(WORK.text, 1), (WORK.text, 3)}
    assert [draw.draw(["hi"], 0) for draw in draws] == [None] * 20
    assert draws[0].drawn == {PETS.text: 1, WORK.text: 1}

    def drawn(seed: int) -> list[tuple[str, int] | None]:
        draw = GoalDraw([PETS, WORK], counts, seed)
        return [draw.draw(said, 0) for _ in range(40)]

    assert drawn(3) == drawn(3) != drawn(4)
    thrice = GoalDraw([PETS, WORK], counts, 3)
    assert thrice.counts == counts
    assert [thrice.draw(said, 0) for _ in range(3)] == drawn(3)[:3]
    assert dict(thrice.drawn) == {PETS.text: 3, WORK.text: 0}
    # Equally rare ones: in the order of the file.
    assert GoalDraw([WORK, PETS], {PETS.text: 1, WORK.text: 1}, 0).draw(said[3:], 0) == (WORK.text, 0)


TALK = b"1 your persona: a\n2 partner's persona: b\n3 any pets ?\ti work .\n4 fine .\tmy job . you ?\n"


def test_a_side_s_goal_comes_after_its_sequences(tokenizer) -> None:
    encoder, corpus = Encoder(tokenizer), parse_corpus(TALK * 2, "t")
    draw = GoalDraw([PETS, WORK], count_followed([PETS, WORK], corpus, 20), 0)
    made = encode_corpus(corpus, encoder, 20, 320, "t", draw)
    data = PersonaChatDataset.from_tensors(made, 320, "x")
    assert made.dialogues.tolist() == [0] * 4 + [1] * 4
    with_goals = []
    for index in range(4):
        tokens, spans = data.sequence(index)
        first = int(tokens.tolist().index(encoder.speakers[index // 2]))
        with_goals.append(
            (
                encoder.tokenizer.decode(tokens[:first]),
                *encoder.decode(tokens.tolist()),
                [encoder.decode_reply(tokens[start:end].tolist()) for start, end in spans],
            )
        )
    own = ["i work .", "my job . you ?"]
    said = ["any pets ?", own[0], "fine .", own[1]]
    (drawn,) = with_goals[3][4]
    assert drawn in own
    assert with_goals == [
        ("", 0, ["b"], ["any pets ?", "i work .", "fine ."], ["any pets ?", "fine ."]),
        ("<|act|>ask about pets.", 0, ["b"], ["any pets ?"], ["any pets ?"]),
        ("", 1, ["a"], said, own),
        ("<|act|>talk about work.", 1, ["a"], said[: said.index(drawn) + 1], [drawn]),
    ]
    # Scoring leaves them out, and has what there is without goals.
    plain, scored = encode_corpus(corpus, encoder, 20, 320, "t"), data.without_goals(encoder.act)
    for name, array in vars(plain).items():
        assert getattr(scored.tensors, name).tolist() == array.tolist()
    assert scored.metadata == data.metadata
    assert scored.without_goals(encoder.act) is scored


def test_a_goal_that_leaves_no_room_for_its_response_is_an_error_of_its_line(tokenizer) -> None:
    encoder, corpus = Encoder(tokenizer), parse_corpus(TALK, "t")
    draw = GoalDraw([PETS], count_followed([PETS], corpus, 20), 0)
    room = len(encoder.prefix(0, encoder.texts(["b"]))) + len(encoder.texts(["any pets ?"])[0]) + 1
    with pytest.raises(
        TextError, match=f"^t:3: the speaker's persona, a goal and this utterance alone .* {room} tokens"
    ):
        encode_corpus(corpus, encoder, 1, room, "t", draw)
    assert len(encode_corpus(corpus, encoder, 1, room, "t").dialogues) == 1


def test_what_changes_the_checksum() -> None:
    assert goals_checksum([PETS, WORK]) == goals_checksum([PETS, WORK])
    for other in ([WORK, PETS], [PETS], [PETS, Goal(WORK.text, True, WORK.words)], [PETS, Goal("", False, WORK.words)]):
        assert goals_checksum(other) != goals_checksum([PETS, WORK])
