"""train.py: the same steps however a step is split, the schedule, resume, restart, and what a run writes."""

from __future__ import annotations

import dataclasses
import functools
import gc
import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import evaluate
import preprocess_dataset
import train
from personagpt import load
from personagpt.device import Processes
from personagpt.sequences.batches import StepPlan
from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.settings import read_settings
from personagpt.text.style import read_style
from personagpt.training import recorder, saver
from personagpt.training.optimization import Trainer
from personagpt.training.resume import RunState
from tests.helpers import (
    VARIETIES,
    copy_base,
    die,
    group_before,
    prepare_run,
    rows,
    same,
    train_run,
    weights,
    write_data,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 training dialogues (24 sequences), 3 validation dialogues, and the base model with dropout on."""
    folder = tmp_path_factory.mktemp("data")
    write_data(folder, train=12, valid=3)
    copy_base(folder / "base", dropout=0.1)
    return folder


@pytest.fixture(scope="module")
def plain_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base model with dropout off, so that different splits of a step can be compared."""
    return copy_base(tmp_path_factory.mktemp("plain") / "base", dropout=0.0)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Callable[[str], Path]:
    """Return the settings file of a variety's run of 6 steps that was never interrupted, dropout on."""

    @functools.cache
    def run(variety: str) -> Path:
        env = prepare_run(tmp_path_factory.mktemp(variety), data, **VARIETIES[variety])
        assert train_run(env) == 0
        return env

    return run


@pytest.fixture(scope="module")
def finished(uninterrupted: Callable[[str], Path]) -> Path:
    """The plain run of 6 steps that was never interrupted."""
    return uninterrupted("plain")


def test_a_warmup_longer_than_the_run_is_capped(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env = prepare_run(tmp_path, data, warmup_steps=30, epochs=1, logging_steps=1)
    assert train_run(env) == 0
    assert "warmup_steps = 30 is longer than the run: it warms up over 2 steps" in capsys.readouterr().out
    assert [float(row["learn_rate"]) for row in rows(env)] == pytest.approx([5e-4, 1e-3, 1e-3])


def test_off_a_terminal_there_is_a_line_for_every_row_and_no_bar(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = prepare_run(tmp_path, data, epochs=1)
    capsys.readouterr()
    assert train_run(env) == 0
    out, err = capsys.readouterr()
    lines = [line for line in out.splitlines() if line.startswith("step ")]
    pattern = r"step %s of 3: loss \d+\.\d{3}, learning rate %s, 00:0\d left"
    for line, row in zip(lines, (("1", "1.0e-03"), ("2", "6.7e-04"), ("3", "3.3e-04")), strict=True):
        assert re.fullmatch(pattern % row, line)
    assert err == ""


def test_evaluate_writes_what_the_model_was_trained_with_into_its_card(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = finished.parent / "save" / "checkpoint" / "model"
    before = (folder / "README.md").read_text()
    changed = {"learn_rate": "0.5", "model_name": str(tmp_path), "goals": str(finished.parent / "goals.tsv")}
    for key, value in changed.items():
        monkeypatch.setenv(key, value)  # today's settings
    assert evaluate.main(["--env", str(finished), "--identify"]) == 0
    card = (folder / "README.md").read_text()
    assert "| persona_mrr | " in card
    assert set(before.splitlines()) <= set(card.splitlines())
    # Scored on another text, or on today's other text: the card stays.
    other = tmp_path / "valid_both_original_no_cands.txt"
    write_data(tmp_path, valid=2)
    assert evaluate.main(["--env", str(finished), "--text", str(other)]) == 0
    monkeypatch.setenv("data_path", str(tmp_path))
    assert evaluate.main(["--env", str(finished)]) == 0
    assert (folder / "README.md").read_text() == card
    (folder / "README.md").write_text(before)


def test_goals_are_trained_on_and_not_scored_twice(
    tmp_path: Path, data: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    goals = tmp_path / "goals.tsv"
    goals.write_text("ask about work.\task\twork job living\nask about music.\task\tmusic listen\n")
    env = prepare_run(tmp_path, data, goals=goals, epochs=1)
    assert train_run(env) == 0
    assert "24 sequences" not in capsys.readouterr().out  # 12 dialogues, and what they ask about
    (last,) = rows(env, "eval.csv")
    assert last["responses"] == rows(finished, "eval.csv")[-1]["responses"]
    assert "`ask about music.`" in (env.parent / "save" / "checkpoint" / "model" / "README.md").read_text()
    for name in ("model", "best"):
        assert load(tmp_path / "save" / "checkpoint" / name).goals == ["ask about work.", "ask about music."]
    assert load(finished.parent / "save" / "checkpoint" / "model").goals == []
    # Tensors made from other goals, or without them, are noticed.
    goals.write_text("ask about work.\task\twork job\n")
    assert train_run(env, "--restart") == 2
    assert "train_data.safetensors: made without these goals; run preprocess" in capsys.readouterr().err
    assert train_run(prepare_run(finished.parent, data, goals=goals)) == 2
    assert "train_data.safetensors: made without these goals; run preprocess" in capsys.readouterr().err
    prepare_run(finished.parent, data)
    goals.write_text("ask about work.\n")
    assert train_run(env) == 2
    assert f"error: {goals}:1: 1 column, not three" in capsys.readouterr().err


def test_any_split_of_a_step_gives_the_same_steps(tmp_path: Path, data: Path, plain_base: Path) -> None:
    runs = {}
    for batch_size, accumulation in ((1, 8), (2, 4), (8, 1)):
        folder = tmp_path / f"{batch_size}x{accumulation}"
        folder.mkdir()
        env = prepare_run(
            folder, data, model_name=plain_base, epochs=1, batch_size=batch_size,
            gradient_accumulation_steps=accumulation, logging_steps=1, save_steps=1, learn_rate=5e-5,
        )  # fmt: skip
        assert train_run(env) == 0
        numbers = [float(row[column]) for row in rows(env) for column in ("loss", "grad_norm")]
        runs[batch_size] = numbers, weights(env)
    assert len(runs[1][0]) == 2 * 3
    for numbers, learned in (runs[2], runs[8]):
        assert numbers == pytest.approx(runs[1][0], abs=1e-5)
        for name, tensor in learned.items():
            theirs = runs[1][1][name]
            if name.endswith("attn.c_attn.bias"):
                # Softmax does not see a constant added to all keys, so the keys' bias has a gradient of rounding errors
                # alone, which AdamW scales up to whole steps.
                width = len(tensor) // 3
                tensor, theirs = (torch.cat([bias[:width], bias[2 * width :]]) for bias in (tensor, theirs))
            torch.testing.assert_close(tensor, theirs, atol=1e-5, rtol=0)


def test_what_a_run_writes(finished: Path) -> None:
    save = finished.parent / "save"
    losses, evaluations = rows(finished), rows(finished, "eval.csv")
    assert [row["step"] for row in losses] == ["1", "2", "4", "6"]
    assert [float(row["epoch"]) for row in losses] == pytest.approx([1 / 3, 2 / 3, 4 / 3, 2])
    # The rate of steps 1, 2, 4 and 6 of 6.
    assert [float(row["learn_rate"]) for row in losses] == pytest.approx([1e-3, 5e-3 / 6, 3e-3 / 6, 1e-3 / 6])
    assert [row["step"] for row in evaluations] == ["3", "6"]
    assert float(evaluations[1]["loss"]) < float(evaluations[0]["loss"])
    assert json.loads((save / "samples" / "eval.json").read_text())["step"] == 6
    described = json.loads((save / "samples" / "run.json").read_text())
    assert described["settings"]["learn_rate"] == 1e-3
    assert described["sequences_per_step"] == 8
    assert described["data"]["train"]["context"]
    for name in ("loss.png", "learn_rate.png"):
        assert (save / "samples" / name).read_bytes().startswith(b"\x89PNG")
    replies = (save / "samples" / "responses.txt").read_text()
    assert replies.count("=== step ") == 2
    assert replies.count("speaker, the model: ") == replies.count("speaker, the human: ") > 4


def test_room_and_logs_come_before_a_checkpoint(
    tmp_path: Path, data: Path, disk_events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    env = prepare_run(tmp_path, data, epochs=1, save_steps=1)

    def asked(folder: Path, size: int) -> None:
        disk_events.append(f"room {size}")

    monkeypatch.setattr(saver, "check_room", asked)
    assert train_run(env) == 0
    tensors = [parameter.numel() for parameter in weights(env).values()]
    # Weights, AdamW's two moments and each tensor's count of steps, 4 bytes a number.
    whole, best = f"room {4 * (3 * sum(tensors) + len(tensors))}", f"room {4 * sum(tensors)}"
    wanted = (whole, best, "fsync loss.csv", "fsync eval.csv", "fsync responses.txt", "replace model", "replace best")
    once = [event for event in disk_events if event in wanted]
    # The logs of a save are on the disk before its link moves; room is asked for when the save before it has ended.
    assert [event for event in once if event.startswith(("room", "replace"))] == [
        *[whole, "replace model"] * 2, best, "replace best", whole, "replace model",
    ]  # fmt: skip
    for name, count in (("loss.csv", 3), ("eval.csv", 3), ("responses.txt", 1)):
        assert once.count(f"fsync {name}") == count
        last = len(once) - 1 - once[::-1].index(f"fsync {name}")
        assert last < len(once) - 1 - once[::-1].index(whole)


def test_steps_are_taken_while_a_save_is_written(
    tmp_path: Path, data: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is saved is nevertheless the step that was asked for: going on from it ends the same."""
    env = prepare_run(tmp_path, data)
    real_save, step_4_begins = saver.save_checkpoint, threading.Event()

    def late(folder: Path, step: int, *rest: object) -> None:
        assert step != 2 or step_4_begins.wait(60)
        real_save(folder, step, *rest)

    def die() -> None:
        step_4_begins.set()
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(saver, "save_checkpoint", late)
        patch.setattr(saver, "save_best", lambda *_: None)  # the end of the epoch would wait for the save
        patch.setattr(recorder.Recorder, "evaluate", lambda *_: None)
        patch.setattr(StepPlan, "group", group_before(4, die))
        with pytest.raises(Interrupted):
            train.main(["--env", str(env)])
    assert os.readlink(tmp_path / "save" / "checkpoint" / "model") == "step-00000002"
    assert train_run(env) == 0
    assert_same_end(env, finished)


@pytest.mark.parametrize("enough", [True, False])
def test_without_memory_for_copies_training_waits(
    tmp_path: Path, data: Path, finished: Path, enough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = prepare_run(tmp_path, data)
    copied, copies = [], saver.copies
    monkeypatch.setattr(saver, "has_memory", lambda size: enough)
    monkeypatch.setattr(saver, "copies", lambda tensors: copied.append(1) or copies(tensors))
    assert train_run(env) == 0
    assert bool(copied) == enough
    assert same(weights(env), weights(finished))


@pytest.mark.parametrize("broken", ["save_checkpoint", "save_best"])
def test_a_save_that_fails_ends_the_run_with_its_line(
    tmp_path: Path, data: Path, broken: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    env = prepare_run(tmp_path, data, save_steps=2, epochs=20)

    def full(folder: Path, step: int, *_: object) -> None:
        raise OSError(28, "No space left on device", str(folder))

    monkeypatch.setattr(saver, broken, full)
    assert train_run(env) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: the disk is full while writing ")
    assert said.count("\n") == 1
    assert len(rows(env)) < 4


def test_the_checkpoint_loads_with_from_pretrained(finished: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = finished.parent / "save" / "checkpoint" / "model"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == model.get_input_embeddings().num_embeddings
    assert tokenizer.chat_template
    assert model.config.activation_function == "gelu_new"


def test_a_model_that_learns_more_is_scored_before_its_first_step(
    tmp_path: Path, finished: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rate that ruins the model: the best one is the model that the run started from, and the commands name it."""
    base = finished.parent / "save" / "checkpoint" / "model"
    env = prepare_run(tmp_path, data, epochs=1, model_name=base, learn_rate=0.5)
    with monkeypatch.context() as patch:
        patch.setattr("personagpt.training.optimization.training_step", die)
        with pytest.raises(ZeroDivisionError):
            train_run(env)
    assert [row["step"] for row in rows(env, "eval.csv")] == ["0"]
    capsys.readouterr()
    assert train_run(env) == 0
    assert [row["step"] for row in rows(env, "eval.csv")] == ["0", "3"]
    best = tmp_path / "save" / "checkpoint" / "best"
    assert same(load_file(best / "model.safetensors"), load_file(base / "model.safetensors"))
    out = capsys.readouterr().out
    assert "The validation loss was lowest before this training: these commands take that model, and not the" in out
    assert f" --model {best} --random-persona\n" in out
    assert f"evaluate.py --env {env} --model {best}\n" in out


def test_the_commands_name_the_best_model_where_the_last_is_another(
    tmp_path: Path, write_settings: Callable[..., Path]
) -> None:
    env = write_settings(save_path=tmp_path / "save")
    settings = read_settings(env)
    last = train.closing_words(settings, env, RunState(step=6, best={"loss": 1.0, "step": 6}))
    assert "--model" not in last
    before = train.closing_words(settings, env, RunState(step=6, best={"loss": 1.0, "step": 3}))
    assert "The validation loss was lowest after step 3: these commands" in before
    assert before.count(f" --model {settings.save_path / 'checkpoint' / 'best'}") == 2


def test_after_learning_from_rejected_replies_a_command_compares_both_models_on_them(
    finished: Path, write_settings: Callable[..., Path], plain_base: Path, tmp_path: Path
) -> None:
    first, export, state = finished.parent / "save" / "checkpoint" / "model", tmp_path / "talks", RunState(step=6)
    export.mkdir()
    (export / "preferences.jsonl").write_text("")
    changes = {"save_path": tmp_path / "second", "preferences": export / "preferences.jsonl"}
    env = write_settings(tmp_path / "second.env", model_name=first, **changes)
    settings = read_settings(env)
    last = train.closing_words(settings, env, state)
    assert f" --env {env} --failures {export} --compare {settings.model_name} {settings.save_path}\n" in last
    state.best = {"loss": 1.0, "step": 3}
    best = settings.save_path / "checkpoint" / "best"
    assert f" --compare {settings.model_name} {best}\n" in train.closing_words(settings, env, state)
    state.best = {"loss": 1.0, "step": 0}  # the model before: to compare it with itself would show nothing
    before = train.closing_words(settings, env, state)
    assert before.index(f" --compare {settings.model_name} {settings.save_path}\n") < before.index("these commands")
    unweighted = dataclasses.replace(settings, preference_weight=0.0)
    other_name = dataclasses.replace(settings, preferences=str(export / "pairs.jsonl"))
    without_personas = dataclasses.replace(settings, model_name=str(plain_base))
    for other in (unweighted, other_name, without_personas):
        assert "--failures" not in train.closing_words(other, env, state)


def test_starting_again_after_the_end_changes_nothing(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = rows(finished), weights(finished)
    assert train_run(finished) == 0
    assert "already finished: 6 steps, 2 epochs\n" in capsys.readouterr().out
    assert rows(finished) == before[0]
    assert same(weights(finished), before[1])


@pytest.mark.parametrize(("epochs", "words"), [(1, "3 steps, 1 epoch\n"), (3, "8 steps, 2.67 epochs\n")])
def test_with_fewer_epochs_the_epochs_that_were_taken_are_told(
    tmp_path: Path, data: Path, epochs: int, words: str, monkeypatch: pytest.MonkeyPatch, run: Callable
) -> None:
    env = prepare_run(tmp_path, data, epochs=epochs)
    with monkeypatch.context() as patch:
        patch.setattr(StepPlan, "group", group_before(8, lambda: os.kill(os.getpid(), signal.SIGTERM)))
        assert train_run(env) == (0 if epochs == 1 else 143)
    prepare_run(tmp_path, data, epochs=1)
    assert f"already finished: {words}" in run(train.main, "--env", env).out


class Interrupted(Exception):
    """Stands in for a process that dies."""


def assert_same_end(env: Path, calm: Path) -> None:
    """Assert that two runs left the same weights and logs, to the last bit."""
    for name in ("model", "best"):
        assert same(weights(env, name), weights(calm, name))
    for name in ("loss.csv", "eval.csv"):
        assert rows(env, name) == rows(calm, name)
    replies = [(path.parent / "save" / "samples" / "responses.txt").read_text() for path in (env, calm)]
    assert replies[0] == replies[1]


@pytest.mark.parametrize("variety", VARIETIES)
def test_a_run_that_died_goes_on_exactly(
    tmp_path: Path, data: Path, uninterrupted: Callable, variety: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = prepare_run(tmp_path, data, **VARIETIES[variety])

    def die() -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(StepPlan, "group", group_before(4, die))
        with pytest.raises(Interrupted):
            train.main(["--env", str(env)])
    assert [row["step"] for row in rows(env, "eval.csv")] == ["3"]  # later than the checkpoint of step 2
    assert train_run(env) == 0
    assert_same_end(env, uninterrupted(variety))


def test_what_people_do_to_the_logs_stops_no_run(
    tmp_path: Path, data: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = prepare_run(tmp_path, data)
    samples, plan_group = tmp_path / "save" / "samples", StepPlan.group

    def meddle(plan: StepPlan, step: int) -> object:
        for thread in threading.enumerate():
            if thread.name == "save":  # between two saves
                thread.join()
        if step == 2:
            shutil.rmtree(samples)
        if step == 4:
            (samples / "loss.csv").write_text("mine")
        if step == 5:
            shutil.rmtree(tmp_path / "save" / "checkpoint")
        return plan_group(plan, step)

    monkeypatch.setattr(StepPlan, "group", meddle)
    assert train_run(env) == 0
    assert rows(env) == rows(finished)
    assert rows(env, "eval.csv") == rows(finished, "eval.csv")
    assert same(weights(env), weights(finished))
    assert (samples / "damaged-loss.csv").read_text() == "mine"


def test_plots_that_cannot_be_drawn_cost_no_checkpoint(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        assert (tmp_path / "save" / "checkpoint" / "model").exists()  # the checkpoint comes first
        raise ValueError("no fonts")

    monkeypatch.setattr("personagpt.training.recorder.draw_plots", fail)
    assert train_run(prepare_run(tmp_path, data, epochs=1)) == 0
    said = capsys.readouterr()
    assert "loss.png: cannot be written (no fonts); the run goes on" in said.out
    assert "finished: 3 steps" in said.out


@pytest.mark.parametrize("generation", ["{", '{"top_k": "x"}'])
def test_editing_what_resuming_does_not_read_costs_nothing(
    tmp_path: Path, data: Path, finished: Path, generation: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished.parent / "save", tmp_path / "save", symlinks=True)
    env = prepare_run(tmp_path, data, epochs=3)
    for name in ("generation_config.json", "tokenizer_config.json", "README.md", "style.json"):
        content = generation if name.startswith("generation") else "mine"
        (tmp_path / "save" / "checkpoint" / "model" / name).write_text(content)
    assert train_run(env) == 0
    said = capsys.readouterr().out
    assert "damaged" not in said
    assert "going on after step 6 of 9" in said
    style = PersonaChatDataset(tmp_path / "save" / "train_data.safetensors").style
    assert style is not None
    assert read_style(tmp_path / "save" / "checkpoint" / "model") == style


def test_a_full_disk_while_logs_are_opened_is_one_line_below_no_bar(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    env = prepare_run(tmp_path, data)

    def full(path: Path, *_: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("personagpt.training.csv_log.write_atomically", full)
    capsys.readouterr()
    assert train_run(env) == 1
    gc.collect()
    said = capsys.readouterr().err
    assert said.startswith("error: the disk is full while writing ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("variety", ["plain", "random-goals-checkpointing"])
def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(
    tmp_path: Path, data: Path, uninterrupted: Callable, variety: str, capsys: pytest.CaptureFixture[str]
) -> None:
    calm, env = uninterrupted(variety), tmp_path / ".env"
    shutil.copytree(calm.parent / "save", tmp_path / "save", symlinks=True)
    prepare_run(tmp_path, data, **VARIETIES[variety])
    damaged = tmp_path / "save" / "checkpoint" / "model" / "optimizer.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    capsys.readouterr()
    assert train_run(env) == 0
    said = capsys.readouterr().out
    assert "damaged checkpoint" in said
    assert "optimizer.safetensors has " in said
    assert "going on after step 4 of 6" in said
    assert_same_end(env, calm)


def test_without_a_sound_checkpoint_nothing_starts_over(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = prepare_run(tmp_path, data)
    assert train_run(env) == 0
    before = rows(env)
    for name in ("model", "previous"):
        (tmp_path / "save" / "checkpoint" / name / "training_state.json").write_text("{}")
    assert train_run(env) == 2
    assert "no sound checkpoint in" in capsys.readouterr().err
    assert rows(env) == before


@pytest.mark.parametrize(
    ("number", "status", "variety"),
    [
        (signal.SIGTERM, 143, "plain"),
        (signal.SIGHUP, 143, "random-bf16-checkpointing"),
        (signal.SIGINT, 130, "random-goals-checkpointing"),
    ],
)
def test_a_signal_finishes_the_step_and_saves(
    tmp_path: Path, data: Path, uninterrupted: Callable, number: signal.Signals, status: int, variety: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    env = prepare_run(tmp_path, data, save_steps=100, **VARIETIES[variety])

    with monkeypatch.context() as patch:
        patch.setattr(StepPlan, "group", group_before(3, lambda: os.kill(os.getpid(), number)))
        assert train_run(env) == status
    assert "stopped after step 3 of 6 and saved; the same command goes on" in capsys.readouterr().err
    assert train_run(env) == 0
    assert_same_end(env, uninterrupted(variety))


def test_a_signal_to_another_process_stops_all(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def any_process(processes: Processes, flag: bool) -> bool:
        asked.append(flag)
        return len(asked) == 2  # the other process got the signal in the second step

    monkeypatch.setattr(Processes, "any", any_process)
    assert train_run(prepare_run(tmp_path, data, save_steps=100)) == 143
    assert asked == [False, False]
    assert "stopped after step 2 of 6 and saved" in capsys.readouterr().err
    assert (tmp_path / "save" / "checkpoint" / "model" / "model.safetensors").exists()


def test_restart_sets_the_old_run_aside(tmp_path: Path, data: Path, finished: Path) -> None:
    env = prepare_run(tmp_path, data, epochs=1)
    assert train_run(env) == 0
    old = weights(env)
    prepare_run(tmp_path, data, epochs=1, seed=7)
    assert train_run(env) == 2  # another run; refused
    assert train_run(env, "--restart") == 0
    save = tmp_path / "save"
    assert same(load_file(save / "old-1" / "checkpoint" / "model" / "model.safetensors"), old)
    assert (save / "old-1" / "samples" / "loss.csv").exists()
    assert not same(weights(env), old)
    assert (save / "train_data.safetensors").exists()


def test_more_epochs_extend_a_finished_run(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env = prepare_run(tmp_path, data, epochs=1)
    assert train_run(env) == 0
    prepare_run(tmp_path, data, epochs=2, logging_steps=1)
    assert train_run(env) == 0
    said = capsys.readouterr().out
    assert "changed since the last save: epochs was 1, is 2" in said
    assert "changed since the last save: logging_steps was 2, is 1" in said
    assert [row["step"] for row in rows(env)] == ["1", "2", "3", "4", "5", "6"]
    assert float(rows(env)[-1]["learn_rate"]) == pytest.approx(1e-3 / 6)


def test_what_makes_it_another_run_is_named_with_both_values(
    tmp_path: Path, data: Path, plain_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = prepare_run(tmp_path, data, epochs=1)
    assert train_run(env) == 0
    product = "batch_size x gradient_accumulation_steps x processes"
    for changes, words in (
        ({"seed": 3}, "(seed was 42, is 3): set"),
        ({"batch_size": 2, "init": "random"}, f"(init was pretrained, is random; {product} was 8, is 4): set"),
        ({"model_name": plain_base}, f"(model_name was {data / 'base'}, is {plain_base}): set"),
    ):
        prepare_run(tmp_path, data, epochs=1, **changes)
        assert train_run(env) == 2
        assert words in capsys.readouterr().err
    prepare_run(tmp_path, data, epochs=1, max_turns=4)
    assert preprocess_dataset.main(["--env", str(env)]) == 0
    assert train_run(env) == 2
    assert "(max_turns was 6, is 4): set" in capsys.readouterr().err


def test_gradient_checkpointing_changes_nothing_but_memory(tmp_path: Path, data: Path, finished: Path) -> None:
    # Dropout is on: what is computed again must draw the same masks again.
    env = prepare_run(tmp_path, data, gradient_checkpointing=True)
    assert train_run(env) == 0
    for ours, theirs in zip(rows(env), rows(finished), strict=True):
        assert float(ours["loss"]) == pytest.approx(float(theirs["loss"]), abs=1e-5)
        assert float(ours["grad_norm"]) == pytest.approx(float(theirs["grad_norm"]), rel=1e-4)


def test_tensors_of_another_text_are_refused(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env = prepare_run(tmp_path, data)
    other = tmp_path / "other"
    shutil.copytree(data, other)
    text = other / "train_both_original_no_cands.txt"
    text.write_text(text.read_text().replace(" i ", " we "))
    prepare_run(tmp_path, other)
    assert train_run(env) == 2
    assert "made from another text than" in capsys.readouterr().err
    prepare_run(tmp_path, data, max_turns=4)
    assert train_run(env) == 2
    assert "made with max_turns = 6, not 4; run preprocess_dataset.py" in capsys.readouterr().err
    (tmp_path / "save" / "valid_data.safetensors").unlink()
    prepare_run(tmp_path, data)
    (tmp_path / "save" / "valid_data.safetensors").unlink(missing_ok=True)
    assert train_run(env) == 2
    assert "no such file; first run `" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_stops_the_run(
    tmp_path: Path, data: Path, plain_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    env = prepare_run(tmp_path, data, model_name=plain_base)
    backward = Trainer.backward
    calls = []

    def poisoned(trainer: Trainer, loss: torch.Tensor) -> None:
        calls.append(loss)
        backward(trainer, loss * (float("nan") if len(calls) == 5 else 1.0))  # in step 3 of two batches each

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "backward", poisoned)
        assert train_run(env) == 1
    assert "error: step 3: the loss or its gradient is not finite (sequences " in capsys.readouterr().err
    assert len(calls) == 6  # stopped within that step
    assert train_run(env) == 0  # the checkpoint of step 2 was sound
    assert [row["step"] for row in rows(env)] == ["1", "2", "4", "6"]


def test_logs_can_be_read_while_training(tmp_path: Path, data: Path) -> None:
    env = prepare_run(tmp_path, data, epochs=3, logging_steps=1)
    seen: list[list[dict[str, str]]] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            if (tmp_path / "save" / "samples" / "loss.csv").exists():
                seen.append(rows(env))
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        assert train_run(env) == 0
    finally:
        done.set()
        watcher.join()
    assert {len(read) for read in seen} & {1, 2, 3, 4, 5, 6, 7, 8}
    assert all(row["loss"] and row["grad_norm"] for read in seen for row in read)
