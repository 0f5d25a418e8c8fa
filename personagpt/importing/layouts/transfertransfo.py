"""TransferTransfo's personachat_self_original.json: every response with its history and candidates.

    {"train": [{"personality": ["i have two dogs .", "i paint ."],
                "utterances": [{"history": ["hi !"], "candidates": ["no idea .", "hello ! i paint ."]},
                               {"history": ["hi !", "hello ! i paint .", "what ?"], "candidates": ["no .", "dogs ."]}]},
               ...],
     "valid": [...]}

The true response is the last candidate. The persona is the responder's; the other speaker's is not in the file. A list
of such records, or a record a line, is read as well.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from personagpt.errors import shorten
from personagpt.importing.sources import Source
from personagpt.importing.talks import ImportedTalk, ImportedTurn, Record, RecordError, texts_of, value_of

PARTNER, YOU = "partner", "you"


def recognises(source: Source) -> bool:
    return any(isinstance(record, dict) and "utterances" in record for record in source.first_records)


def talk(record: Record, left_out: Counter[str]) -> ImportedTalk:
    facts, responses = texts_of(record.content, "personality"), value_of(record.content, "utterances", list)
    return talk_of_histories(record, facts, responses)


def talk_of_histories(record: Record, facts: list[str], responses: list[Any]) -> ImportedTalk:
    """Return the talk of `responses`, {"history": ..., "candidates": ...} each. Raises RecordError.

    The last history and its true response are the whole talk.
    """
    if not responses:
        raise RecordError("no utterances")
    history = texts_of(responses[-1], "history")
    if len(history) < 2 * len(responses) - 1:
        raise RecordError(f"{len(responses)} responses, but a history of {len(history)} utterances: it was cut")
    true_responses = [_true_response(response) for response in responses]
    for number, (truth, following) in enumerate(zip(true_responses, responses[1:], strict=False), start=1):
        said = texts_of(following, "history")
        # Files differ in case and spaces between a candidate and the same text in the next history.
        if len(said) < 2 or _letters(said[-2]) != _letters(truth):
            raise RecordError(
                f"the last candidate of response {number} is {shorten(truth)}, but the next history goes on after "
                f"{shorten(said[-2] if len(said) > 1 else '')}; put the true response last among the candidates"
            )
    said = [*history, true_responses[-1]]
    speakers = [YOU if (len(said) - number) % 2 else PARTNER for number in range(len(said))]
    turns = [ImportedTurn(speaker, text) for speaker, text in zip(speakers, said, strict=True)]
    return ImportedTalk(record.place, turns, {YOU: facts}, YOU, record.part)


def _true_response(response: Any) -> str:
    candidates = texts_of(response, "candidates")
    if not candidates:
        raise RecordError("no candidates; expected the true response as the last of them")
    return candidates[-1]


def _letters(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())
