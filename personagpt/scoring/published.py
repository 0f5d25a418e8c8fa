"""The published figures, what each of them counts, and whether a model's own figures compare with them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerFast

# The mean of L / (L + 1) over the responses of ConvAI2's validation text, where L is the number of tokens that
# turn_perplexity counts: those after the first, and one <eos>. Over all 1,000 dialogues it is 0.9171.
SHARE_OF_TOKENS = 0.917


def by_turn(published: float, share: float = SHARE_OF_TOKENS) -> float:
    """Return a perplexity that PersonaGPT's authors published as `turn_perplexity` counts it.

    Their program ends a response with two <eos>. The second follows from the first and costs nothing, but counts as a
    token: a response whose L tokens cost S nats has the mean S / (L + 1) in place of S / L. If a token costs c nats at
    any length of response, the published figure is exp(c * mean(L / (L + 1))), and turn_perplexity is exp(c).
    """
    return published ** (1 / share)


@dataclass(frozen=True)
class Published:
    """A model's published figures on ConvAI2's validation text."""

    cells: dict[str, str]  # as the table shows them, by the metric here that counts the same
    otherwise: str = ""  # the figures that no metric here counts


# PersonaGPT's and DialoGPT's: the README of PersonaGPT's code. The others: Liu et al. 2020 and ConvAI2's leaderboard.
PUBLISHED = {
    "PersonaGPT": Published(
        {"turn_perplexity": f"~{by_turn(10.2):.1f}", "token_f1": "43.4 %"}, "perplexity 10.2, over two <eos>"
    ),
    "DialoGPT, fine-tuned": Published(
        {"turn_perplexity": f"~{by_turn(11.4):.1f}", "token_f1": "22.7 %"}, "perplexity 11.4, over two <eos>"
    ),
    "TransferTransfo": Published({"word_f1": "19.09 %"}, "17.51 per word; hits@1 82.1 % by a trained head"),
    "P2Bot": Published({"word_f1": "19.77 %"}, "15.12 per token; hits@1 81.9 % by a trained head"),
    "Lost in Conversation": Published({"word_f1": "17.79 %", "hits_at_1": "17.3 %"}),
}
CONVAI2_VALID_MD5 = "def776392ac60f9947411a3b1a86e1aa"  # valid_both_original_no_cands.txt as published
# SHA-256 of GPT-2's 50,257 tokens in the order of their ids, one per line; DialoGPT has the same tokens.
GPT2_TOKENS, GPT2_SHA256 = 50257, "e35a33a0b2250c932ffdafc4c3a3552aef0cc7af7a11e9ebfddf1d2a6517371f"


def is_published_text(text: Path) -> bool:
    """Return whether `text` is ConvAI2's validation text, with its candidates or without."""
    if not text.is_file():
        return False
    plain = re.sub(rb"\t\t[^\n]*", b"", text.read_bytes())
    return hashlib.md5(plain, usedforsecurity=False).hexdigest() == CONVAI2_VALID_MD5


def has_published_vocabulary(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Return whether the tokens below the persona tokens are GPT-2's."""
    tokens = tokenizer.convert_ids_to_tokens(range(min(GPT2_TOKENS, len(tokenizer))))
    return hashlib.sha256("\n".join(map(str, tokens)).encode()).hexdigest() == GPT2_SHA256
