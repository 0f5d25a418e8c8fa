"""Turn the ConvAI2 Persona-Chat text files into token tensors.

    python preprocess_dataset.py                       settings from .env
    python preprocess_dataset.py --env .env.demo       other settings
    python preprocess_dataset.py --download            fetch the text files into data_path first

Reads   data_path/train_both_original_no_cands.txt, valid_both_original_no_cands.txt, and model_name's tokenizer.
Writes  save_path/train_data.safetensors, valid_data.safetensors: tokens and offsets (personagpt/sequences/dataset.py).
"""

from __future__ import annotations

from utils import command, new_parser, parse_options, run_script

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from personagpt.errors import UserError
from personagpt.files import replacing
from personagpt.output import say, warn
from personagpt.sequences.goals import Goal, GoalDraw, count_followed, read_goals
from personagpt.settings import TEXT_NAMES, Settings, read_settings
from personagpt.signals import importing
from personagpt.text.convai2 import CheckedText
from personagpt.text.download import CANDIDATES_NAME, CONVAI2, Archive, download
from personagpt.text.style import StyleMeter

if TYPE_CHECKING:
    from personagpt.sequences.tensors import TensorSpool

SPLITS = ("train", "valid")
MISSING = {
    TEXT_NAMES["train"]: "the dialogues to train on",
    TEXT_NAMES["valid"]: "dialogues that are not in the training text, such as every tenth,",
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
    goals = read_goals(settings.goals)
    texts = check_texts(options, settings, archive)
    return write_tensors(options, settings, goals, texts)


def check_texts(options: Options, settings: Settings, archive: Archive) -> dict[str, CheckedText]:
    """Read both texts through once, after fetching them if the user asks for it. Raises UserError on a mistake."""
    missing = [settings.text(split) for split in SPLITS if not settings.text(split).exists()]
    if len(missing) == 1 and not options.download:  # the other file is there: the user brings an own text
        raise UserError(f"{missing[0]} not found: put {MISSING[missing[0].name]} there")
    if missing and not options.download:
        raise UserError(
            f"{', '.join(map(str, missing))} not found: put the text there, or run "
            f"`{command('preprocess_dataset.py', options.env)} --download`, which fetches ConvAI2's"
        )
    if options.download:
        candidates = settings.data_path / CANDIDATES_NAME
        if wanted := missing + [candidates] * (not candidates.exists()):
            download(wanted, settings.save_path / "download", archive)
    return {split: CheckedText(settings.text(split)) for split in SPLITS}


def write_tensors(options: Options, settings: Settings, goals: list[Goal], texts: dict[str, CheckedText]) -> int:
    """Encode both texts and write their tensors."""
    with importing():
        from personagpt.model.loading import load_config, load_tokenizer
        from personagpt.sequences.dataset import encode_pieces, tensor_metadata
        from personagpt.sequences.format import Encoder
        from personagpt.sequences.tensors import TensorSpool

    tokenizer = load_tokenizer(settings.model_name)
    encoder = Encoder(tokenizer)
    max_turns, context_length = settings.max_turns, load_config(settings.model_name).n_positions
    # Write to temporary files first, so that a failure leaves the old tensors.
    disk = next(folder for folder in (settings.save_path, *settings.save_path.parents) if folder.is_dir())
    with contextlib.ExitStack() as stack:
        spools = {split: stack.enter_context(TensorSpool(disk)) for split in SPLITS}
        summaries, styles, unfollowed = {}, {}, []
        for split, text in texts.items():
            start = time.perf_counter()
            draw = GoalDraw(goals, count_followed(goals, text, max_turns), settings.seed) if goals else None
            meter = StyleMeter(text, max_turns)
            for piece in encode_pieces(meter, encoder, max_turns, context_length, text.name, draw):
                spools[split].add(piece)
            styles[split] = meter.style
            summaries[split] = summary(split, spools[split], text, time.perf_counter() - start, draw)
            if draw and split == "train":
                unfollowed = [goal for goal, count in draw.counts.items() if not count]
        settings.save_path.mkdir(parents=True, exist_ok=True)
        for split, text in texts.items():
            metadata = tensor_metadata(text.sha256, tokenizer, max_turns, context_length, goals, styles[split])
            with replacing(settings.tensors(split)) as file:
                spools[split].write(file, metadata)
            say(summaries[split])
    for warning in [
        *(f"no response of the training text follows the goal {goal!r}" for goal in unfollowed),
        *warnings(texts["train"], texts["valid"]),
    ]:
        warn(f"warning: {warning}")
    say(f"tensors in {settings.save_path}; next: {command('train.py', options.env)}")
    return 0


def summary(split: str, spool: TensorSpool, text: CheckedText, seconds: float, draw: GoalDraw | None = None) -> str:
    """Return the line that says what became of a text file; then its goals, and the dialogues that were left out.

    A response that also is in a sequence for a goal counts once.
    """
    for_goals = draw.drawn.total() if draw else 0
    lines = [
        f"{split}: {len(text):,} dialogues, {spool.count('dialogues'):,} sequences, "
        f"{spool.count('responses') - for_goals:,} responses, {spool.count('tokens'):,} tokens, longest sequence "
        f"{spool.longest:,}, {seconds:.1f} s"
    ]
    if draw:
        lines.append(
            f"{split}: {for_goals:,} of the sequences are for a goal; sequences, and responses that follow it:"
        )
        lines += [f"    {goal:<32}{draw.drawn[goal]:>9,}{count:>9,}" for goal, count in draw.counts.items()]
    if text.mirrors:
        lines.append(f"{split}: left out {len(text.mirrors):,} that repeat another from the other side")
    if text.left_out:
        listed = ", ".join(map(str, text.left_out[:10])) + (", ..." if len(text.left_out) > 10 else "")
        count = len(text.left_out)
        lines.append(
            f"{split}: left out {count:,} with an empty utterance: the dialogue{'s' * (count > 1)} at line {listed}"
        )
    return "\n".join(lines)


def warnings(train: CheckedText, valid: CheckedText) -> list[str]:
    """Return what makes validation say less than it seems to."""
    if train.sha256 == valid.sha256:
        return ["training and validation text are the same: validation cannot show whether the model only memorises"]
    shared = len(train.personas & valid.personas)
    if not shared:
        return []
    return [
        f"{shared:,} of the validation text's {len(valid.personas):,} personas are in the training text, too: "
        "validation says less about new personas"
    ]


if __name__ == "__main__":
    run_script(main)
