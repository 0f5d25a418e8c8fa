"""An export's preferences in TRL: its trainers read both files, and its DPO has the loss and gradient of this project.

    python -m bench.peer_preferences            on a CPU, in seconds; bench/peer_trl.py says how to install TRL

Reads   the base of data/sample. Writes recorded talks of its own to a temporary folder, and exports them.
Prints  the loss of the pairs in both programs, and the largest difference between their gradients, in float32 without
        dropout (allowed: 1e-5); then the loss of one step of TRL's DPO trainer on preferences.jsonl, and of one step of
        its KTO trainer on feedback.jsonl. The model is the base after a change of its weights by chance, and the
        reference is the base.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import sys
import tempfile
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.common import ROOT
from data.sample import make_sample
from personagpt.device import Processes
from personagpt.model.decoders import context_length
from personagpt.model.loading import load_model, load_tokenizer
from personagpt.records.export import export
from personagpt.records.talks import Flag, Talk, Turn
from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.sequences.format import Encoder
from personagpt.sequences.preference_tensors import PreferenceData, encode_preferences
from personagpt.sequences.preferences import read_preferences
from personagpt.settings import read_settings
from personagpt.training.optimization import Trainer
from personagpt.training.preferences import log_likelihoods, tally_figures

TALKS = 8
CHANGE = 0.01  # standard deviation of what is added to each weight
ALLOWED = 1e-5


def recorded_talks() -> list[Talk]:
    """Return talks of the sample corpus, each with a corrected and a flagged reply."""
    talks = []
    for number, dialogue in enumerate(make_sample.read_corpus(make_sample.VALID_FILE)[:TALKS]):
        turns = [Turn(("human", "model")[n % 2], text, "now") for n, text in enumerate(dialogue.utterances[:6])]
        said = turns[1].text
        turns[1] = dataclasses.replace(turns[1], text=f"no , {said}").instead(said, corrected=True)
        talk = Talk("m", "c0ffee", {}, dialogue.personas[1], turns=turns, flags=[Flag(5, "other")], id=str(number))
        talks.append(dataclasses.replace(talk, started=f"2026-01-0{number + 1}"))
    return talks


def our_loss(model: PreTrainedModel, reference: PreTrainedModel, encoder: Encoder, path: Path) -> float:
    """Return this project's mean loss of the pairs at `path`. Its gradient joins the model's parameters."""
    longest = context_length(model.config)
    tensors, _ = encode_preferences(read_preferences(path), encoder, longest, str(path))
    dataset = PersonaChatDataset.from_tensors(tensors, longest)
    dataset.metadata["held_back"] = "0"
    data, settings = PreferenceData(dataset), read_settings(ROOT / ".env.demo", {})
    trainer = Trainer(settings, Processes(0, 1, torch.device("cpu")), "fp32", model)
    trainer.reference = log_likelihoods(reference, data, nullcontext())
    tally = trainer.add_preferences(trainer.items(data, np.arange(len(data))))
    return tally_figures(tally)["preference_loss"]


def options_of(folder: Path, batch_size: int) -> dict[str, Any]:
    """Return the options of TRL's trainers."""
    return {
        "output_dir": str(folder), "per_device_train_batch_size": batch_size, "max_steps": 1, "beta": 0.1,
        "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": "none", "save_strategy": "no",
        "disable_tqdm": True,
    }  # fmt: skip


def their_trainer(
    kind: str, path: Path, model: PreTrainedModel, reference: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> Any:
    """Return TRL's trainer of `kind`, DPO or KTO, for the file at `path`."""
    import trl  # TRL and its requirements are optional
    from datasets import load_dataset

    dataset = load_dataset("json", data_files=str(path), split="train", cache_dir=str(path.parent / "cache"))
    config = getattr(trl, f"{kind}Config")(**options_of(path.parent / kind, len(dataset)))
    return getattr(trl, f"{kind}Trainer")(
        model=model, ref_model=reference, args=config, train_dataset=dataset, processing_class=tokenizer
    )


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    if importlib.util.find_spec("trl") is None:
        print("error: TRL is not installed here; the first lines of bench/peer_trl.py say how", file=sys.stderr)
        return 2
    import trl

    warnings.simplefilter("ignore", FutureWarning)  # TRL uses names that transformers is about to change
    base = str(ROOT / "data" / "sample" / "base")
    tokenizer = load_tokenizer(base)
    models = [load_model(base, len(tokenizer)).eval() for _ in range(3)]
    torch.manual_seed(0)
    with torch.no_grad(), tempfile.TemporaryDirectory() as name:
        for ours, theirs in zip(models[0].parameters(), models[1].parameters(), strict=True):
            theirs.copy_(ours.add_(CHANGE * torch.randn_like(ours)))
        folder = Path(name)
        export(recorded_talks(), folder, False)
        with torch.enable_grad():
            return compare(models, tokenizer, folder, trl.__version__)


def compare(models: list[PreTrainedModel], tokenizer: PreTrainedTokenizerFast, folder: Path, version: str) -> int:
    """Print the differences and TRL's steps. Return the exit status."""
    ours, theirs, reference = models
    pairs = folder / "preferences.jsonl"
    loss = our_loss(ours, reference, Encoder(tokenizer), pairs)
    trainer = their_trainer("DPO", pairs, theirs, reference, tokenizer)
    batch = next(iter(trainer.get_train_dataloader()))
    their_loss = trainer.compute_loss(theirs.eval(), batch)
    their_loss.backward()
    gradients = [(a.grad, b.grad) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True)]
    error = max((a - b).abs().max().item() for a, b in gradients)
    largest = max(b.abs().max().item() for _, b in gradients)
    print(f"TRL {version}, {len(trainer.train_dataset)} pairs: loss {loss:.7f} here, {their_loss.item():.7f} there")
    print(f"largest difference of a gradient {error:.1e}, of gradients up to {largest:.2f}")
    for kind, path in (("DPO", pairs), ("KTO", folder / "feedback.jsonl")):
        trainer = their_trainer(kind, path, theirs, reference, tokenizer)
        step = trainer.train()
        print(f"a step of TRL's {kind} trainer on {path.name}: loss {step.training_loss:.4f}")
    return 0 if max(error, abs(loss - their_loss.item())) <= ALLOWED else 1


if __name__ == "__main__":
    sys.exit(main())
