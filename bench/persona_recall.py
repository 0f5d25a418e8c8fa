"""Does a model speak from its persona? Ask about a fact of its persona, then exchange the fact and ask again.

    python -m bench.persona_recall [--env .env.demo] [--model FOLDER]

The questions are those of the sample's validation dialogues whose answer nobody has said yet. The model gets the
persona and the true talk up to the question, and replies greedily. Then the fact is exchanged for another fact of its
kind. Prints the share of replies that name the persona's value as a whole word (aim: at least 90%); after the exchange,
the share that still name the old value (aim: at most 25%) and the share that name the new value.
"""

from __future__ import annotations

from utils import exit_status

import argparse
import random
import sys
from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedModel

from data.sample import make_sample
from personagpt.device import autocast
from personagpt.model.generation import ReplyRequest, generate_replies
from personagpt.model.loading import TrainedModel, load
from personagpt.model.sampling import GREEDY
from personagpt.sequences.format import Encoder
from personagpt.settings import read_settings

ROOT = Path(__file__).resolve().parents[1]
SEED = 0


def persona_recall(
    model: PreTrainedModel, encoder: Encoder, limit: int | None = None, no_repeat: int = 0
) -> dict[str, float]:
    """Return `questions`, and the fractions `own`, `exchanged_old`, `exchanged_new` of replies that name the value.

    With `no_repeat`, a reply does not repeat what its speaker said before the question.
    """
    sampling = replace(GREEDY, no_repeat=no_repeat)
    chance = random.Random(SEED)
    corpus = make_sample.read_corpus(make_sample.VALID_FILE)
    questions = [question for question in make_sample.persona_questions(make_sample.VALID_FILE) if not question.uttered]
    requests, wanted = {"own": [], "exchanged": []}, []
    for question in questions[:limit]:
        dialogue = corpus[question.dialogue]
        facts, history = dialogue.personas[question.speaker], dialogue.utterances[: question.utterance + 1]
        said = " ".join([*dialogue.personas[0], *dialogue.personas[1], *dialogue.utterances])
        values = make_sample.FACT_KINDS[question.kind].values
        other = chance.choice([value for value in values if not make_sample.names(said, value)])
        exchanged = make_sample.with_value(facts, question.kind, other)
        room = model.config.n_positions - GREEDY.max_new_tokens
        for name, persona in (("own", facts), ("exchanged", exchanged)):
            context = encoder.context(question.speaker, persona, history, room)
            requests[name].append(ReplyRequest(context, sampling, earlier=tuple(history[-2::-2])))
        wanted.append((question.value, other))
    half_precision = autocast("fp32", model.device)
    own, exchanged = (generate_replies(model, encoder, requests[name], half_precision) for name in requests)

    def share(replies: list[str], which: int) -> float:
        named = [make_sample.names(reply, values[which]) for reply, values in zip(replies, wanted, strict=True)]
        return sum(named) / len(named)

    return {
        "questions": len(wanted),
        "own": share(own, 0),
        "exchanged_old": share(exchanged, 0),
        "exchanged_new": share(exchanged, 1),
    }


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
    recall = persona_recall(model.model, model.encoder)
    print(f"{recall['questions']} questions about a persona that training never showed")
    print(f"own persona:       {recall['own']:.1%} of the replies name its value")
    old, new = recall["exchanged_old"], recall["exchanged_new"]
    print(f"exchanged persona: {old:.1%} still name the old value, {new:.1%} the new")
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
