"""logs.py: sections of replies and evaluations that are cut back to a checkpoint, TensorBoard."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from personagpt.errors import UserError
from personagpt.training import logs
from personagpt.training.csv_log import CsvLog


def test_a_folder_in_the_place_of_a_log(tmp_path: Path) -> None:
    for name in ("log.csv", "responses.txt", "eval.json"):
        (tmp_path / name).mkdir()
    CsvLog(tmp_path / "log.csv", ["step", "loss"], 100)
    logs.keep_sections(tmp_path / "responses.txt", 100)
    logs.keep_evaluation(tmp_path / "eval.json", None, 100)
    assert sorted(path.name for path in tmp_path.glob("damaged-*")) == [
        "damaged-eval.json", "damaged-log.csv", "damaged-responses.txt",
    ]  # fmt: skip


def test_sections_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "responses.txt"
    logs.append_section(
        path, 3, 1.0, "persona: i say === step 9, often .\u2028=== step 8, epoch 1.00 ===\n=== step x\n\n"
    )
    first = path.read_bytes()
    logs.append_section(path, 6, 2.0, "later\n")
    logs.keep_sections(path, 5)
    assert path.read_bytes() == first
    for cut_off in (b"=", b"=== step 6", b"=== step 6, epoch 2.00 ==="):
        path.write_bytes(first + cut_off)
        logs.keep_sections(path, 5)
        assert path.read_bytes() == (first + cut_off if cut_off == b"=" else first)
    logs.keep_sections(tmp_path / "absent.txt", 5)


@pytest.mark.parametrize(
    ("content", "left"),
    [
        (None, {"step": 4, "loss": 1.0}),
        ("[1]", {"step": 4, "loss": 1.0}),
        ('{"step": 6}', {"step": 4, "loss": 1.0}),
        ('{"step": "x"}', {"step": 4, "loss": 1.0}),
        ('{"step": 3}', {"step": 3}),
        ('{"step": 4, "persona_mrr": 0.5}', {"step": 4, "persona_mrr": 0.5}),  # evaluate.py has added to it
        ('{"model": "of another run"}', {"model": "of another run"}),
    ],
)
def test_the_last_evaluation_goes_back_to_the_checkpoint(
    tmp_path: Path, content: str | None, left: dict[str, object]
) -> None:
    path = tmp_path / "eval.json"
    if content is not None:
        path.write_text(content)
    logs.keep_evaluation(path, {"step": 4, "loss": 1.0}, 4)
    assert json.loads(path.read_text()) == left
    assert (tmp_path / "damaged-eval.json").exists() == (content == "[1]")


def test_missing_tensorboard_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match="tensorboard = True needs TensorBoard: pip install tensorboard"):
        logs.open_tensorboard(tmp_path, 0)


def test_tensorboard_has_the_same_figures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is optional and not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from tests.helpers import copy_base, prepare_run, rows, train_run, write_data

    data = tmp_path / "data"
    data.mkdir()
    write_data(data, train=8, valid=2)
    copy_base(data / "base", dropout=0.0)
    for epochs in (1, 2):  # the second time goes on
        env = prepare_run(tmp_path, data, tensorboard=True, logging_steps=1, epochs=epochs)
        assert train_run(env) == 0
    events = EventAccumulator(str(tmp_path / "save" / "samples" / "tensorboard")).Reload()
    for name, group, columns in (("loss.csv", "train", ("loss", "learn_rate")), ("eval.csv", "valid", ("loss",))):
        for column in columns:
            shown = [(event.step, event.value) for event in events.Scalars(f"{group}/{column}")]
            written = [(int(row["step"]), float(row[column])) for row in rows(env, name)]
            assert [step for step, _ in shown] == [step for step, _ in written]
            assert [value for _, value in shown] == pytest.approx([value for _, value in written], rel=1e-5)
    assert len(events.Tensors("sample replies/text_summary")) == 2
