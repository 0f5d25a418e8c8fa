"""Show the figures of a study (results.py) as a table of text and as a drawing."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from personagpt.output import counted
from personagpt.study.results import Figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

COUNTS = {
    "the partner is a": "partner",
    "talks": "talks",
    "... after a wait for a person": "waited",
    "... given up": "given_up",
    "... with answers": "answered",
    "participants": "participants",
    "the partner's turns": "partner_turns",
}
MISTAKEN = ("programs_taken_for_people", "people_taken_for_programs")
FEW = 20  # participants, with fewer of whom the intervals are too narrow
WITHOUT = "no interval where all answers are alike, or of one participant"
WIDTH = 0.6  # of a place's points; its neighbours are 1 away


def table(name: str, figures: dict[str, Any]) -> str:
    """Return every figure of the study `name`, with a column for each condition."""
    conditions = list(figures["conditions"].values())
    rows = [("condition", list(figures["conditions"]))]
    rows += [(title, [condition[key] for condition in conditions]) for title, key in COUNTS.items()]
    for scale in conditions[0]["ratings"]:
        rows.append((f"{scale}, 1 to 5", [shown(each["ratings"][scale], "{:.2f}") for each in conditions]))
    for question, answers in conditions[0]["choices"].items():
        rows.append((question, [""] * len(conditions)))
        rows += [
            (f"  {answer}", [share(each["choices"][question][answer]) for each in conditions]) for answer in answers
        ]
    rows.append(("persona guessed (chance 50 %)", [share(condition["persona_guessed"]) for condition in conditions]))
    rows.append(("taken for a person", [share(condition["taken_for_person"]) for condition in conditions]))
    flags = [(title, [shown(rate, "{:.1f}") for rate in rates]) for title, rates in flag_rows(conditions)]
    rows += [("flags per 100 of its turns", [""] * len(conditions)), *flags] if flags else []
    width = 2 + max(len(str(cell)) for _, cells in rows for cell in cells)
    first = max(29, *(len(title) for title, _ in rows))
    lines = [
        f"study {name}: {talks_held(figures)}",
        "",
        *((f"{title:<{first}}" + "".join(f"{cell!s:>{width}}" for cell in cells)).rstrip() for title, cells in rows),
        "" if flags else "no flags\n",
        *(f"{key.replace('_', ' ')}: {share(figures[key])}, of {figures[key]['count']} answers" for key in MISTAKEN),
        "",
        *changes(figures["conditions"]),
        f"In brackets: {figures['percent']} % intervals from {figures['resamples']:,} resamples of the participants "
        f"(seed {figures['seed']}); {WITHOUT}.",
        *([f"With fewer than {FEW} participants such intervals are too narrow."] if is_small(figures) else []),
    ]
    return "\n".join(lines)


def changes(conditions: dict[str, dict[str, Any]]) -> list[str]:
    """Return a line for each program of a condition whose program was changed during the study."""
    changed = {name: each["program"] for name, each in conditions.items() if name != each["condition"]}
    if not changed:
        return []
    lines = ["Another program took the name of a condition during the study. Each program has a column of its own:"]
    for name, program in changed.items():
        settings = [f"{key} {value}" for key, value in program.items() if key not in ("model", "model_checksum")]
        model = f"{program['model']}, checksum {program['model_checksum'][:12]}" if program["model"] else "a person"
        lines.append(f"  {name}: {', '.join([model, *settings])}")
    return [*lines, ""]


def talks_held(figures: dict[str, Any]) -> str:
    """Return how many talks there are, and of how many participants."""
    return f"{counted(figures['talks'], 'talks')} of {counted(figures['participants'], 'participants')}"


def is_small(figures: dict[str, Any]) -> bool:
    return figures["participants"] < FEW


def flag_rows(conditions: list[dict[str, Any]]) -> list[tuple[str, list[Figure]]]:
    """Return the rates of flags in each condition, by kind and by turn, for the kinds and turns that have flags."""
    kinds, longest = conditions[0]["flags_by_kind"], max(len(each["flags_by_turn"]) for each in conditions)
    rows = [(f"  {kind}", [condition["flags_by_kind"][kind] for condition in conditions]) for kind in kinds]
    for place in range(longest):
        rates = [(condition["flags_by_turn"][place : place + 1] or [{}])[0] for condition in conditions]
        rows.append((f"  its turn {place + 1}", rates))
    return [(title, rates) for title, rates in rows if any(rate.get("flags") for rate in rates)]


def share(figure: Figure) -> str:
    """Return a share in percent, with its interval."""
    return shown({key: 100 * figure[key] for key in ("value", "low", "high") if key in figure}, "{:.0f} %", "{:.0f}")


def shown(figure: Figure, form: str, end_form: str = "") -> str:
    """Return the value and the interval, formatted by `form`; the interval's ends by `end_form`, if given."""
    if "value" not in figure:
        return "-"
    ends = [(end_form or form).format(figure[key]) for key in ("low", "high") if key in figure]
    return form.format(figure["value"]) + (f" ({' to '.join(ends)})" if ends else "")


def draw(name: str, figures: dict[str, Any]) -> Drawing:
    """Return a drawing of the ratings, the shares, the flags by kind and the flags by turn, with their intervals."""
    import matplotlib.figure

    conditions = figures["conditions"]
    drawing = matplotlib.figure.Figure(figsize=(11, 7.5), dpi=130, layout="constrained")
    drawing.suptitle(f"study {name}: {talks_held(figures)}")
    narrow = f"; too narrow with fewer than {FEW} participants" if is_small(figures) else ""
    drawing.supxlabel(f"Bars: {figures['percent']} % intervals{narrow}. {WITHOUT.capitalize()}.", fontsize="small")
    (ratings, shares), (kinds, turns) = drawing.subplots(2, 2)
    rated = {key: each["ratings"] for key, each in conditions.items()}
    draw_points(ratings, next(iter(rated.values())), {key: [*scales.values()] for key, scales in rated.items()})
    ratings.set(ylim=(0.9, 5.1), ylabel="mean rating")
    ratings.legend(fontsize="small")
    guesses = {key: [each["persona_guessed"], each["taken_for_person"]] for key, each in conditions.items()}
    draw_points(shares, ("persona guessed", "taken for a person"), guesses)
    shares.axhline(0.5, linestyle="--", color="gray", linewidth=1)
    shares.set(ylim=(-0.02, 1.02), ylabel="share of the answers")
    by_kind = {key: each["flags_by_kind"] for key, each in conditions.items()}
    draw_points(kinds, next(iter(by_kind.values())), {key: [*rates.values()] for key, rates in by_kind.items()})
    kinds.tick_params(axis="x", rotation=20)
    longest = max(len(each["flags_by_turn"]) for each in conditions.values())
    draw_points(turns, range(1, longest + 1), {key: each["flags_by_turn"] for key, each in conditions.items()})
    turns.set_xlabel("the partner's turn")
    for axes in (kinds, turns):
        if any(rate["flags"] for rates in by_kind.values() for rate in rates.values()):
            axes.set_ylim(bottom=0)
            axes.set_ylabel("flags per 100 turns")
        else:  # a scale would suggest a figure
            axes.clear()
            axes.set_axis_off()
            axes.text(0.5, 0.5, "no flags", ha="center", transform=axes.transAxes)
    return drawing


def draw_points(axes: Any, places: Collection[Any], columns: dict[str, list[Figure]]) -> None:
    """Draw a point with its interval for each place and column."""
    axes.set_xticks(range(len(places)), list(places))
    axes.set_xlim(-0.5, len(places) - 0.5)
    axes.grid(axis="y", alpha=0.25)
    for number, (name, figures) in enumerate(columns.items()):
        shift = WIDTH * ((number + 0.5) / len(columns) - 0.5)
        points = [(place + shift, figure) for place, figure in enumerate(figures) if "value" in figure]
        values = [figure["value"] for _, figure in points]
        below = [figure["value"] - figure.get("low", figure["value"]) for _, figure in points]
        above = [figure.get("high", figure["value"]) - figure["value"] for _, figure in points]
        axes.errorbar([x for x, _ in points], values, yerr=[below, above], fmt="o", capsize=3, label=name)
