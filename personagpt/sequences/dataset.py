"""The tensor files: a corpus -> its sequences in arrays, and the dataset that reads them back.

A file holds the sequences of one text, in file order, first speaker first. Its metadata names the text, the tokenizer
and the settings from which the sequences were made. Training refuses a file that was made from others.
"""

from __future__ import annotations

import copy
import json
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from tqdm import tqdm

from personagpt.files import check_present, file_checksum
from personagpt.sequences.fact_order import FactOrder
from personagpt.sequences.format import (
    IGNORED,
    DataError,
    Encoder,
    TokenSequence,
    goal_sequence,
    side_sequences,
    tokenizer_checksum,
)
from personagpt.sequences.goals import Goal, GoalDraw, goals_checksum
from personagpt.sequences.tensors import DTYPES, Tensors
from personagpt.text.dialogues import Corpus, Dialogue
from personagpt.text.lines import TextError
from personagpt.text.style import Style, parse_style

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

DIALOGUES_PER_BATCH = 100  # encoded together: enough to keep the tokenizer's threads busy
MOST_KNOWN_FACTS = 50_000  # whose tokens are kept
# What differs between tensors and settings, by the key of `tensor_metadata`.
MADE_FROM_OTHER = {
    "text_sha256": "made from another text than {text}",
    "tokenizer_sha256": "made with another tokenizer than model_name's",
    "vocabulary": "made for another vocabulary than model_name's",
    "max_turns": "made with max_turns = {made}, not {value}",
    "context": "made for a context of {made} tokens, model_name's is {value}",
    "goals_sha256": "made without these goals",
}
AGAIN = "run preprocess_dataset.py with these settings again"


def tensor_metadata(
    text_sha256: str,
    tokenizer: PreTrainedTokenizerFast,
    max_turns: int,
    context_length: int,
    goals: list[Goal] | tuple[()] = (),
    style: Style | None = None,
) -> dict[str, str]:
    """Return a tensor file's metadata: from which text, tokenizer, goals and settings its sequences were made."""
    written = {"goals_sha256": goals_checksum(goals)} if goals else {}
    if style is not None:
        written["style"] = json.dumps(style.plain())
    return written | {
        "tokenizer_sha256": tokenizer_checksum(tokenizer),
        "vocabulary": str(len(tokenizer)),
        "context": str(context_length),
        "max_turns": str(max_turns),
        "text_sha256": text_sha256,
    }


class PersonaChatDataset(torch.utils.data.Dataset):
    """The sequences of a tensor file. Raises DataError where the file is missing, damaged or hostile."""

    order: FactOrder | None = None  # of the facts of each sequence; None: as in the file

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.metadata, self.tensors = _read_tensors(self.path)
        try:
            _check_tensors(self.tensors, int(self.metadata["vocabulary"]), int(self.metadata["context"]))
            # Tensors made before styles were measured have none.
            self.style = parse_style(json.loads(self.metadata["style"])) if "style" in self.metadata else None
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: damaged tensors ({error}); run preprocess_dataset.py again") from None
        self._count()

    @classmethod
    def from_tensors(cls, tensors: Tensors, context_length: int, text_sha256: str = "") -> PersonaChatDataset:
        """Return the dataset of tensors just made, for a model with `context_length` positions."""
        dataset = cls.__new__(cls)
        dataset.metadata = {"context": str(context_length), "text_sha256": text_sha256}
        dataset.tensors, dataset.style = tensors, None
        dataset._count()
        return dataset

    def _count(self) -> None:
        sizes = np.diff(self.tensors.responses).ravel()  # (R,) tokens of each response
        sums = np.concatenate([[0], np.cumsum(sizes)])[self.tensors.response_offsets]  # (S + 1,)
        self.lengths = np.diff(self.tensors.offsets)  # (S,) tokens of each sequence
        self.label_tokens = np.diff(sums)  # (S,) label tokens of each sequence

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Return {"input_ids": LongTensor (T,), "labels": LongTensor (T,)}; labels are -100 outside the responses."""
        tokens, spans = self.sequence(index)
        labels = np.full_like(tokens, IGNORED)
        for start, end in spans:
            labels[start:end] = tokens[start:end]
        return {"input_ids": torch.from_numpy(tokens), "labels": torch.from_numpy(labels)}

    def sequence(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return sequence `index` as int64 tokens (T,), and where its responses start and end in it, (R, 2)."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"sequence {index} of {len(self)}")
        index %= len(self)
        start, end = self.tensors.offsets[index : index + 2]
        first, last = self.tensors.response_offsets[index : index + 2]
        tokens = self.tensors.tokens[start:end].astype(np.int64)
        tokens = tokens if self.order is None else self.order.apply(index, tokens)
        return tokens, self.tensors.responses[first:last] - start

    def with_facts_in(self, order: FactOrder) -> PersonaChatDataset:
        """Return the same sequences with their facts in `order`. The tensors are shared."""
        dataset = copy.copy(self)
        dataset.order = order
        return dataset

    def without_goals(self, act: int) -> PersonaChatDataset:
        """Return the sequences that do not start with the token `act`. They hold each response once, for scoring."""
        kept = self.tensors.tokens[self.tensors.offsets[:-1]] != act  # (S,)
        return self if kept.all() else self._only(kept)

    def starting_with(self, token: int) -> PersonaChatDataset:
        """Return the sequences that start with `token`, such as a speaker's. Raises DataError where there are none."""
        kept = self.tensors.tokens[self.tensors.offsets[:-1]] == token  # (S,)
        if not kept.any():
            raise DataError("the text has no response of that speaker; leave out --side")
        return self._only(kept)

    def _only(self, kept: np.ndarray) -> PersonaChatDataset:
        """Return the sequences `kept` (S,) bool."""
        tensors = self.tensors
        tokens, responses = np.repeat(kept, self.lengths), np.repeat(kept, np.diff(tensors.response_offsets))
        before = np.concatenate([[0], np.cumsum(~tokens)])  # (N + 1,) tokens left out before each token
        made = Tensors(
            tokens=tensors.tokens[tokens],
            offsets=np.concatenate([[0], np.cumsum(self.lengths[kept])]),
            responses=tensors.responses[responses] - before[tensors.responses[responses, :1]],
            response_offsets=np.concatenate([[0], np.cumsum(np.diff(tensors.response_offsets)[kept])]),
            dialogues=tensors.dialogues[kept],
        )
        dataset = PersonaChatDataset.from_tensors(made, int(self.metadata["context"]))
        dataset.metadata = self.metadata
        return dataset


def _read_tensors(path: Path) -> tuple[dict[str, str], Tensors]:
    """Return the metadata and the arrays of a file, not yet checked. Raises DataError where it is no tensor file."""
    check_present(path, "preprocess_dataset.py")
    try:
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in DTYPES}
            return file.metadata() or {}, Tensors(**arrays)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = str(error).split("\n", 1)[0]
        raise DataError(f"{path}: not a tensor file of ours ({reason}); run preprocess_dataset.py again") from None


def _check_tensors(tensors: Tensors, vocabulary: int, context_length: int) -> None:
    """Raise ValueError unless every number is in range, so that no wrong number reaches a kernel."""

    def need(holds: Any, damage: str) -> None:
        if not holds:
            raise ValueError(damage)

    for name, dtype in DTYPES.items():
        need(getattr(tensors, name).dtype == dtype, f"{name} has the wrong type")
        need(getattr(tensors, name).ndim == (2 if name == "responses" else 1), f"{name} has the wrong shape")
    tokens, offsets, responses = tensors.tokens, tensors.offsets, tensors.responses
    response_offsets, dialogues = tensors.response_offsets, tensors.dialogues
    count = len(dialogues)
    need(responses.shape[1] == 2, "responses has the wrong shape")
    need(count > 0 and len(offsets) == len(response_offsets) == count + 1, "the numbers of sequences differ")
    for name, edges, total in (
        ("offsets", offsets, len(tokens)),
        ("response_offsets", response_offsets, len(responses)),
    ):
        need(edges[0] == 0 and edges[-1] == total, f"{name} out of range")
        # Compared, not subtracted: a difference of hostile numbers could overflow.
        need((edges[1:] > edges[:-1]).all(), f"{name} out of order")
    need(np.diff(offsets).max() <= context_length, f"a sequence is longer than the context of {context_length}")
    need(((tokens >= 0) & (tokens < vocabulary)).all(), f"a token outside the vocabulary of {vocabulary}")
    need(dialogues[0] >= 0 and (dialogues[1:] >= dialogues[:-1]).all(), "dialogues out of order")
    owner = np.repeat(np.arange(count), np.diff(response_offsets))  # (R,) each response's sequence
    starts, ends = responses[:, 0], responses[:, 1]
    need((starts < ends).all() and (starts[1:] >= ends[:-1]).all(), "responses out of order")
    # A sequence's first token has nothing before it to be predicted from.
    need((starts > offsets[owner]).all() and (ends <= offsets[owner + 1]).all(), "a response outside its sequence")


def open_tensors(
    path: Path,
    text: Path,
    tokenizer: PreTrainedTokenizerFast,
    max_turns: int,
    context_length: int,
    goals: list[Goal] | tuple[()] = (),
) -> PersonaChatDataset:
    """Return the dataset at `path`.

    Raises DataError where it was not made from `text` with `tokenizer`, `max_turns` and `goals` for a model with
    `context_length` positions. The text is compared only where it exists, because tensors may travel without it.
    """
    dataset = PersonaChatDataset(path)
    made = dataset.metadata
    text_sha256 = file_checksum(text) if text.exists() else made.get("text_sha256", "")
    for key, value in tensor_metadata(text_sha256, tokenizer, max_turns, context_length, goals).items():
        if made.get(key) != value:
            raise DataError(
                f"{path}: {MADE_FROM_OTHER[key].format(text=text, made=made.get(key), value=value)}; {AGAIN}"
            )
    if not goals and "goals_sha256" in made:
        raise DataError(f"{path}: made with goals, but none are set; {AGAIN}")
    _check_format(dataset, Encoder(tokenizer))
    return dataset


def _check_format(dataset: PersonaChatDataset, encoder: Encoder) -> None:
    """Raise DataError unless every sequence has this format, on which evaluation relies."""
    tensors = dataset.tensors
    firsts = tensors.offsets[:-1]
    speakers = np.flatnonzero(np.isin(tensors.tokens, encoder.speakers))
    starts = np.flatnonzero(tensors.tokens == encoder.start)
    is_sound = (
        all(len(places) == len(firsts) for places in (speakers, starts))
        and (np.searchsorted(tensors.offsets, speakers, "right") - 1 == np.arange(len(firsts))).all()
        and (np.searchsorted(tensors.offsets, starts, "right") - 1 == np.arange(len(firsts))).all()
        and ((speakers == firsts) | (tensors.tokens[firsts] == encoder.act)).all()
        and (speakers < starts).all()
        and (starts < tensors.responses[tensors.response_offsets[:-1], 0]).all()
        and (tensors.tokens[tensors.responses[:, 1] - 1] == encoder.eos).all()
    )
    if not is_sound:
        raise DataError(
            f"{dataset.path}: damaged tensors (not this format's sequences); run preprocess_dataset.py again"
        )


def encode_corpus(
    corpus: Corpus,
    encoder: Encoder,
    max_turns: int,
    context_length: int,
    name: str,
    draw: GoalDraw | None = None,
) -> Tensors:
    """Return all sequences of a corpus, in file order, first speaker first. `name` is the file's, for messages.

    With `draw`, a side's sequences are followed by its sequence for a goal. Raises TextError, which names file and
    line, where a persona and one response alone exceed the model's context.
    """
    tokens, offsets = array("i"), array("q", [0])
    responses, response_offsets = array("q"), array("q", [0])
    dialogues = array("q")
    title = f"encode {Path(name).name}"
    with tqdm(total=len(corpus), desc=title, unit="dialogue", leave=False, disable=None) as bar:
        for number, sequences in enumerate(_encode_dialogues(corpus, encoder, max_turns, context_length, name, draw)):
            for ids, spans in sequences:
                for start, end in spans:
                    responses.extend((len(tokens) + start, len(tokens) + end))
                tokens.fromlist(ids)
                offsets.append(len(tokens))
                response_offsets.append(len(responses) // 2)
                dialogues.append(number)
            bar.update()
    if not tokens:
        raise TextError(f"{name}: no sequence: no side whose persona is given has an utterance of its own")
    return Tensors(
        tokens=np.frombuffer(tokens, np.int32),
        offsets=np.frombuffer(offsets, np.int64),
        responses=np.frombuffer(responses, np.int64).reshape(-1, 2),
        response_offsets=np.frombuffer(response_offsets, np.int64),
        dialogues=np.frombuffer(dialogues, np.int64),
    )


def _encode_dialogues(
    corpus: Corpus, encoder: Encoder, max_turns: int, limit: int, name: str, draw: GoalDraw | None
) -> Iterator[list[TokenSequence]]:
    """Yield the sequences of each dialogue: each side's `side_sequences`, and then its sequence for a goal."""
    known_facts: dict[str, list[int]] = {}  # personas come back in many dialogues
    for first in range(0, len(corpus), DIALOGUES_PER_BATCH):
        batch = corpus.dialogues[first : first + DIALOGUES_PER_BATCH]
        facts = {fact for dialogue in batch for persona in dialogue.personas for fact in persona}
        if len(known_facts) > MOST_KNOWN_FACTS:
            known_facts.clear()
        new = sorted(facts - known_facts.keys())
        known_facts.update(zip(new, encoder.texts(new), strict=True))
        encoded = iter(encoder.texts([text for dialogue in batch for text in dialogue.utterances[:max_turns]]))
        for dialogue, sides in zip(batch, corpus.sides[first : first + DIALOGUES_PER_BATCH], strict=True):
            said = dialogue.utterances[:max_turns]
            utterances = [next(encoded) for _ in said]
            sequences: list[TokenSequence] = []
            for speaker in sides:
                persona = [known_facts[fact] for fact in dialogue.personas[speaker]]
                goal, response = (draw.draw(said, speaker) if draw else None) or (None, 0)
                try:
                    prefix = encoder.prefix(speaker, persona)
                    sequences += side_sequences(prefix, utterances, speaker, encoder.eos, limit)
                    prefix = encoder.prefix(speaker, persona, goal)
                    sequences += [goal_sequence(prefix, utterances, response, encoder.eos, limit)] if goal else []
                except OverflowError as error:
                    raise _too_long(dialogue, error.args[0], name, limit, bool(draw)) from None
            yield sequences


def _too_long(dialogue: Dialogue, utterance: int, name: str, limit: int, with_goal: bool) -> TextError:
    """Return the complaint about an utterance of the text `name` that does not fit the context."""
    goal = ", a goal" if with_goal else ""
    return TextError(
        f"{name}:{dialogue.line_of(utterance)}: the speaker's persona{goal} and this utterance alone exceed the "
        f"model's context of {limit} tokens: shorten them"
    )
