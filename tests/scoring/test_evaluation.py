"""evaluation.py: one model or two on a text; test_evaluate.py runs it through the script."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from personagpt.model.loading import TrainedModel
from personagpt.scoring.definitions import METRICS
from personagpt.scoring.evaluation import EvaluationPlan, compare_models, score_model
from personagpt.scoring.nli import load_classifier
from personagpt.scoring.report import table, table_by_turn
from personagpt.sequences.format import Encoder
from personagpt.settings import Settings, read_settings
from personagpt.text.convai2 import parse_corpus
from personagpt.text.dialogue_nli import read_rankings
from tests.scoring.helpers import CANDIDATES, dataset_of, ranking_record


@pytest.fixture
def settings(write_settings, tmp_path: Path) -> Settings:
    return read_settings(write_settings(save_path=tmp_path / "save"), {})


@pytest.fixture
def plan(tmp_path: Path, nli_folder: Path) -> EvaluationPlan:
    corpus = parse_corpus(CANDIDATES.encode(), "t")
    (tmp_path / "f.jsonl").write_text(json.dumps(ranking_record(["i ski ."], ["hi !"], "ho !")))
    rankings = "f.jsonl", read_rankings(tmp_path / "f.jsonl")
    classifier = load_classifier(str(nli_folder))
    return EvaluationPlan(Path("t.txt"), corpus, [], "both", 2, True, True, 3, classifier, rankings)


@pytest.fixture
def trained(tiny_model, tokenizer) -> TrainedModel:
    return TrainedModel("m", None, tiny_model.eval(), tokenizer, Encoder(tokenizer), "fp32", "c0ffee", 7)


def test_everything_that_is_asked_for_is_scored_printed_and_returned(trained, plan, settings, capsys) -> None:
    entries, figures = score_model(trained, plan, settings, "A: ", with_words=True)
    of_failures = {"rejected_likelier", "better_margin", "said_again", "recalled", "wrong_words"}
    assert set(entries) == {metric.name for metric in METRICS} - {"goal_hit", "goal_base"} - of_failures
    assert [len(entries[name]) for name in ("loss", "word_f1", "hits_at_1", "persona_mrr")] == [7, 2, 4, 4]
    assert [len(entries[name]) for name in ("order_spread", "bleu_4", "c_score", "dnli_hits")] == [7, 2, 2, 1]
    counts = {"generated": 2, "nli_replies": 2, "rankings": 1, "orders": 3, "dnli": "f.jsonl", "nli": plan.nli.name}
    assert {key: figures[key] for key in counts} == counts
    dataset = dataset_of(CANDIDATES.encode(), trained.encoder)
    origin = {"step": 7, "model": "m", "model_checksum": "c0ffee", "text": "t.txt"}
    assert {key: figures[key] for key in origin} == origin
    assert figures["response_tokens"] == int(dataset.label_tokens.sum())
    assert figures["identified_among"] == 4
    out = capsys.readouterr().out
    assert out.startswith("A: m, on cpu, ")
    assert f"{len(dataset)} sequences, 2 x {dataset.lengths.sum():,} tokens" in out
    assert table(figures, comparable=False) in out
    assert out.endswith(table_by_turn(figures["by_turn"]) + "\n")


def test_little_is_scored_where_little_is_asked_for(trained, plan, settings, capsys) -> None:
    corpus = parse_corpus(b"1 your persona: i ski .\n2 a\tb\n3 c\td\n", "t")
    entries, figures = score_model(trained, EvaluationPlan(Path("t.txt"), corpus, []), settings)
    assert set(entries) == {"loss", "perplexity", "turn_perplexity", "token_f1"}
    assert "by_turn" not in figures
    assert "identified_among" not in figures
    assert capsys.readouterr().out.startswith("m, on cpu")


def test_two_models_are_compared(tmp_path, tiny_model, tokenizer, plan, settings, capsys) -> None:
    for name in "xy":
        tiny_model.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        tiny_model.transformer.ln_f.weight.data *= 1.1
    result = compare_models([str(tmp_path / "x"), str(tmp_path / "y")], plan, settings)
    assert result["a"]["model_checksum"] != result["b"]["model_checksum"]
    assert result["same_vocabulary"]
    loss = result["differences"]["loss"]
    assert loss["difference"] == pytest.approx(result["b"]["loss"] - result["a"]["loss"])
    assert loss["low"] <= loss["difference"] <= loss["high"]
    assert (result["resamples"], result["interval_percent"], result["seed"]) == (2000, 95, 42)
    out = capsys.readouterr().out
    assert [line[:3] for line in out.splitlines() if line[:3] in ("A: ", "B: ")] == ["A: ", "B: "]
    assert "B - A" in out
