"""How little a saved detector of detect.py knows of each talk: is the speaker whom reviewers judge a program?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from personagpt.detection.detectors import SavedDetector
from personagpt.detection.judging import chances, load_reader_of, read_detector
from personagpt.detection.markers import available_markers
from personagpt.detection.sides import TalkSide, alike, sides_of_talks
from personagpt.errors import UserError
from personagpt.records.talks import Talk
from personagpt.review.order import judged_turns
from personagpt.settings import Settings


def detector_doubts(path: Path, talks: list[Talk], settings: Settings) -> dict[str, float]:
    """Return p (1 - p) for the ids of the talks that the detector at `path` can judge.

    p is the probability that a program spoke on the judged side, the mean of both views of the text. Raises UserError
    where there is no such detector, where its model has changed, or where it can judge no talk.
    """
    if not path.is_file():
        raise UserError(f"--order detector: {path}: no detector there; train one with detect.py")
    saved = read_detector(path)
    sides = {talk.id: side for talk in talks if (side := _judged_side(talk)) and _is_enough(side, saved)}
    if not sides:
        needed = saved.utterances + 1
        raise UserError(f"--order detector: no talk to judge; the detector needs {needed} utterances of a speaker")
    trained = load_reader_of(saved, settings)
    written = chances(saved, saved.written, trained, list(sides.values()))
    mean = (written + chances(saved, saved.alike, trained, [alike(side) for side in sides.values()])) / 2
    return dict(zip(sides, (mean * (1 - mean)).tolist(), strict=True))


def _judged_side(talk: Talk) -> TalkSide | None:
    """Return the side that reviewers label, if a detector can look at it."""
    # Of two participants' talk, the side of the partner is the twin's; here it is judged in this talk.
    sides, _ = sides_of_talks([replace(talk, partner="partner", twin=None) if talk.partner == "person" else talk])
    speaker = judged_turns(talk)[0] % 2
    return next((side for side in sides if side.speaker == speaker), None)


def _is_enough(side: TalkSide, saved: SavedDetector) -> bool:
    return len(side.counted) >= saved.utterances and set(saved.markers) <= set(available_markers([side]))
