"""A tiny classifier of sentence pairs, trained in seconds on pairs whose label is known by construction."""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

LABELS = ("contradiction", "entailment", "neutral")
ANIMALS = ("dogs", "cats", "birds")
SENTENCES = [f"i {verb} {animal}" for verb in ("love", "hate") for animal in ANIMALS] + ["hello"]


def label_of(premise: str, hypothesis: str) -> str:
    """A sentence entails itself; to love and to hate the same animal contradict each other; all else is neutral."""
    if premise == hypothesis:
        return "entailment"
    ours, theirs = premise.split(), hypothesis.split()
    return "contradiction" if ours[-1] == theirs[-1] else "neutral"


def word_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of the words of SENTENCES, which puts two sentences into one sequence as BERT's does."""
    words = sorted({word for sentence in SENTENCES for word in sentence.split()})
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    backend = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = Whitespace()
    special = [(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    backend.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=special
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def train_classifier(folder: Path) -> Path:
    """Train the classifier on every pair of SENTENCES until it knows them, and save it."""
    tokenizer = word_tokenizer()
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
        initializer_range=0.2,  # learns in a quarter of the steps
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        id2label=dict(enumerate(LABELS)),
        label2id={label: number for number, label in enumerate(LABELS)},
    )
    model = BertForSequenceClassification(config)
    premises, hypotheses = map(list, zip(*itertools.product(SENTENCES, repeat=2), strict=True))
    labels = [LABELS.index(label_of(*pair)) for pair in zip(premises, hypotheses, strict=True)]
    batch = tokenizer(premises, hypotheses, padding=True, return_tensors="pt")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(400):
        output = model(**batch, labels=torch.tensor(labels))
        if output.loss < 0.02:
            break
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert output.loss < 0.02
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
