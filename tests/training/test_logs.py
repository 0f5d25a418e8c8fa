"""logs.py: CSV files that are cut back to a checkpoint, sections of replies, plots, TensorBoard."""

from __future__ import annotations

import json
import shutil
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
    assert [row["loss"] for row in log.rows] == ["0.25", "0.5"]


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


COLUMNS = ["step", "loss"]
DAMAGED = [
    (b"step;loss\n2;0,25\n", "its first line does not name the columns", []),
    (b"2,0.25\n4,0.5\n", "its first line does not name the columns", []),
    (b"step,loss\r2,0.25\r", "its first line does not name the columns", []),
    (b"step,loss,note\n2,0.25,good\n", "its first line does not name the columns", []),
    ("step,loss\n2,0.25\n\u00b2,0.5\n".encode(), "its line 3 is no row of figures", ["2"]),
    (b"step,loss\n2,0.25\n4,good\n6,0.75\n", "its line 3 is no row of figures", ["2", "6"]),
    (b"step,loss\n2,0.25\n4\n", "its line 3 is no row of figures", ["2"]),
    (b"step,loss\n2,0.25\n" + b"x" * 200_000 + b",1\n", "its line 3 is no row of figures", ["2"]),
    (b"step,loss\n2,0.25\n4,\xff\n", "its line 3 is no row of figures", ["2"]),
    ("step,loss\n2,0.25\u20284,0.5\n6,1\n".encode(), "its line 2 is no row of figures", ["6"]),
]


@pytest.mark.parametrize(("content", "problem", "kept"), DAMAGED)
def test_a_log_that_cannot_be_read_is_kept_under_another_name(
    tmp_path: Path, content: bytes, problem: str, kept: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log.csv"
    for number, name in enumerate(("damaged-log.csv", "damaged-log.csv.1"), start=1):
        path.write_bytes(content)
        log = CsvLog(path, COLUMNS, 100)
        assert [row["step"] for row in log.rows] == kept
        assert capsys.readouterr().out == f"{path}: {problem}; kept as {name}\n"
        assert (tmp_path / name).read_bytes() == content
        assert len(list(tmp_path.iterdir())) == number + 1


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfstep,loss\n2,0.25\n4,\n", b"step,loss\r\n2,0.25\r\n4,\r\n"])
def test_what_an_editor_adds_to_a_log_changes_nothing(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log.csv").write_bytes(content)
    CsvLog(tmp_path / "log.csv", COLUMNS, 100)
    assert (tmp_path / "log.csv").read_text() == "step,loss\n2,0.25\n4,\n"
    assert capsys.readouterr().out == ""


def test_a_folder_in_the_place_of_a_log(tmp_path: Path) -> None:
    for name in ("log.csv", "responses.txt", "eval.json"):
        (tmp_path / name).mkdir()
    CsvLog(tmp_path / "log.csv", COLUMNS, 100)
    logs.keep_sections(tmp_path / "responses.txt", 100)
    logs.keep_evaluation(tmp_path / "eval.json", None, 100)
    assert sorted(path.name for path in tmp_path.glob("damaged-*")) == [
        "damaged-eval.json", "damaged-log.csv", "damaged-responses.txt",
    ]  # fmt: skip


def test_a_log_deleted_while_it_is_written_is_whole_again(tmp_path: Path) -> None:
    samples = tmp_path / "samples"
    log = CsvLog(samples / "log.csv", COLUMNS, 0)
    log.append({"step": 2, "loss": 0.25})
    shutil.rmtree(samples)
    log.flush()
    assert (samples / "log.csv").read_text() == "step,loss\n2,0.25\n"
    (samples / "log.csv").unlink()
    log.append({"step": 4, "loss": 0.5})
    log.append({"step": 6, "loss": 0.75})
    assert (samples / "log.csv").read_text() == "step,loss\n2,0.25\n4,0.5\n6,0.75\n"


def test_a_log_changed_while_it_is_written_is_kept(tmp_path: Path) -> None:
    log = CsvLog(tmp_path / "log.csv", COLUMNS, 0)
    (tmp_path / "log.csv").write_text("mine")
    log.append({"step": 2, "loss": 0.25})
    assert (tmp_path / "log.csv").read_text() == "step,loss\n2,0.25\n"
    assert (tmp_path / "damaged-log.csv").read_text() == "mine"


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = tmp_path / "samples"
    log = CsvLog(samples / "log.csv", COLUMNS, 0)
    shutil.rmtree(samples)
    samples.touch()
    log.append({"step": 2, "loss": 0.25})
    log.flush()
    assert capsys.readouterr().out.count(f"{samples / 'log.csv'}: cannot be written (") == 2
    samples.unlink()
    log.flush()
    assert (samples / "log.csv").read_text() == "step,loss\n2,0.25\n"


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


def test_plots_of_empty_cells_and_numbers_beyond_all_bounds(tmp_path: Path) -> None:
    rows = [{"step": "1", "loss": "", "learn_rate": ""}, {"step": "2", "loss": "inf", "learn_rate": "nan"}]
    logs.draw_plots(tmp_path, rows, rows)
    logs.draw_plots(tmp_path, [*rows, {"step": "3", "loss": "1.0", "learn_rate": "1e-3"}], [])
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_plots_are_drawn_again_where_they_are_older_than_the_logs(tmp_path: Path) -> None:
    logs.draw_stale_plots(tmp_path / "absent")
    CsvLog(tmp_path / "loss.csv", logs.LOSS_COLUMNS, 0).append({"step": 1, "loss": 2.0, "learn_rate": 1e-3})
    logs.draw_stale_plots(tmp_path)
    drawn = (tmp_path / "loss.png").stat().st_mtime_ns
    logs.draw_stale_plots(tmp_path)
    assert (tmp_path / "loss.png").stat().st_mtime_ns == drawn
    (tmp_path / "learn_rate.png").unlink()  # killed between the two
    logs.draw_stale_plots(tmp_path)
    assert (tmp_path / "learn_rate.png").exists()


def test_plots_of_a_run_without_rows_and_with_one(tmp_path: Path) -> None:
    losses, evaluations = (CsvLog(tmp_path / name, logs.LOSS_COLUMNS, 0) for name in ("loss.csv", "eval.csv"))
    logs.draw_plots(tmp_path, losses.rows, evaluations.rows)
    losses.append({"step": 1, "loss": 2.0, "learn_rate": 1e-3})
    logs.draw_plots(tmp_path, losses.rows, evaluations.rows)
    for step in (1, 2):
        evaluations.append({"step": step, "loss": 2.0})  # neither better nor worse
        logs.draw_plots(tmp_path, losses.rows, evaluations.rows)
    for name in ("loss.png", "learn_rate.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_the_second_panel_shows_the_upturn() -> None:
    from matplotlib.figure import Figure

    points = [(10, 5.0), (20, 2.0), (30, 2.1)]
    axes = Figure().subplots()
    logs._draw_validation(axes, points)
    logs._enlarge(axes, points)
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
