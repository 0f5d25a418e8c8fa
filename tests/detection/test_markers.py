"""markers.py: each marker worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from personagpt.detection.markers import MARKERS, available_markers, marker_values, measure, token_losses
from personagpt.detection.sides import TalkSide, sides_of_talks
from personagpt.model.loading import TrainedModel
from personagpt.sequences.format import Encoder
from tests.detection.making import UTTERANCES, dogs_talk, side


def test_markers_by_hand() -> None:
    """i have two dogs | i have two dogs they bark; the partner asked: do you have dogs | dogs what dogs"""
    program = sides_of_talks([dogs_talk()])[0][1]
    told = measure(program, 2, np.array([1.0, 3.0, 9.0]))
    assert set(told) == set(MARKERS)
    assert told == {
        "words": 5.0,
        "words_spread": 1.0,
        "questions": 0.0,
        "own_words": 4 / 10,
        "own_phrases": 1 / 2,
        "echoes": 2 / 5,  # two dogs two dogs bark: each time dogs
        "persona_words": 4 / 5,
        "function_words": 5 / 10,  # i have i have they
        "first_person": 2 / 10,
        "seconds": pytest.approx(math.log(3.0)),  # 4 and 2 seconds
        "surprise": 2.0,
        "surprise_spread": 1.0,
    }
    asks = measure(sides_of_talks([dogs_talk()])[0][0], 2, np.array([1.0, 1.0]))
    assert asks["questions"] == 1.0
    assert asks["echoes"] == 2 / 3  # dogs, dogs, dogs; the first answers "hello"
    assert asks["seconds"] == pytest.approx(math.log(5.0))  # 4 and 6 seconds


def test_a_row_sees_nothing_of_later_utterances() -> None:
    program = sides_of_talks([dogs_talk()])[0][1]
    early = measure(program, 1, np.array([1.0, 3.0]))
    short = replace(program, utterances=program.utterances[:4], seconds=program.seconds[:4])
    assert early == measure(short, 1, np.array([1.0]))
    assert early["seconds"] == pytest.approx(math.log(4.0))
    assert early["own_phrases"] == 0.0


@pytest.mark.parametrize("speaker", [0, 1])
def test_no_marker_sees_a_speaker_s_first_utterance(speaker) -> None:
    """Two speakers who say the same from their second utterance on are alike, whoever opens, and with what."""
    said = ("i ski .", "you ski ?", "i ski a lot .", "so do i .")
    before = ("hi !", "hello , i have three cats .")[: speaker + 1]
    whole = TalkSide("t", speaker, True, ("i ski .",), (*before, "x y", *said))
    told = measure(whole, 2, np.array([2.0, 4.0]))
    other = TalkSide("t", 0, True, ("i ski .",), ("are you there ?", "x y", *said))
    assert told == measure(other, 2, np.array([2.0, 4.0]))


def test_question_marks_of_other_scripts() -> None:
    speaker = replace(side(1), utterances=("你好", "好", "你好！你养猫吗？", "没有", "我有猫。", "好"))
    assert measure(speaker, 2, np.array([1.0, 1.0]))["questions"] == 1 / 2


def test_a_marker_that_only_some_sides_have_is_left_out() -> None:
    recorded, text = sides_of_talks([dogs_talk()])[0], [side(1)]
    assert available_markers(recorded) == list(MARKERS)
    assert set(MARKERS) - set(available_markers(recorded + text)) == {"persona_words", "seconds"}
    assert "persona_words" in available_markers([side(1, persona=1), recorded[0]])


@pytest.mark.parametrize("source", ["interact.py", "app.py", "self-play", "study:s:people"])
def test_times_are_a_marker_only_where_both_sides_were_measured_alike(source) -> None:
    """A recorded model has the time of its computing, a person that of reading and typing."""
    assert "seconds" not in available_markers(sides_of_talks([dogs_talk(source=source)])[0])
    two_clocks = sides_of_talks([dogs_talk(), dogs_talk(source="another", id="u")])[0]
    assert all(side.seconds for side in two_clocks)
    assert "seconds" not in available_markers(two_clocks)


def test_values_are_a_row_for_each_side() -> None:
    sides = sides_of_talks([dogs_talk()])[0]
    losses = [np.array([1.0, 3.0]), np.array([2.0, 6.0])]
    values = marker_values(sides, losses, 2, ["surprise", "words"])
    np.testing.assert_array_equal(values, [[2.0, 3.5], [4.0, 5.0]])


@pytest.fixture
def trained(tiny_model, tokenizer):  # noqa: ANN201
    return TrainedModel("m", None, tiny_model.eval(), tokenizer, Encoder(tokenizer), "fp32", "c0ffee", None)


def test_losses_of_the_utterances_after_the_first(trained) -> None:
    """The same by hand: each utterance behind the persona and the talk from the speaker's first utterance on."""
    program = sides_of_talks([dogs_talk()])[0][1]
    (losses,) = token_losses(trained, [program], 2, with_personas=True)
    for loss, index in zip(losses, (3, 5), strict=True):
        context = trained.encoder.context(0, list(program.persona), list(program.utterances[1:index]), 1000)
        reply = [*trained.encoder.texts([program.utterances[index]])[0], trained.encoder.eos]
        ids = torch.tensor([context + reply])
        with torch.inference_mode():
            nats = torch.nn.functional.cross_entropy(
                trained.model(ids).logits[0, len(context) - 1 : -1], ids[0, len(context) :]
            )
        assert loss == pytest.approx(nats.item(), rel=1e-4)
    (alone,) = token_losses(trained, [replace(program, persona=())], 2, with_personas=True)
    np.testing.assert_array_equal(token_losses(trained, [program], 2, with_personas=False)[0], alone)
    assert abs(alone - losses).max() > 1e-4


def test_what_exceeds_the_context_is_cut(trained) -> None:
    long = "word " * 3 * trained.context_length
    for where in range(6):
        utterances = [*UTTERANCES[:where], long, *UTTERANCES[where + 1 :]]
        for speaker in (0, 1):
            (losses,) = token_losses(
                trained, [TalkSide("t", speaker, True, (), tuple(utterances))], 2, with_personas=False
            )
            assert losses.shape == (2,)
            assert np.isfinite(losses).all()
    (losses,) = token_losses(
        trained, [TalkSide("t", 0, True, (long, "i ski ."), tuple(UTTERANCES))], 2, with_personas=True
    )
    assert np.isfinite(losses).all()


def test_the_surprise_at_the_same_words_is_the_same_whoever_talks_first(trained) -> None:
    first = TalkSide("t", 0, True, ("i ski .",), tuple(UTTERANCES[1:]))
    second = TalkSide("t", 1, True, ("i ski .",), tuple(UTTERANCES))
    np.testing.assert_allclose(*token_losses(trained, [first, second], 2, with_personas=True), rtol=1e-5)
