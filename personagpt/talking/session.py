"""The talk under way in a terminal: who says what, what is printed, and what is recorded."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from personagpt.errors import printable
from personagpt.model.loading import TrainedModel
from personagpt.model.sampling import Sampling
from personagpt.sequences.format import DataError
from personagpt.signals import first_ctrl_c
from personagpt.talking.persona import Persona
from personagpt.talking.recordings import Talk, Turn, append_talk, new_id


class Session:
    """The talk under way: replies stream to the terminal, and what was said is recorded."""

    def __init__(self, trained: TrainedModel, sampling: Sampling, seed: int | None, recordings: Path) -> None:
        """`seed` makes the talks repeatable; with None each draws its own."""
        self.trained, self.sampling, self.seed, self.recordings = trained, sampling, seed, recordings
        Persona(trained, **asdict(sampling))  # raises where no reply fits the context: before a persona is typed
        self.talks = 0
        self.talk: Talk | None = None
        self.speakers: dict[str, Persona] = {}  # "model", and in a self-play "partner"
        self.recorded: dict | None = None  # the talk as it was when last recorded
        self.recorded_in: Path | None = None

    def begin(self, persona: list[str], partner: str = "human", partner_persona: list[str] | None = None) -> None:
        """Record the talk so far and start another. Raises DataError where a persona does not fit the context."""
        seed = secrets.randbits(32) if self.seed is None else self.seed + self.talks
        # The partner's seed is one that no talk has.
        seeds_and_facts = {"partner": (seed + 2**62, partner_persona or []), "model": (seed, persona)}
        speakers = {
            name: Persona(self.trained, facts, seed=own, **asdict(self.sampling))
            for name, (own, facts) in seeds_and_facts.items()
        }
        self.record()
        self.speakers = speakers
        self.talks += 1
        names = self.trained.name, self.trained.checksum
        sampling = asdict(self.sampling) | {"seed": seed}
        self.talk = Talk(*names, sampling, persona, partner, partner_persona or [])
        for name, speaker in self.speakers.items():
            if speaker.facts:
                print(printable(f"{name}'s persona: {' | '.join(speaker.facts)}"))

    def reply(self, name: str, text: str | None, avoid: Sequence[str] = (), stop: Sequence[int] = ()) -> bool:
        """Print the reply of `name` ("model" or "partner") to `text` as it comes, and add it; False where it is empty.

        One of `avoid` is drawn again; once there is something in `stop`, what has been printed so far stands. Raises
        DataError where persona and the last utterance do not fit the context.
        """
        reply = ""
        with contextlib.closing(self.speakers[name].stream(text, avoid=avoid)) as pieces:
            print(f"{name}: ", end="", flush=True)
            for piece in pieces:
                print(piece, end="", flush=True)
                reply += piece
                if stop:
                    break
        print()
        if reply.strip():
            self.talk.turns.append(Turn(name, reply.strip()))
        return bool(reply.strip())

    def answer(self, text: str, avoid: Sequence[str] = ()) -> None:
        """Add what the human said, and the reply to it; without a reply neither. Ctrl-C stops the reply only."""
        self.talk.turns.append(Turn("human", text))
        try:
            with first_ctrl_c() as stop:
                replied = self.reply("model", text, avoid, stop)
            if replied:
                return
            print("(the model said nothing: your utterance was taken back)")
        except DataError as error:
            print(f"({error})")
        self.talk.turns.pop()

    def take_back(self) -> list[str]:
        """Remove the last utterance and its reply, and return them.

        A flag is evidence: the talk with it is recorded, and goes on as another.
        """
        kept = len(self.talk.turns) - 2
        if any(flag.turn >= kept for flag in self.talk.flags):
            self.record()
            flags = [flag for flag in self.talk.flags if flag.turn < kept]
            self.talk = replace(self.talk, id=new_id(), turns=list(self.talk.turns), flags=flags)
        del self.talk.turns[kept:]
        return self.speakers["model"].undo()

    def record(self) -> None:
        """Append the talk to today's file, if there is anything new in it."""
        if self.talk and self.talk.turns and asdict(self.talk) != self.recorded:
            self.recorded_in = append_talk(self.recordings, self.talk)
            self.recorded = asdict(self.talk)


def self_play(session: Session, turns: int) -> None:
    """Let both personas talk for `turns` utterances."""
    for number in range(turns):
        last = session.talk.texts[-1] if number else None
        if not session.reply(("partner", "model")[number % 2], last):
            print("(nothing more to say)")
            return
