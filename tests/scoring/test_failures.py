"""failures.py: rejected replies, by hand and under a model; test_evaluate.py runs it through the script."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from personagpt.model.loading import TrainedModel
from personagpt.scoring.definitions import METRICS
from personagpt.scoring.failures import failure_contexts, likelihood_metrics, reply_metrics, score_failures
from personagpt.scoring.nli import load_classifier
from personagpt.sequences.failures import Failures
from personagpt.sequences.format import Encoder
from personagpt.sequences.preferences import Preference
from personagpt.settings import read_settings
from personagpt.talking.persona import Persona
from personagpt.text.lines import TextError
from personagpt.text.style import Style, Writing

BAKER = ["i work as a baker .", "i love dogs ."]
LOOSE = Writing(None, {}, None)
ITEMS = [
    Preference(1, BAKER, ["what do you do ?"], 1, None, "i am a baker . and you ?", "i am a pilot . and you ?"),
    Preference(2, BAKER, ["hi !", "i love dogs very much .", "so ?"], 1, None, "i bake .", "i love dogs very much ."),
    Preference(3, ["i ski ."], ["hi !"], 1, None, None, "so"),
]


def failures(*items: Preference, held_back: tuple[int, ...] = ()) -> Failures:
    personas = [[BAKER, ["i ski ."]].index(item.facts) for item in items]
    return Failures(Path("talks"), list(items), [f"p:{item.line}" for item in items], personas, set(held_back), "0")


@pytest.fixture
def trained(tiny_model, tokenizer) -> TrainedModel:
    return TrainedModel("m", None, tiny_model.eval(), tokenizer, Encoder(tokenizer), "fp32", "c0ffee", 7)


def figures(entries: dict) -> dict[str, float]:
    return {metric.name: metric.figure(entries[metric.name]) for metric in METRICS if metric.name in entries}


def test_what_can_be_seen_in_replies(nli_folder) -> None:
    rejected = reply_metrics(failures(*ITEMS), [item.rejected for item in ITEMS], None)
    assert figures(rejected) == {"said_again": 1, "repeat_rate": 1 / 3, "recalled": 0, "wrong_words": 1}
    answers = ["a baker , not a pilot", "i love dogs VERY much", "So!"]
    assert figures(reply_metrics(failures(*ITEMS), answers, None)) == {
        "said_again": 2 / 3,  # marks and capitals make no other reply
        "repeat_rate": 1 / 3,
        "recalled": 1,  # of "baker": nobody had said the word, and "i" stands in the rejected reply, too
        "wrong_words": 1,  # of "pilot": "dogs" is a fact
    }
    read = reply_metrics(failures(*ITEMS), answers, load_classifier(str(nli_folder)))
    assert {"c_score", "c_score_pair", "contradicts_self"} < set(read)
    assert figures(reply_metrics(failures(ITEMS[2]), ["no"], None)) == {"said_again": 0, "repeat_rate": 0}


def test_likelihoods_are_those_of_a_talk(trained) -> None:
    """A Persona scores both replies after the last utterances that the model is shown."""
    history = [f"number {number} ." for number in range(9)]
    long = replace(ITEMS[0], utterances=history)
    trained = replace(trained, style=Style(LOOSE, LOOSE, 5, 8))
    assert trained.style.max_history == 5
    for items in ([long], [ITEMS[2], long, ITEMS[1]]):
        asked = failures(*items)
        found = likelihood_metrics(trained, asked, failure_contexts(trained, asked))
        margins = []
        for item in items:
            if item.chosen:
                *history, last = item.utterances
                persona = Persona(trained, item.facts, history=history, as_typed=True)
                margins.append(persona.score(item.chosen, last).own - persona.score(item.rejected, last).own)
        assert found["better_margin"].values == pytest.approx(margins, rel=1e-4, abs=1e-4)
        assert found["rejected_likelier"].values.tolist() == [margin < 0 for margin in margins]
        assert found["better_margin"].places.dialogues.tolist() == [0] * len(margins)
    assert likelihood_metrics(trained, failures(ITEMS[2]), [[0]]) == {}


def test_a_context_that_does_not_fit_is_named(trained) -> None:
    with pytest.raises(
        TextError,
        match=r"^p:2: beside a reply of \d{3,} tokens, the persona .* fit into 0 tokens.* leave this line out$",
    ):
        failure_contexts(trained, failures(ITEMS[0], replace(ITEMS[1], rejected="so " * 400)))


def test_one_model_and_two(trained, monkeypatch, write_settings, tmp_path, capsys) -> None:
    settings = read_settings(write_settings(save_path=tmp_path), {})
    likes = {"a": 1.0, "b": -1.0}
    monkeypatch.setattr("personagpt.scoring.failures.load_trained", lambda name, _: replace(trained, name=name))

    def likelihoods(model: TrainedModel, asked: Failures, contexts: list) -> dict:
        found = likelihood_metrics(model, asked, contexts)
        found["better_margin"].values[:] = likes[model.name] * np.arange(1, 3)
        return found

    monkeypatch.setattr("personagpt.scoring.failures.likelihood_metrics", likelihoods)
    asked = failures(*ITEMS[:1], replace(ITEMS[0], facts=["i ski ."]), ITEMS[2], held_back=(1,))
    one = score_failures(["a"], asked, settings, None)
    printed = capsys.readouterr().out
    assert "3 rejected replies of talks, 2 of them with a better reply" in printed
    assert "The 2 of them that training holds back, of 1 persona\n" in printed
    assert one["all"]["a"]["better_margin"] == 1.5
    assert one["held_back"]["a"]["better_margin"] == 2
    assert "better_margin" not in one["all"]["recorded"]
    assert "differences" not in one["all"]
    two = score_failures(["a", "b"], asked, settings, None)
    assert two["all"]["differences"]["better_margin"] == {"difference": -3, "low": -4, "high": -2}
    assert two["held_back"]["differences"]["better_margin"] == {"difference": -4}  # a single persona
    assert {key: two[key] for key in ("rejected_replies", "with_better_reply")} == {
        "rejected_replies": 3,
        "with_better_reply": 2,
    }
    printed = capsys.readouterr().out
    assert re.search(r"\nbetter_margin +1\.50 +-1\.50 +-3\.00   -4\.00 to -2\.00\n", printed)
    assert re.findall(r"B - A.*", printed) == ["B - A   95 % interval", "B - A"]  # one persona gives no interval
    json.dumps(two)
    score_failures(["a", "b"], failures(ITEMS[0], ITEMS[0]), settings, None)
    assert "nterval" not in capsys.readouterr().out
