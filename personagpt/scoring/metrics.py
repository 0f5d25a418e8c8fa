"""The teacher-forced metrics of a model on held-out dialogues, and the figures of all metrics.

Figures are fractions (F1 0.434). A metric that cannot be computed is absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from personagpt.errors import is_out_of_memory
from personagpt.model.decoders import hidden_states, output_matrix
from personagpt.model.gpt2 import evaluation_mode
from personagpt.model.loss import score_hidden
from personagpt.scoring.definitions import METRICS
from personagpt.scoring.entries import Entries, Places
from personagpt.sequences.batches import Batch, collate
from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.sequences.fact_order import FactOrder
from personagpt.sequences.format import Encoder

LabelledTokens = tuple[np.ndarray, np.ndarray]  # a sequence's tokens (T,), start and end of each response (R, 2)

OfBatch = Callable[[torch.nn.Module, Batch], tuple[np.ndarray, ...]]  # arrays with an entry for each label, in order

TOKENS_PER_BATCH = {"cpu": 4096, "cuda": 32768, "mps": 8192}  # padded; larger batches are no faster


@dataclass
class ResponseScores:
    """The scores of one response of n tokens, its <eos> included."""

    nll: np.ndarray  # (n,) negative log-likelihood of each token, nats
    predicted: np.ndarray  # (n,) the most likely token at each position
    tokens: np.ndarray  # (n,) the true tokens


def score(
    model: torch.nn.Module, sequences: list[LabelledTokens], autocast: AbstractContextManager, title: str = ""
) -> list[list[ResponseScores]]:
    """Return the scores of each sequence's responses, in order; a `title` shows a progress bar."""
    scores: list[list[ResponseScores]] = [[] for _ in sequences]
    with evaluation_mode(model), torch.inference_mode(), autocast:
        batches = list(by_length(sequences, model.device.type))
        for indices in tqdm(batches, desc=title, unit="batch", leave=False, disable=None if title else True):
            chosen = [sequences[index] for index in indices]
            nll, predicted, targets = score_in_memory(model, chosen)
            start = 0
            for index, (_, spans) in zip(indices, chosen, strict=True):
                for size in (spans[:, 1] - spans[:, 0]).tolist():
                    part = slice(start, start + size)
                    scores[index].append(ResponseScores(nll[part], predicted[part], targets[part]))
                    start += size
    return scores


def score_in_memory(
    model: torch.nn.Module, sequences: list[LabelledTokens], of_batch: OfBatch | None = None
) -> tuple[np.ndarray, ...]:
    """Return `of_batch` (default: `score_batch`) of the sequences. Where memory gives out, score half after half.

    Training may have left little memory, and the setting `batch_size` has no effect here.
    """
    try:
        return (of_batch or score_batch)(model, collate(sequences).to(model.device))
    except Exception as error:
        if len(sequences) == 1 or not is_out_of_memory(error):
            raise
    middle = len(sequences) // 2
    halves = [score_in_memory(model, half, of_batch) for half in (sequences[:middle], sequences[middle:])]
    return tuple(np.concatenate(parts) for parts in zip(*halves, strict=True))


def score_batch(model: torch.nn.Module, batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return negative log-likelihood, most likely token and true token of each of the batch's N labels."""
    hidden = hidden_states(model, batch.input_ids, batch.label_index)  # (N, C)
    nll, predicted = score_hidden(hidden, output_matrix(model), batch.targets)
    return nll.cpu().numpy(), predicted.cpu().numpy(), batch.targets.cpu().numpy()


def by_length(sequences: list[LabelledTokens], device: str) -> Iterator[list[int]]:
    """Yield indices in batches of similar length, longest first, each padded to at most TOKENS_PER_BATCH."""
    order = sorted(range(len(sequences)), key=lambda index: -len(sequences[index][0]))
    while order:
        count = max(1, TOKENS_PER_BATCH[device] // len(sequences[order[0]][0]))
        yield order[:count]
        order = order[count:]


def figures(entries: dict[str, Entries]) -> dict[str, float]:
    """Return each metric's figure, and the counts behind them.

    `responses` and `response_tokens`; `generated` replies, `nli_replies` that a classifier has read, `goal_replies`
    with a goal, `rankings` of Dialogue NLI, `identified` sides.
    """
    result = {metric.name: metric.figure(entries[metric.name]) for metric in METRICS if metric.name in entries}
    if "loss" in entries:  # not of a program behind an API
        result |= {"responses": len(entries["loss"]), "response_tokens": int(entries["loss"].weights.sum())}
    counted = {"generated": "word_f1", "nli_replies": "contradicts_self", "goal_replies": "goal_hit"}
    counted |= {"rankings": "dnli_hits", "identified": "persona_at_1"}
    return result | {count: len(entries[name]) for count, name in counted.items() if name in entries}


def figures_by_turn(entries: dict[str, Entries]) -> list[dict[str, float]]:
    """Return for each turn with a response its number from 1, its `responses`, and the metrics of these alone."""
    rows, counted = [], "loss" if "loss" in entries else "word_f1"
    for turn in np.unique(entries[counted].places.turns).tolist():
        here = {name: all_turns[all_turns.places.turns == turn] for name, all_turns in entries.items()}
        found = {metric.name: metric.figure(here[metric.name]) for metric in METRICS if len(here.get(metric.name, ()))}
        rows.append({"turn": turn, "responses": len(here[counted])} | found)
    return rows


def teacher_forced(
    model: torch.nn.Module, dataset: PersonaChatDataset, encoder: Encoder, autocast: AbstractContextManager
) -> dict[str, Entries]:
    """Return an entry for each response of `loss`, `perplexity`, `turn_perplexity`, `token_f1` and `persona_gain`."""
    sequences = [dataset.sequence(index) for index in range(len(dataset))]
    places = response_places(sequences, dataset.tensors.dialogues, encoder)
    responses = [response for scores in score(model, sequences, autocast, "score") for response in scores]
    loss = _loss_entries(places, responses)
    f1s = np.array([token_f1(response, encoder.eos) for response in responses])
    entries = {
        "loss": loss,
        "perplexity": loss,
        "token_f1": Entries.of_equals(places, f1s),
    }
    # Where a tokenizer makes no token of a letter, its <eos> is the whole response.
    is_long = np.array([len(response.nll) > 1 for response in responses])
    if is_long.any():
        after_first = [response.nll[1:].mean(dtype=np.float64) for response in responses if len(response.nll) > 1]
        entries["turn_perplexity"] = Entries.of_equals(places[is_long], np.array(after_first))
    limit = int(dataset.metadata["context"])
    exchanged = exchange_personas(sequences, dataset.tensors.dialogues, encoder, limit)
    if exchanged is not None:
        fitting = [sequence for sequence, _ in exchanged if len(sequence[1])]
        swapped = score(model, fitting, autocast, "score with exchanged personas")
        # Responses that no longer fit go from the front of a sequence, so the last ones of each are compared.
        compared = np.concatenate([np.arange(dropped + len(kept)) >= dropped for (_, kept), dropped in exchanged])
        others = _loss_entries(places[compared], [response for scores in swapped for response in scores])
        gain = others.values - loss.values[compared]
        entries["persona_gain"] = Entries(others.places, gain, others.weights)
    return entries


def order_spread(
    model: torch.nn.Module,
    dataset: PersonaChatDataset,
    encoder: Encoder,
    autocast: AbstractContextManager,
    loss: Entries,
    orders: int,
    seed: int,
) -> Entries:
    """Return the negative log-likelihood of each response with the facts in their worst and best order: values (R, 2).

    These are the orders with the highest and the lowest likelihood of a sequence's responses, among `orders`. The first
    is the text's own, under which the entries are `loss`. The others are drawn under `seed`. Over a whole text the
    effects of single orders would cancel out.
    """
    nll = [loss.values]
    for number in range(1, orders):
        ordered = dataset.with_facts_in(FactOrder(encoder, seed, number))
        sequences = [ordered.sequence(index) for index in range(len(ordered))]
        scores = score(model, sequences, autocast, f"score order {number + 1} of {orders}")
        nll.append(_loss_entries(loss.places, [response for each in scores for response in each]).values)
    of_responses = np.stack(nll, axis=1)  # (R, K)
    starts, counts = dataset.tensors.response_offsets[:-1], np.diff(dataset.tensors.response_offsets)
    of_sequences = np.add.reduceat(of_responses, starts)  # (S, K)
    chosen = np.stack([of_sequences.argmax(axis=1), of_sequences.argmin(axis=1)], axis=1)  # (S, 2)
    return Entries(loss.places, np.take_along_axis(of_responses, np.repeat(chosen, counts, axis=0), 1), loss.weights)


def _loss_entries(places: Places, responses: list[ResponseScores]) -> Entries:
    """Return the summed negative log-likelihood of each response, in nats, with its number of tokens as weight."""
    sums = np.array([response.nll.sum(dtype=np.float64) for response in responses])
    return Entries(places, sums, np.array([len(response.nll) for response in responses]))


def response_places(sequences: list[LabelledTokens], dialogues: np.ndarray, encoder: Encoder) -> Places:
    """Return dialogue and turn of each response of the S sequences, which are in file order; dialogues (S,)."""
    places, said, before = [], 0, None
    for (tokens, spans), dialogue in zip(sequences, dialogues.tolist(), strict=True):
        speaker = encoder.speakers.index(tokens[0])
        said = said if (dialogue, speaker) == before else 0  # responses in the earlier sequences of a side that was cut
        places += [(dialogue, speaker + 1 + 2 * index) for index in range(said, said + len(spans))]
        before, said = (dialogue, speaker), said + len(spans)
    return Places(*np.array(places).T)


def token_f1(response: ResponseScores, eos: int) -> float:
    """Return PersonaGPT's F1 of two sets: the tokens predicted at the response's positions, and its true tokens."""
    predicted, true = set(response.predicted.tolist()) - {eos}, set(response.tokens.tolist()) - {eos}
    return f1(len(predicted & true), len(predicted), len(true))


def f1(hits: int, predicted: int, true: int) -> float:
    """Return the harmonic mean of precision and recall: 2 hits / (predicted + true), and 0 without hits."""
    return 2 * hits / (predicted + true) if hits else 0.0


def exchange_personas(
    sequences: list[LabelledTokens], dialogues: np.ndarray, encoder: Encoder, limit: int
) -> list[tuple[LabelledTokens, int]] | None:
    """Return each sequence with the facts of the next dialogue's same side, and how many responses that cost.

    The last dialogue takes the first one's facts. Where a sequence no longer fits `limit` tokens, its oldest utterances
    go, and their responses with them. None where there is nobody to exchange with.
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
        talk, kept = cut_talk(tokens[start:], spans - start, encoder.eos, limit - len(prefix))
        exchanged.append(((np.concatenate([prefix, talk]), kept + len(prefix)), len(spans) - len(kept)))
    return exchanged


def cut_talk(talk: np.ndarray, spans: np.ndarray, eos: int, room: int) -> LabelledTokens:
    """Return the newest whole utterances of `talk` (T,) that fit `room` tokens, and the responses `spans` in them.

    Where not even the last utterance fits, its first tokens stay, and no response.
    """
    starts = [0, *(np.flatnonzero(talk == eos) + 1).tolist()]
    cut = next(start for start in starts if len(talk) - start <= room or start == starts[-2])
    kept = spans[spans[:, 0] >= cut] - cut
    return talk[cut:][:room], kept[kept[:, 1] <= room]
