"""The figures of the reviews, and how they are shown: failures by kind, by turn and by program, and the agreement.

Beside what reviewers say stands what the people who talked have flagged, in the same talks. A rate is the number of
failures for each 100 replies; a reply that two reviewers read counts for each of them. The intervals come from
resamples of the participants, as in a study's report; those of alpha come from resamples of the talks.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from personagpt.output import columns, counted
from personagpt.records.reviews import Review
from personagpt.records.talks import FLAGS, Talk, public_model
from personagpt.review.agreement import ANY, agreement, finished_by_two, has_label, read_turns, reviews_by_talk
from personagpt.review.order import judged_turns
from personagpt.scoring.bootstrap import PERCENT, RESAMPLES
from personagpt.study.report import draw_points, shown
from personagpt.study.results import Figure, Sample

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

PLACES = 20  # replies of a talk that have a row of their own; later replies share a row
SAYS = {"reviewed": "reviewers", "flagged": "flags in the talk"}
ORDERED = {"doubt": "doubt first", "detector": "a detector's doubt first"}
Rates = dict[str, Figure]  # "reviewed" and "flagged": failures for each 100 replies


def review_results(reviews: list[Review], talks: list[Talk], seed: int) -> dict[str, Any]:
    """Return the figures of the finished reviews, as JSON holds them. `talks` are all talks on record.

    Raises KeyError if no review is finished.
    """
    by_talk = reviews_by_talk(reviews)
    read = [talk for talk in talks if talk.id in by_talk]
    sample, two = Sample(read, seed), finished_by_two(reviews)
    programs: dict[str, list[Talk]] = {}
    for talk in read:
        programs.setdefault(program_name(talk), []).append(talk)
    finished = [review for part in by_talk.values() for review in part]
    names = {key: f"r{number}" for number, key in enumerate(dict.fromkeys(each.reviewer for each in finished), 1)}
    longest = min(PLACES + 1, max(len(judged_turns(talk)) for talk in read))
    return {
        "talks": len(read),
        "by_two": len({review.talk for review in two}),
        "reviewers": len(names),
        "orders": dict(Counter(review.ordering for review in finished)),
        "percent": PERCENT,
        "resamples": RESAMPLES,
        "seed": seed,
        "kinds": {kind: rates(read, by_talk, sample, kind) for kind in (*FLAGS, ANY)},
        "turns": [rates(read, by_talk, sample, ANY, place) for place in range(1, longest + 1)],
        "programs": {name: rates(part, by_talk, sample, ANY) | {"talks": len(part)} for name, part in programs.items()},
        "labels": [
            {"talk": review.talk, "reviewer": names[review.reviewer], "turn": turn, "kinds": sorted(kinds)}
            | ({"note": review.notes[turn]} if turn in review.notes else {})
            for review in finished
            for turn, kinds in sorted(review.labels.items())
        ],
        "agreement": agreement(two, {talk.id: talk for talk in read}, seed),
    }


def program_name(talk: Talk) -> str:
    return "a person" if talk.partner == "person" else public_model(talk)


def rates(
    talks: list[Talk], by_talk: dict[str, list[Review]], sample: Sample, kind: str, place: int | None = None
) -> Rates:
    """Return how often reviewers labelled, and people flagged, a reply with a kind: any reply, or number `place`.

    The place PLACES + 1 stands for all later replies, too.
    """
    reviewed, flagged = [], []
    for talk in talks:
        turns = judged_turns(talk)
        if place is not None:
            turns = turns[place - 1 : place if place <= PLACES else None]
        flags: dict[int, set[str]] = {}
        for flag in talk.flags:
            flags.setdefault(flag.turn, set()).add(flag.kind)
        judgements = [(reviewed, review.labels, read_turns(talk, review)) for review in by_talk[talk.id]]
        for said, given, read in [*judgements, (flagged, flags, turns)]:
            labelled = [has_label(given.get(turn, set()), kind) for turn in turns if turn in read]
            said.append((talk, 100 * sum(labelled), len(labelled)))
    return {"reviewed": sample.mean(reviewed), "flagged": sample.mean(flagged)}


def review_table(figures: dict[str, Any]) -> str:
    """Return the figures as tables of text."""
    orders = ", ".join(ORDERED.get(order, order) for order in figures["orders"])
    lines = [
        f"review: {counted(figures['talks'], 'talks')}, of which {figures['by_two']} by at least two of "
        f"{counted(figures['reviewers'], 'reviewers')}; order: {orders}",
        "",
        "failures for each 100 replies",
    ]
    rows = [("kind", *SAYS.values(), "alpha", "not agreed")]
    for kind, rate in figures["kinds"].items():
        agreed = figures["agreement"][kind]
        alpha = shown({key: agreed[key] for key in ("low", "high") if key in agreed} | _value(agreed), "{:.2f}")
        rows.append((kind, *_rates(rate), alpha, f"{agreed['disagreed']} of {agreed['replies']}"))
    lines += [*columns(rows), ""]
    rows = [("its turn", *SAYS.values())]
    for place, rate in enumerate(figures["turns"], 1):
        rows.append((f"{place}" + (" and later" if place > PLACES else ""), *_rates(rate)))
    lines += [*columns(rows), ""]
    rows = [("program", "talks", *SAYS.values())]
    rows += [(name, rate["talks"], *_rates(rate)) for name, rate in figures["programs"].items()]
    lines += [*columns(rows), ""]
    lines.append(
        f"In brackets: {figures['percent']} % intervals from {figures['resamples']:,} resamples (seed "
        f"{figures['seed']}): of the participants, and for alpha of the talks."
    )
    if ORDERED.keys() & figures["orders"].keys():
        lines.append("Talks in doubt came first: until all are read, these rates are not those of all talks.")
    return "\n".join(lines)


def _value(agreed: dict[str, Any]) -> Figure:
    return {"value": agreed["alpha"]} if "alpha" in agreed else {}


def _rates(rate: Rates) -> list[str]:
    return [shown(rate[key], "{:.1f}") for key in SAYS]


def draw_review(figures: dict[str, Any]) -> Drawing:
    """Return a drawing of the failures by kind and by turn, and of alpha by kind, with their intervals."""
    import matplotlib.figure

    drawing = matplotlib.figure.Figure(figsize=(11, 9), dpi=130, layout="constrained")
    drawing.suptitle(f"review: {counted(figures['talks'], 'talks')}, {counted(figures['reviewers'], 'reviewers')}")
    drawing.supxlabel(f"Bars: {figures['percent']} % intervals.", fontsize="small")
    kinds, turns, alpha = drawing.subplots(3, 1)
    by_kind, by_turn = figures["kinds"], figures["turns"]
    draw_points(kinds, by_kind, {name: [rate[key] for rate in by_kind.values()] for key, name in SAYS.items()})
    kinds.legend(fontsize="small")
    places = [str(place) if place <= PLACES else "later" for place in range(1, len(by_turn) + 1)]
    draw_points(turns, places, {name: [rate[key] for rate in by_turn] for key, name in SAYS.items()})
    turns.set_xlabel("the reply's number")
    for axes in (kinds, turns):
        axes.set_ylim(bottom=0)
        axes.set_ylabel("failures per 100 replies")
    draw_points(alpha, by_kind, {"": [agreed | _value(agreed) for agreed in figures["agreement"].values()]})
    alpha.set(ylim=(min(-0.05, alpha.get_ylim()[0]), 1.05), ylabel="Krippendorff's alpha")
    return drawing
