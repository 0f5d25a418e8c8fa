"""Split dialogues into a training and a validation part, if possible so that no persona is in both parts."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from personagpt.errors import UserError
from personagpt.text.dialogues import Dialogue

IN_BOTH = "personas are in both parts: validation says how well a model plays personas that it knows, not new ones"


@dataclass(frozen=True)
class Split:
    """The parts of some dialogues. The same dialogues always give the same parts."""

    train: list[Dialogue]
    valid: list[Dialogue]
    left_out: list[Dialogue] = field(default_factory=list)  # between a persona of one part and one of the other part
    held_back: int = 0  # how many personas are not trained; 0 in a split by dialogue
    warning: str | None = None  # what a split by dialogue means for figures; None where the split is by persona


def split_dialogues(dialogues: list[Dialogue], share: float) -> Split:
    """Put about `share` of the dialogues into the validation part, by persona where possible.

    The split is by dialogue, and every persona is trained, where a split by persona would leave a part empty or would
    make the validation part more than half as large again as `share` asks for, or less than half as large. Raises
    UserError where that leaves no dialogue for validation.
    """
    personas = [_personas(dialogue, number) for number, dialogue in enumerate(dialogues)]
    wanted = max(1, round(share * len(dialogues)))
    valid, train = _by_persona(personas, wanted)
    if not train or not wanted / 2 <= len(valid) <= 1.5 * wanted:
        valid = _by_dialogue(personas, wanted)
        train = set(range(len(dialogues))) - valid
    if not valid:
        raise UserError(
            f"{len(dialogues):,} dialogue(s) cannot be split so that every persona is trained: import them with "
            "--valid 0, and other talks, for validation, with --valid 1"
        )
    left_out = set(range(len(dialogues))) - valid - train
    parts = ([dialogues[number] for number in sorted(numbers)] for numbers in (train, valid, left_out))
    validating, training = (set().union(*(personas[number] for number in part)) for part in (valid, train))
    held_back = len(validating - training)
    return Split(*parts, held_back, None if held_back else IN_BOTH)


def _by_persona(personas: list[set[str]], wanted: int) -> tuple[set[int], set[int]]:
    """Return the numbers of the validation dialogues, and of those that share no persona with them.

    Personas join the validation part one by one, always the persona whose choice leaves out the fewest dialogues.
    Where personas meet in small groups, whole groups join and no dialogue is left out.
    """
    talks = defaultdict(list)  # persona -> the numbers of its dialogues
    for number, pair in enumerate(personas):
        for persona in pair:
            talks[persona].append(number)
    room = max(wanted, min(map(len, talks.values())))
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
            cost[other] -= 2  # a dialogue that the choice left out would now be won
            heapq.heappush(cheapest, (cost[other], other))
    validating = set().union(*(personas[number] for number in valid))
    return valid, {number for number, pair in enumerate(personas) if number not in valid and not pair & validating}


def _by_dialogue(personas: list[set[str]], wanted: int) -> set[int]:
    """Return the numbers of `wanted` validation dialogues, fewer where a persona would lose its last training dialogue.

    They are spread evenly over the file.
    """
    left = Counter(persona for pair in personas for persona in pair)  # each persona's training dialogues
    step = len(personas) / wanted
    evenly = dict.fromkeys(int((place + 0.5) * step) for place in range(wanted))
    valid: set[int] = set()
    for number in [*evenly, *range(len(personas))]:
        pair = personas[number]
        if len(valid) < wanted and number not in valid and all(left[persona] > 1 for persona in pair):
            valid.add(number)
            left.subtract(pair)
    return valid


def _personas(dialogue: Dialogue, number: int) -> set[str]:
    """Return a checksum for each persona of a dialogue. The order and case of the facts do not change it.

    A dialogue without personas gets a checksum of its own. Checksums also order equally cheap personas, as good as
    drawn.
    """
    given = {"\n".join(sorted(fact.lower() for fact in facts)) for facts in dialogue.personas if facts}
    return {hashlib.sha256(text.encode()).hexdigest() for text in given or {f"none, of dialogue {number}"}}
