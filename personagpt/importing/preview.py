"""The first talks as they will be trained on, so that a person sees at once what the importer understood."""

from __future__ import annotations

from personagpt.errors import printable
from personagpt.importing.talks import ImportedTalk
from personagpt.text.convai2 import Dialogue

TALKS, FACTS, UTTERANCES = 3, 3, 4  # shown
WIDTH = 100  # characters of a line


def preview(talks: list[ImportedTalk], dialogues: list[Dialogue]) -> str:
    """Return the first of the finished `talks`; a star stands before each utterance that will be learned.

    The last speaker of a dialogue is ConvAI2's "you". The sides that the file gives personas for are learned, without
    any persona both.
    """
    ends = [(dialogue, (len(dialogue.utterances) - 1) % 2) for dialogue in dialogues]
    given = [any(d.personas[you] for d, you in ends), any(d.personas[1 - you] for d, you in ends)]
    is_learned = given if any(given) else [True, True]  # you, the partner
    lines = [f"the first {min(TALKS, len(talks))} as they will be trained on (* is learned):"]
    for talk, (_, you) in list(zip(talks, ends, strict=True))[:TALKS]:
        lines.append(f"  {talk.place}")
        for who in talk.speakers:
            facts = talk.facts.get(who, [])
            lines += [f"      {who}'s persona: {fact}" for fact in facts[:FACTS]] + _more(len(facts) - FACTS)
        for number, turn in enumerate(talk.turns[:UTTERANCES]):
            star = "*" if is_learned[number % 2 != you] else " "
            lines.append(f"    {star} {turn.speaker}: {turn.text}")
        lines += _more(len(talk.turns) - UTTERANCES)
    return "\n".join(printable(line if len(line) <= WIDTH else line[: WIDTH - 3] + "...") for line in lines)


def _more(count: int) -> list[str]:
    return [f"      ... and {count:,} more"] if count > 0 else []
