"""personagpt/study/pairing.py: who talks with whom."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from personagpt.errors import UserError
from personagpt.records.export import text_of
from personagpt.records.talks import Turn
from personagpt.study import pairing
from personagpt.study.pairing import Pairing
from personagpt.text.style import Style, Writing
from tests.records.making import make_talk
from tests.study.participation import COLD, PEOPLE, PERSONAS, PROGRAM, Participant, pair, study_of


def test_how_a_program_replies_is_its_conditions(serve_page) -> None:
    page = serve_page(study=study_of(COLD, turns=1))
    who = Participant(page)
    who.begin()
    who.talk_through()
    (talk,) = page.recordings.talks()
    assert (talk.sampling["temperature"], talk.sampling["max_history"]) == (0.5, 4)


def test_all_write_in_the_style_of_the_first_model(serve_page, monkeypatch) -> None:
    style = Style(Writing(1.0, 0.0, 1.0), Writing(1.0, 1.0, 0.5), 2, 8)
    study = replace(
        study_of(PEOPLE, PROGRAM, wait=1000.0),
        personas=(("I am A.", "i run"), ("I am B.", "i swim"), ("I am C.", "i sit")),
    )
    page = serve_page(study=study)
    page.queue.trained = replace(page.queue.trained, style=style)
    monkeypatch.setattr(pairing.random.SystemRandom, "choice", lambda self, conditions: conditions[0])  # PEOPLE
    monkeypatch.setattr(pairing.random.SystemRandom, "uniform", lambda self, least, most: least)  # nobody waits long
    first, second = pair(page)
    state = first.do("say", text="Hi! I'm Bob, OK?").json
    assert state["turns"][0]["text"] == second.until()["turns"][0]["text"] == "hi ! i'm bob , ok ?"
    assert tuple(state["persona"]) in study.personas  # these are a text's, and stay as they are


def test_a_persona_that_does_not_fit_is_left_out_and_named(serve_page, capsys) -> None:
    """A participant must neither get such a persona nor learn from a refusal that the partner is a program."""
    long = ("i like to " + "read and write " * 200 + ".",)
    page = serve_page(study=replace(study_of(PROGRAM, PEOPLE), personas=(*PERSONAS, long)))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("study 's': the persona 'i like to read and write")
    assert line.endswith("is left out: it does not fit the model of 'program-1'")
    assert page.study.personas == PERSONAS


def test_each_programs_model_must_hold_the_persona(serve_page) -> None:
    """The second condition leaves less room for the persona, because its replies may be longer."""
    page = serve_page()
    wordy = replace(COLD, sampling=replace(COLD.sampling, max_new_tokens=page.queue.trained.context_length - 25))
    study = study_of(PROGRAM, wordy)
    with pytest.raises(UserError, match="study 's': 0 personas fit the context of the models, and 3 are needed"):
        Pairing(study, {"m": page.queue}, page.recordings, page.clock)
    endless = replace(COLD, sampling=replace(COLD.sampling, max_new_tokens=page.queue.trained.context_length))
    with pytest.raises(UserError, match=r"condition 'program-2': max_new_tokens \d+: the model's context"):
        Pairing(study_of(endless), {"m": page.queue}, page.recordings, page.clock)


def test_a_program_that_changes_behind_its_name_is_told_at_the_start(serve_page, capsys) -> None:
    """Another model, or another way to draw the replies; what waited and what was said by people is the same."""
    page = serve_page(study=study_of(PROGRAM, COLD, turns=1))
    for _ in range(2):  # a talk of each condition
        who = Participant(page)
        who.begin()
        who.talk_through()
    capsys.readouterr()
    pairs = [study_of(PROGRAM, COLD), study_of(PROGRAM, replace(COLD, history=5))]
    for study in pairs:
        Pairing(study, {"m": page.queue}, page.recordings, page.clock)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("study 's': 1 of 1 recorded talks of 'program-2' are with another program")
    page.queue.trained = replace(page.queue.trained, checksum="decaf")
    Pairing(pairs[0], {"m": page.queue}, page.recordings, page.clock)
    assert [line.partition("' are")[0][-9:] for line in capsys.readouterr().err.splitlines()] == [
        "program-1",
        "program-2",
    ]


def test_of_many_participants_only_those_who_are_long_gone_are_forgotten(serve_page) -> None:
    page = serve_page()
    pairs = Pairing(study_of(PEOPLE, away=60.0), {"m": page.queue}, page.recordings, page.clock)
    page.clock.seconds = 100.0
    for number in range(10_001):
        pairs.see(str(number))
    page.clock.seconds = 150.0
    pairs.see("late")
    assert pairs.is_here("5", 60.0)
    page.clock.seconds = 170.0
    pairs.see("later")
    assert not pairs.is_here("5", 60.0)
    assert [*pairs._seen] == ["late", "later"]


def test_a_trial_has_no_pause_before_a_talk(serve_page) -> None:
    page = serve_page()
    pairs = Pairing(study_of(PROGRAM, wait=1000.0).for_trial(), {"m": page.queue}, page.recordings, page.clock)
    pairs.begin("who")
    assert pairs.assignment_of("who").begins == 0.0
    pairs = Pairing(study_of(PEOPLE, wait=1000.0).for_trial(), {"m": page.queue}, page.recordings, page.clock)
    for name in ("first", "second"):
        pairs.begin(name)
    pairs.advance("second")
    assert [pairs.assignment_of(name).begins for name in ("first", "second")] == [0.0, 0.0]


def test_an_assignment_is_stored_when_nothing_can_fail_any_more(serve_page, monkeypatch) -> None:
    def fail(*given: object, **options: object) -> None:
        raise RuntimeError

    page = serve_page()
    pairs = Pairing(study_of(PROGRAM), {"m": page.queue}, page.recordings, page.clock)
    monkeypatch.setattr(page.queue, "new_talk", fail)
    with pytest.raises(RuntimeError):
        pairs.begin("who")
    assert pairs.assignment_of("who") is None


def test_who_waits_behind_a_closed_page_is_not_joined(serve_page) -> None:
    page = serve_page(study=study_of(PEOPLE))
    first, second = Participant(page), Participant(page)
    first.begin()
    page.clock.seconds += pairing.FRESH + 0.1
    assert second.begin()["stage"] == "waiting"
    first.state()
    assert second.until(yours=None)["stage"] == "talk"


def test_everybody_waits(serve_page) -> None:
    """Else who has a partner at once would know what it is."""
    for conditions in ((PROGRAM,), (PEOPLE, PROGRAM)):
        who = Participant(serve_page(study=study_of(*conditions, wait=3000.0)))
        assert who.begin().keys() == who.state().keys() == {"stage", "time"}
        assert who.state()["stage"] == "waiting"


def test_a_program_that_steps_in_may_take_as_long_as_somebody_who_comes_late(serve_page, monkeypatch) -> None:
    """Else a talk that begins just when the time to wait is over would be with a program."""
    monkeypatch.setattr(pairing.random.SystemRandom, "uniform", lambda self, least, most: most)
    monkeypatch.setattr(pairing.random.SystemRandom, "choice", lambda self, conditions: conditions[0])
    page = serve_page()
    pairs = Pairing(study_of(PEOPLE, PROGRAM, wait=1000.0), {"m": page.queue}, page.recordings, page.clock)
    pairs.begin("who")
    page.clock.seconds = 999.9
    pairs.advance("who")
    assert pairs.assignment_of("who").talk is None
    page.clock.seconds = 1000.0
    pairs.advance("who")
    assignment = pairs.assignment_of("who")
    assert assignment.talk.ratings == {"waited": True}
    assert assignment.begins == 1250.0  # a quarter of the wait later


def test_a_program_that_is_drawn_at_once_hides_as_long_as_a_person_is_waited_for(serve_page, monkeypatch) -> None:
    monkeypatch.setattr(pairing.random.SystemRandom, "uniform", lambda self, least, most: most)
    page = serve_page()
    pairs = Pairing(study_of(PROGRAM, wait=1000.0), {"m": page.queue}, page.recordings, page.clock)
    pairs.begin("who")
    assert pairs.assignment_of("who").begins == 1000.0


def test_who_has_a_condition_counts_before_anything_is_on_record(serve_page, monkeypatch) -> None:
    monkeypatch.setattr(pairing.random.SystemRandom, "choice", lambda self, conditions: conditions[0])
    page = serve_page()
    study = study_of(PROGRAM, COLD, replace(COLD, name="program-3"))
    pairs = Pairing(study, {"m": page.queue}, page.recordings, page.clock)
    for number in range(12):
        pairs.begin(f"p{number}")
    drawn = Counter(pairs.assignment_of(f"p{number}").condition.name for number in range(12))
    assert set(drawn.values()) == {4}


def test_a_talk_that_was_given_up_does_not_count(serve_page) -> None:
    page = serve_page()
    study = study_of(PROGRAM, COLD)
    for _ in range(9):
        given_up = make_talk("hi", "ho", source=study.source(PROGRAM), ratings={"ended": "left"})
        page.recordings.save(given_up)
    page.recordings.save(make_talk("hi", "ho", source=study.source(COLD)))
    for number in range(3):  # one talk of COLD is on record, and none of PROGRAM
        pairs = Pairing(study, {"m": page.queue}, page.recordings, page.clock)
        pairs.begin(f"p{number}")
        assert pairs.assignment_of(f"p{number}").condition == PROGRAM


def test_who_has_waited_longest_is_joined_first(serve_page) -> None:
    page = serve_page()
    pairs = Pairing(study_of(PEOPLE), {"m": page.queue}, page.recordings, page.clock)
    for name in ("first", "second", "third"):
        pairs.begin(name)
    pairs.advance("third")
    assert pairs.assignment_of("third").other == "first"
    assert pairs.assignment_of("second").talk is None


def test_a_program_comes_where_nobody_else_does(serve_page) -> None:
    page = serve_page(study=study_of(PEOPLE, PROGRAM, turns=1))
    for number in range(3):  # a talk of each condition, and of the third the condition is drawn
        who = Participant(page)
        who.begin()
        who.talk_through()
        assert len(page.recordings.talks()) == number + 1
    assert {talk.source for talk in page.recordings.talks()} == {"study:s:program-1"}
    assert any(talk.ratings == {"waited": True} for talk in page.recordings.talks())


def test_conditions_are_drawn_evenly_and_after_a_restart_too(serve_page) -> None:
    study = study_of(PROGRAM, COLD, replace(COLD, name="program-3"), turns=1)
    for count in (2, 6):
        page = serve_page(study=study)
        while sum(page.recordings.count_by_source("study:s:").values()) < count:
            who = Participant(page)
            who.begin()
            who.talk_through()
    assert set(page.recordings.count_by_source("study:s:").values()) == {2}
    assert page.recordings.count_by_source("study:other:") == {}
    for _ in range(2):  # given up: not counted
        who = Participant(page)
        who.begin()
        who.do("leave")
    assert sum(page.recordings.count_by_source("study:s:").values()) == 6


def test_either_side_may_begin(serve_page) -> None:
    page, begins = serve_page(study=study_of(PROGRAM, turns=1)), Counter()
    while len(begins) < 2:
        who = Participant(page)
        who.begin()
        state = who.until()
        begins[len(state["turns"])] += 1
        if state["turns"]:
            (talk,) = page.recordings.talks()
            assert [turn.speaker for turn in talk.turns] == ["model"]
            assert who.do("say", text="hi").json["stage"] == "questions"
            ((_, dialogue),) = text_of(
                [replace(talk, turns=[*talk.turns, Turn("human", "hi"), Turn("model", "x")])], True
            )
            assert dialogue.personas == (talk.persona, talk.partner_persona)
        who.do("leave")
        who.ask("DELETE", "/api/talks")
