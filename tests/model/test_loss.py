"""The loss over response tokens: against torch's own, and against one pass for every turn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch._dynamo.testing import CompileCounter
from transformers import GPT2Config, GPT2LMHeadModel

from personagpt.model import loss
from personagpt.model.cpu_dropout import use_cpu_dropout
from personagpt.model.cpu_products import use_cpu_products
from personagpt.model.gpt2 import use_fused_gelu
from personagpt.model.loss import ResponseLoss, aligned, nll_sum, rows_per_piece, score_hidden
from personagpt.sequences.batches import Batch, collate, load_batch
from personagpt.sequences.dataset import PersonaChatDataset, Tensors, encode_corpus
from personagpt.sequences.format import Encoder
from personagpt.text.convai2 import Corpus, Dialogue, read_corpus


def random_rows(rows: int, width: int, vocabulary: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(rows)
    hidden, weight = torch.randn(rows, width), torch.randn(vocabulary, width)
    return hidden.requires_grad_(), weight.requires_grad_(), torch.randint(vocabulary, (rows,))


@pytest.mark.filterwarnings("error")  # a buffer of the wrong shape is resized with a warning
@pytest.mark.parametrize("rows", [0, 1, 6, 7, 8, 50])
def test_value_and_gradients_are_cross_entropys(monkeypatch, rows, onednn_is_faster) -> None:
    monkeypatch.setattr(loss, "PIECE", 7 * 101)  # 7 rows at a time
    hidden, weight, targets = random_rows(rows, 16, 101)
    value = nll_sum(hidden, weight, targets)
    (value * 0.25).backward()
    exact = [tensor.detach().double().requires_grad_() for tensor in (hidden, weight)]
    expected = F.cross_entropy(exact[0] @ exact[1].T, targets, reduction="sum")
    (expected * 0.25).backward()
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-6)
    for ours, theirs in ((hidden.grad, exact[0].grad), (weight.grad, exact[1].grad)):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 7, 50])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_weights_of_one_are_no_weights_bit_for_bit(monkeypatch, rows, dtype, onednn_is_faster) -> None:
    monkeypatch.setattr(loss, "PIECE", 7 * 101)
    results = []
    for weights in (None, torch.ones(rows)):
        hidden, weight, targets = random_rows(rows, 16, 101)
        with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
            value = nll_sum(hidden, weight, targets, weights)
        value.backward()
        results.append([value.detach(), hidden.grad, weight.grad])
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


@pytest.mark.parametrize("rows", [0, 1, 8, 50])
def test_weighted_value_and_gradients_are_autograds(monkeypatch, rows, onednn_is_faster) -> None:
    monkeypatch.setattr(loss, "PIECE", 7 * 101)
    hidden, weight, targets = random_rows(rows, 16, 101)
    weights = torch.randn(rows)  # negative ones, too
    value = nll_sum(hidden, weight, targets, weights)
    (value * 0.25).backward()
    exact = [tensor.detach().double().requires_grad_() for tensor in (hidden, weight)]
    nll = -(exact[0] @ exact[1].T).log_softmax(1).gather(1, targets[:, None])[:, 0]
    expected = (weights.double() * nll).sum()
    (expected * 0.25).backward()
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-4)
    for ours, theirs in ((hidden.grad, exact[0].grad), (weight.grad, exact[1].grad)):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)


def test_weights_give_the_gradient_of_a_loss_of_likelihoods() -> None:
    """-log sigmoid(log p(row 0) - log p(row 1)): the weights are its derivatives by the rows' nll."""
    hidden, weight, targets = random_rows(2, 4, 11)
    nll = F.cross_entropy(hidden @ weight.T, targets, reduction="none")
    expected = torch.autograd.grad(-F.logsigmoid(nll[1] - nll[0]), (hidden, weight))
    slope = torch.sigmoid(nll[0] - nll[1]).detach()
    ours = torch.autograd.grad(nll_sum(hidden, weight, targets, torch.stack([slope, -slope])), (hidden, weight))
    for our, their in zip(ours, expected, strict=True):
        torch.testing.assert_close(our, their, rtol=1e-5, atol=1e-6)


def test_a_model_takes_weights_for_its_labels(tiny_model) -> None:
    ids, index, targets = torch.arange(12).view(2, 6), torch.tensor([1, 7, 8]), torch.tensor([2, 8, 9])
    module = ResponseLoss(tiny_model)
    each = [module(ids, index[i : i + 1], targets[i : i + 1]).item() for i in range(3)]
    value = module(ids, index, targets, torch.tensor([2.0, 0.0, -0.5]))
    assert value.item() == pytest.approx(2 * each[0] - 0.5 * each[2], rel=1e-5)


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.mark.parametrize("device", DEVICES)
def test_every_device_computes_the_same(device) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    hidden, weight, targets = random_rows(100, 64, 1003)
    exact = F.cross_entropy(hidden.double() @ weight.double().T, targets, reduction="sum")
    expected = torch.autograd.grad(exact, (hidden, weight))
    # On a GPU these are other tensors, which must be leaves themselves to have a gradient.
    there = [tensor.detach().to(device).requires_grad_() for tensor in (hidden, weight)]
    value = nll_sum(*there, targets.to(device))
    value.backward()
    torch.testing.assert_close(value.cpu().double(), exact, rtol=1e-3, atol=1e-3)
    for ours, theirs in zip(there, expected, strict=True):
        torch.testing.assert_close(ours.grad.cpu(), theirs, rtol=1e-3, atol=1e-3)


def test_the_matrix_is_cast_and_padded_in_one_copy() -> None:
    weight = torch.arange(6.0).view(3, 2)
    matrix = aligned(weight, torch.empty(0, dtype=torch.bfloat16))
    assert matrix.dtype == torch.bfloat16
    assert matrix.shape == (64, 2)
    assert matrix[:3].tolist() == weight.tolist()
    assert not matrix[3:].any()


@pytest.mark.parametrize(
    ("count", "vocabulary", "rows"),
    [(0, 10, 1), (1, 10, 1), (10, 10, 10), (11, 10, 6), (20, 10, 10), (21, 10, 7), (3, 100, 1), (3, 1000, 1)],
)
def test_pieces_of_equal_size_hold_at_most_100_logits(monkeypatch, count, vocabulary, rows) -> None:
    monkeypatch.setattr(loss, "PIECE", 100)
    assert rows_per_piece(count, vocabulary) == rows


def test_a_worked_case() -> None:
    # Logits (0, log 3): the second of two is true with probability 3/4.
    hidden, weight = torch.tensor([[1.0]], requires_grad=True), torch.tensor([[0.0], [math.log(3)]], requires_grad=True)
    value = nll_sum(hidden, weight, torch.tensor([1]))
    value.backward()
    assert value.item() == pytest.approx(-math.log(3 / 4))
    assert weight.grad.tolist() == [[pytest.approx(1 / 4)], [pytest.approx(-1 / 4)]]
    assert hidden.grad.item() == pytest.approx(-math.log(3) / 4)


@pytest.mark.parametrize("frozen", [0, 1])
def test_what_needs_no_gradient_gets_none(frozen, onednn_is_faster) -> None:
    tensors = random_rows(5, 4, 11)
    tensors[frozen].requires_grad_(False)
    nll_sum(*tensors).backward()
    assert tensors[frozen].grad is None
    assert tensors[1 - frozen].grad.abs().sum() > 0


def test_without_gradients() -> None:
    hidden, weight, targets = random_rows(5, 4, 11)
    with torch.inference_mode():
        value = nll_sum(hidden, weight, targets)
    assert value.item() == pytest.approx(F.cross_entropy(hidden @ weight.T, targets, reduction="sum").item(), rel=1e-6)


def test_logits_far_apart_stay_finite() -> None:
    hidden, weight = torch.tensor([[300.0]], requires_grad=True), torch.tensor([[1.0], [-1.0]], requires_grad=True)
    value = nll_sum(hidden, weight, torch.tensor([1]))
    value.backward()
    assert value.item() == 600.0
    assert torch.isfinite(hidden.grad).all()
    assert torch.isfinite(weight.grad).all()


def test_under_autocast_products_are_bf16_and_sums_float32() -> None:
    hidden, weight, targets = random_rows(40, 16, 101)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = nll_sum(hidden, weight, targets)
    value.backward()
    assert value.dtype == hidden.grad.dtype == weight.grad.dtype == torch.float32
    exact = [tensor.detach().double().requires_grad_() for tensor in (hidden, weight)]
    expected = F.cross_entropy(exact[0] @ exact[1].T, targets, reduction="sum")
    expected.backward()
    assert value.item() == pytest.approx(expected.item(), rel=0.01)
    assert F.cosine_similarity(weight.grad.double().ravel(), exact[1].grad.ravel(), dim=0) > 0.999


def test_under_autocast_the_products_are_those_of_the_rounded_factors() -> None:
    hidden, weight, targets = random_rows(40, 16, 101)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = nll_sum(hidden, weight, targets)
    rounded = F.cross_entropy((hidden.bfloat16() @ weight.bfloat16().T).float(), targets, reduction="sum")
    assert value.item() == pytest.approx(rounded.item(), rel=1e-6)
    assert value.item() != pytest.approx(F.cross_entropy(hidden @ weight.T, targets, reduction="sum").item(), rel=1e-5)


def test_under_autocast_scores_are_float32() -> None:
    hidden, weight, targets = random_rows(40, 16, 101)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        nll, predicted = score_hidden(hidden, weight, targets)
    logits = (hidden.bfloat16() @ weight.bfloat16().T).float()
    assert nll.dtype == torch.float32
    assert torch.allclose(nll, F.cross_entropy(logits, targets, reduction="none"), atol=1e-5)
    assert torch.equal(predicted, logits.argmax(1))


def test_bf16_gradients_of_many_pieces_add_up_in_float32(monkeypatch) -> None:
    # 300 pieces of one row add 1/2 each. In bf16, which has 8 bits, the sum would stay at 128.
    monkeypatch.setattr(loss, "PIECE", 2)
    hidden, weight = torch.ones(300, 1), torch.zeros(2, 1, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        nll_sum(hidden, weight, torch.zeros(300, dtype=torch.int64)).backward()
    assert weight.grad.tolist() == [[-150.0], [150.0]]


@pytest.fixture(scope="module")
def model() -> GPT2LMHeadModel:
    """A small GPT-2 with DialoGPT's vocabulary. Weights are large, so that what stands in front of a token matters."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=50263, n_embd=64, n_layer=2, n_head=4, initializer_range=0.2,
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
    )  # fmt: skip
    return GPT2LMHeadModel(config).float().eval()


def save(tensors: Tensors, path) -> PersonaChatDataset:
    tensors.save(path, {"vocabulary": "50263", "context": "1024"})
    return PersonaChatDataset(path)


def per_turn(model: GPT2LMHeadModel, tokenizer, dialogues: list[Dialogue]) -> tuple[float, int]:
    """Sum of nll and number of tokens over all responses, each in a pass of its own after its own context."""

    def ids(text: str) -> list[int]:
        return tokenizer(text, split_special_tokens=True)["input_ids"] + [tokenizer.eos_token_id]

    total, count = 0.0, 0
    for dialogue in dialogues:
        for i, response in enumerate(dialogue.utterances[:20]):
            context = [tokenizer.convert_tokens_to_ids("<|p2|>" if i % 2 else "<|p1|>")]
            for fact in dialogue.personas[i % 2]:
                context += ids(fact)
            context += tokenizer.convert_tokens_to_ids(["<|sep|>", "<|start|>"])
            for utterance in dialogue.utterances[:i]:
                context += ids(utterance)
            said = torch.tensor(ids(response))
            with torch.no_grad():
                output = model(torch.tensor([context + said.tolist()]), logits_to_keep=len(said) + 1)
            probabilities = output.logits[0, :-1].double().log_softmax(1)
            total -= probabilities[torch.arange(len(said)), said].sum().item()
            count += len(said)
    return total, count


def test_two_sequences_give_the_loss_of_a_pass_for_every_turn(shared, real_tokenizer, model, tmp_path) -> None:
    corpus = read_corpus(shared / "convai2" / "valid_both_original_no_cands.txt")
    chosen = Corpus(corpus.dialogues[:6], corpus.sides[:6], [])
    data = save(encode_corpus(chosen, Encoder(real_tokenizer), 20, 1024, "t"), tmp_path / "t")
    total = 0.0
    response_loss = ResponseLoss(model)
    with torch.no_grad():
        for start in range(0, len(data), 8):  # in file order, so that shorter ones are padded
            batch = load_batch(data, range(start, min(start + 8, len(data))), pad=real_tokenizer.pad_token_id)
            total += response_loss(batch.input_ids, batch.label_index, batch.targets).double().item()
    slow_total, slow_count = per_turn(model, real_tokenizer, chosen.dialogues)
    assert data.label_tokens.sum() == slow_count > 600
    assert total / slow_count == pytest.approx(slow_total / slow_count, abs=1e-5)
    # The comparison can tell: with the other speaker's persona in front, the loss is another.
    changed = [Dialogue(d.personas[::-1], d.utterances) for d in chosen.dialogues]
    other = per_turn(model, real_tokenizer, changed[:1])[0] / per_turn(model, real_tokenizer, chosen.dialogues[:1])[0]
    assert abs(other - 1) > 1e-4


def test_padding_and_company_change_nothing(real_tokenizer, model, tmp_path, shared) -> None:
    corpus = read_corpus(shared / "convai2" / "valid_both_original_no_cands.txt")
    data = save(
        encode_corpus(Corpus(corpus.dialogues[:3], corpus.sides[:3], []), Encoder(real_tokenizer), 20, 1024, "t"),
        tmp_path / "t",
    )
    response_loss = ResponseLoss(model)

    def value(indices: range, pad: int) -> float:
        batch = load_batch(data, indices, pad)
        return response_loss(batch.input_ids, batch.label_index, batch.targets).item()

    with torch.no_grad():
        alone = sum(value(range(i, i + 1), 0) for i in range(len(data)))
        assert value(range(len(data)), 0) == pytest.approx(alone, rel=1e-6)
        assert value(range(len(data)), 50256) == pytest.approx(alone, rel=1e-6)


def test_a_batch_without_labels_has_loss_and_gradients_zero(tiny_model) -> None:
    batch = Batch(torch.tensor([[3, 4]]), torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64))
    value = ResponseLoss(tiny_model)(batch.input_ids, batch.label_index, batch.targets)
    value.backward()
    assert value.item() == 0
    # Every parameter takes part, as a reduction over processes demands.
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in tiny_model.parameters())


def test_gradients_of_a_whole_model(tiny_model) -> None:
    torch.manual_seed(1)
    input_ids = torch.randint(tiny_model.config.vocab_size, (2, 9))
    labels = torch.full((2, 9), -100)
    labels[0, 2:5], labels[1, 1], labels[1, 7:] = input_ids[0, 2:5], input_ids[1, 1], input_ids[1, 7:]
    # GPT-2's own loss is the mean over labels, shifted by one.
    tiny_model.eval()
    tiny_model(input_ids, labels=labels).loss.backward()
    expected = [parameter.grad.clone() for parameter in tiny_model.parameters()]
    tiny_model.zero_grad()
    index = torch.tensor([1, 2, 3, 9 + 0, 9 + 6, 9 + 7])
    targets = torch.cat([input_ids[0, 2:5], input_ids[1, 1:2], input_ids[1, 7:]])
    (ResponseLoss(tiny_model)(input_ids, index, targets) / 6).backward()
    for ours, theirs in zip(tiny_model.parameters(), expected, strict=True):
        torch.testing.assert_close(ours.grad, theirs, rtol=1e-4, atol=1e-6)


# Compiled: one program for all lengths


def batch_of(random: np.random.RandomState, rows: int, longest: int):  # noqa: ANN201
    """Random sequences, each with one response at its end."""
    sequences = []
    for length in random.randint(longest // 2, longest, rows):
        tokens = random.randint(0, 500, length).astype(np.int64)
        sequences.append((tokens, np.array([[length // 2, length]])))
    return collate(sequences, pad=0)


@pytest.mark.parametrize("train", [True, False])
def test_few_programs_serve_every_shape(tiny_model: torch.nn.Module, train: bool) -> None:
    torch._dynamo.reset()
    del tiny_model.transformer.h[2:]  # the compiler takes its time for each block
    use_fused_gelu(tiny_model)
    module = ResponseLoss(tiny_model).train(train)
    compiled = ResponseLoss(tiny_model).train(train)
    counter = CompileCounter()
    compiled.compile(dynamic=True, backend=counter)
    random = np.random.RandomState(0)
    for rows, longest in ((8, 100), (8, 200), (8, 60), (3, 130), (1, 90), (8, 101), (5, 250)):
        batch = batch_of(random, rows, longest)
        expected = module(batch.input_ids, batch.label_index, batch.targets)
        assert torch.allclose(compiled(batch.input_ids, batch.label_index, batch.targets), expected, rtol=1e-5)
        if (rows, longest) == (8, 200):
            warmed_up = counter.frame_count
    # One sequence alone may be a program of its own; every other shape shares what the first two made.
    assert warmed_up <= 3
    assert counter.frame_count <= warmed_up + 2
    torch._dynamo.reset()


def test_what_replaces_parts_on_the_cpu_still_runs_compiled(
    tiny_model: torch.nn.Module, onednn_is_faster: bool
) -> None:
    torch._dynamo.reset()
    del tiny_model.transformer.h[2:]
    use_cpu_dropout(tiny_model)
    use_cpu_products(tiny_model)
    compiled = ResponseLoss(tiny_model).train()
    counter = CompileCounter()
    compiled.compile(dynamic=True, backend=counter)
    random = np.random.RandomState(0)
    for longest in (80, 90, 150, 151, 200):
        batch = batch_of(random, 2, longest)
        compiled(batch.input_ids, batch.label_index, batch.targets).backward()
        assert all(parameter.grad is not None for parameter in tiny_model.transformer.h.parameters())
        tiny_model.zero_grad()
    assert counter.frame_count <= 2
    torch._dynamo.reset()


def test_attention_gets_no_mask(tiny_model: torch.nn.Module) -> None:
    """With one, PyTorch has no flash attention."""
    torch._dynamo.reset()
    calls = []

    def look(graph: torch.fx.GraphModule, inputs: list) -> object:
        calls.extend(node.kwargs for node in graph.graph.nodes if "scaled_dot_product" in str(node.target))
        return graph.forward

    compiled = ResponseLoss(tiny_model).train()
    compiled.compile(dynamic=True, backend=look)
    batch = batch_of(np.random.RandomState(0), 3, 80)
    compiled(batch.input_ids, batch.label_index, batch.targets)
    assert len(calls) == tiny_model.config.n_layer
    assert all(call["attn_mask"] is None and call["is_causal"] is True for call in calls)
    torch._dynamo.reset()
