"""How little a saved detector of detect.py knows of each talk: is the speaker whom reviewers judge a program?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from personagpt.detection.detectors import SavedDetector, SavedView
from personagpt.detection.markers import MARKERS, available_markers, marker_values
from personagpt.detection.ngrams import count_ngrams
from personagpt.detection.sides import TalkSide, alike, sides_of_talks
from personagpt.detection.surprise import surprises_of
from personagpt.errors import UserError
from personagpt.files import read_json
from personagpt.model.loading import TrainedModel, load_reader
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
    try:
        saved = SavedDetector.of_plain(read_json(path), set(MARKERS))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(f"{path}: not a detector of this version of detect.py; train one again") from None
    sides = {talk.id: side for talk in talks if (side := _judged_side(talk)) and _is_enough(side, saved)}
    if not sides:
        needed = saved.utterances + 1
        raise UserError(f"--order detector: no talk to judge; the detector needs {needed} utterances of a speaker")
    trained = load_reader(saved.model, settings)
    if trained.checksum != saved.model_checksum:
        raise UserError(f"{trained.name}: not the model that the detector was trained with; train one again")
    written = _chances(saved, saved.written, trained, list(sides.values()))
    chances = (written + _chances(saved, saved.alike, trained, [alike(side) for side in sides.values()])) / 2
    return dict(zip(sides, (chances * (1 - chances)).tolist(), strict=True))


def _judged_side(talk: Talk) -> TalkSide | None:
    """Return the side that reviewers label, if a detector can look at it."""
    # Of two participants' talk, the side of the partner is the twin's; here it is judged in this talk.
    sides, _ = sides_of_talks([replace(talk, partner="partner", twin=None) if talk.partner == "person" else talk])
    speaker = judged_turns(talk)[0] % 2
    return next((side for side in sides if side.speaker == speaker), None)


def _is_enough(side: TalkSide, saved: SavedDetector) -> bool:
    return len(side.counted) >= saved.utterances and set(saved.markers) <= set(available_markers([side]))


def _chances(saved: SavedDetector, view: SavedView, trained: TrainedModel, sides: list[TalkSide]) -> np.ndarray:
    """Return the probability (S,) of each side, in the texts of this view, that a program spoke."""
    seen = saved.utterances
    surprises = surprises_of(trained, sides, seen, saved.with_personas)
    counted = count_ngrams([text for side in sides for text in side.counted[:seen]], view.names)
    means = view.ngrams.logits(counted.counts).reshape(-1, seen).mean(1)
    return view.detector.probabilities(np.c_[means, marker_values(sides, surprises, seen, saved.markers)])
