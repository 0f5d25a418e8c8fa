"""Score a trained model with the field's metrics; on ConvAI2, beside PersonaGPT's published figures.

    python evaluate.py                                 save_path/checkpoint/model on the validation text
    python evaluate.py --generate 500                  also metrics of generated replies, to the first 500 responses
    python evaluate.py --model af1tang/personaGPT      a model trained elsewhere: a folder or a hub name
    python evaluate.py --text valid_both_original.txt  another text; hits@1 where it carries candidates
    python evaluate.py --out scores.json               where the figures go

Reads   the model, and data_path/valid_both_original_no_cands.txt (without it, save_path/valid_data.safetensors).
Writes  save_path/samples/eval.json, as train.py does; for another model or text eval-MODEL-TEXT.json beside it.
It may run while train.py trains.
"""

from __future__ import annotations

from personagpt.signals import end_at_once  # isort: skip

if __name__ == "__main__":
    end_at_once()  # Ctrl-C is answered by one line from here on: before anything else is imported

import argparse
from pathlib import Path

from personagpt.errors import UserError
from personagpt.sequences.format import check_present
from personagpt.settings import Settings, find_model, read_settings
from personagpt.text.convai2 import Corpus, read_corpus
from utils import add_env_option, before_torch, command, parse_options, run_script


def command_line(arguments: list[str] | None = None) -> tuple[argparse.Namespace, Settings]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_env_option(parser)
    parser.add_argument("--model", metavar="NAME", help="a folder or hub name (default: save_path/checkpoint/model)")
    parser.add_argument("--text", metavar="FILE", type=Path, help="dialogues in the ConvAI2 format")
    parser.add_argument("--generate", metavar="N", type=int, default=0, help="replies to generate (default: none)")
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="default: save_path/samples/eval.json, or one beside it"
    )
    options = parse_options(parser, arguments)
    if options.generate < 0:
        raise UserError(f"--generate {options.generate}: expected a number of replies, 0 or more")
    if options.text is not None and not options.text.is_file():
        raise UserError(f"--text {options.text}: there is no such file")
    return options, read_settings(options.env)


def prepare(arguments: list[str] | None = None) -> tuple[argparse.Namespace, Settings, Corpus | None]:
    """The command line and the text to score on; None where the validation tensors must do."""
    options, settings = command_line(arguments)
    find_model(options.model, settings, command("train.py", options.env))
    text = options.text or settings.text("valid")
    if text.exists():
        return options, settings, read_corpus(text)
    check_present(settings.tensors("valid"), command("preprocess_dataset.py", options.env))
    return options, settings, None


if __name__ == "__main__":
    prepared = before_torch(prepare)

import time

from personagpt.device import hardware
from personagpt.files import write_json
from personagpt.model.loading import TrainedModel, load_trained
from personagpt.scoring.candidates import ChoicePass, choice_passes, hits_at_1
from personagpt.scoring.metrics import METRICS, Metric, generated_metrics, teacher_forced_metrics
from personagpt.scoring.published import PUBLISHED, has_published_vocabulary, is_published_text
from personagpt.sequences.dataset import PersonaChatDataset, encode_corpus, open_tensors
from personagpt.training.card import write_card

COMPARABLE = """\
The published perplexity is turn_perplexity, the published F1 token_f1, a figure to distrust: it compares sets of
teacher-forced tokens, and an untrained model with tied embeddings, which repeats its input, already scores about 70 %.
word_f1 (--generate N), of whole generated replies, is the one to trust."""


def main(arguments: list[str] | None = None) -> int:
    return evaluate(*prepare(arguments))


def evaluate(options: argparse.Namespace, settings: Settings, corpus: Corpus | None) -> int:
    trained = load_trained(options.model, settings)
    text = options.text or settings.text("valid")
    dataset, passes = make_sequences(text, corpus, trained, settings)
    print(f"{trained.name}, on {hardware(trained.model.device)}\n{text}")
    start = time.perf_counter()
    metrics = teacher_forced_metrics(trained.model, dataset, trained.encoder, trained.autocast)
    seconds = time.perf_counter() - start
    times = 1 + ("persona_gain" in metrics)
    tokens = int(dataset.lengths.sum())
    print(f"{len(dataset)} sequences, {times} x {tokens:,} tokens: {times * tokens / seconds:,.0f} tokens/s\n")
    if options.generate:
        metrics |= generated_metrics(trained.model, dataset, trained.encoder, trained.autocast, options.generate)
    if passes:
        metrics["hits_at_1"] = hits_at_1(trained.model, passes, trained.autocast)
    comparable = is_published_text(text) and has_published_vocabulary(trained.tokenizer)
    print(table(metrics, comparable))
    out = options.out or settings.save_path / "samples" / file_name(options)
    write_json(out, describe(trained, text, dataset) | metrics)
    own = options.model is None and options.text is None and trained.step is not None
    if own and trained.folder.is_dir():  # training beside us may have removed the checkpoint that was scored
        scored = {"step": trained.step} | metrics
        write_card(trained.folder, settings, trained.tokenizer, trained.context_length, trained.step, scored)
    print(f"\nfigures in {out}")
    return 0


def make_sequences(
    text: Path, corpus: Corpus | None, trained: TrainedModel, settings: Settings
) -> tuple[PersonaChatDataset, list[ChoicePass]]:
    """The sequences of `text`, and the passes over its candidates; without a corpus, the validation tensors."""
    if corpus is None:
        tensors = settings.tensors("valid")
        return open_tensors(tensors, text, trained.tokenizer, settings.max_turns, trained.context_length), []
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
    parts = ["eval"]
    if options.model is not None:
        folder = Path(options.model).expanduser()
        parts.append(folder.absolute().name if folder.is_dir() else options.model.replace("/", "--"))
    if options.text is not None:
        parts.append(options.text.stem)
    return "-".join(parts) + ".json"


def table(metrics: dict[str, float], comparable: bool) -> str:
    """Every metric with its meaning, then the published figures, where they are `comparable`."""
    lines = [
        f"{metric.name:<16}{shown(metric, metrics[metric.name]):>9}   {metric.meaning}"
        for metric in METRICS
        if metric.name in metrics
    ]
    lines.append(f"{'responses':<16}{metrics['responses']:>9,}   of {metrics['response_tokens']:,} tokens")
    if "generated" in metrics:
        lines.append(f"{'generated':<16}{metrics['generated']:>9,}   replies, greedy")
    if not comparable:
        return "\n".join(lines)
    lines += ["", f"{'published on ConvAI2':<24}{'perplexity':>15}{'F1':>11}"]
    ours = metrics["turn_perplexity"], 100 * metrics["token_f1"]
    for name, (perplexity, f1) in {"this model": ours, **PUBLISHED}.items():
        lines.append(f"{name:<24}{perplexity:>15.1f}{f1:>9.1f} %")
    return "\n".join([*lines, "", COMPARABLE])


def shown(metric: Metric, value: float) -> str:
    return f"{100 * value:.1f} %" if metric.as_percent else f"{value:.{4 if metric.name == 'loss' else 2}f}"


if __name__ == "__main__":
    run_script(evaluate, *prepared)
