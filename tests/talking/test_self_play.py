"""self_play.py: a talk of two personas, and many talks at once, with a real (tiny) model."""

import itertools

from personagpt.model.sampling import Sampling
from personagpt.talking import persona
from personagpt.talking.self_play import play, self_play
from tests.talking.conftest import FACTS, WILD

PAIRS = [([f"i am {age} ."], [f"i have {age} dogs ."]) for age in range(9)]


def test_two_personas_talk(make_session, recorded, capsys) -> None:
    session = make_session()
    session.begin(FACTS, partner_facts=["i am old ."])
    capsys.readouterr()
    self_play(session, 5)
    (talk,) = recorded()
    assert [turn.speaker for turn in talk.turns] == ["partner", "model", "partner", "model", "partner"]
    assert (talk.persona, talk.partner_persona, talk.partner) == (FACTS, ["i am old ."], "partner")
    lines = capsys.readouterr().out.splitlines()
    assert [line.rstrip() for line in lines] == [f"{turn.speaker}: {turn.text}" for turn in talk.turns]


def test_it_ends_where_a_speaker_has_nothing_to_say(make_session, says, capsys) -> None:
    session = make_session()
    session.begin(FACTS, partner_facts=["i am old ."])
    says("hi !", *[""] * 8)
    self_play(session, 5)
    assert session.talk.texts == ["hi !"]
    assert capsys.readouterr().out.endswith("(nothing more to say)\n")


def test_many_talks_at_once(make_session, monkeypatch) -> None:
    monkeypatch.setattr("personagpt.talking.self_play.TOGETHER", 2)

    def talks() -> list[list]:
        session = make_session(sampling=Sampling(max_new_tokens=6), seed=3, goal="ask about x.", as_typed=True)
        return list(play(session, PAIRS, 3, 5))

    batches = talks()
    assert [len(batch) for batch in batches] == [2, 1]
    for number, talk in enumerate(itertools.chain(*batches)):
        assert (talk.partner, talk.source, talk.sampling["seed"]) == ("partner", "self-play", 4 + number)
        assert [turn.speaker for turn in talk.turns] == ["partner", "model", "partner", "model", "partner"]
        assert [turn.goal for turn in talk.turns] == [None, "ask about x.", None, "ask about x.", None]
        assert (talk.partner_persona, talk.persona) in PAIRS
    texts = [talk.texts for talk in itertools.chain(*batches)]
    assert len(set(map(tuple, texts))) == 3
    assert [talk.texts for talk in itertools.chain(*talks())] == texts


def test_the_partner_does_not_draw_the_model_s_numbers(make_session, model) -> None:
    ((talk,),) = play(make_session(sampling=WILD, seed=3), [(FACTS, FACTS)], 1, 1)
    openings = [persona.Persona(model, FACTS, seed=seed, **vars(WILD)).reply() for seed in (4, 4 + 2**62)]
    assert openings[0] != openings[1] == talk.texts[0]


def test_a_talk_ends_and_the_others_go_on(make_session, monkeypatch) -> None:
    """Every third reply is empty."""
    counted = itertools.count(1)

    def replies(pairs: list, goal: str | None) -> list[str]:
        return ["" if next(counted) % 3 == 0 else "hello" for _ in pairs]

    monkeypatch.setattr(persona.Persona, "replies", replies)
    ((first, second),) = play(make_session(), PAIRS, 2, 4)
    assert sorted([len(first.turns), len(second.turns)]) == [1, 3]
