"""The figures that `interact.py --stats` prints: the number of talks, utterances, corrections and flags."""

from __future__ import annotations

from collections import Counter

from personagpt.records.talks import FLAGS, Talk

# What the talk's branches share, the utterances before the turn, and the text as it was said first.
Place = tuple[tuple[str, ...], tuple[str, ...], str | None]


def statistics(talks: list[Talk]) -> list[str]:
    """Return lines that say how many talks, utterances, corrections and flags there are, and where they come from."""
    # Twins have the same turns: each utterance counts in its speaker's own talk.
    turns = [turn for talk in talks for turn in talk.turns if (talk.partner, turn.speaker) != ("person", "partner")]
    lines = [f"{len(talks)} talks" + (f", {talks[0].started[:10]} to {talks[-1].started[:10]}" if talks else "")]
    for title, counts in (
        ("recorded by", Counter(talk.source for talk in talks)),
        ("model", Counter(f"{talk.model_checksum[:12]}  {talk.model}" for talk in talks if talk.model)),
        ("rated", Counter(question for talk in talks for question in talk.ratings)),
    ):
        lines += [f"  {title}"] if counts else []
        lines += [f"    {name:<40}{count:>7}" for name, count in counts.most_common()]
    lines.append(f"{len({talk.participant for talk in talks} - {None})} participants")
    lines.append(f"{len(turns)} utterances")
    for speaker, count in Counter(turn.speaker for turn in turns).most_common():
        words = sum(len(turn.text.split()) for turn in turns if turn.speaker == speaker)
        lines.append(f"  {speaker:<14}{count:>7}   {words / count:.1f} words each")
    lines.append(f"{sum(turn.corrected for turn in turns)} corrected replies")
    lines.append(f"{sum(turn.replaced is not None and not turn.corrected for turn in turns)} replies drawn again")
    lines.append(f"{len(_different_flags(talks))} flags")
    return lines + count_flags(talks) + flags_by_model(talks)


def flags_by_model(talks: list[Talk]) -> list[str]:
    """Return a line for each model, and one for each kind of flag on its replies, as a share of its replies.

    A corrected reply counts, because the model said another text in its place. A reply with two kinds counts in each.
    A reply that several branches of a talk share counts once.
    """
    replies: dict[str, set[Place]] = {}
    flagged: dict[str, dict[str, set[Place]]] = {}
    for talk in talks:
        name = f"{talk.model_checksum[:12]}  {talk.model}"
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
            lines.append(f"  {name}: {count} replies")
            shares = sorted(flagged[name].items(), key=lambda kind: -len(kind[1]))
            lines += [
                f"    {kind:<14}{len(on):>7}   {100 * len(on) / count:.1f}% of its replies" for kind, on in shares
            ]
    return lines


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
