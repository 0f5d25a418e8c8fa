"""bench/persona_recall.py: how often a model answers with its persona's own value, in sentences of the corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import persona_recall as bench
from data.sample import make_sample
from personagpt.model.generation import ReplyRequest
from personagpt.model.loading import load_model, load_tokenizer
from personagpt.sequences.format import Encoder


def test_an_untrained_model_rarely_recalls(base: Path) -> None:
    tokenizer = load_tokenizer(str(base))
    recall = bench.persona_recall(load_model(str(base), len(tokenizer)), Encoder(tokenizer), limit=8)
    assert recall["questions"] == 8
    assert recall["own value"] < 0.5


@pytest.mark.parametrize("facts", bench.FACTS)
def test_new_personas_are_asked_first_and_later(base: Path, facts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = load_tokenizer(str(base))
    model, encoder = load_model(str(base), len(tokenizer)), Encoder(tokenizer)
    asked: list[list[tuple[list[str], str]]] = []  # facts and talk

    def recite(_: object, __: object, requests: list[ReplyRequest], ___: object) -> list[str]:
        contexts = [tokenizer.decode(request.context).split("<|sep|><|start|>") for request in requests]
        asked.append(
            [(persona[len("<|p1|>") :].strip().split("<|endoftext|>")[:-1], talk) for persona, talk in contexts]
        )
        return [" ".join(given) for given, _ in asked[-1]]

    monkeypatch.setattr(bench, "generate_replies", recite)
    trained_on = make_sample.persona_values(make_sample.read_corpus(make_sample.TRAIN_FILE))
    for opens in (True, False):
        recall = bench.persona_recall(model, encoder, facts, opens)
        assert recall["questions"] == len(asked[-1]) >= 100
        # A fact names its value. It is no sentence that somebody says: no space is before its full stop.
        assert [recall[name] for name in bench.COLUMNS] == [1.0, 0.0, 0.0, 1.0]
        for (given, talk), (exchanged, same_talk) in zip(*asked[-2:], strict=True):
            assert [fact == other for fact, other in zip(given, exchanged, strict=True)].count(False) == 1
            assert len(given) == facts
            assert frozenset(make_sample.match_fact(fact)[2] for fact in given) not in trained_on
            assert talk == same_talk
        lengths = {talk.count("<|endoftext|>") for _, talk in asked[-1]}
        assert lengths == {1} if opens else max(lengths) > 3
