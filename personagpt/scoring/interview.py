"""Interviews: which of twenty personas is behind a partner? The judge, a trained model, asks questions and listens.

The judge talks first. It has no facts, and for each question a goal, such as "ask about pets.". After each reply it
computes the probability of each persona (`posterior.py`). The partner is a plain function from facts and a history to a
reply: the judge's own model, or a program elsewhere. A recorded talk is judged without questions, because its replies
are there already.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from personagpt.model.generation import ReplyRequest, fit_context, generate_replies
from personagpt.model.loading import TrainedModel
from personagpt.model.sampling import GREEDY
from personagpt.scoring.continuations import continuations_nll
from personagpt.scoring.identification import PERSONAS, deal, read_sides
from personagpt.scoring.interview_plan import InterviewPlan
from personagpt.scoring.posterior import expected_drop, likeliest, measures, with_intervals
from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.text.style import last_utterances

MOST_GROUPS = 5  # of twenty personas: at most 100 interviews
LONGEST = 4  # of an utterance the judge reads at most this part of its context: a fourth


@dataclass
class Interview:
    """An interview in progress."""

    personas: list[list[str]]  # P personas, each a list of facts
    own: int  # the partner's persona among them
    goals: list[str] = field(default_factory=list)  # not yet asked, in the order in which they come
    utterances: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # the goals of the questions so far
    nll: np.ndarray = field(init=False)  # (P,) of the replies so far under each persona, nats

    def __post_init__(self) -> None:
        self.nll = np.zeros(len(self.personas))


@dataclass(frozen=True)
class Moment:
    """A place in a talk, the personas that its next speaker may have, and what that speaker may say."""

    personas: list[list[str]]
    utterances: list[str]  # so far
    replies: list[str] = field(default_factory=list)


def interview_figures(
    trained: TrainedModel, dataset: PersonaChatDataset, plan: InterviewPlan, seed: int
) -> dict[str, dict[str, Any]]:
    """Hold the interviews, and return the figures of each order under the names of the partner and the order.

    Empty where there are no two personas to tell apart, or where all recorded talks are too short.
    """
    personas, figures = text_personas(trained, dataset), {}
    at_random: list[dict[str, np.ndarray]] = []
    for order in ("recorded",) if plan.talks is not None else plan.orders:
        if plan.talks is not None:
            interviews, course = listen(trained, plan, personas, seed)
        else:
            interviews = new_interviews(personas, plan, order, seed)
            course = hold(trained, interviews, plan, is_chosen=order == "chosen")
            if plan.record is not None:
                plan.record(trained, interviews)
        if not interviews:
            return {}
        own = [interview.own for interview in interviews]
        measured = [measures(nll, own) for nll in course]
        rows = [{"questions": number} | with_intervals(row, seed) for number, row in enumerate(measured, start=1)]
        at_random = measured if order == "random" else at_random
        for row, ours, theirs in zip(rows, measured, at_random, strict=False) if order != "random" else ():
            row["over_random"] = with_intervals({name: ours[name] - theirs[name] for name in ours}, seed)
        counts = {"interviews": len(interviews), "among": len(interviews[0].personas)}
        counts |= {"left_out": len(plan.talks) - len(interviews)} if plan.talks else {}
        figures[f"{plan.name}, {order}"] = counts | {"by_question": rows}
    return figures


def text_personas(trained: TrainedModel, dataset: PersonaChatDataset) -> list[list[str]]:
    """Return the facts of the different personas of a text."""
    encoder = trained.encoder
    _, personas, _ = read_sides(dataset, encoder)
    return [encoder.decode([encoder.speakers[1], *tokens, encoder.start])[1] for tokens in personas]


def new_interviews(personas: list[list[str]], plan: InterviewPlan, order: str, seed: int) -> list[Interview]:
    """Return an interview for each persona, which is the partner's, among the others of its group.

    The groups are those of `identify`, at most MOST_GROUPS. In a random order each interview has an order of its own.
    """
    interviews: list[Interview] = []
    for group, members in deal(len(personas), seed)[:MOST_GROUPS]:
        of_group = [personas[number] for number in group]
        for own in range(members):
            interviews.append(Interview(of_group, own, list(plan.goals)))
            if order == "random":
                np.random.RandomState([seed, len(interviews)]).shuffle(interviews[-1].goals)
    return interviews


def hold(trained: TrainedModel, interviews: list[Interview], plan: InterviewPlan, is_chosen: bool) -> list[np.ndarray]:
    """Hold the interviews side by side, and return their `nll` (I, P) after each question."""
    course = []
    for _ in range(plan.questions if interviews else 0):
        questions = ask_chosen(trained, interviews) if is_chosen else ask_next(trained, interviews)
        for interview, question in zip(interviews, questions, strict=True):
            interview.utterances.append(question)
        facts = [interview.personas[interview.own] if plan.with_facts else [] for interview in interviews]
        if plan.partner is None:
            moments = [Moment([known], each.utterances) for known, each in zip(facts, interviews, strict=True)]
            replies = [reply for (reply,) in greedy_replies(trained, moments, "reply")]
        else:
            histories = [list(interview.utterances) for interview in interviews]
            replies = [restyled(trained, reply) for reply in plan.partner(facts, histories)]
        moments = [
            Moment(each.personas, each.utterances, [reply]) for each, reply in zip(interviews, replies, strict=True)
        ]
        for interview, (nll,), reply in zip(interviews, reply_nll(trained, moments), replies, strict=True):
            interview.nll = interview.nll + nll
            interview.utterances.append(reply)
        course.append(np.stack([interview.nll for interview in interviews]))
    return course


def ask_next(trained: TrainedModel, interviews: list[Interview]) -> list[str]:
    """Return each interview's next question, and take its goal from the list."""
    for interview in interviews:
        interview.asked.append(interview.goals.pop(0))
    return ask(trained, [(interview.utterances, interview.asked[-1]) for interview in interviews])


def ask_chosen(trained: TrainedModel, interviews: list[Interview]) -> list[str]:
    """Return for each interview the question whose reply is expected to lower the entropy most, and take its goal.

    Interviews of one group in which the same was said choose together. Of equal questions the first goal's is chosen.
    """

    def state(interview: Interview) -> tuple[object, ...]:
        return id(interview.personas), tuple(interview.goals), tuple(interview.utterances)

    different = {state(interview): interview for interview in interviews}
    asked = [(interview, goal) for interview in different.values() for goal in interview.goals]
    questions = ask(trained, [(interview.utterances, goal) for interview, goal in asked])
    drops = expected_drops(trained, [(interview, text) for (interview, _), text in zip(asked, questions, strict=True)])
    best: dict[object, tuple[float, str, str]] = {}
    for (interview, goal), question, drop in zip(asked, questions, drops, strict=True):
        key = state(interview)
        if key not in best or drop > best[key][0]:
            best[key] = drop, goal, question
    chosen = [best[state(interview)] for interview in interviews]
    for interview, (_, goal, _) in zip(interviews, chosen, strict=True):
        interview.goals.remove(goal)
        interview.asked.append(goal)
    return [question for _, _, question in chosen]


def expected_drops(trained: TrainedModel, asked: list[tuple[Interview, str]]) -> list[float]:
    """Return `expected_drop` for each interview and question, in nats.

    Persona j's reply is the reply that the judge's model most likely gives under persona j. Personas that are hardly
    likely any more neither reply nor count (`likeliest`).
    """
    kept = [likeliest(interview.nll) for interview, _ in asked]
    moments = [
        Moment([interview.personas[number] for number in numbers], [*interview.utterances, question])
        for (interview, question), numbers in zip(asked, kept, strict=True)
    ]
    replies = greedy_replies(trained, moments, "imagine replies")
    moments = [replace(moment, replies=texts) for moment, texts in zip(moments, replies, strict=True)]
    return [
        expected_drop(interview.nll[numbers], nll)
        for (interview, _), numbers, nll in zip(asked, kept, reply_nll(trained, moments), strict=True)
    ]


def ask(trained: TrainedModel, asked: list[tuple[list[str], str]]) -> list[str]:
    """Return the judge's question in each talk, which has some utterances already, for a goal."""
    room = trained.context_length - GREEDY.max_new_tokens
    return generate(trained, [contexts(trained, Moment([[]], said), room, goal)[0] for said, goal in asked], "ask")


def greedy_replies(trained: TrainedModel, moments: list[Moment], title: str) -> list[list[str]]:
    """Return at each moment the most likely reply under each persona."""
    room = trained.context_length - GREEDY.max_new_tokens
    each = [context for moment in moments for context in contexts(trained, moment, room)]
    texts = iter(generate(trained, each, title))
    return [[next(texts) for _ in moment.personas] for moment in moments]


def generate(trained: TrainedModel, contexts: list[list[int]], title: str) -> list[str]:
    """Return the greedy reply to each context. Equal contexts get their reply from a single pass."""
    different = list(dict.fromkeys(map(tuple, contexts)))
    requests = [ReplyRequest(list(context)) for context in different]
    replies = generate_replies(trained.model, trained.encoder, requests, trained.autocast, title)
    reply_to = dict(zip(different, replies, strict=True))
    return [reply_to[tuple(context)] for context in contexts]


def reply_nll(trained: TrainedModel, moments: list[Moment]) -> list[np.ndarray]:
    """Return at each moment the negative log-likelihood (R, P) of the R replies under each persona, in nats."""
    asked, rows = [], []
    for moment in moments:
        different = list(dict.fromkeys(moment.replies))
        rows.append([different.index(reply) for reply in moment.replies])
        replies = turns(trained, different)
        room = trained.context_length + 1 - max(map(len, replies))  # a reply's last token is never an input
        asked += [(context, replies) for context in contexts(trained, moment, room)]
    columns = iter(continuations_nll(trained.model, asked, trained.autocast, "judge"))
    return [
        np.stack([next(columns) for _ in moment.personas], axis=1)[row]
        for moment, row in zip(moments, rows, strict=True)
    ]


def contexts(trained: TrainedModel, moment: Moment, room: int, goal: str | None = None) -> list[list[int]]:
    """Return the token ids before the next utterance for each persona, at most `room`.

    All personas are read with the same utterances: the newest that fit after the longest persona.
    """
    encoder, style = trained.encoder, trained.style
    shown = last_utterances(moment.utterances, style.max_history if style else 0)
    speaker = len(moment.utterances) % 2
    prefixes = [encoder.prefix(speaker, encoder.texts(facts), goal) for facts in moment.personas]
    longest = max(prefixes, key=len)
    talk = fit_context([*longest, *(token for ids in turns(trained, shown) for token in ids)], encoder, room)
    return [[*prefix, *talk[len(longest) :]] for prefix in prefixes]


def turns(trained: TrainedModel, utterances: list[str]) -> list[list[int]]:
    """Return the token ids of each utterance with its <eos>, at most a part of the context (LONGEST)."""
    encoder, most = trained.encoder, trained.context_length // LONGEST - 1
    return [[*ids[:most], encoder.eos] for ids in encoder.texts(utterances)]


def restyled(trained: TrainedModel, utterance: str) -> str:
    """Return an utterance from elsewhere in the style of the judge's training text."""
    return trained.style.utterances.bring(utterance) if trained.style else utterance


def listen(
    trained: TrainedModel, plan: InterviewPlan, personas: list[list[str]], seed: int
) -> tuple[list[Interview], list[np.ndarray]]:
    """Return an interview for each recorded talk with enough replies, and their `nll` (I, P) after each reply.

    The talk's persona stands first, before nineteen others, which are drawn from the talks' and the text's `personas`.
    """
    bring = trained.style.facts.bring if trained.style else str
    talks = [replace(talk, facts=[bring(fact) for fact in talk.facts]) for talk in plan.talks]
    pool = {frozenset(facts): facts for facts in [*(talk.facts for talk in talks), *personas]}
    pool.pop(frozenset(), None)
    interviews, moments = [], []
    for number, talk in enumerate(talks):
        ends = range(talk.speaker, len(talk.utterances), 2)[: plan.questions]
        if len(ends) < plan.questions or not talk.facts or len(pool) < 2:
            continue
        others = [facts for key, facts in pool.items() if key != frozenset(talk.facts)]
        order = np.random.RandomState([seed, number]).permutation(len(others))[: PERSONAS - 1]
        interviews.append(Interview([talk.facts, *(others[place] for place in order)], own=0))
        said = [restyled(trained, text) for text in talk.utterances]
        moments += [Moment(interviews[-1].personas, said[:end], [said[end]]) for end in ends]
    nll = np.array([nll[0] for nll in reply_nll(trained, moments)])
    if not interviews:
        return [], []
    each = nll.reshape(len(interviews), plan.questions, -1).cumsum(axis=1)  # (I, K, P)
    return interviews, list(each.swapaxes(0, 1))
