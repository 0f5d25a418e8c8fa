"""Whom to interview, and how. This module loads no model's library, so that a script can check its options first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from personagpt.errors import UserError

ORDERS = ("random", "fixed", "chosen")  # in which the questions come

# From the facts and the history of each talk to the talk's next utterance. The talks come together, because a model
# replies to a batch at once.
Partner = Callable[[list[list[str]], list[list[str]]], list[str]]


@dataclass(frozen=True)
class RecordedTalk:
    """A talk of a partner whose persona is known: utterance i is the partner's where i % 2 == `speaker`."""

    facts: list[str]
    utterances: list[str]
    speaker: int


@dataclass(frozen=True)
class InterviewPlan:
    """Whom to interview, and how. Raises UserError where there are fewer goals than questions."""

    questions: int  # of an interview; of a recorded talk its first replies
    goals: tuple[str, ...] = ()  # what the judge may ask, each goal once
    orders: tuple[str, ...] = ORDERS
    name: str = "own model"  # of the partner, in the figures
    partner: Partner | None = None  # None: the judge's own model
    with_facts: bool = True  # False: the partner is told no persona, so nobody can find it out
    talks: tuple[RecordedTalk, ...] | None = None  # in place of a partner
    record: Callable[..., None] | None = None  # gets the judge, and the interviews of an order when they are over

    def __post_init__(self) -> None:
        if self.talks is None and self.questions > len(self.goals):
            there = f"have {len(self.goals)}" if self.goals else "have none: set goals = './data/goals.tsv'"
            raise UserError(f"--interview {self.questions}: every question needs another goal; the settings {there}")
