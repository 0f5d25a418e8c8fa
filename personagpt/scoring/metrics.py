"""The metrics of a model on held-out dialogues (teacher-forced), and of the replies it generates.

Fractions throughout (F1 0.434). A metric that cannot be computed is absent.
"""

from __future__ import annotations

import math
import string
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedModel

from personagpt.model.generation import Draft, fit_context, generate_replies
from personagpt.model.gpt2 import hidden_states
from personagpt.model.loss import score_hidden
from personagpt.model.sampling import GREEDY
from personagpt.sequences.batches import Batch, collate
from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.sequences.format import Encoder

Sequence = tuple[np.ndarray, np.ndarray]  # tokens (T,), start and end of each response (R, 2)


@dataclass(frozen=True)
class Metric:
    """One of the figures, and how people see it."""

    name: str
    meaning: str
    as_percent: bool = False
    in_training: bool = False  # whether every evaluation of a run computes it


METRICS = (
    Metric("loss", "nats per response token", in_training=True),
    Metric("perplexity", "exp(loss)", in_training=True),
    Metric("turn_perplexity", "mean over responses, first token left out", in_training=True),
    Metric(
        "token_f1", "teacher-forced: an untrained model already reaches about 70 %", as_percent=True, in_training=True
    ),
    Metric(
        "persona_gain",
        "perplexity with exchanged personas over perplexity; above 1: the model uses the persona",
        in_training=True,
    ),
    Metric("word_f1", "generated words against the human's", as_percent=True),
    Metric("distinct_1", "distinct words of the replies", as_percent=True),
    Metric("distinct_2", "distinct pairs of words", as_percent=True),
    Metric("hits_at_1", "the true response scored highest among its candidates", as_percent=True),
)
PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation, " "))
TOKENS_PER_BATCH = {"cpu": 4096, "cuda": 32768, "mps": 8192}  # padded; without gradients larger buys nothing


@dataclass
class ResponseScores:
    """What one pass says of one response of n tokens, its <eos> included."""

    nll: np.ndarray  # (n,) negative log-likelihood of each token, nats
    predicted: np.ndarray  # (n,) the most likely token at each position
    tokens: np.ndarray  # (n,) the true ones


def score(
    model: torch.nn.Module, sequences: list[Sequence], autocast: AbstractContextManager, title: str = "score"
) -> list[list[ResponseScores]]:
    """For each sequence the scores of its responses, in order."""
    scores: list[list[ResponseScores]] = [[] for _ in sequences]
    was_training = model.training
    model.eval()
    with torch.inference_mode(), autocast:
        batches = list(_by_length(sequences, model.device.type))
        for indices in tqdm(batches, desc=title, unit="batch", leave=False, disable=None):
            chosen = [sequences[index] for index in indices]
            nll, predicted, targets = score_batch(model, collate(chosen).to(model.device))
            start = 0
            for index, (_, spans) in zip(indices, chosen, strict=True):
                for size in (spans[:, 1] - spans[:, 0]).tolist():
                    part = slice(start, start + size)
                    scores[index].append(ResponseScores(nll[part], predicted[part], targets[part]))
                    start += size
    model.train(was_training)
    return scores


def score_batch(model: torch.nn.Module, batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Negative log-likelihood, most likely token and true token at each of the batch's N labels."""
    hidden = hidden_states(model, batch.input_ids, batch.label_index)  # (N, C)
    nll, predicted = score_hidden(hidden, model.lm_head.weight, batch.targets)
    return nll.cpu().numpy(), predicted.cpu().numpy(), batch.targets.cpu().numpy()


def _by_length(sequences: list[Sequence], device: str) -> Iterator[list[int]]:
    """Indices in batches of similar length, longest first, each padded to at most TOKENS_PER_BATCH."""
    order = sorted(range(len(sequences)), key=lambda index: -len(sequences[index][0]))
    while order:
        count = max(1, TOKENS_PER_BATCH[device] // len(sequences[order[0]][0]))
        yield order[:count]
        order = order[count:]


def teacher_forced_metrics(
    model: torch.nn.Module, dataset: PersonaChatDataset, encoder: Encoder, autocast: AbstractContextManager
) -> dict[str, float]:
    """`loss`, `perplexity`, `turn_perplexity`, `token_f1`, `persona_gain`, `responses`, `response_tokens`."""
    sequences = [dataset.sequence(index) for index in range(len(dataset))]
    true = score(model, sequences, autocast, "score")
    responses = [response for scores in true for response in scores]
    tokens = sum(len(response.nll) for response in responses)
    loss = sum(response.nll.sum(dtype=np.float64) for response in responses) / tokens
    metrics = {
        "loss": float(loss),
        "perplexity": perplexity(loss),
        "turn_perplexity": perplexity(np.mean([response.nll[1:].mean(dtype=np.float64) for response in responses])),
        "token_f1": float(np.mean([token_f1(response, encoder.eos) for response in responses])),
    }
    limit = int(dataset.metadata["context"])
    exchanged = exchange_personas(sequences, dataset.tensors.dialogues, encoder, limit)
    if exchanged is not None:
        fitting = [(own, *rest) for own, rest in zip(true, exchanged, strict=True) if len(rest[0][1])]
        swapped = score(model, [sequence for _, sequence, _ in fitting], autocast, "score with exchanged personas")
        metrics["persona_gain"] = persona_gain(
            [own for own, _, _ in fitting], swapped, [dropped for _, _, dropped in fitting]
        )
    return metrics | {"responses": len(responses), "response_tokens": tokens}


def perplexity(loss: float) -> float:
    """exp(loss); infinite where that overflows."""
    return math.exp(loss) if loss < 700 else math.inf


def token_f1(response: ResponseScores, eos: int) -> float:
    """PersonaGPT's F1: of the set of tokens predicted at the response's positions, and the set of its tokens."""
    predicted, true = set(response.predicted.tolist()) - {eos}, set(response.tokens.tolist()) - {eos}
    return f1(len(predicted & true), len(predicted), len(true))


def f1(hits: int, predicted: int, true: int) -> float:
    """Harmonic mean of precision and recall: 2 hits / (predicted + true), and 0 without hits."""
    return 2 * hits / (predicted + true) if hits else 0.0


def persona_gain(true: list[list[ResponseScores]], swapped: list[list[ResponseScores]], dropped: list[int]) -> float:
    """Perplexity under exchanged personas over the true one, on the responses scored under both."""
    pairs = [
        (with_own, with_other)
        for own, other, gone in zip(true, swapped, dropped, strict=True)
        for with_own, with_other in zip(own[gone:], other, strict=True)
    ]
    difference = sum(other.nll.sum(dtype=np.float64) - own.nll.sum(dtype=np.float64) for own, other in pairs)
    return perplexity(difference / sum(len(own.nll) for own, _ in pairs))


def exchange_personas(
    sequences: list[Sequence], dialogues: np.ndarray, encoder: Encoder, limit: int
) -> list[tuple[Sequence, int]] | None:
    """Each sequence with the facts of the same side of the next dialogue, the last one with the first's.

    Where that no longer fits `limit` tokens, the oldest utterances go; the number says how many responses went with
    them (all, where not even the last one fits). None where there is nobody to exchange with.
    """
    starts = [int(np.argmax(tokens == encoder.start)) + 1 for tokens, _ in sequences]
    prefixes = {  # (speaker's token, dialogue) -> prefix, in file order
        (int(tokens[0]), int(dialogue)): tokens[:start]
        for (tokens, _), dialogue, start in zip(sequences, dialogues, starts, strict=True)
    }
    following = {}
    for speaker in encoder.speakers:
        keys = [key for key in prefixes if key[0] == speaker]
        following |= dict(zip(keys, keys[1:] + keys[:1], strict=True))
    if all(key == other for key, other in following.items()):
        return None
    exchanged = []
    for (tokens, spans), dialogue, start in zip(sequences, dialogues, starts, strict=True):
        prefix = prefixes[following[int(tokens[0]), int(dialogue)]]
        talk = tokens[start:]
        cuts = [0, *(np.flatnonzero(talk == encoder.eos) + 1).tolist()]
        cut = next(cut for cut in cuts if len(prefix) + len(talk) - cut <= limit or cut == cuts[-2])
        kept = spans[spans[:, 0] >= start + cut] - start - cut + len(prefix)
        kept = kept[kept[:, 1] <= limit]
        exchanged.append(((np.concatenate([prefix, talk[cut:]])[:limit], kept), len(spans) - len(kept)))
    return exchanged


def generated_metrics(
    model: PreTrainedModel,
    dataset: PersonaChatDataset,
    encoder: Encoder,
    autocast: AbstractContextManager,
    count: int,
) -> dict[str, float]:
    """`word_f1`, `distinct_1`, `distinct_2` of greedy replies in place of the first `count` responses."""
    drafts, human = [], []
    room = model.config.n_positions - GREEDY.max_new_tokens  # where a reply needs more, the oldest utterances go
    for index in range(len(dataset)):
        tokens, spans = dataset.sequence(index)
        for start, end in spans[: count - len(drafts)].tolist():
            drafts.append(Draft(fit_context(tokens[:start].tolist(), encoder, room)))
            human.append(encoder.decode_reply(tokens[start:end].tolist()))
    replies = generate_replies(model, encoder, drafts, autocast, "generate")
    return {
        "word_f1": float(np.mean([word_f1(ours, theirs) for ours, theirs in zip(replies, human, strict=True)])),
        "distinct_1": distinct(replies, 1),
        "distinct_2": distinct(replies, 2),
        "generated": len(replies),
    }


def words(text: str) -> list[str]:
    """ConvAI2's words: lower case, punctuation replaced by spaces, the articles a, an, the dropped."""
    return [word for word in text.lower().translate(PUNCTUATION).split() if word not in ("a", "an", "the")]


def word_f1(generated: str, true: str) -> float:
    """ConvAI2's F1: multiset overlap of words."""
    ours, theirs = Counter(words(generated)), Counter(words(true))
    return f1((ours & theirs).total(), ours.total(), theirs.total())


def grams(text: str, n: int) -> list[tuple[str, ...]]:
    """Every n words in a row of a text."""
    listed = words(text)
    return [tuple(listed[i : i + n]) for i in range(len(listed) - n + 1)]


def distinct(replies: Iterable[str], n: int) -> float:
    """Distinct n-grams over all n-grams of the replies' words (Li et al. 2016); 0 where there are none."""
    found = [gram for reply in replies for gram in grams(reply, n)]
    return len(set(found)) / len(found) if found else 0.0


def repeats(reply: str, earlier: Iterable[str], n: int = 4) -> bool:
    """Whether the reply says n words in a row that its speaker said in one of the `earlier` utterances."""
    said = {gram for utterance in earlier for gram in grams(utterance, n)}
    return not said.isdisjoint(grams(reply, n))
