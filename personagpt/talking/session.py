"""The talk under way in a terminal: who says what, what is printed, and what is recorded."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from personagpt.errors import printable
from personagpt.model.generation import Sampling, stream_reply
from personagpt.model.loading import TrainedModel
from personagpt.sequences.format import DataError
from personagpt.signals import first_ctrl_c
from personagpt.talking.recordings import Talk, Turn, append_talk, new_id

DRAWS = 4  # how often a reply nobody wants is drawn before it stands


class Session:
    """The talk under way: replies stream to the terminal, and what was said is recorded."""

    def __init__(
        self, trained: TrainedModel, sampling: Sampling, max_new_tokens: int, seed: int | None, recordings: Path
    ) -> None:
        """`seed` makes the talks repeatable; with None each draws its own."""
        self.trained, self.recordings, self.seed = trained, recordings, seed
        self.sampling, self.max_new_tokens = sampling, max_new_tokens
        self.generator = torch.Generator(trained.model.device)
        self.talks = 0
        self.talk: Talk | None = None
        self.recorded: dict | None = None  # the talk as it was when last recorded
        self.recorded_in: Path | None = None

    def begin(self, persona: list[str], partner: str = "human", partner_persona: list[str] | None = None) -> None:
        """Record the talk so far and start another. Raises DataError where a persona does not fit the context."""
        for speaker, facts in enumerate((partner_persona or [], persona)):
            self.trained.encoder.context(speaker, facts, [], self._room)
        self.record()
        seed = secrets.randbits(32) if self.seed is None else self.seed + self.talks
        self.talks += 1
        self.generator.manual_seed(seed)
        sampling = asdict(self.sampling) | {"max_new_tokens": self.max_new_tokens, "seed": seed}
        names = self.trained.name, self.trained.checksum
        self.talk = Talk(*names, sampling, persona, partner, partner_persona or [])
        for name, facts in (("partner", self.talk.partner_persona), ("model", persona)):
            if facts:
                print(printable(f"{name}'s persona: {' | '.join(facts)}"))

    @property
    def _room(self) -> int:
        return self.trained.context_length - self.max_new_tokens

    def reply(self, name: str, rejected: str = "", stop: Sequence[int] = ()) -> bool:
        """Print the next utterance of `name` ("model" or "partner") as it comes, and add it; False where it is empty.

        One that is empty, the speaker's last one or `rejected` is drawn again, a few times; once there is something
        in `stop`, what has been printed so far stands. Raises DataError where persona and the last utterance do not
        fit the context.
        """
        texts = self.talk.texts
        speaker, facts = (1, self.talk.persona) if name == "model" else (0, self.talk.partner_persona)
        context = self.trained.encoder.context(speaker, facts, texts, self._room)
        unwanted = ["", rejected, *texts[-2:-1]]
        print(f"{name}: ", end="", flush=True)
        for _ in range(DRAWS):
            text = self._stream(context, unwanted, stop)
            if stop or text not in unwanted:
                break
        else:
            print(text, end="")
        print()
        if text:
            self.talk.turns.append(Turn(name, text))
        return bool(text)

    def _stream(self, context: list[int], unwanted: list[str], stop: Sequence[int]) -> str:
        """Draw a reply and print it as it grows, once it cannot become one of the `unwanted` any more."""
        trained, shown, text = self.trained, "", ""
        pieces = stream_reply(
            trained.model, trained.encoder, context, trained.autocast, self._pick, self.max_new_tokens
        )
        for grown in pieces:
            text = printable(grown).lstrip()
            if not any(other.startswith(text) for other in unwanted):
                print(text[len(shown) :], end="", flush=True)
                shown = text
            if stop:
                return shown.rstrip()
        if text.rstrip() not in unwanted:
            print(text[len(shown) :], end="")  # it ended where an unwanted one goes on
        return text.rstrip()

    def _pick(self, logits: torch.Tensor) -> torch.Tensor:
        return self.sampling.draw(logits, self.generator)

    def answer(self, text: str, rejected: str = "") -> None:
        """Add what the human said, and the reply to it; without a reply neither. Ctrl-C stops the reply only."""
        self.talk.turns.append(Turn("human", text))
        try:
            with first_ctrl_c() as stop:
                replied = self.reply("model", rejected, stop)
            if replied:
                return
            print("(the model said nothing: your utterance was taken back)")
        except DataError as error:
            print(f"({error})")
        self.talk.turns.pop()

    def take_back(self, count: int) -> None:
        """Remove the last `count` turns. A flag is evidence: the talk with it is recorded, and goes on as another."""
        kept = len(self.talk.turns) - count
        if any(flag.turn >= kept for flag in self.talk.flags):
            self.record()
            flags = [flag for flag in self.talk.flags if flag.turn < kept]
            self.talk = replace(self.talk, id=new_id(), turns=list(self.talk.turns), flags=flags)
        del self.talk.turns[kept:]

    def record(self) -> None:
        """Append the talk to today's file, if there is anything new in it."""
        if self.talk and self.talk.turns and asdict(self.talk) != self.recorded:
            self.recorded_in = append_talk(self.recordings, self.talk)
            self.recorded = asdict(self.talk)


def self_play(session: Session, turns: int) -> None:
    """Let both personas talk for `turns` utterances."""
    for number in range(turns):
        if not session.reply(("partner", "model")[number % 2]):
            print("(nothing more to say)")
            return
