"""A persona to talk to from a program: its facts, its talk so far, its replies.

from personagpt import Persona, load

model = load("save/checkpoint/model")
oscar = Persona(model, ["i am a pilot.", "my pet is a parrot."], seed=1)
oscar.reply("hi ! what do you do ?")
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import torch

from personagpt.errors import UserError
from personagpt.model.generation import ReplyRequest, generate_replies, stream_replies
from personagpt.model.loading import TrainedModel
from personagpt.model.sampling import Sampling
from personagpt.scoring.entries import perplexity
from personagpt.scoring.metrics import score_batch
from personagpt.sequences.batches import collate
from personagpt.sequences.format import DataError


@dataclass(frozen=True)
class Score:
    """How likely a reply of `tokens` tokens (its <eos> included) is: log-likelihoods, in nats."""

    own: float  # under the persona
    other: float  # under another one
    tokens: int

    @property
    def perplexity(self) -> float:
        return perplexity(-self.own / self.tokens)

    @property
    def other_perplexity(self) -> float:
        return perplexity(-self.other / self.tokens)


@dataclass(frozen=True)
class Reason:
    """Where a reply comes from."""

    score: Score
    fact: str | None  # the one it leans on most: without it, it is least likely; None where none makes it likelier
    loss: float  # by how many nats


class Persona:
    """A talk with a model in the voice of a persona.

    Many personas share one model, also in several threads: the model is only read, and each persona has its own history
    and its own random numbers. `history` is the talk so far, one utterance after another; the last one is the
    persona's. Raises UserError where the facts, or an option, cannot be used.
    """

    def __init__(
        self,
        model: TrainedModel,
        facts: Iterable[str] = (),
        *,
        history: Iterable[str] = (),
        seed: int | None = None,
        max_history: int | None = None,
        as_typed: bool = False,
        keep_facts: bool = False,
        **sampling: float,
    ) -> None:
        """`seed` repeats a talk. `max_history` is how many utterances the model is shown at most (0: what its context
        holds; None: `Style.max_history`). What is given is brought into the style of the text the model learned from,
        unless `as_typed`; with `keep_facts`, which come from a dialogue text, only what is said is. The others are
        Sampling's: top_k, top_p, temperature, max_new_tokens, no_repeat.
        """
        self.model, self._random = model, Random(seed)
        self._style = None if as_typed else model.style
        self.facts = _texts(facts, "the facts")
        if self._style and not keep_facts:
            self.facts = list(map(self._style.facts.bring, self.facts))
        self.history = [self.restyled(text) for text in _texts(history, "the history")]
        if max_history is None:
            max_history = model.style.max_history if model.style else 0
        if type(max_history) is not int or max_history < 0:
            raise UserError(f"max_history {max_history!r}: expected 0 (what the context holds) or more")
        self.max_history = max_history
        if model.style and len(self.facts) > model.style.facts_a_persona:
            most = model.style.facts_a_persona
            warnings.warn(f"{len(self.facts)} facts: in training a persona had {most} at most", stacklevel=2)
        self.draw_with(Sampling(**sampling))

    def draw_with(self, sampling: Sampling) -> None:
        """Draw replies so from now on. Raises UserError where the longest one leaves no room for the persona."""
        length = self.model.context_length
        if sampling.max_new_tokens >= length:
            raise UserError(f"max_new_tokens {sampling.max_new_tokens}: the model's context is {length} tokens")
        self.model.encoder.context(1, self.facts, [], length - sampling.max_new_tokens)  # raises where it does not fit
        self.sampling = sampling

    def reply(self, text: str | None = None, *, goal: str | None = None, avoid: Sequence[str] = ()) -> str:
        """The persona's reply to `text`; both join the history. Without a text, it opens the talk.

        `goal` is what the reply shall do, such as "ask about pets."; one in `avoid` is drawn again. Where the model
        has nothing to say, the reply is empty and the history stays as it was.
        """
        return "".join(self.stream(text, goal=goal, avoid=avoid)).strip()

    def stream(self, text: str | None = None, *, goal: str | None = None, avoid: Sequence[str] = ()) -> Iterator[str]:
        """`reply` piece by piece, as it is made. Whoever stops reading it early keeps what was read."""
        said = self._said(text)
        return self._pieces(said, self._draft([*self.history, *said], goal, avoid))

    def draft(self, text: str | None = None, *, goal: str | None = None, avoid: Sequence[str] = ()) -> ReplyRequest:
        """The reply to `text` as generation.stream_replies makes it beside others; the history stays as it is."""
        return self._draft([*self.history, *self._said(text)], goal, avoid)

    def _pieces(self, said: list[str], draft: ReplyRequest) -> Iterator[str]:
        model, shown = self.model, ""
        try:
            for (reply,) in stream_replies(model.model, model.encoder, [draft], model.autocast):
                if len(reply.shown) > len(shown):
                    piece, shown = reply.shown[len(shown) :], reply.shown
                    yield piece
        finally:
            self._add(said, shown.strip())

    @staticmethod
    def replies(pairs: Iterable[tuple[Persona, str | None]], *, goal: str | None = None) -> list[str]:
        """The reply of each persona to its text, made in batches: on a GPU many take hardly longer than one.

        Raises UserError where a persona stands there twice, or where they do not share one model.
        """
        pairs = list(pairs)
        if len({id(persona) for persona, _ in pairs}) < len(pairs):
            raise UserError("a persona stands there twice: its second reply would have to wait for the first")
        if len({id(persona.model) for persona, _ in pairs}) > 1:
            raise UserError("personas of several models: ask for the replies of one model at a time")
        said = [persona._said(text) for persona, text in pairs]
        drafts = [persona._draft([*persona.history, *new], goal) for (persona, _), new in zip(pairs, said, strict=True)]
        model = pairs[0][0].model if pairs else None
        made = generate_replies(model.model, model.encoder, drafts, model.autocast) if pairs else []
        for (persona, _), new, reply in zip(pairs, said, made, strict=True):
            persona._add(new, reply)
        return made

    def undo(self) -> list[str]:
        """Take back the last reply and what it replied to; returns them. Nothing is taken from an empty history."""
        taken = self.history[-2:]
        del self.history[-2:]
        return taken

    def fix(self, text: str) -> str:
        """Put `text` in the place of the last reply; returns what joins the history."""
        (reply,) = _texts([text], "the correction") or [""]
        if not reply or not self.history:
            raise UserError("no reply to correct" if reply else "an empty correction: give the right reply")
        self.history[-1] = self.restyled(reply)
        return self.history[-1]

    def alternatives(self, count: int, *, goal: str | None = None) -> list[str]:
        """Up to `count` other replies in the place of the last one, each one different; the history stays as it is."""
        if not self.history:
            return []
        draft = self._draft(self.history[:-1], goal, [self.history[-1]])
        model = self.model
        made = generate_replies(model.model, model.encoder, [draft] * count, model.autocast)
        return [reply for reply in dict.fromkeys(made) if reply not in draft.unwanted]

    def why(self, other: Persona | Sequence[str] = ()) -> Reason:
        """How likely the last reply is here and under another persona, and which fact makes it so."""
        if not self.history:
            raise UserError("no reply yet")
        without = [self.facts[:index] + self.facts[index + 1 :] for index in range(len(self.facts))]
        personas = [self.facts, self._facts_of(other), *without]
        (own, beside, *left_out), tokens = self._log_likelihoods(self.history[-1], self.history[:-1], personas)
        losses = [own - less for less in left_out]
        loss = max(losses, default=0.0)
        fact = self.facts[losses.index(loss)] if loss > 0 else None
        return Reason(Score(own, beside, tokens), fact, max(loss, 0.0))

    def score(self, text: str, to: str | None = None, other: Persona | Sequence[str] = ()) -> Score:
        """How likely `text` is as this persona's reply, here and under another persona.

        It is scored as the reply to `to`, said next; without `to`, in the place of the last reply. `other` are that
        persona's facts, or itself; none: the same model without a persona.
        """
        before = self.history[:-1] if to is None else [*self.history, *self._said(to)]
        reply = "".join(map(self.restyled, _texts([text], "the reply")))
        sums, tokens = self._log_likelihoods(reply, before, [self.facts, self._facts_of(other)])
        return Score(*sums, tokens)

    def _facts_of(self, other: Persona | Sequence[str]) -> list[str]:
        return (other if isinstance(other, Persona) else Persona(self.model, other, as_typed=self._style is None)).facts

    def _log_likelihoods(self, reply: str, before: list[str], personas: list[list[str]]) -> tuple[list[float], int]:
        """The reply's log-likelihood (nats) after the utterances `before` under each persona, and its tokens."""
        encoder, sequences = self.model.encoder, []
        ids = [*encoder.texts([reply])[0], encoder.eos]
        room = self.model.context_length - len(ids)
        if room <= 0:
            raise DataError(f"a reply of {len(ids)} tokens: the model's context is {self.model.context_length} tokens")
        for facts in personas:
            context = encoder.context(len(before) % 2, facts, self._shown(before), room)
            spans = np.array([[len(context), len(context) + len(ids)]])
            sequences.append((np.array([*context, *ids], np.int64), spans))
        with torch.inference_mode(), self.model.autocast:
            nll, _, _ = score_batch(self.model.model, collate(sequences).to(self.model.model.device))
        return [-math.fsum(part) for part in nll.reshape(len(personas), len(ids)).tolist()], len(ids)

    @property
    def _room(self) -> int:
        return self.model.context_length - self.sampling.max_new_tokens

    def _said(self, text: str | None) -> list[str]:
        """What joins the history before the reply: the utterance, or nothing where the persona opens the talk."""
        if text is None:
            if self.history:
                raise UserError("the talk has begun: give the utterance that is to be answered")
            return []
        said = _texts([text], "the utterance")
        if not said:
            raise UserError("an empty utterance: give the text that is to be answered")
        return list(map(self.restyled, said))

    def restyled(self, utterance: str) -> str:
        """An utterance as the training text would have it."""
        return self._style.utterances.bring(utterance) if self._style else utterance

    def _shown(self, utterances: list[str]) -> list[str]:
        """The last of the `utterances`, as far back as the model is shown; the first is its speaker's as before."""
        left_out = max(0, len(utterances) - (self.max_history or len(utterances)))
        return utterances[left_out + left_out % 2 if left_out + 1 < len(utterances) else left_out :]

    def _draft(self, utterances: list[str], goal: str | None, avoid: Sequence[str] = ()) -> ReplyRequest:
        """What is asked for: the persona's next utterance, but not its last one once more."""
        context = self.model.encoder.context(
            len(utterances) % 2, self.facts, self._shown(utterances), self._room, goal or None
        )
        return ReplyRequest(context, self.sampling, self._random, ("", *avoid), tuple(utterances[-2::-2]))

    def _add(self, said: list[str], reply: str) -> None:
        if reply:
            self.history += [*said, reply]  # at once: another thread sees both or neither


def _texts(texts: Iterable[str], what: str) -> list[str]:
    """The texts, stripped, without empty ones. Raises UserError where they are something else."""
    is_list = isinstance(texts, Iterable) and not isinstance(texts, str)
    listed = list(texts) if is_list else []
    if not is_list or not all(isinstance(text, str) for text in listed):
        raise UserError(f"{what}: expected a list of texts, such as ['i have two dogs .']")
    return [text.strip() for text in listed if text.strip()]
