"""bench/reference_loop.py: both original programs compute, item by item, the same as a pass over a sequence."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from bench.reference_loop import batch_nll, dialogue_pairs, pair_nll, train_dialogues, train_pairs, whole_dialogues
from personagpt.model.loss import ResponseLoss
from personagpt.sequences.batches import load_batch
from personagpt.sequences.dataset import PersonaChatDataset, encode_corpus
from personagpt.sequences.format import Encoder
from personagpt.text.convai2 import parse_corpus

TEXT = b"""\
1 your persona: i have two dogs.
2 your persona: i like tea.
3 partner's persona: i am a wrestler .
4 hi ! how are you ?\tgreat , just walking my dogs .
5 how many dogs have you got ?\ttwo . and you ?
6 none . i am never at home .\toh .
1 your persona: i am old.
2 partner's persona: i ski.
3 __SILENCE__\thello !
4 hi .\twho are you ?
"""


@pytest.fixture
def dataset(tmp_path: Path, tokenizer) -> PersonaChatDataset:
    tensors = encode_corpus(parse_corpus(TEXT, "text"), Encoder(tokenizer), 20, 320, "text")
    tensors.save(tmp_path / "data", {"vocabulary": str(len(tokenizer)), "context": "320"})
    return PersonaChatDataset(tmp_path / "data")


def test_pairs_are_what_was_said_before_and_the_response(dataset, tokenizer) -> None:
    pairs = list(dialogue_pairs(dataset, [0, 1]))
    assert len(pairs) == 6  # three responses of each speaker
    context, response = (tokenizer.decode(tokens, clean_up_tokenization_spaces=False) for tokens in pairs[4])
    eos = tokenizer.eos_token
    assert response == f"two . and you ?{eos}"
    assert context == (
        f"<|p2|>i have two dogs.{eos}i like tea.{eos}<|sep|><|start|>hi ! how are you ?{eos}"
        f"great , just walking my dogs .{eos}how many dogs have you got ?{eos}"
    )


def test_summed_loss_equals_one_pass_over_each_sequence(dataset, tokenizer, tiny_model) -> None:
    tiny_model.eval()  # no dropout
    batch = load_batch(dataset, [0, 1], tokenizer.eos_token_id)
    with torch.no_grad():
        whole = ResponseLoss(tiny_model)(batch.input_ids, batch.label_index, batch.targets).item()
        by_pair = [pair_nll(tiny_model, *pair) for pair in dialogue_pairs(dataset, [0, 1])]
    count = sum(len(nll) for nll in by_pair)
    assert count == len(batch.targets)
    assert sum(nll.double().sum().item() for nll in by_pair) / count == pytest.approx(whole / count, abs=1e-5)


def test_gradients_equal_those_of_one_pass(dataset, tokenizer, tiny_model) -> None:
    tiny_model.eval()
    batch = load_batch(dataset, [0, 1], tokenizer.eos_token_id)
    ResponseLoss(tiny_model)(batch.input_ids, batch.label_index, batch.targets).backward()
    whole = [parameter.grad.clone() for parameter in tiny_model.parameters()]
    tiny_model.zero_grad()
    for pair in dialogue_pairs(dataset, [0, 1]):
        pair_nll(tiny_model, *pair).sum().backward()
    for expected, parameter in zip(whole, tiny_model.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_an_item_of_2020_is_a_dialogue_after_both_personas(dataset, tokenizer) -> None:
    items = list(whole_dialogues(dataset, Encoder(tokenizer), [0, 1]))
    first, second = (
        [tokenizer.decode(tokens, clean_up_tokenization_spaces=False) for tokens in item] for item in items
    )
    eos = tokenizer.eos_token
    assert first[0] == f"<|p1|>i am a wrestler .{eos}<|sep|><|p2|>i have two dogs.{eos}i like tea.{eos}<|sep|><|start|>"
    assert first[1].split(eos)[0] == "hi ! how are you ?"
    assert first[1].split(eos)[4:] == ["none . i am never at home .", "oh .", ""]
    # The speaker who talks first also talks last.
    assert second[0] == f"<|p1|>i am old.{eos}<|sep|><|p2|>i ski.{eos}<|sep|><|start|>"
    assert second[1] == f"hello !{eos}hi .{eos}who are you ?{eos}"


def test_a_padded_batch_of_dialogues_equals_one_pass_over_each(dataset, tokenizer, tiny_model) -> None:
    tiny_model.eval()
    items = list(whole_dialogues(dataset, Encoder(tokenizer), [1, 0]))  # of different lengths, contexts and talks
    with torch.no_grad():
        whole = []
        for context, talk in items:
            logits = tiny_model(torch.cat([context, talk])[None]).logits[0, len(context) - 1 : -1]
            whole.append(torch.nn.functional.cross_entropy(logits, talk, reduction="none"))
        torch.testing.assert_close(batch_nll(tiny_model, items), torch.cat(whole), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(pair_nll(tiny_model, *items[1]), whole[1], rtol=1e-4, atol=1e-5)


def test_a_step_of_2020_takes_eight_batches(dataset, tokenizer, tiny_model) -> None:
    items = list(whole_dialogues(dataset, Encoder(tokenizer), [0, 1])) * 9  # 18
    assert [len(step) for step in train_dialogues(tiny_model, items, learn_rate=1e-3)] == [8, 8]
    assert [len(step) for step in train_dialogues(tiny_model, items, learn_rate=1e-3, batch_size=2)] == [16]


def test_a_step_takes_64_pairs_and_changes_the_weights(dataset, tiny_model) -> None:
    pairs = list(dialogue_pairs(dataset, [0, 1] * 12))  # 72: one step, and a rest that gives none
    before = tiny_model.lm_head.weight.detach().clone()
    steps = list(train_pairs(tiny_model, pairs, learn_rate=1e-3))
    assert [len(step) for step in steps] == [64]
    change = (tiny_model.lm_head.weight - before).abs().max().item()
    assert change == pytest.approx(1e-3, rel=0.01)  # AdamW's first step moves a weight by learn_rate


def test_training_lowers_the_loss(dataset, tiny_model) -> None:
    pairs = list(dialogue_pairs(dataset, [0, 1]))
    steps = train_pairs(tiny_model, itertools.cycle(pairs), learn_rate=1e-3, per_step=8)

    def loss() -> float:
        with torch.no_grad():
            return sum(pair_nll(tiny_model, *pair).sum().item() for pair in pairs)

    before = loss()
    for _ in range(5):
        next(steps)
    assert loss() < before
