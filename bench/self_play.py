"""Do replies repeat themselves? Let personas of the demo talk to each other, and count.

    python -m bench.self_play [--env .env.demo] [--model FOLDER] [--no-repeat N ...] [--history N]

200 talks of 20 turns between personas of the sample's validation dialogues, with interact.py's default sampling, once
for each N of --no-repeat (by default 0, which is off, and interact.py's default). Prints, for each N:

    repeats             share of replies that repeat four words in a row of their speaker; first replies do not count
    same reply          share of replies that equal an earlier reply of their speaker; first replies do not count
    farewells           share of replies that say goodbye; a second table has them by turn
    unknown words       share of replies that hold a word which the corpus does not have
    unknown sentences   share of replies that hold a sentence which the corpus does not have
    distinct_2          distinct pairs of words
    own value, exchanged: new    bench/persona_recall.py with the same N, personas of five facts, asked in a talk
"""

from __future__ import annotations

from utils import exit_status

import re
import sys
import tempfile
from pathlib import Path

from bench.long_talk import known_text
from bench.persona_recall import chosen_model, model_parser, persona_recall, sentences
from data.sample import make_sample
from personagpt.model.loading import TrainedModel
from personagpt.model.sampling import Sampling
from personagpt.records.database import Recordings
from personagpt.scoring.generated import distinct, repeats
from personagpt.talking import self_play
from personagpt.talking.session import Session

TALKS, TURNS = 200, 20
COLUMNS = ("repeats", "same reply", "farewells", "unknown words", "unknown sentences")


def play(model: TrainedModel, no_repeat: int, max_history: int | None) -> list[list[str]]:
    """Return the utterances of each talk."""
    personas = [dialogue.personas for dialogue in make_sample.read_corpus(make_sample.VALID_FILE)]
    options = {"max_history": max_history, "as_typed": True}
    with tempfile.TemporaryDirectory() as folder:  # deleted with its recordings
        session = Session(model, Sampling(no_repeat=no_repeat), 0, Recordings(Path(folder)), **options)
        return [talk.texts for talks in self_play.play(session, personas, TALKS, TURNS) for talk in talks]


def measure(talks: list[list[str]]) -> list[dict[str, list[bool]]]:
    """Judge the replies of each turn by COLUMNS. The first two columns start with each speaker's second reply."""
    known_words, known_sentences, farewells = known_text()
    turns = []
    for turn in range(TURNS):
        verdicts: dict[str, list[bool]] = {name: [] for name in COLUMNS}
        for talk in (talk for talk in talks if len(talk) > turn):  # a talk ends early when nobody has more to say
            reply, earlier = talk[turn], talk[turn % 2 : turn : 2]
            if earlier:
                verdicts["repeats"].append(repeats(reply, earlier))
                verdicts["same reply"].append(reply in earlier)
            verdicts["farewells"].append(not farewells.isdisjoint(sentences(reply)))
            verdicts["unknown words"].append(not known_words.issuperset(re.findall(r"\w+", reply)))
            verdicts["unknown sentences"].append(not known_sentences.issuperset(sentences(reply)))
        turns.append(verdicts)
    return turns


def main() -> int:
    parser = model_parser(__doc__)
    parser.add_argument("--no-repeat", type=int, nargs="+", default=[0, Sampling().no_repeat])
    parser.add_argument("--history", type=int, help="utterances that the model sees (default: interact.py's)")
    options = parser.parse_args()
    model = chosen_model(options)
    print("no-repeat" + "".join(f"{name:>19}" for name in (*COLUMNS, "distinct_2", "own value", "exchanged: new")))
    by_turn = {}
    for no_repeat in options.no_repeat:
        talks = play(model, no_repeat, options.history)
        turns = measure(talks)
        columns = [[verdict for verdicts in turns for verdict in verdicts[name]] for name in COLUMNS]
        recall = persona_recall(model.model, model.encoder, no_repeat=no_repeat)
        figures = [sum(column) / len(column) for column in columns]
        figures += [
            distinct([text for talk in talks for text in talk], 2),
            recall["own value"],
            recall["exchanged: new"],
        ]
        print(f"{no_repeat:>9}" + "".join(f"{figure:>19.1%}" for figure in figures), flush=True)
        by_turn[no_repeat] = [sum(verdicts["farewells"]) / len(verdicts["farewells"]) for verdicts in turns]
    print("\nfarewells by turn" + "".join(f"{turn:>5}" for turn in range(1, TURNS + 1)))
    for no_repeat, farewells in by_turn.items():
        print(f"no-repeat {no_repeat:<7}" + "".join(f"{100 * share:>5.0f}" for share in farewells))
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
