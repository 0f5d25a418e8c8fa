"""The published figures, and whether a model's own figures compare with them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from transformers import PreTrainedTokenizerFast

# Perplexity and F1 in percent on ConvAI2, as PersonaGPT's authors give them.
PUBLISHED = {"PersonaGPT": (10.2, 43.4), "DialoGPT, fine-tuned": (11.4, 22.7), "TransferTransfo": (16.3, 19.5)}
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
