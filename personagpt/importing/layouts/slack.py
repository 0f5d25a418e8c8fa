"""A day's file of a channel in Slack's export.

    [{"type": "message", "user": "U1", "ts": "1706781660.000200", "text": "hi <@U2>, see <https://a.org|this> &amp; me",
      "user_profile": {"real_name": "Kim Lee", "display_name": "Kim"}},
     {"type": "message", "subtype": "channel_join", "user": "U2", "ts": "1706781661.000100", "text": "<@U2> joined"}]

A thread is a talk of its own. Names come from the messages' profiles and from the export's users.json, which stands
beside the channels' folders. What Slack says itself, and files without a text, are left out.
"""

from __future__ import annotations

import html
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from personagpt.importing.chats import ChatMessage, chat_talk, id_at, text_at
from personagpt.importing.sources import Source
from personagpt.importing.stamps import number_seconds
from personagpt.importing.talks import ImportedTalk, RecordError

SAID = {"", "me_message", "thread_broadcast", "file_share", "bot_message", "reply_broadcast"}  # subtypes of talk
NAMES = ("display_name", "real_name", "name", "first_name")
MARKUP = re.compile(r"<([@#!]?)([^<>|]*)(?:\|([^<>]*))?>")


def recognises(source: Source) -> bool:
    return source.kind == "JSON" and any(
        text_at(record, "type") == "message" and text_at(record, "ts") and ("user" in record or "subtype" in record)
        for record in source.first_records
    )


def read(source: Source, left_out: Counter[str]) -> Iterator[ImportedTalk | RecordError]:
    records = [record.content for record in source.records(left_out) if isinstance(record.content, dict)]
    names = _names_of_export(Path(source.name)) | _names(records)
    threads: dict[str, list[ChatMessage]] = {"": []}  # "" for what stands in no thread
    for record in records:
        writer = id_at(record, "user") or text_at(record, "username") or id_at(record, "bot_id")
        text = _plain(text_at(record, "text"), names)
        if not writer or record.get("type") != "message" or text_at(record, "subtype") not in SAID:
            left_out["notices"] += 1
        elif not text.strip():
            left_out["messages of files"] += 1
        else:
            message = ChatMessage(writer, text, number_seconds(record.get("ts")))
            threads.setdefault(text_at(record, "thread_ts"), []).append(message)
    alone = [name for name, said in threads.items() if name and len({message.writer for message in said}) < 2]
    for thread in alone:  # the other messages of the thread are in the file of another day, or nobody answered
        threads[""] += threads.pop(thread)
    for thread, messages in threads.items():
        place = f"thread {thread}" if thread else "the channel"
        if messages and (talk := chat_talk(place, messages, names, left_out)):
            yield talk


def _names(records: list[dict[str, Any]]) -> dict[str, str]:
    """Return the names of the users, by id, that messages have a profile of."""
    names = {}
    for record in records:
        profile = record.get("user_profile") or record.get("bot_profile")
        if name := text_at(profile, *NAMES) or text_at(record, "username"):
            names[id_at(record, "user") or text_at(record, "username") or id_at(record, "bot_id")] = name
    return names


def _names_of_export(path: Path) -> dict[str, str]:
    """Return the names of the users in the export's users.json; none where there is no such file."""
    try:
        users = json.loads((path.parent.parent / "users.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    names = {}
    for user in users if isinstance(users, list) else []:
        profile = user.get("profile") if isinstance(user, dict) else None
        names[id_at(user, "id")] = text_at(profile, *NAMES) or text_at(user, *NAMES)
    return names


def _plain(text: str, names: dict[str, str]) -> str:
    """Return `text` with names, labels and addresses in place of Slack's markup."""

    def shown(found: re.Match[str]) -> str:
        sign, target, label = found[1], found[2], found[3]
        if sign == "@":
            return f"@{label or names.get(target) or target}"
        if sign == "#":
            return f"#{label or target}"
        if sign == "!":
            return label or f"@{target.partition('^')[0]}"
        return label or target.removeprefix("mailto:")

    return html.unescape(MARKUP.sub(shown, text))
