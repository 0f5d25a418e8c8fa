"""session.py: what is printed and recorded of a talk, with a real (tiny) model."""

import contextlib
import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from personagpt.errors import UserError
from personagpt.model.generation import DRAWS
from personagpt.model.sampling import Sampling
from personagpt.records.database import Recordings, TalkDeleted
from personagpt.records.talks import Flag
from personagpt.talking.persona import Persona
from personagpt.text.style import Style, Writing
from tests.talking.conftest import FACTS, WILD


def test_a_talk_is_printed_and_recorded(session, recorded, capsys) -> None:
    session.begin(FACTS)
    assert capsys.readouterr().out == f"model's persona: {FACTS[0]} | {FACTS[1]}\n"
    session.answer("hi ! how are you ?")
    session.answer("what do you do ?")
    (talk,) = recorded()
    assert [turn.speaker for turn in talk.turns] == ["human", "model", "human", "model"]
    assert talk.texts[::2] == ["hi ! how are you ?", "what do you do ?"]
    lines = capsys.readouterr().out.splitlines()
    assert [line.rstrip() for line in lines] == [f"model: {text}" for text in talk.texts[1::2]]
    assert (talk.persona, talk.partner, talk.partner_persona) == (FACTS, "human", [])
    assert talk.sampling == vars(Sampling()) | {"seed": 8}
    assert talk.started <= talk.turns[0].time <= talk.turns[1].time
    assert session.recorded == [talk.id]


def test_everything_is_on_record_when_it_is_said(session, recorded) -> None:
    def counts() -> list[tuple[int, int]]:
        return [(len(talk.turns), len(talk.flags)) for talk in recorded()]

    session.answer("hi !")
    assert counts() == [(2, 0)]
    session.answer("and you ?")
    session.talk.flags.append(Flag(3, "other"))
    session.record()
    assert counts() == [(4, 1)]
    session.undo()
    session.answer("hello")
    assert counts() == [(4, 1), (4, 0)]
    assert session.recorded == [talk.id for talk in recorded()]


def test_each_talk_adds_one_to_the_seed(make_session) -> None:
    first = make_session()
    first.begin(FACTS)
    assert first.talk.sampling["seed"] == 8
    without = make_session(seed=None)
    seed = without.talk.sampling["seed"]
    without.answer("hi !")
    again = make_session(seed=seed)
    again.answer("hi !")
    assert again.talk.texts == without.talk.texts
    assert make_session(seed=None).talk.sampling["seed"] != seed


def test_undo_and_retry(session, recorded, says) -> None:
    says("i am fine .", "i am a nurse .", "i am old .")
    session.answer("hi !")
    session.answer("what do you do ?")
    session.undo()
    assert recorded()[0].texts == session.speakers["model"].history == ["hi !", "i am fine ."]
    session.retry()
    (talk,) = recorded()
    assert talk.texts == session.speakers["model"].history == ["hi !", "i am old ."]
    assert talk.turns[1].replaced == "i am fine ."
    session.undo()
    assert recorded() == session.recorded == []


def test_a_flagged_reply_stays_on_record(session, recorded) -> None:
    session.answer("hi !")
    session.answer("and you ?")
    session.talk.flags.append(Flag(3, "inconsistent", "has no cat"))
    session.record()
    session.retry()
    flagged, kept = recorded()
    assert flagged.flags == [Flag(3, "inconsistent", "has no cat")]
    assert kept.flags == []
    assert flagged.texts[:3] == kept.texts[:3]
    assert kept.turns[3].replaced == flagged.texts[3] != kept.texts[3]


@pytest.mark.parametrize("other", ["", "i am fine ."])
def test_a_reply_stays_where_there_is_no_other(session, recorded, says, capsys, other) -> None:
    says("i am fine .", *[other] * DRAWS)
    session.answer("hi")
    before = session.talk
    session.retry()
    assert "(the model said nothing else: the reply stays)" in capsys.readouterr().out
    assert session.talk is before
    assert recorded()[0].texts == session.speakers["model"].history == ["hi", "i am fine ."]
    assert recorded()[0].turns[1].replaced is None


def test_an_utterance_without_a_reply_is_taken_back(session, recorded, says, capsys) -> None:
    waiting = says("fine .", *["fine ."] * DRAWS, *[""] * DRAWS, "fine . i am")
    for text in ("hi", "and you ?", "say something !", "go on"):
        session.answer(text)
    assert "(the model said nothing)\n(your utterance was taken back)\n" in capsys.readouterr().out
    assert recorded()[0].texts == ["hi", "fine .", "and you ?", "fine .", "go on", "fine . i am"]
    assert waiting == []
    session.answer("dogs " * 400)
    assert "do not fit into 280 tokens: shorten them)\n(your utterance was taken back)\n" in capsys.readouterr().out
    assert len(recorded()[0].turns) == 6


def test_a_reply_that_is_the_beginning_of_the_last_one_is_shown(make_session, says, capsys) -> None:
    session = make_session(sampling=Sampling(no_repeat=9))
    says("i am fine . and you ?", "i am fine .")
    session.answer("hi")
    session.answer("and you ?")
    assert capsys.readouterr().out.splitlines()[1:] == ["model: i am fine . and you ?", "model: i am fine ."]


def test_a_reply_cannot_control_the_terminal(session, recorded, says, capsys) -> None:
    says(" \x1b[2Jhi\tyou\nthere ")
    session.answer("hi")
    assert capsys.readouterr().out.splitlines()[-1].rstrip() == "model: [2Jhi you there"
    assert recorded()[0].texts == ["hi", "[2Jhi you there"]


@pytest.fixture
def heard_ctrl_c() -> Iterator[None]:
    """Ctrl-C as in a terminal: a shell lets its jobs in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_during_a_reply_stops_that_reply_only(session, recorded, says, monkeypatch, heard_ctrl_c) -> None:
    says("i am fine . and you ?")
    draw, drawn = Sampling.draw, []

    def press_at_the_third_token(*arguments: object) -> torch.Tensor:
        drawn.append(len(drawn))
        if len(drawn) == 3:
            signal.raise_signal(signal.SIGINT)  # to this thread, at once
        return draw(*arguments)

    monkeypatch.setattr(Sampling, "draw", press_at_the_third_token)
    before = signal.getsignal(signal.SIGINT)
    session.answer("hi")
    (talk,) = recorded()
    assert 0 < len(talk.texts[1]) < len("i am fine . and you ?")
    assert "i am fine . and you ?".startswith(talk.texts[1])
    says("i am old .")
    session.answer("and you ?")
    assert recorded()[0].texts[3] == "i am old ."
    assert signal.getsignal(signal.SIGINT) is before


def test_typed_text_is_brought_into_the_style(make_session, model, recorded, capsys) -> None:
    styled = replace(model, style=Style(Writing(1.0, 0.0, 1.0), Writing(1.0, 1.0, 0.5), 1, 6, 1))
    session = make_session(styled)
    session.begin(["I have two dogs", "I work as a nurse"])
    assert "model's persona: i have two dogs. | i work as a nurse.\n" in (out := capsys.readouterr().out)
    assert "(2 facts: in training a persona had 1 at most)\n" in out
    session.answer("What do you do?")
    session.begin([])
    assert capsys.readouterr().out.endswith("(0 facts: in training a persona had 1 at least)\n")
    session.begin(["I have two dogs."], keep_facts=True)
    assert "in training" not in capsys.readouterr().out
    session.answer("Hi!")
    plain = make_session(styled, as_typed=True)
    plain.begin(["I have two dogs"])
    plain.answer("What do you do?")
    styled_talk, kept, typed = recorded()
    assert (styled_talk.texts[0], styled_talk.persona[0]) == ("what do you do ?", "i have two dogs.")
    assert (kept.texts[0], kept.persona) == ("hi !", ["I have two dogs."])
    assert (typed.texts[0], typed.persona) == ("What do you do?", ["I have two dogs"])


def test_when_the_talk_passes_the_context_the_oldest_turns_go(make_session, contexts, model) -> None:
    session = make_session(sampling=Sampling(max_new_tokens=5))
    for number in range(8):
        session.answer(f"{'dogs ' * 30}{number}")
    asked = contexts[-1]
    assert asked["utterances"] == session.talk.texts[:-1]
    ids = model.encoder.context(1, FACTS, asked["utterances"], 315)
    _, facts, utterances = model.encoder.decode(ids)
    assert facts == FACTS
    assert 0 < len(utterances) < len(session.talk.turns) - 1
    assert utterances == session.talk.texts[:-1][-len(utterances) :]


def test_sampling_changes_while_talking(session, recorded) -> None:
    session.set("temperature", "0.5")
    session.answer("hi !")
    session.set("top_k", "1")
    session.answer("and you ?")
    first, second = recorded()
    assert (first.sampling["temperature"], first.sampling["top_k"], len(first.turns)) == (0.5, 10, 2)
    assert (second.sampling["top_k"], second.sampling["seed"], len(second.turns)) == (1, 7, 4)
    assert second.texts[:2] == first.texts
    assert session.speakers["model"].sampling == session.sampling == Sampling(top_k=1, temperature=0.5)
    with pytest.raises(UserError, match="max_new_tokens 320: the model's context is 320 tokens"):
        session.set("max_new_tokens", "320")
    assert session.sampling == Sampling(top_k=1, temperature=0.5)


@pytest.mark.parametrize("change", ["set", "undo", "retry", "replace_last", "answer"])
def test_the_words_of_a_talk_deleted_elsewhere_are_not_recorded_again(session, recorded, change) -> None:
    session.answer("a secret")
    session.answer("and you ?")
    session.talk.flags.append(Flag(3, "other"))  # so that the talk goes on under another id
    session.record()
    (talk,) = recorded()
    assert Recordings(session.recordings.path.parent).delete(ids=[talk.id]) == 1
    arguments = {"set": ["top_k", "1"], "replace_last": ["fine .", True], "answer": ["hello"]}.get(change, [])
    with contextlib.suppress(TalkDeleted):
        getattr(session, change)(*arguments)
    with pytest.raises(TalkDeleted):
        session.answer("go on")
    assert recorded() == session.recorded == []
    assert b"secret" not in session.recordings.path.read_bytes()
    session.begin(FACTS)
    session.answer("hi !")
    assert recorded()[0].texts[0] == "hi !"


@pytest.mark.parametrize(
    ("learned", "notice"),
    [
        (["ask about pets."], "(the model was not trained with the goal 'my own'; its goals are: ask about pets.)\n"),
        ([], "(the model was not trained with the goal 'my own'; it was trained without goals)\n"),
        (["my own"], ""),
        (None, ""),  # the model does not say which goals it learned, as the published model
    ],
)
def test_a_goal_that_the_model_never_learned(make_session, model, monkeypatch, capsys, learned, notice) -> None:
    monkeypatch.setattr(model.model.config, "goals", learned, raising=False)
    session = make_session(goal="my own")
    assert capsys.readouterr().out.partition("model's")[0] == notice
    session.set_goal(None)
    assert capsys.readouterr().out == ""
    session.set_goal("my own")
    assert (session.goal, capsys.readouterr().out) == ("my own", notice)


def test_undo_takes_back_the_goal_of_the_reply(make_session) -> None:
    session = make_session(goal="a")
    for goal in ("b", "c"):
        session.set_goal(goal)
        session.answer("hi !")
    session.set_goal("d")
    session.undo()
    assert session.goal == "b"
    session.undo()
    assert session.goal == "a"


def test_only_the_model_s_replies_have_the_goal(make_session, contexts) -> None:
    session = make_session(goal="ask about pets.")
    session.begin(FACTS, partner_facts=["i am old ."])
    session.reply("partner", None)
    session.reply("model", session.talk.texts[0])
    assert [asked["goal"] for asked in contexts[-2:]] == [None, "ask about pets."]
    assert [turn.goal for turn in session.talk.turns] == [None, "ask about pets."]


def test_the_partner_does_not_draw_the_model_s_numbers(make_session, model) -> None:
    session = make_session(sampling=WILD, seed=3)
    session.begin(FACTS, partner_facts=FACTS)
    session.reply("partner", None)
    openings = [Persona(model, FACTS, seed=seed, **vars(WILD)).reply() for seed in (4, 4 + 2**62)]
    assert openings[0] != openings[1] == session.talk.texts[0]
