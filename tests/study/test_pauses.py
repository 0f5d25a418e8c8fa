"""How long a reply is hidden."""

from __future__ import annotations

import random
from datetime import UTC, datetime

from personagpt.records.talks import Turn
from personagpt.study.pauses import Pauses, seconds_to_answer
from tests.page.served import Clock
from tests.records.making import make_talk


def test_how_long_a_person_would_take() -> None:
    draw = random.Random(1)
    assert seconds_to_answer("a" * 100, "b" * 40, 0, draw) == 0
    for _ in range(100):  # 5 to read, 0.5 to 2.5 to think, 8 to 12.5 to type
        assert 13.5 <= seconds_to_answer("a" * 100, "b" * 40, 4.0, draw) <= 20


def test_a_clock_that_is_set_back_makes_nobody_wait(monkeypatch) -> None:
    """The pause goes by a clock that only goes forward, and is at most one pause long."""
    forward, clock = Clock(), [datetime(2030, 1, 1, 12, tzinfo=UTC).timestamp()]
    monkeypatch.setattr("personagpt.study.pauses.time.time", lambda: clock[0])
    monkeypatch.setattr("personagpt.study.pauses.seconds_to_answer", lambda *given: 10.0)
    said = [Turn("human", "hi", time="2030-01-01T12:00:00+00:00"), Turn("model", "hello")]
    talk, pauses, looked_late = make_talk(), Pauses(4.0, forward), Pauses(4.0, forward)
    talk.turns = said
    assert len(pauses.visible_turns(talk)) == 1
    clock[0] -= 3600
    assert len(looked_late.visible_turns(talk)) == 1
    forward.seconds = 9.9
    assert len(pauses.visible_turns(talk)) == len(looked_late.visible_turns(talk)) == 1
    forward.seconds = 10.1
    assert len(pauses.visible_turns(talk)) == len(looked_late.visible_turns(talk)) == 2


def test_the_pause_counts_from_the_utterance(monkeypatch) -> None:
    """Also after a restart, and where a program took its time for the reply: else both would tell a program."""
    clock = Clock()
    monkeypatch.setattr(
        "personagpt.study.pauses.time.time", lambda: datetime(2030, 1, 1, 12, 0, 7, tzinfo=UTC).timestamp()
    )
    monkeypatch.setattr("personagpt.study.pauses.seconds_to_answer", lambda *given: 10.0)
    talk, pauses = make_talk(), Pauses(4.0, clock)
    talk.turns = [Turn("human", "hi", time="2030-01-01T12:00:00+00:00"), Turn("model", "hello")]
    assert len(pauses.visible_turns(talk)) == 1
    clock.seconds = 2.9
    assert len(pauses.visible_turns(talk)) == 1
    clock.seconds = 3.1
    assert len(pauses.visible_turns(talk)) == 2


def test_the_pause_of_a_reply_is_drawn_once_and_after_a_restart_alike(monkeypatch) -> None:
    """Else each look would draw anew, and many looks would shorten the pause to the shortest possible one."""
    forward = Clock()
    talk = make_talk("how are you ?", "i am fine , and i like long talks about dogs .")
    monkeypatch.setattr(
        "personagpt.study.pauses.time.time", lambda: datetime.fromisoformat(talk.turns[0].time).timestamp()
    )
    one, other, ends = Pauses(4.0, forward), Pauses(4.0, forward), []
    for pauses in (one, other):
        for hundredths in range(3000):
            forward.seconds = hundredths / 100
            if len(pauses.visible_turns(talk)) == 2:
                ends.append(forward.seconds)
                break
    assert len(ends) == 2
    assert ends[0] == ends[1] > 46 / 4 * 0.8
