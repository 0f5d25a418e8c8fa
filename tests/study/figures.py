"""Talks of a study whose figures are worked by hand."""

from __future__ import annotations

from personagpt.records.talks import Flag, Talk, Turn

OWN, OTHER = ["i am old ."], ["i am young ."]


def make(
    participant: str, condition: str, replies: int, flags: tuple = (), persona: int | None = None, **ratings
) -> Talk:
    """A talk of a study; `persona` is which one was chosen, the second being the true one."""
    is_person = condition == "person"
    turns = [Turn(("human", "partner" if is_person else "model")[number % 2], "hi") for number in range(2 * replies)]
    ratings |= {} if persona is None else {"persona": {"shown": [OWN, OTHER], "chosen": persona, "true": 1}}
    kind = "person" if is_person else "human"
    return Talk(
        "m", "c0ffee", {}, OTHER, kind, OWN, turns, [Flag(*flag) for flag in flags],
        source=f"study:first:{condition}", participant=participant, ratings=ratings,
    )  # fmt: skip


TALKS = [
    make("p1", "bot", 2, ((1, "other"), (1, "unsafe")), 1, fluency=4, consistency=2, engagement=5, partner="person"),
    make("p1", "bot", 1, (), 0, fluency=2, consistency=2, engagement=1, partner="program", waited=True),
    make("p2", "bot", 1, (), None, fluency=5, consistency=2, engagement=1, partner="person"),
    make("p2", "person", 3, ((5, "other"),), 1, fluency=5, consistency=5, engagement=5, partner="program"),
    make("p3", "bot", 1, (), None, ended="left"),
]
