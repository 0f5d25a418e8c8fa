"""hits@1: whether a model finds the true response among the candidates of a turn (ConvAI2 gives 20)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import DynamicCache, PreTrainedModel

from personagpt.model.generation import fit_context
from personagpt.scoring.metrics import score_hidden
from personagpt.sequences.format import Encoder, side_sequences
from personagpt.text.convai2 import Corpus


@dataclass
class Turn:
    """A turn to score: its context is the first `start` tokens of a talk; the true candidate is the last one."""

    start: int
    candidates: list[list[int]]  # token ids, with <eos>


@dataclass
class Talk:
    """One pass over `tokens` serves all its turns."""

    tokens: list[int]
    turns: list[Turn]


def read_talks(corpus: Corpus, encoder: Encoder, max_turns: int, context: int) -> list[Talk]:
    """The talks of a corpus whose text carries candidates; none where it carries none."""
    talks: list[Talk] = []
    for dialogue, sides in zip(corpus.dialogues, corpus.sides, strict=True):
        utterances = encoder.texts(dialogue.utterances[:max_turns])
        for speaker in sides:
            own = range(speaker, len(utterances), 2)
            if not any(index in dialogue.candidates for index in own):
                continue
            prefix = encoder.prefix(speaker, encoder.texts(dialogue.personas[speaker]))
            indices = iter(own)  # every own utterance is a response of just one sequence, in order
            for tokens, spans in side_sequences(prefix, utterances, speaker, encoder.eos, context):
                turns = []
                for (start, _), index in zip(spans, indices, strict=False):
                    if index not in dialogue.candidates:
                        continue
                    texts = encoder.texts(dialogue.candidates[index])
                    candidates = [[*ids, encoder.eos][: context - len(prefix)] for ids in texts]
                    room = context + 1 - max(map(len, candidates))  # a candidate's last token is never an input
                    if start <= room:
                        turns.append(Turn(start, candidates))
                    else:  # the longest candidate needs more room than the true one: a shorter context, for all
                        shorter = fit_context(tokens[:start], encoder, room)
                        talks.append(Talk(shorter, [Turn(len(shorter), candidates)]))
                if turns:
                    talks.append(Talk(tokens[: turns[-1].start], turns))
    return talks


def hits_at_1(model: PreTrainedModel, talks: list[Talk], autocast: AbstractContextManager) -> float:
    """The share of turns whose true candidate has the highest mean log-likelihood per token."""
    hits = []
    was_training = model.training
    model.eval()
    with autocast:
        for talk in tqdm(talks, desc="score candidates", unit="talk", leave=False):
            hits += [is_hit(scores) for scores in talk_scores(model, talk)]
    model.train(was_training)
    return sum(hits) / len(hits)


def is_hit(scores: list[float]) -> bool:
    """Whether nothing scores above the true candidate, the last one."""
    return scores[-1] >= max(scores)


@torch.inference_mode()
def talk_scores(model: PreTrainedModel, talk: Talk) -> list[list[float]]:
    """For each turn, each candidate's mean log-likelihood per token."""
    ids = torch.tensor([talk.tokens], device=model.device)
    output = model.transformer(ids, past_key_values=DynamicCache(config=model.config), use_cache=True)
    layers = [(layer.keys, layer.values) for layer in output.past_key_values.layers]
    return [_turn_scores(model, turn, layers, output.last_hidden_state) for turn in talk.turns]


def _turn_scores(
    model: PreTrainedModel, turn: Turn, layers: list[tuple[Tensor, Tensor]], context_hidden: Tensor
) -> list[float]:
    """`layers` are the talk's keys and values, (1, H, T, D) each; `context_hidden` is (1, T, C)."""
    count, width = len(turn.candidates), max(map(len, turn.candidates))
    # Right padding: a causal model never looks there. The last token predicts nothing, so it is no input.
    ids = torch.tensor([ids[:-1] + [0] * (width - len(ids)) for ids in turn.candidates], dtype=torch.int64)
    hidden = context_hidden[:, turn.start - 1 : turn.start].expand(count, -1, -1)  # predicts every first token
    if width > 1:
        cache = DynamicCache(config=model.config)
        for number, pair in enumerate(layers):
            keys, values = (part[:, :, : turn.start].expand(count, -1, -1, -1) for part in pair)
            cache.update(keys, values, number)
        after = model.transformer(ids.to(model.device), past_key_values=cache, use_cache=True).last_hidden_state
        hidden = torch.cat([hidden, after], dim=1)  # (K, L, C)
    sizes = [len(ids) for ids in turn.candidates]
    scored = torch.arange(width) < torch.tensor(sizes)[:, None]  # (K, L)
    targets = torch.tensor([token for ids in turn.candidates for token in ids], device=model.device)
    nll, _ = score_hidden(hidden[scored.to(hidden.device)], model.lm_head.weight, targets)
    return [-float(part.double().mean()) for part in nll.cpu().split(sizes)]
