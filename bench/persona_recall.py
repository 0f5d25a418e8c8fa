"""Does a model speak from its persona? Ask about a fact of its persona, then exchange the fact and ask again.

    python -m bench.persona_recall [--env .env.demo] [--model FOLDER]

Asks personas of one, three and five facts that the demo's training text does not have. Their talks are made as the
text's are. Each question about a fact that nobody has said yet is asked twice: as the first utterance of a talk, and
later, after the utterances before it. The model replies greedily. Then the fact is exchanged for another fact of its
kind. Prints for each number of facts and each place:

    own value         share of replies that name the persona's value as a whole word (aim: at least 95%)
    whole sentences   share of replies whose sentences all stand in the training text, whatever the values
                      (aim: at least 95%)
    exchanged: old    after the exchange, share of replies that still name the old value
    exchanged: new    after the exchange, share of replies that name the new value
"""

from __future__ import annotations

from utils import exit_status

import argparse
import functools
import random
import re
import sys
from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedModel

from data.sample import make_sample
from personagpt.device import autocast
from personagpt.model.decoders import context_length
from personagpt.model.generation import ReplyRequest, generate_replies
from personagpt.model.loading import TrainedModel, load
from personagpt.model.sampling import GREEDY
from personagpt.sequences.format import Encoder
from personagpt.settings import read_settings

ROOT = Path(__file__).resolve().parents[1]
SEED = 0
FACTS = 1, 3, 5  # of a persona that is asked
DIALOGUES = 80  # for each number of facts
COLUMNS = ("own value", "whole sentences", "exchanged: old", "exchanged: new")


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, with {} in place of each value."""
    slots = re.sub(r"\w+", lambda word: "{}" if word[0] in make_sample.VALUES else word[0], text)
    return re.split(r"(?<=[.!?]) ", slots)


@functools.cache
def known_sentences() -> set[str]:
    """Return the sentences that are said in the training text."""
    uttered = [said for dialogue in make_sample.read_corpus(make_sample.TRAIN_FILE) for said in dialogue.utterances]
    return {sentence for said in uttered for sentence in sentences(said)}


def persona_recall(
    model: PreTrainedModel,
    encoder: Encoder,
    facts: int = 5,
    opens: bool = False,
    limit: int | None = None,
    no_repeat: int = 0,
) -> dict[str, float]:
    """Return `questions`, their number, and by COLUMNS the fractions of replies, to personas of `facts` facts.

    With `opens`, each question is a talk's first utterance. With `no_repeat`, a reply does not repeat what its speaker
    said before the question.
    """
    sampling = replace(GREEDY, no_repeat=no_repeat)
    chance = random.Random(SEED)
    trained_on = make_sample.persona_values(make_sample.read_corpus(make_sample.TRAIN_FILE))
    corpus = make_sample.make_corpus(chance, DIALOGUES, held_out=trained_on, facts=[facts])
    questions = [question for question in make_sample.persona_questions(corpus) if not question.uttered]
    requests, wanted = {"own": [], "exchanged": []}, []
    for question in questions[:limit]:
        dialogue, table = corpus[question.dialogue], make_sample.FACT_KINDS[question.kind]
        said = " ".join([*dialogue.personas[0], *dialogue.personas[1], *dialogue.utterances])
        other = chance.choice([value for value in table.values if not make_sample.names(said, value)])
        own = dialogue.personas[question.speaker]
        exchanged = make_sample.with_value(own, question.kind, other)
        speaker, history = question.speaker, dialogue.utterances[: question.utterance + 1]
        if opens:
            speaker, history = 1, [chance.choice(table.questions)]
        room = context_length(model.config) - GREEDY.max_new_tokens
        for name, persona in (("own", own), ("exchanged", exchanged)):
            context = encoder.context(speaker, persona, history, room)
            requests[name].append(ReplyRequest(context, sampling, earlier=tuple(history[-2::-2])))
        wanted.append((question.value, other))
    half_precision = autocast("fp32", model.device)
    own, exchanged = (generate_replies(model, encoder, requests[name], half_precision) for name in requests)

    def named(replies: list[str], which: int) -> list[bool]:
        return [make_sample.names(reply, values[which]) for reply, values in zip(replies, wanted, strict=True)]

    known = known_sentences()
    whole = [known.issuperset(sentences(reply)) for reply in own]
    verdicts = (named(own, 0), whole, named(exchanged, 0), named(exchanged, 1))
    shares = {name: sum(column) / len(column) for name, column in zip(COLUMNS, verdicts, strict=True)}
    return {"questions": len(wanted), **shares}


def model_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that name a model. `description` is the text of --help."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", type=Path, default=ROOT / ".env.demo")
    parser.add_argument("--model", type=Path, help="a checkpoint (default: the newest under save_path)")
    return parser


def chosen_model(options: argparse.Namespace) -> TrainedModel:
    """Return the model that the command line names."""
    return load(options.model or read_settings(options.env).save_path / "checkpoint" / "model", "fp32")


def main() -> int:
    model = chosen_model(model_parser(__doc__).parse_args())
    print("facts  asked   questions" + "".join(f"{name:>17}" for name in COLUMNS))
    for facts in FACTS:
        for place, opens in (("first", True), ("later", False)):
            recall = persona_recall(model.model, model.encoder, facts, opens)
            shares = "".join(f"{recall[name]:>17.1%}" for name in COLUMNS)
            print(f"{facts:>5}  {place}{recall['questions']:>12}{shares}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
