r"""ParlAI's text format: an exchange a line, its fields apart by tabs.

    text:your persona: i bake .\nhi !<TAB>labels:hello !<TAB>episode_done:False
    text:any pets ?<TAB>labels:a goat .<TAB>label_candidates:no .|a goat .<TAB>episode_done:True

`text` is the partner's; `labels` is the reply, and where there are several the first. Persona lines before the text are
the speakers' facts. Candidates and other fields are not read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from personagpt.errors import shorten
from personagpt.importing.sources import Source
from personagpt.importing.talks import ImportedTalk, ImportedTurn, Record, RecordError, parse_each

PARTNER, YOU = "partner", "you"
FACT = re.compile(r"\s*(your|partner's) persona:(.*)", re.IGNORECASE)
LINE = re.compile(r"(?:[\w-]+:[^\t]*\t)*text:[^\t]*\t(?:[\w-]+:[^\t]*\t)*(?:labels|eval_labels|episode_done):")
ESCAPES = {"\\n": "\n", "\\t": "\t", "\\r": "\r", "__PIPE__": "|"}
ESCAPED = re.compile("|".join(map(re.escape, ESCAPES)))


def recognises(source: Source) -> bool:
    return bool(LINE.match(source.first_lines[0]))


def read(source: Source, left_out: Counter[str]) -> Iterator[ImportedTalk | RecordError]:
    return parse_each(_episodes(source), lambda record: _talk(record, left_out))


def _episodes(source: Source) -> Iterator[Record]:
    """Yield the (line number, line) pairs of each episode."""
    episode: Record | None = None
    for number, line in source.lines():
        if not line.strip():
            continue
        episode = episode or Record(f"line {number}", [])
        episode.content.append((number, line))
        if re.search(r"(?:^|\t)episode_done:\s*true\s*(?:\t|$)", line, re.IGNORECASE):
            yield episode
            episode = None
    if episode:
        yield episode


def _talk(record: Record, left_out: Counter[str]) -> ImportedTalk:
    turns: list[ImportedTurn] = []
    facts: dict[str, list[str]] = {PARTNER: [], YOU: []}
    for number, line in record.content:
        fields = dict(_field(piece, number) for piece in line.split("\t") if piece.strip())
        labels = fields.get("labels", fields.get("eval_labels", ""))
        if "text" not in fields:
            raise RecordError(f"line {number} has no `text:`")
        said = split_personas(_unescaped(fields["text"]), facts)
        first, *others = labels.split("|")
        left_out["labels after the first"] += len(others)
        if not first.strip():
            raise RecordError(f"line {number} has no `labels:`")
        turns += [ImportedTurn(PARTNER, said)] if said or turns else []
        turns.append(ImportedTurn(YOU, _unescaped(first)))
    return ImportedTalk(record.place, turns, facts, YOU)


def _field(piece: str, number: int) -> tuple[str, str]:
    name, colon, value = piece.partition(":")
    if not colon:
        raise RecordError(f"line {number} has {shorten(piece)} in it; expected `name:value` between tabs")
    return name.strip(), value


def _unescaped(text: str) -> str:
    return ESCAPED.sub(lambda escape: ESCAPES[escape[0]], text)


def split_personas(text: str, facts: dict[str, list[str]]) -> str:
    """Return `text` without its persona lines, which go to the `facts` of "you" and "partner"."""
    said = []
    for line in text.split("\n"):
        if fact := FACT.match(line):
            facts[YOU if fact[1].lower() == "your" else PARTNER].append(fact[2])
        else:
            said.append(line)
    return "\n".join(said).strip()
