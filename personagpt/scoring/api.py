"""Score the replies of a program behind an API: the metrics that need only words. Probabilities are not known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from tqdm import tqdm

from personagpt.model.api import ApiProgram, Asked, EmptyReply
from personagpt.output import say
from personagpt.scoring.entries import Places
from personagpt.scoring.evaluation import EvaluationPlan
from personagpt.scoring.generated import Replies, generated_metrics
from personagpt.scoring.metrics import figures, figures_by_turn
from personagpt.scoring.nli import nli_metrics
from personagpt.scoring.report import table, table_by_turn
from personagpt.text.dialogues import SIDES, Corpus


def asked_of(corpus: Corpus, side: str, max_turns: int, count: int) -> tuple[list[Asked], Replies]:
    """Return what to ask a program for the first `count` responses of a text, and the Replies without its words.

    The responses are those that `greedy_replies` takes, in the same order: dialogue by dialogue, and side by side. The
    program gets the whole talk so far, because its context is not known.
    """
    wanted = (0, 1) if side == "both" else (SIDES.index(side),)
    asked, places, human, facts, earlier = [], [], [], [], []
    for number, (dialogue, sides) in enumerate(corpus):
        said = dialogue.utterances[:max_turns]
        for speaker in (speaker for speaker in sides if speaker in wanted):
            for turn in range(speaker, len(said), 2):
                asked.append((dialogue.personas[speaker], said[:turn]))
                places.append((number, turn + 1))
                human.append(said[turn])
                facts.append(list(dialogue.personas[speaker]))
                earlier.append(said[speaker:turn:2])
        if len(asked) >= count:
            break
    rows = Places(*np.array(places[:count]).T)
    return asked[:count], Replies(rows, [], human[:count], facts[:count], earlier[:count])


def score_api(program: ApiProgram, plan: EvaluationPlan, max_turns: int) -> dict[str, Any]:
    """Ask the program for its likeliest replies, print their table, and return the figures. Raises ApiError."""
    api = program.api
    asked, replies = asked_of(plan.corpus, plan.side, max_turns, plan.generate)
    say(f"{api.name}\n{plan.text}\n")
    greedy = replace(api.drawing, temperature=0.0, top_p=None)
    generated = list(tqdm(program.replies(asked, greedy), "generate", len(asked), leave=False, disable=None))
    if not any(generated):
        raise EmptyReply(
            f"{api.name}: every reply is empty; a higher max_new_tokens, or a server without a content filter, may help"
        )
    replies = replace(replies, generated=generated)
    entries, nli = generated_metrics(replies), {}
    if plan.nli:
        entries |= nli_metrics(replies, plan.nli)
        nli = {"nli": plan.nli.name}
    origin = {"model": api.name, "model_checksum": api.checksum, **api.recorded, "text": str(plan.text)}
    origin |= {"temperature": 0.0, "top_p": None, "text_sha256": plan.corpus.sha256}
    origin |= {} if plan.side == "both" else {"side": plan.side}
    result = origin | figures(entries) | nli
    say(table(result, False))
    if plan.by_turn:
        result["by_turn"] = figures_by_turn(entries)
        say("\n" + table_by_turn(result["by_turn"]))
    return result
