"""The table of the layouts, and what the module of a layout has.

To add a layout, write personagpt/importing/layouts/NAME.py, add it to LAYOUTS below, and write
tests/importing/layouts/test_NAME.py. The module has

- a docstring that shows the layout: a few lines of a file;
- `recognises(source) -> bool`: whether the file's content has this layout. It looks only at `source.kind` and the
  sample (`first_records`, `columns`, `first_lines`; where the kind is "JSON" also at the keys of `document`), so that
  it is quick on a file of any size. It asks for what no other layout has, because the first match is taken;
- `read(source, left_out)`: yield an ImportedTalk for each talk, oldest turn first, or a RecordError with `place` and
  reason for a record that is no talk. `parse_each(records, parse)` does this for a function that raises RecordError.
  `left_out[reason] += 1` counts what is neither a talk nor a mistake: "messages of media", "tool calls", "notices". The
  reason starts with a plural, because the summary prints "3 messages of media" and "1 message of media". Raise
  UserError where the whole file is wrong.

A reader yields what the file holds and leaves the rest to the shared steps (personagpt/importing/steps.py): it does not
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
from typing import Protocol

from personagpt.importing.layouts import (
    alpaca,
    chat_lines,
    chatgpt,
    columns,
    convai2,
    convogym,
    dailydialog,
    discord,
    empathetic,
    human_bot,
    messages,
    messenger,
    msc,
    names_alone,
    pairs,
    parlai,
    persona_csv,
    plain,
    role_markers,
    self_chats,
    sharegpt,
    signal,
    sillytavern,
    slack,
    subtitles,
    synthetic_persona_chat,
    telegram,
    text_lists,
    topical_chat,
    transfertransfo,
    truecased,
    whatsapp,
    wizard_of_wikipedia,
    xpersona,
)
from personagpt.importing.sources import Source
from personagpt.importing.talks import ImportedTalk, RecordError


class Layout(Protocol):
    """What the module of a layout has."""

    def recognises(self, source: Source) -> bool: ...
    def read(self, source: Source, left_out: Counter[str]) -> Iterator[ImportedTalk | RecordError]: ...


# The name on the command line and in the summary -> the module. The first that recognises a file reads the file:
# special layouts come before general ones.
LAYOUTS: dict[str, Layout] = {
    "signal": signal,
    "subtitles": subtitles,
    "whatsapp": whatsapp,
    "telegram": telegram,
    "chat-lines": chat_lines,
    "messenger": messenger,
    "discord": discord,
    "slack": slack,
    "transfertransfo": transfertransfo,
    "truecased": truecased,
    "synthetic-persona-chat": synthetic_persona_chat,
    "chatgpt": chatgpt,
    "empathetic": empathetic,
    "convogym": convogym,
    "persona-csv": persona_csv,
    "human-bot": human_bot,
    "msc": msc,
    "xpersona": xpersona,
    "topical-chat": topical_chat,
    "wizard-of-wikipedia": wizard_of_wikipedia,
    "self-chats": self_chats,
    "sillytavern": sillytavern,
    "messages": messages,
    "sharegpt": sharegpt,
    "alpaca": alpaca,
    "pairs": pairs,
    "text-lists": text_lists,
    "parlai": parlai,
    "role-markers": role_markers,
    "dailydialog": dailydialog,
    "convai2": convai2,
    "plain": plain,
    "names-alone": names_alone,
    "columns": columns,
}
