"""Find dialogues that repeat another dialogue from the other side.

ConvAI2's training files hold every dialogue twice. The second copy has the personas exchanged and `__SILENCE__` in
front, so that "you" are the other speaker (ParlAI's pull request 632). We train both sides of every dialogue, so the
second copy would train nearly every response again. Contractions may differ between the copies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from personagpt.text.dialogues import Dialogue

# Both copies get one form. "'s" counts as "is" and "'d" as "would", so "has" counts as "is" and "had" as "would". The
# order matters: in ConvAI2 contractions were made by replacing letters, which left "that'sn't" and "wasn'thing".
EXPANSIONS = (
    ("\u2019", "'"), ("won't", "will not"), ("shan't", "shall not"), ("can't", "can not"), ("n't", " not"),
    ("'m", " am"), ("'re", " are"), ("'ve", " have"), ("'ll", " will"), ("'d", " would"), ("'s", " is"),
    (" has", " is"), (" had", " would"), ("let us", "let is"),
)  # fmt: skip
# Punctuation, and spaces because "can not" is "cannot". Line feeds stay: they keep utterances apart.
DROPPED = {code: None for code in range(128) if not chr(code).isalnum() and chr(code) != "\n"}
DROPPED |= dict.fromkeys(map(ord, "\u2018\u201c\u201d\u2026\u2013\u2014"))


def find_mirrors(dialogues: Iterable[Dialogue]) -> set[int]:
    """Return the first lines of the dialogues that another dialogue makes needless.

    Of two mirrored dialogues one begins with `__SILENCE__`, so one has an odd number of utterances and the other an
    even number. They agree but for the last utterance of the longer one. The longer one has every response of the
    shorter one, which is needless. In ConvAI2's files the shorter one is always the later one.
    """
    needless: set[int] = set()
    # By whether `__SILENCE__` comes first: the checksums of whole dialogues, with their first lines, and the checksums
    # of dialogues without their last utterance.
    whole: tuple[dict[int, int], ...] = ({}, {})
    shortened: tuple[set[int], ...] = (set(), set())
    for dialogue in dialogues:
        silence_first = dialogue.silence_first
        personas = "\0".join("\n".join(sorted(map(plain, facts))) for facts in dialogue.personas)
        talk = plain("\n".join(dialogue.utterances))
        all_of_it, all_but_the_last = _checksum(personas, talk), _checksum(personas, talk.rpartition("\n")[0])
        if all_of_it in shortened[not silence_first]:
            needless.add(dialogue.line)
            continue
        if len(dialogue.utterances) > 1 and all_but_the_last in whole[not silence_first]:
            needless.add(whole[not silence_first].pop(all_but_the_last))
        whole[silence_first][all_of_it] = dialogue.line
        shortened[silence_first].add(all_but_the_last)
    return needless


def plain(text: str) -> str:
    """Return `text` in lower case with contractions expanded, without punctuation and spaces."""
    text = text.lower()
    for contraction, words in EXPANSIONS:
        text = text.replace(contraction, words)
    return text.translate(DROPPED)


def _checksum(personas: str, talk: str) -> int:
    """Return 64 bits: two of a million dialogues have the same checksum by chance in one of 10^6 files."""
    return int.from_bytes(hashlib.blake2b(f"{personas}\0{talk}".encode(), digest_size=8).digest())
