"""Preferences: JSON lines that say which replies were worse than others.

    {"prompt": MESSAGES, "chosen": [MESSAGE], "rejected": [MESSAGE], "goal": null, "source": "corrected"}
    {"prompt": MESSAGES, "completion": [MESSAGE], "label": false}

MESSAGES are a chat up to a user's message: the persona as system message, a fact a line, then user and assistant in
turn. The second form is a rejected reply without a partner. One file may hold lines of both forms, as `interact.py
--export` writes them. An item is what a line holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personagpt.errors import UserError, shorten
from personagpt.files import read_bytes
from personagpt.text.dialogues import Corpus
from personagpt.text.lines import Mistakes
from personagpt.text.words import one_line

SOURCES = ("corrected", "chosen", "flagged")
HELD_BACK_EVERY = 10  # of the personas every tenth is held back, to be scored and not trained on
FORM = "expected a pair with prompt, chosen, rejected, goal, source, or prompt, completion and the label false"
MOST_NAMED = 5  # lines that a warning names


@dataclass(frozen=True)
class Preference:
    """An item: the context of a reply that was rejected, and perhaps of another that was better."""

    line: int  # its number in the file
    facts: list[str]
    utterances: list[str]  # before the reply, in turn
    speaker: int  # of the reply: 0 talks first
    goal: str | None
    chosen: str | None
    rejected: str

    @property
    def replies(self) -> list[str]:
        return [reply for reply in (self.chosen, self.rejected) if reply is not None]


def read_preferences(path: Path | str) -> list[Preference]:
    """Return the items of a file in its order, none for an empty path. Raises UserError, which names file and lines."""
    if not path:
        return []
    data = read_bytes(Path(path), "these preferences")
    items, mistakes = [], Mistakes(str(path))
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            raw = json.loads(line)
            json.dumps(raw, ensure_ascii=False).encode()  # raises for half a surrogate pair
            items.append(_parse(number, raw))
        except (UnicodeError, json.JSONDecodeError, RecursionError):
            mistakes.note(number, f"no JSON that is UTF-8 text; {FORM}")
        except ValueError as error:
            mistakes.note(number, str(error))
    mistakes.raise_noted()
    if not items:
        raise UserError(f"{path}: no preference in this file; {FORM}")
    return items


def _parse(number: int, raw: Any) -> Preference:
    """Return the item of a line. Raises ValueError with the mistake in it."""
    names = ("chosen", "rejected", "source") if isinstance(raw, dict) and "chosen" in raw else ("completion", "label")
    missing = [name for name in ("prompt", *names) if not isinstance(raw, dict) or name not in raw]
    if missing:
        raise ValueError(f"no {', '.join(missing)}; {FORM}")
    goal = raw.get("goal")
    if goal is not None and not (isinstance(goal, str) and goal.strip()):
        raise ValueError(f"the goal {shorten(goal)}; expected text or null")
    facts, utterances, is_first = _context(raw["prompt"])
    if "chosen" not in raw:
        if raw["label"] is not False:
            raise ValueError(f"the label {shorten(raw['label'])}; expected false, a reply that was rejected")
        return Preference(number, facts, utterances, is_first, goal, None, _reply(raw, "completion"))
    if raw["source"] not in SOURCES:
        raise ValueError(f"the source {shorten(raw['source'])}; expected one of {', '.join(SOURCES)}")
    chosen, rejected = _reply(raw, "chosen"), _reply(raw, "rejected")
    if one_line(chosen) == one_line(rejected):
        raise ValueError("the chosen and the rejected reply are equal; remove the line")
    return Preference(number, facts, utterances, is_first, goal, chosen, rejected)


def _context(prompt: Any) -> tuple[list[str], list[str], int]:
    """Return the facts, the utterances and the assistant's place, 0 or 1, of a prompt. Raises ValueError."""
    messages = _messages(prompt, "prompt")
    is_system = bool(messages) and messages[0][0] == "system"
    facts = [fact for fact in re.split("\r?\n", messages[0][1]) if fact.strip()] if is_system else []
    roles, utterances = [role for role, _ in messages[is_system:]], [text for _, text in messages[is_system:]]
    # Read from the reply backwards, the roles take turns: user, assistant, user, ...
    if roles[::-1] != [("user", "assistant")[place % 2] for place in range(len(roles))]:
        raise ValueError(
            f"the roles of the prompt are {shorten(', '.join(role for role, _ in messages))}; expected system (the "
            "persona) first, then user and assistant in turn, the user last"
        )
    return facts, utterances, len(roles) % 2


def _reply(raw: dict[str, Any], name: str) -> str:
    messages = _messages(raw[name], name)
    if [role for role, _ in messages] != ["assistant"]:
        raise ValueError(f"'{name}' is {shorten(raw[name])}; expected one message of the assistant")
    return messages[0][1]


def _messages(raw: Any, name: str) -> list[tuple[str, str]]:
    """Return role and text of each message. Raises ValueError."""
    messages = []
    for message in raw if isinstance(raw, list) else [None]:
        role, text = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None, None)
        if not isinstance(role, str) or not isinstance(text, str) or not text.strip():
            raise ValueError(f"'{name}' is {shorten(raw)}; expected a list of messages with role and content, a text")
        messages.append((role, text))
    return messages


def held_back_personas(items: list[Preference]) -> set[tuple[str, ...]]:
    """Return every tenth persona, in the order in which personas first appear; none of fewer than ten."""
    personas = list(dict.fromkeys(tuple(item.facts) for item in items))
    return set(personas[HELD_BACK_EVERY - 1 :: HELD_BACK_EVERY])


def unknown_personas(items: list[Preference], corpora: Iterable[Corpus], name: str) -> str | None:
    """Return a warning that names the lines of the file `name` whose persona no text has; None where there is none.

    It is no mistake: people type personas of their own. But after an accident all personas are other ones.
    """
    known = {frozenset(facts) for corpus in corpora for dialogue in corpus.dialogues for facts in dialogue.personas}
    lines = [str(item.line) for item in items if item.facts and frozenset(item.facts) not in known]
    if not lines:
        return None
    named = ", ".join(lines[:MOST_NAMED]) + (", ..." if len(lines) > MOST_NAMED else "")
    return f"{name}:{named}: {len(lines)} of {len(items)} preferences have a persona that is in no text"
