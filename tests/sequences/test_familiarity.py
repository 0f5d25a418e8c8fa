"""familiarity.py: a base that hardly knows a text's writing is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from personagpt.model.loading import load_tokenizer
from personagpt.sequences.familiarity import unfamiliar
from personagpt.sequences.format import Encoder
from personagpt.text.convai2 import Corpus, read_corpus
from personagpt.text.dialogues import Dialogue


def corpus(*utterances: str) -> Corpus:
    return Corpus([Dialogue(([], []), list(utterances))], [(0, 1)], [])


def test_a_base_knows_the_text_that_it_was_made_for(tokenizer, sample: Path) -> None:
    text = read_corpus(sample / "valid_both_original_no_cands.txt")
    assert unfamiliar(text, Encoder(tokenizer)) == ""


@pytest.mark.parametrize(
    ("text", "rate"),
    [("WHAT IS YOUR NAME ?", "4.5"), ("\u043a\u0430\u043a \u0434\u0435\u043b\u0430 ?", "8.0")],
)
def test_other_writing_is_named(tokenizer, text: str, rate: str) -> None:
    assert f"hardly knows this writing: {rate} tokens a word" in unfamiliar(corpus(text, text), Encoder(tokenizer))


def test_real_text_is_known_to_dialogpt(real_tokenizer) -> None:
    known = "hi , how are you doing ? i am getting ready to do some cheetah chasing to stay in shape ."
    encoder = Encoder(real_tokenizer)
    assert unfamiliar(corpus(known, known.capitalize()), encoder) == ""
    assert "tokens a word" in unfamiliar(corpus("Wei\u00dft du, wo die Stra\u00dfenbahn h\u00e4lt?"), encoder)


def test_letters_without_a_token_are_named(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n\u4f60\n\u597d\n", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    encoder = Encoder(load_tokenizer(str(tmp_path)))
    assert unfamiliar(corpus("\u4f60\u597d", "\u4f60"), encoder) == ""
    assert unfamiliar(corpus("\u4f60\u597d", "\u4f60\u5fd9"), encoder).startswith("25% of the training text's tokens")
