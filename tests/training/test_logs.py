"""logs.py: CSV files that are cut back to a checkpoint, sections of replies, plots, TensorBoard."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from personagpt.errors import UserError
from personagpt.training import logs
from personagpt.training.logs import CsvLog


def test_rows_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    log = CsvLog(path, ["step", "loss"], 0)
    for step in (2, 4, 6):
        log.append({"step": step, "loss": step / 8, "unknown": 1})
    assert path.read_text() == "step,loss\n2,0.25\n4,0.5\n6,0.75\n"
    log = CsvLog(path, ["step", "loss"], 4)
    assert path.read_text() == "step,loss\n2,0.25\n4,0.5\n"
    assert log.column("loss") == [0.25, 0.5]


def test_a_line_cut_off_while_written_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,loss\n2,0.25\n4,0.")
    log = CsvLog(path, ["step", "loss"], 100)
    log.append({"step": 4, "loss": 0.5})
    assert path.read_text() == "step,loss\n2,0.25\n4,0.5\n"


def test_a_figure_that_was_not_computed_is_an_empty_cell(tmp_path: Path) -> None:
    log = CsvLog(tmp_path / "log.csv", ["step", "persona_gain", "loss"], 0)
    log.append({"step": 1, "loss": 1.0})
    assert (tmp_path / "log.csv").read_text().splitlines()[1] == "1,,1"


def test_sections_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "responses.txt"
    first = "=== step 3, epoch 1.00 ===\npersona: i say === step 9, often .\n\n"
    path.write_text(first + "=== step 6, epoch 2.00 ===\nlater\n")
    logs.keep_sections(path, 5)
    assert path.read_text() == first
    logs.keep_sections(tmp_path / "absent.txt", 5)


def test_plots_of_a_run_without_rows_and_with_one(tmp_path: Path) -> None:
    losses, evaluations = (CsvLog(tmp_path / name, logs.LOSS_COLUMNS, 0) for name in ("loss.csv", "eval.csv"))
    logs.draw_plots(tmp_path, losses, evaluations)
    losses.append({"step": 1, "loss": 2.0, "learn_rate": 1e-3})
    logs.draw_plots(tmp_path, losses, evaluations)
    for step in (1, 2):
        evaluations.append({"step": step, "loss": 2.0})  # neither better nor worse
        logs.draw_plots(tmp_path, losses, evaluations)
    for name in ("loss.png", "learn_rate.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_the_second_panel_shows_the_upturn(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    evaluations = CsvLog(tmp_path / "eval.csv", logs.EVAL_COLUMNS, 0)
    for step, loss in ((10, 5.0), (20, 2.0), (30, 2.1)):
        evaluations.append({"step": step, "loss": loss})
    axes = Figure().subplots()
    logs._draw_validation(axes, evaluations)
    logs._enlarge(axes, evaluations)
    low, high = axes.get_ylim()
    assert (low, high) == pytest.approx((1.8, 2.44))  # the upturn of 0.1 is a sixth of the height; 5.0 is left out
    (star,) = (line for line in axes.lines if line.get_marker() == "*")
    assert (list(star.get_xdata()), star.get_label()) == ([20], "checkpoint/best, step 20")


def test_missing_tensorboard_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match="tensorboard = True needs TensorBoard: pip install tensorboard"):
        logs.open_tensorboard(tmp_path, 0)


def test_tensorboard_has_the_same_figures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is optional and not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from bench.torture import copy_base, write_data
    from tests.helpers import prepare_run, rows, train_run

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
