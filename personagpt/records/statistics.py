"""The figures that `interact.py --stats` prints: the number of talks, utterances, corrections, flags and thumbs."""

from __future__ import annotations

from collections import Counter

from personagpt.output import counted
from personagpt.records.talks import FLAGS, UNKNOWN_DAY, Talk, is_imported

LATER = 21  # from a talk's reply with this number on, the thumbs are counted together
# What the talk's branches share, the utterances before the turn, and the text as it was said first.
Place = tuple[tuple[str, ...], tuple[str, ...], str | None]


def statistics(talks: list[Talk]) -> list[str]:
    """Return lines that say how many talks, utterances, corrections and flags there are, and where they come from."""
    # Twins have the same turns: each utterance counts in its speaker's own talk.
    turns = [turn for talk in talks for turn in talk.turns if (talk.partner, turn.speaker) != ("person", "partner")]
    days = {talk.started[:10] for talk in talks} - {UNKNOWN_DAY}
    lines = [counted(len(talks), "talks") + (f", {min(days)} to {max(days)}" if days else "")]
    for title, counts in (
        ("recorded by", Counter(talk.source for talk in talks)),
        ("model", Counter(_model(talk) for talk in talks if talk.model)),
        ("rated", Counter(question for talk in talks for question in talk.ratings)),
    ):
        lines += [f"  {title}"] if counts else []
        lines += [f"    {name:<40}{count:>7}" for name, count in counts.most_common()]
    lines.append(counted(len({talk.participant for talk in talks} - {None}), "participants"))
    lines.append(counted(len(turns), "utterances"))
    for speaker, count in Counter(turn.speaker for turn in turns).most_common():
        words = sum(len(turn.text.split()) for turn in turns if turn.speaker == speaker)
        lines.append(f"  {speaker:<14}{count:>7}   {words / count:.1f} words each")
    lines.append(counted(sum(turn.corrected for turn in turns), "corrected replies"))
    again = sum(turn.replaced is not None and not turn.corrected for turn in turns)
    lines.append(counted(again, "replies drawn again"))
    lines.append(counted(len(_different_flags(talks)), "flags"))
    return lines + count_flags(talks) + flags_by_model(talks) + thumbs_by_program(talks) + thumbs_by_turn(talks)


def _model(talk: Talk) -> str:
    """Return the name of the program of a talk, after its checksum if it has a checksum."""
    return f"{talk.model_checksum[:12]}  {talk.model}" if talk.model_checksum else talk.model


def flags_by_model(talks: list[Talk]) -> list[str]:
    """Return a line for each model, and one for each kind of flag on its replies, as a share of its replies.

    A corrected reply counts, because the model said another text in its place. A reply with two kinds counts in each.
    A reply that several branches of a talk share counts once.
    """
    replies: dict[str, set[Place]] = {}
    flagged: dict[str, dict[str, set[Place]]] = {}
    for talk in talks:
        name = _model(talk)
        turns = {number: place_of(talk, number) for number, turn in enumerate(talk.turns) if turn.speaker == "model"}
        replies.setdefault(name, set()).update(turns.values())
        kinds = flagged.setdefault(name, {"flagged": set()})
        for flag in talk.flags:
            if flag.turn in turns:
                kinds.setdefault(flag.kind, set()).add(turns[flag.turn])
                kinds["flagged"].add(turns[flag.turn])
    lines = []
    for name, count in sorted(((name, len(places)) for name, places in replies.items()), key=lambda pair: -pair[1]):
        if flagged[name]["flagged"]:
            lines.append(f"  {name}: {counted(count, 'replies')}")
            shares = sorted(flagged[name].items(), key=lambda kind: -len(kind[1]))
            lines += [
                f"    {kind:<14}{len(on):>7}   {100 * len(on) / count:.1f}% of its replies" for kind, on in shares
            ]
    return lines


def thumbs_by_program(talks: list[Talk]) -> list[str]:
    """Return a line for each program of imported talks: its replies, thumbs, and the means of its ratings."""
    by_program: dict[str, list[Talk]] = {}
    for talk in filter(is_imported, talks):
        by_program.setdefault(talk.model, []).append(talk)
    lines = []
    for name, part in sorted(by_program.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        replies = sum(turn.speaker == "model" for talk in part for turn in talk.turns)
        parts = [f"{counted(len(part), 'talks')}, {counted(replies, 'replies')}"]
        parts.append(_thumbs([thumb.up for talk in part for thumb in talk.thumbs]))
        for question in dict.fromkeys(question for talk in part for question in talk.ratings):
            answers = [talk.ratings[question] for talk in part if question in talk.ratings]
            parts.append(f"{question} {sum(answers) / len(answers):.2f} ({counted(len(answers), 'talks')})")
        lines.append(f"  {name}: {'; '.join(parts)}")
    return ["imported talks, by program", *lines] if lines else []


def thumbs_by_turn(talks: list[Talk]) -> list[str]:
    """Return a line for each place among a program's replies: the thumbs on its first reply, its second, ..."""
    places: dict[int, list[bool]] = {}
    for talk in talks:
        replies = [number for number, turn in enumerate(talk.turns) if turn.speaker == "model"]
        for thumb in talk.thumbs:
            places.setdefault(min(replies.index(thumb.turn) + 1, LATER), []).append(thumb.up)
    names = {LATER: f"{LATER} and later"}
    lines = [f"  reply {names.get(place, place)}: {_thumbs(ups)}" for place, ups in sorted(places.items())]
    return ["thumbs, by the number of the program's reply", *lines] if lines else []


def _thumbs(ups: list[bool]) -> str:
    down = ups.count(False)
    share = f" ({100 * down / len(ups):.0f}% down)" if ups else ""
    return f"{ups.count(True)} thumbs up, {down} down{share}"


def count_flags(talks: list[Talk]) -> list[str]:
    """Return a line for each kind of flag, the most frequent kind first."""
    counts = Counter(kind for _, kind, _ in _different_flags(talks))
    return [f"  {kind:<14}{count:>7}   {FLAGS[kind]}" for kind, count in counts.most_common()]


def place_of(talk: Talk, number: int) -> Place:
    """Return what turn `number` of a talk has in common with its copies in the talks that branched from that talk.

    After a flag, /retry and /fix go on as another talk, which has the same turns up to there.
    """
    turn = talk.turns[number]
    return talk.origin, tuple(talk.texts[:number]), turn.replaced if turn.corrected else turn.text


def _different_flags(talks: list[Talk]) -> list[tuple[Place, str, str]]:
    """Return place, kind and note of each flag, in order; a flag that several branches of a talk share stands once."""
    flags = ((place_of(talk, flag.turn), flag.kind, flag.note) for talk in talks for flag in talk.flags)
    return list(dict.fromkeys(flags))
