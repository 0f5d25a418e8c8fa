"""detector.py: a saved detector's doubt about the speaker whom reviewers judge, worked by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from personagpt.detection.ngrams import NGRAMS
from personagpt.errors import UserError
from personagpt.files import write_json
from personagpt.model.loading import load_reader
from personagpt.review.detector import detector_doubts
from personagpt.settings import read_settings
from tests.records.making import make_talk, make_twins


def test_doubts_by_hand(tmp_path, write_settings, base) -> None:
    """A word that only programs say has the logit 3, so p = 1 / (1 + exp(-3)). Without it p = 1/2."""
    settings, path = read_settings(write_settings()), tmp_path / "detector.json"
    view = {"markers": {NGRAMS: {"weight": 1.0, "mean": 0.0, "scale": 1.0}}, "intercept": 0.0}
    view |= {"ngrams": {"intercept": 0.0, "grams": {"word robot": [1.0, 3.0]}}}
    about = {"model": str(base), "model_checksum": load_reader(str(base), settings).checksum, "utterances": 1}
    write_json(path, about | {"learnt_from": []} | view | {"alike": view})
    surely, unsure = make_talk("hi", "robot", "a", "robot"), make_talk("a robot", "b", "robot", "c")
    twin = replace(make_twins("hi", "ho", "you ?", "robot")[0], id="twin")  # the partner, a person, is judged
    short = make_talk("hi", "ho")
    doubts = detector_doubts(path, [surely, unsure, short, twin], settings)
    chance = 1 / (1 + np.exp(-3))
    assert doubts == pytest.approx({surely.id: chance * (1 - chance), unsure.id: 1 / 4, "twin": chance * (1 - chance)})
    with pytest.raises(UserError, match="no talk to judge; the detector needs 2 utterances of a speaker"):
        detector_doubts(path, [short], settings)
    write_json(path, {"model": "m"})
    with pytest.raises(UserError, match=r"not a detector of this version of detect\.py"):
        detector_doubts(path, [surely], settings)
    with pytest.raises(UserError, match=r"no detector there; train one with detect\.py"):
        detector_doubts(tmp_path / "none.json", [surely], settings)
