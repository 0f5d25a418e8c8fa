"""talks.py: a talk as a line of JSON, and back."""

import json

import pytest

from personagpt.records.talks import Thumb, is_blind, parse_talk, program_of, public_model, talks_by_study
from tests.records.making import make_talk, make_twins


def test_a_line_is_the_talk() -> None:
    talk = make_talk("hi", "日本\n😀", flags=((1, "off-topic", "not an answer"),), ratings={"fluency": 4})
    talk.turns[1].replaced = "no"
    talk.thumbs = [Thumb(1, False)]
    assert talk.line().count("\n") == 1
    assert parse_talk(talk.line().encode()) == talk
    for twin in make_twins("hi", "ho"):
        assert parse_talk(twin.line().encode()) == twin


def test_a_line_may_lack_fields_that_came_later() -> None:
    raw = make_talk("hi", "hello").content()
    for key in ("source", "participant", "ratings", "twin", "thumbs"):
        del raw[key]
    raw["turns"] = [{key: turn[key] for key in ("speaker", "text", "time")} for turn in raw["turns"]]
    talk = parse_talk(json.dumps(raw).encode())
    assert (talk.texts, talk.source, talk.turns[1].goal, talk.twin) == (["hi", "hello"], "interact.py", None, None)


def test_twins_of_old_lines_differ_in_the_last_bit_of_their_ids() -> None:
    raw = make_twins("hi", "ho")[0].content()
    for talk_id, twin in (("0" * 31 + "a", "0" * 31 + "b"), ("f" * 31 + "1", "f" * 31 + "0")):
        old = {key: value for key, value in raw.items() if key != "twin"} | {"id": talk_id}
        assert parse_talk(json.dumps(old).encode()).twin == twin
    with pytest.raises(ValueError, match="invalid literal"):
        parse_talk(json.dumps(old | {"id": "no number"}).encode())
    assert parse_talk(json.dumps(raw | {"twin": None}).encode()).twin is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw.pop("turns"),
        lambda raw: raw["turns"][0].update(speaker="model"),
        lambda raw: raw["turns"][1].update(text=" "),
        lambda raw: raw["turns"][1].update(text=5),
        lambda raw: raw["turns"][1].update(time=5),
        lambda raw: raw["turns"][1].update(goal=5),
        lambda raw: raw["turns"][1].update(replaced=[]),
        lambda raw: raw["turns"][1].update(corrected="no"),
        lambda raw: raw["turns"][1].update(text="\ud800"),
        lambda raw: raw["turns"].insert(0, "hi"),
        lambda raw: raw["flags"].append({"turn": 2, "kind": "other"}),
        lambda raw: raw["flags"].append({"turn": -1, "kind": "other"}),
        lambda raw: raw["flags"].append({"turn": 1, "kind": "boring"}),
        lambda raw: raw["flags"].append({"turn": 1, "kind": "other", "note": None}),
        lambda raw: raw["flags"].append({"turn": 1.0, "kind": "other"}),
        lambda raw: raw["flags"].append({"turn": True, "kind": "other"}),
        lambda raw: raw.update(thumbs=[{"turn": 0, "up": True}]),  # a person's utterance
        lambda raw: raw.update(thumbs=[{"turn": 3, "up": True}]),
        lambda raw: raw.update(thumbs=[{"turn": 1, "up": 1}]),
        lambda raw: raw.update(thumbs=None),
        lambda raw: raw.update(persona=[""]),
        lambda raw: raw.update(persona=[7]),
        lambda raw: raw.update(persona=None),
        lambda raw: raw.update(persona="dog"),
        lambda raw: raw.update(partner_persona="dog"),
        lambda raw: raw.update({"\x1b[31m": 1}),
        lambda raw: raw.update(partner="somebody"),
        lambda raw: raw.update(participant=7),
        lambda raw: raw.update(participant=0),
        lambda raw: raw.update(twin=7),
        lambda raw: raw.update(sampling="\ud800"),
        lambda raw: raw.update(sampling={"\ud800": 1}),
        lambda raw: raw.update(ratings=None),
        lambda raw: raw.update(started=None),
        lambda raw: raw.update(surprise=1),
        lambda raw: raw.update(id=["x"]),
    ],
)
def test_a_damaged_line_is_no_talk(damage) -> None:
    raw = make_talk("hi", "hello").content()
    assert parse_talk(json.dumps(raw).encode())
    damage(raw)
    with pytest.raises((ValueError, KeyError, TypeError)):
        parse_talk(json.dumps(raw).encode())


@pytest.mark.parametrize("source", ["study:../../x:a", "study:a/b:c", "study::a", "study:a", "study:a:b/c", "study:a:"])
def test_a_study_whose_name_leads_elsewhere_is_refused(source) -> None:
    """The name stands in the name of the report's file."""
    with pytest.raises(ValueError, match="is not study:STUDY:CONDITION"):
        parse_talk(make_talk("hi", "hello", source=source).line().encode())


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        *(("fluency", answer) for answer in ("5", 0, 6, 2.5, True, None, [3])),
        *(("partner", answer) for answer in ("nobody", None, ["person"], {})),
        *(("persona", answer) for answer in ("x", None, {}, {"chosen": 2, "true": 0}, {"chosen": [], "true": 0})),
        *(("ended", answer) for answer in ("later", {}, 1)),
        ("waited", "yes"),
        *(("humour", answer) for answer in (0, 6, 2.5, True, None, [3], {}, {"words": 3})),
    ],
)
def test_an_answer_that_no_study_gives_is_refused(question, answer) -> None:
    right = {"fluency": 3, "partner": "person", "persona": {"chosen": 1, "true": 0}, "ended": "left", "waited": True}
    talk = make_talk(
        "hi",
        "hello",
        source="study:s:bot",
        ratings=right | {"opinion": "free text", "humour": 3, "remarks": {"words": "well"}},
    )
    assert parse_talk(talk.line().encode()) == talk
    talk.ratings[question] = answer
    with pytest.raises((ValueError, TypeError)):
        parse_talk(talk.line().encode())


def test_a_study_talk_is_blind_until_it_is_rated_or_abandoned() -> None:
    assert not is_blind(make_talk("hi", "ho"))
    for ratings, expected in (
        ({}, True),
        ({"ended": "rating"}, True),
        ({"ended": "left"}, False),
        ({"waited": True}, True),
        ({"partner": "person"}, False),
        ({"humour": 3}, False),
    ):
        assert is_blind(make_talk("hi", "ho", source="study:s:bot", ratings=ratings)) == expected


def test_talks_are_grouped_by_study() -> None:
    sources = ("study:a:x", "study:a:y", "interact.py", "study:a:b:x")
    studies = talks_by_study([make_talk("hi", "ho", source=source) for source in sources])
    assert {name: [talk.source for talk in talks] for name, talks in studies.items()} == {
        "a": ["study:a:x", "study:a:y"],
        "a:b": ["study:a:b:x"],
    }


def test_a_model_is_named_without_its_path(tmp_path, monkeypatch) -> None:
    talk = make_talk()
    (tmp_path / "lab" / "best").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for model, expected in (
        ("me/mine", "me/mine"),
        ("", ""),
        (str(tmp_path / "lab" / "best"), "best-c0ffee"),
        ("/gone/best", "best-c0ffee"),
        ("lab/best", "best-c0ffee"),  # a folder that looks like a hub name
    ):
        talk.model = model
        assert public_model(talk) == expected


def test_without_the_last_turns_a_flagged_talk_is_another_talk() -> None:
    talk = make_talk("a", "b", "c", "d", flags=((1, "other"), (3, "unsafe")))
    shorter = talk.without(2)
    assert (shorter.texts, [flag.turn for flag in shorter.flags]) == (["a", "b"], [1])
    assert shorter.id != talk.id
    talk.flags = talk.flags[:1]
    assert talk.without(2).id == talk.id


def test_a_program_without_a_checksum_is_told_by_its_name() -> None:
    one, two = make_talk("a", "b"), make_talk("a", "b")
    assert program_of(one) == program_of(two)
    one.model_checksum = two.model_checksum = ""
    two.model = "another"
    assert program_of(one) != program_of(two)
