"""Is it worth a person's time that a teaching session chooses what it asks? A simulated person on the sample corpus.

    python -m bench.teaching --model FOLDER [--env .env.demo] [--seeds 5]
    python -m bench.teaching --scores     which score finds the wrong replies

Reads a model of the sample corpus and its training text. The whole demo leaves too little to teach:
bench/corrections.py says how to train a model that says wrong facts. A place is a question of a dialogue that the text
does not have, asked as a talk's first utterance. The facts decide which reply is right: it names the persona's value
and no other value; in small talk it names no value. Where the persona has no fact of this kind, the facts decide
nothing, and such a question is no place; with --scores it is a place, and a right reply names no value. The person
accepts a right reply. Otherwise the person mends a wrong value in the reply, picks a right reply among the other draws,
or types a right reply. The model then trains on the old text and the pairs, PASSES times over the pairs. Prints the
share of wrong replies at TEST new places, drawn as in a talk, after 50, 100 and 200 answers: where the session chose
the places, and where they came in random order. Beside them stand the model before, and the model after STEPS steps on
the old text alone.
"""

from __future__ import annotations

from utils import exit_status

import copy
import dataclasses
import random
import re
import sys

import numpy as np

from bench.common import to_train
from bench.corrections import with_word
from bench.persona_recall import chosen_model, model_parser
from data.sample import make_sample
from data.sample.templates import FACT_KINDS, SMALL_TALK
from personagpt.device import Processes
from personagpt.model.generation import generate_replies
from personagpt.model.loading import TrainedModel
from personagpt.model.sampling import Sampling
from personagpt.records.talks import TEACH, Talk, Turn
from personagpt.scoring.generated import word_f1
from personagpt.sequences.batches import StepPlan
from personagpt.sequences.dataset import PersonaChatDataset, encode_corpus
from personagpt.sequences.preference_tensors import PreferenceData, encode_preferences
from personagpt.sequences.preferences import Preference
from personagpt.settings import Settings, read_settings
from personagpt.talking.teaching import ASKED, POOL, Question, by_doubt, make_questions, persona_at
from personagpt.text.convai2 import read_corpus
from personagpt.training.optimization import Trainer, schedule, step_seed, training_step
from personagpt.training.preferences import log_likelihoods

ANSWERS = 50, 100, 200
TEST = 1000  # places
STEPS, PASSES, LEARN_RATE = 60, 4, 3e-4
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # the t of 95%, by the number of seeds
SAMPLING = Sampling()
KINDS = {question: kind for kind, table in FACT_KINDS.items() for question in table.questions}
ORDERS = ("chosen", "random")


def asked(utterance: str) -> str:
    """Return the last sentence of an utterance."""
    return re.split(r"(?<=[.!?]) ", utterance)[-1]


def make_places(seed: int, count: int, held_out: set[frozenset[str]], undecided: bool = False) -> list[Talk]:
    """Return `count` places of dialogues whose personas are not `held_out`, in random order.

    `undecided` asks about facts that the persona does not have, too.
    """
    chance = random.Random(seed)
    places: list[Talk] = []
    while len(places) < 2 * count:  # of more dialogues than needed, so that few places share one
        (dialogue,) = make_sample.make_corpus(chance, 1, held_out)
        for place, utterance in enumerate(dialogue.utterances):
            facts, question = dialogue.personas[1 - place % 2], asked(utterance)
            kind = KINDS.get(question)
            if question in SMALL_TALK or (kind and (undecided or make_sample.value_of(facts, kind))):
                places.append(Talk("", "", {}, facts, turns=[Turn("human", utterance)], source=TEACH))
    return chance.sample(places, count)


def wanted_value(talk: Talk) -> tuple[str | None, str | None]:
    """Return the kind of fact that is asked for, None for small talk, and the persona's value, None without."""
    kind = KINDS.get(asked(talk.texts[-1]))
    return kind, make_sample.value_of(talk.persona, kind) if kind else None


def named_values(reply: str) -> list[str]:
    """Return the values of facts that the reply names."""
    return [value for value in make_sample.VALUES if make_sample.names(reply, value)]


def is_right(talk: Talk, reply: str) -> bool:
    """Return whether the facts allow the reply."""
    _, value = wanted_value(talk)
    return named_values(reply) == ([value] if value else [])


def mended(talk: Talk, reply: str) -> str | None:
    """Return the reply with the persona's value in place of another value of its kind.

    Return None unless the reply names exactly one value of this kind.
    """
    kind, value = wanted_value(talk)
    others = [other for other in named_values(reply) if kind and other in FACT_KINDS[kind].values]
    return with_word(reply, others[0], value) if len(others) == 1 else None


def judge(question: Question, chance: random.Random, line: int) -> Preference | None:
    """Return the pair that the simulated person's answer gives; None where the person accepts the reply."""
    talk, (reply, *others) = question.talk, question.replies
    if is_right(talk, reply):
        return None
    kind, value = wanted_value(talk)
    typed = (
        chance.choice(FACT_KINDS[kind].answers).format(value)
        if kind
        else chance.choice(SMALL_TALK[asked(talk.texts[-1])])
    )
    better = next(text for text in (mended(talk, reply), *others, typed) if text and is_right(talk, text))
    return Preference(line, talk.persona, talk.texts, 1, None, better, reply)


def ask_all(model: TrainedModel, places: list[Talk], seed: int) -> dict[str, list[Preference | None]]:
    """Return the person's answers in each order. Of each POOL of places ASKED are asked, as in a session."""
    chance, answers = random.Random(seed), {order: [] for order in ORDERS}
    for start in range(0, len(places), POOL):
        questions = make_questions(model, places[start : start + POOL], SAMPLING, None, chance)
        for order, ordered in (("chosen", by_doubt(questions)), ("random", questions)):
            first = len(answers[order])
            answers[order] += [judge(question, chance, first + 1) for question in ordered[:ASKED]]
    return answers


def fine_tuned(
    model: TrainedModel, data: PersonaChatDataset, settings: Settings, pairs: list[Preference]
) -> TrainedModel:
    """Return the model after STEPS steps on the old text, and PASSES times the pairs, spread evenly over the steps."""
    model = to_train(model)
    net = copy.deepcopy(model.model).train()
    changed = dataclasses.replace(settings, batch_size=8, compile="False")
    trainer = Trainer(changed, Processes(0, 1, net.device), "fp32", net)
    plan, items, order = StepPlan(data.lengths, settings.seed, 8), None, np.empty(0, int)
    if pairs:
        tensors, _ = encode_preferences(pairs, model.encoder, model.context_length, "pairs")
        dataset = PersonaChatDataset.from_tensors(tensors, model.context_length)
        dataset.metadata["held_back"] = "0"
        items = PreferenceData(dataset)
        trainer.reference = log_likelihoods(model.model, items, model.autocast)
        chance = np.random.RandomState(settings.seed)
        order = np.concatenate([chance.permutation(len(pairs)) for _ in range(PASSES)])
    shares = np.array_split(order, STEPS)
    for step in range(1, STEPS + 1):
        learned = trainer.items(items, shares[step - 1])
        batches, seed = trainer.batches(data, plan.group(step)), step_seed(settings.seed, step, 0)
        training_step(trainer, batches, seed, LEARN_RATE * schedule(step, STEPS, 0), learned)
    return dataclasses.replace(model, model=net.eval())


def errors(model: TrainedModel, places: list[Talk]) -> np.ndarray:
    """Return the shares of wrong replies (3,): of all, of those about a fact, and in small talk."""
    personas = [persona_at(model, talk, SAMPLING, seed) for seed, talk in enumerate(places)]
    requests = [persona.draft(talk.texts[-1]) for persona, talk in zip(personas, places, strict=True)]
    replies = generate_replies(model.model, model.encoder, requests, model.autocast)
    wrong = np.array([not is_right(*pair) for pair in zip(places, replies, strict=True)])
    about_fact = np.array([wanted_value(talk)[0] is not None for talk in places])
    return np.array([wrong.mean(), wrong[about_fact].mean(), wrong[~about_fact].mean()])


def interval(values: np.ndarray) -> str:
    """Return the mean over the seeds (S,) and Student's interval of 95%, as text."""
    half = STUDENT[len(values)] * values.std(ddof=1) / len(values) ** 0.5
    return f"{100 * values.mean():+.1f} ({100 * (values.mean() - half):+.1f} to {100 * (values.mean() + half):+.1f})"


def compare_orders(model: TrainedModel, settings: Settings, seeds: int) -> None:
    """Print the wrong replies after each number of answers, in both orders, and their difference over the seeds."""
    known = make_sample.persona_values(make_sample.read_corpus(make_sample.TRAIN_FILE))
    corpus = read_corpus(settings.text("train"))
    tensors = encode_corpus(corpus, model.encoder, settings.max_turns, model.context_length, "train")
    data = PersonaChatDataset.from_tensors(tensors, model.context_length)
    found: dict[tuple[str, int], list[np.ndarray]] = {}
    pairs: dict[tuple[str, int], list[int]] = {}
    for seed in range(seeds):
        test = make_places(1000 + seed, TEST, known)
        places = make_places(seed, -(-max(ANSWERS) // ASKED) * POOL, known)
        seeded = dataclasses.replace(settings, seed=seed)
        found.setdefault(("before", 0), []).append(errors(model, test))
        found.setdefault(("old text", 0), []).append(errors(fine_tuned(model, data, seeded, []), test))
        for order, answers in ask_all(model, places, seed).items():
            for count in ANSWERS:
                learned = [pair for pair in answers[:count] if pair]
                pairs.setdefault((order, count), []).append(len(learned))
                shares = errors(fine_tuned(model, data, seeded, learned), test)
                found.setdefault((order, count), []).append(shares)
        shares = [f"{name} {count} {of_seeds[-1][0]:.1%}" for (name, count), of_seeds in found.items()]
        print(f"seed {seed}, wrong: " + ", ".join(shares), flush=True)
    print("order      answers   pairs   wrong, all     of facts   in small talk")
    for (order, count), shares in found.items():
        counted = f"{np.mean(pairs.get((order, count), [0])):8.1f}"
        print(f"{order:<9}{count:>9}{counted}" + "".join(f"{share:>13.1%}" for share in np.mean(shares, axis=0)))
    print("\nwrong, all, points: mean and 95% interval over the seeds")
    before = np.stack(found["before", 0])[:, 0]
    for count in ANSWERS:
        chosen, at_random = (np.stack(found[order, count])[:, 0] for order in ORDERS)
        print(f"{count:>9} answers: chosen less random {interval(chosen - at_random)}", end="   ")
        print(f"chosen less before {interval(chosen - before)}")


def compare_scores(model: TrainedModel) -> None:
    """Print for each score the wrong replies among the quarter that it puts first, of 2,000 places."""
    known = make_sample.persona_values(make_sample.read_corpus(make_sample.TRAIN_FILE))
    places, chance = make_places(0, 2000, known, undecided=True), random.Random(0)
    questions = make_questions(model, places, SAMPLING, None, chance)
    wrong = {id(question): not is_right(question.talk, question.replies[0]) for question in questions}
    likelihoods = [question.score for question in questions]
    first = {
        "random order": [chance.random() for _ in questions],
        "exchanged personas: what the reply does not lose": [score.other - score.own for score in likelihoods],
        "perplexity of the reply": [score.perplexity for score in likelihoods],
        "two draws: words that differ": [1 - word_f1(*(question.replies * 2)[:2]) for question in questions],
    }
    orders = {
        name: [questions[index] for index in sorted(range(len(questions)), key=lambda index: -values[index])]
        for name, values in first.items()
    } | {"by_doubt: exchanged personas and perplexity, ranks added": by_doubt(questions)}
    print(f"{len(questions)} places, {sum(wrong.values()) / len(questions):.1%} of the replies are wrong")
    for name, order in orders.items():
        quarter = [wrong[id(question)] for question in order[: len(order) // 4]]
        share, all_of_them = sum(quarter) / len(quarter), sum(quarter) / sum(wrong.values())
        print(f"{share:>7.1%} of the first quarter, {all_of_them:.0%} of all: {name}")


def main() -> int:
    parser = model_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=5, choices=sorted(STUDENT))
    parser.add_argument("--scores", action="store_true", help="which score finds the wrong replies")
    options = parser.parse_args()
    model = chosen_model(options)
    if options.scores:
        compare_scores(model)
    else:
        compare_orders(model, read_settings(options.env), options.seeds)
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
