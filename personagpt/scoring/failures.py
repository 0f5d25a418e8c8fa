"""Did training help? The contexts in which people rejected a reply, answered anew by a model or by two.

Every figure is of the recorded replies, too: of what people rejected.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from personagpt.device import hardware
from personagpt.model.generation import ReplyRequest, generate_replies
from personagpt.model.loading import TrainedModel, load_trained
from personagpt.model.sampling import GREEDY
from personagpt.output import counted, say
from personagpt.scoring.bootstrap import PERCENT, RESAMPLES
from personagpt.scoring.comparison import differences
from personagpt.scoring.definitions import METRICS, shown
from personagpt.scoring.entries import Entries, Places
from personagpt.scoring.generated import Replies, repeats, words
from personagpt.scoring.metrics import LabelledTokens, score
from personagpt.scoring.nli import Classifier, nli_metrics
from personagpt.sequences.failures import Failures
from personagpt.sequences.format import DataError
from personagpt.sequences.preferences import Preference
from personagpt.settings import Settings
from personagpt.text.lines import TextError
from personagpt.text.style import last_utterances

Figures = dict[str, dict[str, Any]]  # by column: the metrics' figures, or their differences


def score_failures(
    names: list[str | None], failures: Failures, settings: Settings, classifier: Classifier | None
) -> dict[str, Any]:
    """Let each model answer all failures anew, print the tables, and return the figures with their origin."""
    pairs = sum(item.chosen is not None for item in failures.items)
    recorded = [item.rejected for item in failures.items]
    columns = {"recorded": reply_metrics(failures, recorded, classifier)}
    origin: dict[str, Any] = {"failures": str(failures.folder), "failures_sha256": failures.sha256}
    origin |= {"rejected_replies": len(failures.items), "with_better_reply": pairs}
    for letter, name in zip("ab", names, strict=False):
        trained = load_trained(name, settings)
        say(f"{letter.upper()}: {trained.name}, on {hardware(trained.model.device)}")
        columns[letter] = _model_metrics(trained, failures, classifier)
        origin[letter] = {"model": trained.name, "model_checksum": trained.checksum}
        del trained  # before the other model is loaded
    result = origin | ({"nli": classifier.name} if classifier else {})
    say(f"\n{len(failures.items)} rejected replies of {failures.folder}, {pairs} of them with a better reply")
    for title, personas in (("all", set(failures.personas)), ("held_back", failures.held_back)):
        if personas:
            result[title] = _figures(columns, personas, settings.seed)
            if title == "held_back":
                count = sum(persona in personas for persona in failures.personas)
                say(f"\nThe {count} of them that training holds back, of {counted(len(personas), 'personas')}")
            say(f"\n{_table(result[title])}")
    if len(names) == 2:
        if _has_intervals(result["all"]):
            say(f"\nIntervals: {RESAMPLES:,} resamples of the personas; where 0 lies outside, it is hardly chance.")
        result |= {"resamples": RESAMPLES, "interval_percent": PERCENT, "seed": settings.seed}
    return result


def _model_metrics(trained: TrainedModel, failures: Failures, classifier: Classifier | None) -> dict[str, Entries]:
    """Return the entries of what the model answers, and of how likely the recorded replies are to it."""
    contexts = failure_contexts(trained, failures)
    requests = [ReplyRequest(context) for context in contexts]
    answers = generate_replies(trained.model, trained.encoder, requests, trained.autocast, "answer")
    return likelihood_metrics(trained, failures, contexts) | reply_metrics(failures, answers, classifier)


def failure_contexts(trained: TrainedModel, failures: Failures) -> list[list[int]]:
    """Return the tokens before each rejected reply, as a talk shows them to the model: the last utterances only.

    Raises TextError, which names file and line, where a context and its replies do not fit the model.
    """
    most, encoder, contexts = trained.style.max_history if trained.style else 0, trained.encoder, []
    for item, place in zip(failures.items, failures.places, strict=True):
        longest = max(GREEDY.max_new_tokens, *(len(ids) + 1 for ids in encoder.texts(item.replies)))
        room = max(0, trained.context_length - longest)
        utterances = last_utterances(item.utterances, most)
        try:
            contexts.append(encoder.context(item.speaker, item.facts, utterances, room, item.goal))
        except DataError as error:
            raise TextError(f"{place}: beside a reply of {longest} tokens, {error}; leave this line out") from None
    return contexts


def likelihood_metrics(trained: TrainedModel, failures: Failures, contexts: list[list[int]]) -> dict[str, Entries]:
    """Return of each pair whether the rejected reply is the likelier one, and the better reply's margin in nats."""
    pairs = [number for number, item in enumerate(failures.items) if item.chosen is not None]
    if not pairs:
        return {}
    sequences: list[LabelledTokens] = []
    for number in pairs:
        context = contexts[number]
        for ids in trained.encoder.texts(failures.items[number].replies):  # the chosen one first
            tokens = np.array([*context, *ids, trained.encoder.eos], np.int64)
            sequences.append((tokens, np.array([[len(context), len(tokens)]])))
    scores = score(trained.model, sequences, trained.autocast)
    nll = np.array([reply.nll.sum(dtype=np.float64) for (reply,) in scores])
    margins = nll[1::2] - nll[::2]
    places = _places(failures)[np.array(pairs)]
    likelier = Entries.of_equals(places, (margins < 0).astype(float))
    return {"rejected_likelier": likelier, "better_margin": Entries.of_equals(places, margins)}


def reply_metrics(failures: Failures, replies: list[str], classifier: Classifier | None) -> dict[str, Entries]:
    """Return the entries of the failures that can be seen in the `replies`, one in the place of each rejected reply."""
    items, places = failures.items, _places(failures)
    earlier = [item.utterances[item.speaker :: 2] for item in items]
    again = [words(reply) == words(item.rejected) for reply, item in zip(replies, items, strict=True)]
    repeated = [repeats(*pair) for pair in zip(replies, earlier, strict=True)]
    entries = {"said_again": Entries.of_equals(places, np.array(again, float))}
    entries["repeat_rate"] = Entries.of_equals(places, np.array(repeated, float))
    told = [telling_words(item) for item in items]
    for name, which in (("recalled", 0), ("wrong_words", 1)):
        sizes = np.array([len(pair[which]) for pair in told], float)
        said = [len(pair[which].intersection(words(reply))) for pair, reply in zip(told, replies, strict=True)]
        if sizes.any():
            entries[name] = Entries(places, np.array(said, float), sizes)[sizes > 0]
    if classifier:
        facts = [item.facts for item in items]
        entries |= nli_metrics(Replies(places, replies, [""] * len(items), facts, earlier), classifier)
    return entries


def telling_words(item: Preference) -> tuple[set[str], set[str]]:
    """Return the persona's words that only the better reply says, and the words that only the rejected reply says.

    Neither word has been said before. Both are empty without a better reply.
    """
    if item.chosen is None:
        return set(), set()
    facts, before = (set(words(" ".join(texts))) for texts in (item.facts, item.utterances))
    better, worse = set(words(item.chosen)), set(words(item.rejected))
    return (better - worse - before) & facts, worse - better - before - facts


def _places(failures: Failures) -> Places:
    """Return the failures' places; in the place of a dialogue stands the persona, over which figures are resampled."""
    turns = [len(item.utterances) + 1 for item in failures.items]
    return Places(np.array(failures.personas), np.array(turns))


def _figures(columns: dict[str, dict[str, Entries]], personas: set[int], seed: int) -> Figures:
    """Return each column's figures of these personas' failures, and the models' differences where there are two."""
    parts: dict[str, dict[str, Entries]] = {}
    for column, entries in columns.items():
        kept = {name: every[np.isin(every.places.dialogues, list(personas))] for name, every in entries.items()}
        parts[column] = {name: part for name, part in kept.items() if len(part)}
    result: Figures = {
        column: {metric.name: metric.figure(part[metric.name]) for metric in METRICS if metric.name in part}
        for column, part in parts.items()
    }
    if "b" in parts:
        result["differences"] = differences(parts["a"], parts["b"], True, seed)
    return result


def _has_intervals(figures: Figures) -> bool:
    """Return whether a difference has an interval: a single persona gives none."""
    return any("low" in difference for difference in figures.get("differences", {}).values())


def _table(figures: Figures) -> str:
    """Return a line for each metric: the recorded replies, each model, and the difference of two models."""
    two = "b" in figures
    lines = [f"{'':<18}{'recorded':>10}{'A':>10}" + (f"{'B':>10}{'B - A':>11}" if two else "")]
    lines[0] += f"   {PERCENT} % interval" if _has_intervals(figures) else ""
    for metric in METRICS:
        if metric.name not in figures["a"]:
            continue
        line = f"{metric.name:<18}"
        for column in ("recorded", "a", "b")[: 2 + two]:
            value = figures[column].get(metric.name)
            line += f"{'' if value is None else shown(metric, value):>10}"
        if two:
            numbers = {key: shown(metric, value, "+") for key, value in figures["differences"][metric.name].items()}
            line += f"{numbers['difference']:>11}"
            line += f"   {numbers['low']} to {numbers['high']}" if "low" in numbers else ""
        lines.append(line if two else f"{line}   {metric.meaning}")
    return "\n".join(line.rstrip() for line in lines)
