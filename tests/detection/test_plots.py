"""plots.py: what the drawing of a detector's figures shows."""

from __future__ import annotations

from personagpt.detection.plots import draw
from personagpt.detection.validation import Validated


def validated(accuracy: float, *calibration: tuple[float, float]) -> Validated:
    return Validated(0.9, 0.8, 0.95, accuracy, 0.125, (None, None), calibration)


def test_the_calibration_after_the_last_utterance_and_the_accuracy_after_each() -> None:
    written = {1: validated(0.75, (0.5, 0.5)), 2: validated(0.875, (0.25, 0.125), (0.75, 1.0))}
    alike = {1: validated(0.5, (0.5, 0.25)), 2: validated(0.625, (0.5, 0.375))}
    reliability, accuracy = draw({"as written": written, "made alike": alike}).axes
    _, *lines = reliability.lines  # the first is where the probability is the share
    assert [line.get_label() for line in lines] == ["as written: Brier score 0.125", "made alike: Brier score 0.125"]
    assert [line.get_xydata().tolist() for line in lines] == [[[0.25, 0.125], [0.75, 1.0]], [[0.5, 0.375]]]
    assert [line.get_xydata().tolist() for line in accuracy.lines] == [[[1, 75], [2, 87.5]], [[1, 50], [2, 62.5]]]
    assert accuracy.get_xticks().tolist() == [1, 2]
