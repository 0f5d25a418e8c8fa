"""talks.py: a talk as a line of JSON, and back."""

import json
from dataclasses import asdict

import pytest

from personagpt.records.talks import Flag, Talk, Turn, parse_talk


def make_talk(*texts: str, flags: tuple = (), partner: str = "human", **changes) -> Talk:
    turns = [Turn((partner, "model")[number % 2], text) for number, text in enumerate(texts)]
    values = {"persona": ["i have two dogs ."], "sampling": {"seed": 7}} | changes
    return Talk("m", "c0ffee", partner=partner, turns=turns, flags=[Flag(*flag) for flag in flags], **values)


def test_a_line_is_the_talk() -> None:
    talk = make_talk("hi", "日本\n😀", flags=((1, "off-topic", "not an answer"),), ratings={"fluency": 4})
    talk.turns[1].replaced = "no"
    assert talk.line().count("\n") == 1
    assert parse_talk(talk.line().encode()) == talk


def test_an_earlier_versions_line_is_a_talk() -> None:
    raw = asdict(make_talk("hi", "hello"))
    for key in ("source", "participant", "ratings"):
        del raw[key]
    raw["turns"] = [{key: turn[key] for key in ("speaker", "text", "time")} for turn in raw["turns"]]
    talk = parse_talk(json.dumps(raw).encode())
    assert (talk.texts, talk.source, talk.turns[1].goal) == (["hi", "hello"], "interact.py", None)


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw.pop("turns"),
        lambda raw: raw["turns"][0].update(speaker="model"),
        lambda raw: raw["turns"][1].update(text=" "),
        lambda raw: raw["turns"][1].update(text=5),
        lambda raw: raw["turns"][1].update(time=5),
        lambda raw: raw["turns"][1].update(goal=5),
        lambda raw: raw["turns"][1].update(text="\ud800"),
        lambda raw: raw["turns"].insert(0, "hi"),
        lambda raw: raw["flags"].append({"turn": 2, "kind": "other"}),
        lambda raw: raw["flags"].append({"turn": 1, "kind": "boring"}),
        lambda raw: raw["flags"].append({"turn": 1.0, "kind": "other"}),
        lambda raw: raw["flags"].append({"turn": True, "kind": "other"}),
        lambda raw: raw.update(persona=[""]),
        lambda raw: raw.update(persona=None),
        lambda raw: raw.update(persona="dog"),
        lambda raw: raw.update(partner_persona="dog"),
        lambda raw: raw.update({"\x1b[31m": 1}),
        lambda raw: raw.update(partner="somebody"),
        lambda raw: raw.update(participant=7),
        lambda raw: raw.update(sampling="\ud800"),
        lambda raw: raw.update(ratings=None),
        lambda raw: raw.update(started=None),
        lambda raw: raw.update(surprise=1),
        lambda raw: raw.update(id=["x"]),
    ],
)
def test_what_is_no_talk_is_told_apart(damage) -> None:
    raw = asdict(make_talk("hi", "hello"))
    assert parse_talk(json.dumps(raw).encode())
    damage(raw)
    with pytest.raises((ValueError, KeyError, TypeError)):
        parse_talk(json.dumps(raw).encode())
