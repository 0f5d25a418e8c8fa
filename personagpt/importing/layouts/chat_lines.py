"""The text that KakaoTalk, LINE, Telegram (copied messages) and IRC programs write: a message a line, with a clock.

    --------------- 2023\ub144 11\uc6d4 12\uc77c ---------------             2023/11/12(Sun)
    [Mira] [\uc624\ud6c4 9:56] are you home?  (kakao)           21:56<TAB>Mira<TAB>are you home?         (line)

    Mira, [12.11.2023 21:56]                              [21:56] <mira> are you home?             (irc)
    are you home?                     (telegram)          21:57 <@tom> almost

A line without a clock goes on with the message above, but in IRC it is a notice. A line with only a date says the day
of those below.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from personagpt.importing.chats import ChatMessage, chat_talk
from personagpt.importing.sources import Source
from personagpt.importing.stamps import CLOCK, DATE, times
from personagpt.importing.talks import ImportedTalk, RecordError

HEADERS = {
    "kakao": re.compile(rf"\[(?P<name>[^\[\]]{{1,40}})\] \[(?P<clock>{CLOCK})\] (?P<text>.*)", re.IGNORECASE),
    "line": re.compile(rf"(?P<clock>{CLOCK})\t(?P<name>[^\t]{{1,40}})\t(?P<text>.*)", re.IGNORECASE),
    "telegram": re.compile(
        rf"(?P<name>[^\[\]:]{{1,40}}), \[(?P<date>{DATE}),? (?P<clock>{CLOCK})\]:?(?P<text>)$", re.IGNORECASE
    ),
    "irc": re.compile(
        rf"(?:(?P<date>{DATE})[ T])?[\[(]?(?P<clock>{CLOCK})[\])]?\s+<[ @+%~&]?(?P<name>[^<>\s]{{1,40}})> (?P<text>.*)",
        re.IGNORECASE,
    ),
}
DAY = re.compile(rf"[-\s]*(?:[^\W\d]+,?\s)?(?P<date>{DATE})(?=$|[\s(,.-])(?!.*\d[:.]\d\d)", re.IGNORECASE)
IRC_DAY = re.compile(
    r"---? ?(?:day changed|log opened) \w+ (?P<date>\w+ \d{1,2} (?:\d\d:\d\d:\d\d )?\d{4})", re.IGNORECASE
)
# What the programs write in place of media, calls and deleted messages.
MEDIA = re.compile(
    r"\[[^\[\]]{3,20}\]|photo|emoticon|\u2611.*|\u260e.*|"
    r"\uc0ac\uc9c4(?: \d+\uc7a5)?|\ub3d9\uc601\uc0c1|\uc774\ubaa8\ud2f0\ucf58|"
    r"\uc0ad\uc81c\ub41c \uba54\uc2dc\uc9c0\uc785\ub2c8\ub2e4\.",
    re.IGNORECASE,
)


def recognises(source: Source) -> bool:
    return source.kind in ("text", "table") and _program(source.first_lines) is not None


def _program(lines: list[str]) -> str | None:
    """Return the program whose messages most lines are, or are two of the first lines of; None where no program's."""
    counts = {name: sum(header.match(line) is not None for line in lines) for name, header in HEADERS.items()}
    name = max(counts, key=lambda name: counts[name])
    return name if counts[name] >= max(2, 0.3 * len(lines)) else None


def read(source: Source, left_out: Counter[str]) -> Iterator[ImportedTalk | RecordError]:
    program = _program(source.first_lines) or _program([line.strip() for _, line in source.lines()]) or "irc"
    found: list[tuple[str, list[str], str]] = []  # writer, lines, stamp
    day = ""
    for _, line in source.lines():
        if head := HEADERS[program].match(line.strip()):
            date = head.groupdict().get("date") or day
            found.append((head["name"].strip(), [head["text"]], f"{date} {head['clock']}" if date else ""))
        elif new_day := IRC_DAY.match(line) or DAY.match(line):
            day = re.sub(r"\d\d:\d\d:\d\d ", "", new_day["date"])
        elif program == "irc" or not found:
            left_out["notices"] += bool(line.strip())
        else:
            found[-1][1].append(line)
    moments = times([stamp for _, _, stamp in found])
    known = [seconds for seconds in moments if seconds is not None]
    if any(after < before for before, after in pairwise(known)):  # the line of a day was not understood
        moments = [None] * len(found)
    messages = []
    for (writer, lines, _), seconds in zip(found, moments, strict=True):
        text = "\n".join(lines).strip()
        if not text or MEDIA.fullmatch(text):
            left_out["messages of media"] += 1
        else:
            messages.append(ChatMessage(writer, text, seconds))
    if talk := chat_talk("the chat", messages, {}, left_out):
        yield talk
