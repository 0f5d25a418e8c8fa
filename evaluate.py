"""Score a trained model with the field's metrics; on ConvAI2, beside PersonaGPT's published figures.

    python evaluate.py                                 save_path/checkpoint/model on the validation text
    python evaluate.py --generate 500                  also metrics of generated replies, to the first 500 responses
    python evaluate.py --model af1tang/personaGPT      a model trained elsewhere: a folder or a hub name
    python evaluate.py --text valid_both_original.txt  another text; hits@1 where it carries candidates
    python evaluate.py --identify                      does a side's own persona explain its utterances best, of 20?
    python evaluate.py --by-turn                       every metric also by turn: where a talk goes wrong
    python evaluate.py --compare save/a save/b         two models on one text, and how sure their differences are
    python evaluate.py --out scores.json               where the figures go

Reads   the model, and data_path/valid_both_original_no_cands.txt (without it, save_path/valid_data.safetensors).
Writes  save_path/samples/eval.json, as train.py does; for another model or text eval-MODEL-TEXT.json beside it,
        for two models compare-A-B.json.
It may run while train.py trains.
"""

from __future__ import annotations

from personagpt.signals import end_at_once  # isort: skip

if __name__ == "__main__":
    end_at_once()  # Ctrl-C is answered by one line from here on: before anything else is imported

from utils import add_env_option, before_torch, command, parse_options, run_script

import argparse
from pathlib import Path

from personagpt.errors import UserError
from personagpt.files import check_present
from personagpt.model.folders import find_model
from personagpt.sequences.goals import Goal, read_goals
from personagpt.settings import Settings, read_settings
from personagpt.text.convai2 import Corpus, read_corpus


def command_line(arguments: list[str] | None = None) -> tuple[argparse.Namespace, Settings]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_env_option(parser)
    parser.add_argument("--model", metavar="NAME", help="a folder or hub name (default: save_path/checkpoint/model)")
    parser.add_argument("--text", metavar="FILE", type=Path, help="dialogues in the ConvAI2 format")
    parser.add_argument("--generate", metavar="N", type=int, default=0, help="replies to generate (default: none)")
    parser.add_argument("--identify", action="store_true", help="rank each side's persona among 20")
    parser.add_argument("--by-turn", action="store_true", help="every metric by turn, too")
    parser.add_argument("--compare", metavar=("A", "B"), nargs=2, help="two models, as for --model")
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="default: save_path/samples/eval.json, or one beside it"
    )
    options = parse_options(parser, arguments)
    if options.generate < 0:
        raise UserError(f"--generate {options.generate}: expected a number of replies, 0 or more")
    if options.compare and options.model is not None:
        raise UserError(f"--compare takes both models: leave out --model {options.model}")
    if options.out is not None and options.out.is_dir():
        raise UserError(f"--out {options.out}: a folder; name a file in it")
    if options.text is not None and not options.text.is_file():
        raise UserError(f"--text {options.text}: there is no such file")
    return options, read_settings(options.env)


def prepare(arguments: list[str] | None = None) -> tuple[argparse.Namespace, Settings, list[Goal], Corpus | None]:
    """The command line, the goals and the text to score on; None where the validation tensors must do."""
    options, settings = command_line(arguments)
    goals = read_goals(settings.goals)
    for name in options.compare or [options.model]:
        find_model(name, settings, command("train.py", options.env))
    text = options.text or settings.text("valid")
    if text.exists():
        return options, settings, goals, read_corpus(text)
    check_present(settings.tensors("valid"), command("preprocess_dataset.py", options.env))
    return options, settings, goals, None


if __name__ == "__main__":
    prepared = before_torch(prepare)

import time
from typing import Any

from personagpt.device import hardware
from personagpt.files import write_json
from personagpt.model.loading import TrainedModel, load_trained
from personagpt.scoring.bootstrap import PERCENT, RESAMPLES
from personagpt.scoring.candidates import ChoicePass, choice_passes, hits_at_1
from personagpt.scoring.comparison import differences, per_word
from personagpt.scoring.goals import goal_metrics
from personagpt.scoring.identification import identify
from personagpt.scoring.metrics import figures, figures_by_turn, generated_metrics, teacher_forced
from personagpt.scoring.published import has_published_vocabulary, is_published_text
from personagpt.scoring.report import table, table_by_turn, table_of_differences
from personagpt.scoring.tally import Tally
from personagpt.sequences.dataset import PersonaChatDataset, encode_corpus, open_tensors
from personagpt.sequences.format import tokenizer_checksum
from personagpt.training.card import write_card


def main(arguments: list[str] | None = None) -> int:
    return evaluate(*prepare(arguments))


def evaluate(options: argparse.Namespace, settings: Settings, goals: list[Goal], corpus: Corpus | None) -> int:
    if options.compare:
        written = compare(options, settings, goals, corpus)
    else:
        trained = load_trained(options.model, settings)
        _, written = score_model(trained, options, settings, goals, corpus)
        own = options.model is None and options.text is None and trained.step is not None
        if own and trained.folder.is_dir():  # training beside us may have removed the checkpoint that was scored
            write_card(trained.folder, settings, trained.tokenizer, trained.context_length, trained.step, written)
    out = options.out or settings.save_path / "samples" / file_name(options)
    write_json(out, written)
    print(f"\nfigures in {out}")
    return 0


def compare(
    options: argparse.Namespace, settings: Settings, goals: list[Goal], corpus: Corpus | None
) -> dict[str, Any]:
    """Score both models and print their differences; what goes into the file."""
    tallies, written, vocabularies = [], [], set()
    for letter, name in zip("AB", options.compare, strict=True):
        print(f"{letter}: ", end="")
        trained = load_trained(name, settings)
        for results, result in zip(
            (tallies, written), score_model(trained, options, settings, goals, corpus), strict=True
        ):
            results.append(result)
        vocabularies.add(tokenizer_checksum(trained.tokenizer))
        del trained  # before the other one is loaded
        print()
    same = len(vocabularies) == 1
    found = differences(*tallies, same, settings.seed)
    print(table_of_differences(*written, found, same))
    drawn = {"resamples": RESAMPLES, "interval_percent": PERCENT, "seed": settings.seed}
    return dict(zip("ab", written, strict=True)) | {"same_vocabulary": same, "differences": found} | drawn


def score_model(
    trained: TrainedModel, options: argparse.Namespace, settings: Settings, goals: list[Goal], corpus: Corpus | None
) -> tuple[dict[str, Tally], dict[str, Any]]:
    """Score and print: the entries of every metric, and what goes into the file."""
    text = options.text or settings.text("valid")
    model, encoder, products = trained.model, trained.encoder, trained.autocast
    dataset, passes = make_sequences(text, corpus, trained, settings, goals)
    print(f"{trained.name}, on {hardware(model.device)}\n{text}")
    start = time.perf_counter()
    tallies = teacher_forced(model, dataset, encoder, products)
    seconds = time.perf_counter() - start
    times = 1 + ("persona_gain" in tallies)
    tokens = int(dataset.lengths.sum())
    print(f"{len(dataset)} sequences, {times} x {tokens:,} tokens: {times * tokens / seconds:,.0f} tokens/s\n")
    if options.compare:
        tallies["word_perplexity"] = per_word(tallies["loss"], dataset, encoder)
    if options.generate:
        tallies |= generated_metrics(model, dataset, encoder, products, options.generate)
        tallies |= goal_metrics(model, dataset, encoder, products, goals, options.generate)
    if passes:
        tallies["hits_at_1"] = hits_at_1(model, passes, products)
    identified = identify(model, dataset, encoder, products, settings.seed) if options.identify else None
    tallies |= identified.tallies if identified else {}
    written = describe(trained, text, dataset) | figures(tallies)
    written |= identified.counts() if identified else {}
    print(table(written, is_published_text(text) and has_published_vocabulary(trained.tokenizer)))
    if options.by_turn:
        written["by_turn"] = figures_by_turn(tallies)
        print("\n" + table_by_turn(written["by_turn"]))
    return tallies, written


def make_sequences(
    text: Path, corpus: Corpus | None, trained: TrainedModel, settings: Settings, goals: list[Goal]
) -> tuple[PersonaChatDataset, list[ChoicePass]]:
    """The sequences of `text`, and the passes over its candidates; without a corpus, the validation tensors."""
    if corpus is None:
        tensors = settings.tensors("valid")
        found = open_tensors(tensors, text, trained.tokenizer, settings.max_turns, trained.context_length, goals)
        return found.without_goals(trained.encoder.act), []
    tensors = encode_corpus(corpus, trained.encoder, settings.max_turns, trained.context_length, str(text))
    passes = choice_passes(corpus, trained.encoder, settings.max_turns, trained.context_length)
    return PersonaChatDataset.from_tensors(tensors, trained.context_length, corpus.sha256), passes


def describe(trained: TrainedModel, text: Path, dataset: PersonaChatDataset) -> dict[str, str | int]:
    """What was scored, on what."""
    step = {} if trained.step is None else {"step": trained.step}
    return step | {
        "model": trained.name,
        "model_checksum": trained.checksum,
        "text": str(text),
        "text_sha256": dataset.metadata["text_sha256"],
    }


def file_name(options: argparse.Namespace) -> str:
    """eval.json is the run's own model on its validation text; another model or text gets a file beside it."""
    parts = ["compare", *options.compare] if options.compare else ["eval"]
    if options.model is not None:
        parts.append(options.model)
    parts[1:] = map(model_title, parts[1:])
    if options.text is not None:
        parts.append(options.text.stem)
    return "-".join(parts) + ".json"


def model_title(name: str) -> str:
    """A model's name as part of a file's."""
    folder = Path(name).expanduser()
    return folder.absolute().name if folder.is_dir() else name.replace("/", "--")


if __name__ == "__main__":
    run_script(evaluate, *prepared)
