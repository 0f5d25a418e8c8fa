"""The format: special tokens, a dialogue -> its two sequences, the chat template, the tensor files and their dataset.

A dialogue has two speakers, each with a persona (a list of facts). It yields one sequence for each speaker's side:

    <|p1|> fact<eos> fact<eos> ... <|sep|><|start|> utterance<eos> utterance<eos> ...     the speaker who talks first
    <|p2|> fact<eos> fact<eos> ... <|sep|><|start|> utterance<eos> utterance<eos> ...     the other one

with that speaker's facts and both speakers' utterances; the labels are that speaker's own utterances with their <eos>.
Attention is causal, so one pass over a sequence computes what a pass for every (context, response) pair would.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from personagpt.device import file_checksum
from personagpt.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# In the order in which they join the vocabulary: 50257 to 50262 after GPT-2's.
SEP, CLS, START, P1, P2, ACT = SPECIAL_TOKENS = ("<|sep|>", "<|cls|>", "<|start|>", "<|p1|>", "<|p2|>", "<|act|>")
IGNORED = -100  # the label of a token that is no response's

# Renders a chat as the training format: the system message is the persona, one fact a line. Text that looks like a
# special token is broken up (`<|` -> `< |`), so that no message can become control.
CHAT_TEMPLATE = """\
{%- set eos = eos_token -%}
{%- set persona = '' -%}
{%- if messages and messages[0]['role'] == 'system' -%}
{%- set persona = messages[0]['content'] -%}
{%- set messages = messages[1:] -%}
{%- endif -%}
{%- for message in messages -%}
{%- if message['role'] not in ['user', 'assistant'] or (not loop.first and message['role'] == loop.previtem['role']) -%}
{{- raise_exception('after an optional system message (the persona), user and assistant must alternate') -}}
{%- endif -%}
{%- endfor -%}
{{- '<|p1|>' if (messages and messages[0]['role'] == 'assistant') or (not messages and add_generation_prompt) else '<|p2|>' -}}
{%- for fact in persona.replace('\\r\\n', '\\n').split('\\n') if fact.strip() -%}
{{- fact.replace('<|', '< |') + eos -}}
{%- endfor -%}
{{- '<|sep|><|start|>' -}}
{%- for message in messages -%}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}{{- message['content'].replace('<|', '< |') + eos -}}{%- endgeneration -%}
{%- else -%}
{{- message['content'].replace('<|', '< |') + eos -}}
{%- endif -%}
{%- endfor -%}
"""


class DataError(UserError):
    """Tensors that are missing, damaged, or made from something other than the settings name."""


def add_special_tokens(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Add what the format needs, in the published order; a tokenizer that has them all keeps its ids."""
    tokenizer.add_special_tokens({"sep_token": SEP, "cls_token": CLS})
    # Flagged special, also where a published tokenizer has them as ordinary words: only then is
    # `split_special_tokens` able to keep a literal "<|p1|>" in somebody's utterance from becoming control.
    tokenizer.add_tokens([START, P1, P2, ACT], special_tokens=True)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


class Encoder:
    """Text and dialogues -> token ids, with the ids of the special tokens looked up once."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        ids = [tokenizer.convert_tokens_to_ids(token) for token in (SEP, START, P1, P2)]
        if None in ids or tokenizer.unk_token_id in ids or tokenizer.eos_token_id is None:
            raise DataError("the tokenizer has no persona tokens; add them with dialogue.add_special_tokens")
        self.sep, self.start, *self.speakers = ids
        self.eos: int = tokenizer.eos_token_id
        # A tokenizer is saved as it was last used: it may cut or pad every text.
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()

    def texts(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text; literal special tokens stay text."""
        backend = self.tokenizer.backend_tokenizer
        before = backend.encode_special_tokens
        # What `split_special_tokens=True` sets; the batch call below leaves out offsets and masks nobody reads.
        backend.encode_special_tokens = True
        try:
            return [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]
        finally:
            backend.encode_special_tokens = before

    def prefix(self, speaker: int, facts: list[list[int]]) -> list[int]:
        """What stands before the first utterance, for `speaker` 0 (talks first) or 1."""
        ids = [self.speakers[speaker]]
        for fact in facts:
            ids += [*fact, self.eos]
        return [*ids, self.sep, self.start]

    def context(self, speaker: int, facts: list[str], utterances: list[str], room: int) -> list[int]:
        """Token ids after which `speaker`'s next response follows, at most `room` of them: the oldest utterances go.

        Raises DataError where persona and the last utterance alone do not fit.
        """
        prefix = self.prefix(speaker, self.texts(facts))
        turns = [[*ids, self.eos] for ids in self.texts(utterances)]
        while turns and len(prefix) + sum(map(len, turns)) > room:
            turns.pop(0)
        if len(prefix) > room or (utterances and not turns):
            raise DataError(
                f"the persona ({len(prefix)} tokens) and the last utterance do not fit into {room} tokens: shorten them"
            )
        return prefix + [token for turn in turns for token in turn]

    def decode(self, tokens: list[int]) -> tuple[int, list[str], list[str]]:
        """A sequence's tokens -> its speaker (0 or 1), the persona's facts and the utterances."""
        start = tokens.index(self.start)
        return self.speakers.index(tokens[0]), self._split(tokens[1 : start - 1]), self._split(tokens[start + 1 :])

    def decode_reply(self, tokens: list[int]) -> str:
        """The text of generated tokens, up to the first <eos>."""
        end = tokens.index(self.eos) if self.eos in tokens else len(tokens)
        return self.tokenizer.decode(tokens[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def _split(self, tokens: list[int]) -> list[str]:
        """The texts between the <eos>."""
        texts, ends = [], [index for index, token in enumerate(tokens) if token == self.eos]
        for start, end in zip([0, *(end + 1 for end in ends)], ends, strict=False):
            texts.append(self.tokenizer.decode(tokens[start:end], clean_up_tokenization_spaces=False))
        return texts


def side_sequences(
    prefix: list[int], utterances: list[list[int]], speaker: int, eos: int, limit: int
) -> list[tuple[list[int], list[tuple[int, int]]]]:
    """One speaker's side of a dialogue -> its sequences, each with the (start, end) of its responses in it.

    `prefix` is `Encoder.prefix`'s; `utterances` are token ids without <eos>; utterance i is speaker i % 2's.
    A side that fits `limit` tokens gives one sequence. A longer one is cut so that every response is labelled once: from
    the first response not yet labelled to the farthest that still fits, then older utterances in front while they fit.
    A side without an utterance of its own gives none. Raises OverflowError(i) where prefix and utterance i do not fit.
    """
    turns = [[*ids, eos] for ids in utterances]
    own = range(speaker, len(turns), 2)
    sequences = []
    done = 0  # how many of the own responses are labelled
    while done < len(own):
        first = last = own[done]
        length = len(prefix) + len(turns[first])
        if length > limit:
            raise OverflowError(first)
        while last + 2 < len(turns) and length + len(turns[last + 1]) + len(turns[last + 2]) <= limit:
            length += len(turns[last + 1]) + len(turns[last + 2])
            last += 2
        oldest = first
        while oldest > 0 and length + len(turns[oldest - 1]) <= limit:
            oldest -= 1
            length += len(turns[oldest])
        tokens, spans = list(prefix), []
        for index in range(oldest, last + 1):
            if index >= first and index % 2 == speaker:
                spans.append((len(tokens), len(tokens) + len(turns[index])))
            tokens += turns[index]
        sequences.append((tokens, spans))
        done += len(spans)
    return sequences


def tokenizer_checksum(tokenizer: PreTrainedTokenizerFast) -> str:
    """SHA-256 of what decides a text's token ids: vocabulary, merges and special tokens."""
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    relevant = [parts["model"].get("merges"), sorted(tokenizer.get_vocab().items()), parts.get("pre_tokenizer")]
    return hashlib.sha256(json.dumps(relevant).encode()).hexdigest()


@dataclass(frozen=True)
class Tensors:
    """A tensor file's arrays: S sequences, N tokens and R responses in all, in file order, first speaker first."""

    tokens: np.ndarray  # (N,) int32
    offsets: np.ndarray  # (S + 1,) int64: sequence i is tokens[offsets[i]:offsets[i + 1]]
    responses: np.ndarray  # (R, 2) int64: where each response starts and ends in `tokens`
    response_offsets: (
        np.ndarray
    )  # (S + 1,) int64: sequence i has responses[response_offsets[i]:response_offsets[i + 1]]
    dialogues: np.ndarray  # (S,) int64: each sequence's dialogue, counted from 0 among those of its file

    def save(self, path: Path, metadata: dict[str, str]) -> None:
        # Not safetensors' save_file: it leaves the file to its owner only, and hides a full disk in an error of its own.
        path.write_bytes(save({name: np.ascontiguousarray(array) for name, array in vars(self).items()}, metadata))


DTYPES = {"tokens": np.int32} | dict.fromkeys(("offsets", "responses", "response_offsets", "dialogues"), np.int64)


class PersonaChatDataset(torch.utils.data.Dataset):
    """The sequences of a tensor file. Raises DataError where the file is missing, damaged or hostile."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.metadata, self.tensors = _read_tensors(self.path)
        try:
            _check_tensors(self.tensors, int(self.metadata["vocabulary"]), int(self.metadata["context"]))
        except (KeyError, ValueError) as error:
            raise DataError(f"{path}: damaged tensors ({error}); run preprocess_dataset.py again") from None
        self._count()

    @classmethod
    def from_tensors(cls, tensors: Tensors, context: int) -> PersonaChatDataset:
        """The dataset of tensors just made, for a model with `context` positions."""
        dataset = cls.__new__(cls)
        dataset.metadata, dataset.tensors = {"context": str(context)}, tensors
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
        """{"input_ids": LongTensor (T,), "labels": LongTensor (T,)}; labels are -100 outside the responses."""
        tokens, spans = self.sequence(index)
        labels = np.full_like(tokens, IGNORED)
        for start, end in spans:
            labels[start:end] = tokens[start:end]
        return {"input_ids": torch.from_numpy(tokens), "labels": torch.from_numpy(labels)}

    def sequence(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Sequence `index` as int64 tokens (T,), and the start and end of each of its responses in it, (R, 2)."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"sequence {index} of {len(self)}")
        index %= len(self)
        start, end = self.tensors.offsets[index : index + 2]
        first, last = self.tensors.response_offsets[index : index + 2]
        return self.tensors.tokens[start:end].astype(np.int64), self.tensors.responses[first:last] - start


def check_present(path: Path) -> None:
    """Raise DataError where there is no tensor file."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; run preprocess_dataset.py with the same settings first")


def _read_tensors(path: Path) -> tuple[dict[str, str], Tensors]:
    check_present(path)
    try:
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in DTYPES}
            return file.metadata() or {}, Tensors(**arrays)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = str(error).split("\n", 1)[0]
        raise DataError(f"{path}: not a tensor file of ours ({reason}); run preprocess_dataset.py again") from None


def _check_tensors(tensors: Tensors, vocabulary: int, context: int) -> None:
    """Raise ValueError unless every number is in range, so that nothing wrong can reach a kernel."""

    def need(holds: Any, what: str) -> None:
        if not holds:
            raise ValueError(what)

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
    need(np.diff(offsets).max() <= context, f"a sequence is longer than the context of {context}")
    need(((tokens >= 0) & (tokens < vocabulary)).all(), f"a token outside the vocabulary of {vocabulary}")
    need(dialogues[0] >= 0 and (dialogues[1:] >= dialogues[:-1]).all(), "dialogues out of order")
    owner = np.repeat(np.arange(count), np.diff(response_offsets))  # (R,) each response's sequence
    starts, ends = responses[:, 0], responses[:, 1]
    need((starts < ends).all() and (starts[1:] >= ends[:-1]).all(), "responses out of order")
    # A sequence's first token has nothing before it to be predicted from.
    need((starts > offsets[owner]).all() and (ends <= offsets[owner + 1]).all(), "a response outside its sequence")


def open_tensors(
    path: Path, text: Path, tokenizer: PreTrainedTokenizerFast, max_turns: int, context: int
) -> PersonaChatDataset:
    """The dataset at `path`. Raises DataError where it was not made from `text`, with `tokenizer` and `max_turns`, for
    a model with `context` positions.

    A text that is no longer there is not missed: tensors may travel to another machine without it.
    """
    dataset = PersonaChatDataset(path)
    again = f"{path}: made {{}}; run preprocess_dataset.py with these settings again"
    if text.exists() and dataset.metadata.get("text_sha256") != file_checksum(text):
        raise DataError(again.format(f"from another text than {text}"))
    if dataset.metadata.get("tokenizer_sha256") != tokenizer_checksum(tokenizer):
        raise DataError(again.format("with another tokenizer than model_name's"))
    if int(dataset.metadata["vocabulary"]) != len(tokenizer):
        raise DataError(again.format("for another vocabulary than model_name's"))
    if dataset.metadata.get("max_turns") != str(max_turns):
        raise DataError(again.format(f"with max_turns = {dataset.metadata.get('max_turns')}, not {max_turns}"))
    if int(dataset.metadata["context"]) != context:
        raise DataError(
            again.format(f"for a context of {dataset.metadata['context']} tokens, model_name's is {context}")
        )
    _check_format(dataset, Encoder(tokenizer))
    return dataset


def _check_format(dataset: PersonaChatDataset, encoder: Encoder) -> None:
    """Raise DataError unless every sequence is one of this format, on which evaluation relies."""
    tensors = dataset.tensors
    firsts = tensors.offsets[:-1]
    starts = np.flatnonzero(tensors.tokens == encoder.start)
    sound = (
        np.isin(tensors.tokens[firsts], encoder.speakers).all()
        and len(starts) == len(firsts)
        and (np.searchsorted(tensors.offsets, starts, "right") - 1 == np.arange(len(firsts))).all()
        and (starts < tensors.responses[tensors.response_offsets[:-1], 0]).all()
        and (tensors.tokens[tensors.responses[:, 1] - 1] == encoder.eos).all()
    )
    if not sound:
        raise DataError(
            f"{dataset.path}: damaged tensors (not this format's sequences); run preprocess_dataset.py again"
        )
