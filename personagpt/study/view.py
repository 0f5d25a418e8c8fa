"""What a participant sees. Until the questions are answered, nothing here tells who the partner is."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from personagpt.records.talks import Talk, Turn, is_blind
from personagpt.study.pauses import Pauses
from personagpt.study.settings import Study
from personagpt.study.stages import Position

CANDIDATES = 10  # personas that are compared, to choose the false one


def view(position: Position, study: Study, time: float) -> dict[str, Any]:
    """Return what the participant sees at `time`, a time of the pairing's clock.

    Of two views, the view with the later `time` is newer, whichever reaches the browser first. (A counter that all
    participants share would tell how many others are here.)
    """
    talk, shown = position.talk, {"stage": position.stage, "time": time}
    if position.stage in ("talk", "gone", "questions"):
        flags = [asdict(flag) for flag in talk.flags]
        shown |= {"turns": shown_turns(position.turns), "persona": talk.partner_persona, "flags": flags}
    if position.stage == "talk":
        shown["yours"] = position.is_turn
        if position.unanswered is not None:
            shown["unanswered"] = position.unanswered
    if position.stage == "gone":
        shown["can_answer"] = position.can_answer
    if position.stage == "questions":
        shown["questions"] = [asdict(question) for question in study.questions]
        shown["choices"] = persona_choices(talk, study.personas)[0]
    if position.stage == "result":
        shown |= result(talk)
    if position.stage in ("start", "result"):
        shown["is_last"] = position.is_last
        # The closing text may hold a completion code: nobody gets it before their last answers.
        is_done = position.is_last or (position.stage == "result" and study.talks is None)
        shown["closing"] = study.closing if is_done else ""
    return shown


def result(talk: Talk) -> dict[str, Any]:
    """Return what the partner was, and whether the participant's answers say so."""
    answer, guess = talk.ratings.get("persona"), talk.ratings.get("partner")
    guessed = None if answer is None else answer["chosen"] == answer["true"]
    return {"partner": partner_of(talk), "guess": guess, "persona": talk.persona, "persona_guessed": guessed}


def talk_in_short(talk: Talk, pauses: Pauses) -> dict[str, Any] | None:
    """Return what the list of a participant's talks says of `talk`.

    Of a running talk it says neither when it began nor, by returning None, that a program is about to begin it.
    """
    if not is_blind(talk):
        return {"id": talk.id, "started": talk.started, "running": False, "turns": len(talk.turns)}
    return {"id": talk.id, "running": True} if pauses.visible_turns(talk) else None


def whole_talk(talk: Talk) -> dict[str, Any]:
    """Return a talk that is over."""
    return {"id": talk.id, "started": talk.started, "turns": shown_turns(talk.turns), "partner": partner_of(talk)}


def persona_choices(talk: Talk, personas: Sequence[Sequence[str]]) -> tuple[list[list[str]], int]:
    """Return the partner's persona and a false one, and the index of the true one. The talk's id decides all.

    Of some candidates, the false persona is the one that has the fewest facts in common with the talk's two personas.
    """
    draw = random.Random(talk.id)
    facts, true = {*talk.persona, *talk.partner_persona}, draw.randrange(2)
    candidates = draw.sample(personas, min(CANDIDATES, len(personas)))
    false = min(map(list, candidates), key=lambda persona: len(facts & {*persona}))
    return ([talk.persona, false] if true == 0 else [false, talk.persona]), true


def shown_turns(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    return [{"mine": turn.speaker == "human", "text": turn.text} for turn in turns]


def partner_of(talk: Talk) -> str:
    return "person" if talk.partner == "person" else "program"
