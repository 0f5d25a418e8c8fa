"""Who talks with whom in a study: drawing conditions, joining two who wait, and a program where nobody comes.

A round is a participant's talk before anything is on record of it, and lives in memory; from its first utterance the
recordings are all there is to know. So a restart goes on where everybody was, and forgets who waited.

What stands in the recordings: with a program one talk, recorded by study:STUDY:CONDITION, whose model has `persona` and
whose human plays `partner_persona`; where the program came because nobody else did, its own condition, and the rating
`waited`. With another participant a talk for each of the two (talks.py), whose model is empty and which are twins. The
rating `ended` says "left" where the participant gave the talk up, and "rating" where they went to the questions early,
because the partner was gone. The time of a program's turn is when it was made; it was shown after `seconds_to_answer`.

Nothing must tell a person from a program but what they say. So everybody waits; either may begin; and what people say
is brought into the style of the text that the first condition's model learned from, as that model's replies are.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from personagpt.page.replies import ReplyQueue
from personagpt.records.database import Recordings
from personagpt.records.talks import Talk, new_id, now
from personagpt.study.settings import Condition, Study

FRESH = 5.0  # seconds: who waits, and whose page was there so lately, can be joined
READING = 20.0  # letters a second; Brysbaert 2019: 238 words a minute


def seconds_to_answer(said: str, reply: str, letters_per_second: float, draw: random.Random) -> float:
    """How long a person would take to read what was said, to think, and to type the reply.

    The default, 4 letters a second, is the 52 words a minute of Dhakal et al. 2018.
    """
    if letters_per_second == 0:
        return 0.0
    return len(said) / READING + draw.uniform(0.5, 2.5) + len(reply) / letters_per_second * draw.uniform(0.8, 1.25)


@dataclass
class Assignment:
    condition: Condition
    asked: float  # when the participant came; a time, like `begins`, of time.monotonic()
    talk: Talk | None = None  # without turns; None while the participant waits for another one
    begins: float = 0.0
    opens: bool = True  # whether the participant says the first words
    other: str | None = None  # the participant they talk with


class Pairing:
    """The rounds of all participants. Whoever calls a method holds the lock."""

    def __init__(self, study: Study, desks: dict[str, ReplyQueue], recordings: Recordings) -> None:
        """`desks` has one for each model of the study's conditions, by its name there."""
        self.study, self.desks, self.recordings = study, desks, recordings
        self.lock = threading.RLock()
        self.random = random.SystemRandom()
        self._rounds: dict[str, Assignment] = {}
        self._seen: dict[str, float] = {}  # when each participant's page was last there
        self._started = time.monotonic()

    def see(self, participant: str) -> None:
        """The participant's page is there."""
        self._seen[participant] = time.monotonic()
        if len(self._seen) > 10_000:
            self._seen = {name: seen for name, seen in self._seen.items() if self._is_near(name)}

    def is_here(self, participant: str, seconds: float) -> bool:
        """Whether the participant's page was there in the last `seconds`."""
        return time.monotonic() - self._seen.get(participant, self._started) <= seconds

    def of(self, participant: str) -> Assignment | None:
        """The round of a participant as it is now: joined with another one, or with a program, where it is time."""
        found = self._rounds.get(participant)
        if found is None or found.talk is not None:
            return found
        others = [
            name
            for name, one in self._rounds.items()
            if one.talk is None and name != participant and self.is_here(name, FRESH)
        ]
        if others:
            self._join(participant, others[0])
        elif self.study.programs and time.monotonic() - found.asked >= self.study.wait:
            self._give_program(participant, self._draw(self.study.programs), waited=True)
        return self._rounds[participant]

    def begin(self, participant: str) -> None:
        """Draw a condition for a participant; who comes while another one waits for a person is joined with them."""
        for name in [name for name in self._rounds if not self.is_here(name, self.study.away)]:
            self.drop(name)
        self.see(participant)
        waits = any(one.talk is None and self.is_here(name, FRESH) for name, one in self._rounds.items())
        condition = self.study.with_person if waits else self._draw(self.study.conditions)
        self._rounds[participant] = Assignment(condition, time.monotonic())
        if condition.model is not None:
            self._give_program(participant, condition, waited=False)

    def drop(self, participant: str) -> None:
        """Forget the participant's round: it is on record, or given up."""
        found = self._rounds.pop(participant, None)
        if found is not None and found.talk is not None:
            self.recordings.refuse(found.talk.id)  # a program's first words may be under way

    def is_gone(self, participant: str, found: Assignment) -> bool:
        """Whether the one that the participant was joined with has left."""
        other = found.other and self._rounds.get(found.other)
        return found.other is not None and not (other and other.other == participant and self._is_near(found.other))

    def is_twin_gone(self, twins: list[Talk]) -> bool:
        """Whether the other participant's talk is deleted or given up, or their page has long been closed."""
        return not any("ended" not in twin.ratings and self._is_near(twin.participant) for twin in twins)

    def _is_near(self, participant: str) -> bool:
        return self.is_here(participant, self.study.away)

    def _draw(self, among: Sequence[Condition]) -> Condition:
        """One of the conditions with the fewest talks, those of the rounds among them."""
        counts = Counter(self.recordings.count_by_source(f"study:{self.study.name}:"))
        counts += Counter(self.study.source(one.condition) for one in self._rounds.values())
        fewest = min(counts[self.study.source(condition)] for condition in among)
        return self.random.choice([one for one in among if counts[self.study.source(one)] == fewest])

    def _give_program(self, participant: str, condition: Condition, waited: bool) -> None:
        desk, seed = self.desks[condition.model], self.random.getrandbits(32)
        persona, own = self.random.sample(self.study.personas, 2)
        talk = desk.begin(
            list(persona), condition.sampling, seed, participant, self.study.source(condition), keep_facts=True
        )
        history = {} if condition.history is None else {"max_history": condition.history}
        talk = replace(
            talk,
            sampling=talk.sampling | history,
            partner_persona=list(own),
            ratings={"waited": True} if waited else {},
        )
        # As long as for a person: for one who comes late, and is joined, or for one who comes at any time.
        pause = self.random.uniform(0, self.study.wait / 4 if waited else self.study.wait)
        opens = self.random.random() < 0.5
        self._rounds[participant] = Assignment(condition, time.monotonic(), talk, time.monotonic() + pause, opens)

    def _join(self, first: str, second: str) -> None:
        """Let two talk; the first says the first words, and who is first is drawn."""
        first, second = self.random.sample((first, second), 2)
        condition = self.study.with_person
        own, others = map(list, self.random.sample(self.study.personas, 2))
        source, started, ids = self.study.source(condition), now(), (new_id(), new_id())
        begins = time.monotonic() + self.random.uniform(0, self.study.wait / 4)
        common = {"partner": "person", "source": source, "started": started}
        one = Talk("", "", {}, others, partner_persona=own, id=ids[0], twin=ids[1], participant=first, **common)
        other = Talk("", "", {}, own, partner_persona=others, id=ids[1], twin=ids[0], participant=second, **common)
        asked = time.monotonic()
        self._rounds[first] = Assignment(condition, asked, one, begins, True, second)
        self._rounds[second] = Assignment(condition, asked, other, begins, False, first)

    def restyled(self, text: str) -> str:
        """What a person says, as all of the study write."""
        programs = self.study.programs
        return self.desks[programs[0].model].restyled(text) if programs else text
