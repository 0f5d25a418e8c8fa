"""plots.py: what the figures show, and plots that are older than the logs."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from personagpt.training.csv_log import LOSS_COLUMNS, CsvLog
from personagpt.training.plots import draw_plots, draw_stale_plots, learn_rate_figure, loss_figure, runs_figure


def test_plots_of_empty_cells_and_numbers_beyond_all_bounds(tmp_path: Path) -> None:
    rows = [{"step": "1", "loss": "", "learn_rate": ""}, {"step": "2", "loss": "inf", "learn_rate": "nan"}]
    draw_plots(tmp_path, rows, rows)
    draw_plots(tmp_path, [*rows, {"step": "3", "loss": "1.0", "learn_rate": "1e-3"}], [])
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_plots_are_drawn_again_where_they_are_older_than_the_logs(tmp_path: Path) -> None:
    draw_stale_plots(tmp_path / "absent")
    CsvLog(tmp_path / "loss.csv", LOSS_COLUMNS, 0).append({"step": 1, "loss": 2.0, "learn_rate": 1e-3})
    draw_stale_plots(tmp_path)
    drawn = (tmp_path / "loss.png").stat().st_mtime_ns
    draw_stale_plots(tmp_path)
    assert (tmp_path / "loss.png").stat().st_mtime_ns == drawn
    (tmp_path / "learn_rate.png").unlink()  # killed between the two
    draw_stale_plots(tmp_path)
    assert (tmp_path / "learn_rate.png").exists()


def test_plots_of_a_run_without_rows_and_with_one(tmp_path: Path) -> None:
    losses, evaluations = (CsvLog(tmp_path / name, LOSS_COLUMNS, 0) for name in ("loss.csv", "eval.csv"))
    draw_plots(tmp_path, losses.rows, evaluations.rows)
    losses.append({"step": 1, "loss": 2.0, "learn_rate": 1e-3})
    draw_plots(tmp_path, losses.rows, evaluations.rows)
    for step in (1, 2):
        evaluations.append({"step": step, "loss": 2.0})  # neither better nor worse
        draw_plots(tmp_path, losses.rows, evaluations.rows)
    for name in ("loss", "learn_rate"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (tmp_path / f"{name}.pdf").read_bytes().startswith(b"%PDF")  # for papers


ROWS = [{"step": str(step), "loss": str(loss), "learn_rate": "0.5"} for step, loss in ((10, 5.0), (20, 2.0), (30, 2.1))]


def test_the_second_panel_shows_the_upturn() -> None:
    whole, enlarged = loss_figure(ROWS, ROWS).axes
    assert whole.get_yscale() == "log"
    # The upturn of 0.1 is a sixth of the height; 5.0 is left out.
    assert enlarged.get_ylim() == pytest.approx((1.8, 2.44))
    for axes in (whole, enlarged):
        training, validation, star = axes.lines
        assert list(training.get_ydata()) == list(validation.get_ydata()) == [5.0, 2.0, 2.1]
        assert (list(star.get_xdata()), star.get_label()) == ([20], "checkpoint/best, step 20")


def test_before_the_second_evaluation_there_is_a_single_panel() -> None:
    for evaluations, lines in (([], 1), (ROWS[:1], 3)):
        (axes,) = loss_figure(ROWS, evaluations).axes
        assert len(axes.lines) == lines


def test_runs_in_one_picture() -> None:
    rows = [{"epoch": str(epoch), "loss": str(loss)} for epoch, loss in ((0.5, 4.0), (1, 2.0))]
    figure = runs_figure([("a", rows, rows[1:]), ("b", rows[:1], [])])
    (axes,) = figure.axes
    first, valid, second, none = axes.lines
    assert (list(first.get_xdata()), list(first.get_ydata())) == ([0.5, 1], [4.0, 2.0])
    assert list(valid.get_ydata()) == [2.0]
    assert first.get_color() == valid.get_color() != second.get_color()
    assert list(none.get_ydata()) == []
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    figure.draw_without_rendering()
    assert not figure.legends[0].get_window_extent().overlaps(axes.get_window_extent())


def test_the_learning_rate_is_drawn_from_zero() -> None:
    (axes,) = learn_rate_figure(ROWS).axes
    (line,) = axes.lines
    assert list(line.get_xdata()) == [10, 20, 30]
    assert list(line.get_ydata()) == [0.5] * 3
    assert axes.get_ylim()[0] == 0


def test_the_star_hides_no_evaluation_and_the_legend_no_point() -> None:
    for evaluations in (ROWS[:1], ROWS):
        figure = loss_figure(ROWS, evaluations)
        figure.draw_without_rendering()
        for axes in figure.axes:
            _, validation, star = axes.lines
            assert star.zorder < validation.zorder
            assert star.get_markersize() > 2 * validation.get_markersize()
            assert not figure.legends[0].get_window_extent().overlaps(axes.get_window_extent())


@pytest.mark.parametrize(("low", "high"), [(0.5, 11), (0.9, 9), (2.2, 2.4), (2.1, 8.7), (0.03, 11), (1e-4, 11)])
def test_labels_of_the_losses_do_not_touch_each_other(low: float, high: float) -> None:
    figure = loss_figure([{"step": "1", "loss": str(high)}, {"step": "9", "loss": str(low)}], [])
    figure.draw_without_rendering()
    axis, (bottom, top) = figure.axes[0].yaxis, figure.axes[0].get_ylim()
    places = [tick.label1.get_window_extent() for tick in axis.get_major_ticks() if bottom <= tick.get_loc() <= top]
    assert len(places) >= 2
    assert all(lower.y1 < upper.y0 for lower, upper in itertools.pairwise(places))
    assert not any(label.get_text() for label in axis.get_minorticklabels())
