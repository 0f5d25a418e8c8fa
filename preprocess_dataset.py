"""Turn the ConvAI2 Persona-Chat text files into token tensors.

    python preprocess_dataset.py                       settings from .env
    python preprocess_dataset.py --env .env.demo       other settings
    python preprocess_dataset.py --download            fetch the text files into data_path first

Reads   data_path/train_both_original_no_cands.txt, valid_both_original_no_cands.txt, and model_name's tokenizer;
        with `preferences` set, that file of pairs of replies.
Writes  save_path/train_data.safetensors, valid_data.safetensors: tokens and offsets (personagpt/sequences/tensors.py);
        with `preferences` set, preferences.safetensors.
"""

from __future__ import annotations

from utils import command, new_parser, parse_options, run_script

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from personagpt.errors import UserError
from personagpt.files import file_checksum, replacing
from personagpt.model.folders import named_model
from personagpt.output import say, warn
from personagpt.sequences.goals import Goal, GoalDraw, count_followed, read_goals
from personagpt.sequences.preferences import Preference, read_preferences, unknown_personas
from personagpt.settings import TEXT_NAMES, Settings, read_settings
from personagpt.signals import importing
from personagpt.text.convai2 import read_corpus
from personagpt.text.dialogues import Corpus
from personagpt.text.download import CANDIDATES_NAME, CONVAI2, Archive, download
from personagpt.text.style import measure_style

MISSING = {
    "train": "the dialogues to train on",
    "valid": "dialogues that are not in the training text, such as every tenth,",
}


@dataclass(frozen=True)
class Options:
    env: Path
    download: bool


def command_line(arguments: list[str] | None = None) -> Options:
    parser = new_parser(__doc__)
    parser.add_argument("--download", action="store_true", help="fetch the text files into data_path first")
    return parse_options(parser, Options, arguments)


def main(arguments: list[str] | None = None, archive: Archive = CONVAI2) -> int:
    options = command_line(arguments)
    settings = read_settings(options.env)
    goals, preferences = read_goals(settings.goals), read_preferences(settings.preferences)
    missing = {split: path for split in TEXT_NAMES if not (path := settings.text(split)).exists()}
    if options.download:
        candidates = settings.data_path / CANDIDATES_NAME
        if wanted := [*missing.values()] + [candidates] * (not candidates.exists()):
            download(wanted, settings.save_path / "download", archive)
    elif len(missing) == 1:  # the other file is there: the user brings an own text
        ((split, path),) = missing.items()
        raise UserError(f"{path} not found: put {MISSING[split]} there")
    elif missing:
        raise UserError(
            f"{', '.join(map(str, missing.values()))} not found: put the text there, or run "
            f"`{command('preprocess_dataset.py', options.env)} --download`, which fetches ConvAI2's"
        )
    named_model(settings.model_name, "model_name = ")
    corpora = {split: read_corpus(settings.text(split)) for split in TEXT_NAMES}
    return write_tensors(options, settings, goals, corpora, preferences)


def write_tensors(
    options: Options, settings: Settings, goals: list[Goal], corpora: dict[str, Corpus], preferences: list[Preference]
) -> int:
    """Encode both texts and the preferences, then write their tensors."""
    with importing():
        from personagpt.model.decoders import context_length
        from personagpt.model.loading import load_config, load_tokenizer
        from personagpt.sequences.dataset import encode_corpus, tensor_metadata
        from personagpt.sequences.familiarity import unfamiliar
        from personagpt.sequences.format import Encoder
        from personagpt.sequences.preference_tensors import encode_preferences

    tokenizer = load_tokenizer(settings.model_name)
    encoder = Encoder(tokenizer)
    max_turns, longest = settings.max_turns, context_length(load_config(settings.model_name))
    tensors, metadata, summaries, draws = {}, {}, [], {}
    for split, corpus in corpora.items():
        start, name = time.perf_counter(), str(settings.text(split))
        draw = GoalDraw(goals, count_followed(goals, corpus, max_turns), settings.seed) if goals else None
        tensors[split] = encode_corpus(corpus, encoder, max_turns, longest, name, draw)
        style = measure_style(corpus, max_turns)
        metadata[split] = tensor_metadata(corpus.sha256, tokenizer, max_turns, longest, goals, style)
        sizes = tensors[split].sizes(draw.drawn.total() if draw else 0)
        summaries += summary(split, corpus, sizes, time.perf_counter() - start, draw)
        draws[split] = draw
    paths = {split: settings.tensors(split) for split in corpora}
    if preferences:
        name = settings.preferences
        made = tensor_metadata(file_checksum(Path(name)), tokenizer, max_turns, longest)
        tensors["preferences"], held_back = encode_preferences(preferences, encoder, longest, name)
        metadata["preferences"] = made | {"held_back": str(held_back)}
        paths["preferences"] = settings.preference_tensors
        summaries.append(f"preferences: {len(preferences):,}, of which {held_back:,} are held back to be scored")
    with contextlib.ExitStack() as stack:  # the old files stay until all new files are complete
        for split, path in paths.items():
            tensors[split].write(stack.enter_context(replacing(path)), metadata[split])
    say("\n".join(summaries))
    found = [*warnings(corpora["train"], corpora["valid"], draws["train"]), unfamiliar(corpora["train"], encoder)]
    for warning in filter(None, [*found, unknown_personas(preferences, corpora.values(), settings.preferences)]):
        warn(f"warning: {warning}")
    say(f"tensors in {settings.save_path}; next: {command('train.py', options.env)}")
    return 0


def summary(split: str, corpus: Corpus, sizes: str, seconds: float, draw: GoalDraw | None) -> Iterator[str]:
    """Yield the lines that say what became of a text: sequences, goals, dialogues that were left out."""
    yield f"{split}: {len(corpus):,} dialogues, {sizes}, {seconds:.1f} s"
    if draw:
        for_goals = f"{draw.drawn.total():,} of the sequences are for a goal"
        yield f"{split}: {for_goals}; sequences, and responses that follow it:"
        yield from (f"    {goal:<32}{draw.drawn[goal]:>9,}{count:>9,}" for goal, count in draw.counts.items())
    if corpus.mirrors:
        yield f"{split}: left out {len(corpus.mirrors):,} that repeat another from the other side"
    if count := len(corpus.left_out):
        lines = ", ".join(map(str, corpus.left_out[:10])) + (", ..." if count > 10 else "")
        yield f"{split}: left out {count:,} with an empty utterance: the dialogue{'s' * (count > 1)} at line {lines}"


def warnings(train: Corpus, valid: Corpus, draw: GoalDraw | None) -> Iterator[str]:
    """Yield why training, or validation, may say less than it seems to."""
    for goal, count in draw.counts.items() if draw else ():
        if not count:
            yield f"no response of the training text follows the goal {goal!r}"
    if train.sha256 == valid.sha256:
        yield "training and validation text are the same: validation cannot show whether the model only memorises"
        return
    validating = {tuple(facts) for dialogue in valid.dialogues for facts in dialogue.personas if facts}
    training = (tuple(facts) for dialogue in train.dialogues for facts in dialogue.personas)
    if shared := len({persona for persona in training if persona in validating}):
        yield (
            f"{shared:,} of the validation text's {len(validating):,} personas are in the training text, too: "
            "validation says less about new personas"
        )


if __name__ == "__main__":
    run_script(main)
