"""What do corrected replies teach? A simulated person corrects a model, which then trains on.

    python -m bench.flawed_text save/flawed                 a text of which a model learns wrong facts
    export data_path=save/flawed save_path=save/flawed
    python preprocess_dataset.py --env .env.demo && python train.py --env .env.demo
    python -m bench.corrections --model save/flawed/checkpoint/model [--pairs 300] [--runs 3]

A correction is a pair of replies to a question about a fact that nobody has told yet: the corpus's answer with the
persona's value, and the same answer with another persona's value. The personas are none of the sample corpus's training
text. Training goes on with a part of the text in `data_path` (default: the sample corpus), in these ways:

    text alone       without corrections
    corrections      with the pairs (DPO)
    chosen alone     with the pairs' chosen replies as further sequences of the text
    swapped          with the pairs, of which half have chosen and rejected exchanged, by lot

Prints for each way, and for the model before, the shares of replies to further personas that name another persona's
value ("wrong fact") and the persona's own ("recall"), and the perplexity of the validation text. The replies are
drawn as in a talk. The runs differ in the personas that are corrected, in the order of the text, and in the random
numbers that draw the replies.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import random
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.common import ROOT, to_train
from data.sample import make_sample
from personagpt.device import Processes, autocast
from personagpt.model.decoders import context_length
from personagpt.model.generation import ReplyRequest, generate_replies
from personagpt.model.loading import TrainedModel, load
from personagpt.model.sampling import Sampling
from personagpt.scoring.metrics import score
from personagpt.sequences.batches import StepPlan
from personagpt.sequences.dataset import PersonaChatDataset, encode_corpus
from personagpt.sequences.preference_tensors import PreferenceData, encode_preferences
from personagpt.sequences.preferences import Preference
from personagpt.sequences.tensors import Tensors
from personagpt.settings import read_settings
from personagpt.text.convai2 import read_corpus
from personagpt.training.optimization import Trainer, schedule, step_seed, training_step
from personagpt.training.preferences import log_likelihoods

FACTS = [4, 5, 6]  # of a persona that is asked
DIALOGUES = 100  # made at a time
Figures = tuple[float, float, float]
WAYS = ("text alone", "corrections", "chosen alone", "swapped")


@dataclass(frozen=True)
class Asked:
    """A question about a fact."""

    facts: list[str]
    utterances: list[str]  # up to the question
    speaker: int  # who answers
    kind: str
    value: str  # the persona's
    answer: str  # the corpus's, with that value

    def names_own(self, reply: str) -> bool:
        return make_sample.names(reply, self.value)

    def names_other(self, reply: str) -> bool:
        """Return whether the reply names another persona's value."""
        others = make_sample.FACT_KINDS[self.kind].values
        return any(make_sample.names(reply, other) for other in others if other != self.value)


def draw_questions(chance: random.Random, held_out: set[frozenset[str]]) -> list[Asked]:
    """Return the questions of DIALOGUES new dialogues, whose personas are not in `held_out`, and then are."""
    corpus = make_sample.make_corpus(chance, DIALOGUES, held_out, FACTS)
    held_out |= make_sample.persona_values(corpus)
    found = []
    for question in make_sample.persona_questions(corpus):
        (personas, utterances), end = corpus[question.dialogue], question.utterance + 1
        if end < len(utterances) and not question.uttered:
            facts, before, answer = personas[question.speaker], utterances[:end], utterances[end]
            found.append(Asked(facts, before, question.speaker, question.kind, question.value, answer))
    return found


def with_word(text: str, old: str, new: str) -> str:
    return re.sub(rf"\b{old}\b", new, text)


def draw_replies(trained: TrainedModel, questions: list[Asked], seed: int) -> list[str]:
    """Return the model's replies, drawn as in a talk."""
    sampling, encoder = Sampling(), trained.encoder
    room = context_length(trained.model.config) - sampling.max_new_tokens
    requests = []
    for number, asked in enumerate(questions):
        context = encoder.context(asked.speaker, asked.facts, asked.utterances, room)
        earlier = tuple(asked.utterances[-2::-2])
        requests.append(ReplyRequest(context, sampling, random.Random(f"{seed} {number}"), earlier=earlier))
    return generate_replies(trained.model, encoder, requests, autocast("fp32", trained.model.device))


def correct(count: int, seed: int, held_out: set[frozenset[str]]) -> list[Preference]:
    """Return `count` corrections: the right value chosen, another value of its kind rejected."""
    chance, items = random.Random(f"corrections {seed}"), []
    while len(items) < count:
        for asked in draw_questions(chance, held_out):
            others = [value for value in make_sample.FACT_KINDS[asked.kind].values if value != asked.value]
            wrong = with_word(asked.answer, asked.value, chance.choice(others))
            if wrong != asked.answer:
                items.append(Preference(0, asked.facts, asked.utterances, asked.speaker, None, asked.answer, wrong))
    return items[:count]


def swap_half(items: list[Preference], seed: int) -> list[Preference]:
    """Return the pairs, of which half, by lot, have chosen and rejected exchanged."""
    swapped = random.Random(f"swapped {seed}").sample(range(len(items)), len(items) // 2)
    return [
        dataclasses.replace(item, chosen=item.rejected, rejected=item.chosen) if number in swapped else item
        for number, item in enumerate(items)
    ]


def with_chosen(text: Tensors, pairs: PersonaChatDataset) -> Tensors:
    """Return the text's tensors and after them the sequences of the pairs' chosen replies."""
    sequences = [pairs.sequence(index) for index in range(0, len(pairs), 2)]
    ends = len(text.tokens) + np.cumsum([len(tokens) for tokens, _ in sequences])
    sizes = np.array([end - start for _, ((start, end),) in sequences])
    return Tensors(
        tokens=np.concatenate([text.tokens, *(tokens for tokens, _ in sequences)]).astype(np.int32),
        offsets=np.concatenate([text.offsets, ends]),
        responses=np.concatenate([text.responses, np.stack([ends - sizes, ends], axis=1)]),
        response_offsets=np.concatenate([text.response_offsets, len(text.responses) + 1 + np.arange(len(sequences))]),
        dialogues=np.concatenate([text.dialogues, text.dialogues[-1] + 1 + np.arange(len(sequences))]),
    )


@dataclass
class Experiment:
    """One model, text to go on with, and the questions of held-back personas."""

    options: argparse.Namespace
    text: Tensors
    valid: PersonaChatDataset
    questions: list[Asked]

    def train_on(self, way: str, items: list[Preference], seed: int) -> TrainedModel:
        """Return the model after `epochs` more of the text."""
        options, trained = self.options, to_train(load(self.options.model, "fp32"))
        longest, pairs = context_length(trained.model.config), None
        items = swap_half(items, seed) if way == "swapped" else items
        encoded, _ = encode_preferences(items, trained.encoder, longest, "corrections")
        replies = PersonaChatDataset.from_tensors(encoded, longest)
        text = with_chosen(self.text, replies) if way == "chosen alone" else self.text
        dataset = PersonaChatDataset.from_tensors(text, longest)
        settings = dataclasses.replace(
            read_settings(ROOT / ".env.demo", {}), learn_rate=options.learn_rate, preference_beta=options.beta
        )
        processes = Processes(0, 1, trained.model.device)
        trainer = Trainer(settings, processes, "fp32", trained.model.train())
        if way in ("corrections", "swapped"):
            replies.metadata["held_back"] = "0"
            pairs = PreferenceData(replies)
            trainer.reference = log_likelihoods(trained.model, pairs, autocast("fp32", processes.device))
        plan = StepPlan(dataset.lengths, seed, settings.batch_size)
        steps = plan.steps_per_epoch * options.epochs
        for step in range(1, steps + 1):
            learn_rate = settings.learn_rate * schedule(step, steps, 0)
            batches = trainer.batches(dataset, plan.group(step))
            learned = trainer.items(pairs, plan.share(len(items), step))
            training_step(trainer, batches, step_seed(seed, step, 0), learn_rate, learned)
        return trained

    def measure(self, trained: TrainedModel, seed: int) -> Figures:
        """Return the shares of wrong and of recalled facts, and the validation perplexity."""
        replies = draw_replies(trained, self.questions, seed)
        named = [
            (asked.names_other(reply), asked.names_own(reply))
            for asked, reply in zip(self.questions, replies, strict=True)
        ]
        sequences = [self.valid.sequence(index) for index in range(len(self.valid))]
        scores = score(trained.model, sequences, autocast("fp32", trained.model.device))
        nll = np.concatenate([response.nll for responses in scores for response in responses])
        return *np.mean(named, axis=0), math.exp(nll.mean(dtype=np.float64))


def prepare(options: argparse.Namespace, held_out: set[frozenset[str]]) -> Experiment:
    """Return the experiment. The personas of its questions join `held_out`."""
    trained, settings = load(options.model, "fp32"), read_settings(ROOT / ".env.demo")
    longest, turns = context_length(trained.model.config), settings.max_turns
    tensors = {}
    for split, count in (("train", options.dialogues), ("valid", None)):
        corpus = read_corpus(settings.text(split))
        corpus = dataclasses.replace(corpus, dialogues=corpus.dialogues[:count], sides=corpus.sides[:count])
        tensors[split] = encode_corpus(corpus, trained.encoder, turns, longest, split)
    valid = PersonaChatDataset.from_tensors(tensors["valid"], longest)
    chance, questions = random.Random("held back"), []
    while len(questions) < options.questions:
        questions += draw_questions(chance, held_out)
    return Experiment(options, tensors["train"], valid, questions[: options.questions])


def line(name: str, figures: list[Figures]) -> str:
    """Return the means of some runs, and the wrong facts of each."""
    wrong, recalled, perplexity = np.mean(figures, axis=0)
    each = ", ".join(f"{run[0]:.1%}" for run in figures)
    return f"{name:16}{wrong:>12.1%}{recalled:>10.1%}{perplexity:>12.4f}    ({each})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="the model that is corrected")
    parser.add_argument("--pairs", type=int, default=300, help="default: 300")
    parser.add_argument("--dialogues", type=int, default=400, help="of the text to go on with (default: 400)")
    parser.add_argument("--learn-rate", type=float, default=3e-4, help="default: 3e-4, a tenth of the demo's")
    parser.add_argument("--beta", type=float, default=0.1, help="preference_beta (default: 0.1)")
    parser.add_argument("--epochs", type=int, default=1, help="of that text and of the corrections (default: 1)")
    parser.add_argument("--questions", type=int, default=500, help="to further personas (default: 500)")
    parser.add_argument("--runs", type=int, default=3, help="default: 3")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="default: all")
    options = parser.parse_args()
    trained_on = make_sample.persona_values(make_sample.read_corpus(make_sample.TRAIN_FILE))
    experiment = prepare(options, trained_on)
    print(f"{'':16}{'wrong fact':>12}{'recall':>10}{'perplexity':>12}    (wrong fact in each run)")
    results: dict[str, list[Figures]] = {}
    for seed in range(options.runs):
        items = correct(options.pairs, seed, set(trained_on))
        for way in ("before", *options.ways):
            trained = load(options.model, "fp32") if way == "before" else experiment.train_on(way, items, seed)
            results.setdefault(way, []).append(experiment.measure(trained, seed))
            print(line(way, results[way]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
