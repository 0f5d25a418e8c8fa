"""The figures as people read them: tables of text."""

from __future__ import annotations

from typing import Any

from personagpt.scoring.bootstrap import PERCENT, RESAMPLES
from personagpt.scoring.identification import PERSONAS
from personagpt.scoring.metrics import METRICS
from personagpt.scoring.published import PUBLISHED
from personagpt.scoring.tally import Metric

COMPARABLE = """\
The published perplexity is turn_perplexity, the published F1 token_f1, a figure to distrust: it compares sets of
teacher-forced tokens, and an untrained model with tied embeddings, which repeats its input, already scores about 70 %.
word_f1 (--generate N), of whole generated replies, is the one to trust."""


def table(found: dict[str, Any], comparable: bool) -> str:
    """Every metric with its meaning, then the published figures, where they are `comparable`."""
    lines = [
        f"{metric.name:<16}{shown(metric, found[metric.name]):>9}   {metric.meaning}"
        for metric in METRICS
        if metric.name in found
    ]
    lines.append(f"{'responses':<16}{found['responses']:>9,}   of {found['response_tokens']:,} tokens")
    if "generated" in found:
        lines.append(f"{'generated':<16}{found['generated']:>9,}   replies, greedy")
    if "goal_replies" in found:
        lines.append(f"{'goal_replies':<16}{found['goal_replies']:>9,}   replies, greedy, with a goal and without it")
    if "identified_among" in found:
        lines.append(f"{'identified':<16}{found.get('identified', 0):>9,}   {_identified(found)}")
    if not comparable:
        return "\n".join(lines)
    lines += ["", f"{'published on ConvAI2':<24}{'perplexity':>15}{'F1':>11}"]
    ours = found["turn_perplexity"], 100 * found["token_f1"]
    for name, (perplexity, f1) in {"this model": ours, **PUBLISHED}.items():
        lines.append(f"{name:<24}{perplexity:>15.1f}{f1:>9.1f} %")
    return "\n".join([*lines, "", COMPARABLE])


def _identified(found: dict[str, Any]) -> str:
    among = found["identified_among"]
    if among < 2:
        return "sides: the text has no two personas to tell apart"
    chance = f"sides, each among {among} personas: chance {100 / among:.1f} %"
    chance += "; the text has no more" if among < PERSONAS else ""
    left_out = found["identified_left_out"]
    return chance + (f"; {left_out} left out (no persona, or no room for another one)" if left_out else "")


def table_by_turn(rows: list[dict[str, float]]) -> str:
    """A line for each turn of the dialogues, a column for each metric."""
    columns = [metric for metric in METRICS if any(metric.name in row for row in rows)]
    lines = ["turn  responses" + "".join(f"  {metric.name:>9}" for metric in columns)]
    for row in rows:
        cells = [
            f"  {shown(metric, row[metric.name]) if metric.name in row else '':>{max(9, len(metric.name))}}"
            for metric in columns
        ]
        lines.append((f"{row['turn']:>4}  {row['responses']:>9,}" + "".join(cells)).rstrip())
    return "\n".join(lines)


def table_of_differences(
    ours: dict[str, Any], theirs: dict[str, Any], differences: dict[str, dict[str, float]], same_vocabulary: bool
) -> str:
    """Each metric of two models, A and B, and its difference where there is one."""
    lines = [f"{'':<16}{'A':>10}{'B':>10}{'B - A':>11}   {PERCENT} % interval"]
    for metric in METRICS:
        if metric.name not in ours or metric.name not in theirs:
            continue
        line = f"{metric.name:<16}{shown(metric, ours[metric.name]):>10} {shown(metric, theirs[metric.name]):>9}"
        found = differences.get(metric.name)
        if found is not None:
            line += f" {shown(metric, found['difference'], '+'):>10}"
            if "low" in found:
                line += f"   {shown(metric, found['low'], '+')} to {shown(metric, found['high'], '+')}"
        lines.append(line)
    lines += [
        "",
        f"Intervals: {RESAMPLES:,} resamples of the text's dialogues; where 0 lies outside, it is hardly chance.",
    ]
    if not same_vocabulary:
        lines += [
            "The two cut text into different tokens, so figures per token have no difference here. word_perplexity,",
            "of the same words for both, compares them.",
        ]
    return "\n".join(lines)


def shown(metric: Metric, value: float, sign: str = "") -> str:
    if metric.as_percent:
        return f"{100 * value:{sign}.1f} %"
    return f"{value:{sign}.{4 if metric.name == 'loss' else 2}f}"
