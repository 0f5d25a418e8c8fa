"""DiscordChatExporter's JSON and CSV of a channel.

    {"guild": {...}, "channel": {"name": "general"}, "messages": [
     {"id": "1", "type": "Default", "timestamp": "2024-02-01T10:01:00+01:00", "content": "hi <@2>",
      "author": {"id": "1", "name": "kim", "nickname": "Kim", "isBot": false}, "attachments": [], "mentions": [...]}]}

    AuthorID,Author,Date,Content,Attachments,Reactions
    "1","kim#1234","02/01/2024 10:01 AM","hi @Ola","",""

Notices (joined, pinned, calls), media without a text and forwarded messages are left out.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from personagpt.importing.chats import ChatMessage, chat_talk, id_at, list_at, text_at
from personagpt.importing.sources import Source
from personagpt.importing.stamps import iso_seconds, times
from personagpt.importing.talks import ImportedTalk, RecordError

COLUMNS = {"authorid", "author", "date", "content"}
TALK = {"", "Default", "Reply", "0", "19", "20", "23"}  # 20 and 23: a bot's answer to a command
NOTICE = re.compile(
    r"Joined the server\.|Left the group\.|Pinned a message\.|Started (?:a thread\.|a call that lasted .* minutes\.)|"
    r"Changed the channel (?:icon\.|name.*)|(?:Added|Removed) (?:a recipient|.* (?:to|from) the group)\."
)
EMOJI = re.compile(r"<a?(:\w+:)\d+>")
MENTION = re.compile(r"<@!?(\d+)>")


def recognises(source: Source) -> bool:
    if source.kind == "table":
        return set(source.columns) >= COLUMNS
    document = source.document if source.kind == "JSON" else None
    return isinstance(document, dict) and {"guild", "channel", "messages"} <= document.keys()


def read(source: Source, left_out: Counter[str]) -> Iterator[ImportedTalk | RecordError]:
    is_table = source.kind == "table"
    if talk := _table_talk(source, left_out) if is_table else _json_talk(source.document, left_out):
        yield talk


def _json_talk(document: Any, left_out: Counter[str]) -> ImportedTalk | None:
    records = list_at(document, "messages")
    people = [[record.get("author"), *list_at(record, "mentions")] for record in records if isinstance(record, dict)]
    names = {id_at(person, "id"): text_at(person, "nickname", "name") for person in itertools.chain(*people)}
    messages = []
    for record in records:
        author = record.get("author") if isinstance(record, dict) else None
        writer = id_at(author, "id") or text_at(author, "nickname", "name")
        text = text_at(record, "content")
        if not writer or id_at(record, "type") not in TALK:
            left_out["notices"] += 1
        elif not text:
            left_out["forwarded messages" if "forwardedMessage" in record else "messages of media"] += 1
        else:
            said = MENTION.sub(lambda found: f"@{names.get(found[1]) or 'somebody'}", EMOJI.sub(r"\1", text))
            messages.append(ChatMessage(writer, said, iso_seconds(record.get("timestamp"))))
    channel = document.get("channel") if isinstance(document, dict) else None
    return chat_talk(f"channel {text_at(channel, 'name')}", messages, names, left_out)


def _table_talk(source: Source, left_out: Counter[str]) -> ImportedTalk | None:
    rows = [record.content for record in source.records(left_out)]
    names: dict[str, str] = {}
    messages = []
    for row, seconds in zip(rows, times([row.get("date", "") for row in rows]), strict=True):
        author, text = row.get("author", "").strip(), row.get("content", "")
        writer = row.get("authorid", "").strip() or author
        if not writer or NOTICE.fullmatch(text):
            left_out["notices"] += 1
        elif not text.strip():
            left_out["messages of media"] += 1
        else:
            names[writer] = re.sub(r"#\d{4}$", "", author)
            iso = iso_seconds(row.get("date"))
            messages.append(ChatMessage(writer, text, seconds if iso is None else iso))
    return chat_talk("the channel", messages, names, left_out)
