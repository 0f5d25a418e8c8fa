"""Who talks with whom in a study: draw a condition, join two participants who wait, or step in with a program.

An assignment is a participant's talk before it is recorded. Assignments live in memory only, so that a restart forgets
who waited, and continues every talk that has an utterance on record.

A talk with a program is recorded once, with the source study:STUDY:CONDITION. Its model has `persona`, and its human
plays `partner_persona`. Where the program stepped in for a missing person, the source names the program's condition and
the talk has the rating `waited`. A talk with another participant is recorded as two twins, one for each of the two
(records/talks.py), with an empty model. The rating `ended` is "left" where the participant gave the talk up, and
"rating" where they went to the questions early, because the partner was gone. A program's turn has the time when it was
made; the participant saw it a pause later (pauses.py).

Only the words may tell a person from a program. So everybody waits, either side may begin, and the words of people are
restyled to the training text of the first condition's model, as that model's replies are.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from personagpt.errors import UserError, shorten
from personagpt.model.api import ApiProgram
from personagpt.model.api_settings import Api
from personagpt.output import warn
from personagpt.page.api_replies import ApiQueue
from personagpt.page.replies import ReplyQueue
from personagpt.records.database import Recordings
from personagpt.records.talks import Talk, new_id, now, program_of
from personagpt.sequences.format import DataError
from personagpt.study.settings import FEWEST_PERSONAS, Condition, Study
from personagpt.talking.persona import Persona

FRESH = 5.0  # seconds since the page was last there, within which a waiting participant can be joined
ROOM = 20  # tokens of the context that a persona must leave for the participant's last utterance

Queue = ReplyQueue | ApiQueue
Queues = dict[str | Api, Queue]  # of every program of a study, by the condition's model


def api_queues(study: Study, queues: Queues, recordings: Recordings, most: int) -> Queues:
    """Return a queue for each of the study's programs behind an API. Each program is asked for a reply first.

    Their replies are restyled as people's words are: to the text of the first model, or of the personas. Raises
    UserError where a program gives no reply.
    """
    apis = dict.fromkeys(program.model for program in study.programs if isinstance(program.model, Api))
    if not apis:
        return {}
    restyled = queues[study.local_programs[0].model].restyled if queues else study.writing.bring
    programs = {api: ApiProgram(api) for api in apis}
    for program in programs.values():
        program.check()
    return {api: ApiQueue(programs[api], recordings, most, study.away, restyled) for api in apis}


def with_usable_personas(study: Study, queues: Queues) -> Study:
    """Return the study without the personas that do not fit the context of every program.

    Such a persona is left out for people, too, because else it would tell that the partner is a person. Each persona
    that is left out is named on stderr. Raises UserError where too few personas are left.
    """
    problems: dict[tuple[str, ...], str] = {}
    for persona in study.personas:
        for condition in study.local_programs:
            if not _fits(persona, condition, queues[condition.model]):
                problems.setdefault(persona, condition.name)
    personas = tuple(persona for persona in study.personas if persona not in problems)
    if problems and len(personas) < FEWEST_PERSONAS:
        raise UserError(
            f"study '{study.name}': {len(personas)} personas fit the context of the models, and {FEWEST_PERSONAS} are "
            f"needed: give shorter ones with personas = ..., or lower the max_new_tokens of each condition"
        )
    for persona, condition in problems.items():
        text = shorten(" ".join(persona))
        warn(f"study '{study.name}': the persona {text} is left out: it does not fit the model of '{condition}'")
    return replace(study, personas=personas)


def _fits(persona: Sequence[str], condition: Condition, queue: ReplyQueue) -> bool:
    """Return whether the persona, the longest reply and ROOM tokens fit the model's context together.

    Raises UserError where the condition's longest reply alone does not fit.
    """
    trained, longest = queue.trained, condition.sampling.max_new_tokens
    try:
        drawn = Persona(trained, persona, keep_facts=True, **asdict(condition.sampling))
        trained.encoder.context(1, list(drawn.facts), [], trained.context_length - longest - ROOM)
    except DataError:
        return False
    except UserError as error:
        raise UserError(f"condition '{condition.name}': {error}") from None
    return True


def program_settings(condition: Condition) -> dict[str, Any]:
    """Return how the replies of the condition's program are drawn, as a talk records it with the seed."""
    history = {} if condition.history is None else {"max_history": condition.history}
    how = condition.model.recorded if isinstance(condition.model, Api) else asdict(condition.sampling)
    return how | history


def tell_changes(study: Study, queues: Queues, recordings: Recordings) -> None:
    """Tell the operator of each condition whose talks on record are another program's."""
    talks = [talk for talk in recordings.talks() if study.has(talk)]
    for condition in study.conditions:
        checksum, sampling = "", {}
        if condition.model is not None:
            checksum, sampling = queues[condition.model].checksum, program_settings(condition)
        program = program_of(Talk("", checksum, sampling, []))
        own = [talk for talk in talks if talk.source == study.source(condition)]
        if others := sum(program_of(talk) != program for talk in own):
            warn(
                f"study '{study.name}': {others} of {len(own)} recorded talks of '{condition.name}' are with another "
                "program (another model, or other settings); the report keeps them apart; to begin anew, give the "
                "condition another name"
            )


@dataclass
class Assignment:
    condition: Condition
    came: float = 0.0  # when the participant came; like `begins`, a time of the pairing's clock
    talk: Talk | None = None  # without turns; None while the participant waits for another one
    begins: float = 0.0
    opens: bool = True  # whether the participant says the first words
    other: str | None = None  # the participant on the other side


class Pairing:
    """The assignments of all participants. The caller of a method holds `lock`."""

    def __init__(
        self,
        study: Study,
        queues: Queues,
        recordings: Recordings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`queues` has the queue of every model that the study's conditions name. `clock` returns seconds, and only
        goes forward, so that a change of the machine's time makes nobody wait. Raises UserError where too few of the
        study's personas fit the models."""
        self.study, self.queues, self.recordings = with_usable_personas(study, queues), queues, recordings
        self.clock = clock
        tell_changes(self.study, queues, recordings)
        self.lock = threading.RLock()
        self.random = random.SystemRandom()
        self._assignments: dict[str, Assignment] = {}
        self._seen: dict[str, float] = {}  # when each participant's page last asked for news
        self._started = clock()

    def see(self, participant: str) -> None:
        """Note that the participant's page is open."""
        self._seen[participant] = self.clock()
        if len(self._seen) > 10_000:
            self._seen = {name: seen for name, seen in self._seen.items() if self._is_near(name)}

    def is_here(self, participant: str, seconds: float) -> bool:
        """Return whether the participant's page was open in the last `seconds`. A restart sees everybody."""
        return self.clock() - self._seen.get(participant, self._started) <= seconds

    def assignment_of(self, participant: str) -> Assignment | None:
        return self._assignments.get(participant)

    def begin(self, participant: str) -> None:
        """Draw the participant's condition. While somebody waits for a person, the condition is with a person."""
        for name in [name for name in self._assignments if not self._is_near(name)]:
            self.drop(name)
        self.see(participant)
        condition = self.study.with_person if self._waiting(participant) else self._draw(self.study.conditions)
        if condition.model is None:
            self._assignments[participant] = Assignment(condition, self.clock())
        else:
            self._give_program(participant, condition, waited=False)

    def advance(self, participant: str) -> None:
        """Give a waiting participant a partner: another one who waits, or a program when the time to wait is over."""
        assignment = self.assignment_of(participant)
        if assignment is None or assignment.talk is not None:
            return
        if others := self._waiting(participant):
            self._join(participant, others[0])
        elif self.study.programs and self.clock() - assignment.came >= self.study.wait:
            self._give_program(participant, self._draw(self.study.programs), waited=True)

    def drop(self, participant: str) -> None:
        """Forget the participant's assignment, because it is on record or given up."""
        assignment = self._assignments.pop(participant, None)
        if assignment is not None and assignment.talk is not None:
            self.recordings.refuse(assignment.talk.id)  # a program's first words may be pending

    def is_partner_gone(self, participant: str) -> bool:
        """Return whether the participant was joined with another one who has left before the first words."""
        name = self._assignments[participant].other
        partner = self._assignments.get(name or "")
        return name is not None and not (partner and partner.other == participant and self._is_near(name))

    def is_twin_gone(self, twins: list[Talk]) -> bool:
        """Return whether the other participant's recorded talk is deleted or given up, or their page long closed."""
        return not any("ended" not in twin.ratings and self._is_near(twin.participant) for twin in twins)

    def restyled(self, text: str) -> str:
        """Return what a person says, in the style of the first condition with a program."""
        programs = self.study.programs
        return self.queues[programs[0].model].restyled(text) if programs else text

    def _is_near(self, participant: str) -> bool:
        return self.is_here(participant, self.study.away)

    def _waiting(self, participant: str) -> list[str]:
        """Return the other participants who wait for a person."""
        waiting = [name for name, assignment in self._assignments.items() if assignment.talk is None]
        return [name for name in waiting if name != participant and self.is_here(name, FRESH)]

    def _draw(self, among: Sequence[Condition]) -> Condition:
        """Draw one of the conditions that have the fewest talks, recorded and assigned."""
        counts = Counter(self.recordings.count_by_source(f"study:{self.study.name}:"))
        counts += Counter(self.study.source(assignment.condition) for assignment in self._assignments.values())
        fewest = min(counts[self.study.source(condition)] for condition in among)
        return self.random.choice([each for each in among if counts[self.study.source(each)] == fewest])

    def _give_program(self, participant: str, condition: Condition, waited: bool) -> None:
        seed = self.random.getrandbits(32)
        persona, own = map(list, self.random.sample(self.study.personas, 2))
        source, queue = self.study.source(condition), self.queues[condition.model]
        talk = queue.new_talk(persona, condition.sampling, seed, participant, source, keep_facts=True)
        ratings = {"waited": True} if waited else {}
        sampling = talk.sampling | program_settings(condition)
        talk = replace(talk, sampling=sampling, partner_persona=own, ratings=ratings)
        # The pause is as long as for a person: one who comes late and is joined, or one who comes at any time.
        pause = self._pause(self.study.wait / 4 if waited else self.study.wait)
        came, opens = self.clock(), self.random.random() < 0.5
        self._assignments[participant] = Assignment(condition, came, talk, came + pause, opens)

    def _pause(self, longest: float) -> float:
        """Draw the seconds before a talk begins."""
        return 0.0 if self.study.is_trial else self.random.uniform(0, longest)

    def _join(self, *pair: str) -> None:
        """Let two participants talk with each other, and draw who says the first words."""
        first, second = self.random.sample(pair, 2)
        own, others = map(list, self.random.sample(self.study.personas, 2))
        condition, came = self.study.with_person, self.clock()
        begins = came + self._pause(self.study.wait / 4)
        common = {"partner": "person", "source": self.study.source(condition), "started": now()}
        talk = Talk("", "", {}, others, partner_persona=own, participant=first, twin=new_id(), **common)
        twin = Talk("", "", {}, own, partner_persona=others, participant=second, id=talk.twin, twin=talk.id, **common)
        self._assignments[first] = Assignment(condition, came, talk, begins, True, second)
        self._assignments[second] = Assignment(condition, came, twin, begins, False, first)
