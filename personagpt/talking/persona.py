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
from personagpt.text.style import Style, newest

# A reply leans on a fact if it is at least so many nats less likely (7 times) with any other fact in the fact's place.
# In the demo's validation text, 85% of the facts that a reply names reach this loss, and 0.2% of the others. To leave
# the fact out would not do: with fewer facts most replies are less likely.
MARKED_LOSS = 2.0


@dataclass(frozen=True)
class Score:
    """How likely a reply of `tokens` tokens (its <eos> included) is: log-likelihoods, in nats."""

    own: float  # under the persona
    other: float  # under another persona
    tokens: int

    @property
    def perplexity(self) -> float:
        return perplexity(-self.own / self.tokens)

    @property
    def other_perplexity(self) -> float:
        return perplexity(-self.other / self.tokens)


@dataclass(frozen=True)
class Reason:
    """How likely the last reply is, and the fact that it leans on."""

    score: Score
    fact: str | None  # with another fact in its place the reply is least likely; None if no fact stands out
    loss: float  # nats that the reply loses without the fact that costs it most; 0 if no fact costs it anything


class Persona:
    """A talk with a model in the voice of a persona.

    Many personas can share one model, also in several threads, because a persona only reads the model. Each persona
    has its own history and random numbers. `history` is the talk so far, utterance by utterance; the last utterance is
    the persona's. Raises UserError if the facts or an option cannot be used.
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
        """`seed` repeats a talk. The model is shown the last `max_history` utterances (0: all that fit its context;
        None: `Style.max_history`). Facts and utterances are rewritten in the style of the model's training text, unless
        `as_typed` is set; `keep_facts` leaves facts that come from a dialogue text as they are. Without it, fewer or
        more facts than any persona had in training give a warning. `sampling` are Sampling's fields: top_k, top_p,
        temperature, max_new_tokens, no_repeat.
        """
        self.model, self._random = model, Random(seed)
        self._style = None if as_typed else model.style
        self.facts = _texts(facts, "the facts") if keep_facts else self._restyled_facts(facts)
        self.history = [self.restyled(text) for text in _texts(history, "the history")]
        if max_history is None:
            max_history = model.style.max_history if model.style else 0
        if type(max_history) is not int or max_history < 0:
            raise UserError(f"max_history {max_history!r}: expected 0 (what the context holds) or more")
        self.max_history = max_history
        if model.style and not keep_facts and (notice := _unusual_count(len(self.facts), model.style)):
            warnings.warn(notice, stacklevel=2)
        self.draw_with(Sampling(**sampling))

    def draw_with(self, sampling: Sampling) -> None:
        """Draw replies in this way from now on. Raises UserError if the longest reply leaves no room for the facts."""
        length = self.model.context_length
        if sampling.max_new_tokens >= length:
            raise UserError(f"max_new_tokens {sampling.max_new_tokens}: the model's context is {length} tokens")
        self.model.encoder.context(1, self.facts, [], length - sampling.max_new_tokens)  # raises if they do not fit
        self.sampling = sampling

    def reply(self, text: str | None = None, *, goal: str | None = None, avoid: Sequence[str] = ()) -> str:
        """Return the persona's reply to `text`; both join the history. Without a text, the persona opens the talk.

        `goal` is for this reply, such as "ask about pets."; a reply in `avoid` is drawn again. If the model has nothing
        to say, the reply is empty and the history stays as it was.

        A model that does not say with which goals it was trained gets the goal as the published model learned goals:
        with <|p1|> and without the facts.
        """
        return "".join(self.stream(text, goal=goal, avoid=avoid)).strip()

    def stream(self, text: str | None = None, *, goal: str | None = None, avoid: Sequence[str] = ()) -> Iterator[str]:
        """Yield `reply` in pieces, while it is made. If the reader stops early, the history has what was read."""
        said = self._said(text)
        return self._pieces(said, self._request([*self.history, *said], goal, avoid))

    def draft(self, text: str | None = None, *, goal: str | None = None, avoid: Sequence[str] = ()) -> ReplyRequest:
        """Return the request for a reply to `text`, for a batch of stream_replies. The history stays as it is."""
        return self._request([*self.history, *self._said(text)], goal, avoid)

    def _pieces(self, said: list[str], request: ReplyRequest) -> Iterator[str]:
        model, shown = self.model, ""
        try:
            for (reply,) in stream_replies(model.model, model.encoder, [request], model.autocast):
                if len(reply.shown) > len(shown):
                    piece, shown = reply.shown[len(shown) :], reply.shown
                    yield piece
        finally:
            self._add(said, shown.strip())

    @staticmethod
    def replies(pairs: Iterable[tuple[Persona, str | None]], *, goal: str | None = None) -> list[str]:
        """Return the reply of each persona to its text, made in batches: on a GPU hardly slower than one reply.

        Raises UserError if a persona is there twice, or if the personas do not share a model.
        """
        pairs = list(pairs)
        if len({id(persona) for persona, _ in pairs}) < len(pairs):
            raise UserError("a persona stands there twice: its second reply would have to wait for the first")
        if len({id(persona.model) for persona, _ in pairs}) > 1:
            raise UserError("personas of several models: ask for the replies of one model at a time")
        if not pairs:
            return []
        model, said = pairs[0][0].model, [persona._said(text) for persona, text in pairs]
        requests = [persona.draft(text, goal=goal) for persona, text in pairs]
        replies = generate_replies(model.model, model.encoder, requests, model.autocast)
        for (persona, _), new, reply in zip(pairs, said, replies, strict=True):
            persona._add(new, reply)
        return replies

    def undo(self) -> list[str]:
        """Take back the last reply and the utterance before it, and return them. An empty history stays empty."""
        taken = self.history[-2:]
        del self.history[-2:]
        return taken

    def fix(self, text: str) -> str:
        """Put `text` in place of the last reply, and return the text that joins the history."""
        (reply,) = _texts([text], "the correction") or [""]
        if not reply or not self.history:
            raise UserError("no reply to correct" if reply else "an empty correction: give the right reply")
        self.history[-1] = self.restyled(reply)
        return self.history[-1]

    def alternatives(self, count: int, *, goal: str | None = None) -> list[str]:
        """Return up to `count` different replies that could stand in place of the last reply. The history stays."""
        if not self.history:
            return []
        model, request = self.model, self._request(self.history[:-1], goal, [self.history[-1]])
        replies = generate_replies(model.model, model.encoder, [request] * count, model.autocast)
        return [reply for reply in dict.fromkeys(replies) if reply not in request.unwanted]

    def why(self, other: Persona | Sequence[str] = ()) -> Reason:
        """Return how likely the last reply is here and under another persona, and the fact that it leans on.

        In place of each fact stands the fact of the other persona that suits the reply best; without such facts, none.
        A fact is named only if the reply is then markedly less likely (MARKED_LOSS).
        """
        if not self.history:
            raise UserError("no reply yet")
        other_facts = self._facts_of(other)
        others = [[fact] for fact in other_facts] or [[]]
        without = [
            [*self.facts[:index], *put, *self.facts[index + 1 :]] for index in range(len(self.facts)) for put in others
        ]
        personas = [self.facts, other_facts, *without]
        (own, beside, *exchanged), tokens = self._log_likelihoods(self.history[-1], self.history[:-1], personas)
        best = [max(exchanged[start : start + len(others)]) for start in range(0, len(exchanged), len(others))]
        losses = [own - likelihood for likelihood in best]
        loss = max([0.0, *losses])
        fact = self.facts[losses.index(loss)] if loss >= MARKED_LOSS else None
        return Reason(Score(own, beside, tokens), fact, loss)

    def score(self, text: str, to: str | None = None, other: Persona | Sequence[str] = ()) -> Score:
        """Return how likely `text` is as this persona's reply, here and under another persona.

        `text` is scored as the reply to `to`, said next; without `to`, in place of the last reply. `other` is the other
        persona or its facts; without facts it is the same model without a persona.

        Both personas are scored after this persona's whole history. A reply also follows from what its speaker said
        before: after some exchanges with another persona's history, the owner of a fact can score below a stranger. To
        compare personas by their facts alone, score in a talk without a history.
        """
        before = self.history[:-1] if to is None else [*self.history, *self._said(to)]
        reply = "".join(map(self.restyled, _texts([text], "the reply")))
        sums, tokens = self._log_likelihoods(reply, before, [self.facts, self._facts_of(other)])
        return Score(*sums, tokens)

    def restyled(self, utterance: str) -> str:
        """Return an utterance in the style of the model's training text."""
        return self._style.utterances.bring(utterance) if self._style else utterance

    def _facts_of(self, other: Persona | Sequence[str]) -> list[str]:
        return other.facts if isinstance(other, Persona) else self._restyled_facts(other)

    def _restyled_facts(self, facts: Iterable[str]) -> list[str]:
        texts = _texts(facts, "the facts")
        return list(map(self._style.facts.bring, texts)) if self._style else texts

    def _log_likelihoods(self, reply: str, before: list[str], personas: list[list[str]]) -> tuple[list[float], int]:
        """Return the reply's log-likelihood (nats) under each persona after `before`, and its length."""
        encoder, sequences = self.model.encoder, []
        ids = [*encoder.texts([reply])[0], encoder.eos]
        room = self.model.context_length - len(ids)
        if room <= 0:
            raise DataError(f"a reply of {len(ids)} tokens: the model's context is {self.model.context_length} tokens")
        for facts in personas:
            context = encoder.context(len(before) % 2, facts, newest(before, self.max_history), room)
            spans = np.array([[len(context), len(context) + len(ids)]])
            sequences.append((np.array([*context, *ids], np.int64), spans))
        with torch.inference_mode(), self.model.autocast:
            nll, _, _ = score_batch(self.model.model, collate(sequences).to(self.model.model.device))
        return [-math.fsum(part) for part in nll.reshape(len(personas), len(ids)).tolist()], len(ids)

    def _said(self, text: str | None) -> list[str]:
        """Return what joins the history before the reply: the utterance, or nothing if the persona opens the talk."""
        if text is None:
            if self.history:
                raise UserError("the talk has begun: give the utterance that is to be answered")
            return []
        said = _texts([text], "the utterance")
        if not said:
            raise UserError("an empty utterance: give the text that is to be answered")
        return list(map(self.restyled, said))

    def _request(self, utterances: list[str], goal: str | None, avoid: Sequence[str] = ()) -> ReplyRequest:
        """Return the request for the persona's next utterance, other than its last utterance and those in `avoid`."""
        room = self.model.context_length - self.sampling.max_new_tokens
        speaker, facts = len(utterances) % 2, self.facts
        if goal and self.model.goals is None:  # as the published model learned goals, whoever talks
            speaker, facts = 0, []
        context = self.model.encoder.context(speaker, facts, newest(utterances, self.max_history), room, goal or None)
        return ReplyRequest(context, self.sampling, self._random, ("", *avoid), tuple(utterances[-2::-2]))

    def _add(self, said: list[str], reply: str) -> None:
        if reply:
            self.history += [*said, reply]  # in one step, so that another thread sees both or neither


def _unusual_count(facts: int, style: Style) -> str | None:
    """Return a notice if no persona of the training text has so few, or so many, facts."""
    given = f"{facts} fact{'s' * (facts != 1)}: in training a persona had"
    if facts < style.fewest_facts_a_persona:
        return f"{given} {style.fewest_facts_a_persona} at least"
    return f"{given} {style.facts_a_persona} at most" if facts > style.facts_a_persona else None


def _texts(texts: Iterable[str], name: str) -> list[str]:
    """Return the texts, stripped, without empty texts. Raises UserError if they are not a list of texts."""
    given = list(texts) if isinstance(texts, Iterable) and not isinstance(texts, str) else [None]
    if not all(isinstance(text, str) for text in given):
        raise UserError(f"{name}: expected a list of texts, such as ['i have two dogs .']")
    return [text.strip() for text in given if text.strip()]
