"""What reviewers do: read talks, label replies, take back, and at the end see where they disagree. routes.py serves it.

A reviewer sees neither the program, the flags, the thumbs and the ratings of a talk, nor another reviewer's labels,
before they have read every talk and have closed their reviews.
"""

from __future__ import annotations

import threading

from personagpt.page.visitors import Limits, Refused, checked
from personagpt.records.database import Recordings, TalkDeleted
from personagpt.records.reviews import Review, Reviews
from personagpt.records.talks import FLAGS, Talk
from personagpt.review.agreement import agreement, disagreements, finished_by_two
from personagpt.review.order import judged_turns

KINDS = FLAGS | {"other": "fails in another way"}
READERS = 2  # of each talk, at least


class ReviewPage:
    """Answer the requests of reviewers with JSON. Every method takes the reviewer's checksum. Raises Refused where the
    page does not grant the request."""

    def __init__(self, recordings: Recordings, talks: list[Talk], order: str, limits: Limits, seed: int) -> None:
        """`talks` stand in their `order`, an order of ORDERS."""
        self.recordings, self.reviews, self.limits = recordings, Reviews(recordings), limits
        self.order, self.seed = order, seed
        self.participants = {talk.id: talk.participant for talk in talks}  # in order
        self.choosing = threading.Lock()  # held from choosing a reviewer's next talk to beginning its review

    def start(self, reviewer: str, data: dict) -> dict:
        return {"kinds": KINDS}

    def state(self, reviewer: str, data: dict) -> dict:
        """Return the talk that the reviewer reads now, and how far they are. Begin the next talk if there is none."""
        with self.choosing:
            reviews = self._all_reviews()
            while (talk := self._under_way(reviewer, reviews)) is None and (chosen := self._left(reviewer, reviews)):
                try:
                    self.reviews.begin(chosen[0], reviewer, self.order)
                except TalkDeleted:
                    # Another dictionary, because other threads may be reading this one.
                    self.participants = {
                        talk_id: who for talk_id, who in self.participants.items() if talk_id != chosen[0]
                    }
                reviews = self._all_reviews()
        own = [review for review in reviews if review.reviewer == reviewer]
        done = sum(bool(review.finished) for review in own)
        shown = {"done": done, "total": len(own) + len(self._left(reviewer, reviews))}
        shown["can_reopen"] = _last_open(own) is not None
        shown["closed"] = bool(own) and all(review.closed for review in own)
        return shown | {"talk": None if talk is None else self._shown(talk, own)}

    def label(self, reviewer: str, data: dict) -> dict:
        kinds, number, talk = data.get("kinds"), data.get("turn"), self._talk(data)
        if not isinstance(kinds, list) or not all(isinstance(kind, str) and kind in KINDS for kind in kinds):
            raise Refused(400, f"the kinds of failure are {', '.join(KINDS)}")
        if type(number) is not int or number not in judged_turns(talk):
            raise Refused(400, "no such reply")
        note = checked(data.get("note") or "", "the note", self.limits.letters, may_be_empty=True)
        if not self.reviews.label(talk.id, reviewer, number, kinds, note):
            raise Refused(409, "you do not review this talk now")
        return {"turn": number, "kinds": kinds, "note": note}

    def finish(self, reviewer: str, data: dict) -> dict:
        """Finish the talk, and return the next. `turns` is the number of turns that the reviewer was shown."""
        talk = self._talk(data)
        if data.get("turns") != len(talk.turns):
            raise Refused(409, "the talk has changed meanwhile")
        if not self.reviews.finish(talk.id, reviewer):
            raise Refused(409, "you do not review this talk now")
        return self.state(reviewer, data)

    def reopen(self, reviewer: str, data: dict) -> dict:
        """Go back to the talk that the reviewer finished last; a talk that they have just begun waits."""
        own = [review for review in self._all_reviews() if review.reviewer == reviewer]
        last = _last_open(own)
        if last is None or not self.reviews.reopen(last.talk, reviewer):
            raise Refused(409, "there is no talk to go back to")
        return self.state(reviewer, data)

    def result(self, reviewer: str, data: dict) -> dict:
        """Close the reviewer's reviews, and return how far reviewers agree, and where they disagree with this one."""
        reviews = self._all_reviews()
        if self._under_way(reviewer, reviews) or self._left(reviewer, reviews):
            raise Refused(409, "there are talks left to read: afterwards you see where reviewers disagree")
        self.reviews.close(reviewer)
        both = finished_by_two(reviews)
        own = {review.talk for review in both if review.reviewer == reviewer}
        talks = {talk.id: talk for talk in self.recordings.talks(ids=sorted({review.talk for review in both}))}
        shown = [
            {"before": talks[talk].texts[turn - 1] if turn else "", "text": talks[talk].texts[turn], **labels}
            for talk, turn, labels in disagreements(both, talks, reviewer)
        ]
        return {"talks": len(own), "agreement": agreement(both, talks, self.seed), "disagreements": shown}

    def _all_reviews(self) -> list[Review]:
        """Return the reviews of the talks that are reviewed now; those of other sources wait."""
        return [review for review in self.reviews.all() if review.talk in self.participants]

    def _under_way(self, reviewer: str, reviews: list[Review]) -> Talk | None:
        """Return the talk that the reviewer reads now: of several the one that they began, or went back to, first."""
        ids = [review.talk for review in reviews if review.reviewer == reviewer and not review.finished]
        talks = {talk.id: talk for talk in self.recordings.talks(ids=ids)} if ids else {}
        return next((talks[talk_id] for talk_id in ids if talk_id in talks), None)

    def _left(self, reviewer: str, reviews: list[Review]) -> list[str]:
        """Return the ids of the talks that the reviewer may read next, the next one first.

        A talk that another reviewer has begun comes before a talk that nobody has, so that each gets its READERS soon.
        Where every talk has been begun by READERS others, those come that too few have finished.
        """
        begun: dict[str, list[Review]] = {talk_id: [] for talk_id in self.participants}
        for review in reviews:
            begun.setdefault(review.talk, []).append(review)
        free = [
            talk_id
            for talk_id, participant in self.participants.items()
            if participant != reviewer and reviewer not in [review.reviewer for review in begun[talk_id]]
        ]
        wanted = [talk_id for talk_id in free if len(begun[talk_id]) < READERS]
        late = [talk_id for talk_id in free if sum(bool(each.finished) for each in begun[talk_id]) < READERS]
        return sorted(wanted, key=lambda talk_id: -len(begun[talk_id])) or late

    def _talk(self, data: dict) -> Talk:
        talk_id = data.get("talk")
        is_known = isinstance(talk_id, str) and talk_id in self.participants
        found = self.recordings.talks(ids=[talk_id]) if is_known else []
        if not found:
            raise Refused(404, "there is no such talk to review")
        return found[0]

    def _shown(self, talk: Talk, own: list[Review]) -> dict:
        """Return what a reviewer sees of a talk: nothing that tells which program it was, or how others judged it."""
        judged = judged_turns(talk)
        (review,) = (review for review in own if review.talk == talk.id)
        return {
            "id": talk.id,
            "persona": talk.persona,
            "turns": [{"judged": number in judged, "text": turn.text} for number, turn in enumerate(talk.turns)],
            "labels": {turn: sorted(kinds) for turn, kinds in review.labels.items()},
            "notes": review.notes,
        }


def _last_open(own: list[Review]) -> Review | None:
    """Return the review that its reviewer has finished last, unless it is closed."""
    finished = [review for review in own if review.finished and not review.closed]
    return max(finished, key=lambda review: review.finished, default=None)
