"""Split dialogues into a training and a validation part in which no persona is the same."""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict

from personagpt.errors import UserError
from personagpt.text.convai2 import Dialogue


def split_by_persona(dialogues: list[Dialogue], share: float) -> tuple[list[Dialogue], list[Dialogue], list[Dialogue]]:
    """Training dialogues, about `share` of all for validation, and those left out.

    Left out is a dialogue between a persona of one part and a persona of the other. Personas are put into the
    validation part one by one, always the one that costs the fewest such dialogues: where personas meet in small
    groups, whole groups, and nothing is left out. The same dialogues give the same parts. Raises UserError where a
    part would be empty.
    """
    personas = [_personas(dialogue, number) for number, dialogue in enumerate(dialogues)]
    talks = defaultdict(list)  # persona -> the numbers of its dialogues
    for number, pair in enumerate(personas):
        for persona in pair:
            talks[persona].append(number)
    room = max(1, round(share * len(dialogues)), min(map(len, talks.values())))
    cost = {persona: sum(len(personas[number]) == 2 for number in talks[persona]) for persona in talks}
    cheapest = [(cost[persona], persona) for persona in talks]
    heapq.heapify(cheapest)
    chosen: set[str] = set()
    valid: set[int] = set()
    while cheapest and room:
        price, persona = heapq.heappop(cheapest)
        if persona in chosen or price != cost[persona]:  # an entry from before the cost fell
            continue
        complete = [number for number in talks[persona] if personas[number] - {persona} <= chosen]
        if len(complete) > room:
            continue
        chosen.add(persona)
        valid.update(complete)
        room -= len(complete)
        for other in (other for number in talks[persona] for other in personas[number] - chosen):
            cost[other] -= 2  # a dialogue that was to be left out is now one to win
            heapq.heappush(cheapest, (cost[other], other))
    validating = set().union(*(personas[number] for number in valid))
    apart = [number for number in range(len(dialogues)) if number not in valid]
    train = [number for number in apart if not personas[number] & validating]
    if not train or not valid:
        raise UserError(
            f"{len(talks)} personas in {len(dialogues)} dialogues cannot be split so that none is in both parts: "
            "import with --valid 0, and other talks, for validation, with --valid 1"
        )
    crossing = sorted(set(apart) - set(train))
    return tuple([dialogues[number] for number in numbers] for numbers in (train, sorted(valid), crossing))


def _personas(dialogue: Dialogue, number: int) -> set[str]:
    """What tells the personas of a dialogue from others, the order of their facts aside.

    The checksums also decide which of equally cheap personas validates: that is as good as drawn.
    """
    given = {"\n".join(sorted(fact.lower() for fact in facts)) for facts in dialogue.personas if facts}
    return {hashlib.sha256(text.encode()).hexdigest() for text in given or {f"none, of dialogue {number}"}}
