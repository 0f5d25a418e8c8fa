"""The metrics of a model on held-out dialogues (teacher-forced), and of the replies it generates.

Fractions throughout (F1 0.434). A metric that cannot be computed is absent.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedModel

from personagpt.errors import is_out_of_memory
from personagpt.model.generation import ReplyRequest, fit_context, generate_replies
from personagpt.model.gpt2 import hidden_states
from personagpt.model.loss import score_hidden
from personagpt.model.sampling import GREEDY
from personagpt.scoring.tally import Metric, Places, Tally
from personagpt.sequences.batches import Batch, collate
from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.sequences.format import Encoder

Sequence = tuple[np.ndarray, np.ndarray]  # tokens (T,), start and end of each response (R, 2)


METRICS = (
    Metric("loss", "nats per response token", in_training=True, per_token=True),
    Metric("perplexity", "exp(loss)", in_training=True, is_exponential=True, per_token=True),
    Metric(
        "turn_perplexity",
        "mean over responses, first token left out",
        in_training=True,
        is_exponential=True,
        per_token=True,
    ),
    Metric("word_perplexity", "exp(nats per word and end): compares vocabularies", is_exponential=True),
    Metric(
        "token_f1",
        "teacher-forced: an untrained model already reaches about 70 %",
        as_percent=True,
        in_training=True,
        per_token=True,
    ),
    Metric(
        "persona_gain",
        "perplexity with exchanged personas over perplexity; above 1: the model uses the persona",
        in_training=True,
        is_exponential=True,
        per_token=True,
    ),
    Metric("word_f1", "generated words against the human's", as_percent=True),
    Metric("distinct_1", "distinct words of the replies", as_percent=True, is_distinct=True),
    Metric("distinct_2", "distinct pairs of words", as_percent=True, is_distinct=True),
    Metric("repeat_rate", "replies that repeat four words in a row of their speaker's", as_percent=True),
    Metric("goal_hit", "replies that follow the goal they were given", as_percent=True),
    Metric("goal_base", "replies that follow it without having been given it", as_percent=True),
    Metric("hits_at_1", "the true response scored highest among its candidates", as_percent=True),
    Metric("persona_at_1", "a side's own persona scored highest", as_percent=True),
    Metric("persona_mrr", "1 / the rank of a side's own persona, on average"),
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
        batches = list(by_length(sequences, model.device.type))
        for indices in tqdm(batches, desc=title, unit="batch", leave=False, disable=None):
            chosen = [sequences[index] for index in indices]
            nll, predicted, targets = score_in_memory(model, chosen)
            start = 0
            for index, (_, spans) in zip(indices, chosen, strict=True):
                for size in (spans[:, 1] - spans[:, 0]).tolist():
                    part = slice(start, start + size)
                    scores[index].append(ResponseScores(nll[part], predicted[part], targets[part]))
                    start += size
    model.train(was_training)
    return scores


def score_in_memory(model: torch.nn.Module, sequences: list[Sequence]) -> tuple[np.ndarray, ...]:
    """`score_batch` of the sequences; where memory gives out, of one half and then of the other.

    Training may have left little of it, and a smaller `batch_size` would not help here.
    """
    try:
        return score_batch(model, collate(sequences).to(model.device))
    except Exception as error:
        if len(sequences) == 1 or not is_out_of_memory(error):
            raise
    middle = len(sequences) // 2
    halves = [score_in_memory(model, half) for half in (sequences[:middle], sequences[middle:])]
    return tuple(np.concatenate(parts) for parts in zip(*halves, strict=True))


def score_batch(model: torch.nn.Module, batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Negative log-likelihood, most likely token and true token at each of the batch's N labels."""
    hidden = hidden_states(model, batch.input_ids, batch.label_index)  # (N, C)
    nll, predicted = score_hidden(hidden, model.lm_head.weight, batch.targets)
    return nll.cpu().numpy(), predicted.cpu().numpy(), batch.targets.cpu().numpy()


def by_length(sequences: list[Sequence], device: str, shortest: float = 0.0) -> Iterator[list[int]]:
    """Indices in batches of similar length, longest first, each padded to at most TOKENS_PER_BATCH.

    `shortest` is the least share of a batch's width that each of its sequences fills.
    """
    order = sorted(range(len(sequences)), key=lambda index: -len(sequences[index][0]))
    while order:
        width = len(sequences[order[0]][0])
        count = max(1, TOKENS_PER_BATCH[device] // width)
        count = sum(len(sequences[index][0]) >= shortest * width for index in order[:count])
        yield order[:count]
        order = order[count:]


def figures(tallies: dict[str, Tally]) -> dict[str, float]:
    """The metrics, and of how many they are: `responses` and `response_tokens`, replies (`generated`), sides
    (`identified`), replies to a goal (`goal_replies`)."""
    found = {metric.name: metric.figure(tallies[metric.name]) for metric in METRICS if metric.name in tallies}
    found |= {"responses": len(tallies["loss"]), "response_tokens": int(tallies["loss"].weights.sum())}
    counted = {"generated": "word_f1", "identified": "persona_at_1", "goal_replies": "goal_hit"}
    return found | {count: len(tallies[name]) for count, name in counted.items() if name in tallies}


def figures_by_turn(tallies: dict[str, Tally]) -> list[dict[str, float]]:
    """For each turn with a response: its number from 1, its responses, and the metrics of these alone."""
    rows = []
    for turn in np.unique(tallies["loss"].places.turns).tolist():
        chosen = {name: tally[tally.places.turns == turn] for name, tally in tallies.items()}
        found = {
            metric.name: metric.figure(chosen[metric.name]) for metric in METRICS if len(chosen.get(metric.name, ()))
        }
        rows.append({"turn": turn, "responses": len(chosen["loss"])} | found)
    return rows


def teacher_forced_metrics(
    model: torch.nn.Module, dataset: PersonaChatDataset, encoder: Encoder, autocast: AbstractContextManager
) -> dict[str, float]:
    """`loss`, `perplexity`, `turn_perplexity`, `token_f1`, `persona_gain`, `responses`, `response_tokens`."""
    return figures(teacher_forced(model, dataset, encoder, autocast))


def teacher_forced(
    model: torch.nn.Module, dataset: PersonaChatDataset, encoder: Encoder, autocast: AbstractContextManager
) -> dict[str, Tally]:
    """Of `loss`, `perplexity`, `turn_perplexity`, `token_f1`, `persona_gain`, an entry for each response."""
    sequences = [dataset.sequence(index) for index in range(len(dataset))]
    places = response_places(sequences, dataset.tensors.dialogues, encoder)
    true = score(model, sequences, autocast, "score")
    responses = [response for scores in true for response in scores]
    sizes = np.array([len(response.nll) for response in responses])
    nll = _nll_sums(responses)
    after_first = np.array([response.nll[1:].mean(dtype=np.float64) for response in responses])
    f1s = np.array([token_f1(response, encoder.eos) for response in responses])
    loss = Tally(places, nll, sizes)
    tallies = {
        "loss": loss,
        "perplexity": loss,
        "turn_perplexity": Tally.of_equals(places, after_first),
        "token_f1": Tally.of_equals(places, f1s),
    }
    limit = int(dataset.metadata["context"])
    exchanged = exchange_personas(sequences, dataset.tensors.dialogues, encoder, limit)
    if exchanged is not None:
        fitting = [sequence for sequence, _ in exchanged if len(sequence[1])]
        swapped = score(model, fitting, autocast, "score with exchanged personas")
        # What no longer fits goes from the front of a sequence: the responses compared are the last of each.
        compared = np.concatenate([np.arange(dropped + len(kept)) >= dropped for (_, kept), dropped in exchanged])
        others = _nll_sums([response for scores in swapped for response in scores])
        tallies["persona_gain"] = Tally(places[compared], others - nll[compared], sizes[compared])
    return tallies


def response_losses(
    model: torch.nn.Module, dataset: PersonaChatDataset, encoder: Encoder, autocast: AbstractContextManager
) -> Tally:
    """The `loss` of each response: nats, and tokens."""
    sequences = [dataset.sequence(index) for index in range(len(dataset))]
    responses = [response for scores in score(model, sequences, autocast) for response in scores]
    sizes = np.array([len(response.nll) for response in responses])
    return Tally(response_places(sequences, dataset.tensors.dialogues, encoder), _nll_sums(responses), sizes)


def _nll_sums(responses: list[ResponseScores]) -> np.ndarray:
    return np.array([response.nll.sum(dtype=np.float64) for response in responses])


def response_places(sequences: list[Sequence], dialogues: np.ndarray, encoder: Encoder) -> Places:
    """Dialogue and turn of each response of the sequences, which are in file order, `dialogues` (S,) being theirs."""
    found, said = [], 0
    before = None
    for (tokens, spans), dialogue in zip(sequences, dialogues.tolist(), strict=True):
        speaker = encoder.speakers.index(tokens[0])
        said = said if (dialogue, speaker) == before else 0  # in the earlier sequences of a side that was cut
        found += [(dialogue, speaker + 1 + 2 * index) for index in range(said, said + len(spans))]
        before, said = (dialogue, speaker), said + len(spans)
    return Places(*np.array(found).T)


def token_f1(response: ResponseScores, eos: int) -> float:
    """PersonaGPT's F1: of the set of tokens predicted at the response's positions, and the set of its tokens."""
    predicted, true = set(response.predicted.tolist()) - {eos}, set(response.tokens.tolist()) - {eos}
    return f1(len(predicted & true), len(predicted), len(true))


def f1(hits: int, predicted: int, true: int) -> float:
    """Harmonic mean of precision and recall: 2 hits / (predicted + true), and 0 without hits."""
    return 2 * hits / (predicted + true) if hits else 0.0


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
        talk, kept = cut_talk(tokens[start:], spans - start, encoder.eos, limit - len(prefix))
        exchanged.append(((np.concatenate([prefix, talk]), kept + len(prefix)), len(spans) - len(kept)))
    return exchanged


def cut_talk(talk: np.ndarray, spans: np.ndarray, eos: int, room: int) -> Sequence:
    """The utterances `talk` (T,) without the oldest that `room` tokens do not hold, and the responses `spans` left.

    Of a last utterance that does not fit either, the first tokens stay, and no response.
    """
    cuts = [0, *(np.flatnonzero(talk == eos) + 1).tolist()]
    cut = next(cut for cut in cuts if len(talk) - cut <= room or cut == cuts[-2])
    kept = spans[spans[:, 0] >= cut] - cut
    return talk[cut:][:room], kept[kept[:, 1] <= room]


def generated_metrics(
    model: PreTrainedModel,
    dataset: PersonaChatDataset,
    encoder: Encoder,
    autocast: AbstractContextManager,
    count: int,
) -> dict[str, Tally]:
    """Of `word_f1`, `distinct_1`, `distinct_2`, `repeat_rate`, the entries of greedy replies in place of the first
    `count` responses."""
    sequences = [dataset.sequence(index) for index in range(len(dataset))]
    places = response_places(sequences, dataset.tensors.dialogues, encoder)[:count]
    drafts, human = [], []
    room = model.config.n_positions - GREEDY.max_new_tokens  # where a reply needs more, the oldest utterances go
    for tokens, spans in sequences:
        for start, end in spans[: count - len(drafts)].tolist():
            drafts.append(ReplyRequest(fit_context(tokens[:start].tolist(), encoder, room)))
            human.append(encoder.decode_reply(tokens[start:end].tolist()))
    replies = generate_replies(model, encoder, drafts, autocast, "generate")
    # A side's responses follow each other; a turn of 1 or 2 begins one.
    begins = np.maximum.accumulate(np.where(places.turns <= 2, np.arange(len(replies)), 0)).tolist()
    repeated = [repeats(reply, human[begin:i]) for i, (reply, begin) in enumerate(zip(replies, begins, strict=True))]
    f1s = [word_f1(ours, theirs) for ours, theirs in zip(replies, human, strict=True)]
    return {
        "word_f1": Tally.of_equals(places, np.array(f1s)),
        "distinct_1": _gram_tally(places, replies, 1),
        "distinct_2": _gram_tally(places, replies, 2),
        "repeat_rate": Tally.of_equals(places, np.array(repeated, float)),
    }


def _gram_tally(places: Places, replies: list[str], n: int) -> Tally:
    """An entry for each n-gram of each reply: its number among the different ones."""
    found = [grams(reply, n) for reply in replies]
    numbers: dict[tuple[str, ...], int] = {}
    values = [numbers.setdefault(gram, len(numbers)) for listed in found for gram in listed]
    return Tally.of_equals(places[np.repeat(np.arange(len(replies)), list(map(len, found)))], np.array(values, int))


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
