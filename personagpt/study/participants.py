"""The page of a blind study: what a participant may do, and what they are shown. web.py brings it to the browser.

Until the questions are answered, no answer says who the partner is. A participant goes through these stages:

    start      the consent; nothing is recorded before it is given
    waiting    for a partner
    talk       until both have said the study's number of utterances
    gone       the partner has left: on to the questions, or to another talk
    questions  how the talk was, which persona the partner had, a person or a program?
    result     what the partner was; then another talk
"""

from __future__ import annotations

import contextlib
import random
import time
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from personagpt.errors import UserError
from personagpt.page.access import Rate
from personagpt.page.replies import QueueFull, ReplyQueue
from personagpt.page.visitors import Limits, Refused, checked, flagged
from personagpt.records.consents import keep_consent, wording
from personagpt.records.talks import FLAGS, SCALES, Talk, Turn, is_blind, now
from personagpt.sequences.format import DataError
from personagpt.study.pairing import Assignment, Pairing, seconds_to_answer

FOR_CHOICE = 10
PARTNERS = ("person", "program")
WAIT_FOR_PARTNER = "wait for your partner's words first"


class StudyPage:
    """The answers. Every method gets the participant, and finds that participant's talks only."""

    def __init__(self, rounds: Pairing, limits: Limits) -> None:
        self.rounds, self.limits = rounds, limits
        self.study, self.recordings = rounds.study, rounds.recordings
        self.utterances = Rate(limits.replies)

    def start(self, participant: str, data: dict) -> dict:
        return {
            "title": self.study.title,
            "consent": self.study.consent,
            "wording": wording(self.study.consent),
            "turns": self.study.turns,
            "flags": FLAGS,
            "letters": self.limits.letters,
            "participant": participant,
        }

    def begin(self, participant: str, data: dict) -> dict:
        """Another round, for who agrees to what the consent text says now: an open page may show an earlier one."""
        if data.get("agreed") != wording(self.study.consent):
            raise Refused(403, "open this page again: read what the study is about, and agree to it, first")
        with self.rounds.lock:
            stage, talk = self._stage(participant)
            if stage not in ("start", "result", "gone"):
                raise Refused(409, "you are in a talk already")
            if self.recordings.count(participant) >= self.limits.talks:
                raise Refused(403, f"you have {self.limits.talks} talks: delete some to begin another")
            if self.recordings.count() >= self.limits.all_talks:
                raise Refused(503, "this study has recorded all the talks it takes")
            if stage == "gone":
                self._give_up(participant, talk)
            keep_consent(self.recordings.path.parent, self.study.name, self.study.consent)
            self.rounds.begin(participant)
            return self.state(participant)

    def leave(self, participant: str, data: dict) -> dict:
        with self.rounds.lock:
            stage, talk = self._stage(participant)
            if stage not in ("start", "result"):
                self._give_up(participant, talk)
            return self.state(participant)

    def say(self, participant: str, data: dict) -> dict:
        text = checked(data.get("text"), "what you say", self.limits.letters)
        with self.rounds.lock:
            stage, talk = self._stage(participant)
            if stage != "talk" or not self._is_turn(participant, talk):
                raise Refused(409, WAIT_FOR_PARTNER if stage == "talk" else "there is no talk to say it in")
            if not self.utterances.allows(participant):
                raise Refused(429, "too many utterances in a minute: wait a little")
            turn = Turn("human", self.rounds.restyled(text))
            said = replace(talk, turns=[*talk.turns, turn], started=talk.started if talk.turns else now())
            self._refuse_too_long(said)
            if talk.partner == "person":
                twins = self._twins(participant, talk)
                same = replace(turn, speaker="partner")
                others = [replace(one, turns=[*one.turns, same], started=said.started) for one in twins]
                self.recordings.save(said, *others)
            elif len(said.turns) < 2 * self.study.turns:
                self._ask(said)
            else:
                self.recordings.save(said)
            return self.state(participant)

    def flag(self, participant: str, data: dict) -> dict:
        with self.rounds.lock:
            stage, talk = self._stage(participant)
            is_turn = stage == "talk" and self._is_turn(participant, talk)
            if not is_turn and stage not in ("questions", "gone"):  # else it would show who writes in an instant
                raise Refused(409, WAIT_FOR_PARTNER)
            if talk is None or not talk.turns:
                raise Refused(400, "no such reply")
            self.recordings.save(flagged(talk, data, self.limits.letters))
            return self.state(participant)

    def finish(self, participant: str, data: dict) -> dict:
        """On to the questions, after a partner who is gone."""
        with self.rounds.lock:
            stage, talk = self._stage(participant)
            if stage != "gone" or not self._can_answer(talk):
                raise Refused(409, "there is nothing to answer questions about")
            self.recordings.save(replace(talk, ratings=talk.ratings | {"ended": "rating"}))
            return self.state(participant)

    def rate(self, participant: str, data: dict) -> dict:
        answers = {}
        for question in SCALES:
            answers[question] = data.get(question)
            if type(answers[question]) is not int or not 1 <= answers[question] <= 5:
                raise Refused(400, f"{question}: answer with 1 to 5")
        chosen, partner = data.get("persona"), data.get("partner")
        if type(chosen) is not int or chosen not in (0, 1):
            raise Refused(400, "choose one of the two personas")
        if partner not in PARTNERS:
            raise Refused(400, "a person or a program? choose one")
        with self.rounds.lock:
            stage, talk = self._stage(participant)
            if stage != "questions":
                raise Refused(409, "there are no questions now")
            shown, true = self._choices(talk)
            answers |= {"persona": {"shown": shown, "chosen": chosen, "true": true}, "partner": partner}
            self.recordings.save(replace(talk, ratings=talk.ratings | answers))
            return self.state(participant)

    def talks(self, participant: str, data: dict) -> dict:
        """The talks in short. Of one that runs neither when it began nor that a program is about to begin it."""
        return {
            "talks": [
                {"id": talk.id, "running": True}
                if is_blind(talk)
                else {"id": talk.id, "started": talk.started, "running": False, "turns": len(talk.turns)}
                for talk in reversed(self.recordings.talks(participant))
                if not is_blind(talk) or self._visible(talk)
            ]
        }

    def talk(self, participant: str, data: dict) -> dict:
        found = self.recordings.talks(participant, [data["id"]])
        if not found:  # another participant's looks the same as none
            raise Refused(404, "you have no such talk")
        if is_blind(found[0]):
            raise Refused(409, "this talk still runs: it can be seen afterwards")
        return {"id": found[0].id, "started": found[0].started} | _shown(found[0].turns) | _truth(found[0])

    def delete(self, participant: str, data: dict) -> dict:
        with self.rounds.lock:
            if not self.recordings.delete(participant, [data["id"]]):
                raise Refused(404, "you have no such talk")
            found = self.rounds.of(participant)
            if found is not None and found.talk is not None and found.talk.id == data["id"]:
                self.rounds.drop(participant)
        return {}

    def delete_all(self, participant: str, data: dict) -> dict:
        with self.rounds.lock:
            self.rounds.drop(participant)
            return {"deleted": self.recordings.delete(participant)}

    def state(self, participant: str, data: dict | None = None) -> dict:
        """What the participant is shown now. It is asked for again and again, and so moves things on.

        Of two states the one with the later `time` is the newer, whichever reaches the browser first. (A number that
        all states share would tell how many others are here.)
        """
        with self.rounds.lock:
            self.rounds.see(participant)
            stage, talk = self._stage(participant)
            found: dict[str, Any] = {"stage": stage, "time": time.monotonic()}
            if stage in ("talk", "gone", "questions"):
                found |= _shown(self._visible(talk)) | {"persona": talk.partner_persona}
                found["flags"] = [asdict(flag) for flag in talk.flags]
            if stage == "talk":
                found |= {"yours": self._is_turn(participant, talk)} | self._problem(talk)
            if stage == "gone":
                found["can_answer"] = self._can_answer(talk)
            if stage == "questions":
                found["choices"] = self._choices(talk)[0]
            if stage == "result":
                rating = talk.ratings["persona"]
                found |= _truth(talk) | {"guess": talk.ratings["partner"], "persona": rating["shown"][rating["true"]]}
                found["persona_guessed"] = rating["chosen"] == rating["true"]
            return found

    def _stage(self, participant: str) -> tuple[str, Talk | None]:
        """Where the participant is, and the talk it is about."""
        found = self.rounds.of(participant)
        if found is not None:
            recorded = self.recordings.talks(participant, [found.talk.id]) if found.talk else []
            if not recorded:
                return self._stage_of_round(participant, found)
            if found.other or any(turn.speaker == "model" for turn in recorded[0].turns):
                self.rounds.drop(participant)  # a program may leave the first words unanswered: then there is no talk
        talks = [one for one in self.recordings.talks(participant) if self.study.condition_of(one.source)]
        if not talks:
            return "start", None
        talk = talks[-1]
        if not is_blind(talk):
            return ("result" if "partner" in talk.ratings else "start"), talk
        if talk.ratings.get("ended") or len(self._visible(talk)) >= 2 * self.study.turns:
            return "questions", talk
        if talk.partner == "person" and self.rounds.is_twin_gone(self._twins(participant, talk)):
            return "gone", talk
        if talk.partner != "person" and talk.turns[-1].speaker == "human":
            order = self._desk(talk).order_of(talk.id)
            if order is None or (order.done and not order.problem):
                self._ask_again(talk.id)
        return "talk", talk

    def _stage_of_round(self, participant: str, found: Assignment) -> tuple[str, Talk | None]:
        if found.talk is None or time.monotonic() < found.begins:
            return "waiting", None
        if self.rounds.is_gone(participant, found):
            return "gone", found.talk
        if found.talk.partner != "person" and not found.opens:
            desk, talk = self._desk(found.talk), found.talk
            order = desk.order_of(talk.id)
            if order is not None and order.problem:
                found.opens = True  # the program had nothing to say
            elif order is None:
                found.talk = replace(talk, started=now())
                self._ask(found.talk)
        return "talk", found.talk

    def _ask(self, talk: Talk) -> None:
        """Record the talk, and ask the program for its reply."""
        try:
            self._desk(talk).ask(talk)
        except QueueFull:
            self.recordings.save(talk)  # asked again when the participant's page asks for news

    def _refuse_too_long(self, said: Talk) -> None:
        """Refuse what one of the study's programs could not read, whoever the partner is: else it would tell them."""
        for condition in self.study.programs:
            try:
                self.rounds.desks[condition.model].draft(
                    replace(said, sampling=asdict(condition.sampling) | {"seed": 0})
                )
            except DataError:
                raise Refused(400, "that is too long: say it in fewer words") from None

    def _ask_again(self, talk_id: str) -> None:
        """Ask for a reply that nobody is making: the desk was full, or was closed before it was made."""
        (talk,) = self.recordings.talks(ids=[talk_id]) or [None]
        if talk is None or talk.turns[-1].speaker != "human":
            return
        with contextlib.suppress(UserError):
            self._ask(talk)

    def _desk(self, talk: Talk) -> ReplyQueue:
        return self.rounds.desks[self.study.condition_of(talk.source).model]

    def _is_turn(self, participant: str, talk: Talk) -> bool:
        visible = self._visible(talk)
        if not visible:
            found = self.rounds.of(participant)
            return found is not None and found.opens
        return visible[-1].speaker != "human"

    def _visible(self, talk: Talk) -> list[Turn]:
        """The turns, without a program's last one for as long as a person would still read, think and type."""
        if not talk.turns or talk.turns[-1].speaker != "model":
            return talk.turns
        *before, reply = talk.turns
        said, since = (before[-1].text, before[-1].time) if before else ("", talk.started)
        draw = random.Random(f"{talk.id} {len(before)}")
        seconds = seconds_to_answer(said, reply.text, self.study.letters_per_second, draw)
        return talk.turns if time.time() >= datetime.fromisoformat(since).timestamp() + seconds else before

    def _problem(self, talk: Talk) -> dict:
        """The participant's last words, where the program did not answer them, and they were taken back."""
        order = self._desk(talk).order_of(talk.id) if talk.partner != "person" else None
        if order is None or not order.problem or not order.talk.turns:
            return {}
        return {"unanswered": order.talk.texts[-1]}

    def _can_answer(self, talk: Talk) -> bool:
        return any(turn.speaker != "human" for turn in talk.turns)

    def _twins(self, participant: str, talk: Talk) -> list[Talk]:
        """The other participant's talk, on record or about to be; none where it was deleted in this moment."""
        if talk.turns:
            return self.recordings.talks(ids=[talk.twin])
        return [self.rounds.of(self.rounds.of(participant).other).talk]

    def _give_up(self, participant: str, talk: Talk | None) -> None:
        self.rounds.drop(participant)
        if talk is not None and talk.turns:
            with contextlib.suppress(UserError):  # deleted meanwhile
                self.recordings.save(replace(talk, ratings=talk.ratings | {"ended": "left"}))

    def _choices(self, talk: Talk) -> tuple[list[list[str]], int]:
        """The partner's persona and another one, in an order that the talk decides; and which is the true one.

        The other one is, of some, that which has the fewest facts in common with the two of the talk.
        """
        draw = random.Random(talk.id)
        known, true = {*talk.persona, *talk.partner_persona}, draw.randrange(2)
        some = draw.sample(self.study.personas, min(FOR_CHOICE, len(self.study.personas)))
        other = min(map(list, some), key=lambda facts: len(known & {*facts}))
        return ([talk.persona, other] if true == 0 else [other, talk.persona]), true


def _shown(turns: list[Turn]) -> dict:
    return {"turns": [{"mine": turn.speaker == "human", "text": turn.text} for turn in turns]}


def _truth(talk: Talk) -> dict:
    return {"partner": "person" if talk.partner == "person" else "program"}
