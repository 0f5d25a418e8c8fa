"""judging.py: the probability that a saved detector gives a side, worked by hand, and files that are no detector."""

from __future__ import annotations

import numpy as np
import pytest

from personagpt.detection.judging import chances, read_detector
from personagpt.detection.ngrams import NGRAMS
from personagpt.detection.sides import TalkSide, sides_of_talks
from personagpt.errors import UserError
from personagpt.files import write_json
from personagpt.model.loading import load_reader
from personagpt.settings import read_settings
from tests.records.making import make_talk


def test_chances_by_hand(tmp_path, write_settings, base) -> None:
    """The mean logit of the n-grams of two utterances is 3 / 2 where one of the two says `robot`."""
    trained = load_reader(str(base), read_settings(write_settings()))
    view = {"markers": {NGRAMS: {"weight": 1.0, "mean": 0.0, "scale": 1.0}}, "intercept": 0.0}
    view |= {"ngrams": {"intercept": 0.0, "grams": {"word robot": [1.0, 3.0]}}}
    about = {"model": str(base), "model_checksum": trained.checksum, "utterances": 2}
    write_json(tmp_path / "detector.json", about | {"learnt_from": []} | view | {"alike": view})
    saved = read_detector(tmp_path / "detector.json")
    sides, _ = sides_of_talks([make_talk("hi", "first", "you ?", "robot", "and ?", "no")])
    program: TalkSide = next(side for side in sides if side.speaker == 1)
    assert chances(saved, saved.written, trained, [program]) == pytest.approx([1 / (1 + np.exp(-1.5))])


@pytest.mark.parametrize("content", [None, [], {"model": "m"}, {"model": 3, "utterances": -1}])
def test_another_file_is_no_detector(tmp_path, content: object) -> None:
    write_json(tmp_path / "detector.json", content)
    with pytest.raises(UserError, match=r"not a detector of this version of detect\.py; train one again"):
        read_detector(tmp_path / "detector.json")
