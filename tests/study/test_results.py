"""personagpt/study/results.py: a study's figures, worked by hand."""

from __future__ import annotations

import json

import pytest

from personagpt.records.talks import SCALES, Turn, talks_by_study
from personagpt.study.results import results
from tests.study.figures import TALKS, make


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


def test_a_talk_that_was_rated_early_is_not_given_up() -> None:
    """The partner was gone, and the participant went on to the questions."""
    talks = [make("p", "bot", 1, ended="rating", fluency=3), make("q", "bot", 1, ended="left"), make("r", "bot", 1)]
    (condition,) = results(talks, seed=3)["conditions"].values()
    assert (condition["talks"], condition["given_up"]) == (3, 1)


def test_conditions_stand_in_the_studys_order() -> None:
    assert list(results(TALKS, seed=3)["conditions"]) == ["bot", "person"]
    assert list(results(TALKS, seed=3, order=["person", "nobody's", "bot"])["conditions"]) == ["person", "bot"]
    assert list(results(TALKS, seed=3, order=["person"])["conditions"]) == ["person", "bot"]


def test_a_condition_with_two_programs_is_two_columns() -> None:
    """A study that went on with another model, or with another temperature, under the same name."""
    talks = [make("p", "bot", 1, fluency=number) for number in (1, 2, 3, 4)]
    talks[1].model_checksum, talks[2].sampling, talks[3].sampling = "decaf", {"temperature": 0.5}, {"seed": 4}
    found = results([*talks, make("p", "person", 1)], seed=3)["conditions"]
    assert {name: each["talks"] for name, each in found.items()} == {
        "bot (1)": 2,
        "bot (2)": 1,
        "bot (3)": 1,
        "person": 1,
    }
    assert [each["ratings"]["fluency"].get("value") for each in found.values()] == [2.5, 2, 3, None]
    assert found["bot (3)"]["program"] == {"model": "m", "model_checksum": "c0ffee", "temperature": 0.5}
    assert found["bot (3)"]["condition"] == "bot"


def test_a_studys_own_questions_have_figures() -> None:
    talks = [
        make("p", "bot", 1, humour=1, tongue="no", remarks={"words": "well"}),
        make("q", "bot", 1, humour=5, tongue="yes"),
        make("q", "person", 1),
    ]
    found = results(talks, seed=3)
    assert found["answered"] == 2
    bot, person = found["conditions"].values()
    assert bot["ratings"] == {"humour": {"value": 3, "count": 2, "low": 1, "high": 5}}
    assert bot["choices"]["tongue"]["no"] == {"value": 0.5, "count": 2, "low": 0, "high": 1}
    assert list(bot["choices"]) == list(person["choices"]) == ["tongue"]
    assert person["choices"]["tongue"] == {"no": {"count": 0}, "yes": {"count": 0}}
    mixed = results([*talks, make("p", "bot", 1, fluency=2)], seed=3)["conditions"]["bot"]["ratings"]
    assert list(mixed) == [*SCALES, "humour"]


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
