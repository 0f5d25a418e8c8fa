"""Replies for many talks at once: those that wait are made together, in one batch, and stream.

Whoever asks need not stay: a reply is made, and recorded, whether somebody waits for it or not.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from personagpt.errors import RunError, UserError
from personagpt.model.generation import REPLIES_PER_BATCH, ReplyRequest, stream_replies
from personagpt.model.loading import TrainedModel
from personagpt.model.sampling import Sampling
from personagpt.records.database import Recordings
from personagpt.records.talks import Talk, Turn
from personagpt.talking.persona import Persona

POLL_SECONDS = 0.05  # seconds between two looks at a reply that is being made
REMEMBERED = 60.0  # seconds for which a finished reply can still be asked about


class QueueFull(UserError):
    """Too many replies wait already."""


@dataclass
class PendingReply:
    """A reply that was asked for. `text` grows; when it is `done`, it is recorded, or `problem` says why not."""

    talk: Talk  # what was said so far; the reply joins it
    draft: ReplyRequest
    goal: str | None
    rejected: str | None  # the reply that it takes the place of
    text: str = ""
    problem: str = ""
    done: bool = False
    ended: float = 0.0

    def end(self, problem: str = "") -> None:
        self.problem, self.ended, self.done = problem, time.monotonic(), True


class ReplyQueue:
    """Makes replies in a thread of its own, as many at once as fit a batch.

    A talk has at most one reply under way. `say` is told of what is no talk's fault, such as a full disk.
    """

    def __init__(
        self, trained: TrainedModel, recordings: Recordings, most: int, say: Callable[[str], None], size: int = 0
    ) -> None:
        """At most `most` replies wait or are made; `size` are made together (0: as many as the device likes)."""
        self.trained, self.recordings, self.most, self._say = trained, recordings, most, say
        self._size = size or REPLIES_PER_BATCH[trained.model.device.type]
        self._orders: dict[str, PendingReply] = {}  # the last one of each talk
        self._waiting: list[PendingReply] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="replies", daemon=True)
        self._thread.start()

    def ask(
        self, talk: Talk, goal: str | None = None, rejected: str | None = None, stands: bool = False
    ) -> PendingReply:
        """Record the talk and ask for the reply to its last turn, a person's; that is recorded when it is made.
        Without a turn, the reply opens the talk.

        It is another one than `rejected`, in whose place it comes. With `stands` the talk is on record, up to that
        reply, and stays so until there is another. Raises QueueFull, and DataError where persona and last turn do not
        fit the context; then nothing is recorded.
        """
        order = PendingReply(talk, self.draft(talk, goal, rejected), goal, rejected)
        with self._changed:
            self._forget()
            if self.is_full():
                raise QueueFull(f"{self.most} replies are waiting already: try again in a few seconds")
            if not stands:
                self.recordings.save(talk)
            self._orders[talk.id] = order
            self._waiting.append(order)
            self._changed.notify()
        return order

    def draft(self, talk: Talk, goal: str | None = None, rejected: str | None = None) -> ReplyRequest:
        """The reply that `ask` asks for. Raises DataError where persona and last turn do not fit the context."""
        history, said = talk.texts[:-1], talk.texts[-1] if talk.turns else None
        sampling = {name: value for name, value in talk.sampling.items() if name != "seed"}
        # The talk as it is decides, so that a recorded one can be repeated.
        seed = zlib.crc32(f"{talk.sampling['seed']} {len(history)} {rejected}".encode())
        persona = Persona(self.trained, talk.persona, history=history, seed=seed, as_typed=True, **sampling)
        return persona.draft(said, goal=goal, avoid=[rejected] if rejected else [])

    def is_full(self) -> bool:
        return sum(not order.done for order in list(self._orders.values())) >= self.most

    def order_of(self, talk_id: str) -> PendingReply | None:
        """The reply of this talk that is under way, or ended a moment ago."""
        return self._orders.get(talk_id)

    def is_busy(self, talk_id: str) -> bool:
        """Whether a reply of this talk is under way: it must not be changed meanwhile."""
        order = self.order_of(talk_id)
        return order is not None and not order.done

    def restyled(self, text: str) -> str:
        """What a person says, in the style of the model's training text: so it is shown and recorded."""
        return Persona(self.trained).restyled(text)

    def begin(
        self,
        persona: list[str],
        sampling: Sampling,
        seed: int,
        participant: str,
        source: str,
        keep_facts: bool = False,
    ) -> Talk:
        """A talk with this persona, not on record yet. Raises DataError where the persona does not fit the context."""
        facts = list(Persona(self.trained, persona, keep_facts=keep_facts, **asdict(sampling)).facts)
        names = self.trained.name, self.trained.checksum
        return Talk(*names, asdict(sampling) | {"seed": seed}, facts, source=source, participant=participant)

    def close(self) -> None:
        """Make no more replies than those of the batch under way."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _forget(self) -> None:
        old = time.monotonic() - REMEMBERED
        self._orders = {name: one for name, one in self._orders.items() if not one.done or one.ended > old}

    def _work(self) -> None:
        while batch := self._next_batch():
            try:
                self._make(batch)
            except Exception as error:  # whatever it is: the page must go on
                self._say(f"a batch of {len(batch)} replies failed: {type(error).__name__}: {error}")
            for order in batch:
                if not order.done:
                    order.text = ""
                    self._end(order)

    def _next_batch(self) -> list[PendingReply]:
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            if self._closed:
                return []
            batch, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
            return batch

    def _make(self, batch: list[PendingReply]) -> None:
        """Each ends as soon as its last token is there: nobody waits for the longest."""
        model = self.trained
        drafts, looked = [order.draft for order in batch], 0.0
        for replies in stream_replies(model.model, model.encoder, drafts, model.autocast):
            if is_time := time.monotonic() - looked >= POLL_SECONDS:
                looked = time.monotonic()
            for order, reply in zip(batch, replies, strict=True):
                if order.done:
                    continue
                if is_time:  # not after each token: in a large batch, making text takes longer than making tokens
                    order.text = reply.shown
                if reply.done:
                    order.text = reply.text
                    self._end(order)

    def _end(self, order: PendingReply) -> None:
        """Record the reply. Without one, what it would have answered is taken back, unless the talk had an answer."""
        turns, problem = list(order.talk.turns), ""
        if order.text:
            turns.append(Turn("model", order.text, goal=order.goal, replaced=order.rejected))
        elif order.rejected is None:
            del turns[-1:]
            problem = "the model said nothing: your utterance was taken back"
        else:
            problem = "the model said nothing else: the reply stays as it was"
        try:
            if order.text or order.rejected is None:
                self.recordings.save(replace(order.talk, turns=turns))
        except UserError as error:  # the talk was deleted
            problem = str(error)
        except (RunError, OSError) as error:
            problem = "the reply could not be recorded"
            self._say(f"{problem}: {error}")
        order.end(problem)
