"""Where a teaching session can ask: a place is a talk up to an utterance that the model is to answer.

This module imports nothing heavy, because a script looks for places before it imports torch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from personagpt.errors import UserError
from personagpt.model.sampling import Sampling
from personagpt.records.database import Recordings
from personagpt.records.talks import STUDY, TEACH, Talk, Turn, new_id
from personagpt.settings import Settings
from personagpt.text.convai2 import Corpus, read_corpus
from personagpt.text.words import QUESTION_MARKS

if TYPE_CHECKING:
    from personagpt.model.loading import TrainedModel


@dataclass(frozen=True)
class Material:
    """What a session asks about."""

    path: Path  # of the validation text
    corpus: Corpus | None  # None where there is no such text
    talks: list[Talk]  # on record


def read_material(settings: Settings, recordings: Recordings) -> Material:
    """Return the validation text and the recorded talks. Raises UserError where there is neither."""
    path = settings.text("valid")
    material = Material(path, read_corpus(path) if path.is_file() else None, recordings.talks())
    if material.corpus is None and not material.talks:
        raise UserError(f"{path} not found, and no talk is recorded: --teach asks about personas and talks from there")
    return material


def places(trained: TrainedModel, material: Material, sampling: Sampling) -> list[Talk]:
    """Return all places as talks that are not recorded yet: in recorded talks, and questions of the validation text.

    A recorded talk is asked again wherever the model replied, unless a person has already put another reply there. A
    question of the validation text opens a talk with the persona of the speaker who was asked. Raises UserError where
    there is no place.
    """
    model = {"model": trained.name, "model_checksum": trained.checksum}
    found = []
    for talk in material.talks:
        if talk.partner != "human" or talk.source == TEACH or talk.source.startswith(STUDY):
            continue
        # With the same seed it is the same talk that goes on another way, and its flags are this talk's, too.
        drawn = asdict(sampling) | {"seed": talk.sampling.get("seed")}
        for index, turn in enumerate(talk.turns):
            if index and turn.speaker == "model" and not (turn.corrected or turn.chosen):
                flags = [flag for flag in talk.flags if flag.turn < index]
                found.append(replace(talk, id=new_id(), turns=talk.turns[:index], flags=flags, sampling=drawn, **model))
    for dialogue, sides in material.corpus or ():
        for speaker in sides:
            asked = dialogue.utterances[1 - speaker :: 2]
            facts = list(dialogue.personas[speaker])
            for text in dict.fromkeys(text for text in asked if text.endswith(tuple(QUESTION_MARKS))):
                found.append(Talk(sampling={}, persona=facts, turns=[Turn("human", text)], source=TEACH, **model))
    if not found:
        raise UserError(
            f"{material.path} has no question, and no recorded talk has a reply to ask about: talk to the model first"
        )
    return found
