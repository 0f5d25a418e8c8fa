"""Dialogues that repeat another one from the other side.

ConvAI2's training files hold every dialogue twice: appended once more with the personas exchanged and `__SILENCE__` in
front, so that "you" are now the other speaker (ParlAI's pull request 632). We make both sides of every dialogue, so the
second copy would train nearly every response again. Contractions may differ between the copies.
"""

from __future__ import annotations

import hashlib

# To one form for both copies. What "'s" and "'d" stand for is not told apart: "has" counts as "is", "had" as "would".
# In this order; in ConvAI2 contractions were made by replacing letters, so there are also "that'sn't" and "wasn'thing".
EXPANSIONS = (
    ("\u2019", "'"), ("won't", "will not"), ("shan't", "shall not"), ("can't", "can not"), ("n't", " not"),
    ("'m", " am"), ("'re", " are"), ("'ve", " have"), ("'ll", " will"), ("'d", " would"), ("'s", " is"),
    (" has", " is"), (" had", " would"), ("let us", "let is"),
)  # fmt: skip
# Spaces go, too: "can not" is "cannot". What keeps utterances apart stays.
DROPPED = {code: None for code in range(128) if not chr(code).isalnum() and chr(code) != "\n"}
DROPPED |= dict.fromkeys(map(ord, "\u2018\u201c\u201d\u2026\u2013\u2014"))


class MirrorFinder:
    """Remembers a file's dialogues, some bytes of each, and finds those that mirror another.

    One of two mirrored dialogues begins with `__SILENCE__`, so it has an odd number of utterances and the other an even
    one: they are the same but for the longer one's last. The longer one has every response of the other; the shorter
    one goes. In ConvAI2's files that is always the later one.
    """

    def __init__(self) -> None:
        self.found: set[int] = set()  # the lines at which the dialogues start that may go
        # By whether `__SILENCE__` comes first: the whole dialogues, with their lines, and those without their last.
        self._whole: tuple[dict[int, int], ...] = ({}, {})
        self._but_last: tuple[set[int], ...] = (set(), set())

    def add(self, line: int, facts: tuple[list[str], list[str]], utterances: list[str], after_silence: bool) -> None:
        """Look at the dialogue that starts at `line`; `facts` are the first speaker's and the other's."""
        personas = "\0".join("\n".join(sorted(map(plain, persona))) for persona in facts)
        talk = plain("\n".join(utterances))
        whole, but_last = _number(personas, talk), _number(personas, talk.rpartition("\n")[0])
        if whole in self._but_last[not after_silence]:
            self.found.add(line)
            return
        if len(utterances) > 1 and but_last in self._whole[not after_silence]:
            self.found.add(self._whole[not after_silence].pop(but_last))
        self._whole[after_silence][whole] = line
        self._but_last[after_silence].add(but_last)


def plain(text: str) -> str:
    """`text` in lower case, contractions expanded, without punctuation and spaces."""
    text = text.lower()
    for contraction, words in EXPANSIONS:
        text = text.replace(contraction, words)
    return text.translate(DROPPED)


def _number(*parts: str) -> int:
    """64 bits that tell texts apart: chance confuses two of a million dialogues in one of 10^6 files."""
    return int.from_bytes(hashlib.blake2b("\0".join(parts).encode(), digest_size=8).digest())
