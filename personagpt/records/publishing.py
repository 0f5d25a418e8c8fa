"""Recorded talks -> a dataset for others, with a dataset card, without keys of participants, times of day and paths.

It holds the talks of studies, whose participants agreed to a consent text, or the operator's own talks. It leaves out
the free talks of the page, because nobody asked its visitors.
"""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import replace
from pathlib import Path

from personagpt.errors import UserError
from personagpt.files import read_text, write_atomically
from personagpt.output import markdown, say
from personagpt.records.consents import kept_consents
from personagpt.records.export import export
from personagpt.records.talks import FLAGS, INTERVIEW, SELF_PLAY, STUDY, Talk, new_id, public_model, talks_by_study

CARD = "README.md"
TEMPLATE = Path(__file__).with_name("published_card.md")
OF_PROGRAMS = Path(__file__).with_name("published_card_programs.md")  # where no person took part
CHOOSE = """\
# license: choose one and write it here, such as cc-by-4.0 (https://huggingface.co/docs/hub/repositories-licenses)
# language: write the codes of the talks' languages here, such as en"""
OWN = ("interact.py", SELF_PLAY, INTERVIEW)  # the sources of the operator's own talks
SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K"}  # the hub's names of sizes


def publish(
    talks: list[Talk], folder: Path, target: Path, only_flagged: bool, license: tuple[str, str] | None = None
) -> None:
    """Write the talks of the recordings in `folder` into the folder `target`, as export does, and a dataset card.

    `license` comes from `read_license`. Raises UserError if no talk may be published, or if files are in the way.
    """
    if (target / CARD).exists():
        raise UserError(f"{target / CARD}: there already, and not overwritten; publish into another folder")
    allowed = [talk for talk in talks if talk.source.startswith(STUDY) or talk.source in OWN]
    if not allowed:
        raise UserError("no talk to publish: only talks of studies, and those that interact.py recorded, may be")
    if len(allowed) < len(talks):
        left_out = Counter(talk.source for talk in talks) - Counter(talk.source for talk in allowed)
        counts = ", ".join(f"{count} by {source}" for source, count in left_out.items())
        say(f"left out, because nobody asked the people who talked: {counts}")
    published = anonymous([talk for talk in allowed if talk.flags or not only_flagged])
    export(published, target, only_flagged)
    write_atomically(target / CARD, card(published, folder, only_flagged, license))
    todo = "" if license else "choose a license there, and "
    say(f"the card: {target / CARD}; before you share the folder, {todo}read the talks")


def read_license(path: Path) -> tuple[str, str]:
    """Return the metadata and the words of a file about the license of the talks: lines, an empty line, a text.

    Raises UserError where the file begins with no `license: NAME`, or says nothing after it.
    """
    metadata, _, words = read_text(path).strip().partition("\n\n")
    if not metadata.startswith("license: ") or not words.strip():
        raise UserError(f"--license {path}: expected a first line such as license: mit, an empty line, and the reasons")
    return metadata, words.strip()


def without_private(talks: list[Talk]) -> list[Talk]:
    """Return the talks to publish where nobody chose them: no private talk goes along with the talks of a study."""
    of_studies = [talk for talk in talks if talk.source.startswith(STUDY)]
    count = sum(talk.source in OWN for talk in talks)
    if not of_studies or not count:
        return talks
    say(f"left out: {count} private talks that interact.py recorded; --source interact.py publishes them")
    return [talk for talk in talks if talk.source not in OWN]


def anonymous(talks: list[Talk]) -> list[Talk]:
    """Return the talks with new ids and participants, without times of day, in random order within each day.

    Twins keep their relation. A talk whose twin is not among `talks` loses it.
    """
    random = secrets.SystemRandom()
    talks = sorted(talks, key=lambda talk: (_day(talk.started), random.random()))
    keys = sorted({talk.participant for talk in talks if talk.participant is not None}, key=lambda key: random.random())
    participants = {key: f"p{number}" for number, key in enumerate(keys, 1)}
    ids = {talk.id: new_id() for talk in talks}
    published = []
    for talk in talks:
        names = {"id": ids[talk.id], "twin": ids.get(talk.twin), "participant": participants.get(talk.participant)}
        turns = [replace(turn, time=_day(turn.time)) for turn in talk.turns]
        published.append(replace(talk, model=public_model(talk), started=_day(talk.started), turns=turns, **names))
    return published


def _day(time: str) -> str:
    return time[: len("2026-01-01")]


def card(talks: list[Talk], folder: Path, only_flagged: bool, license: tuple[str, str] | None = None) -> str:
    """Return the README.md of published talks: metadata for the hub, and a description for readers."""
    metadata, words = license or (CHOOSE, "")
    template = OF_PROGRAMS if all(talk.partner == "partner" for talk in talks) else TEMPLATE
    turns = [turn for talk in talks for turn in talk.turns]
    sources = Counter(talk.source for talk in talks).most_common()
    models = Counter((talk.model, talk.model_checksum) for talk in talks if talk.model).most_common()
    of_model = Counter((talk.source, talk.model) for talk in talks)
    ratings = Counter(question for talk in talks for question in talk.ratings).most_common()
    flags = Counter(flag.kind for talk in talks for flag in talk.flags).most_common()
    counts = [
        ("talks", len(talks)),
        ("participants", len({talk.participant for talk in talks} - {None})),
        ("utterances, of joined participants twice", len(turns)),
        *((f"... by `{speaker}`", count) for speaker, count in Counter(turn.speaker for turn in turns).most_common()),
        ("corrected replies", sum(turn.corrected for turn in turns)),
        *((f"talks with `{question}`", count) for question, count in ratings),
        *((f"flags `{kind}`", count) for kind, count in flags),
    ]
    return template.read_text("utf-8").format(
        metadata=metadata,
        license=words or "(PUT HERE WHY YOU MAY GIVE THE TALKS AWAY, AND UNDER WHICH LICENSE.)",
        size=next((name for most, name in SIZES.items() if len(talks) < most), "100K<n<1M"),
        extent="whole" if only_flagged else "up to its\nfirst flagged reply",
        days=f"{talks[0].started} to {talks[-1].started}",
        sources=markdown(("source", "talks"), *sources),
        models=markdown(("model", "checksum", "talks"), *((*model, count) for model, count in models)),
        by_model=markdown(("source", "model", "talks"), *((*pair, count) for pair, count in sorted(of_model.items()))),
        consent=_consent(sorted(talks_by_study(talks)), folder),
        counts=markdown(("what", "how many"), *counts),
        kinds=", ".join(f"`{kind}` ({meaning})" for kind, meaning in FLAGS.items()),
    )


def _consent(studies: list[str], folder: Path) -> str:
    parts = []
    for study in studies:
        texts = kept_consents(folder, study) or [
            "(PUT HERE WHAT THE PARTICIPANTS AGREED TO: the recordings do not have it)"
        ]
        parts.append(f"Participants of the study `{study}` agreed to this first:")
        parts += ["\n".join(f"    {line}".rstrip() for line in text.splitlines()) for text in texts]
    return "\n\n".join(parts) or "No talk of a study is among them."
