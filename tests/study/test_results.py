"""study_results.py and study_report.py: a study's figures, worked by hand, as a table and as a drawing."""

import io
import json

import pytest

from personagpt.records.talks import Flag, Talk, Turn, talks_by_study
from personagpt.study.report import draw, table
from personagpt.study.results import results

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


def test_the_figures_of_a_study() -> None:
    found = results(TALKS, seed=3)
    assert (found["talks"], found["participants"], found["answered"]) == (5, 3, 4)
    bot, person = found["conditions"]["bot"], found["conditions"]["person"]
    names = ("partner", "talks", "participants", "answered", "waited", "given_up", "partner_turns")
    assert [bot[name] for name in names] == ["program", 4, 3, 3, 1, 1, 5]
    assert [person[name] for name in names] == ["person", 1, 1, 1, 0, 0, 3]
    # Of three participants those who are drawn without p1, or without p2, are 7 of 27 each: far more than 2.5 %.
    third = pytest.approx(11 / 3)
    assert bot["ratings"]["fluency"] == {"value": third, "count": 3, "low": 3, "high": 5}
    assert bot["ratings"]["consistency"] == {"value": 2, "count": 3}  # all alike: nothing to draw differently
    assert bot["taken_for_person"] == {"value": pytest.approx(2 / 3), "count": 3, "low": 0.5, "high": 1}
    assert bot["persona_guessed"] == {"value": 0.5, "count": 2}  # of one participant
    assert person["persona_guessed"] == {"value": 1, "count": 1}
    assert found["programs_taken_for_people"] == bot["taken_for_person"]
    assert found["people_taken_for_programs"] == {"value": 1, "count": 1}
    assert found == json.loads(json.dumps(found))


def test_flags_by_kind_and_by_turn() -> None:
    found = results(TALKS, seed=3)["conditions"]
    # Two flags on five turns, both on the first of p1's first talk. Of p1 alone: one of a kind in three turns.
    by_kind = {kind: figure for kind, figure in found["bot"]["flags_by_kind"].items() if figure["flags"]}
    one = {"value": 20, "count": 5, "low": 0, "high": pytest.approx(100 / 3), "flags": 1}
    assert by_kind == {"other": one, "unsafe": one}
    first, second = found["bot"]["flags_by_turn"]
    assert first == {"value": 50, "count": 4, "low": 0, "high": 100, "flags": 2}
    assert second == {"value": 0, "count": 1, "flags": 0}
    assert [figure["flags"] for figure in found["person"]["flags_by_turn"]] == [0, 0, 1]


def test_where_the_partner_opened_its_turns_are_the_even_ones() -> None:
    talk = make("p", "bot", 1, ((2, "other"),), partner="person")
    talk.turns.insert(0, Turn("model", "hello"))
    (condition,) = results([talk], seed=3)["conditions"].values()
    assert [figure["flags"] for figure in condition["flags_by_turn"]] == [0, 1]


def test_studies_are_kept_apart() -> None:
    other = make("p", "bot", 1)
    other.source = "study:second:bot"
    free = make("p", "bot", 1)
    free.source = "app.py"
    assert talks_by_study([*TALKS, other, free]) == {"first": TALKS, "second": [other]}
    (condition,) = results([other], seed=3)["conditions"].values()
    assert condition["ratings"]["fluency"] == {"count": 0}  # nobody has answered yet


def test_the_table() -> None:
    lines = [" ".join(line.split()) for line in table("first", results(TALKS, seed=3)).splitlines()]
    for line in (
        "study first: 5 talks of 3 participants",
        "condition bot person",
        "the partner is a program person",
        "... given up 1 0",
        "fluency, 1 to 5 3.67 (3.00 to 5.00) 5.00",
        "persona guessed (chance 50 %) 50 % 100 %",
        "taken for a person 67 % (50 to 100) 0 %",
        "flags per 100 of its turns",
        "unsafe 20.0 (0.0 to 33.3) 0.0",
        "its turn 3 - 100.0",
        "other 20.0 (0.0 to 33.3) 33.3",
        "programs taken for people: 67 % (50 to 100), of 3 answers",
        "people taken for programs: 100 %, of 1 answers",
    ):
        assert line in lines
    assert not any(line.startswith(("repetitive", "its turn 2")) for line in lines)
    nothing = table("first", results([make("p", "bot", 1)], seed=3)).splitlines()
    assert "no flags" in nothing
    assert "programs taken for people: -, of 0 answers" in nothing


@pytest.mark.parametrize("talks", [TALKS, [make("p", "bot", 1)]])
def test_the_drawing(talks) -> None:
    from matplotlib.image import imread

    image = imread(io.BytesIO(draw("first", results(talks, seed=3))), format="png")
    assert image.shape == (975, 1430, 4)
    assert len({tuple(pixel) for pixel in image[::3, ::3].reshape(-1, 4).tolist()}) > 10  # more than an empty frame
