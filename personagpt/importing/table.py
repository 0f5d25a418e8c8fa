"""The table of the layouts, and what the module of a layout has.

To add a layout, write personagpt/importing/layouts/NAME.py, add its name to NAMES below, and write
tests/importing/layouts/test_NAME.py. The module has

- a docstring that shows the layout: a few lines of a file;
- `recognises(source) -> bool`: whether the file's content has this layout. It looks only at `source.kind` and the
  sample (`first_records`, `columns`, `first_lines`; where the kind is "JSON" also at the keys of `document`), so that
  it is quick on a file of any size. It asks for what no other layout has, because the first match is taken;
- `talk(record, left_out)`: return the ImportedTalk of a record of JSON or a row of a table, oldest turn first. Raise
  RecordError, with the reason, for a record that is no talk. Return None where the reason is in `left_out`. `COLUMNS`
  may name the columns without which a table has no talk;
- or, where talks and records differ, `read(source, left_out)`: yield an ImportedTalk for each talk, or a RecordError
  with `place` and reason. `parse_each(records, parse)` does this for a function that raises RecordError. Raise
  UserError where the whole file is wrong.

`left_out[reason] += 1` counts what is neither a talk nor a mistake: "messages of media", "tool calls", "notices". The
reason starts with a plural, because the summary prints "3 messages of media" and "1 message of media".

A layout gives what the file holds and leaves the rest to the shared steps (personagpt/importing/steps.py): it does not
clean text, join what a speaker says in a row, split a talk at pauses, pick two speakers, or cut facts. It sets

- `turns`: each with its speaker's name, `is_label=False` on a reply that must not be learned, and `seconds` where the
  file says when it was said: the talk is then split at pauses, and a piece in which only one speaks is left out;
- `facts`: each speaker's persona, where the file has it;
- `encounter`: where a person talks with a program, who they are, when, and the person's ratings: such talks can be
  recorded (`--talks`);
- `replier`: the speaker who answers, where the layout knows ("assistant"): what comes after the last reply is cut off;
- `part`: the record's part of the file, as it stands there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

from personagpt.errors import UserError
from personagpt.importing.sources import Source
from personagpt.importing.talks import ImportedTalk, RecordError, parse_each

# The names on the command line and in the summary. The first layout that recognises a file reads the file: special
# layouts come before general ones.
NAMES = (
    "signal", "subtitles", "whatsapp", "telegram", "chat-lines", "messenger", "discord", "slack", "transfertransfo",
    "truecased", "synthetic-persona-chat", "chatgpt", "empathetic", "convogym", "persona-csv", "human-bot", "msc",
    "xpersona", "topical-chat", "wizard-of-wikipedia", "self-chats", "sillytavern", "messages", "sharegpt", "alpaca",
    "pairs", "text-lists", "parlai", "role-markers", "dailydialog", "convai2", "plain", "names-alone", "columns",
)  # fmt: skip
LAYOUTS: dict[str, ModuleType] = {
    name: import_module(f"personagpt.importing.layouts.{name.replace('-', '_')}") for name in NAMES
}


def read(name: str, source: Source, left_out: Counter[str]) -> Iterator[ImportedTalk | RecordError]:
    """Yield the talks of `source` by the layout `name`, and why a record has none."""
    layout = LAYOUTS[name]
    if hasattr(layout, "read"):
        return layout.read(source, left_out)
    if (needed := getattr(layout, "COLUMNS", ())) and not layout.recognises(source):
        raise UserError(f"{source.name}: expected a CSV with the columns {', '.join(needed)}")
    return parse_each(source.records(left_out), lambda record: layout.talk(record, left_out))
