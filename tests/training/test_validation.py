"""validation.py: which model is the best. tests/test_train.py holds what whole runs validate."""

from __future__ import annotations

from personagpt.training.validation import is_best


def test_the_lowest_loss_so_far_is_the_best() -> None:
    assert is_best({"loss": 3.0}, None)
    assert is_best({"loss": 2.9}, {"loss": 3.0, "step": 1})
    assert not is_best({"loss": 3.0}, {"loss": 3.0, "step": 1})  # the earlier of two equal models stays
    assert not is_best({"loss": 3.1}, {"loss": 3.0, "step": 1})
