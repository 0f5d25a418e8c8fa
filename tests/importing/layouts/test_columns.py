"""Tables and JSON records by a mapping."""

from __future__ import annotations

from collections import Counter

import pytest

from personagpt.errors import UserError
from personagpt.importing.layouts.columns import nearest_mapping, parse_mapping, written
from tests.importing.helpers import json_lines, layout, read, same, source

SCRIPT = 'scene,name,line\n1,Vex,"Get up, kid."\n1,Pim,What?\n1,Pim,Now?\n2,Pim,"It is ""empty""."\n2,Vex,Out.\n'


def test_a_script_is_read_as_it_is() -> None:
    assert layout(SCRIPT) == "columns"
    first, second = read(SCRIPT)
    assert same(first, ([], []), ["Get up, kid.", "What? Now?"])
    assert same(second, ([], []), ['It is "empty".', "Out."])
    tabs = SCRIPT.replace('"Get up, kid."', "Get up, kid.").replace('"It is ""empty""."', 'It is "empty".')
    assert read("\n".join(line.replace(",", "\t", 2) for line in tabs.split("\n"))) == [first, second]


@pytest.mark.parametrize(
    ("content", "columns", "facts", "said"),
    [
        ("who;says\nA;a\nB;b\n", "speaker=who, text=says", ([], []), ["a", "b"]),
        ("Q,A x\nhow ?,fine\n", "text=q, text=A x", ([], []), ["how ?", "fine"]),
        ('bio,chat\n"i sew.\ni row.","hi\nho\n"\n', "text=chat, persona=bio", ([], ["i sew.", "i row."]), ["hi", "ho"]),
        ("who,says,bio\nA,a,i sew\nB,b,\nA,c,i sew\n", "speaker=who,text=says,persona=bio",
         (["i sew"], []), ["a", "b", "c"]),
        (json_lines({"n": "A", "t": "a"}, {"n": "B", "t": 7}), "speaker=n, text=t", ([], []), ["a", "7"]),
        ([{"bio": ["i sew"], "turns": [{"w": "A", "s": "a"}, {"w": "B", "s": "b"}]}],
         "speaker=turns.w, text=turns.s, persona=bio", ([], ["i sew"]), ["a", "b"]),
        ([{"persona": ["i sew"], "dialogue": [["a", "b"], ["c", "d"]]}],
         "text=dialogue, persona=persona", ([], ["i sew"]), ["a", "b", "c", "d"]),
    ],
)  # fmt: skip
def test_a_mapping(content: object, columns: str, facts: tuple, said: list[str]) -> None:
    (dialogue,) = read(content, columns=columns)
    assert same(dialogue, facts, said)


def test_rows_without_speaker_are_counted() -> None:
    left_out: Counter[str] = Counter()
    (dialogue,) = read("name,line\n,They walk.\nA,a\nB,\nB,b\n", left_out=left_out)
    assert dialogue.utterances == ["a", "b"]
    assert +left_out == {"rows without speaker or text": 2}
    damaged = json_lines({"name": "A", "text": "a"}, 7, {"name": "B", "text": "b"})
    (dialogue,) = read(damaged, columns="speaker=name, text=text", left_out=left_out)
    assert dialogue.utterances == ["a", "b"]
    assert left_out["records without keys"] == 1


def test_texts_and_speakers_must_go_together() -> None:
    record = {"who": ["A", "B", "A"], "says": ["a", "b"]}
    assert read([record], columns="speaker=who, text=says")[0].startswith("record 1: 2 texts but 3 speakers in ")


def test_an_object_that_lacks_its_text_takes_no_others() -> None:
    turns = [{"w": {"name": "A"}, "s": "a"}, {"w": {"name": "B"}}, {"w": {"name": "B"}, "s": "b"}]
    left_out: Counter[str] = Counter()
    record = {"chat": {"turns": turns}}
    (dialogue,) = read([record], columns="speaker=chat.turns.w.name, text=chat.turns.s", left_out=left_out)
    assert dialogue.utterances == ["a", "b"]
    assert +left_out == {"rows without speaker or text": 1}


@pytest.mark.parametrize("stamps", [
    ["12/11/2023,21:56", "12/11/2023,21:57", "13/11/2023,09:00", "13/11/2023,09:01"],
    ["2023-11-12T21:56:00Z,", "2023-11-12T21:57:00Z,", "2023-11-13T09:00:00Z,", "2023-11-13T09:01:00Z,"],
    ["1699826160000,", "1699826220000,", "1699866000000,", "1699866060000,"],
    ["1699826160,", "1699826220,", "1699866000,", "1699866060,"],
])  # fmt: skip
def test_times_split_a_chat_and_order_it(stamps: list[str]) -> None:
    rows = [
        f"{stamp},{'AB'[number % 2]},{text}" for number, (stamp, text) in enumerate(zip(stamps, "abcd", strict=True))
    ]
    table = "date,clock,who,says\n" + "\n".join(reversed(rows))
    first, second = read(table, columns="speaker=who, text=says, time=date, time=clock")
    assert (first.utterances, second.utterances) == (["a", "b"], ["c", "d"])


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        ("speaker=name", "--columns: no text= in it; expected such as "),
        ("text=line, who=name", "--columns: no 'line, who=name' in this file; it has scene, name, line"),
        ("name, text=line", "--columns: 'name' is none of `speaker=`, `text=`, `talk=`, `persona=`, `time=`; expected"),
        ("text=", "--columns: 'text=' is none of "),
        ("text=lines", "talks: --columns: no 'lines' in this file; it has scene, name, line"),
    ],
)
def test_mistakes(columns: str, line: str) -> None:
    with pytest.raises(UserError) as caught:
        read(SCRIPT, columns=columns)
    assert line in str(caught.value)


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ({"one": [{"who": "A", "says": "a"}, {"who": "B", "says": "b"}],
          "two": [{"who": "A", "says": "c"}, {"who": "B", "says": "d"}]}, "speaker=who, text=says"),
        ({"1": {"turns": [{"who": "A", "says": "a"}, {"who": "B", "says": "b"}]},
          "2": {"turns": [{"who": "A", "says": "c"}, {"who": "B", "says": "d"}]}},
         "speaker=turns.who, text=turns.says"),
        ({"version": 1, "data": [{"turns": [{"who": "A", "says": "a"}, {"who": "B", "says": "b"}]},
                                 {"turns": [{"who": "A", "says": "c"}, {"who": "B", "says": "d"}]}]},
         "speaker=turns.who, text=turns.says"),
    ],
)  # fmt: skip
def test_an_object_around_the_records(content: object, columns: str) -> None:
    assert written(nearest_mapping(source(content))) == columns
    first, second = read(content, columns=columns)
    assert (first.utterances, second.utterances) == (["a", "b"], ["c", "d"])


def test_text_has_no_columns() -> None:
    with pytest.raises(UserError, match="--columns reads tables"):
        read("A: a\nB: b", columns="text=a")


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("index,season no.,episode no.,name,line\n0,1,1,Vex,hi\n",
         "speaker=name, text=line, talk=season no., talk=episode no."),
        (",Persona,chat\n0,a,b\n", "text=chat, persona=persona"),
        (json_lines({"user_name": "Y", "create_date": ""}, {"name": "V", "mes": "hi"}),
         "speaker=name, text=mes, time=create_date"),
        ([{"name": "Kim", "messages": [{"id": 1}, {"from": "Kim", "text": "hi"}]}],
         "speaker=messages.from, text=messages.text"),
        ([{"personas": [], "dialog": [{"id": "1", "text": "hi"}]}],
         "speaker=dialog.id, text=dialog.text, persona=personas"),
        ([{"a": 1}], ""),
        ("Date,Time,Sender,Message\n1/2/2024,10:00,A,hi\n", "speaker=sender, text=message, time=date, time=time"),
        ([{"id": 1, "turns": [{"who": {"name": "A"}, "says": {"text": "hi"}, "sent_date": "x"}]}],
         "speaker=turns.who.name, text=turns.says.text, time=turns.sent_date"),
        ("nom,phrase\nAnne,bonjour toi\nPaul,salut toi\nAnne,ça va\nPaul,oui ça va\n", "speaker=nom, text=phrase"),
        ([{"conversation_id": 1, "a": "how are you ?", "b": "i am fine"}], "text=a, text=b, talk=conversation_id"),
    ],
)  # fmt: skip
def test_the_nearest_mapping(content: object, columns: str) -> None:
    mapping = nearest_mapping(source(content))
    assert written(mapping) == columns
    assert not mapping or parse_mapping(written(mapping)) == mapping


def test_lists_in_lists_are_talks() -> None:
    chats = [[turn("A", "a"), turn("B", "b"), turn("A", "c")], [turn("A", "d"), turn("B", "e")]]
    for content, columns in (
        ([chats], "speaker=who, text=says"),
        ({"chats": chats}, "speaker=chats.who, text=chats.says"),
        ({"data": {"chats": chats}}, "speaker=data.chats.who, text=data.chats.says"),
        ({"chats": [["a", "b", "c"], ["d", "e"]]}, "text=chats"),
    ):
        first, second = read(content, columns=columns)
        assert (first.utterances, second.utterances) == (["a", "b", "c"], ["d", "e"])
    # An utterance and its reply.
    assert read({"chat": [["a", "b"], ["c", "d"]]}, columns="text=chat")[0].utterances == ["a", "b", "c", "d"]


def turn(who: str, says: str) -> dict[str, str]:
    return {"who": who, "says": says}


def test_two_texts_of_an_object_stay_together() -> None:
    content = [{"turns": [{"user": "how are you ?", "bot": "fine , thank you ."}, {"user": "c d e", "bot": "d e f"}]}]
    for columns in ("text=turns.user, text=turns.bot", None):
        said = read(content, "columns" if columns is None else None, columns)[0].utterances
        assert said == ["how are you ?", "fine , thank you .", "c d e", "d e f"]
