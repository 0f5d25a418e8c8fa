"""Records of the five formats, right and wrong, each a few lines written by hand."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

import pytest

from personagpt.errors import UserError
from personagpt.importing.layouts import RecordError, read_records, to_dialogue
from personagpt.text.convai2 import Dialogue

HUNTER = ["i like to go hunting .", "i like to remodel homes ."]
TALK = ["hi , how are you ?", "you must be very fast .", "i am ! i can , too .", "i remodel homes ."]


def history(said: list[str], persona: list[str] = HUNTER) -> dict:
    """What TransferTransfo makes of a talk whose every second utterance is the persona's speaker's."""
    records = [
        {"history": said[:number], "candidates": ["i sing .", said[number]]} for number in range(1, len(said), 2)
    ]
    return {"personality": persona, "utterances": records}


def truecased(said: list[str], conversation: int = 0) -> list[dict]:
    record = history(said)
    return [
        {"conv_id": conversation, "utterance_idx": number, "personality": HUNTER, **part}
        for number, part in enumerate(record["utterances"])
    ]


def messages(*pairs: tuple[str, str]) -> dict:
    return {"messages": [{"role": role, "content": content} for role, content in pairs]}


CSV = """\
user 1 personas,user 2 personas,Best Generated Conversation
"I bake.
I have a dog.","I ski.","User 1: Hi!
User 2: Hello, ""friend"".
[The next day]

User 1: Bye.
User 1: See you."
"""
PLAIN = """\
Anna's persona: i bake .
anna: hi : how are you ?
Bob: fine .

Bob\u2019s persona: i ski .

Bob: hello ?
A b: who is it ?
Bob: me .
"""
SYSTEM = messages(
    ("system", "i bake .\ni have a dog ."), ("user", "hi"), ("assistant", "hello\nthere"), ("user", "bye")
)


def read(tmp_path: Path, content: object, wanted: str | None = None) -> tuple[str, list[object]]:
    """The format's name, and each record's dialogue or the reason why it is none."""
    path = tmp_path / "talks"
    data = content if isinstance(content, (bytes, str)) else json.dumps(content)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    name, records = read_records(path, wanted)
    found = []
    for record in records:
        try:
            found.append(to_dialogue(record.content, name))
        except RecordError as error:
            found.append(f"{record.place}: {error}")
    return name, found


def same(dialogue: object, facts: tuple[list[str], list[str]], said: list[str]) -> bool:
    return isinstance(dialogue, Dialogue) and (dialogue.personas, dialogue.utterances) == (facts, said)


def test_transfertransfo(tmp_path) -> None:
    silent = history(["__ SILENCE __", *TALK[:3]])
    name, found = read(tmp_path, {"train": [history(TALK), silent], "valid": [history(TALK[:2])]})
    assert name == "transfertransfo"
    assert same(found[0], ([], HUNTER), TALK)
    # The persona's speaker began.
    assert same(found[1], (HUNTER, []), TALK[:3])
    assert same(found[2], ([], HUNTER), TALK[:2])
    _, records = read_records(tmp_path / "talks")
    assert [(record.place, record.split) for record in records] == [
        ("train record 1", "train"), ("train record 2", "train"), ("valid record 1", "valid"),
    ]  # fmt: skip
    # A list, or a record a line, is as good.
    for text in (json.dumps([history(TALK)]), json.dumps(history(TALK)), f"{json.dumps(history(TALK))}\n" * 2):
        name, found = read(tmp_path, text)
        assert name == "transfertransfo"
        assert all(same(dialogue, ([], HUNTER), TALK) for dialogue in found)


def test_truecased(tmp_path) -> None:
    rows = [*truecased(TALK), *truecased(["__ SILENCE __", "Hi."], 7)]
    name, found = read(tmp_path, rows[::-1])  # the order of the rows does not matter
    assert name == "truecased"
    assert len(found) == 2
    assert same(found[0], (HUNTER, []), ["Hi."])
    assert same(found[1], ([], HUNTER), TALK)


def test_synthetic_persona_chat(tmp_path) -> None:
    for text in (CSV, "\ufeff" + CSV.replace("\n", "\r\n")):
        name, found = read(tmp_path, text)
        assert name == "synthetic-persona-chat"
        (dialogue,) = found
        # What one says in a row is one utterance; a stage direction is none.
        said = ["Hi!", 'Hello, "friend".', "Bye. See you."]
        assert same(dialogue, (["I bake.", "I have a dog."], ["I ski."]), said)


def test_messages(tmp_path) -> None:
    begins = messages(("assistant", "hi"), ("user", "hi"), ("user", "who are you ?"), ("assistant", "me\tand you"))
    name, found = read(tmp_path, f"{json.dumps(SYSTEM)}\n\n{json.dumps(begins)}\n")
    assert name == "messages"
    # The last words got no answer: there is nothing to learn from them.
    assert same(found[0], ([], ["i bake .", "i have a dog ."]), ["hi", "hello there"])
    assert same(found[1], ([], []), ["hi", "hi who are you ?", "me and you"])


@pytest.mark.parametrize("page", ["data/README.md", "docs/settings.md"])
def test_the_example_of_the_docs_is_right(root, tmp_path, page) -> None:
    blocks = re.findall(r"(?:^    (?:Anna|Ben).*\n|^\n(?=    Ben))+", (root / page).read_text("utf-8"), re.MULTILINE)
    assert len(blocks) == 1
    _, found = read(tmp_path, textwrap.dedent(blocks[0]))
    assert found[0].personas == (["i have two dogs ."], [])
    assert found[0].utterances[-1] == "tired . i just walked my dogs ."
    assert all(isinstance(dialogue, Dialogue) for dialogue in found)


def test_plain_talks(tmp_path) -> None:
    name, found = read(tmp_path, PLAIN.replace("Anna's", "anna's"))
    assert name == "plain"
    # Only anna's persona is given, so the talk ends with her last word.
    assert same(found[0], (["i bake ."], []), ["hi : how are you ?"])
    assert same(found[1], (["i ski ."], []), ["hello ?", "who is it ?", "me ."])
    _, found = read(tmp_path, "\n\nA: a\nA: b\nB: c\r\nA: d\n\n\n\nB: e\nA: f")
    assert same(found[0], ([], []), ["a b", "c", "d"])
    assert same(found[1], ([], []), ["e", "f"])


UTTERANCE = history(TALK)["utterances"][-1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"utterances": []}, "no 'personality'"),
        ({"personality": HUNTER, "utterances": []}, "no utterances"),
        ({"personality": "i sing", "utterances": [UTTERANCE]}, "'personality' is 'i sing'; expected a list"),
        ({"personality": [7], "utterances": [UTTERANCE]}, "'personality' has 7 in it; expected text"),
        ({"personality": [], "utterances": {}}, "'utterances' is {}; expected a list"),
        ({"personality": [], "utterances": [1]}, "expected an object with 'history', got 1"),
        ({"personality": [], "utterances": [{"history": ["a"]}]}, "no 'candidates'"),
        ({"personality": [], "utterances": [{"history": ["a"], "candidates": []}]}, "no candidates; expected the "),
        ({"personality": [], "utterances": [{"history": ["a"], "candidates": [None]}]}, "'candidates' has None in it"),
        ({"personality": [], "utterances": [{"history": ["a"], "candidates": [" "]}]}, "utterance 2 is empty"),
        ({"personality": [], "utterances": [UTTERANCE] * 3}, "3 responses, but a history of 3 utterances: it was cut"),
        (history(["a", "__SILENCE__"]), "utterance 2 is __SILENCE__"),
        (history(["a", "\ud800"]), "not UTF-8 text"),
        (history(["a", "b" * 100_001]), "utterance 2 has 100,001 characters; at most 100,000 are read"),
        (history(["a", "b"], ["c" * 200_000]), "a fact has 200,000 characters"),
        (truecased(TALK)[0] | {"utterance_idx": "1"}, "'utterance_idx' is '1'; expected a whole number"),
        (truecased(TALK)[0] | {"utterance_idx": True}, "'utterance_idx' is True; expected a whole number"),
        ({"conv_id": 3}, "no 'utterance_idx'"),
        ({"messages": []}, "nobody says anything"),
        ({"messages": "hi"}, "'messages' is 'hi'; expected a list"),
        ({"messages": [3]}, "expected an object with 'role', got 3"),
        (messages(("user", None)), "'content' is None; expected text"),
        (messages(("user", [{"type": "text", "text": "hi"}])), "'content' is [{'type': 'text'"),
        (messages(("user", "hi")), "nobody says anything"),
        (messages(("system", "i bake ."), ("user", "hi")), "assistant, whose persona it is, is silent"),
        (messages(("user", "hi"), ("system", "i bake .")), "message 2 has the role 'system'; expected system first"),
        (messages(("user", "hi"), ("tool", "\x1b[31m")), "message 2 has the role 'tool'; expected system first"),
        (messages(("user", "hi"), ("assistant", " \n ")), "utterance 2 is empty"),
    ],
)  # fmt: skip
def test_a_json_record_that_is_no_dialogue(tmp_path, content, reason) -> None:
    _, found = read(tmp_path, [content])
    assert len(found) == 1
    assert found[0].startswith(f"record 1: {reason}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("A: a\nB: b\nC: c", "line 1: 3 speakers ('A, B, C'); expected two"),
        ("A: a\nA: b", "line 1: 1 speakers ('A'); expected two"),
        ("A's persona: i sing .", "line 1: 0 speakers (''); expected two"),
        ("A: a\nB: b\nand more", "line 1: expected `NAME: what they say`, got 'and more'"),
        ("\nA: a\nB:", "line 2: utterance 2 is empty"),
        ("A: a\nB: b\nA's persona: i sing .", 'line 1: "A\'s persona: i sing ." stands in the talk; expected all '),
        ("C's persona: i sing .\nA: a\nB: b", "line 1: a persona of 'C', who says nothing"),
        (b"A: a\nB: caf\xe9", "line 1: not UTF-8 text"),
        ("A: a\nB: __SILENCE__", "line 1: utterance 2 is __SILENCE__"),
        ("A: a\n" + "B: " + "b" * 2_000_000, "line 1: utterance 2 has 2,000,000 characters"),
    ],
)
def test_a_plain_talk_that_is_no_dialogue(tmp_path, text, reason) -> None:
    _, found = read(tmp_path, text)
    assert len(found) == 1
    assert found[0].startswith(reason)


def test_a_csv_row_that_is_no_dialogue(tmp_path) -> None:
    rows = ['"I bake.","I ski.","Hi!"', '"I bake."', '"I bake.","I ski.",""', '"I bake.","I ski.","User 1: "']
    _, found = read(tmp_path, CSV + "\n".join(rows))
    assert found[1:] == [
        "record 2: expected `User 1: ...` or `User 2: ...`, got 'Hi!'",
        "record 3: no 'best generated conversation'",
        "record 4: nobody says anything",
        "record 5: utterance 1 is empty",
    ]


def test_a_damaged_line_leaves_the_others(tmp_path) -> None:
    good = json.dumps(SYSTEM).encode()
    deep = b"[" * 100_000
    _, found = read(tmp_path, b"\n".join([b'{"messages": [', good, b"\xff", deep, b"7", good]))
    assert found[0] == "line 1: expected an object with 'messages', got None"
    assert [isinstance(dialogue, Dialogue) for dialogue in found] == [False, True, False, False, False, True]


def test_tabs_and_line_ends_within_text(tmp_path) -> None:
    said = ["a\tb", "c\nd\r\ne\u2028f\x85g"]
    _, found = read(tmp_path, [history(said, ["h\ti"])])
    assert same(found[0], ([], ["h i"]), ["a b", "c d e f g"])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "the file is empty"),
        ("\ufeff \n", "the file is empty"),
        ("PK\x03\x04\0\0", "not UTF-8 text; unpack it, or save it as UTF-8"),
        ("A: hi".encode("utf-16"), "not UTF-8 text; unpack it, or save it as UTF-8"),
        ("nothing of the kind", "of no format that is known ('nothing of the kind'); --format names one of "),
        ("1 your persona: i sing.\n2 a\tb\n", "it is in the ConvAI2 format already; name its folder in data_path"),
        ('{"a": 1}', "JSON of no format that is known; name one of transfertransfo, "),
        ("[]", "JSON of no format that is known"),
        ('{"messages": [}', "not JSON: "),
        ('{"train": [], "rest": []}', "its part 'rest' is none of train, valid, validation, dev"),
        ("text,User 1 personas\na,b\n", "a CSV without the column 'best generated conversation'"),
        (CSV + '"open', "line 9: not CSV from there on: unexpected end of data"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path, text, line) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'talks'}: {line}")
    assert "\n" not in str(caught.value)


def test_the_format_can_be_named(tmp_path) -> None:
    _, found = read(tmp_path, '["A: hi\nB: ho', "plain")
    assert same(found[0], ([], []), ["hi", "ho"])
    _, found = read(tmp_path, [history(TALK)], "messages")
    assert found == ["record 1: no 'messages'"]
