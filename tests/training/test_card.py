"""card.py: the model card and the defaults of generation in a saved folder."""

import json

import pytest
from huggingface_hub import ModelCard
from transformers import AutoModelForCausalLM

from personagpt.model.generation import set_generation_defaults
from personagpt.settings import read_settings
from personagpt.text.style import STYLE, Style, Writing
from personagpt.training.card import write_card

EVALUATION = {
    "step": 500,
    "loss": 2.5,
    "perplexity": 12.18,
    "turn_perplexity": 10.2,
    "token_f1": 0.434,
    "responses": 7801,
}


@pytest.fixture
def settings(write_settings, tmp_path):  # noqa: ANN201
    return read_settings(write_settings(data_path=tmp_path / "talks"), {})


def test_the_metadata_the_hub_reads(settings, tmp_path, tokenizer) -> None:
    write_card(tmp_path, settings, tokenizer, 1024, 750, EVALUATION)
    data = ModelCard.load(tmp_path / "README.md").data
    assert data.base_model == "microsoft/DialoGPT-medium"
    assert data.license is None  # nobody gave it
    assert data.language is None  # nobody says what language this text has
    assert data.datasets is None  # a local folder is no data set of the hub's
    assert data.pipeline_tag == "text-generation"
    assert "persona" in data.tags
    assert {result.metric_name: result.metric_value for result in data.eval_results} == {
        name: EVALUATION[name] for name in ("loss", "perplexity", "turn_perplexity", "token_f1")
    }


def test_what_people_read(settings, tmp_path, tokenizer) -> None:
    write_card(tmp_path, settings, tokenizer, 1024, 750, EVALUATION)
    text = (tmp_path / "README.md").read_text()
    for words in (
        "750 optimizer steps",
        "at step 500",
        "| token_f1 | 0.434 |",
        "| learn_rate | 5e-05 |",
        "Context: 1024",
    ):
        assert words in text
    assert str(tmp_path) not in text  # no path of the machine it was trained on


def test_the_goals_it_was_trained_on(write_settings, tmp_path, tokenizer) -> None:
    (tmp_path / "goals.tsv").write_text("ask about tea.\task\ttea\ntalk about ska.\ttalk\tska\n")
    settings = read_settings(write_settings(goals=tmp_path / "goals.tsv"), {})
    write_card(tmp_path, settings, tokenizer, 1024, 750, None)
    text = (tmp_path / "README.md").read_text()
    assert """chat(messages, tokenizer_encode_kwargs={"goal": "ask about tea."})""" in text
    assert "`ask about tea.`, `talk about ska.`" in text
    assert str(tmp_path) not in text
    # Somebody took the file away while the run went on: the card does without.
    (tmp_path / "goals.tsv").unlink()
    write_card(tmp_path, settings, tokenizer, 1024, 750, None)
    assert "goal" not in (tmp_path / "README.md").read_text()


def test_the_example_in_the_card_is_valid_python(settings, tmp_path, tokenizer) -> None:
    write_card(tmp_path, settings, tokenizer, 1024, 750, None)
    compile((tmp_path / "README.md").read_text().split("```python\n")[1].split("```")[0], "card", "exec")


def test_before_the_first_evaluation(settings, tmp_path, tokenizer) -> None:
    write_card(tmp_path, settings, tokenizer, 1024, 250, None)
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.eval_results is None
    assert "Not evaluated yet." in card.content


def test_the_interviews_of_an_evaluation(settings, tmp_path, tokenizer) -> None:
    rows = [{"questions": number, "persona_at_1": {"value": number / 8}} for number in (1, 2)]
    evaluation = {"responses": 9, "interviews": {"own model, fixed": {"among": 20, "by_question": rows}}}
    write_card(tmp_path, settings, tokenizer, 1024, 250, evaluation)
    assert "\n| own model, fixed, 2 questions, 1 of 20 | 0.25 |\n" in (tmp_path / "README.md").read_text()


def test_the_real_text_is_named_by_its_checksum(settings, tmp_path, tokenizer, monkeypatch) -> None:
    import hashlib

    from personagpt.scoring import published

    settings.data_path.mkdir()
    settings.text("valid").write_bytes(b"as published")
    monkeypatch.setattr(published, "CONVAI2_VALID_MD5", hashlib.md5(b"as published").hexdigest())
    write_card(tmp_path, settings, tokenizer, 1024, 250, None)
    data = ModelCard.load(tmp_path / "README.md").data
    assert data.datasets == ["AlekseyKorshuk/persona-chat"]
    assert data.language == "en"


def test_published_figures_only_for_their_text_and_vocabulary(
    settings, tmp_path, tokenizer, real_tokenizer, monkeypatch
) -> None:
    from personagpt.training import card

    for text in (False, True):
        monkeypatch.setattr(card, "is_published_text", lambda path, text=text: text)
        for given in (tokenizer, real_tokenizer):
            write_card(tmp_path, settings, given, 1024, 250, EVALUATION)
            card_text = (tmp_path / "README.md").read_text()
            for words in ("about 12.6 by `turn_perplexity` (10.2 as published", "19.09 %"):
                assert (words in card_text) == (text and given is real_tokenizer)


LOWER, PROSE = Writing(1.0, 0.0, 1.0, spaced_inside=1.0), Writing(0.1, 0.0, 1.0)


@pytest.mark.parametrize(
    ("facts", "utterances", "words", "example", "said"),
    [
        (
            Writing(1.0, 1.0, 0.5), Writing(1.0, 1.0, 0.9), "text in lower case, with spaces before punctuation marks:",
            "i have two dogs .\\ni work", "hi ! what do",
        ),
        (
            LOWER, Writing(1.0, 1.0, 0.5),
            "utterances in lower case, with spaces before punctuation marks, and from facts in lower case, with spaces "
            "before punctuation marks, without one before the last: write",
            "i have two dogs.\\ni work", "hi ! what do",
        ),
        (
            PROSE, PROSE, "text in upper and lower case, without spaces before punctuation marks: write",
            "I have two dogs.\\nI work", "Hi! What do",
        ),
    ],
)  # fmt: skip
def test_the_text_s_style_as_it_is(settings, tmp_path, tokenizer, facts, utterances, words, example, said) -> None:
    write_card(tmp_path, settings, tokenizer, 1024, 250, None)
    assert "learned" not in (tmp_path / "README.md").read_text()  # of older tensors no style is known
    (tmp_path / STYLE).write_text(json.dumps(Style(facts, utterances, 5, 16).plain()))
    write_card(tmp_path, settings, tokenizer, 1024, 250, None)
    card = (tmp_path / "README.md").read_text()
    assert f"It learned from {words}" in card
    assert f'"content": "{example}' in card
    assert f'"content": "{said}' in card


@pytest.mark.parametrize("moved", [False, True])
def test_a_base_in_a_folder_has_no_name_on_the_hub(write_settings, tmp_path, tokenizer, moved) -> None:
    (tmp_path / "my-base").mkdir()
    settings = read_settings(write_settings(model_name=tmp_path / "my-base"), {})
    if moved:  # or the model is scored on another machine
        (tmp_path / "my-base").rmdir()
    write_card(tmp_path, settings, tokenizer, 1024, 250, None)
    assert ModelCard.load(tmp_path / "README.md").data.base_model is None
    assert str(tmp_path) not in (tmp_path / "README.md").read_text()


def test_generation_defaults_are_saved(tiny_model, tokenizer, tmp_path) -> None:
    set_generation_defaults(tiny_model, tokenizer)
    tiny_model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "generation_config.json").read_text())
    eos = tokenizer.eos_token_id
    expected = {
        "do_sample": True,
        "top_k": 10,
        "top_p": 0.92,
        "max_new_tokens": 40,
        "eos_token_id": eos,
        "pad_token_id": eos,
    }
    assert {name: saved[name] for name in expected} == expected
    assert AutoModelForCausalLM.from_pretrained(tmp_path).generation_config.top_k == 10
