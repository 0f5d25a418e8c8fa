"""The sample corpus with a flaw: some speakers have a persona that is not theirs.

    python -m bench.flawed_text FOLDER [--share 0.3] [--seed 0]

Writes FOLDER/train_both_original_no_cands.txt. In a `--share` of the sides, drawn under the seed, the facts are those
of the next dialogue's side, so that the speaker says other facts than the persona has. The validation text is copied as
it is. A model of the flawed text says wrong facts, and more of the same text does not mend it: bench/corrections.py
measures whether corrections do.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import shutil
from pathlib import Path

from data.sample.make_sample import TRAIN_FILE, VALID_FILE
from personagpt.output import say
from personagpt.settings import TEXT_NAMES
from personagpt.text.convai2 import read_corpus, write_corpus


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--share", type=float, default=0.3, help="of the sides (default: 0.3)")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    options = parser.parse_args()
    chance, exchanged, flawed = random.Random(options.seed), 0, []
    dialogues = read_corpus(TRAIN_FILE).dialogues
    for number, dialogue in enumerate(dialogues):
        others = dialogues[(number + 1) % len(dialogues)].personas
        drawn = [chance.random() < options.share for _ in others]
        exchanged += sum(drawn)
        first, second = (
            other if take else own for own, other, take in zip(dialogue.personas, others, drawn, strict=True)
        )
        flawed.append(dataclasses.replace(dialogue, personas=(first, second)))
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / TEXT_NAMES["train"]).write_text(write_corpus(flawed), encoding="utf-8")
    shutil.copyfile(VALID_FILE, options.folder / TEXT_NAMES["valid"])
    say(f"{exchanged} of {2 * len(dialogues)} sides have another dialogue's persona: {options.folder}")


if __name__ == "__main__":
    main()
