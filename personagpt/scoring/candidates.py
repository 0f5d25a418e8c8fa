"""Choices by likelihood among the candidates of a turn: hits@1 (ConvAI2 gives 20), and Dialogue NLI's rankings."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import DynamicCache, PreTrainedModel

from personagpt.model.decoders import decode, for_output_matrix, output_matrix
from personagpt.model.generation import fit_context
from personagpt.model.gpt2 import evaluation_mode
from personagpt.model.loss import score_hidden
from personagpt.scoring.entries import Entries, Places
from personagpt.sequences.format import Encoder, side_sequences
from personagpt.text.convai2 import Corpus, Dialogue
from personagpt.text.dialogue_nli import KINDS, OF_EACH_KIND
from personagpt.text.lines import TextError


@dataclass
class Choice:
    """A choice between candidates after the first `start` tokens of its pass. The last candidate is the true one."""

    start: int
    candidates: list[list[int]]  # token ids, with <eos>
    turn: int = 1  # the utterance's number in its dialogue


@dataclass
class ChoicePass:
    """A forward pass over `tokens`, the context of all its choices."""

    tokens: list[int]
    choices: list[Choice]
    dialogue: int = 0  # counted from 0


def choice_passes(corpus: Corpus, encoder: Encoder, max_turns: int, context_length: int) -> list[ChoicePass]:
    """Return the passes over a text with candidates, none for a text without."""
    return [
        ChoicePass(tokens, choices, number)
        for number, (dialogue, sides) in enumerate(corpus)
        for speaker in sides
        if any(index in dialogue.candidates for index in range(speaker, max_turns, 2))
        for tokens, choices in _side_passes(dialogue, speaker, encoder, max_turns, context_length)
    ]


def _side_passes(
    dialogue: Dialogue, speaker: int, encoder: Encoder, max_turns: int, context_length: int
) -> Iterator[tuple[list[int], list[Choice]]]:
    """Yield tokens and choices of a side's passes: one for each sequence, and one for a choice that needs its own."""
    utterances = encoder.texts(dialogue.utterances[:max_turns])
    prefix = encoder.prefix(speaker, encoder.texts(dialogue.personas[speaker]))
    own = iter(range(speaker, len(utterances), 2))  # each own utterance is a response of one sequence only, in order
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


def ranking_passes(rankings: Corpus, encoder: Encoder, context_length: int, name: str) -> list[ChoicePass]:
    """Return the pass over each record of Dialogue NLI's ranking set `name`, which `read_rankings` has read.

    Raises TextError where a persona and an utterance do not fit the context.
    """
    passes = []
    for number, (dialogue, (speaker,)) in enumerate(rankings):
        turns = len(dialogue.utterances)
        try:
            for tokens, choices in _side_passes(dialogue, speaker, encoder, turns, context_length):
                passes.append(ChoicePass(tokens, choices, number))
        except OverflowError:
            problem = f"the persona and an utterance exceed the model's context of {context_length} tokens"
            raise TextError(f"{name}:{dialogue.line}: {problem}: leave this record out") from None
    return passes


def hits_at_1(model: PreTrainedModel, passes: list[ChoicePass], autocast: AbstractContextManager) -> Entries:
    """Return for each choice whether the true candidate has the highest mean log-likelihood per token."""
    hits = [is_hit(scores) for scores in all_scores(model, passes, autocast)]
    places = [(choice_pass.dialogue, choice.turn) for choice_pass in passes for choice in choice_pass.choices]
    return Entries.of_equals(Places(*np.array(places).T), np.array(hits, float))


def ranking_metrics(
    model: PreTrainedModel, passes: list[ChoicePass], autocast: AbstractContextManager
) -> dict[str, Entries]:
    """Return for each record which kind of candidate has the highest mean log-likelihood per token.

    The entries of `dnli_hits` say whether it is the true response, the others whether it is a response that
    contradicts, one that is similar, or one of another dialogue.
    """
    kinds = []
    for scores in all_scores(model, passes, autocast):
        kinds.append(len(KINDS) if is_hit(scores) else int(np.argmax(scores)) // OF_EACH_KIND)
    dialogues = np.array([choice_pass.dialogue for choice_pass in passes])
    places = Places(dialogues, np.zeros(len(passes), int))  # without turns, because these are no dialogues of the text
    names = ("dnli_contradict", "dnli_entail", "dnli_neutral", "dnli_hits")
    return {name: Entries.of_equals(places, (np.array(kinds) == kind).astype(float)) for kind, name in enumerate(names)}


def all_scores(model: PreTrainedModel, passes: list[ChoicePass], autocast: AbstractContextManager) -> list[list[float]]:
    """Return `pass_scores` of the choices of all passes."""
    with evaluation_mode(model), autocast:
        bar = tqdm(passes, desc="score candidates", unit="talk", leave=False, disable=None)
        return [scores for choice_pass in bar for scores in pass_scores(model, choice_pass)]


def is_hit(scores: list[float]) -> bool:
    """Return whether no candidate scores above the true one, the last."""
    return scores[-1] >= max(scores)


@torch.inference_mode()
def pass_scores(model: PreTrainedModel, choice_pass: ChoicePass) -> list[list[float]]:
    """Return for each choice each candidate's mean log-likelihood per token."""
    ids = torch.tensor([choice_pass.tokens], device=model.device)
    cache = DynamicCache(config=model.config)
    hidden = decode(model, ids, cache=cache)  # (1, T, C)
    scores = []
    for choice in reversed(choice_pass.choices):  # contexts shrink from choice to choice, and with them the cache
        cache.crop(choice.start - cache.get_seq_length())
        scores.append(_choice_scores(model, choice, cache, hidden[:, choice.start - 1 : choice.start]))
    return scores[::-1]


def _choice_scores(model: PreTrainedModel, choice: Choice, context: DynamicCache, last_hidden: Tensor) -> list[float]:
    """Score one choice after the cached `context`, whose last hidden state is `last_hidden` (1, 1, C)."""
    count, width = len(choice.candidates), max(map(len, choice.candidates))
    hidden = last_hidden.expand(count, -1, -1)  # predicts every first token
    if width > 1:
        # The last token predicts nothing, so it is no input. A causal model never looks at padding to its right.
        ids = [ids[:-1] + [0] * (width - len(ids)) for ids in choice.candidates]
        cache = copy.deepcopy(context)
        cache.batch_repeat_interleave(count)
        after = decode(model, torch.tensor(ids, device=model.device), cache=cache)
        hidden = torch.cat([hidden, after], dim=1)  # (K, L, C)
    return [-float(nll.double().mean()) for nll in candidates_nll(model, hidden, choice.candidates)]


def candidates_nll(model: PreTrainedModel, hidden: Tensor, candidates: list[list[int]]) -> list[Tensor]:
    """Return the negative log-likelihood (n,) of the n tokens of each of K candidates, on the CPU, in nats.

    hidden (K, L, C) are the last hidden states before each token of the longest candidate.
    """
    sizes = [len(ids) for ids in candidates]
    # Counted on the CPU, because to count rows on a GPU is to wait for it.
    rows = (torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]).flatten().nonzero()[:, 0]  # of (K * L)
    targets = torch.tensor([token for ids in candidates for token in ids], device=model.device)
    wanted = for_output_matrix(model, hidden.flatten(0, 1)[rows.to(hidden.device)])
    nll, _ = score_hidden(wanted, output_matrix(model), targets)
    return list(nll.cpu().split(sizes))
