"""The talks at a terminal: who speaks, what is printed, and what is recorded."""

from __future__ import annotations

import contextlib
import secrets
import warnings
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from personagpt.errors import UserError, printable
from personagpt.model.api import ApiProgram
from personagpt.model.loading import TrainedModel
from personagpt.model.sampling import RANGES, Sampling
from personagpt.output import say
from personagpt.records.database import Recordings, TalkDeleted
from personagpt.records.talks import Talk, Turn, new_id
from personagpt.sequences.format import DataError
from personagpt.signals import first_ctrl_c
from personagpt.talking.api_persona import ApiPersona
from personagpt.talking.persona import Persona
from personagpt.talking.terminal import name_before

Speakers = dict[str, Persona | ApiPersona]  # "model", and in a self-play "partner"


class Session:
    """One talk after another. Replies are printed as they grow, and every utterance is recorded at once."""

    def __init__(
        self,
        trained: TrainedModel,
        sampling: Sampling,
        seed: int | None,
        recordings: Recordings,
        goal: str | None = None,
        program: ApiProgram | None = None,
        **options: Any,
    ) -> None:
        """`seed` makes the talks repeatable; each talk adds 1 to it. `goal` is for the model's replies. `program` is
        the partner in a self-play, in place of the model.

        `options` are Persona's, such as as_typed. Raises UserError if no reply fits the context.
        """
        Persona(trained, keep_facts=True, **options, **asdict(sampling))  # raises before somebody types a persona
        self.trained, self.sampling, self.recordings = trained, sampling, recordings
        self.program, self.program_seed = program, seed
        self.seed = secrets.randbits(32) if seed is None else seed
        self.options = options
        self.set_goal(goal)
        self.first_goal = goal  # when the present talk began
        self.talks = 0  # begun so far
        self.talk: Talk | None = None
        self.speakers: Speakers = {}
        self.recorded: list[str] = []  # ids of the talks on record
        self.recorded_as = ""  # the present talk's id when it was last recorded

    def new_talk(
        self, facts: list[str], keep_facts: bool = False, partner_facts: list[str] | None = None
    ) -> tuple[Talk, Speakers]:
        """Return a talk without turns, and its speakers: with `partner_facts` it is a self-play.

        The partner's facts come from a dialogue text, and so do the model's with `keep_facts`. Raises DataError if a
        persona does not fit the context.
        """
        seed = self.seed + self.talks
        self.talks += 1
        options = self.options | asdict(self.sampling)
        # A seed of its own: talks have seeds below 2**62.
        if self.program is None:
            partner = Persona(self.trained, partner_facts or [], seed=seed + 2**62, keep_facts=True, **options)
        else:
            partner = ApiPersona(self.program, partner_facts or [], self._restyled, self.program_seed)
        model = Persona(self.trained, facts, seed=seed, keep_facts=keep_facts, **options)
        sampling = asdict(self.sampling) | {"seed": seed}
        if self.program is not None:
            api = self.program.api
            sampling["partner"] = {"model": api.name, "model_checksum": api.checksum, **api.recorded}
        kind = "human" if partner_facts is None else "partner"
        talk = Talk(self.trained.name, self.trained.checksum, sampling, list(model.facts), kind, list(partner.facts))
        return talk, {"partner": partner, "model": model}

    def _restyled(self, text: str) -> str:
        """Return a program's words in the style of the model's training text."""
        return self.trained.style.utterances.bring(text) if self.trained.style else text

    def begin(self, facts: list[str], keep_facts: bool = False, partner_facts: list[str] | None = None) -> None:
        """Start a talk as `new_talk` makes it, and print the personas."""
        with warnings.catch_warnings(record=True) as notices:
            warnings.simplefilter("always")
            self.talk, self.speakers = self.new_talk(facts, keep_facts, partner_facts)
        self.recorded_as, self.first_goal = self.talk.id, self.goal
        for name, speaker in self.speakers.items():
            if speaker.facts:
                say(printable(f"{name}'s persona: {' | '.join(speaker.facts)}"))
        for notice in notices:
            say(f"({notice.message})")

    def reply(self, name: str, text: str | None, rejected: str | None = None, stop: Sequence[int] = ()) -> bool:
        """Print and record the reply of `name` ("model" or "partner") to `text`. Return whether there was a reply.

        A reply that equals `rejected` is drawn again; if every draw equals it, there is no reply. As soon as `stop` has
        an entry, the reply ends with the text printed so far. Raises DataError if persona and utterance do not fit the
        context.
        """
        reply, avoid = "", [rejected] if rejected else []
        goal = self.goal if name == "model" else None
        with contextlib.closing(self.speakers[name].stream(text, goal=goal, avoid=avoid)) as pieces:
            print(name_before(name), end="", flush=True)
            try:
                for piece in pieces:
                    print(piece, end="", flush=True)
                    reply += piece
                    if stop:
                        break
            finally:
                print()  # also before the line of an error
        if reply.strip() in ("", rejected):
            return False
        self.talk.turns.append(Turn(name, reply.strip(), goal=goal, replaced=rejected))
        self.record()
        return True

    def answer(self, text: str) -> None:
        """Record the human's utterance and the reply; without a reply neither. Ctrl-C stops the reply only."""
        text = self.speakers["model"].restyled(text)
        self.talk.turns.append(Turn("human", text))
        self.record()
        if not self._answer(text):
            say("(your utterance was taken back)")
            self.talk.turns.pop()
            self.record()

    def _answer(self, text: str, rejected: str | None = None) -> bool:
        """Let the model reply, and say why if there is no reply. Return whether there was a reply."""
        try:
            with first_ctrl_c() as stop:
                if self.reply("model", text, rejected, stop):
                    return True
            say("(the model said nothing else: the reply stays)" if rejected else "(the model said nothing)")
        except DataError as error:
            say(f"({error})")
        return False

    def retry(self) -> None:
        """Draw another reply in place of the last reply, which stays if there is no other reply."""
        speaker, before = self.speakers["model"], self.talk
        history, answered = list(speaker.history), False
        try:
            self.talk = before.without(1)
            answered = self._answer(*speaker.undo())
        finally:
            if not answered:
                self.talk, speaker.history = before, history

    def undo(self) -> None:
        """Take back the human's last utterance and the reply; the goal is again that of the reply before."""
        self.talk = self.talk.without(2)
        self.speakers["model"].undo()
        self.goal = self.talk.turns[-1].goal if self.talk.turns else self.first_goal
        self.record()

    def replace_last(self, text: str, corrected: bool) -> str:
        """Put a correction, or another draw, in place of the last reply. Return the text that joins the talk.

        A correction stands beside the reply's flag. Another draw, after a flag, begins another talk.
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

    def set_goal(self, goal: str | None) -> None:
        """Ask for replies that follow `goal` from now on. Print a notice if the model was not trained with the goal."""
        self.goal = goal
        if notice := goal_notice(self.trained, goal):
            say(f"({notice})")

    def set(self, name: str, value: str) -> None:
        """Change how replies are drawn from now on. Raises UserError if there is no such name or value.

        A talk that has begun goes on as another talk, because a recorded talk has one way to draw.
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
        copied = {"id": new_id(), "turns": list(self.talk.turns), "flags": []} if self.talk.turns else {}
        self.talk = replace(self.talk, sampling=self.talk.sampling | asdict(sampling), **copied)

    def record(self) -> None:
        """Put the talk on record in its present state. Raises TalkDeleted if somebody deleted the talk."""
        try:
            self.recordings.save(self.talk)
        except TalkDeleted:
            self.recorded = [talk_id for talk_id in self.recorded if talk_id != self.recorded_as]
            raise
        self.recorded_as = self.talk.id
        self.recorded = [talk_id for talk_id in self.recorded if talk_id != self.talk.id]
        self.recorded += [self.talk.id] if self.talk.turns else []


def goal_notice(trained: TrainedModel, goal: str | None) -> str:
    """Return a notice if the model is known to be trained without `goal`, else no text."""
    if goal is None or trained.goals is None or goal in trained.goals:
        return ""
    known = f"its goals are: {', '.join(trained.goals)}" if trained.goals else "it was trained without goals"
    return printable(f"the model was not trained with the goal {goal!r}; {known}")
