"""The tables that detect.py prints: figures by utterances seen, and by the program that was left out."""

from __future__ import annotations

import numpy as np

from personagpt.detection.baseline import judge_baseline
from personagpt.detection.learning import Material
from personagpt.detection.sides import FEWEST
from personagpt.detection.validation import Validated, cut_without, cuts_of, leave_out, summary
from personagpt.errors import UserError, printable
from personagpt.output import say
from personagpt.scoring.bootstrap import PERCENT


def _heading(first: str, has_baseline: bool) -> str:
    columns = f"   accuracy     AUC   {PERCENT} % interval     caught at 5 %    caught at 1 %   Brier"
    return first + columns + "   baseline's AUC" * has_baseline


def _columns(row: Validated) -> str:
    """Return accuracy, AUC, interval, for each rate the programs caught (and the people accused), Brier score."""
    interval = "none" if row.low is None else f"{row.low:.3f} to {row.high:.3f}"
    caught = "".join(
        f"{f'{100 * pair[0]:.1f} % ({100 * pair[1]:.1f} %)' if pair else 'too few people':>17}" for pair in row.caught
    )
    return f"{100 * row.accuracy:>9.1f} %{row.auc:>8.3f}   {interval:<14}{caught}{row.brier:>8.3f}"


def baseline_aucs(material: Material, seed: int) -> list[float]:
    """Return the AUC of the baseline, on the parts of `cross_validate`, for each number of utterances seen."""
    numbers = list(material.values)
    judged = [judge_baseline(material.sides, cut, numbers) for cut in cuts_of(material.sides, seed)]
    return [summary(material.sides, judged, place, None).auc for place in range(len(numbers))]


def say_rows(view: str, rows: list[Validated], baseline: list[float]) -> dict[int, Validated]:
    """Print a row for 1, 2, ... utterances seen, in this view of the text, and return the rows by that number."""
    say(f"\nthe text {view}\n{_heading('utterances seen', bool(baseline))}")
    for place, row in enumerate(rows):
        beside = "".join(f"{auc:>17.3f}" for auc in baseline[place : place + 1])
        say(f"{place + 1:>15}{_columns(row)}{beside}")
    return dict(enumerate(rows, 1))


def say_programs(view: str, material: Material, has_baseline: bool, seed: int) -> None:
    """Print a row for each program, judged by detectors that never saw it. Raises UserError if there is no row."""
    found, seen = leave_out(material, seed), max(material.values)
    if not found:
        raise UserError("--leave-out program: there is no other program to learn from; add talks of other programs")
    baseline = {name: _baseline_auc(material, name, seen, seed) for name in found} if has_baseline else {}
    width = max(len("program left out"), *map(len, found))
    say(f"\nthe text {view}, {seen} utterances seen")
    say(_heading(f"{'program left out':<{width}}   sides", has_baseline))
    for name, (count, row) in found.items():
        beside = f"{baseline[name]:>17.3f}" if has_baseline else ""
        say(f"{printable(name):<{width}}{count:>8}{_columns(row)}{beside}")
    many = [name for name, (count, _) in found.items() if count >= FEWEST]
    for kind, names in (("all programs", list(found)), (f"programs of {FEWEST} sides or more", many)):
        for whose, aucs in (("AUC", {name: row.auc for name, (_, row) in found.items()}), ("baseline's AUC", baseline)):
            chosen = [aucs[name] for name in names if name in aucs]
            if chosen:
                say(f"{kind}: {whose} {np.mean(chosen):.3f} on average, {min(chosen):.3f} at worst")


def _baseline_auc(material: Material, program: str, seen: int, seed: int) -> float:
    left_out = np.array([index for index, side in enumerate(material.sides) if side.program == program])
    judged = judge_baseline(material.sides, cut_without(material.sides, left_out, seed), [seen])
    return summary(material.sides, [judged], 0, None).auc
