"""Data, models, this project's training step and the machine's rate, for all benchmarks.

The data is ConvAI2's and the vocabulary DialoGPT's if ../shared has them. Otherwise both are those of data/sample.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from personagpt.device import Processes, configure_cuda, resolve_precision
from personagpt.model.cpu_products import onednn_product, should_use_onednn
from personagpt.model.decoders import context_length, output_matrix
from personagpt.model.loading import (
    TrainedModel,
    draw_model,
    load_bare_tokenizer,
    load_config,
    load_model,
    load_tokenizer,
)
from personagpt.sequences.batches import StepPlan
from personagpt.sequences.dataset import PersonaChatDataset, encode_corpus, tensor_metadata
from personagpt.sequences.format import Encoder
from personagpt.settings import TEXT_NAMES, Settings, read_settings
from personagpt.text.convai2 import read_corpus
from personagpt.training.optimization import StepResult, Trainer, schedule, step_seed, training_step
from personagpt.training.preferences import StepItems

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
# Layers, width, heads. "medium" is DialoGPT-medium; "llama" is a Llama of the size of "mini", the others are GPT-2s.
SIZES = {
    "tiny": (2, 128, 2),
    "mini": (6, 384, 6),
    "small": (12, 768, 12),
    "medium": (24, 1024, 16),
    "large": (36, 1280, 20),
    "llama": (6, 384, 6),
}
CONVAI2_DIALOGUES = 17_878  # in the training file
TRAINED_DIALOGUES = 8_939  # without the dialogues that repeat another dialogue from the other side


@dataclass
class Material:
    """Text, vocabulary, data set and settings of a benchmark's training."""

    text: Path
    base: Path  # a folder with the model's configuration and tokenizer, without weights
    tokenizer: PreTrainedTokenizerFast
    encoder: Encoder
    dataset: PersonaChatDataset
    settings: Settings

    def model(self, dropout: float | None = None) -> PreTrainedModel:
        """Return a model with fresh weights, the same at every call. `dropout` replaces the configuration's."""
        model = draw_model(str(self.base), len(self.tokenizer), seed=0)
        if dropout is not None:
            model.config.attn_pdrop = dropout
            for module in model.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = dropout
        return model


def text_and_vocabulary() -> tuple[Path, Path]:
    """Return the folders of the training text and of the vocabulary."""
    sample = ROOT / "data" / "sample"
    text, vocabulary = SHARED / "convai2", SHARED / "dialogpt-medium"
    return (text, vocabulary) if text.is_dir() and vocabulary.is_dir() else (sample, sample / "base")


def make_base(folder: Path, size: str) -> Path:
    """Write a configuration of `size` and the vocabulary to `folder`, which init = random needs. Return `folder`."""
    vocabulary = text_and_vocabulary()[1]
    folder.mkdir(parents=True)
    for path in vocabulary.iterdir():
        if path.suffix != ".safetensors":
            shutil.copyfile(path, folder / path.name)
    layers, width, heads = SIZES[size]
    config = json.loads((vocabulary / "config.json").read_text(encoding="utf-8"))
    # The length of sequences and the dropout are DialoGPT's, even if the vocabulary's own model has others.
    if size == "llama":
        load_bare_tokenizer(str(vocabulary)).save_pretrained(folder)  # says that it is no Llama's
        shape = {"num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": heads}
        kept = {name: config[name] for name in ("vocab_size", "bos_token_id", "eos_token_id")}
        config = {"model_type": "llama", "intermediate_size": 4 * width, "tie_word_embeddings": True} | shape | kept
        config |= {"max_position_embeddings": 1024}
    else:
        config |= {"n_layer": layers, "n_embd": width, "n_head": heads, "n_positions": 1024}
        config |= {"attn_pdrop": 0.1, "embd_pdrop": 0.1, "resid_pdrop": 0.1}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def prepare(folder: Path, size: str, dialogues: int | None = None, text: Path | None = None) -> Material:
    """Make the data set of the first `dialogues` of `text`, and a model configuration of `size`, in `folder`.

    `dialogues` None: all of them. `text` None: the training text of `text_and_vocabulary`.
    """
    text = text or text_and_vocabulary()[0] / TEXT_NAMES["train"]
    base = make_base(folder / size, size)
    tokenizer = load_tokenizer(str(base))
    encoder = Encoder(tokenizer)
    settings = dataclasses.replace(read_settings(ROOT / ".env", {}), save_path=folder, model_name=str(base))
    longest = context_length(load_config(str(base)))
    corpus = read_corpus(text)
    corpus = dataclasses.replace(corpus, dialogues=corpus.dialogues[:dialogues], sides=corpus.sides[:dialogues])
    tensors = encode_corpus(corpus, encoder, settings.max_turns, longest, str(text))
    metadata = tensor_metadata(corpus.sha256, tokenizer, settings.max_turns, longest)
    tensors.save(settings.tensors("train"), metadata)
    return Material(text, base, tokenizer, encoder, PersonaChatDataset(settings.tensors("train")), settings)


class Training:
    """The optimizer steps of train.py, without its logs and checkpoints."""

    def __init__(
        self,
        material: Material,
        model: PreTrainedModel,
        device: torch.device,
        precision: str = "auto",
        batch_size: int = 8,
        **changes: object,
    ) -> None:
        configure_cuda()  # the loops that are compared with this one need it, too
        self.data, self.device = material.dataset, device
        self.settings = dataclasses.replace(material.settings, **changes)
        self.precision = resolve_precision(precision, device)
        model.to(device).train()
        self.trainer = Trainer(self.settings, Processes(0, 1, device), self.precision, model)
        self.use_batch_size(batch_size)

    def use_batch_size(self, batch_size: int) -> None:
        """Train with batches of `batch_size`. A step has 8 sequences, as in .env, or one larger batch."""
        self.settings = dataclasses.replace(self.settings, batch_size=batch_size)
        self.trainer.batch_size = batch_size
        self.plan = StepPlan(self.data.lengths, self.settings.seed, max(8, batch_size))
        self.total_steps = self.settings.epochs * self.plan.steps_per_epoch

    def take_step(self, number: int, items: StepItems | None = None) -> StepResult:
        """Take optimizer step `number`, with the preferences `items`."""
        position = (number - 1) % self.total_steps + 1
        learn_rate = self.settings.learn_rate * schedule(position, self.total_steps, 0)
        seed = step_seed(self.settings.seed, number, 0)
        batches = self.trainer.batches(self.data, self.plan.group(number))
        return training_step(self.trainer, batches, seed, learn_rate, items)

    def step(self, number: int) -> torch.Tensor:
        """Take optimizer step `number`. Return its loss, the mean over response tokens, on the device."""
        result = self.take_step(number)
        return result.loss_sum / result.label_tokens

    def work(self, number: int) -> Work:
        """Return how much step `number` trains."""
        group = self.plan.group(number)
        responses = int(
            (self.data.tensors.response_offsets[group + 1] - self.data.tensors.response_offsets[group]).sum()
        )
        tokens = int((self.data.lengths[group] - 1).sum())
        return Work(responses, tokens, int(self.data.label_tokens[group].sum()))


def run_steps(training: Training, numbers: Iterable[int]) -> None:
    """Take the optimizer steps `numbers`."""
    for number in numbers:
        training.step(number)


@dataclass
class Work:
    """An amount of training: responses, tokens through the blocks (without padding), label tokens."""

    responses: int = 0
    tokens: int = 0
    labels: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.responses + other.responses, self.tokens + other.tokens, self.labels + other.labels)

    def operations(self, model: PreTrainedModel) -> int:
        """Return 6 x parameters of the blocks x tokens + 6 x parameters of the vocabulary projection x label tokens.

        A parameter takes 2 operations a token forward and 4 backward. The products of attention are left out.
        """
        layers = next(module for module in model.base_model.modules() if isinstance(module, torch.nn.ModuleList))
        blocks = sum(parameter.numel() for parameter in layers.parameters())
        return 6 * blocks * self.tokens + 6 * output_matrix(model).numel() * self.labels


def synchronize(device: torch.device) -> None:
    """Wait until `device` has finished its work, so that a clock can be read."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    elif device.type == "mps":
        torch.mps.synchronize()


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that `work` takes on `device`, which has nothing else to do."""
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the operations per second of a large square matrix product: the best of 10, in the fastest library."""
    size = 4096 if device.type == "cuda" else 2048
    left, right = torch.randn(2, size, size, device=device, dtype=dtype)
    repeats = 20 if device.type == "cuda" else 1
    libraries = [torch.matmul, onednn_product] if should_use_onednn(left) else [torch.matmul]

    def products(multiply: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        for _ in range(repeats):
            multiply(left, right)

    for multiply in libraries:
        products(multiply)
    fastest = min(seconds(functools.partial(products, multiply), device) for _ in range(10) for multiply in libraries)
    return 2 * size**3 * repeats / fastest


def to_train(trained: TrainedModel) -> TrainedModel:
    """Return the model of a folder with the weights of its file: those that it holds for use cannot be trained."""
    model = load_model(str(trained.folder), len(trained.tokenizer)).to(trained.model.device)
    return dataclasses.replace(trained, model=model.eval())
