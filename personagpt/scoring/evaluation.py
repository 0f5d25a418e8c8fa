"""All metrics of one model or two on a text: the work of evaluate.py."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personagpt.device import hardware
from personagpt.model.loading import TrainedModel, load_trained
from personagpt.output import say
from personagpt.scoring.bootstrap import PERCENT, RESAMPLES
from personagpt.scoring.candidates import ChoicePass, choice_passes, hits_at_1, ranking_metrics, ranking_passes
from personagpt.scoring.comparison import differences, per_word
from personagpt.scoring.entries import Entries
from personagpt.scoring.generated import generated_metrics, greedy_replies
from personagpt.scoring.goals import goal_metrics
from personagpt.scoring.identification import identify
from personagpt.scoring.interview import interview_figures
from personagpt.scoring.interview_plan import InterviewPlan
from personagpt.scoring.metrics import figures, figures_by_turn, order_spread, teacher_forced
from personagpt.scoring.nli import Classifier, nli_metrics
from personagpt.scoring.published import has_published_vocabulary, is_published_text
from personagpt.scoring.report import DISTRUST, table, table_by_turn, table_of_differences, table_of_interviews
from personagpt.sequences.dataset import PersonaChatDataset, encode_corpus, open_tensors
from personagpt.sequences.format import tokenizer_checksum
from personagpt.sequences.goals import Goal
from personagpt.settings import Settings
from personagpt.text.dialogues import SIDES, Corpus


@dataclass(frozen=True)
class EvaluationPlan:
    """The text to score on, and what to compute beside the teacher-forced metrics and hits@1."""

    text: Path
    corpus: Corpus | None  # None: the validation tensors stand for the text
    goals: list[Goal]
    side: str = "both"  # of SIDES: whose responses
    generate: int = 0  # how many replies
    identify: bool = False
    by_turn: bool = False
    orders: int = 0  # of the facts, the text's own included; 0: no order_spread
    nli: Classifier | None = None  # reads the replies
    dnli: tuple[str, Corpus] | None = None  # a ranking set of Dialogue NLI, and its file
    interview: InterviewPlan | None = None


def score_model(
    trained: TrainedModel, plan: EvaluationPlan, settings: Settings, title: str = "", with_words: bool = False
) -> tuple[dict[str, Entries], dict[str, Any]]:
    """Score a model and print its table. Return the entries of each metric, and the figures with their origin.

    `title` begins the first line that is printed; `with_words` adds word_perplexity.
    """
    model, encoder, autocast = trained.model, trained.encoder, trained.autocast
    dataset, passes = _make_sequences(trained, plan, settings)
    say(f"{title}{trained.name}, on {hardware(model.device)}\n{plan.text}")
    start = time.perf_counter()
    entries = teacher_forced(model, dataset, encoder, autocast)
    seconds = time.perf_counter() - start
    times, tokens = 1 + ("persona_gain" in entries), int(dataset.lengths.sum())
    say(f"{len(dataset)} sequences, {times} x {tokens:,} tokens: {times * tokens / seconds:,.0f} tokens/s\n")
    if with_words:
        entries["word_perplexity"] = per_word(entries["loss"], dataset, encoder)
    more, sources = _further_metrics(trained, plan, settings, dataset, entries["loss"])
    entries |= more
    if passes:
        entries["hits_at_1"] = hits_at_1(model, passes, autocast)
    identified, counts = identify(model, dataset, encoder, autocast, settings.seed) if plan.identify else ({}, {})
    entries |= identified
    step = {} if trained.step is None else {"step": trained.step}
    origin = {"model": trained.name, "model_checksum": trained.checksum, "text": str(plan.text)}
    origin["text_sha256"] = dataset.metadata["text_sha256"]
    origin |= {} if plan.side == "both" else {"side": plan.side}
    result = step | origin | figures(entries) | counts | sources
    say(table(result, is_published_text(plan.text) and has_published_vocabulary(trained.tokenizer)))
    if plan.by_turn:
        result["by_turn"] = figures_by_turn(entries)
        say("\n" + table_by_turn(result["by_turn"]))
    if plan.interview:
        result["interviews"] = interview_figures(trained, dataset, plan.interview, settings.seed)
        say("\n" + table_of_interviews(result["interviews"]))
    if not title:  # of two models once, at the end
        say(f"\n{DISTRUST}")
    return entries, result


def _further_metrics(
    trained: TrainedModel, plan: EvaluationPlan, settings: Settings, dataset: PersonaChatDataset, loss: Entries
) -> tuple[dict[str, Entries], dict[str, Any]]:
    """Return the entries of the metrics that the plan asks for by an option, and what they were computed with."""
    model, encoder, autocast = trained.model, trained.encoder, trained.autocast
    entries: dict[str, Entries] = {}
    sources: dict[str, Any] = {}
    if plan.orders:
        entries["order_spread"] = order_spread(model, dataset, encoder, autocast, loss, plan.orders, settings.seed)
        sources["orders"] = plan.orders
    if plan.generate:
        replies = greedy_replies(model, dataset, encoder, autocast, plan.generate)
        entries |= generated_metrics(replies)
        entries |= goal_metrics(model, dataset, encoder, autocast, plan.goals, plan.generate)
        if plan.nli:
            entries |= nli_metrics(replies, plan.nli)
            sources["nli"] = plan.nli.name
    if plan.dnli:
        file, rankings = plan.dnli
        choices = ranking_passes(rankings, encoder, trained.context_length, file)
        entries |= ranking_metrics(model, choices, autocast)
        sources["dnli"] = file
    return entries, sources


def compare_models(names: list[str], plan: EvaluationPlan, settings: Settings) -> dict[str, Any]:
    """Score two models and print their differences. Return the figures of both and the differences."""
    entries, figures_of, vocabularies = [], [], []
    for letter, name in zip("AB", names, strict=True):
        trained = load_trained(name, settings)
        model_entries, model_figures = score_model(trained, plan, settings, f"{letter}: ", with_words=True)
        entries.append(model_entries)
        figures_of.append(model_figures)
        vocabularies.append(tokenizer_checksum(trained.tokenizer))
        del trained  # before the other model is loaded
        say("")
    same_vocabulary = vocabularies[0] == vocabularies[1]
    result = differences(*entries, same_vocabulary, settings.seed)
    say(f"{table_of_differences(*figures_of, result, same_vocabulary)}\n\n{DISTRUST}")
    comparison = {"same_vocabulary": same_vocabulary, "differences": result}
    drawn = {"resamples": RESAMPLES, "interval_percent": PERCENT, "seed": settings.seed}
    return dict(zip("ab", figures_of, strict=True)) | comparison | drawn


def with_earlier(figures: dict[str, Any], earlier: dict[str, Any] | None) -> dict[str, Any]:
    """Return `figures` and beside them the figures that only `earlier` has, where both are of the same evaluation.

    Both are the content of an evaluation's file, of one model or of two. Figures of another model, or of other
    responses, do not stay.
    """
    earlier = earlier or {}
    if "differences" in figures:
        pairs = [(figures[letter], earlier.get(letter) or {}) for letter in "ab"]
        if earlier.get("seed") != figures["seed"] or not all(_is_same(ours, before) for ours, before in pairs):
            return figures
        differences = {"differences": earlier["differences"] | figures["differences"]}
        return figures | dict(zip("ab", (with_earlier(*pair) for pair in pairs), strict=True)) | differences
    if not _is_same(figures, earlier):
        return figures
    both = earlier | figures
    if "by_turn" in both:
        rows = {row["turn"]: row for row in earlier.get("by_turn", ())}
        both["by_turn"] = [rows.get(row["turn"], {}) | row for row in both["by_turn"]]
    if "interviews" in both:
        both["interviews"] = earlier.get("interviews", {}) | both["interviews"]
    return both


def _is_same(figures: dict[str, Any], earlier: dict[str, Any]) -> bool:
    """Return whether both are figures of the same model on the same responses."""
    identity = ("model_checksum", "text_sha256", "side", "responses")  # no side: both
    return all(figures.get(key) == earlier.get(key) for key in identity)


def _make_sequences(
    trained: TrainedModel, plan: EvaluationPlan, settings: Settings
) -> tuple[PersonaChatDataset, list[ChoicePass]]:
    """Return the sequences of the text's sides that count, and the passes over their candidates."""
    encoder, limits = trained.encoder, (settings.max_turns, trained.context_length)
    if plan.corpus is None:
        tensors = settings.tensors("valid")
        dataset = open_tensors(tensors, plan.text, trained.tokenizer, *limits, plan.goals).without_goals(encoder.act)
        passes = []
    else:
        tensors = encode_corpus(plan.corpus, encoder, *limits, str(plan.text))
        dataset = PersonaChatDataset.from_tensors(tensors, trained.context_length, plan.corpus.sha256)
        passes = choice_passes(plan.corpus, encoder, *limits)
    if plan.side == "both":
        return dataset, passes
    speaker = encoder.speakers[SIDES.index(plan.side)]
    return dataset.starting_with(speaker), [each for each in passes if each.tokens[0] == speaker]
