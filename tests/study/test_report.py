"""personagpt/study/report.py: a study's figures as a table and as a drawing."""

from __future__ import annotations

import pytest

from personagpt.files import write_figure
from personagpt.study.report import draw, table
from personagpt.study.results import results
from tests.study.figures import TALKS, make


def test_the_table() -> None:
    lines = [" ".join(line.split()) for line in table("first", results(TALKS, seed=3)).splitlines()]
    for line in (
        "study first: 5 talks of 3 participants",
        "condition bot person",
        "the partner is a program person",
        "... given up 1 0",
        "fluency, 1 to 5 3.67 (3.00 to 5.00) 5.00",
        "persona guessed (chance 50 %) 50 % 100 %",
        "taken for a person 67 % (50 to 100) 0 %",
        "flags per 100 of its turns",
        "unsafe 20.0 (0.0 to 33.3) 0.0",
        "its turn 3 - 100.0",
        "other 20.0 (0.0 to 33.3) 33.3",
        "programs taken for people: 67 % (50 to 100), of 3 answers",
        "people taken for programs: 100 %, of 1 answers",
    ):
        assert line in lines
    assert not any(line.startswith(("repetitive", "its turn 2")) for line in lines)
    nothing = table("first", results([make("p", "bot", 1)], seed=3)).splitlines()
    assert "no flags" in nothing
    assert "programs taken for people: -, of 0 answers" in nothing


def test_two_programs_of_a_condition_are_named_under_the_table() -> None:
    talks = [make("p", "bot", 1), make("q", "bot", 1)]
    talks[1].model_checksum, talks[1].sampling = "decaf", {"temperature": 0.5, "seed": 1}
    lines = table("first", results(talks, seed=3)).splitlines()
    assert "  bot (1): m, checksum c0ffee" in lines
    assert "  bot (2): m, checksum decaf, temperature 0.5" in lines
    assert "Another program" not in table("first", results(talks[:1], seed=3))


def test_own_questions_stand_in_the_table_and_the_drawing() -> None:
    question = "how-much-did-you-like-it-altogether"
    talks = [make("p", "bot", 1, tongue="no", **{question: 2}), make("q", "bot", 1, tongue="yes", **{question: 4})]
    figures = results(talks, seed=3)
    lines = [" ".join(line.split()) for line in table("first", figures).splitlines()]
    for line in (f"{question}, 1 to 5 3.00 (2.00 to 4.00)", "tongue", "no 50 % (0 to 100)", "yes 50 % (0 to 100)"):
        assert line in lines
    assert not any(line.startswith("fluency") for line in lines)
    ticks = draw("first", figures).axes[0].get_xticklabels()
    assert [tick.get_text() for tick in ticks] == [question]


def test_few_participants_are_warned_of_under_the_table() -> None:
    warning = "With fewer than 20 participants such intervals are too narrow."
    assert table("first", results(TALKS, seed=3)).splitlines()[-1] == warning
    many = [make(f"p{number}", "bot", 1, fluency=number % 5 + 1) for number in range(20)]
    assert warning not in table("first", results(many, seed=3))


@pytest.mark.parametrize(("flags", "shown"), [((), ["no flags"] * 2), (((1, "other"),), [])])
def test_a_drawing_without_flags_has_no_scale_for_them(flags, shown) -> None:
    drawing = draw("first", results([make("p", "bot", 1, flags, fluency=3)], seed=3))
    below = drawing.axes[2:]
    assert [text.get_text() for axes in below for text in axes.texts] == shown
    assert [axes.axison for axes in below] == [not shown] * 2
    assert "no interval where all answers are alike" in drawing.get_supxlabel().lower()


@pytest.mark.parametrize("talks", [TALKS, [make("p", "bot", 1)]])
def test_the_drawing(talks, tmp_path) -> None:
    from matplotlib.image import imread

    write_figure(tmp_path / "report.png", draw("first", results(talks, seed=3)))
    image = imread(tmp_path / "report.png")
    assert image.shape == (975, 1430, 4)
    assert len({tuple(pixel) for pixel in image[::3, ::3].reshape(-1, 4).tolist()}) > 10  # more than an empty frame
