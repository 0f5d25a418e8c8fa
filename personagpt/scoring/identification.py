"""Who is speaking? Whether a side's utterances are likelier under its own persona than under others.

The personas of a text are shuffled under the seed and dealt into groups of twenty; a side's nineteen others are those
of its own persona's group. What stands before the talk, a persona, is then read once for all sides of its group; the
talk itself is read under each persona, since attention carries the persona into all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedModel

from personagpt.model.loss import score_hidden
from personagpt.model.shared_context import read_after, read_contexts
from personagpt.scoring.metrics import Sequence, by_length, cut_talk
from personagpt.scoring.tally import Places, Tally
from personagpt.sequences.batches import Batch, collate
from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.sequences.format import Encoder

PERSONAS = 20  # a side's own one and 19 others: chance is 5%


@dataclass
class Side:
    """One speaker's side of a dialogue; it is cut into several talks where it does not fit the model's context."""

    dialogue: int
    speaker: int
    persona: int  # its number among the text's different ones
    talks: list[Sequence] = field(default_factory=list)  # from <|start|> on, and the responses in it


@dataclass
class Group:
    """The personas that are compared with each other, and the sides of the first `members` of them."""

    personas: list[int]
    members: int


@dataclass
class Identified:
    """`persona_at_1` and `persona_mrr` of each side, none where there was nothing to compare."""

    tallies: dict[str, Tally]
    among: int  # how many personas each side's own one was looked for
    left_out: int  # sides without a persona, or whose talk does not fit after another one

    def counts(self) -> dict[str, int]:
        return {"identified_among": self.among, "identified_left_out": self.left_out}


def identify(
    model: PreTrainedModel, dataset: PersonaChatDataset, encoder: Encoder, autocast: AbstractContextManager, seed: int
) -> Identified:
    """Rank each side's own persona by the likelihood of the side's utterances under each persona of its group.

    Two personas with the same facts, in whatever order, are one: it stands in the order of its first appearance.
    """
    sides, personas, left_out = read_sides(dataset, encoder)
    found: list[tuple[int, float, float]] = []  # dialogue, whether the own one comes first, 1 / its rank
    sides_of: list[list[Side]] = [[] for _ in personas]
    for side in sides:
        sides_of[side.persona].append(side)
    was_training = model.training
    model.eval()
    with autocast, tqdm(total=len(sides), desc="identify", unit="side", leave=False, disable=None) as bar:
        for group in deal(len(personas), seed):
            own = [side for number in group.personas[: group.members] for side in sides_of[number]]
            nll = group_nll(model, own, [personas[number] for number in group.personas], encoder)
            for side, row in zip(own, nll, strict=True):
                if np.isfinite(row).all():
                    found.append((side.dialogue, *rank(row, group.personas.index(side.persona))))
            bar.update(len(own))
    model.train(was_training)
    among, left_out = min(PERSONAS, len(personas)), left_out + len(sides) - len(found)
    if not found:
        return Identified({}, among, left_out)
    dialogues, firsts, reciprocals = map(np.array, zip(*sorted(found), strict=True))
    places = Places(dialogues, np.zeros(len(dialogues), int))
    tallies = {"persona_at_1": Tally.of_equals(places, firsts), "persona_mrr": Tally.of_equals(places, reciprocals)}
    return Identified(tallies, among, left_out)


def read_sides(dataset: PersonaChatDataset, encoder: Encoder) -> tuple[list[Side], list[list[int]], int]:
    """The sides that have a persona, each different persona (facts with their <eos>, and <|sep|>), and how many sides
    have none."""
    sides: dict[tuple[int, int], Side] = {}
    personas: dict[frozenset[tuple[int, ...]], int] = {}
    facts: list[list[int]] = []
    without = set()
    for index, dialogue in enumerate(dataset.tensors.dialogues.tolist()):
        tokens, spans = dataset.sequence(index)
        speaker, start = encoder.speakers.index(tokens[0]), int(np.argmax(tokens == encoder.start))
        told = tokens[1:start].tolist()
        if len(told) == 1:
            without.add((dialogue, speaker))
            continue
        number = personas.setdefault(_facts_in_any_order(told, encoder.eos), len(personas))
        if number == len(facts):
            facts.append(told)
        side = sides.setdefault((dialogue, speaker), Side(dialogue, speaker, number))
        side.talks.append((tokens[start:], spans - start))
    return list(sides.values()), facts, len(without)


def _facts_in_any_order(told: list[int], eos: int) -> frozenset[tuple[int, ...]]:
    ends = [place for place, token in enumerate(told) if token == eos]
    return frozenset(tuple(told[start:end]) for start, end in zip([0, *(end + 1 for end in ends)], ends, strict=False))


def deal(count: int, seed: int) -> list[Group]:
    """`count` personas in groups of PERSONAS: every one is a member of one group, a last group that lacks some
    borrows them."""
    if count < 2:
        return []
    order = np.random.RandomState(seed).permutation(count).tolist()
    groups = []
    for first in range(0, count, PERSONAS):
        members = order[first : first + PERSONAS]
        others = [number for number in order if number not in members] if len(members) < PERSONAS else []
        groups.append(Group(members + others[: PERSONAS - len(members)], len(members)))
    return groups


@torch.inference_mode()
def group_nll(model: PreTrainedModel, sides: list[Side], personas: list[list[int]], encoder: Encoder) -> np.ndarray:
    """Negative log-likelihood of each side's own utterances under each persona, (S, P), nats.

    All are read after the same utterances: the oldest go where the longest persona leaves no room. Infinite where no
    response is left.
    """
    room = model.config.n_positions - 1 - max(map(len, personas))  # <|start|> and the talk
    owners, talks = [], []
    for number, side in enumerate(sides):
        for talk, spans in side.talks:
            kept, labelled = cut_talk(talk[1:], spans - 1, encoder.eos, room - 1)
            if len(labelled):
                owners.append(number)
                talks.append((np.concatenate([talk[:1], kept]), labelled + 1))
    total = np.full((len(sides), len(personas)), np.inf)
    total[owners] = 0
    speakers = np.array([sides[number].speaker for number in owners], int)
    batches = list(_batches(talks, speakers, np.array(owners, int), model.device))
    for column, facts in enumerate(personas):
        # The two differ in their first token only: a batch may hold sides of both.
        _, contexts = read_contexts(model, [[token, *facts] for token in encoder.speakers])
        for batch, which, owner in batches:
            hidden = read_after(model, contexts, which, batch.input_ids, batch.label_index)
            nll, _ = score_hidden(hidden, model.lm_head.weight, batch.targets)
            total[:, column] += np.bincount(owner, nll.cpu().numpy().astype(np.float64), minlength=len(sides))
    return total


def _batches(
    talks: list[Sequence], speakers: np.ndarray, owners: np.ndarray, device: torch.device
) -> Iterator[tuple[Batch, torch.Tensor, np.ndarray]]:
    """Talks of similar length together, the speaker of each (B,), and the side of each of their labels (N,)."""
    for indices in by_length(
        talks, device.type, 0.8 if device.type == "cpu" else 0.0
    ):  # a GPU computes padding for nothing
        chosen = [talks[index] for index in indices]
        labels = [int((spans[:, 1] - spans[:, 0]).sum()) for _, spans in chosen]
        which = torch.from_numpy(speakers[indices]).to(device)
        yield collate(chosen).to(device), which, np.repeat(owners[indices], labels)


def rank(nll: np.ndarray, own: int) -> tuple[float, float]:
    """Whether `own` of the personas (P,) has the lowest, and 1 / its rank; equal ones share, as if drawn by lot."""
    better, equal = int((nll < nll[own]).sum()), int((nll == nll[own]).sum())
    ranks = np.arange(better + 1, better + equal + 1)
    return float(better == 0) / equal, float(np.mean(1 / ranks))
