"""The results of a study (study_results.py) as people read them: a table of text, and a drawing."""

from __future__ import annotations

import io
from collections.abc import Collection
from typing import Any

from personagpt.records.talks import SCALES
from personagpt.study.results import Figure

COUNTS = {
    "the partner is a": "partner",
    "talks": "talks",
    "... after a wait for a person": "waited",
    "... given up": "given_up",
    "... with answers": "answered",
    "participants": "participants",
    "the partner's turns": "partner_turns",
}
ROOM = 0.6  # for the points of one place, whose neighbours are 1 away


def table(name: str, found: dict[str, Any]) -> str:
    """Every figure, a column for each condition."""
    conditions = list(found["conditions"].values())
    rows = [("condition", list(found["conditions"]))]
    rows += [(title, [one[key] for one in conditions]) for title, key in COUNTS.items()]
    rows += [(f"{question}, 1 to 5", [mean(one["ratings"][question]) for one in conditions]) for question in SCALES]
    rows.append(("persona guessed (chance 50 %)", [share(one["persona_guessed"]) for one in conditions]))
    rows.append(("taken for a person", [share(one["taken_for_person"]) for one in conditions]))
    flags = [(title, list(map(rate, figures))) for title, figures in flag_rows(conditions)]
    rows += [("flags per 100 of its turns", [""] * len(conditions)), *flags] if flags else []
    width = 2 + max(len(str(cell)) for _, cells in rows for cell in cells)
    lines = [
        f"study {name}: {found['talks']} talks of {found['participants']} participants",
        "",
        *((f"{title:<29}" + "".join(f"{cell!s:>{width}}" for cell in cells)).rstrip() for title, cells in rows),
        "" if flags else "no flags\n",
        f"programs taken for people: {share(found['programs_taken_for_people'], counted=True)}",
        f"people taken for programs: {share(found['people_taken_for_programs'], counted=True)}",
        "",
        f"In brackets: {found['percent']} % intervals from {found['resamples']:,} resamples of the participants (seed "
        f"{found['seed']}); none where all answers are alike.",
    ]
    return "\n".join(lines)


def flag_rows(conditions: list[dict[str, Any]]) -> list[tuple[str, list[Figure]]]:
    """Flags by kind, then by turn, of each condition; only the kinds and turns that have any."""
    rows = [
        (f"  {kind}", [one["flags_by_kind"][kind] for one in conditions]) for kind in conditions[0]["flags_by_kind"]
    ]
    for place in range(max(len(one["flags_by_turn"]) for one in conditions)):
        figures = [dict(enumerate(one["flags_by_turn"])).get(place, {}) for one in conditions]
        rows.append((f"  its turn {place + 1}", figures))
    return [(title, figures) for title, figures in rows if any(figure.get("flags") for figure in figures)]


def mean(figure: Figure) -> str:
    return _shown(figure, "{:.2f}")


def share(figure: Figure, counted: bool = False) -> str:
    percent = {key: 100 * figure[key] for key in ("value", "low", "high") if key in figure}
    return _shown(percent, "{:.0f} %", "{:.0f}") + (f", of {figure['count']} answers" if counted else "")


def rate(figure: Figure) -> str:
    return _shown(figure, "{:.1f}")


def _shown(figure: Figure, form: str, of_ends: str = "") -> str:
    if "value" not in figure:
        return "-"
    ends = [(of_ends or form).format(figure[key]) for key in ("low", "high") if key in figure]
    return form.format(figure["value"]) + (f" ({' to '.join(ends)})" if ends else "")


def draw(name: str, found: dict[str, Any]) -> bytes:
    """Ratings, shares, flags by kind and flags by turn, with their intervals, as a PNG."""
    from matplotlib.figure import Figure as Drawing

    conditions = found["conditions"]
    drawn = Drawing(figsize=(11, 7.5), dpi=130, layout="constrained")
    drawn.suptitle(f"study {name}: {found['talks']} talks of {found['participants']} participants")
    (ratings, shares), (kinds, turns) = drawn.subplots(2, 2)
    _draw_points(ratings, SCALES, {key: [*one["ratings"].values()] for key, one in conditions.items()})
    ratings.set(ylim=(0.9, 5.1), ylabel="mean rating")
    ratings.legend(fontsize="small")
    guesses = {key: [one["persona_guessed"], one["taken_for_person"]] for key, one in conditions.items()}
    _draw_points(shares, ("persona guessed", "taken for a person"), guesses)
    shares.axhline(0.5, linestyle="--", color="gray", linewidth=1)
    shares.set(ylim=(-0.02, 1.02), ylabel="share of the answers")
    by_kind = {key: one["flags_by_kind"] for key, one in conditions.items()}
    _draw_points(kinds, next(iter(by_kind.values())), {key: [*flags.values()] for key, flags in by_kind.items()})
    kinds.tick_params(axis="x", rotation=20)
    longest = max(len(one["flags_by_turn"]) for one in conditions.values())
    _draw_points(turns, range(1, longest + 1), {key: one["flags_by_turn"] for key, one in conditions.items()})
    turns.set_xlabel("the partner's turn")
    for axes in (kinds, turns):
        axes.set_ylim(bottom=0)
        axes.set_ylabel("flags per 100 turns")
    image = io.BytesIO()
    drawn.savefig(image, format="png")
    return image.getvalue()


def _draw_points(axes: Any, places: Collection[Any], columns: dict[str, list[Figure]]) -> None:
    """At each place a point for each column, with its interval."""
    axes.set_xticks(range(len(places)), list(places))
    axes.set_xlim(-0.5, len(places) - 0.5)
    axes.grid(axis="y", alpha=0.25)
    for number, (name, figures) in enumerate(columns.items()):
        shift = ROOM * ((number + 0.5) / len(columns) - 0.5)
        points = [(place + shift, figure) for place, figure in enumerate(figures) if "value" in figure]
        values = [figure["value"] for _, figure in points]
        below = [figure["value"] - figure.get("low", figure["value"]) for _, figure in points]
        above = [figure.get("high", figure["value"]) - figure["value"] for _, figure in points]
        axes.errorbar([x for x, _ in points], values, yerr=[below, above], fmt="o", capsize=3, label=name)
