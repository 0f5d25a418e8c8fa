"""Base models of other families than GPT-2, from the text to a reply: every script takes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, pipeline

import evaluate
import train
from personagpt import Persona
from personagpt.model.loading import load
from personagpt.sequences.batches import StepPlan
from tests.families import write_base
from tests.helpers import die, group_before, prepare_run, rows, same, train_run, weights, write_data
from tests.scoring.helpers import CANDIDATES

# What a family's run has beside the plain settings, so that each setting meets another family.
SETTINGS: dict[str, dict[str, object]] = {
    "llama": {"goals": "goals.tsv", "gradient_checkpointing": True},
    "qwen2": {"precision": "bf16"},
    "gpt_neox": {"gradient_checkpointing": True},
    "opt": {"init": "random"},
}

MESSAGES = [{"role": "system", "content": "i have two dogs."}, {"role": "user", "content": "hi !"}]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(folder, train=6, valid=2)
    for family in SETTINGS:
        write_base(folder / family, family)
    return folder


@pytest.fixture(scope="module", params=SETTINGS)
def finished(request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The settings file of a run of 3 steps with dropout, where the family has dropout, that was never stopped."""
    env = prepare_run(
        tmp_path_factory.mktemp(request.param), data, model_name=data / request.param, epochs=1, batch_size=2,
        **SETTINGS[request.param],
    )  # fmt: skip
    assert train_run(env) == 0
    return env


def test_a_run_that_died_goes_on_exactly(
    finished: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = json.loads((finished.parent / "save" / "checkpoint" / "model" / "config.json").read_text())["model_type"]
    env = prepare_run(tmp_path, data, model_name=data / family, epochs=1, batch_size=2, **SETTINGS[family])
    with monkeypatch.context() as patch:
        patch.setattr(StepPlan, "group", group_before(3, die))
        with pytest.raises(ZeroDivisionError):
            train.main(["--env", str(env)])
    assert train_run(env) == 0
    assert rows(env) == rows(finished)
    assert rows(env, "eval.csv") == rows(finished, "eval.csv")
    assert same(weights(env), weights(finished))


def test_the_split_of_a_step_changes_nothing(data: Path, tmp_path: Path) -> None:
    losses = []
    for batch_size, accumulation in ((1, 6), (3, 2)):
        folder = tmp_path / str(batch_size)
        folder.mkdir()
        env = prepare_run(
            folder, data, model_name=data / "qwen2", epochs=1, logging_steps=1, learn_rate=1e-4,
            batch_size=batch_size, gradient_accumulation_steps=accumulation,
        )  # fmt: skip
        assert train_run(env) == 0
        losses.append([float(row["loss"]) for row in rows(env)])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_the_saved_model_is_the_librarys_and_talks(finished: Path) -> None:
    folder = finished.parent / "save" / "checkpoint" / "model"
    saved = AutoModelForCausalLM.from_pretrained(folder)
    stored = weights(finished)
    tied = saved.config.tie_word_embeddings
    assert len(stored) == len(list(saved.parameters()))  # a tied matrix once, two matrices both
    assert (saved.get_output_embeddings().weight is saved.get_input_embeddings().weight) == tied
    ids = torch.arange(7, 20)[None]
    trained = load(folder)
    with torch.no_grad():
        torch.testing.assert_close(saved.eval()(ids).logits, trained.model(ids).logits, rtol=1e-4, atol=1e-4)
    answer = pipeline("text-generation", model=str(folder), device="cpu")(MESSAGES, max_new_tokens=5)
    assert answer[0]["generated_text"][:2] == MESSAGES
    persona = Persona(trained, ["i have two dogs.", "i work as a nurse."], seed=1)
    assert persona.reply("hi ! what do you do for a living ?")
    assert persona.score("i am a nurse .").tokens > 0


def test_it_is_evaluated_with_everything(finished: Path, tmp_path: Path) -> None:
    text = tmp_path / "candidates.txt"
    text.write_text(CANDIDATES)
    out = tmp_path / "figures.json"
    options = ["--text", str(text), "--out", str(out), "--identify", "--generate", "2"]
    assert evaluate.main(["--env", str(finished), *options]) == 0
    figures = json.loads(out.read_text())
    for name in ("perplexity", "persona_gain", "word_f1", "hits_at_1", "persona_at_1"):
        assert name in figures
