"""Make replies for many talks at once: the queue answers requests that wait together, in one batch.

A visitor may leave at any time. The queue makes and records every reply, whether somebody waits for it or not.
"""

from __future__ import annotations

import threading
import time
import zlib
from dataclasses import asdict, dataclass, replace

from personagpt.model.generation import REPLIES_PER_BATCH, ReplyRequest, stream_replies
from personagpt.model.loading import TrainedModel
from personagpt.model.sampling import Sampling
from personagpt.page.problems import OtherModel, QueueFull, tell_operator
from personagpt.records.database import Recordings, TalkChanged, TalkDeleted
from personagpt.records.talks import Talk, Turn
from personagpt.talking.persona import Persona

POLL_SECONDS = 0.05  # between two looks at the text of a pending reply
REMEMBERED = 60.0  # seconds for which a finished reply stays available


@dataclass
class PendingReply:
    """A reply that somebody asked for. `text` grows until `done`; then the reply is recorded, or `problem` says why
    it is not."""

    talk: Talk  # the talk that the reply joins
    request: ReplyRequest | None = None  # None: a program behind an API makes the reply
    goal: str | None = None
    rejected: str | None = None  # the reply that this reply replaces
    text: str = ""
    problem: str = ""
    has_left: bool = False  # a program behind an API gave no reply
    done: bool = False
    ended: float = 0.0  # a time of time.monotonic()


class ReplyQueue:
    """Make replies of one model in a thread. A talk has at most one pending reply."""

    def __init__(self, trained: TrainedModel, recordings: Recordings, most: int, size: int = 0) -> None:
        """At most `most` replies are pending. `size` replies form a batch (0: as many as suit the device)."""
        self.trained, self.recordings, self.most = trained, recordings, most
        self._size = size or REPLIES_PER_BATCH[trained.model.device.type]
        self._replies: dict[str, PendingReply] = {}  # the last reply of each talk, by the talk's id
        self._waiting: list[PendingReply] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="replies", daemon=True)
        self._thread.start()

    def ask(
        self, talk: Talk, goal: str | None = None, rejected: str | None = None, stands: bool = False
    ) -> PendingReply:
        """Record the talk, and ask for the reply to its last turn; without a turn, the reply opens the talk.

        The reply differs from `rejected` and replaces it. With `stands`, the recorded talk keeps the rejected reply
        until the new reply is there. Raises QueueFull, OtherModel, and DataError where persona and last turn do not fit
        the context; then nothing is recorded.
        """
        if not self.is_own(talk):
            raise OtherModel
        reply = PendingReply(talk, self.request(talk, goal, rejected), goal, rejected)
        with self._changed:
            oldest = time.monotonic() - REMEMBERED
            self._replies = {key: old for key, old in self._replies.items() if not old.done or old.ended > oldest}
            if sum(not other.done for other in self._replies.values()) >= self.most:
                raise QueueFull(f"{self.most} replies are waiting already: try again in a few seconds")
            if not stands:
                self.recordings.save(talk)
            self._replies[talk.id] = reply
            self._waiting.append(reply)
            self._changed.notify()
        return reply

    def request(self, talk: Talk, goal: str | None = None, rejected: str | None = None) -> ReplyRequest:
        """Return the request that `ask` makes. Raises DataError where persona and last turn do not fit the context."""
        history, utterance = talk.texts[:-1], talk.texts[-1] if talk.turns else None
        sampling = {name: value for name, value in talk.sampling.items() if name != "seed"}
        # The seed depends on the talk alone, so that a recorded talk can be repeated.
        seed = zlib.crc32(f"{talk.sampling['seed']} {len(history)} {rejected}".encode())
        persona = Persona(self.trained, talk.persona, history=history, seed=seed, as_typed=True, **sampling)
        return persona.draft(utterance, goal=goal, avoid=[rejected] if rejected else [])

    @property
    def checksum(self) -> str:
        return self.trained.checksum

    def is_own(self, talk: Talk) -> bool:
        """Return whether this model began the talk; the page may have started again with another one since."""
        return talk.model_checksum == self.checksum

    def reply_of(self, talk_id: str) -> PendingReply | None:
        """Return the talk's reply that is pending or ended less than REMEMBERED seconds ago."""
        return self._replies.get(talk_id)

    def is_busy(self, talk_id: str) -> bool:
        """Return whether the talk has a pending reply and must not change."""
        reply = self.reply_of(talk_id)
        return reply is not None and not reply.done

    def restyled(self, text: str) -> str:
        """Return what a person says in the style of the model's training text. It is shown and recorded so."""
        return Persona(self.trained, keep_facts=True).restyled(text)

    def new_talk(
        self, persona: list[str], sampling: Sampling, seed: int, participant: str, source: str, keep_facts: bool = False
    ) -> Talk:
        """Return an unrecorded talk with the model as `persona`. Raises DataError where the persona does not fit the
        context."""
        facts = list(Persona(self.trained, persona, keep_facts=keep_facts, **asdict(sampling)).facts)
        names = self.trained.name, self.trained.checksum
        return Talk(*names, asdict(sampling) | {"seed": seed}, facts, source=source, participant=participant)

    def close(self) -> None:
        """Finish the batch in progress, then make no more replies."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next_batch():
            try:
                self._make(batch)
            except Exception as error:  # the page must go on, whatever the error is
                tell_operator(f"a batch of {len(batch)} replies failed: {type(error).__name__}: {error}")
            for reply in batch:
                if not reply.done:
                    reply.text = ""
                    self._record(reply)

    def _next_batch(self) -> list[PendingReply]:
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            if self._closed:
                return []
            batch, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
            return batch

    def _make(self, batch: list[PendingReply]) -> None:
        """Make the replies of `batch`. Record each reply after its last token, without waiting for the longest."""
        trained, requests, shown_at = self.trained, [pending.request for pending in batch], 0.0
        for drawn in stream_replies(trained.model, trained.encoder, requests, trained.autocast):
            # Not after each token: in a large batch, decoding takes longer than drawing.
            if shows := time.monotonic() - shown_at >= POLL_SECONDS:
                shown_at = time.monotonic()
            for pending, reply in zip(batch, drawn, strict=True):
                if pending.done:
                    continue
                if shows:
                    pending.text = reply.shown
                if reply.done:
                    pending.text = reply.text
                    self._record(pending)

    def _record(self, reply: PendingReply) -> None:
        """Record the talk with the reply. An empty reply takes the utterance back, or leaves the rejected reply."""
        turns, problem = list(reply.talk.turns), ""
        if reply.text:
            turns.append(Turn("model", reply.text, goal=reply.goal, replaced=reply.rejected))
        elif reply.rejected is None:
            del turns[-1:]
            problem = "the model said nothing: your utterance was taken back"
        else:
            problem = "the model said nothing else: the reply stays as it was"
        try:
            if reply.text or reply.rejected is None:
                self.recordings.save(replace(reply.talk, turns=turns))
        except (TalkDeleted, TalkChanged) as error:
            problem = str(error)
        except Exception as error:  # the thread must go on, whatever the error is
            problem = "the reply could not be recorded"
            tell_operator(f"{problem}: {error}")
        reply.problem, reply.ended = problem, time.monotonic()
        reply.done = True  # last, because other threads read the rest when they see it
