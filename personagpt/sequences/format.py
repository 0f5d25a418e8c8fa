"""The format: special tokens, a dialogue -> its two sequences, the chat template.

A dialogue has two speakers, each with a persona (a list of facts). It yields one sequence for each speaker's side:

    <|p1|> fact<eos> fact<eos> ... <|sep|><|start|> utterance<eos> utterance<eos> ...     the speaker who talks first
    <|p2|> fact<eos> fact<eos> ... <|sep|><|start|> utterance<eos> utterance<eos> ...     the other one

with that speaker's facts and both speakers' utterances; the labels are that speaker's own utterances with their <eos>.
A goal for a reply (`goals`) stands in front, `<|act|>ask about pets.<|p1|> fact<eos> ...`, without an <eos> of its own.
Attention is causal, so one pass over a sequence computes what a pass for every (context, response) pair would.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING

from personagpt.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# In the order in which they join the vocabulary: 50257 to 50262 after GPT-2's.
SEP, CLS, START, P1, P2, ACT = SPECIAL_TOKENS = ("<|sep|>", "<|cls|>", "<|start|>", "<|p1|>", "<|p2|>", "<|act|>")
# Token ids, and where each response starts and ends in them.
TokenSequence = tuple[list[int], list[tuple[int, int]]]
IGNORED = -100  # the label of a token that is no response's

# Renders a chat as the training format: the system message is the persona, one fact a line. Text that looks like a
# special token is broken up (`<|` -> `< |`), so that no message can become control; BREAKS stands for what does so.
CHAT_TEMPLATE = """\
{%- set eos = eos_token -%}
{%- macro plain(text) -%}{{- textBREAKS -}}{%- endmacro -%}
{%- for message in messages if message['content'] is not string -%}
{{- raise_exception("a message's content must be text, not a list of parts and not nothing") -}}
{%- endfor -%}
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
{%- if goal -%}
{%- if goal is not string -%}{{- raise_exception('a goal must be text') -}}{%- endif -%}
{{- '<|act|>' + plain(goal) -}}
{%- endif -%}
{{- '<|p1|>' if (messages and messages[0]['role'] == 'assistant') or \
(not messages and add_generation_prompt) else '<|p2|>' -}}
{%- for fact in persona.replace('\\r\\n', '\\n').split('\\n') if fact.strip() -%}
{{- plain(fact) + eos -}}
{%- endfor -%}
{{- '<|sep|><|start|>' -}}
{%- for message in messages -%}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}{{- plain(message['content']) + eos -}}{%- endgeneration -%}
{%- else -%}
{{- plain(message['content']) + eos -}}
{%- endif -%}
{%- endfor -%}
"""


class DataError(UserError):
    """Tensors that are missing, damaged, or made from something other than the settings name."""


def check_present(path: Path, command: str = "preprocess_dataset.py") -> None:
    """Raise DataError where there is no tensor file; `command` makes it."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; first run `{command}`")


def add_special_tokens(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Add what the format needs, in the published order; a tokenizer that has them all keeps its ids."""
    tokenizer.add_special_tokens({"sep_token": SEP, "cls_token": CLS})
    # Flagged special, also where a published tokenizer has them as ordinary words: only then is
    # `split_special_tokens` able to keep a literal "<|p1|>" in somebody's utterance from becoming control.
    tokenizer.add_tokens([START, P1, P2, ACT], special_tokens=True)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.chat_template = chat_template(tokenizer)
    return tokenizer


def chat_template(tokenizer: PreTrainedTokenizerFast) -> str:
    """The template for this tokenizer, whose special tokens may have any shape: `</s>`, `[INST]`."""
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    special |= set(tokenizer.all_special_tokens)
    # The shorter first: a broken one may look like a longer one, which is broken after it.
    others = sorted((token for token in special if "<|" not in token), key=lambda token: (len(token), token))
    pieces = ["<|", *others]
    breaks = [(piece, f"{piece[0]} {piece[1:]}" if len(piece) > 1 else " ") for piece in pieces]
    return CHAT_TEMPLATE.replace("BREAKS", "".join(f".replace({piece!r}, {broken!r})" for piece, broken in breaks))


class Encoder:
    """Text and dialogues -> token ids, with the ids of the special tokens looked up once."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        ids = [tokenizer.convert_tokens_to_ids(token) for token in (SEP, START, ACT, P1, P2)]
        if None in ids or tokenizer.unk_token_id in ids or tokenizer.eos_token_id is None:
            raise DataError("the tokenizer has no persona tokens; add them with sequences.format.add_special_tokens")
        self.sep, self.start, self.act, *self.speakers = ids
        self.eos: int = tokenizer.eos_token_id
        # A tokenizer is saved as it was last used: it may cut or pad every text.
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
        # One of its own, set once: several threads may encode while others use the tokenizer.
        self._plain = copy.deepcopy(tokenizer.backend_tokenizer)
        self._plain.encode_special_tokens = True  # what `split_special_tokens=True` sets

    def texts(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text; literal special tokens stay text."""
        # Not `encode_batch`: offsets and masks that nobody reads take time.
        return [encoding.ids for encoding in self._plain.encode_batch_fast(texts, add_special_tokens=False)]

    def prefix(self, speaker: int, facts: list[list[int]], goal: str | None = None) -> list[int]:
        """What stands before the first utterance, for `speaker` 0 (talks first) or 1; a goal before everything."""
        ids = [self.act, *self.texts([goal])[0]] if goal else []
        ids.append(self.speakers[speaker])
        for fact in facts:
            ids += [*fact, self.eos]
        return [*ids, self.sep, self.start]

    def context(
        self, speaker: int, facts: list[str], utterances: list[str], room: int, goal: str | None = None
    ) -> list[int]:
        """Token ids after which `speaker`'s next response follows, at most `room` of them: the oldest utterances go.

        Raises DataError where persona and the last utterance alone do not fit.
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
        """A sequence's tokens -> its speaker (0 or 1), the persona's facts and the utterances."""
        start = tokens.index(self.start)
        first = next(place for place, token in enumerate(tokens) if token in self.speakers)
        facts, utterances = self._split(tokens[first + 1 : start]), self._split(tokens[start + 1 :])
        return self.speakers.index(tokens[first]), facts, utterances

    def decode_reply(self, tokens: list[int]) -> str:
        """The text of generated tokens, up to the first <eos>."""
        end = tokens.index(self.eos) if self.eos in tokens else len(tokens)
        return self.tokenizer.decode(tokens[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def _split(self, tokens: list[int]) -> list[str]:
        """The texts that end in <eos>; what follows the last one is none."""
        texts, start = [], 0
        for end, token in enumerate(tokens):
            if token == self.eos:
                texts.append(self.tokenizer.decode(tokens[start:end], clean_up_tokenization_spaces=False))
                start = end + 1
        return texts


def side_sequences(
    prefix: list[int], utterances: list[list[int]], speaker: int, eos: int, limit: int
) -> list[TokenSequence]:
    """One speaker's side of a dialogue -> its sequences.

    `prefix` is `Encoder.prefix`'s; `utterances` are token ids without <eos>; utterance i is speaker i % 2's.
    A side that fits `limit` tokens gives one sequence. A longer one is cut so that every response is labelled once:
    from the first response not yet labelled to the farthest that still fits, then older utterances in front while
    they fit.
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
        tokens, spans = list(prefix), []
        for index in range(_oldest_that_fits(turns, first, limit - length), last + 1):
            if index >= first and index % 2 == speaker:
                spans.append((len(tokens), len(tokens) + len(turns[index])))
            tokens += turns[index]
        sequences.append((tokens, spans))
        done += len(spans)
    return sequences


def goal_sequence(prefix: list[int], utterances: list[list[int]], index: int, eos: int, limit: int) -> TokenSequence:
    """A side's sequence for a goal: its one response is utterance `index`, after as many as fit `limit` tokens.

    `prefix` starts with the goal; all else is as in `side_sequences`.
    """
    turns = [[*ids, eos] for ids in utterances[: index + 1]]
    room = limit - len(prefix) - len(turns[index])
    if room < 0:
        raise OverflowError(index)
    tokens = [*prefix, *itertools.chain.from_iterable(turns[_oldest_that_fits(turns, index, room) :])]
    return tokens, [(len(tokens) - len(turns[index]), len(tokens))]


def _oldest_that_fits(turns: list[list[int]], before: int, room: int) -> int:
    """The first of the whole turns that fit `room` tokens together, newest first, in front of turn `before`."""
    oldest = before
    while oldest > 0 and len(turns[oldest - 1]) <= room:
        oldest -= 1
        room -= len(turns[oldest])
    return oldest


def tokenizer_checksum(tokenizer: PreTrainedTokenizerFast) -> str:
    """SHA-256 of what decides a text's token ids: vocabulary, merges, how a text is split and changed before."""
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    relevant = [parts["model"].get("merges"), sorted(tokenizer.get_vocab().items()), parts.get("pre_tokenizer")]
    # What GPT-2's tokenizer does not have joins only where it is there: its tensors made before stay valid. Special
    # tokens are never found in a text (`Encoder.texts`), other added ones are.
    more = {key: value for key, value in parts["model"].items() if value and key not in ("type", "vocab", "merges")}
    more |= {"normalizer": parts["normalizer"]} if parts.get("normalizer") else {}
    added = [token for token in parts.get("added_tokens", []) if not token["special"]]
    more |= {"added": added} if added else {}
    relevant += [more] if more else []
    return hashlib.sha256(json.dumps(relevant).encode()).hexdigest()
