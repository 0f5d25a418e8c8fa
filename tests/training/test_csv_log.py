"""csv_log.py: CSV files that are cut back to a checkpoint, changed by people, deleted meanwhile."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from personagpt.training.csv_log import CsvLog


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


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfstep,loss\n2,0.25\n4,\n",
        b"step,loss\r\n2,0.25\r\n4,\r\n",
        b'"step","loss"\n"2","0.25"\n\n"4",""\n',
        b"step,loss\r2,0.25\r4,\r",
    ],
)
def test_what_an_editor_adds_to_a_log_changes_nothing(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log.csv").write_bytes(content)
    CsvLog(tmp_path / "log.csv", COLUMNS, 100)
    assert (tmp_path / "log.csv").read_text() == "step,loss\n2,0.25\n4,\n"
    assert capsys.readouterr().out == ""


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


@pytest.mark.parametrize("change", ["mine", "1,0.5\n", "step,lo"])  # another text, no header, cut off
def test_a_log_changed_while_it_is_written_is_kept_and_all_rows_written_again(
    tmp_path: Path, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log.csv"
    log = CsvLog(path, COLUMNS, 0)
    log.append({"step": 1, "loss": 0.5})
    path.write_text(change)
    log.append({"step": 2, "loss": 0.25})
    assert path.read_text() == "step,loss\n1,0.5\n2,0.25\n"
    assert (tmp_path / "damaged-log.csv").read_text() == change
    assert capsys.readouterr().out == f"{path}: it was changed while the run went on; kept as damaged-log.csv\n"


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
