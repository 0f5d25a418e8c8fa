"""nli.py: scores of a trained classifier, the metrics by hand, and classifiers that cannot serve."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2ForSequenceClassification

from personagpt.errors import UserError
from personagpt.scoring import nli
from personagpt.scoring.definitions import METRICS
from personagpt.scoring.entries import Entries, Places
from personagpt.scoring.generated import Replies
from personagpt.scoring.nli import Classifier, contradicts_facts, load_classifier, nli_metrics
from tests.scoring.classifiers import LABELS, SENTENCES, label_of, word_tokenizer

SCORES = {"entailment": 1, "neutral": 0, "contradiction": -1}


@pytest.fixture(scope="module")
def classifier(nli_folder: Path) -> Classifier:
    return load_classifier(str(nli_folder))


def figure(name: str, entries: Entries) -> float:
    return next(metric for metric in METRICS if metric.name == name).figure(entries)


@pytest.mark.parametrize("size", [1, 5, 64])
def test_every_pair_in_batches_of_any_size(classifier: Classifier, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(nli, "PAIRS_PER_BATCH", size)
    pairs = list(itertools.product(SENTENCES, repeat=2))
    expected = {pair: SCORES[label_of(*pair)] for pair in pairs}
    assert set(expected.values()) == {1, 0, -1}
    assert classifier.scores(pairs + pairs[:3]) == expected
    assert classifier.scores([]) == {}


def test_the_metrics_by_hand(classifier: Classifier) -> None:
    facts = ["i love dogs", "i hate cats", "i love birds"]
    replies = Replies(
        places=Places(np.array([0, 0, 0, 1]), np.array([2, 4, 6, 2])),
        generated=["i love dogs", "i hate dogs", "hello", "i love cats"],
        human=[""] * 4,
        facts=[facts, facts, facts[:2], []],
        earlier=[[], ["i love dogs", "hello"], ["i hate cats", "i love cats"], ["i hate cats"]],
    )
    found = nli_metrics(replies, classifier)
    assert found["c_score"].values.tolist() == [1, -1, 0]  # of the three replies of a speaker with facts
    assert found["c_score"].places.turns.tolist() == [2, 4, 6]
    assert figure("c_score", found["c_score"]) == 0
    assert found["c_score_pair"].weights.tolist() == [3, 3, 2]
    assert figure("c_score_pair", found["c_score_pair"]) == 0
    assert found["contradicts_self"].values.tolist() == [0, 1, 0, 1]
    first = np.array([True, False, True, False])
    assert figure("c_score", found["c_score"][first[:3]]) == 1 / 2
    assert figure("c_score_pair", found["c_score_pair"][first[:3]]) == 1 / 5


def test_replies_that_contradict_a_fact(classifier: Classifier) -> None:
    facts = ["i love dogs", "i hate cats"]
    replies = ["i love cats", "i hate cats", "hello", "i hate dogs"]
    assert contradicts_facts(replies, [facts, facts, facts, []], classifier) == [True, False, False, False]


def test_premises_and_hypotheses(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(Classifier, "scores", lambda _, pairs: asked.extend(pairs) or dict.fromkeys(pairs, 0))
    nli_metrics(Replies(Places(np.array([0]), np.array([3])), ["reply"], [""], [["fact"]], [["earlier"]]), classifier)
    assert asked == [("reply", "fact"), ("earlier", "reply")]


def test_no_speaker_has_facts(classifier: Classifier) -> None:
    replies = Replies(Places(np.array([0]), np.array([1])), ["hello"], [""], [[]], [[]])
    assert {name: entries.values.tolist() for name, entries in nli_metrics(replies, classifier).items()} == {
        "contradicts_self": [0]
    }


def test_long_text_is_cut(classifier: Classifier) -> None:
    pair = ("i love dogs " * 30, "i love dogs " * 30)
    assert classifier.scores([pair]).keys() == {pair}


def test_a_decoder_may_be_the_classifier(tmp_path: Path) -> None:
    """Its tokenizer has no token to pad with."""
    tokenizer = word_tokenizer()
    tokenizer.pad_token, tokenizer.eos_token = None, "[SEP]"
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=8, n_layer=1, n_head=1, id2label=dict(enumerate(LABELS)))
    torch.manual_seed(0)
    GPT2ForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = load_classifier(str(tmp_path))
    pairs = [("hello", "i love dogs"), ("i hate cats", "i hate cats")]
    assert loaded.scores(pairs) == {pair: loaded.scores([pair])[pair] for pair in pairs}


def test_classifiers_that_cannot_serve(nli_folder: Path, tmp_path: Path) -> None:
    headless = shutil.copytree(nli_folder, tmp_path / "headless")
    weights = load_file(headless / "model.safetensors")
    del weights["classifier.bias"]
    save_file(weights, headless / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"its weights lack classifier\.bias, so it was not trained as a classifier"):
        load_classifier(str(headless))
    config = json.loads((nli_folder / "config.json").read_text())
    config["id2label"] = {"0": "yes", "1": "no", "2": "neutral"}
    other = shutil.copytree(nli_folder, tmp_path / "other")
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="its labels are neutral, no, yes; expected a classifier"):
        load_classifier(str(other))
    (other / "config.json").write_text("{")
    with pytest.raises(UserError, match="cannot load this classifier"):
        load_classifier(str(other))
