"""WhatsApp's own text export, of Android and of the iPhone, in any language.

    12/11/23, 21:55 - Messages and calls are end-to-end encrypted.       [12.11.23, 21:56:01] Mira: are you home yet
    12/11/23, 21:56 - Mira: are you home yet                             [12.11.23, 21:57:14] Tom K: almost,
    12/11/23, 21:57 - Tom K: almost,                                     the bus is late again
    the bus is late again                                                [12.11.23, 22:03:20] Mira: image omitted
    12/11/23, 22:03 - Mira: <Media omitted>

A line without a time goes on with the message above it. WhatsApp's own lines, media, calls and deleted messages are
left out; the text beside a picture stays. The iPhone puts U+200E before what WhatsApp wrote, in every language.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from personagpt.importing.sources import Source
from personagpt.importing.stamps import STAMP, Triple, order_of, seconds_of, triple
from personagpt.importing.talks import ImportedTalk, ImportedTurn, RecordError
from personagpt.importing.whatsapp_words import ATTACHED, DELETED, EDITED, OTHER

MARKS = "[\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]*"
HEADER = re.compile(
    rf"(?P<marks>{MARKS})(?P<bracket>\[)?{STAMP}(?(bracket)\]\s?|(?P<dash>\s[-\u2013\u2014]\s|[:,]\s))(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
LONGEST_NAME = 80
# `Mira changed the subject to "Soup: now"` is no name and its text. Such a line has a quotation mark.
QUOTATION = re.compile('["\u201c\u201d\u201e\u00ab\u00bb]')
RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufefc]")

# <Media omitted>, in any language: words in angle brackets, and nothing that code has.
OMITTED = re.compile("<[^<>/=!\"'{}\n]*(?:[^\\W\\d] [^\\W\\d]|[^\\W\\d\x00-\x7f]{2})[^<>/=!\"'{}\n]*>")
WHATSAPPS_FILE = r"(?:IMG|VID|AUD|PTT|STK|DOC|GIF)-\d{8}-WA\d+\.\w{2,5}"
FILE_ATTACHED = re.compile(
    rf"(?:{WHATSAPPS_FILE} \([^()\n]+\)|[^\n]+\.\w{{2,5}} \((?:{ATTACHED})\))(?:\n|$)", re.IGNORECASE
)
FILE_NAME = re.compile(r"[^\n]*(\.\w{2,5}|\u2022)\s*")  # `plan.pdf`, `plan <bullet>`, with the number of pages behind
IS_EDITED = re.compile(rf"\s*\u200e?<\u200e?(?:{EDITED})\.?>\s*$", re.IGNORECASE)
POLL = re.compile("[^\\W\\d_]{4,12} ?:\n.*\n[\u200e\u200f]?[^\\W\\d_]{4,12} ?: .*\\(\\d+ [^()]*\\)", re.DOTALL)


@dataclass(slots=True)
class Message:
    line: int
    is_iphone: bool
    is_marked: bool  # a mark stands before the time: on the iPhone, a message with media
    name: str  # "" for a notice
    text: str
    numbers: Triple | None
    clock: str


def recognises(source: Source) -> bool:
    if source.kind not in ("text", "table"):
        return False
    heads = [head for line in source.first_lines if (head := HEADER.match(line))]
    is_first = HEADER.match(source.first_lines[0]) is not None
    # A group's export may start with many notices.
    return (is_first and any(_split(head)[0] for head in heads)) or 2 * len(heads) > len(source.first_lines)


def read(source: Source, left_out: Counter[str]) -> Iterator[ImportedTalk | RecordError]:
    messages = _messages(source)
    order = order_of(message.numbers for message in messages if message.numbers)
    people = _people(messages)
    talk = ImportedTalk("", [])
    for message in messages:
        if message.name not in people:
            left_out["notices of WhatsApp"] += 1
        elif text := _said(message, left_out):
            talk.place = talk.place or f"line {message.line}"
            seconds = seconds_of(message.numbers, message.clock, order)
            talk.turns.append(ImportedTurn(message.name, text, seconds=seconds))
    if talk.turns:
        yield talk


def _messages(source: Source) -> list[Message]:
    """Return the messages and notices. A line whose time has another form than most goes on with a message."""
    lines = [(number, line, HEADER.match(line)) for number, line in source.lines()]
    forms = [_form(head) if head else None for _, _, head in lines]
    usual = Counter(form for form in forms if form).most_common(1)
    messages: list[Message] = []
    above: list[str] = []  # the lines of the last message
    for (number, line, head), form in zip(lines, forms, strict=True):
        if head and form == usual[0][0]:
            if len(above) > 1:
                messages[-1].text = "\n".join(above)
            written, clock = _stamp(head)
            name, text = _split(head)
            is_marked = head["marks"].strip("\ufeff") != ""
            messages.append(Message(number, _is_iphone(head), is_marked, name, text, triple(written), clock))
            above = [text]
        elif above:
            above.append(line)
    if len(above) > 1:
        messages[-1].text = "\n".join(above)
    return messages


def _stamp(head: re.Match[str]) -> tuple[str, str]:
    """Return the date and the clock of a header."""
    return head["date"] or head["date2"], head["clock"] or head["clock2"]


def _form(head: re.Match[str]) -> tuple[bool, bool, str]:
    """Return what all headers of a file share: brackets, which of date and clock is first, what separates numbers."""
    separator = re.search(r"[./\-\u5e74\ub144]", _stamp(head)[0])
    return bool(head["bracket"]), bool(head["date"]), separator[0] if separator else ""


def _is_iphone(head: re.Match[str]) -> bool:
    return head["bracket"] is not None or head["dash"].startswith(":")


def _split(head: re.Match[str]) -> tuple[str, str]:
    """Return who writes and the text; "" and the notice where nobody writes."""
    rest = head["rest"]
    name, colon, text = rest.partition(": ")
    if not colon and rest.endswith(":"):  # an empty first line
        name, colon = rest[:-1], ":"
    if not colon or not name or len(name) > LONGEST_NAME or (_is_iphone(head) and name[0] == "\u200e"):
        return "", rest
    plain = re.sub(MARKS, "", name).replace("\xa0", " ").replace("\u202f", " ").strip()
    plain = plain.removeprefix("~").lstrip()  # somebody who is in no address book
    return plain or "unknown", text


def _people(messages: list[Message]) -> set[str]:
    """Return the names of people, without the starts of notices, which stand there only once."""
    counts = Counter(message.name for message in messages if message.name)
    return {name for name, count in counts.items() if count > 1 or not QUOTATION.search(name)}


def _said(message: Message, left_out: Counter[str]) -> str:
    """Return what a person wrote in `message`; "" where nothing is left, which is counted."""
    text = (IS_EDITED.sub("", message.text) if "<" in message.text else message.text).lstrip("\ufeff \n")
    plain = text.strip("\u200e\u200f \n")
    if plain.casefold().strip("\U0001f6ab_ .\u3002") in DELETED or plain.startswith(
        "You deleted this message as admin"
    ):
        left_out["deleted messages"] += 1
        return ""
    # An Arabic writer may put U+200E before a text, too.
    is_whatsapps = text[:1] == "\u200f" or (text[:1] == "\u200e" and not RIGHT_TO_LEFT.match(plain))
    is_other = (message.is_iphone and is_whatsapps) or OTHER.fullmatch(plain) or POLL.match(plain)
    caption = "" if is_other else _caption(message, text)
    if not caption.strip():
        left_out["messages of media, calls and notices"] += 1
    elif caption != text:
        left_out["attachments beside a text"] += 1
    return caption


def _caption(message: Message, text: str) -> str:
    """Return what somebody wrote beside a picture or file; the whole of `text` where there is none."""
    plain = text.lstrip("\u200e\u200f")
    first, _, below = plain.replace("<\u200e", "<").partition("\n")
    if OMITTED.fullmatch(first):
        return "" if FILE_NAME.fullmatch(below) else below
    if attached := FILE_ATTACHED.match(plain):
        return plain[attached.end() :]
    if message.is_iphone and message.is_marked:
        # `Look! <U+200E>image omitted`, `plan.pdf <bullet> <U+200E>2 pages <U+200E>document omitted`
        before = re.split("[\u200e\u200f]|<[^<>\n]+>", text, maxsplit=1)[0]
        return "" if FILE_NAME.fullmatch(before) else before
    return text
