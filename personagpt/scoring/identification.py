"""Who is speaking? Whether a side's utterances are likelier under its own persona than under others.

The personas of a text are shuffled under the seed and dealt into groups of twenty. A side's own persona is compared
with the other nineteen of its group.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm
from transformers import PreTrainedModel

from personagpt.model.decoders import context_length
from personagpt.scoring.entries import Entries, Places
from personagpt.scoring.metrics import LabelledTokens, cut_talk, score
from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.sequences.format import Encoder

PERSONAS = 20  # a side's own persona and 19 others: chance is 5%


@dataclass
class DialogueSide:
    """One speaker's side of a dialogue. A side that does not fit the model's context is cut into several talks."""

    dialogue: int
    speaker: int
    persona: int  # its number among the different personas of the text
    talks: list[LabelledTokens] = field(default_factory=list)  # from <|start|> on, and the responses in it


def identify(
    model: PreTrainedModel, dataset: PersonaChatDataset, encoder: Encoder, autocast: AbstractContextManager, seed: int
) -> tuple[dict[str, Entries], dict[str, int]]:
    """Rank each side's own persona by the likelihood of the side's utterances under each persona of its group.

    Return the entries of `persona_at_1` and `persona_mrr`, one for each side, and two counts: the personas in a group
    (`identified_among`), and the sides without a persona or with a talk that does not fit after another persona
    (`identified_left_out`). Personas with the same facts count as one, in the order of facts that appears first.
    """
    sides, personas, without_persona = read_sides(dataset, encoder)
    sides_of: list[list[DialogueSide]] = [[] for _ in personas]
    for side in sides:
        sides_of[side.persona].append(side)
    ranked: list[tuple[int, float, float]] = []  # dialogue, whether the own persona comes first, 1 / its rank
    with tqdm(total=len(sides), desc="identify", unit="side", leave=False, disable=None) as bar:
        for group, members in deal(len(personas), seed):
            own = [side for number in group[:members] for side in sides_of[number]]
            nll = group_nll(model, own, [personas[number] for number in group], encoder, autocast)
            for side, row in zip(own, nll, strict=True):
                if np.isfinite(row).all():
                    ranked.append((side.dialogue, *rank(row, group.index(side.persona))))
            bar.update(len(own))
    left_out = without_persona + len(sides) - len(ranked)
    counts = {"identified_among": min(PERSONAS, len(personas)), "identified_left_out": left_out}
    if not ranked:
        return {}, counts
    dialogues, firsts, reciprocals = map(np.array, zip(*sorted(ranked), strict=True))
    places = Places(dialogues, np.zeros(len(dialogues), int))
    entries = {"persona_at_1": Entries.of_equals(places, firsts), "persona_mrr": Entries.of_equals(places, reciprocals)}
    return entries, counts


def read_sides(dataset: PersonaChatDataset, encoder: Encoder) -> tuple[list[DialogueSide], list[list[int]], int]:
    """Return the sides that have a persona, the different personas, and how many sides have no persona.

    A persona is the tokens of its facts, each with its <eos>, and <|sep|>.
    """
    sides: dict[tuple[int, int], DialogueSide] = {}
    numbers: dict[frozenset[tuple[int, ...]], int] = {}  # facts in any order -> the persona's number
    personas: list[list[int]] = []
    without = set()
    for index, dialogue in enumerate(dataset.tensors.dialogues.tolist()):
        tokens, spans = dataset.sequence(index)
        speaker, start = encoder.speakers.index(tokens[0]), int(np.argmax(tokens == encoder.start))
        persona = tokens[1:start]
        if len(persona) == 1:
            without.add((dialogue, speaker))
            continue
        facts = np.split(persona[:-1], np.flatnonzero(persona == encoder.eos) + 1)
        number = numbers.setdefault(frozenset(tuple(fact.tolist()) for fact in facts), len(numbers))
        if number == len(personas):
            personas.append(persona.tolist())
        side = sides.setdefault((dialogue, speaker), DialogueSide(dialogue, speaker, number))
        side.talks.append((tokens[start:], spans - start))
    return list(sides.values()), personas, len(without)


def deal(count: int, seed: int) -> list[tuple[list[int], int]]:
    """Deal `count` personas into groups of PERSONAS; a short last group is filled from the others.

    Return each group with how many of its personas, the first, are its own members: each persona is a member once.
    """
    if count < 2:
        return []
    order = np.random.RandomState(seed).permutation(count).tolist()
    groups = []
    for first in range(0, count, PERSONAS):
        members = order[first : first + PERSONAS]
        others = [number for number in order if number not in members] if len(members) < PERSONAS else []
        groups.append((members + others[: PERSONAS - len(members)], len(members)))
    return groups


def group_nll(
    model: PreTrainedModel,
    sides: list[DialogueSide],
    personas: list[list[int]],
    encoder: Encoder,
    autocast: AbstractContextManager,
) -> np.ndarray:
    """Return the negative log-likelihood (S, P), in nats, of each side's own utterances under each persona.

    The utterances are the same under each persona: the oldest go where the longest persona leaves no room. Infinite
    where no response fits.
    """
    room = context_length(model.config) - 1 - max(map(len, personas))  # for <|start|> and the talk
    owners, talks = [], []
    for number, side in enumerate(sides):
        for talk, spans in side.talks:
            kept, kept_spans = cut_talk(talk[1:], spans - 1, encoder.eos, room - 1)
            if len(kept_spans):
                owners.append(number)
                talks.append((np.concatenate([talk[:1], kept]), kept_spans + 1))
    total = np.full((len(sides), len(personas)), np.inf)
    total[owners] = 0
    for column, persona in enumerate(personas):
        fronts = [[encoder.speakers[sides[owner].speaker], *persona] for owner in owners]
        sequences = [
            (np.concatenate([front, talk]), spans + len(front))
            for front, (talk, spans) in zip(fronts, talks, strict=True)
        ]
        for owner, responses in zip(owners, score(model, sequences, autocast), strict=True):
            total[owner, column] += sum(response.nll.sum(dtype=np.float64) for response in responses)
    return total


def rank(nll: np.ndarray, own: int) -> tuple[float, float]:
    """Return whether persona `own` has the lowest `nll` (P,), and 1 / its rank; equal values share as if by lot."""
    better, equal = int((nll < nll[own]).sum()), int((nll == nll[own]).sum())
    ranks = np.arange(better + 1, better + equal + 1)
    return float(better == 0) / equal, float(np.mean(1 / ranks))
