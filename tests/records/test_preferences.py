"""preferences.py: which replies were worse than others, by what people did in their talks."""

import json
from dataclasses import replace

from personagpt.records.export import export, with_corrections
from personagpt.records.preferences import preference_lines
from personagpt.records.talks import Flag, Talk, Turn
from tests.records.making import make_talk, make_twins


def judged(*talks: Talk) -> tuple[list[tuple[str, str, str]], list[str]]:
    """Return (chosen, rejected, source) of each pair, and the flagged replies without a better reply."""
    pairs, feedback = (list(map(json.loads, lines)) for lines in preference_lines(with_corrections(list(talks))))
    triples = [(pair["chosen"][0]["content"], pair["rejected"][0]["content"], pair["source"]) for pair in pairs]
    return triples, [line["completion"][0]["content"] for line in feedback]


def went_on(talk: Talk, count: int, *turns: Turn, flags: tuple = ()) -> Talk:
    """Return another talk, that went on from the first `count` turns of `talk`."""
    turns = [*talk.turns[:count], *turns]
    return replace(talk, id=f"{talk.id}+", turns=turns, flags=[Flag(*flag) for flag in flags])


def test_the_form_of_a_pair_and_of_a_reply_without_a_better_reply(tmp_path) -> None:
    talk = make_talk("hi", "ho", "a\tpet ?", "a cat", "why ?", "so", flags=((5, "other"),), persona=["one .", "two ."])
    talk.turns[3] = replace(Turn("model", "a cat", goal="ask about pets."), time="t").instead("a dog", corrected=True)
    export([talk], tmp_path, False)
    (pair,) = map(json.loads, (tmp_path / "preferences.jsonl").read_text().splitlines())
    persona = {"role": "system", "content": "one .\ntwo ."}
    before = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "ho"},
        {"role": "user", "content": "a pet ?"},
    ]
    assert pair == {
        "prompt": [persona, *before],
        "chosen": [{"role": "assistant", "content": "a dog"}],
        "rejected": [{"role": "assistant", "content": "a cat"}],
        "goal": "ask about pets.",
        "source": "corrected",
    }
    (line,) = map(json.loads, (tmp_path / "feedback.jsonl").read_text().splitlines())
    later = [{"role": "assistant", "content": "a dog"}, {"role": "user", "content": "why ?"}]
    assert line == {
        "prompt": [persona, *before, *later],
        "completion": [{"role": "assistant", "content": "so"}],
        "label": False,
    }


def test_a_chosen_draw_is_better_and_a_bare_redraw_says_nothing() -> None:
    talk = make_talk("hi", "x", "and ?", "y")
    assert judged(talk) == ([], [])
    talk.turns[1] = Turn("model", "z", replaced="x")  # /retry
    assert judged(talk) == ([], [])
    talk.turns[3] = talk.turns[3].instead("better", corrected=False)  # /choose
    assert judged(talk) == ([("better", "y", "chosen")], [])
    talk.turns[3] = talk.turns[3].instead("typed", corrected=True)  # /fix
    assert judged(talk) == ([("typed", "better", "corrected")], [])


def test_a_flagged_reply_is_worse_than_the_reply_that_took_its_place() -> None:
    first = make_talk("hi", "bad", flags=((1, "other"),))
    second = went_on(first, 1, Turn("model", "worse", replaced="bad"), flags=((1, "unsafe"),))
    assert judged(first) == ([], ["bad"])
    assert judged(first, second) == ([], ["bad", "worse"])
    third = went_on(first, 1, Turn("model", "good", replaced="worse"), Turn("human", "so"))
    assert judged(first, second, third) == ([("good", "bad", "flagged"), ("good", "worse", "flagged")], [])
    fixed = went_on(first, 1, third.turns[1].instead("typed", corrected=True))
    expected = [("typed", "bad", "corrected"), ("typed", "worse", "corrected"), ("typed", "good", "corrected")]
    assert judged(first, second, fixed) == (expected, [])


def test_a_pair_is_there_once() -> None:
    """After /flag and /choose both talks tell of it; after /set, two talks have the same turns."""
    first = make_talk("hi", "bad", flags=((1, "other"),))
    chosen = went_on(first, 1, first.turns[1].instead("good", corrected=False))
    after_set = went_on(chosen, 2, Turn("human", "so"))
    assert judged(first, chosen, after_set) == ([("good", "bad", "chosen")], [])
    elsewhere = make_talk("hi", "bad", flags=((1, "other"),), started="2026-01-01")
    assert judged(first, elsewhere) == ([], ["bad", "bad"])


def test_a_correction_that_changes_nothing_and_two_people_say_nothing() -> None:
    talk = make_talk("hi", "same")
    talk.turns[1] = talk.turns[1].instead(" same\n", corrected=True)
    began, other = make_twins("a", "b")
    other.flags = [Flag(0, "unsafe")]
    assert judged(talk, began, other) == ([], [])


def test_in_a_self_play_each_speaker_has_their_own_persona() -> None:
    play = make_talk("a", "b", "c", partner="partner", partner_persona=["i am old ."], flags=((2, "other"),))
    (line,) = map(json.loads, preference_lines([play])[1])
    assert line["prompt"] == [
        {"role": "system", "content": "i am old ."},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "b"},
    ]
