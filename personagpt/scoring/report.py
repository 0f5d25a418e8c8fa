"""Tables of the figures, as text."""

from __future__ import annotations

from typing import Any

import numpy as np

from personagpt.scoring.bootstrap import PERCENT, RESAMPLES
from personagpt.scoring.definitions import METRICS, shown
from personagpt.scoring.identification import PERSONAS
from personagpt.scoring.posterior import MEASURES
from personagpt.scoring.published import PUBLISHED, Published

COMPARED = ("turn_perplexity", "token_f1", "word_f1", "hits_at_1")  # the metrics that published figures count
COMPARABLE = """\
A column has one definition. Figures of other definitions stand on the right, and do not compare with this model's. The
~ figures are derived from the published 10.2 and 11.4 (docs/evaluate.md says how), which are of both speakers'
responses. The last three models' figures are of the second speaker's 7,801 responses (--side second). hits_at_1 ranks
candidates by likelihood, as Lost in Conversation does; a head that was trained on candidates ranks them better."""
DISTRUST = """\
token_f1: an untrained model with tied embeddings predicts the token that it has just read. The set of these tokens is
nearly the set of the true ones, so it scores about 70 %, and a trained model may score less. The figure to trust is
word_f1 (--generate N), of whole generated replies."""


def table(figures: dict[str, Any], comparable: bool) -> str:
    """Return every metric with its meaning, and the published figures below where the figures are `comparable`."""
    lines = [
        f"{metric.name:<16}{shown(metric, figures[metric.name]):>9}   {metric.meaning}"
        for metric in METRICS
        if metric.name in figures
    ]
    whose = f", of the speaker who talks {figures['side']}" if "side" in figures else ""
    meanings = {
        "responses": f"of {figures.get('response_tokens', 0):,} tokens{whose}",
        "generated": "replies, greedy",
        "nli_replies": f"replies, greedy, read by {figures.get('nli')}",
        "goal_replies": "replies, greedy, with a goal and without it",
        "rankings": f"records of {figures.get('dnli')}, by likelihood among 31: chance 3.2 %, the others 32.3 % each",
        "orders": "orders of the facts, the text's own the first",
    }
    lines += [f"{name:<16}{figures[name]:>9,}   {text}" for name, text in meanings.items() if name in figures]
    if "identified_among" in figures:
        lines.append(f"{'identified':<16}{figures.get('identified', 0):>9,}   {_identified(figures)}")
    if not comparable:
        return "\n".join(lines)
    return "\n".join([*lines, "", *_beside_published(figures), "", COMPARABLE])


def _beside_published(figures: dict[str, Any]) -> list[str]:
    """Return the lines of a table: this model's figures and the published figures, by what they count."""
    columns = [metric for metric in METRICS if metric.name in COMPARED]
    header = "".join(f"  {metric.name:>8}" for metric in columns)
    lines = [f"{'published on ConvAI2':<20}{header}   published otherwise"]
    ours = {metric.name: shown(metric, figures[metric.name]) for metric in columns if metric.name in figures}
    for name, row in {"this model": Published(ours), **PUBLISHED}.items():
        cells = "".join(f"  {row.cells.get(metric.name, ''):>{max(8, len(metric.name))}}" for metric in columns)
        lines.append(f"{name:<20}{cells}   {row.otherwise}".rstrip())
    return lines


def _identified(figures: dict[str, Any]) -> str:
    among, left_out = figures["identified_among"], figures["identified_left_out"]
    if among < 2:
        return "sides: the text has no two personas to tell apart"
    text = f"sides, each among {among} personas: chance {100 / among:.1f} %"
    text += "; the text has no more" if among < PERSONAS else ""
    return text + (f"; {left_out} left out (no persona, or no room for another one)" if left_out else "")


def table_by_turn(rows: list[dict[str, float]]) -> str:
    """Return a line for each turn of the dialogues, with a column for each metric."""
    columns = [metric for metric in METRICS if any(metric.name in row for row in rows)]
    lines = ["turn  responses" + "".join(f"  {metric.name:>9}" for metric in columns)]
    for row in rows:
        cells = [
            f"  {shown(metric, row[metric.name]) if metric.name in row else '':>{max(9, len(metric.name))}}"
            for metric in columns
        ]
        lines.append((f"{row['turn']:>4}  {row['responses']:>9,}" + "".join(cells)).rstrip())
    return "\n".join(lines)


def table_of_interviews(interviews: dict[str, dict[str, Any]]) -> str:
    """Return a line for each number of questions and order, and the differences from random questions below."""
    if not interviews:
        return "interviews: none, because there are no two personas, or all recorded talks are too short"
    first = next(iter(interviews.values()))
    among = first["among"]
    chance = f"{100 / among:.1f} %, {np.mean(1 / np.arange(1, among + 1)):.2f} and {np.log(among):.2f} nats"
    left_out = f"; {first['left_out']} talks left out" if first.get("left_out") else ""
    lines = [f"interviews: {first['interviews']:,}, each among {among} personas: chance {chance}{left_out}"]
    width = max(map(len, ("partner and order", *interviews)))
    heads = "".join(f"{name:>26}" for name in MEASURES)
    lines += ["", f"questions  {'partner and order':<{width}}{heads}"]
    numbered = [
        (row, name)
        for rows in zip(*(each["by_question"] for each in interviews.values()), strict=True)
        for row, name in zip(rows, interviews, strict=True)
    ]
    lines += [_interview_line(row["questions"], f"{name:<{width}}", row) for row, name in numbered]
    compared = [(row, name) for row, name in numbered if "over_random" in row]
    if compared:
        lines += ["", "less the same interviews with random questions"]
        lines += [
            _interview_line(row["questions"], f"{name:<{width}}", row["over_random"], "+") for row, name in compared
        ]
    return "\n".join([*lines, "", f"In brackets: {PERCENT} % intervals, {RESAMPLES:,} resamples of the interviews"])


def _interview_line(questions: int, name: str, row: dict[str, Any], sign: str = "") -> str:
    """Return the measures of a row with their intervals."""
    line = f"{questions:>9}  {name}"
    for measure in MEASURES:
        unit, factor, digits = (" %", 100, 1) if measure == "persona_at_1" else ("", 1, 2)
        value, *interval = (f"{factor * number:{sign}.{digits}f}" for number in row[measure].values())
        line += f"{value + unit + (' (' + ' to '.join(interval) + ')' if interval else ''):>26}"
    return line


def table_of_differences(
    ours: dict[str, Any], theirs: dict[str, Any], differences: dict[str, dict[str, float]], same_vocabulary: bool
) -> str:
    """Return each metric of two models, A and B, and its difference where there is one."""
    lines = [f"{'':<16}{'A':>10}{'B':>10}{'B - A':>11}   {PERCENT} % interval"]
    for metric in METRICS:
        if metric.name not in ours or metric.name not in theirs:
            continue
        line = f"{metric.name:<16}{shown(metric, ours[metric.name]):>10} {shown(metric, theirs[metric.name]):>9}"
        numbers = {key: shown(metric, value, "+") for key, value in differences.get(metric.name, {}).items()}
        line += f" {numbers['difference']:>10}" if numbers else ""
        line += f"   {numbers['low']} to {numbers['high']}" if "low" in numbers else ""
        lines.append(line)
    lines += [
        "",
        f"Intervals: {RESAMPLES:,} resamples of the text's dialogues; where 0 lies outside, it is hardly chance.",
    ]
    if not same_vocabulary:
        lines += [
            "The two models cut text into different tokens, so figures per token have no difference here.",
            "word_perplexity, of the same words for both models, compares them.",
        ]
    return "\n".join(lines)
