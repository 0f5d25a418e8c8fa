"""The metrics of the replies that a model generates: against the human's words, and among themselves.

A word of BLEU, ROUGE-L and entropy is a word of `split_words`: lower case, without punctuation. The other metrics leave
out the articles, too, as ConvAI2's F1 does. A letter of a script without spaces is a word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedModel

from personagpt.model.decoders import context_length
from personagpt.model.generation import ReplyRequest, fit_context, generate_replies
from personagpt.model.sampling import GREEDY
from personagpt.scoring.entries import Entries, Places
from personagpt.scoring.metrics import f1, response_places
from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.sequences.format import Encoder
from personagpt.text.words import split_words


@dataclass(frozen=True)
class Replies:
    """Generated replies in the place of n responses of a text. Every list has n entries."""

    places: Places
    generated: list[str]
    human: list[str]  # the true responses
    facts: list[list[str]]  # of the speaker's persona
    earlier: list[list[str]]  # what the speaker said before in the true dialogue


def greedy_replies(
    model: PreTrainedModel,
    dataset: PersonaChatDataset,
    encoder: Encoder,
    autocast: AbstractContextManager,
    count: int,
) -> Replies:
    """Return greedy replies in the place of the first `count` responses."""
    sequences = [dataset.sequence(index) for index in range(len(dataset))]
    places = response_places(sequences, dataset.tensors.dialogues, encoder)[:count]
    requests, human, facts = [], [], []
    room = context_length(model.config) - GREEDY.max_new_tokens  # where a reply needs more, the oldest utterances go
    for tokens, spans in sequences:
        chosen = spans[: count - len(requests)].tolist()
        if not chosen:
            break
        facts += [encoder.decode(tokens.tolist())[1]] * len(chosen)
        for start, end in chosen:
            requests.append(ReplyRequest(fit_context(tokens[:start].tolist(), encoder, room)))
            human.append(encoder.decode_reply(tokens[start:end].tolist()))
    generated = generate_replies(model, encoder, requests, autocast, "generate")
    # A side's responses follow each other; a turn of 1 or 2 begins a side.
    begins = np.maximum.accumulate(np.where(places.turns <= 2, np.arange(len(generated)), 0)).tolist()
    return Replies(places, generated, human, facts, [human[begin:index] for index, begin in enumerate(begins)])


def generated_metrics(replies: Replies) -> dict[str, Entries]:
    """Return the entries of `word_f1`, BLEU, `rouge_l`, `distinct_1`, `distinct_2`, `entropy_4` and `repeat_rate`."""
    pairs = list(zip(replies.generated, replies.human, strict=True))
    said = zip(replies.generated, replies.earlier, strict=True)
    bleu = Entries.of_equals(replies.places, bleu_counts(pairs))
    per_reply = {
        "word_f1": [word_f1(*pair) for pair in pairs],
        "rouge_l": [rouge_l(*pair) for pair in pairs],
        "repeat_rate": [repeats(*pair) for pair in said],
    }
    entries = {name: Entries.of_equals(replies.places, np.array(values, float)) for name, values in per_reply.items()}
    entries |= {f"bleu_{order}": bleu for order in (1, 2, 3, 4)}
    for name, n, words_of in (("distinct_1", 1, words), ("distinct_2", 2, words), ("entropy_4", 4, split_words)):
        grams_of = [grams(words_of(reply), n) for reply in replies.generated]
        entries[name] = _gram_entries(replies.places, grams_of)
    return entries


def _gram_entries(places: Places, grams_of: list[list[tuple[str, ...]]]) -> Entries:
    """Return an entry for each n-gram of each reply: its number among the different n-grams."""
    numbers: dict[tuple[str, ...], int] = {}
    values = [numbers.setdefault(gram, len(numbers)) for reply_grams in grams_of for gram in reply_grams]
    where = np.repeat(np.arange(len(grams_of)), [len(reply_grams) for reply_grams in grams_of])
    return Entries.of_equals(places[where], np.array(values, int))


def bleu_counts(pairs: list[tuple[str, str]]) -> np.ndarray:
    """Return what sacrebleu counts of each pair of a generated and a true response, (n, 10).

    The columns are those of `definitions.bleu`.
    """
    from sacrebleu.metrics import BLEU

    scorer = BLEU(tokenize="none", max_ngram_order=4)  # the words are split already
    rows = []
    for generated, true in pairs:
        counted = scorer.corpus_score([" ".join(split_words(generated))], [[" ".join(split_words(true))]])
        rows.append([*counted.counts, *counted.totals, counted.sys_len, counted.ref_len])
    return np.array(rows, float)


def rouge_l(generated: str, true: str) -> float:
    """Return ROUGE-L (Lin 2004): F1 of the longest common subsequence, as rouge-score 0.1.2 computes it, unstemmed."""
    ours, theirs = split_words(generated), split_words(true)
    before = [0] * (len(theirs) + 1)  # the longest common subsequence with each beginning of `theirs`
    for word in ours:
        row = [0]
        for place, other in enumerate(theirs):
            row.append(before[place] + 1 if word == other else max(row[place], before[place + 1]))
        before = row
    return f1(before[-1], len(ours), len(theirs))


def words(text: str) -> list[str]:
    """Return ConvAI2's words: those of `split_words` without the articles a, an, the."""
    return [word for word in split_words(text) if word not in ("a", "an", "the")]


def word_f1(generated: str, true: str) -> float:
    """Return ConvAI2's F1, of the multisets of words."""
    ours, theirs = Counter(words(generated)), Counter(words(true))
    return f1((ours & theirs).total(), ours.total(), theirs.total())


def grams(text_words: list[str], n: int) -> list[tuple[str, ...]]:
    """Return every n words in a row."""
    return [tuple(text_words[i : i + n]) for i in range(len(text_words) - n + 1)]


def distinct(replies: Iterable[str], n: int) -> float:
    """Return distinct n-grams over all n-grams of the replies' words (Li et al. 2016), 0 where there are none."""
    all_grams = [gram for reply in replies for gram in grams(words(reply), n)]
    return len(set(all_grams)) / len(all_grams) if all_grams else 0.0


def repeats(reply: str, earlier: Iterable[str], n: int = 4) -> bool:
    """Return whether `reply` has n words in a row of one of the utterances `earlier`: repeat_rate is the mean."""
    said = {gram for utterance in earlier for gram in grams(words(utterance), n)}
    return not said.isdisjoint(grams(words(reply), n))
