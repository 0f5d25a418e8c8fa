"""Ask a program behind an API for the replies in many talks of a study. ApiQueue stands in the place of a ReplyQueue.

Each reply has a thread of its own, so that a slow answer holds up no other talk. A program that gives no reply has left
the talk, and the participant is told as where a person closes the page: after the same time, and with the same words.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from personagpt.errors import UserError
from personagpt.model.api import ApiProgram, EmptyReply
from personagpt.model.sampling import Sampling
from personagpt.page.problems import QueueFull, tell_operator
from personagpt.page.replies import PendingReply
from personagpt.page.visitors import Limits
from personagpt.records.database import Recordings
from personagpt.records.talks import Talk, Turn

# What people's keyboards do not write.
TYPED = str.maketrans(
    {"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "...", "\u2011": "-", "*": None}
)


class ApiQueue:
    """Make the replies of one program behind an API. A talk has at most one pending reply."""

    def __init__(
        self, program: ApiProgram, recordings: Recordings, most: int, patience: float, restyled: Callable[[str], str]
    ) -> None:
        """At most `most` replies are pending. A reply may take `patience` seconds. `restyled` brings text into the
        style in which everybody in the study writes."""
        self.program, self.recordings, self.most = program, recordings, most
        self.patience, self.restyled, self.checksum = patience, restyled, program.api.checksum
        self._replies: dict[str, PendingReply] = {}  # the last reply of each talk, by the talk's id
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def new_talk(
        self, persona: list[str], sampling: Sampling, seed: int, participant: str, source: str, keep_facts: bool = False
    ) -> Talk:
        """Return an unrecorded talk with the program as `persona`. The program draws as its API's settings say."""
        api = self.program.api
        return Talk(api.name, api.checksum, api.recorded, persona, source=source, participant=participant)

    def is_own(self, talk: Talk) -> bool:
        """Return whether this program began the talk; the page may have started again with another one since."""
        return talk.model_checksum == self.checksum

    def ask(self, talk: Talk) -> None:
        """Record the talk, and ask for the reply to its last turn; without a turn, the reply opens the talk.

        Raises QueueFull; then nothing is recorded.
        """
        with self._lock:
            self._replies = {key: old for key, old in self._replies.items() if not old.done or old.has_left}
            if sum(not old.done for old in self._replies.values()) >= self.most:
                raise QueueFull(f"{self.most} replies are waiting already: try again in a few seconds")
            self.recordings.save(talk)
            reply = self._replies[talk.id] = PendingReply(talk)
        threading.Thread(target=self._answer, args=(reply,), name="api", daemon=True).start()

    def reply_of(self, talk_id: str) -> PendingReply | None:
        """Return the talk's reply that is pending, was just made, or was never made because the program has left."""
        return self._replies.get(talk_id)

    def close(self) -> None:
        """Record no more replies."""
        self._closed.set()
        self.program.close()

    def _answer(self, reply: PendingReply) -> None:
        """Make and record the reply, or note that the program has left."""
        talk, asked = reply.talk, time.monotonic()
        try:
            most = talk.sampling.get("max_history") or len(talk.turns)
            text = self.program.reply(talk.persona, talk.texts[-most:], patience=self.patience)
            reply.text = shortened(self.restyled(" ".join(text.translate(TYPED).split())))
            if not reply.text:
                raise EmptyReply("a reply without words")
            self.recordings.save(replace(talk, turns=[*talk.turns, Turn("model", reply.text)]))
        except Exception as error:  # the participant must not wait for ever, whatever the error is
            if self._closed.is_set():
                return
            what = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            tell_operator(f"a program has left its talk: {what}{error}")
            # No sooner than for a person whose page is closed.
            self._closed.wait(asked + self.patience - time.monotonic())
            reply.has_left = True
        reply.done = True  # last, because other threads read the rest when they see it


def shortened(text: str) -> str:
    """Return `text`, cut after a word to the letters that the page lets a person type."""
    most = Limits.letters
    return text if len(text) <= most else text[: most + 1].rpartition(" ")[0] or text[:most]
