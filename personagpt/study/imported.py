"""The figures of imported talks with other programs (import_dialogues.py --talks): by program, and by turn.

A person's thumb judges a reply, and a person's ratings judge a talk: `eval_score` from 1 to 5, and `profile_match`, 1
if the person chose the program's persona out of two. Each figure has an interval.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from personagpt.output import columns
from personagpt.records.talks import Talk
from personagpt.scoring.bootstrap import PERCENT, RESAMPLES
from personagpt.study.report import draw_points, share, shown, talks_held
from personagpt.study.results import Figure, Sample, partner_turns

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

PLACES = 20  # replies of a talk that have a row of their own; later replies share a row


def imported_results(talks: list[Talk], seed: int) -> dict[str, Any]:
    """Return the figures of imported talks, as JSON holds them. The programs with most talks come first."""
    sample, by_program = Sample(talks, seed), {}
    for talk in talks:
        by_program.setdefault(talk.model, []).append(talk)
    order = sorted(by_program, key=lambda name: (-len(by_program[name]), name))
    places = [thumbs_down(talks, sample, place) for place in range(1, PLACES + 2)]
    return {
        "talks": len(talks),
        "participants": len(sample.numbers),
        "resamples": RESAMPLES,
        "percent": PERCENT,
        "seed": seed,
        "programs": {name: _program(by_program[name], sample) for name in order},
        "thumbs_down_by_turn": places,
    }


def _program(talks: list[Talk], sample: Sample) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "talks": len(talks),
        "replies": sum(len(partner_turns(talk)) for talk in talks),
        "thumbs_down": thumbs_down(talks, sample),
    }
    for rating in ("eval_score", "profile_match"):
        rated = [talk for talk in talks if rating in talk.ratings]
        figures[rating] = sample.mean((talk, talk.ratings[rating], 1) for talk in rated)
    return figures


def thumbs_down(talks: list[Talk], sample: Sample, place: int | None = None) -> Figure:
    """Return the share of thumbs that are down: of all, or of the program's reply number `place` (from 1).

    The place PLACES + 1 stands for all later replies, too.
    """
    parts = []
    for talk in talks:
        turns = partner_turns(talk)
        if place is not None:
            turns = turns[place - 1 : place if place <= PLACES else None]
        ups = [thumb.up for thumb in talk.thumbs if thumb.turn in turns]
        parts.append((talk, ups.count(False), len(ups)))
    return sample.mean(parts)


def imported_table(figures: dict[str, Any]) -> str:
    """Return the figures as a table of text: a row for each program, and a row for each place of a reply."""
    rows = [("program", "talks", "replies", "thumbs", "down", "score, 1 to 5", "persona guessed")]
    for name, program in figures["programs"].items():
        score, guessed, down = shown(program["eval_score"], "{:.2f}"), program["profile_match"], program["thumbs_down"]
        rows.append((name, program["talks"], program["replies"], down["count"], share(down), score, share(guessed)))
    lines = [f"imported: {talks_held(figures)} with other programs", ""]
    lines += columns(rows)
    rows = [("the program's reply", "thumbs", "down")]
    for place, down in enumerate(figures["thumbs_down_by_turn"], 1):
        if down["count"]:
            rows.append((f"{place}" + (" and later" if place > PLACES else ""), down["count"], share(down)))
    lines += ["", *(columns(rows) if len(rows) > 1 else ["no thumbs"]), ""]
    lines.append(
        f"In brackets: {figures['percent']} % intervals from {figures['resamples']:,} resamples of the participants "
        f"(seed {figures['seed']}). A talk of an unknown person counts as a participant."
    )
    return "\n".join(lines)


def draw_imported(figures: dict[str, Any]) -> Drawing:
    """Return a drawing of the scores and the thumbs by program, and of the thumbs by turn, with their intervals."""
    import matplotlib.figure

    programs = figures["programs"]
    drawing = matplotlib.figure.Figure(figsize=(11, 9), dpi=130, layout="constrained")
    drawing.suptitle(f"imported: {talks_held(figures)}")
    drawing.supxlabel(f"Bars: {figures['percent']} % intervals.", fontsize="small")
    scores, thumbs, turns = drawing.subplots(3, 1)
    draw_points(scores, programs, {"": [each["eval_score"] for each in programs.values()]})
    scores.set(ylim=(0.9, 5.1), ylabel="mean score")
    draw_points(thumbs, programs, {"": [each["thumbs_down"] for each in programs.values()]})
    draw_points(turns, [*range(1, PLACES + 1), "later"], {"": figures["thumbs_down_by_turn"]})
    turns.set_xlabel("the program's reply")
    for axes in (thumbs, turns):
        axes.set(ylim=(-0.02, 1.02), ylabel="share of thumbs down")
    return drawing
