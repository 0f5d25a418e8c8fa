"""What participants of a study do: agree, talk, flag, answer the questions, delete. routes.py serves it."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from personagpt.page.access import Rate
from personagpt.page.log_clearing import LogClearing
from personagpt.page.visitors import Limits, Refused, check_room, checked, flagged
from personagpt.records.consents import keep_consent, wording
from personagpt.records.talks import FLAGS, Talk, Turn, is_blind, now
from personagpt.sequences.format import DataError
from personagpt.study.pairing import Pairing
from personagpt.study.questions import Question
from personagpt.study.stages import Position, Stages
from personagpt.study.view import persona_choices, talk_in_short, view, whole_talk

MOST_LETTERS = 2000  # of an answer in the participant's own words
WAIT_FOR_PARTNER = "wait for your partner's words first"


class StudyPage:
    """Answer the requests of participants with JSON. Every method takes the participant's checksum, and reaches no
    other participant's talks. Raises Refused where the page does not grant the request."""

    def __init__(self, pairing: Pairing, limits: Limits) -> None:
        self.pairing, self.limits, self.stages = pairing, limits, Stages(pairing)
        self.study, self.recordings = pairing.study, pairing.recordings
        self.log, self.utterances = LogClearing(self.recordings), Rate(limits.replies)

    def advance(self, participant: str) -> None:
        """Do what is due for the participant, whose page is open."""
        with self.pairing.lock:
            self.stages.advance(participant)

    def view(self, participant: str) -> dict:
        """Return what the participant sees now."""
        with self.pairing.lock:
            return view(self.stages.position(participant), self.study, self.pairing.clock())

    def start(self, participant: str, data: dict) -> dict:
        return {
            "title": self.study.title,
            "consent": self.study.consent,
            "wording": wording(self.study.consent),
            "language": self.study.language,
            "turns": self.study.turns,
            "flags": FLAGS,
            "letters": self.limits.letters,
            "participant": participant,
        }

    def begin(self, participant: str, data: dict) -> dict:
        """Begin a talk for somebody who agrees to the consent text as it is now; their page may show an older text."""
        if data.get("agreed") != wording(self.study.consent):
            raise Refused(403, "open this page again: read what the study is about, and agree to it, first")
        with self.pairing.lock:
            position = self._position(participant, ("start", "result", "gone"), "you are in a talk already")
            if position.is_last:
                raise Refused(403, "you have had all the talks of this study")
            check_room(self.recordings, participant, self.limits)
            if position.stage == "gone":
                self.stages.give_up(participant, position.talk)
            keep_consent(self.recordings.path.parent, self.study.name, self.study.consent)
            self.pairing.begin(participant)
            return self._answer(participant)

    def leave(self, participant: str, data: dict) -> dict:
        with self.pairing.lock:
            position = self.stages.position(participant)
            if position.stage not in ("start", "result"):
                self.stages.give_up(participant, position.talk)
            return self._answer(participant)

    def say(self, participant: str, data: dict) -> dict:
        text = checked(data.get("text"), "what you say", self.limits.letters)
        with self.pairing.lock:
            position = self._position(participant, ("talk",), "there is no talk to say it in")
            if not position.is_turn:
                raise Refused(409, WAIT_FOR_PARTNER)
            if not self.utterances.allows(participant, counts=False):
                raise Refused(429, "too many utterances in a minute: wait a little")
            turn, talk = Turn("human", self.pairing.restyled(text)), position.talk
            said = replace(talk, turns=[*talk.turns, turn], started=talk.started if talk.turns else now())
            self._check_length(said)
            if talk.partner == "person":
                heard, twins = replace(turn, speaker="partner"), self.stages.twins(participant, talk)
                twins = [replace(twin, turns=[*twin.turns, heard], started=said.started) for twin in twins]
                self.recordings.save(said, *twins)
            elif len(said.turns) < 2 * self.study.turns:
                self.stages.ask(said)
            else:
                self.recordings.save(said)
            self.utterances.allows(participant)  # counts the utterance, because nothing refuses it any more
            return self._answer(participant)

    def flag(self, participant: str, data: dict) -> dict:
        with self.pairing.lock:
            position = self._position(participant, ("talk", "gone", "questions"), WAIT_FOR_PARTNER)
            if position.stage == "talk" and not position.is_turn:  # or a hidden reply could be flagged, hence noticed
                raise Refused(409, WAIT_FOR_PARTNER)
            self.recordings.save(flagged(position.talk, data, self.limits.letters))
            return self._answer(participant)

    def finish(self, participant: str, data: dict) -> dict:
        """Go on to the questions after the partner has left."""
        with self.pairing.lock:
            problem = "there is nothing to answer questions about"
            position = self._position(participant, ("gone",), problem)
            if not position.can_answer:
                raise Refused(409, problem)
            self._rate(position.talk, {"ended": "rating"})
            return self._answer(participant)

    def rate(self, participant: str, data: dict) -> dict:
        answers = {
            question.name: checked_answer(question, data.get(question.name)) for question in self.study.questions
        }
        with self.pairing.lock:
            talk = self._position(participant, ("questions",), "there are no questions now").talk
            if "persona" in answers:
                shown, true = persona_choices(talk, self.study.personas)
                answers["persona"] = {"shown": shown, "chosen": answers["persona"], "true": true}
            self._rate(talk, answers)
            return self._answer(participant)

    def talks(self, participant: str, data: dict) -> dict:
        talks = reversed(self.recordings.talks(participant))
        return {"talks": [short for talk in talks if (short := talk_in_short(talk, self.stages.pauses))]}

    def talk(self, participant: str, data: dict) -> dict:
        talks = self.recordings.talks(participant, [data["id"]])
        if not talks:  # the same answer as for another participant's talk
            raise Refused(404, "you have no such talk")
        if is_blind(talks[0]):
            raise Refused(409, "this talk still runs: it can be seen afterwards")
        return whole_talk(talks[0])

    def delete(self, participant: str, data: dict) -> dict:
        with self.pairing.lock:
            count = self.recordings.delete(participant, [data["id"]])
            if not count:
                raise Refused(404, "you have no such talk")
            assignment = self.pairing.assignment_of(participant)
            if assignment and assignment.talk and assignment.talk.id == data["id"]:
                self.pairing.drop(participant)
        return self.log.after(count)

    def delete_all(self, participant: str, data: dict) -> dict:
        with self.pairing.lock:
            count = self.recordings.delete(participant)
            self.pairing.drop(participant)
        return self.log.after(count)

    def _position(self, participant: str, stages: tuple[str, ...], problem: str) -> Position:
        """Do what is due, and return where the participant is. Raises Refused with `problem` at any other stage."""
        self.stages.advance(participant)
        position = self.stages.position(participant)
        if position.stage not in stages:
            raise Refused(409, problem)
        return position

    def _answer(self, participant: str) -> dict:
        self.advance(participant)
        return self.view(participant)

    def _rate(self, talk: Talk, ratings: dict) -> None:
        self.recordings.save(replace(talk, ratings=talk.ratings | ratings))

    def _check_length(self, talk: Talk) -> None:
        """Raise Refused where one of the study's models on this machine could not read the talk.

        Utterances to a person have the same limit, because the limit would tell what the partner is.
        """
        for condition in self.study.local_programs:
            sampling = asdict(condition.sampling) | {"seed": 0}
            try:
                self.pairing.queues[condition.model].request(replace(talk, sampling=sampling))
            except DataError:
                raise Refused(400, "that is too long: say it in fewer words") from None


def checked_answer(question: Question, given: Any) -> Any:
    """Return a participant's answer as it is recorded. Raises Refused where it is not an answer to the question."""
    if question.kind == "open":
        return {"words": checked(given, question.name, MOST_LETTERS, may_be_empty=True)}
    if not any(type(given) is type(answer) and given == answer for answer in question.allowed):
        raise Refused(400, f"{question.name}: choose an answer")
    return given
