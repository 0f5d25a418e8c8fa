"""Do replies repeat themselves? Let personas of the demo talk to each other, and count.

    python -m bench.self_play [--env .env.demo] [--model FOLDER] [--no-repeat N ...] [--history N]

200 talks of 20 turns between personas of the sample's validation dialogues, at the sampling interact.py has by default,
once for each N of --no-repeat (0, which is off, and the default). Prints the share of replies that say four words in a
row which their speaker said before (of those after each speaker's first), that are an earlier one of theirs, that say
goodbye, that hold a word or a sentence the corpus does not have; distinct pairs of words; persona recall
(bench/persona_recall.py) with the same N; and the farewells by turn.
"""

from __future__ import annotations

from utils import exit_status

import re
import sys
import tempfile
from pathlib import Path

from bench.long_talk import known_text, sentences
from bench.persona_recall import chosen_model, model_parser, persona_recall
from data.sample import make_sample
from personagpt.model.loading import TrainedModel
from personagpt.model.sampling import Sampling
from personagpt.records.database import Recordings
from personagpt.scoring.metrics import distinct, repeats
from personagpt.talking import self_play
from personagpt.talking.session import Session

TALKS, TURNS = 200, 20
COLUMNS = ("repeats", "same reply", "farewells", "unknown words", "unknown sentences")


def play(model: TrainedModel, no_repeat: int, max_history: int | None) -> list[list[str]]:
    """The talks' utterances."""
    personas = [dialogue.personas for dialogue in make_sample.read_corpus(make_sample.VALID_FILE)]
    options = {"max_history": max_history, "as_typed": True}
    with tempfile.TemporaryDirectory() as folder:  # nothing is recorded
        session = Session(model, Sampling(no_repeat=no_repeat), 0, Recordings(Path(folder)), **options)
        return [talk.texts for talks in self_play.play(session, personas, TALKS, TURNS) for talk in talks]


def measure(talks: list[list[str]]) -> list[dict[str, list[bool]]]:
    """For each turn, what holds of its replies: COLUMNS, the first two only from each speaker's second reply on."""
    known_words, known_sentences, farewells = known_text()
    turns = []
    for turn in range(TURNS):
        found: dict[str, list[bool]] = {name: [] for name in COLUMNS}
        for talk in (talk for talk in talks if len(talk) > turn):  # one in which nobody has more to say ends
            reply, earlier = talk[turn], talk[turn % 2 : turn : 2]
            if earlier:
                found["repeats"].append(repeats(reply, earlier))
                found["same reply"].append(reply in earlier)
            found["farewells"].append(not farewells.isdisjoint(sentences(reply)))
            found["unknown words"].append(not known_words.issuperset(re.findall(r"\w+", reply)))
            found["unknown sentences"].append(not known_sentences.issuperset(sentences(reply)))
        turns.append(found)
    return turns


def main() -> int:
    parser = model_parser(__doc__)
    parser.add_argument("--no-repeat", type=int, nargs="+", default=[0, Sampling().no_repeat])
    parser.add_argument("--history", type=int, help="utterances the model is shown (default: as interact.py)")
    options = parser.parse_args()
    model = chosen_model(options)
    print("no-repeat" + "".join(f"{name:>19}" for name in (*COLUMNS, "distinct_2", "own value", "exchanged: new")))
    by_turn = {}
    for no_repeat in options.no_repeat:
        talks = play(model, no_repeat, options.history)
        turns = measure(talks)
        shares = [[held for found in turns for held in found[name]] for name in COLUMNS]
        recall = persona_recall(model.model, model.encoder, no_repeat=no_repeat)
        figures = [sum(held) / len(held) for held in shares]
        figures += [distinct([text for talk in talks for text in talk], 2), recall["own"], recall["exchanged_new"]]
        print(f"{no_repeat:>9}" + "".join(f"{figure:>19.1%}" for figure in figures), flush=True)
        by_turn[no_repeat] = [sum(found["farewells"]) / len(found["farewells"]) for found in turns]
    print("\nfarewells by turn" + "".join(f"{turn:>5}" for turn in range(1, TURNS + 1)))
    for no_repeat, farewells in by_turn.items():
        print(f"no-repeat {no_repeat:<7}" + "".join(f"{100 * share:>5.0f}" for share in farewells))
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
