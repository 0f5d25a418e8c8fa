"""baseline.py: the n-grams that every detector must beat."""

from __future__ import annotations

from dataclasses import replace

from personagpt.detection.baseline import judge_baseline
from personagpt.detection.validation import cuts_of, summary
from tests.detection.making import side


def test_the_baseline_reads_the_utterances_that_count() -> None:
    """Until the second utterance after the first, programs and people say the same."""
    sides = []
    for number in range(40):
        is_program = number % 2 == 0
        said = ("hello", "ok", "i ski", "ok", "i swim ." if is_program else "i swim", "ok")
        sides.append(replace(side(number, is_program, number), utterances=said))
    judged = [judge_baseline(sides, cut, [1, 2]) for cut in cuts_of(sides, 0, 1)]
    assert [summary(sides, judged, place, 0).auc for place in (0, 1)] == [0.5, 1.0]
    assert summary(sides, judged, 1, 0).caught == (None, None)
