"""The talk under way in a terminal: who says what, what is printed, and what is recorded."""

from __future__ import annotations

import contextlib
import secrets
import warnings
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from personagpt.errors import UserError, printable
from personagpt.model.loading import TrainedModel
from personagpt.model.sampling import RANGES, Sampling
from personagpt.records.database import Recordings
from personagpt.records.talks import Talk, Turn, new_id
from personagpt.sequences.format import DataError
from personagpt.signals import first_ctrl_c
from personagpt.talking.persona import Persona
from personagpt.talking.terminal import name_before


class Session:
    """The talk under way: replies stream to the terminal, and what is said is recorded when it is said."""

    def __init__(
        self, trained: TrainedModel, sampling: Sampling, seed: int | None, recordings: Recordings, **options: Any
    ) -> None:
        """`seed` makes the talks repeatable; with None each draws its own. `options` are Persona's, such as as_typed.

        Raises UserError where no reply fits the context: before somebody types a persona.
        """
        self.trained, self.sampling, self.seed, self.recordings = trained, sampling, seed, recordings
        self.options = options
        self.goal: str | None = None  # what the model's replies shall do
        Persona(trained, **options, **asdict(sampling))
        self.talks = 0
        self.talk: Talk | None = None
        self.speakers: dict[str, Persona] = {}  # "model", and in a self-play "partner"
        self.recorded: list[str] = []  # the ids of the talks on record

    def begin(
        self,
        persona: list[str],
        keep_facts: bool = False,
        partner: str = "human",
        partner_persona: list[str] | None = None,
    ) -> None:
        """Start another talk; the partner's facts are a dialogue text's, and so are the model's with `keep_facts`.

        Raises DataError where a persona does not fit the context.
        """
        seed = secrets.randbits(32) if self.seed is None else self.seed + self.talks
        # The partner's seed is one that no talk has.
        given = {"partner": (seed + 2**62, partner_persona or [], True), "model": (seed, persona, keep_facts)}
        with warnings.catch_warnings(record=True) as notices:
            warnings.simplefilter("always")
            self.speakers = {
                name: Persona(self.trained, facts, seed=own, keep_facts=kept, **self.options, **asdict(self.sampling))
                for name, (own, facts, kept) in given.items()
            }
        self.talks += 1
        names = self.trained.name, self.trained.checksum
        sampling = asdict(self.sampling) | {"seed": seed}
        model, other = self.speakers["model"].facts, self.speakers["partner"].facts
        self.talk = Talk(*names, sampling, list(model), partner, list(other))
        for name, speaker in self.speakers.items():
            if speaker.facts:
                print(printable(f"{name}'s persona: {' | '.join(speaker.facts)}"))
        for notice in notices:
            print(f"({notice.message})")

    def reply(self, name: str, text: str | None, rejected: str | None = None, stop: Sequence[int] = ()) -> bool:
        """Print what `name` ("model" or "partner") replies to `text` and record it; False where it is none.

        One that is `rejected` is drawn again, and counts as none if it comes once more; once there is something in
        `stop`, what has been printed so far stands. Raises DataError where persona and the last utterance do not fit
        the context.
        """
        reply, avoid = "", [rejected] if rejected else []
        goal = self.goal if name == "model" else None
        with contextlib.closing(self.speakers[name].stream(text, goal=goal, avoid=avoid)) as pieces:
            print(name_before(name), end="", flush=True)
            for piece in pieces:
                print(piece, end="", flush=True)
                reply += piece
                if stop:
                    break
        print()
        if reply.strip() in ("", rejected):
            return False
        self.talk.turns.append(Turn(name, reply.strip(), goal=goal, replaced=rejected))
        self.record()
        return True

    def answer(self, text: str) -> None:
        """Record what the human said, and the reply to it; without a reply neither. Ctrl-C stops the reply only."""
        text = self.speakers["model"].restyled(text)
        self.talk.turns.append(Turn("human", text))
        self.record()
        if not self._answered(text):
            print("(your utterance was taken back)")
            self.talk.turns.pop()
            self.record()

    def _answered(self, text: str, rejected: str | None = None) -> bool:
        """Whether the model's reply came, as it does unless it is empty or does not fit."""
        try:
            with first_ctrl_c() as stop:
                replied = self.reply("model", text, rejected, stop)
            if not replied:
                print("(the model said nothing else: the reply stays)" if rejected else "(the model said nothing)")
            return replied
        except DataError as error:
            print(f"({error})")
            return False

    def retry(self) -> None:
        """Draw another reply in the place of the last one, which stays where there is none."""
        speaker, before = self.speakers["model"], self.talk
        history, answered = list(speaker.history), False
        try:
            self.talk = before.without(1)
            said, rejected = speaker.undo()
            answered = self._answered(said, rejected)
        finally:
            if not answered:
                self.talk, speaker.history = before, history

    def undo(self) -> None:
        """Take back the human's last utterance and the reply."""
        self.talk = self.talk.without(2)
        self.speakers["model"].undo()
        self.record()

    def replace_last(self, text: str, corrected: bool) -> str:
        """Put a correction, or another draw, in the place of the last reply, which stays on record as what it was.

        A correction stands beside the reply's flag; another draw, after a flag, begins another talk.
        """
        before = self.talk.turns[-1]
        text = self.speakers["model"].fix(text)
        turn = before.instead(text, corrected)
        if corrected:
            self.talk = self.talk.ending_with(turn)
        else:
            self.talk = self.talk.without(1)
            self.talk.turns.append(turn)
        self.record()
        return text

    def set(self, name: str, value: str) -> None:
        """Change how replies are drawn from now on. Raises UserError where there is no such value.

        A talk that has begun goes on as another: a recorded talk has one way to draw.
        """
        types = {field.name: field.type for field in fields(Sampling)}
        if name not in types:
            raise UserError(f"{name}: expected one of {', '.join(types)}")
        try:
            number = int(value) if types[name] == "int" else float(value)
        except ValueError:
            raise UserError(f"{f'{name} {value}'.strip()}: expected {RANGES[name][1]}") from None
        sampling = replace(self.sampling, **{name: number})
        for speaker in self.speakers.values():
            speaker.draw_with(sampling)
        self.sampling = sampling
        recorded = self.talk.sampling | asdict(sampling)
        others = {"id": new_id(), "turns": list(self.talk.turns), "flags": []} if self.talk.turns else {}
        self.talk = replace(self.talk, sampling=recorded, **others)

    def record(self) -> None:
        """Put the talk on record as it is now."""
        self.recordings.save(self.talk)
        self.recorded = [name for name in self.recorded if name != self.talk.id]
        self.recorded += [self.talk.id] if self.talk.turns else []


def self_play(session: Session, turns: int) -> None:
    """Let both personas talk for `turns` utterances."""
    for number in range(turns):
        last = session.talk.texts[-1] if number else None
        if not session.reply(("partner", "model")[number % 2], last):
            print("(nothing more to say)")
            return
