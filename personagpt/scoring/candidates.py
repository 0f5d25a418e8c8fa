"""hits@1: whether a model finds the true response among the candidates of a turn (ConvAI2 gives 20)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from personagpt.model.generation import fit_context
from personagpt.model.loss import score_hidden
from personagpt.model.shared_context import KeysAndValues, read_after, read_contexts
from personagpt.scoring.tally import Places, Tally
from personagpt.sequences.format import Encoder, side_sequences
from personagpt.text.convai2 import Corpus, Dialogue


@dataclass
class Choice:
    """A response to be chosen: its context is the first `start` tokens of its pass; the true candidate is the last."""

    start: int
    candidates: list[list[int]]  # token ids, with <eos>
    turn: int = 1  # the utterance's number in its dialogue


@dataclass
class ChoicePass:
    """One pass over `tokens` serves all its choices."""

    tokens: list[int]
    choices: list[Choice]
    dialogue: int = 0  # counted from 0


def choice_passes(corpus: Corpus, encoder: Encoder, max_turns: int, context_length: int) -> list[ChoicePass]:
    """The passes over a corpus whose text carries candidates; none where it carries none."""
    passes: list[ChoicePass] = []
    for number, (dialogue, sides) in enumerate(corpus):
        for speaker in sides:
            if any(index in dialogue.candidates for index in range(speaker, max_turns, 2)):
                for tokens, choices in _side_passes(dialogue, speaker, encoder, max_turns, context_length):
                    passes.append(ChoicePass(tokens, choices, number))
    return passes


def _side_passes(
    dialogue: Dialogue, speaker: int, encoder: Encoder, max_turns: int, context_length: int
) -> Iterator[tuple[list[int], list[Choice]]]:
    """Tokens and choices of a side's passes: one for each of its sequences, and one for a choice that needs its own."""
    utterances = encoder.texts(dialogue.utterances[:max_turns])
    prefix = encoder.prefix(speaker, encoder.texts(dialogue.personas[speaker]))
    own = iter(range(speaker, len(utterances), 2))  # every own utterance is a response of just one sequence, in order
    for tokens, spans in side_sequences(prefix, utterances, speaker, encoder.eos, context_length):
        choices = []
        for (start, _), index in zip(spans, own, strict=False):
            if index not in dialogue.candidates:
                continue
            texts = encoder.texts(dialogue.candidates[index])
            candidates = [[*ids, encoder.eos][: context_length - len(prefix)] for ids in texts]
            room = context_length + 1 - max(map(len, candidates))  # a candidate's last token is never an input
            if start <= room:
                choices.append(Choice(start, candidates, index + 1))
            else:  # the longest candidate needs more room than the true one: a shorter context, for all
                shorter = fit_context(tokens[:start], encoder, room)
                yield shorter, [Choice(len(shorter), candidates, index + 1)]
        if choices:
            yield tokens[: choices[-1].start], choices


def hits_at_1(model: PreTrainedModel, passes: list[ChoicePass], autocast: AbstractContextManager) -> Tally:
    """For each choice, whether the true candidate has the highest mean log-likelihood per token."""
    hits = []
    was_training = model.training
    model.eval()
    with autocast:
        for choice_pass in tqdm(passes, desc="score candidates", unit="talk", leave=False, disable=None):
            hits += [is_hit(scores) for scores in pass_scores(model, choice_pass)]
    model.train(was_training)
    places = [(choice_pass.dialogue, choice.turn) for choice_pass in passes for choice in choice_pass.choices]
    return Tally.of_equals(Places(*np.array(places).T), np.array(hits, float))


def is_hit(scores: list[float]) -> bool:
    """Whether nothing scores above the true candidate, the last one."""
    return scores[-1] >= max(scores)


def pass_scores(model: PreTrainedModel, choice_pass: ChoicePass) -> list[list[float]]:
    """For each choice, each candidate's mean log-likelihood per token."""
    hidden, context = read_contexts(model, [choice_pass.tokens])
    return [_choice_scores(model, choice, context, hidden) for choice in choice_pass.choices]


@torch.inference_mode()
def _choice_scores(
    model: PreTrainedModel, choice: Choice, context: KeysAndValues, context_hidden: Tensor
) -> list[float]:
    """`context` and `context_hidden` (1, T, C) are the pass's."""
    count, width = len(choice.candidates), max(map(len, choice.candidates))
    # Right padding: a causal model never looks there. The last token predicts nothing, so it is no input.
    ids = torch.tensor([ids[:-1] + [0] * (width - len(ids)) for ids in choice.candidates], dtype=torch.int64)
    hidden = context_hidden[:, choice.start - 1 : choice.start].expand(count, -1, -1)  # predicts every first token
    if width > 1:
        before = [(keys[:, :, : choice.start], values[:, :, : choice.start]) for keys, values in context]
        same, everywhere = torch.zeros(count, dtype=torch.int64), torch.arange(ids.numel())
        after = read_after(model, before, *(part.to(model.device) for part in (same, ids, everywhere)))
        hidden = torch.cat([hidden, after.unflatten(0, ids.shape)], dim=1)  # (K, L, C)
    sizes = [len(ids) for ids in choice.candidates]
    # Counted here, not on the device: how many rows there are depends on no value that a GPU would be waited for.
    scored = (torch.arange(width) < torch.tensor(sizes)[:, None]).flatten().nonzero()[:, 0]  # rows of (K * L)
    targets = torch.tensor([token for ids in choice.candidates for token in ids], device=model.device)
    nll, _ = score_hidden(hidden.flatten(0, 1)[scored.to(hidden.device)], model.lm_head.weight, targets)
    return [-float(part.double().mean()) for part in nll.cpu().split(sizes)]
