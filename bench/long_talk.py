"""Do replies stay good in a long talk? Ask the demo model 20 questions in a row, with interact.py's defaults.

    python -m bench.long_talk [--env .env.demo] [--model FOLDER]

24 personas of the sample's validation dialogues get 20 questions each. The questions are of every kind, also small
talk, and the persona settles only some of them. The model's own replies stay in the talk. Five rounds give 2,400
replies. Prints by turn the share of replies that say goodbye (aim: at most 5%), that hold a word which the corpus does
not have (aim: at most 3% of all), and that hold a sentence which the corpus does not have. Of the replies to questions
that the persona settles, it prints the share that name the persona's value.
"""

from __future__ import annotations

from utils import exit_status

import random
import re
import sys

from bench.persona_recall import chosen_model, known_sentences, model_parser, sentences
from data.sample import make_sample
from data.sample.templates import FACT_KINDS, FAREWELLS, SMALL_TALK
from personagpt.model.loading import TrainedModel
from personagpt.talking.persona import Persona

PERSONAS, QUESTIONS, ROUNDS = 24, 20, 5
SEED = 0
ASKED = {question: kind for kind, table in FACT_KINDS.items() for question in table.questions}
COLUMNS = ("farewells", "unknown words", "unknown sentences", "own value")


def known_text() -> tuple[set[str], set[str], set[str]]:
    """Return the words and the sentences of the training text, and the sentences that say goodbye."""
    uttered = [said for dialogue in make_sample.read_corpus(make_sample.TRAIN_FILE) for said in dialogue.utterances]
    words = set(re.findall(r"\w+", " ".join(uttered))) | set(make_sample.VALUES)
    farewells = {sentence for farewell in FAREWELLS for sentence in sentences(farewell)}
    return words, known_sentences(), farewells


def long_talks(model: TrainedModel) -> list[dict[str, list[bool]]]:
    """Judge the replies of each turn by COLUMNS. The last column covers only questions that the persona settles."""
    chance = random.Random(SEED)
    corpus = make_sample.read_corpus(make_sample.VALID_FILE)[:PERSONAS]
    known_words, known, farewells = known_text()
    personas = [dialogue.personas[1] for dialogue in corpus] * ROUNDS
    asked = [chance.sample([*ASKED, *SMALL_TALK], QUESTIONS) for _ in personas]
    speakers = [Persona(model, facts, seed=SEED + number, keep_facts=True) for number, facts in enumerate(personas)]
    turns = []
    for turn in range(QUESTIONS):
        said = [questions[turn] if turn else f"hi ! {questions[turn]}" for questions in asked]
        replies = Persona.replies(list(zip(speakers, said, strict=True)))
        verdicts: dict[str, list[bool]] = {name: [] for name in COLUMNS}
        for persona, questions, reply in zip(personas, asked, replies, strict=True):
            verdicts["farewells"].append(not farewells.isdisjoint(sentences(reply)))
            verdicts["unknown words"].append(not known_words.issuperset(re.findall(r"\w+", reply)))
            verdicts["unknown sentences"].append(not known.issuperset(sentences(reply)))
            if value := make_sample.value_of(persona, ASKED.get(questions[turn], "")):
                verdicts["own value"].append(make_sample.names(reply, value))
        turns.append(verdicts)
    return turns


def main() -> int:
    turns = long_talks(chosen_model(model_parser(__doc__).parse_args()))
    print("turn" + "".join(f"{name:>19}" for name in COLUMNS))
    every_turn = {name: [verdict for verdicts in turns for verdict in verdicts[name]] for name in COLUMNS}
    rows = [(str(number), verdicts) for number, verdicts in enumerate(turns, 1)] + [("all", every_turn)]
    for label, verdicts in rows:
        print(f"{label:>4}" + "".join(f"{sum(verdicts[name]) / len(verdicts[name]):>19.1%}" for name in COLUMNS))
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
