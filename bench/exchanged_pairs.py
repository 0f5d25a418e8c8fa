"""Preferences out of a text: a reply that shows the speaker's persona, beside a reply that shows another persona.

    python -m bench.exchanged_pairs TEXT OUT.jsonl [--pairs 300] [--seed 0]

Reads a ConvAI2 text. A reply shows a persona if it shares a content word with a fact of it. For each of `--pairs` such
replies, drawn under the seed, the chosen reply is the text's, and the rejected reply is such a reply of another
dialogue, as far into its talk, that shares no content word with the persona. Writes OUT.jsonl, for the setting
`preferences`, with the source `corrected`.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

from personagpt.detection.markers import FUNCTION_WORDS
from personagpt.output import say
from personagpt.records.preferences import reply
from personagpt.scoring.generated import words
from personagpt.text.convai2 import read_corpus


def content_words(text: str) -> set[str]:
    return set(words(text)) - FUNCTION_WORDS


def messages(facts: list[str], utterances: list[str]) -> list[dict[str, str]]:
    """Return the prompt of a reply: the persona, and the utterances before the reply."""
    roles = [("user", "assistant")[place % 2] for place in range(len(utterances))][::-1]
    chat = [{"role": role, "content": text} for role, text in zip(roles, utterances, strict=True)]
    return [{"role": "system", "content": "\n".join(facts)}, *chat]


def make_pairs(path: Path, count: int, seed: int) -> list[dict[str, Any]]:
    """Return `count` pairs of a text, or as many as it has."""
    shown: dict[int, list[tuple[int, list[str], list[str], str]]] = defaultdict(list)
    for number, dialogue in enumerate(read_corpus(path).dialogues):
        for place, utterance in enumerate(dialogue.utterances[1:], start=1):
            facts = dialogue.personas[place % 2]
            if content_words(utterance) & content_words(" ".join(facts)):
                shown[place].append((number, facts, dialogue.utterances[:place], utterance))
    chance = random.Random(seed)
    candidates = [(place, *item) for place, items in shown.items() for item in items]
    pairs: list[dict[str, Any]] = []
    for place, number, facts, before, chosen in chance.sample(candidates, len(candidates)):
        own = content_words(" ".join(facts))
        others = [text for other, _, _, text in shown[place] if other != number and not content_words(text) & own]
        if others and len(pairs) < count:
            pair = {
                "prompt": messages(facts, before),
                "chosen": reply(chosen),
                "rejected": reply(chance.choice(others)),
            }
            pairs.append(pair | {"goal": None, "source": "corrected"})
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pairs", type=int, default=300, help="default: 300")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    options = parser.parse_args()
    pairs = make_pairs(options.text, options.pairs, options.seed)
    options.out.write_text("".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs), encoding="utf-8")
    say(f"{len(pairs)} pairs: {options.out}")


if __name__ == "__main__":
    main()
