"""decoders.py: models of other families than GPT-2, compared with their own forward pass, logits and `generate`."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, PreTrainedModel

from personagpt.errors import printable
from personagpt.model.cpu_dropout import use_cpu_dropout
from personagpt.model.cpu_products import use_cpu_products
from personagpt.model.decoders import context_length, find_obstacle, hidden_states
from personagpt.model.generation import ReplyRequest, generate_replies
from personagpt.model.loading import ModelError, draw_model, load_model
from personagpt.model.loss import ResponseLoss
from personagpt.scoring.candidates import Choice, ChoicePass, pass_scores
from personagpt.scoring.metrics import score
from personagpt.sequences.format import Encoder
from tests.families import FAMILIES, write_base

PLAIN = contextlib.nullcontext()


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / request.param, request.param)


@pytest.fixture
def model(folder: Path, tokenizer) -> PreTrainedModel:
    return load_model(str(folder), len(tokenizer)).eval()


def test_both_matrices_get_rows_for_the_persona_tokens(model: PreTrainedModel, folder: Path, tokenizer) -> None:
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    assert len(head.weight) == len(embeddings.weight) == len(tokenizer)
    assert (head.weight is embeddings.weight) == model.config.tie_word_embeddings
    again = load_model(str(folder), len(tokenizer))  # the new rows are drawn under the seed
    other = load_model(str(folder), len(tokenizer), seed=1)
    ours, theirs, differing = (each.get_output_embeddings().weight for each in (model, again, other))
    assert torch.equal(ours, theirs)
    assert torch.equal(ours[:-6], differing[:-6])
    assert not torch.equal(ours[-6:], differing[-6:])
    drawn = draw_model(str(folder), len(tokenizer), seed=3)
    assert len(drawn.get_output_embeddings().weight) == len(tokenizer)


@pytest.mark.usefixtures("onednn_is_faster")
def test_loss_and_gradients_are_the_librarys(model: PreTrainedModel) -> None:
    """At some rows of a batch that is padded on the right, with the parts that train on the CPU."""
    torch.manual_seed(1)
    ids = torch.randint(7, 60, (2, 30))
    ids[1, 20:] = 0  # padding
    mask = torch.ones_like(ids)
    mask[1, 20:] = 0
    rows, targets = torch.tensor([0, 5, 28, 30, 41, 48]), torch.randint(7, 60, (6,))
    logits = model(ids, attention_mask=mask).logits.flatten(0, 1)[rows]
    expected = cross_entropy(logits, targets, reduction="sum")
    expected.backward()
    theirs = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    use_cpu_dropout(model)
    use_cpu_products(model)
    loss = ResponseLoss(model.eval())(ids, rows, targets)
    loss.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name], rtol=1e-3, atol=1e-4, msg=name)


def test_dropout_is_the_models_own(model: PreTrainedModel) -> None:
    use_cpu_dropout(model.train())
    ids, rows = torch.arange(7, 47)[None], torch.arange(40)
    with torch.no_grad():
        first, again = (hidden_states(model, ids, rows) for _ in range(2))
    drops = any(value for key, value in model.config.to_dict().items() if "dropout" in key or "pdrop" in key)
    assert torch.equal(first, again) != drops


def test_scores_of_responses_and_candidates_are_the_librarys(model: PreTrainedModel) -> None:
    ids = torch.arange(7, 47)
    with torch.no_grad():
        nll = -model(ids[None]).logits[0].log_softmax(1)[torch.arange(39), ids[1:]]
    scored = score(model, [(ids.numpy(), torch.tensor([[10, 13], [30, 40]]).numpy())], PLAIN)[0]
    torch.testing.assert_close(torch.tensor(scored[0].nll), nll[9:12], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.tensor(scored[1].nll), nll[29:39], rtol=1e-4, atol=1e-4)
    choices = [Choice(10, [[5], ids[10:13].tolist()]), Choice(30, [[5, 6], ids[30:40].tolist()])]
    for (_, own), expected in zip(
        pass_scores(model, ChoicePass(ids[:30].tolist(), choices)), (nll[9:12], nll[29:39]), strict=True
    ):
        assert own == pytest.approx(-expected.mean().item(), abs=1e-4)


def test_replies_are_the_librarys_alone_and_in_a_batch(model: PreTrainedModel, tokenizer) -> None:
    encoder = Encoder(tokenizer)
    facts = ["i have two dogs.", "i work as a nurse."]
    contexts = [encoder.context(1, facts[:count], ["hi !"] * count, 300) for count in (2, 0, 1)]
    batch = generate_replies(model, encoder, [ReplyRequest(context) for context in contexts], PLAIN)
    for context, reply in zip(contexts, batch, strict=True):
        options = {"do_sample": False, "max_new_tokens": 40, "eos_token_id": encoder.eos, "pad_token_id": 0}
        expected = model.generate(torch.tensor([context]), **options)[0, len(context) :]
        assert reply == printable(encoder.decode_reply(expected.tolist())).strip()


def test_a_long_context_is_cut(model: PreTrainedModel) -> None:
    assert context_length(model.config) == 320
    assert context_length(LlamaConfig(max_position_embeddings=131_072)) == 2048


@pytest.mark.parametrize(
    ("family", "changes", "obstacle"),
    [
        ("gemma2", {"head_dim": 8, "num_key_value_heads": 4}, "it scales or caps its logits"),
        ("granite", {"logits_scaling": 8.0}, "it scales or caps its logits"),
        ("cohere", {}, "it scales or caps its logits"),
        ("bert", {}, "its logits are not its last hidden states times its output matrix"),
    ],
)
def test_what_cannot_be_a_base_is_refused_in_a_line(
    tmp_path: Path, family: str, changes: dict[str, object], obstacle: str
) -> None:
    base = write_base(tmp_path / "base", family, **changes)
    for make in (lambda: load_model(str(base), 0), lambda: draw_model(str(base), 0, seed=1)):
        with pytest.raises(ModelError, match=f"a {family} model cannot be the base: {obstacle}") as raised:
            make()
        assert "\n" not in str(raised.value)


def test_a_model_that_looks_ahead_is_refused(tmp_path: Path) -> None:
    """It would see the response that it is to predict."""
    model = load_model(str(write_base(tmp_path / "base", "qwen2")), 0)
    for layer in model.base_model.layers:
        layer.self_attn.is_causal = False
    assert find_obstacle(model) == "a text read in two parts gives it other hidden states than the whole text"
