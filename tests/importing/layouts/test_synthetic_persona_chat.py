"""Synthetic-Persona-Chat's CSV."""

from __future__ import annotations

from collections import Counter

import pytest

from personagpt.errors import UserError
from tests.importing.helpers import layout, read, same

CSV = """\
user 1 personas,user 2 personas,Best Generated Conversation
"I bake.
I have a dog.","I ski.","User 1: Hi!
User 2: Hello, ""friend"".
[The next day]

User 1: Bye.
User 1: See you."
"""


@pytest.mark.parametrize("text", [CSV, "\ufeff" + CSV.replace("\n", "\r\n")])
def test_a_talk(text: str) -> None:
    left_out: Counter[str] = Counter()
    assert layout(text) == "synthetic-persona-chat"
    (dialogue,) = read(text, left_out=left_out)
    # What a speaker says in a row is one utterance; a stage direction is none.
    said = ["Hi!", 'Hello, "friend".', "Bye. See you."]
    assert same(dialogue, (["I bake.", "I have a dog."], ["I ski."]), said)
    assert left_out["stage directions"] == 1


def test_a_row_that_is_no_dialogue() -> None:
    rows = ['"I bake.","I ski.","Hi!"', '"I bake."', '"I bake.","I ski.",""', '"I bake.","I ski.","User 1: "']
    assert read(CSV + "\n".join(rows))[1:] == [
        "record 2: expected `User 1: ...` or `User 2: ...`, got 'Hi!'",
        "record 3: no 'best generated conversation'",
        "record 4: nobody says anything",
        "record 5: utterance 1 is empty",
    ]


def test_other_columns() -> None:
    with pytest.raises(UserError, match="expected a CSV with the columns user 1 personas, user 2 personas, best gen"):
        read("text,User 1 personas\na,b\n", "synthetic-persona-chat")
