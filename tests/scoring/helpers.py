"""What several tests of scoring and of evaluate.py use: a text with candidates, and a text's sequences."""

from __future__ import annotations

import contextlib
from typing import Any

from personagpt.sequences.dataset import PersonaChatDataset, encode_corpus
from personagpt.sequences.format import Encoder
from personagpt.text.convai2 import parse_corpus

PLAIN = contextlib.nullcontext()  # no autocast
CANDIDATES = """\
1 your persona: i have two dogs.
2 your persona: i work as a nurse.
3 partner's persona: i like rap music .
4 hi ! how are you ?\tgreat . just walking my dogs .\t\ti like tea.|no|great . just walking my dogs .
5 nice ! what do you do ?\ti am a nurse .\t\twonderful ! i am a nurse , and i like it .||i am a nurse .
1 your persona: i am old.
2 partner's persona: i play the banjo.
3 __SILENCE__\thello !\t\tbye .|hello !
4 hello , who are you ?\ti am called tom.\t\ti am called tom.|my name is ann .|i am called tom.
"""


def dataset_of(data: bytes, encoder: Encoder, context: int = 320) -> PersonaChatDataset:
    """Return the sequences of a text, for a model that reads `context` tokens."""
    return PersonaChatDataset.from_tensors(encode_corpus(parse_corpus(data, "t"), encoder, 20, context, "t"), context)


def ranking_record(facts: list[str], prefix: list[str], true: str) -> dict[str, Any]:
    """Return a record of Dialogue NLI's ranking sets, whose other candidates are `neg 0`, `similar 0`, `rand 0`, ..."""
    others = {kind: [f"{kind} {number}" for number in range(11)] for kind in ("neg", "similar", "rand")}
    return {"persona": facts, "prefix": prefix, "candidates": {"label": [true]} | others}
