"""The stages of a study, and how a participant moves through them.

    start      the consent; before it is given, nothing is recorded
    waiting    for a partner
    talk       until both sides have said the study's number of utterances
    gone       the partner has left: the participant goes on to the questions, or to another talk
    questions  how the talk was, which persona the partner had, and whether it was a person or a program
    result     what the partner was; then another talk

A participant's stage follows from the recordings and, before a talk is recorded, from the participant's assignment.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from personagpt.errors import UserError
from personagpt.page.problems import QueueFull
from personagpt.records.talks import Talk, Turn, has_answers, is_blind, now
from personagpt.study.pairing import Assignment, Pairing, Queue
from personagpt.study.pauses import Pauses


@dataclass(frozen=True)
class Position:
    """Where a participant is."""

    stage: str
    talk: Talk | None = None
    turns: Sequence[Turn] = ()  # the talk's turns that the participant may see
    is_turn: bool = False  # whether the participant is to speak
    unanswered: str | None = None  # an utterance that was taken back, because the program had no answer
    is_last: bool = False  # whether the participant has had all the talks that the study wants

    @property
    def can_answer(self) -> bool:
        """Whether the partner said anything that questions can be about."""
        return any(turn.speaker != "human" for turn in self.turns)


class Stages:
    """Where participants are. The caller of a method holds the pairing's lock."""

    def __init__(self, pairing: Pairing) -> None:
        self.pairing, self.study, self.recordings = pairing, pairing.study, pairing.recordings
        self.pauses = Pauses(self.study.letters_per_second, pairing.clock)

    def position(self, participant: str) -> Position:
        """Return where the participant is. Change nothing."""
        assignment = self.pairing.assignment_of(participant)
        recorded = self.recordings.talks(participant)
        talks = [talk for talk in recorded if self.study.goes_on_with(talk)]
        if assignment and not (assignment.talk and assignment.talk.id in [talk.id for talk in talks]):
            return self._assigned(participant, assignment)
        answered = sum(self.study.has(talk) and has_answers(talk) for talk in recorded)
        is_last = self.study.talks is not None and answered >= self.study.talks
        if not talks or (not is_blind(talks[-1]) and not has_answers(talks[-1])):
            return Position("start", is_last=is_last)
        talk = talks[-1]
        if not is_blind(talk):
            return Position("result", talk, is_last=is_last)
        turns = self.pauses.visible_turns(talk)
        if talk.ratings.get("ended") or len(turns) >= 2 * self.study.turns:
            return Position("questions", talk, turns)
        if self._is_partner_gone(participant, talk):
            return Position("gone", talk, turns)
        is_turn = turns[-1].speaker != "human" if turns else bool(assignment and assignment.opens)
        return self._talking(talk, turns, is_turn)

    def _is_partner_gone(self, participant: str, talk: Talk) -> bool:
        """Return whether the other participant has left, or the page has started again with another model."""
        if talk.partner == "person":
            return self.pairing.is_twin_gone(self.twins(participant, talk))
        return not self.queue_of(talk).is_own(talk) or self._has_left(talk)

    def _has_left(self, talk: Talk) -> bool:
        """Return whether a program behind an API gave no reply, so that it counts as gone."""
        reply = None if talk.partner == "person" else self.queue_of(talk).reply_of(talk.id)
        return reply is not None and reply.has_left

    def _assigned(self, participant: str, assignment: Assignment) -> Position:
        talk = assignment.talk
        if talk is None or self.pairing.clock() < assignment.begins:
            return Position("waiting")
        if self.pairing.is_partner_gone(participant) or self._has_left(talk):
            return Position("gone", talk)
        return self._talking(talk, [], assignment.opens)

    def _talking(self, talk: Talk, turns: list[Turn], is_turn: bool) -> Position:
        """Return the position in a talk that goes on.

        It is not the participant's turn before a program's reply is done: an utterance without an answer leaves the
        recordings a moment before the reply says why.
        """
        reply = self.queue_of(talk).reply_of(talk.id) if talk.partner != "person" else None
        if reply is None:
            return Position("talk", talk, turns, is_turn)
        unanswered = reply.talk.texts[-1] if reply.problem and reply.talk.turns else None
        return Position("talk", talk, turns, is_turn and reply.done, unanswered)

    def advance(self, participant: str) -> None:
        """Do what is due: find a partner, ask a program for its reply, forget an assignment that is on record.

        The participant's page calls this again and again, so that it also tells that the page is open.
        """
        self.pairing.see(participant)
        self.pairing.advance(participant)
        position, assignment = self.position(participant), self.pairing.assignment_of(participant)
        talk = position.talk
        if assignment and talk and talk.turns and talk.id == assignment.talk.id:
            # Before a program's first reply the talk may vanish again, because the program may have no answer.
            if assignment.other or any(turn.speaker == "model" for turn in talk.turns):
                self.pairing.drop(participant)
        if position.stage != "talk" or position.is_turn or talk.partner == "person":
            return
        reply = self.queue_of(talk).reply_of(talk.id)
        if talk.turns:
            is_missing = reply is None or (reply.done and not reply.problem)
            if is_missing and talk.turns[-1].speaker == "human":
                self._ask_again(talk.id)
        elif reply is None:
            assignment.talk = replace(talk, started=now())
            self.ask(assignment.talk)
        elif reply.problem:
            assignment.opens = True  # the program has nothing to open the talk with

    def ask(self, talk: Talk) -> None:
        """Record the talk, and ask its program for the reply. Where the queue is full, `advance` asks again."""
        try:
            self.queue_of(talk).ask(talk)
        except QueueFull:
            self.recordings.save(talk)

    def _ask_again(self, talk_id: str) -> None:
        """Ask for a missing reply: the queue was full, or closed before it made the reply."""
        (talk,) = self.recordings.talks(ids=[talk_id]) or [None]
        if talk is not None and talk.turns[-1].speaker == "human":
            with contextlib.suppress(UserError):
                self.ask(talk)

    def queue_of(self, talk: Talk) -> Queue:
        return self.pairing.queues[self.study.condition_of(talk.source).model]

    def twins(self, participant: str, talk: Talk) -> list[Talk]:
        """Return the other participant's talk, recorded or assigned; an empty list where it was just deleted."""
        if talk.turns:
            return self.recordings.talks(ids=[talk.twin])
        return [self.pairing.assignment_of(self.pairing.assignment_of(participant).other).talk]

    def give_up(self, participant: str, talk: Talk | None) -> None:
        """End the participant's talk, or their wait, without answers."""
        self.pairing.drop(participant)
        with contextlib.suppress(UserError):  # deleted meanwhile
            # Read again, because a program may have said its words a moment ago.
            for recorded in self.recordings.talks(ids=[talk.id]) if talk else ():
                self.recordings.save(replace(recorded, ratings=recorded.ratings | {"ended": "left"}))
