"""Does a long talk stay a talk? Ask the demo model 20 questions in a row, as interact.py asks it by default.

    python -m bench.long_talk [--env .env.demo] [--model FOLDER]

24 personas of the sample's validation dialogues are asked 20 questions each, of every kind and small talk, whether
their persona settles them or not; the model's own replies stand in the talk. Five rounds, 2,400 replies. Prints, by
turn, the share of replies that say goodbye (the aim: at most 5%), that hold a word the corpus does not have (at most
3% of all) or a sentence it does not have, and of those whose question the persona settles, the share that name its
value.
"""

from __future__ import annotations

from utils import exit_status

import random
import re
import sys

from bench.persona_recall import chosen_model, model_parser
from data.sample import make_sample
from data.sample.templates import FACT_KINDS, FAREWELLS, SMALL_TALK
from personagpt.model.loading import TrainedModel
from personagpt.talking.persona import Persona

PERSONAS, QUESTIONS, ROUNDS = 24, 20, 5
SEED = 0
ASKED = {question: kind for kind, table in FACT_KINDS.items() for question in table.questions}
COLUMNS = ("farewells", "unknown words", "unknown sentences", "own value")


def sentences(text: str) -> list[str]:
    """The sentences of a text, with {} where a value stands."""
    slots = re.sub(r"\w+", lambda word: "{}" if word[0] in make_sample.VALUES else word[0], text)
    return re.split(r"(?<=[.!?]) ", slots)


def known_text() -> tuple[set[str], set[str], set[str]]:
    """The words and the sentences of the training text, and the sentences that say goodbye."""
    uttered = [said for dialogue in make_sample.read_corpus(make_sample.TRAIN_FILE) for said in dialogue.utterances]
    words = set(re.findall(r"\w+", " ".join(uttered))) | set(make_sample.VALUES)
    farewells = {sentence for farewell in FAREWELLS for sentence in sentences(farewell)}
    return words, {sentence for said in uttered for sentence in sentences(said)}, farewells


def long_talks(model: TrainedModel) -> list[dict[str, list[bool]]]:
    """For each turn, what holds of its replies: COLUMNS, the last one only where the persona has a value."""
    chance = random.Random(SEED)
    corpus = make_sample.read_corpus(make_sample.VALID_FILE)[:PERSONAS]
    known_words, known_sentences, farewells = known_text()
    personas = [dialogue.personas[1] for dialogue in corpus] * ROUNDS
    asked = [chance.sample([*ASKED, *SMALL_TALK], QUESTIONS) for _ in personas]
    asked_of = [Persona(model, facts, seed=SEED + number, keep_facts=True) for number, facts in enumerate(personas)]
    turns = []
    for turn in range(QUESTIONS):
        said = [questions[turn] if turn else f"hi ! {questions[turn]}" for questions in asked]
        replies = Persona.replies(list(zip(asked_of, said, strict=True)))
        found: dict[str, list[bool]] = {name: [] for name in COLUMNS}
        for persona, questions, reply in zip(personas, asked, replies, strict=True):
            found["farewells"].append(not farewells.isdisjoint(sentences(reply)))
            found["unknown words"].append(not known_words.issuperset(re.findall(r"\w+", reply)))
            found["unknown sentences"].append(not known_sentences.issuperset(sentences(reply)))
            if value := make_sample.value_of(persona, ASKED.get(questions[turn], "")):
                found["own value"].append(make_sample.names(reply, value))
        turns.append(found)
    return turns


def main() -> int:
    turns = long_talks(chosen_model(model_parser(__doc__).parse_args()))
    print("turn" + "".join(f"{name:>19}" for name in COLUMNS))
    everything = {name: [held for found in turns for held in found[name]] for name in COLUMNS}
    for label, found in [*((str(number), found) for number, found in enumerate(turns, 1)), ("all", everything)]:
        print(f"{label:>4}" + "".join(f"{sum(found[name]) / len(found[name]):>19.1%}" for name in COLUMNS))
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
