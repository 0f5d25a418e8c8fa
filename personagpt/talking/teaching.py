"""Teaching: which replies are worth a person's time, and what the person says of them at a terminal.

At each place (places.py) the model draws replies, and the replies that it is least sure are consistent with the persona
come first. The person accepts a reply, picks another draw, or types a better reply. Every answer is on record as in any
talk, so that an export has the pairs. page/teaching.py asks the same questions in a browser.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from random import Random
from typing import Any

from personagpt.errors import UserError, printable
from personagpt.model.generation import generate_replies
from personagpt.model.loading import TrainedModel
from personagpt.model.sampling import Sampling
from personagpt.output import say, warn
from personagpt.records.talks import TEACH, Talk, Turn, now
from personagpt.scoring.nli import Classifier, contradicts_facts
from personagpt.sequences.format import DataError
from personagpt.talking.commands import Commands
from personagpt.talking.persona import Persona, Score
from personagpt.talking.terminal import name_before

# From so many places, so many are asked: a person's time goes to a quarter, and the replies come soon.
POOL, ASKED = 48, 12
DRAWS = 3  # replies at a place
OTHERS = 4  # personas that a reply is scored under beside its own
SHOWN_ANSWERS = 40  # in the bar
HOW = """\
Enter accepts reply 1; a number picks another reply. Any other line is the better reply that you type: best change only
the wrong words of reply 1. /flag KIND [NOTE] says that no reply is right, /why what reply 1 rests on, /skip asks the
next; /quit ends."""


@dataclass(frozen=True)
class Question:
    """A place, what the model would say there, and how likely that is."""

    talk: Talk  # up to the utterance to answer
    replies: list[str]  # different draws; the first is the model's reply
    score: Score  # of the first reply, under the persona and on average under other personas
    contradicts: bool = False  # an NLI model finds that the first reply contradicts a fact

    def answered(self, goal: str | None) -> Talk:
        """Return the talk with the first reply in it, for the person to accept or to change."""
        return replace(self.talk, turns=[*self.talk.turns, Turn("model", self.replies[0], goal=goal)])


def make_questions(
    trained: TrainedModel,
    talks: list[Talk],
    sampling: Sampling,
    goal: str | None,
    random: Random,
    classifier: Classifier | None = None,
    stop: threading.Event | None = None,
    **options: Any,
) -> list[Question]:
    """Return a question for each of these places, in their order. The personas of the places are exchanged.

    `options` are Persona's, such as max_history. A place where the model says nothing, or where a persona does not fit
    the context, is left out. As soon as another thread sets `stop`, the places that are left are left out, too.
    """
    asked, requests = [], []
    for talk in talks:
        seed = random.randrange(2**62)
        if talk.source == TEACH:
            talk = replace(talk, sampling=asdict(sampling) | {"seed": seed}, started=now())
        try:
            persona = persona_at(trained, talk, sampling, seed, **options)
            request = persona.draft(talk.texts[-1], goal=goal)
        except DataError:
            continue
        asked.append((talk, persona))
        requests += [request] * DRAWS
    replies = generate_replies(trained.model, trained.encoder, requests, trained.autocast, "draw replies", stop)
    questions = []
    for number, (talk, persona) in enumerate(asked):
        drawn = [reply for reply in dict.fromkeys(replies[number * DRAWS : (number + 1) * DRAWS]) if reply]
        if drawn and not (stop and stop.is_set()):
            exchanged = [random.choice(asked)[1].facts for _ in range(OTHERS)]
            with contextlib.suppress(DataError):
                questions.append(Question(talk, drawn, persona.compare(drawn[0], talk.texts[-1], exchanged)))
    if classifier is None:
        return questions
    firsts, facts = [question.replies[0] for question in questions], [question.talk.persona for question in questions]
    found = contradicts_facts(firsts, facts, classifier)
    return [replace(question, contradicts=each) for question, each in zip(questions, found, strict=True)]


def by_doubt(questions: list[Question]) -> list[Question]:
    """Return the questions, the reply first that the model is least sure is consistent.

    Replies in which an NLI model finds a contradiction come before all others. Doubt is the sum of two ranks among
    these questions: of the reply's perplexity, and of what the reply loses under other personas. Each rank alone finds
    fewer wrong replies: small talk rests on no persona, and a fact that a persona has may be said in rare words
    (`python -m bench.teaching --scores`).
    """
    perplexities = _ranks([question.score.perplexity for question in questions])
    losses = _ranks([question.score.other - question.score.own for question in questions])
    doubts = [sum(ranks) for ranks in zip(perplexities, losses, strict=True)]
    order = sorted(range(len(questions)), key=lambda index: (not questions[index].contradicts, -doubts[index]))
    return [questions[index] for index in order]


def _ranks(values: list[float]) -> list[int]:
    """Return each value's rank, 0 for the lowest."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0] * len(values)
    for rank, index in enumerate(order):
        ranks[index] = rank
    return ranks


def persona_at(
    trained: TrainedModel, talk: Talk, sampling: Sampling, seed: int | None = None, **options: Any
) -> Persona:
    """Return the model's persona of a talk before its last utterance. Raises DataError where it does not fit."""
    drawn = {"keep_facts": True, "seed": seed} | asdict(sampling)
    return Persona(trained, talk.persona, history=talk.texts[:-1], **drawn, **options)


def questions_of(
    trained: TrainedModel,
    found: list[Talk],
    sampling: Sampling,
    goal: str | None,
    seed: int,
    classifier: Classifier | None = None,
    stop: threading.Event | None = None,
    **options: Any,
) -> Iterator[Question]:
    """Yield the questions of the places `found`: of each POOL of them, in random order, the ASKED most doubtful.

    `options` are Persona's. The questions end as soon as another thread sets `stop`.
    """
    random, waiting = Random(seed), list(found)
    random.shuffle(waiting)
    waiting.sort(key=lambda talk: talk.source == TEACH)  # recorded talks first: people said these things
    places_left = iter(waiting)
    while (pool := list(islice(places_left, POOL))) and not (stop and stop.is_set()):
        warn("drawing replies ...")
        yield from by_doubt(make_questions(trained, pool, sampling, goal, random, classifier, stop, **options))[:ASKED]


def teach(commands: Commands, lines: Iterator[str], questions: Iterator[Question]) -> None:
    """Ask the questions until the person leaves, and record every answer."""
    say(HOW)
    answers: list[bool] = []  # whether the person accepted the model's reply
    for question in questions:
        begin_question(commands, question)
        answer = read_answer(commands, lines)
        if answer is None:
            return
        if answer:
            answers.append(answer == "accepted")
            say(progress(answers))
    say("no more questions; start again for other draws")


def begin_question(commands: Commands, question: Question) -> None:
    """Put the session's talk where the question stands, and print the question."""
    session, talk, (reply, *others) = commands.session, question.talk, question.replies
    persona = persona_at(session.trained, talk, session.sampling, **session.options)
    persona.history += [talk.texts[-1], reply]
    session.talk = question.answered(session.goal)
    session.speakers = {"model": persona}
    session.recorded_as = session.talk.id
    commands.alternatives, commands.shown_for = others, tuple(persona.history)
    say("")
    say(printable(f"model's persona: {' | '.join(talk.persona)}"))
    for turn in talk.turns:
        say(f"{name_before(turn.speaker)}{printable(turn.text)}")
    for number, text in enumerate(question.replies, 1):
        say(f"  {number}: {printable(text)}")


def read_answer(commands: Commands, lines: Iterator[str]) -> str | None:
    """Carry out the person's answer to a question: "accepted", "replaced", "" to skip; None where the person leaves."""
    session, count = commands.session, 1 + len(commands.alternatives)
    for line in lines:
        text = line.strip()
        name = text.partition(" ")[0]
        try:
            if name in ("/quit", "/skip"):
                return None if name == "/quit" else ""
            if text in ("", "1"):
                session.record()
                return "accepted"
            if text.isdecimal():
                if int(text) > count or int(text) == 0:
                    raise UserError(f"{text}: expected a number from 1 to {count}, or a better reply")
                session.replace_last(commands.alternatives[int(text) - 2], corrected=False)
                return "replaced"
            if not text.startswith("/"):
                say(name_before("model") + printable(session.replace_last(text, corrected=True)))
                return "replaced"
            say(commands.run(text) if name in ("/flag", "/why") else HOW)
            if name == "/flag" and session.talk.flags:
                return "replaced"
        except UserError as error:
            say(printable(str(error)))
    return None


def progress(answers: list[bool]) -> str:
    """Return the bar: a mark for each of the last answers, the number of answers, and how many replies were accepted.

    The questions are those that the model is least sure of, so in talks more replies are right.
    """
    marks = "".join("-+"[accepted] for accepted in answers[-SHOWN_ANSWERS:])
    return f"[{marks}] {shares(answers)}"


def shares(answers: list[bool]) -> str:
    """Return the number of answers, and how many replies were accepted: of all, and of the last ten.

    Without an answer there is no text.
    """
    if not answers:
        return ""
    last = answers[-10:]
    accepted, lately = (100 * sum(part) / len(part) for part in (answers, last))
    return f"{len(answers)} asked, {accepted:.0f}% accepted, of the last {len(last)} {lately:.0f}%"
