"""Signal's chats as the program signal-export writes them: data.json (a message a line) and chat.md.

    {"date": "2024-02-01T10:01:00", "sender": "Me", "body": "film tonight?", "quote": "", "sticker": null,
     "reactions": [], "attachments": []}

    [2024-02-01 10:01:00] Me: film tonight?
    [2024-02-01 10:02:00] Ola: yes!
    (- Me: :-) -)

Signal itself writes no file that can be read. Quotations, reactions, attachments, calls and deleted messages are left
out.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator

from personagpt.importing.chats import ChatMessage, chat_talk, text_at
from personagpt.importing.sources import SAMPLED, Source
from personagpt.importing.stamps import iso_seconds
from personagpt.importing.talks import ImportedTalk, RecordError

KEYS = {"date", "sender", "body", "reactions", "attachments"}
HEADER = re.compile(r"\[(\d{4}-\d\d-\d\d),? (\d\d:\d\d(?::\d\d)?)\] ([^\n:]{1,80}):(?: (.*)|$)")
CALL = re.compile(r"(?:Incoming|Outgoing|Missed) (?:(?:voice|video|group) )?call(?: \([^()]*\))?", re.IGNORECASE)
DELETED = "(This message was deleted)"
# Around what was said: quotations, reactions, stickers, attachments.
BESIDE = re.compile(
    r"^> .*$|^\(- .* -\)\s*$|^\(\( .* \)\)\s*$|!?\[[^\[\]\n]*\]\(\.\.?/[^()\n]*\)|"
    r"\((?:media|attachment) not exported\)",
    re.MULTILINE,
)


def recognises(source: Source) -> bool:
    if source.kind.startswith("JSON"):
        return any(isinstance(record, dict) and record.keys() >= KEYS for record in source.first_records)
    if source.kind != "text" or not HEADER.match(source.first_lines[0]):
        return False
    lines = [line for _, line in itertools.islice(source.lines(), SAMPLED)]
    # Two spaces end a line of Markdown. WhatsApp's lines, which may look alike, have none.
    return sum(line.endswith("  ") for line in lines) * 2 >= sum(HEADER.match(line) is not None for line in lines)


def read(source: Source, left_out: Counter[str]) -> Iterator[ImportedTalk | RecordError]:
    written = _from_json(source, left_out) if source.kind.startswith("JSON") else _from_markdown(source)
    messages = []
    for message in written:
        said = BESIDE.sub("", message.text).strip()
        if message.text.strip() == DELETED:
            left_out["deleted messages"] += 1
        elif CALL.fullmatch(said):
            left_out["calls"] += 1
        elif not said:
            left_out["messages of media"] += 1
        else:
            messages.append(ChatMessage(message.writer, said, message.seconds))
    if talk := chat_talk("the chat", messages, {}, left_out):
        yield talk


def _from_json(source: Source, left_out: Counter[str]) -> Iterator[ChatMessage]:
    for record in source.records(left_out):
        message = record.content
        if not text_at(message, "sender"):
            left_out["messages of nobody"] += 1
            continue
        text = DELETED if message.get("deleted") is True else text_at(message, "body")
        if message.get("call") is True:
            left_out["calls"] += 1
        else:
            yield ChatMessage(message["sender"].strip(), text, iso_seconds(message.get("date")))


def _from_markdown(source: Source) -> Iterator[ChatMessage]:
    lines = [(HEADER.match(line), line) for _, line in source.lines()]
    starts = [number for number, (head, _) in enumerate(lines) if head]
    for start, end in itertools.pairwise([*starts, len(lines)]):
        _, day, clock, writer, first = lines[start][0].group(0, 1, 2, 3, 4)
        below = [line for _, line in lines[start + 1 : end]]
        yield ChatMessage(writer.strip(), "\n".join([first or "", *below]), iso_seconds(f"{day} {clock}"))
