"""Recorded talks -> which replies were worse than others: preferences.jsonl and feedback.jsonl, JSON lines.

    {"prompt": [{"role": "system", "content": FACTS}, {"role": "user", "content": ...}, ...],
     "chosen": [{"role": "assistant", "content": ...}], "rejected": [{"role": "assistant", "content": ...}],
     "goal": null, "source": "corrected"}
    {"prompt": [...], "completion": [{"role": "assistant", "content": ...}], "label": false}

The first form is a pair of replies to the same prompt, which TRL's DPO trainer reads as it is. The second form is a
flagged reply that nobody replaced, which TRL's KTO trainer reads. There `goal` stands only where the reply had a goal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from personagpt.records.talks import Talk, branches_of
from personagpt.text.words import one_line

PAIRS, FEEDBACK = "preferences.jsonl", "feedback.jsonl"


def preference_lines(talks: list[Talk]) -> tuple[list[str], list[str]]:
    """Return the lines of preferences.jsonl and of feedback.jsonl.

    A pair is a correction and the reply that it replaced ("corrected"), a draw that a person chose and the reply in
    whose place it came ("chosen"), or the reply that took a flagged reply's place and the flagged reply ("flagged"). A
    reply that was only drawn again is no evidence: nobody said that it was worse. `talks` come from
    `with_corrections`. Two people's talks have no replies of a model.
    """
    branches = branches_of(talks)
    pairs: dict[tuple[Any, ...], str] = {}  # talks that went on from one another share replies
    feedback: dict[tuple[Any, ...], str] = {}
    for talk in talks:
        for index, turn in enumerate(talk.turns):
            if talk.partner == "person" or turn.speaker == "human":
                continue
            for better, worse, source in compared(talk, index, branches[talk.origin]):
                line: dict[str, Any] = {"prompt": prompt_of(talk, index)}
                key = talk.origin, json.dumps(line), better, worse
                if not better:
                    line |= {"completion": reply(worse), "label": False} | ({"goal": turn.goal} if turn.goal else {})
                    feedback[key] = json.dumps(line, ensure_ascii=False) + "\n"
                elif better != worse and (key not in pairs or source != "flagged"):
                    line |= {"chosen": reply(better), "rejected": reply(worse), "goal": turn.goal, "source": source}
                    pairs[key] = json.dumps(line, ensure_ascii=False) + "\n"
    return list(pairs.values()), list(feedback.values())


def compared(talk: Talk, index: int, branches: list[Talk]) -> Iterator[tuple[str, str, str]]:
    """Yield the better and the worse reply in the place of turn `index`, and how people said so.

    An empty better reply means that nothing took a flagged reply's place.
    """
    turn = talk.turns[index]
    text = one_line(turn.text)
    if turn.replaced and (turn.corrected or turn.chosen):
        yield text, one_line(turn.replaced), "corrected" if turn.corrected else "chosen"
    if not turn.corrected and any(flag.turn == index for flag in talk.flags):
        places = [branch for branch in branches if talk.shares(branch, index) and len(branch.turns) > index]
        texts = [one_line(branch.turns[index].text) for branch in places if not is_flagged(branch, index, branches)]
        yield next((other for other in reversed(texts) if other != text), ""), text, "flagged"


def is_flagged(talk: Talk, index: int, branches: list[Talk]) -> bool:
    """Return whether turn `index` has a flag, in `talk` or in another of the `branches`, and no correction."""
    if talk.turns[index].corrected:
        return False
    return any(flag.turn == index and branch.shares(talk, index + 1) for branch in branches for flag in branch.flags)


def prompt_of(talk: Talk, index: int) -> list[dict[str, str]]:
    """Return what stood before turn `index` as chat messages; its speaker is the assistant."""
    speaker = talk.turns[index].speaker
    facts = [one_line(fact) for fact in talk.facts_of(speaker)]
    messages = [{"role": "system", "content": "\n".join(facts)}] if facts else []
    for turn in talk.turns[:index]:
        role = "assistant" if turn.speaker == speaker else "user"
        messages.append({"role": role, "content": one_line(turn.text)})
    return messages


def reply(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]
