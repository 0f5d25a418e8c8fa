"""bench/persona_recall.py: how often a model answers with its persona's own value."""

from __future__ import annotations

from pathlib import Path

from bench.persona_recall import persona_recall
from personagpt.model.loading import load_model, load_tokenizer
from personagpt.sequences.format import Encoder


def test_an_untrained_model_rarely_recalls(base: Path) -> None:
    tokenizer = load_tokenizer(str(base))
    recall = persona_recall(load_model(str(base), len(tokenizer)), Encoder(tokenizer), limit=8)
    assert recall["questions"] == 8
    assert recall["own"] < 0.5
