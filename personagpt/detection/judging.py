"""A saved detector reads talks that it has not learnt from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from personagpt.detection.detectors import SavedDetector, SavedView
from personagpt.detection.markers import MARKERS, marker_values
from personagpt.detection.ngrams import count_ngrams
from personagpt.detection.sides import TalkSide
from personagpt.detection.surprise import surprises_of
from personagpt.errors import UserError
from personagpt.files import read_json
from personagpt.model.loading import TrainedModel, load_reader
from personagpt.settings import Settings


def read_detector(path: Path) -> SavedDetector:
    """Return the detector that detect.py saved at `path`. Raises UserError for any other file."""
    try:
        return SavedDetector.of_plain(read_json(path), set(MARKERS))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(f"{path}: not a detector of this version of detect.py; train one again") from None


def load_reader_of(saved: SavedDetector, settings: Settings, name: str | None = None) -> TrainedModel:
    """Load the model whose surprise the detector knows, from `name` if given. Raises UserError for another model."""
    trained = load_reader(name or saved.model, settings)
    if trained.checksum != saved.model_checksum:
        raise UserError(f"{trained.name}: not the model that the detector was trained with; train one again")
    return trained


def chances(saved: SavedDetector, view: SavedView, trained: TrainedModel, sides: list[TalkSide]) -> np.ndarray:
    """Return the probability (S,) of each side, in the texts of this view, that a program spoke."""
    seen = saved.utterances
    surprises = surprises_of(trained, sides, seen)
    counted = count_ngrams([text for side in sides for text in side.counted[:seen]], view.names)
    means = view.ngrams.logits(counted.counts).reshape(-1, seen).mean(1)
    return view.detector.probabilities(np.c_[means, marker_values(sides, surprises, seen, saved.markers)])
