"""The steps that every talk goes through after its layout was read: an ImportedTalk of any shape -> dialogues.

mend_talk               one line for each text, no control characters
keep_speaker            with --speaker: that character replies, everybody else is the partner
split_at_pauses         a long pause starts a new talk
split_at_context        a reply that must not be learned ends one talk, and the next starts after it
join_turns              what a speaker says in a row is one utterance
end_with_reply          nothing comes after the last reply
to_dialogue             two speakers, two personas, as ConvAI2's text holds them
finish                  the steps after keep_speaker, in their order
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from personagpt.errors import shorten
from personagpt.importing.talks import ImportedTalk, ImportedTurn, RecordError
from personagpt.output import counted
from personagpt.text.convai2 import SILENCE, Dialogue, TextError, parse_corpus, write_corpus

MOST_CHARACTERS = 100_000  # of one fact or utterance: a longer text is no talk
LONG_FACT = 120  # characters: a persona that is one such line of two sentences, or any of three, is a paragraph
PARTNER = "partner"  # everybody else, with --speaker

TERMINAL_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# Control characters, marks that reorder the text of a line on the screen, and the byte-order mark.
CONTROL = re.compile("[\0-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
LINE_ENDS = re.compile(r"[\t\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")
DIRECTION = re.compile(r"\[[^\[\]]*\]|\([^()]*\)")
ABBREVIATION = re.compile(r"(?:\b(?:mr|mrs|ms|dr|st|vs|etc|prof|no|jr|sr)|\b\w|\be\.g|\bi\.e)\.$", re.IGNORECASE)


def mend(text: str, name: str) -> str:
    """Return `text` on one line, without control characters. `name` stands in the message.

    Raises RecordError where the text is too long for a talk or holds what is no UTF-8.
    """
    text = text.strip()
    if len(text) > MOST_CHARACTERS:
        raise RecordError(f"{name} has {len(text):,} characters; at most {MOST_CHARACTERS:,} are read")
    if text.isprintable():  # nearly every text: nothing to mend
        return text
    if half := re.search("[\ud800-\udfff]", text):
        code = ord(half[0])
        is_byte = 0xDC80 <= code <= 0xDCFF
        wrong = f"byte 0x{code - 0xDC00:02x}" if is_byte else f"half a character (\\u{code:04x})"
        raise RecordError(f"{wrong} in {name} is not UTF-8 text; save the file as UTF-8")
    return CONTROL.sub("", LINE_ENDS.sub(" ", TERMINAL_COLOUR.sub("", text))).strip()


def mend_talk(talk: ImportedTalk, left_out: Counter[str]) -> ImportedTalk:
    """Return `talk` with mended texts. Raises RecordError where an utterance is no text, or empty.

    A chat program's message, which has a time, may be empty: it is counted in `left_out`.
    """
    turns: list[ImportedTurn] = []
    for number, turn in enumerate(talk.turns, start=1):
        text = mend(turn.text, f"utterance {number}")
        if number == 1 and re.fullmatch(r"__ ?silence ?__", text, re.IGNORECASE):
            continue  # ConvAI2's word for a first speaker who says nothing
        if not text and turn.seconds is not None:
            left_out["empty messages"] += 1
            continue
        if not text or text == SILENCE:
            raise RecordError(f"utterance {number} is {text or 'empty'}")
        turns.append(replace(turn, text=text, speaker=mend(turn.speaker, "a name")))
    facts = {
        mend(who, "a name"): [fact for line in lines if (fact := mend(line, "a fact"))]
        for who, lines in talk.facts.items()
    }
    if about := talk.encounter:
        model, participant = (mend(name or "", "an id") or None for name in (about.model, about.participant))
        about = replace(about, model=model, participant=participant)
    return replace(talk, turns=turns, facts=facts, encounter=about)


def is_paragraph(facts: list[str]) -> bool:
    """Return whether a persona is one text of several sentences."""
    return len(facts) == 1 and len(sentences(facts[0])) > (2 if len(facts[0]) <= LONG_FACT else 1)


def sentences(text: str) -> list[str]:
    """Return the sentences of `text`. A full stop after an abbreviation or a single letter ends none."""
    pieces: list[str] = []
    for piece in re.split(r"(?<=[.!?\u2026])\s+(?=\S)|(?<=[\u3002\uff01\uff1f])\s*(?=\S)", text):
        is_loose = re.fullmatch(r"[\W_]+", piece) or (pieces and ABBREVIATION.search(pieces[-1]))
        if pieces and is_loose:
            pieces[-1] += f" {piece}"
        else:
            pieces.append(piece)
    return pieces


def keep_speaker(talk: ImportedTalk, speaker: str, facts: list[str]) -> ImportedTalk | None:
    """Return `talk` as one between `speaker`, who has `facts`, and a partner; None where one of them says nothing.

    Text in brackets is a stage direction and left out, unless the turns have times: then they are chat messages.
    """
    turns = []
    for turn in talk.turns:
        text = turn.text if turn.seconds is not None else " ".join(DIRECTION.sub(" ", turn.text).split())
        who = turn.speaker if turn.speaker == speaker else PARTNER
        turns += [replace(turn, speaker=who, text=text)] if text else []
    if len({turn.speaker for turn in turns}) < 2:
        return None
    return replace(talk, turns=turns, facts={speaker: facts}, replier=speaker)


def pauses(talks: Iterable[ImportedTalk]) -> list[float]:
    """Return the pauses between the turns, in hours, where the file says when they were said."""
    hours = []
    for talk in talks:
        for before, after in zip(talk.turns, talk.turns[1:], strict=False):
            if before.seconds is not None and after.seconds is not None:
                hours.append((after.seconds - before.seconds) / 3600)
    return hours


def count_turns(talks: Iterable[ImportedTalk]) -> Counter[str]:
    """Return how many turns each name has."""
    return Counter(turn.speaker for talk in talks for turn in talk.turns)


def usual_gap(hours: list[float]) -> int:
    """Return after how many hours of pause a new talk starts: the number from 1 to 12 that cuts most clearly.

    People answer within minutes or come back after hours. The fewest pauses are near (from 2/3 to 3/2 of) the number in
    between; of equal numbers the middle one is taken.
    """
    counts = {gap: sum(gap / 1.5 <= pause <= gap * 1.5 for pause in hours) for gap in range(1, 13)}
    fewest = [gap for gap, count in counts.items() if count == min(counts.values())]
    return fewest[len(fewest) // 2]


def split_at_pauses(talk: ImportedTalk, gap: float) -> list[ImportedTalk]:
    """Return the pieces of `talk` between pauses of at least `gap` hours. Turns without a time have no pauses."""
    pieces: list[list[ImportedTurn]] = [talk.turns[:1]]
    for before, turn in zip(talk.turns, talk.turns[1:], strict=False):
        is_timed = before.seconds is not None and turn.seconds is not None
        if is_timed and turn.seconds - before.seconds >= gap * 3600:
            pieces.append([])
        pieces[-1].append(turn)
    return [replace(talk, turns=piece) for piece in pieces]


def split_at_context(talk: ImportedTalk) -> list[ImportedTalk]:
    """Return the pieces of `talk` between the replies that must not be learned.

    ConvAI2's text cannot hold a reply that is context only. What stands before such a reply is a talk of its own, and
    so is what comes after.
    """
    pieces: list[list[ImportedTurn]] = [[]]
    for turn in talk.turns:
        if turn.is_label:
            pieces[-1].append(turn)
        else:
            pieces.append([])
    return [replace(talk, turns=piece) for piece in pieces]


def join_turns(talk: ImportedTalk) -> ImportedTalk:
    """Return `talk` with one turn for what a speaker says in a row."""
    turns: list[ImportedTurn] = []
    for turn in talk.turns:
        if turns and turns[-1].speaker == turn.speaker:
            before = turns[-1]
            turns[-1] = replace(before, text=f"{before.text} {turn.text}", thumbs=before.thumbs + turn.thumbs)
        else:
            turns.append(turn)
    return replace(talk, turns=turns)


def end_with_reply(talk: ImportedTalk) -> ImportedTalk:
    """Return `talk` up to the last turn of the speaker who replies.

    That is the layout's replier, else the only speaker who has a persona: ConvAI2's text names the last speaker's
    persona `your persona`, and makes only that side of the talk.
    """
    given = [who for who in talk.speakers if talk.facts.get(who)]
    replier = given[0] if len(given) == 1 else talk.replier
    last = max((n for n, turn in enumerate(talk.turns, start=1) if turn.speaker == replier), default=0)
    return replace(talk, turns=talk.turns[:last] if replier else talk.turns)


def check_speakers(talk: ImportedTalk) -> None:
    """Raise RecordError unless two speakers speak, or the speaker who replies alone."""
    names = talk.speakers
    if talk.replier and talk.replier not in names:
        raise RecordError(f"{talk.replier} says nothing")
    if not names:
        raise RecordError("nobody says anything")
    if len(names) != 2 and names != [talk.replier]:
        raise RecordError(f"{counted(len(names), 'speakers')} ({shorten(', '.join(names))}); expected two")


def to_dialogue(talk: ImportedTalk) -> Dialogue:
    """Return the dialogue of a finished talk. Raises RecordError where ConvAI2's text cannot carry it."""
    first, second = [*talk.speakers, ""][:2]
    personas = talk.facts.get(first, []), talk.facts.get(second, [])
    dialogue = Dialogue(personas=personas, utterances=[turn.text for turn in talk.turns])
    try:
        parse_corpus(write_corpus([dialogue]).encode(), "its text")
    except (TextError, ValueError) as error:
        raise RecordError(str(error)) from None
    return dialogue


def finish(talk: ImportedTalk, gap: float, left_out: Counter[str]) -> list[tuple[ImportedTalk, Dialogue]]:
    """Return the finished talks that a mended one becomes, each with its dialogue. Raises RecordError where none is.

    A piece between two cuts in which only one speaker speaks is counted in `left_out`.
    """
    left_out["replies of weight 0; a talk ends before each"] += sum(not turn.is_label for turn in talk.turns)
    pieces = [part for piece in split_at_pauses(talk, gap) for part in split_at_context(piece)]
    finished = []
    for piece in pieces:
        if len(pieces) > 1 and len(piece.speakers) < 2:
            left_out["pieces of talks without a reply"] += bool(piece.turns)
            continue
        try:
            check_speakers(piece)
            ended = end_with_reply(join_turns(piece))
            finished.append((ended, to_dialogue(ended)))
        except RecordError as error:
            if len(pieces) == 1:
                raise
            left_out[f"pieces of talks ({error})"] += 1
    return finished
