"""Text in which a language model's markers name who speaks: a text file, or the `text` of each record of JSON or CSV.

    <|im_start|>system                       ### Human: hi !                  <|user|>              [INST] hi ! [/INST]
    i keep bees .<|im_end|>                  ### Assistant: hello !           hi !</s>              hello ! </s>
    <|im_start|>user                                                          <|assistant|>
    hi !<|im_end|>                           ### Human: who is it ?           hello !</s>
    <|im_start|>assistant                    ### Assistant: me .
    hello !<|im_end|>

ChatML, Zephyr's, Llama's and Gemma's markers, and `###` with a name; in the `chosen` of a preference also `Human:` and
`Assistant:` after a blank line. In a text file a new talk starts after
`<|endoftext|>` or the like, before a system message, and where blank lines stand only between talks, or a line holds a
whole talk.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from personagpt.errors import shorten
from personagpt.importing.chats import text_at
from personagpt.importing.roles import ASSISTANT, ROLES, SYSTEM, USER, role_of, roles_talk
from personagpt.importing.sources import Source
from personagpt.importing.talks import ImportedTalk, Record, RecordError, parse_each

NAMED = "|".join([*ROLES, "instruction", "input", "response"])
ROLE = re.compile(
    rf"<\|im_start\|>[ ]*(?P<chatml>\w+)|<\|start_header_id\|>(?P<llama>\w+)<\|end_header_id\|>|"
    rf"<start_of_turn>(?P<gemma>\w+)|<\|(?P<zephyr>{NAMED})\|>|###[ ]*(?P<hashes>{NAMED})[ ]*:|"
    r"(?P<inst>\[/?INST\]|<</?SYS>>)",
    re.IGNORECASE,
)
OTHER_NAMES = {
    "[inst]": USER, "[/inst]": ASSISTANT, "<<sys>>": SYSTEM, "<</sys>>": USER,  # Llama 2
    "instruction": USER, "input": USER, "response": ASSISTANT,  # Alpaca
}  # fmt: skip
# What ends a turn, or stands around a talk. It is no text.
END = re.compile(
    r"<\|im_end\|>|<\|eot_id\|>|<\|end\|>|<end_of_turn>|</?s>|<bos>|<eos>|<\|(?:end|begin)_?of_?text\|>", re.IGNORECASE
)
TALK_END = re.compile(
    r"((?:<\|endoftext\|>|<\|end_of_text\|>|<eos>)\s*|(?=<\|begin_of_text\|>|<bos>)|(?<=</s>)[ ]*\n\s*(?=<s>))"
)
HH = re.compile(r"(?:^|\n\n)(Human|Assistant):")
BLANK_LINE, NEW_LINE = re.compile(r"\n\s*\n\s*$"), re.compile(r"\n\s*$")


def recognises(source: Source) -> bool:
    if source.kind == "text":
        text = "\n".join(source.first_lines)
        first = ROLE.search(END.sub("", text).strip())
        return first is not None and first.start() == 0 and _has_roles(text)
    if source.kind == "table":
        return "text" in source.columns and _has_roles("\n".join(source.first_lines[1:]))
    return any(_has_roles(_text(record)) for record in source.first_records)


def _text(record: Any) -> str:
    """Return the text of a record; of a preference in the form of HH-RLHF the chosen talk, with the usual markers."""
    return text_at(record, "text") or HH.sub(r"\n### \1:", text_at(record, "chosen"))


def _has_roles(text: str) -> bool:
    return len({_role(mark) for mark in ROLE.finditer(text)}) > 1


def read(source: Source, left_out: Counter[str]) -> Iterator[ImportedTalk | RecordError]:
    records = _talks(source.text) if source.kind == "text" else source.records(left_out)
    return parse_each(records, lambda record: _talk(record, left_out))


def _talks(text: str) -> Iterator[Record]:
    """Yield the text of each talk of a text file."""
    line = 1
    for block in TALK_END.split(text):
        for piece in _pieces(block):
            if END.sub("", piece).strip():
                blank = len(piece) - len(piece.lstrip())
                yield Record(f"line {line + piece[:blank].count(chr(10))}", {"text": piece})
            line += piece.count("\n")


def _pieces(block: str) -> list[str]:
    """Return the talks of text that has no mark between talks.

    A talk starts with a system message. Without system messages, blank lines or else line ends separate the talks,
    where they stand before a question and never before an answer.
    """
    marks = list(ROLE.finditer(block))
    roles = [_role(mark) for mark in marks]
    ends = [0, *(mark.end() for mark in marks)]
    gaps = [END.sub("", block[end : mark.start()]) for end, mark in zip(ends, marks, strict=False)]
    later = range(1, len(marks))
    starts = [number for number in later if roles[number] == SYSTEM and ASSISTANT in roles[:number]]
    # Llama 2 puts its system message into the first question: [INST] <<SYS>>.
    starts = [number - (roles[number - 1] == USER and not gaps[number].strip()) for number in starts]
    for separator in (BLANK_LINE, NEW_LINE) if SYSTEM not in roles else ():
        apart = [number for number in later if separator.search(gaps[number])]
        if apart and all(roles[number] == USER for number in apart):
            starts = apart
            break
    cuts = [0, *(marks[number].start() for number in starts), len(block)]
    return [block[start:end] for start, end in pairwise(cuts)]


def _role(mark: re.Match[str]) -> str:
    """Return the role that a marker gives; a name of no role as it stands there."""
    name = mark[mark.lastgroup].lower()
    return OTHER_NAMES.get(name) or ROLES.get(name, name)


def _talk(record: Record, left_out: Counter[str]) -> ImportedTalk:
    text = _text(record.content)
    left_out["rejected talks"] += isinstance(record.content, dict) and "rejected" in record.content
    marks = list(ROLE.finditer(text))
    if not marks:
        raise RecordError(f"expected a marker such as <|user|> in {shorten(text)}")
    system = END.sub("", text[: marks[0].start()]).strip()
    messages = []
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    for number, (mark, end) in enumerate(zip(marks, ends, strict=True), start=1):
        said = END.sub("", text[mark.end() : end]).strip()
        if said:  # [INST] and <<SYS>> may have nothing between them
            messages.append((role_of(_role(mark), number), said, True))
    return roles_talk(record, messages, left_out, system)
