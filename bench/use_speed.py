"""Speed of using a model: scoring against training, `--identify`, batched replies against single replies, the first
text of a reply, and replies beside those of the library's `generate`.

    python -m bench.use_speed                                    the base model of data/sample
    python -m bench.use_speed --model FOLDER --init random       another model, such as a larger configuration
    python -m bench.use_speed --text FILE                        other dialogues (default: the sample's validation text)
    python -m bench.use_speed --replies-only                     only the replies beside `generate`'s

Each figure is the best of three rounds, because other programs on the machine can only make it worse. What is compared
takes turns within a round.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import dataclasses
import functools
import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from personagpt.device import Processes, hardware, pick_device, resolve_precision
from personagpt.model.decoders import context_length
from personagpt.model.generation import ReplyRequest, generate_replies
from personagpt.model.gpt2 import use_fused_gelu
from personagpt.model.held_weights import DTYPES, hold_weights
from personagpt.model.loading import TrainedModel, draw_model, load_model, load_tokenizer
from personagpt.model.sampling import GREEDY, Sampling
from personagpt.records.database import Recordings
from personagpt.scoring.identification import identify
from personagpt.scoring.metrics import figures, teacher_forced
from personagpt.sequences.dataset import PersonaChatDataset, encode_corpus
from personagpt.sequences.format import Encoder
from personagpt.settings import read_settings
from personagpt.talking.session import Session
from personagpt.text.convai2 import Corpus, read_corpus
from personagpt.training.optimization import Trainer, training_step

ROOT = Path(__file__).resolve().parents[1]
ROUNDS, BATCH = 3, 16
CONTEXT, TOKENS = 300, 40  # a long context, and the longest reply


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(ROOT / "data/sample/base"))
    parser.add_argument("--init", default="pretrained", choices=["pretrained", "random"])
    parser.add_argument("--text", type=Path, default=ROOT / "data/sample/valid_both_original_no_cands.txt")
    parser.add_argument("--dialogues", type=int, default=24, help="number of the text's dialogues (default: 24)")
    parser.add_argument("--replies-only", action="store_true", help="only the replies beside `generate`'s")
    options = parser.parse_args()
    device = pick_device()
    tokenizer = load_tokenizer(options.model)
    encoder = Encoder(tokenizer)
    make = draw_model if options.init == "random" else load_model
    model = make(options.model, len(tokenizer), seed=0).to(device)
    corpus = read_corpus(options.text)
    corpus.dialogues, corpus.sides = corpus.dialogues[: options.dialogues], corpus.sides[: options.dialogues]
    tensors = encode_corpus(corpus, encoder, 20, context_length(model.config), str(options.text))
    dataset = PersonaChatDataset.from_tensors(tensors, context_length(model.config))
    print(f"{hardware(device)}; {sum(p.numel() for p in model.parameters()):,} parameters, {len(dataset)} sequences")

    compare_with_generate(model, tokenizer, dataset)
    if not options.replies_only:
        measure_scoring(model, tokenizer, corpus, dataset)
    return 0


def measure_scoring(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    corpus: Corpus,
    dataset: PersonaChatDataset,
) -> None:
    """Print the speed of training and scoring, of replies in a batch, and of a reply's first text."""
    device, encoder = model.device, Encoder(tokenizer)
    precision = resolve_precision("auto", device)
    trained = hold(model, tokenizer, precision)
    tokens = int(dataset.lengths.sum())
    settings = dataclasses.replace(read_settings(ROOT / ".env", {}), batch_size=8)
    trainer = Trainer(settings, Processes(0, 1, device), precision, model)
    training, scoring = best_of(
        lambda: train_once(trainer, dataset),
        lambda: figures(teacher_forced(trained.model, dataset, encoder, trained.autocast)),
    )
    train, score = tokens / training, 2 * tokens / scoring  # each text is read with true and with exchanged personas
    print(f"train      {train:>10,.0f} tokens/s")
    print(f"evaluate   {score:>10,.0f} tokens/s, {score / train:.1f} times as many")

    (identifying,) = best_of(lambda: identify(trained.model, dataset, encoder, trained.autocast, 0))
    print(f"identify   {len(dataset) / identifying:>10.1f} sides a second")

    requests = [ReplyRequest(dataset.sequence(i)[0][: dataset.sequence(i)[1][0, 0]].tolist()) for i in range(BATCH)]
    single, batched = best_of(
        lambda: [generate_replies(trained.model, encoder, [request], trained.autocast) for request in requests],
        lambda: generate_replies(trained.model, encoder, requests, trained.autocast),
    )
    print(f"replies    {BATCH / single:>10.1f} a second one by one")
    print(f"           {BATCH / batched:>10.1f} a second in a batch of {BATCH}, {single / batched:.1f} times as many")
    waits = [first_token(trained, corpus.dialogues[i].utterances[0]) for i in range(min(10, len(corpus.dialogues)))]
    print(
        f"first text {np.median(waits):>10.3f} s after the question (median of {len(waits)}), "
        f"{max(waits):.3f} s at worst"
    )


def best_of(*works: Callable[[], object]) -> list[float]:
    """Return the shortest time of each work in seconds. They take turns, so that other programs disturb all alike."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS + 1):  # the first round warms up
        for work, taken in zip(works, times, strict=True):
            start = time.perf_counter()
            with contextlib.redirect_stderr(io.StringIO()):
                work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - start)
    return [min(taken[1:]) for taken in times]


def train_once(trainer: Trainer, dataset: PersonaChatDataset) -> None:
    """Train for one epoch in steps of 8 sequences, with learning rate 0."""
    trainer.model.train()
    order = np.argsort(-dataset.lengths)
    for start in range(0, len(order), 8):
        batches = trainer.batches(dataset, order[start : start + 8])
        training_step(trainer, batches, seed=start, learn_rate=0.0)


def compare_with_generate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, dataset: PersonaChatDataset
) -> None:
    """Print tokens/s of replies and the wait for a reply's first token, this project's beside `generate`'s."""
    device, makers = model.device, {}
    for precision in ["fp32", "bf16" if device.type == "cpu" else resolve_precision("auto", device)]:
        library = copy.deepcopy(model).to(DTYPES[precision]).eval()
        makers[f"{precision}, this project"] = functools.partial(make_replies, hold(model, tokenizer, precision))
        makers[f"{precision}, generate"] = functools.partial(generate, library, tokenizer.eos_token_id)
        size = sum(parameter.nbytes for parameter in library.parameters())
        print(
            f"{precision}: {size / 1e9:.2f} GB of weights are read for a token, or for a token of each reply of a batch"
        )
    contexts = [dataset.sequence(i)[0][: dataset.sequence(i)[1][0, 0]].tolist() for i in range(BATCH)]
    # Random tokens, because few talks have a context of just this length.
    long = torch.randint(model.config.vocab_size, (CONTEXT,), generator=torch.Generator().manual_seed(0)).tolist()
    works = [
        functools.partial(make, *work)
        for work in [([long], 1), (contexts[:1], 1), (contexts[:1], TOKENS), (contexts, 1), (contexts, TOKENS)]
        for make in makers.values()
    ]
    block = torch.empty(1 << 26, device=device)  # 256 MB
    copying, *times = best_of(functools.partial(block.clone().copy_, block), *works)
    print(f"memory     {2 * block.nbytes / copying / 1e9:.1f} GB/s read and written by a copy")
    for number, name in enumerate(makers):
        first, one_first, one, batch_first, batch = times[number :: len(makers)]
        rates = [count * (TOKENS - 1) / taken for count, taken in ((1, one - one_first), (BATCH, batch - batch_first))]
        print(
            f"{name:19} {1000 * first:6.0f} ms to the first token after {CONTEXT}, then {rates[0]:6.1f} tokens/s, "
            f"{rates[1]:6.1f} in a batch of {BATCH}"
        )


def hold(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, precision: str) -> TrainedModel:
    """Return a copy of `model` as loading makes it for use."""
    held = copy.deepcopy(model).eval()
    use_fused_gelu(held)
    hold_weights(held, precision)
    return TrainedModel(model.name_or_path, None, held, tokenizer, Encoder(tokenizer), precision, "", None)


def make_replies(trained: TrainedModel, contexts: list[list[int]], count: int) -> None:
    """Make a greedy reply of `count` tokens to each context, at most one batch. No reply ends early."""
    encoder = copy.copy(trained.encoder)
    encoder.eos = -1
    requests = [ReplyRequest(context, dataclasses.replace(GREEDY, max_new_tokens=count)) for context in contexts]
    generate_replies(trained.model, encoder, requests, trained.autocast)


@torch.inference_mode()
def generate(model: PreTrainedModel, pad: int, contexts: list[list[int]], count: int) -> None:
    """Let the library's `generate` make the same replies."""
    width = max(map(len, contexts))
    ids = torch.tensor([[pad] * (width - len(context)) + context for context in contexts], device=model.device)
    mask = torch.tensor([[0] * (width - len(context)) + [1] * len(context) for context in contexts]).to(model.device)
    length = {"max_new_tokens": count, "min_new_tokens": count}
    model.generate(ids, attention_mask=mask, do_sample=False, pad_token_id=pad, eos_token_id=pad, **length)


class Clock(io.StringIO):
    """A stream that notes the time of the first text after `model: `."""

    def __init__(self) -> None:
        super().__init__()
        self.first = 0.0

    def write(self, text: str) -> int:
        if text.strip() and text != "model: " and not self.first:
            self.first = time.perf_counter()
        return super().write(text)


def first_token(trained: TrainedModel, question: str) -> float:
    """Return the seconds from a question to the first text of the reply in the terminal."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        session = Session(trained, Sampling(), 1, Recordings(Path(folder)))
        session.begin(["i have two dogs.", "i work as a nurse.", "i like tea."])
        with contextlib.redirect_stdout(Clock()) as clock:
            start = time.perf_counter()
            session.answer(question)
    return clock.first - start


if __name__ == "__main__":
    sys.exit(main())
