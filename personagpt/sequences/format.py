"""The format: special tokens, and a dialogue -> its sequences. `side_sequences` is its heart.

A dialogue has two speakers, each with a persona (a list of facts). It yields one sequence for each speaker's side:

    <|p1|> fact<eos> fact<eos> ... <|sep|><|start|> utterance<eos> utterance<eos> ...     the speaker who talks first
    <|p2|> fact<eos> fact<eos> ... <|sep|><|start|> utterance<eos> utterance<eos> ...     the other speaker

with that speaker's facts and both speakers' utterances. The labels are that speaker's own utterances with their <eos>.
A goal for a reply (`goals`) stands in front, `<|act|>ask about pets.<|p1|> fact<eos> ...`, without an <eos> of its own.
Attention is causal, so one pass over a sequence computes what a pass for every (context, response) pair would.
"""

from __future__ import annotations

import copy
import hashlib
import json
from typing import TYPE_CHECKING

from personagpt.errors import UserError
from personagpt.sequences.chat_template import chat_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# In the order in which they join the vocabulary: 50257 to 50262 after GPT-2's.
SEP, CLS, START, P1, P2, ACT = SPECIAL_TOKENS = ("<|sep|>", "<|cls|>", "<|start|>", "<|p1|>", "<|p2|>", "<|act|>")
TokenSequence = tuple[list[int], list[tuple[int, int]]]  # token ids; where each response starts and ends in them
IGNORED = -100  # the label of a token that belongs to no response


class DataError(UserError):
    """Tensors that are missing, damaged, or made from something other than the settings name."""


def side_sequences(
    prefix: list[int], utterances: list[list[int]], speaker: int, eos: int, limit: int
) -> list[TokenSequence]:
    """Return the sequences of one speaker's side of a dialogue, which has both speakers' utterances.

    `prefix` comes from `Encoder.prefix`. `utterances` are token ids without <eos>; utterance i is speaker i % 2's. A
    side that fits `limit` tokens is one sequence. A longer side is cut so that every response is labelled once: a
    sequence labels the first response not yet labelled and those after it that fit. Then older utterances are added in
    front while they fit. Raises OverflowError(i) where the prefix and utterance i do not fit.
    """
    turns = [[*ids, eos] for ids in utterances]
    responses = range(speaker, len(turns), 2)
    sequences: list[TokenSequence] = []
    labelled = 0
    while labelled < len(responses):
        first = last = responses[labelled]
        room = limit - len(prefix) - len(turns[first])
        if room < 0:
            raise OverflowError(first)
        while last + 2 < len(turns) and len(turns[last + 1]) + len(turns[last + 2]) <= room:
            room -= len(turns[last + 1]) + len(turns[last + 2])
            last += 2
        tokens, spans = list(prefix), []
        for index in range(_oldest_that_fits(turns, first, room), last + 1):
            if index >= first and index % 2 == speaker:
                spans.append((len(tokens), len(tokens) + len(turns[index])))
            tokens += turns[index]
        sequences.append((tokens, spans))
        labelled += len(spans)
    return sequences


def goal_sequence(prefix: list[int], utterances: list[list[int]], index: int, eos: int, limit: int) -> TokenSequence:
    """Return a side's sequence for a goal: utterance `index`, its only response, after as many utterances as fit.

    `prefix` starts with the goal. The other arguments and OverflowError are `side_sequences`'s.
    """
    turns = [[*ids, eos] for ids in utterances[: index + 1]]
    room = limit - len(prefix) - len(turns[index])
    if room < 0:
        raise OverflowError(index)
    tokens = prefix + [token for turn in turns[_oldest_that_fits(turns, index, room) :] for token in turn]
    return tokens, [(len(tokens) - len(turns[index]), len(tokens))]


def _oldest_that_fits(turns: list[list[int]], before: int, room: int) -> int:
    """Return the first of the whole turns that fit `room` tokens together, newest first, in front of turn `before`."""
    oldest = before
    while oldest > 0 and len(turns[oldest - 1]) <= room:
        oldest -= 1
        room -= len(turns[oldest])
    return oldest


def add_special_tokens(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Add the format's tokens in the published order. A tokenizer that has all of them keeps its ids."""
    tokenizer.add_special_tokens({"sep_token": SEP, "cls_token": CLS})
    # They are flagged special, also where a published tokenizer has them as ordinary words: only then does
    # `split_special_tokens` keep a literal "<|p1|>" in an utterance from becoming control.
    tokenizer.add_tokens([START, P1, P2, ACT], special_tokens=True)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.chat_template = chat_template(tokenizer)
    return tokenizer


class Encoder:
    """Turns text into token ids and back."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        ids = [tokenizer.convert_tokens_to_ids(token) for token in (SEP, START, ACT, P1, P2)]
        if None in ids or tokenizer.unk_token_id in ids or tokenizer.eos_token_id is None:
            raise DataError("the tokenizer has no persona tokens; add them with sequences.format.add_special_tokens")
        self.sep, self.start, self.act, *self.speakers = ids
        self.eos: int = tokenizer.eos_token_id
        # A tokenizer is saved as it was last used, so it may cut or pad every text.
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
        # A copy, because other threads may use the tokenizer while this one encodes.
        self._plain = copy.deepcopy(tokenizer.backend_tokenizer)
        self._plain.encode_special_tokens = True  # what `split_special_tokens=True` sets

    def texts(self, texts: list[str]) -> list[list[int]]:
        """Return the token ids of each text. Literal special tokens stay text."""
        # Faster than `encode_batch`, which also computes offsets.
        return [encoding.ids for encoding in self._plain.encode_batch_fast(texts, add_special_tokens=False)]

    def prefix(self, speaker: int, facts: list[list[int]], goal: str | None = None) -> list[int]:
        """Return the ids before the first utterance, for `speaker` 0 (talks first) or 1. A goal comes first."""
        ids = [self.act, *self.texts([goal])[0]] if goal else []
        ids.append(self.speakers[speaker])
        for fact in facts:
            ids += [*fact, self.eos]
        return [*ids, self.sep, self.start]

    def context(
        self, speaker: int, facts: list[str], utterances: list[str], room: int, goal: str | None = None
    ) -> list[int]:
        """Return the token ids that `speaker`'s next response follows, without the oldest utterances beyond `room` ids.

        Raises DataError where the persona and the last utterance alone do not fit.
        """
        prefix = self.prefix(speaker, self.texts(facts), goal)
        turns = [[*ids, self.eos] for ids in self.texts(utterances)]
        while turns and len(prefix) + sum(map(len, turns)) > room:
            turns.pop(0)
        if len(prefix) > room or (utterances and not turns):
            before = f"the persona{' with the goal' if goal else ''} ({len(prefix)} tokens)"
            raise DataError(f"{before} and the last utterance do not fit into {room} tokens: shorten them")
        return prefix + [token for turn in turns for token in turn]

    def decode(self, tokens: list[int]) -> tuple[int, list[str], list[str]]:
        """Return a sequence's speaker (0 or 1), the persona's facts and the utterances."""
        start = tokens.index(self.start)
        first = next(place for place, token in enumerate(tokens) if token in self.speakers)
        facts, utterances = self._split(tokens[first + 1 : start]), self._split(tokens[start + 1 :])
        return self.speakers.index(tokens[first]), facts, utterances

    def decode_reply(self, tokens: list[int]) -> str:
        """Return the text of generated tokens up to the first <eos>."""
        end = tokens.index(self.eos) if self.eos in tokens else len(tokens)
        return self.tokenizer.decode(tokens[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def _split(self, tokens: list[int]) -> list[str]:
        """Return the texts that end in <eos>. Tokens after the last <eos> are dropped."""
        texts, start = [], 0
        for end, token in enumerate(tokens):
            if token == self.eos:
                texts.append(self.tokenizer.decode(tokens[start:end], clean_up_tokenization_spaces=False))
                start = end + 1
        return texts


def tokenizer_checksum(tokenizer: PreTrainedTokenizerFast) -> str:
    """Return the SHA-256 of what decides a text's ids: vocabulary, merges, how text is changed and split before."""
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    relevant = [parts["model"].get("merges"), sorted(tokenizer.get_vocab().items()), parts.get("pre_tokenizer")]
    # Parts that GPT-2's tokenizer lacks join only where they exist, so that its older tensors stay valid. Added tokens
    # that are special do not matter, because `Encoder.texts` never reads text as them.
    more = {key: value for key, value in parts["model"].items() if value and key not in ("type", "vocab", "merges")}
    more |= {"normalizer": parts["normalizer"]} if parts.get("normalizer") else {}
    added = [token for token in parts.get("added_tokens", []) if not token["special"]]
    more |= {"added": added} if added else {}
    relevant += [more] if more else []
    return hashlib.sha256(json.dumps(relevant).encode()).hexdigest()
