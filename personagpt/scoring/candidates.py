"""hits@1: whether a model finds the true response among the candidates of a turn (ConvAI2 gives 20)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import DynamicCache, PreTrainedModel

from personagpt.model.generation import fit_context
from personagpt.model.loss import score_hidden
from personagpt.sequences.format import Encoder, side_sequences
from personagpt.text.convai2 import Corpus, Dialogue


@dataclass
class Choice:
    """A response to be chosen: its context is the first `start` tokens of its pass; the true candidate is the last."""

    start: int
    candidates: list[list[int]]  # token ids, with <eos>


@dataclass
class ChoicePass:
    """One pass over `tokens` serves all its choices."""

    tokens: list[int]
    choices: list[Choice]


def choice_passes(corpus: Corpus, encoder: Encoder, max_turns: int, context_length: int) -> list[ChoicePass]:
    """The passes over a corpus whose text carries candidates; none where it carries none."""
    passes: list[ChoicePass] = []
    for dialogue, sides in zip(corpus.dialogues, corpus.sides, strict=True):
        for speaker in sides:
            if any(index in dialogue.candidates for index in range(speaker, max_turns, 2)):
                passes += _side_passes(dialogue, speaker, encoder, max_turns, context_length)
    return passes


def _side_passes(
    dialogue: Dialogue, speaker: int, encoder: Encoder, max_turns: int, context_length: int
) -> Iterator[ChoicePass]:
    """The passes over one speaker's side: one for each of its sequences, and one for a choice that needs its own."""
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
                choices.append(Choice(start, candidates))
            else:  # the longest candidate needs more room than the true one: a shorter context, for all
                shorter = fit_context(tokens[:start], encoder, room)
                yield ChoicePass(shorter, [Choice(len(shorter), candidates)])
        if choices:
            yield ChoicePass(tokens[: choices[-1].start], choices)


def hits_at_1(model: PreTrainedModel, passes: list[ChoicePass], autocast: AbstractContextManager) -> float:
    """The share of choices whose true candidate has the highest mean log-likelihood per token."""
    hits = []
    was_training = model.training
    model.eval()
    with autocast:
        for choice_pass in tqdm(passes, desc="score candidates", unit="talk", leave=False, disable=None):
            hits += [is_hit(scores) for scores in pass_scores(model, choice_pass)]
    model.train(was_training)
    return sum(hits) / len(hits)


def is_hit(scores: list[float]) -> bool:
    """Whether nothing scores above the true candidate, the last one."""
    return scores[-1] >= max(scores)


@torch.inference_mode()
def pass_scores(model: PreTrainedModel, choice_pass: ChoicePass) -> list[list[float]]:
    """For each choice, each candidate's mean log-likelihood per token."""
    ids = torch.tensor([choice_pass.tokens], device=model.device)
    output = model.transformer(ids, past_key_values=DynamicCache(config=model.config), use_cache=True)
    layers = [(layer.keys, layer.values) for layer in output.past_key_values.layers]
    return [_choice_scores(model, choice, layers, output.last_hidden_state) for choice in choice_pass.choices]


def _choice_scores(
    model: PreTrainedModel, choice: Choice, layers: list[tuple[Tensor, Tensor]], context_hidden: Tensor
) -> list[float]:
    """`layers` are the pass's keys and values, (1, H, T, D) each; `context_hidden` is (1, T, C)."""
    count, width = len(choice.candidates), max(map(len, choice.candidates))
    # Right padding: a causal model never looks there. The last token predicts nothing, so it is no input.
    ids = torch.tensor([ids[:-1] + [0] * (width - len(ids)) for ids in choice.candidates], dtype=torch.int64)
    hidden = context_hidden[:, choice.start - 1 : choice.start].expand(count, -1, -1)  # predicts every first token
    if width > 1:
        cache = DynamicCache(config=model.config)
        for number, pair in enumerate(layers):
            keys, values = (part[:, :, : choice.start].expand(count, -1, -1, -1) for part in pair)
            cache.update(keys, values, number)
        after = model.transformer(ids.to(model.device), past_key_values=cache, use_cache=True).last_hidden_state
        hidden = torch.cat([hidden, after], dim=1)  # (K, L, C)
    sizes = [len(ids) for ids in choice.candidates]
    scored = torch.arange(width) < torch.tensor(sizes)[:, None]  # (K, L)
    targets = torch.tensor([token for ids in choice.candidates for token in ids], device=model.device)
    nll, _ = score_hidden(hidden[scored.to(hidden.device)], model.lm_head.weight, targets)
    return [-float(part.double().mean()) for part in nll.cpu().split(sizes)]
