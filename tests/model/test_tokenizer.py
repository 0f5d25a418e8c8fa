"""tokenizer.py: the file's own tokenizer is used, it has an end token, and text that it loses is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer

from personagpt.errors import UserError
from personagpt.model.loading import ModelError, load_bare_tokenizer, load_tokenizer
from personagpt.sequences.format import SPECIAL_TOKENS, Encoder

TEXT = ["hi there , how are you ?", "Hello There , You !", "room 1234 ."]
TALK = ["\u4f60\u597d\uff0c\u5fd9\u5417\uff1f", "\u5f88\u5fd9\u3002"]  # as people write it: without spaces


def write_model(folder: Path, kind: str, class_name: str | None, text: list[str] = TEXT) -> Path:
    """Write the tokenizer.json of a `kind`, and a tokenizer_config.json where there is a class."""
    folder.mkdir()
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    if kind == "metaspace":
        backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    else:
        backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        backend.normalizer = normalizers.Lowercase()
    alphabet = [] if kind == "metaspace" else pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(text, trainer)
    backend.save(str(folder / "tokenizer.json"))
    if class_name:
        names = {"tokenizer_class": class_name, "eos_token": "</s>", "unk_token": "<unk>"}
        (folder / "tokenizer_config.json").write_text(json.dumps(names))
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", "eos_token_id": 1}))
    return folder


def write_chinese(folder: Path, **names: object) -> Path:
    """Write BERT's vocabulary, a character a token, as Chinese GPT-2s have it."""
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(set("".join(TALK))), "ok", "2"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": True} | names
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    # What the library writes for a configuration that names no end: no id of this vocabulary.
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", "eos_token_id": 50256}))
    return folder


@pytest.mark.parametrize("class_name", ["GPT2Tokenizer", "PreTrainedTokenizerFast", None])
@pytest.mark.parametrize("kind", ["metaspace", "lower"])
def test_ids_and_end_are_those_of_the_file(tmp_path: Path, capsys, kind: str, class_name: str | None) -> None:
    folder = write_model(tmp_path / "base", kind, class_name)
    tokenizer = load_tokenizer(str(folder))
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.eos_token == "</s>"
    assert len(tokenizer) == own.get_vocab_size() + len(SPECIAL_TOKENS)  # no end token was added
    tokenizer.save_pretrained(tmp_path / "saved")
    again = AutoTokenizer.from_pretrained(tmp_path / "saved")
    for text in TEXT:
        ids = own.encode(text, add_special_tokens=False).ids
        encoder = Encoder(tokenizer)
        assert encoder.texts([text]) == [ids]
        assert again.encode(text, add_special_tokens=False) == ids
        assert encoder.decode_reply(ids) == (text.lower() if kind == "lower" else text)
    small = "capital letters become small"
    lost = "lost: Latin letters with accents, Greek, Cyrillic, Arabic, Hindi, Thai, Chinese, Japanese, Korean, emoji"
    expected = {"lower": small, "metaspace": lost}[kind]
    line = f"warning: {folder}: its tokenizer does not give all text back ({expected})\n"
    assert capsys.readouterr().err == line


def test_a_tokenizer_of_the_librarys_own_kind_keeps_its_class(base: Path) -> None:
    assert type(load_bare_tokenizer(str(base))) is type(AutoTokenizer.from_pretrained(base))


def test_a_tokenizer_that_swallows_capitals_is_refused_with_a_way_on(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "base", "metaspace", "GPT2Tokenizer", [text.lower() for text in TEXT])
    with pytest.raises(UserError, match="'Hello There , You !' comes back as 'ello here , ou !'") as raised:
        load_tokenizer(str(folder))
    # What the line advises works.
    assert '"normalizer": {"type": "Lowercase"}' in str(raised.value)
    content = json.loads((folder / "tokenizer.json").read_text()) | {"normalizer": {"type": "Lowercase"}}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    encoder = Encoder(load_tokenizer(str(folder)))
    assert encoder.decode_reply(encoder.texts([TEXT[1]])[0]) == TEXT[1].lower()


def test_a_chinese_base_ends_with_sep_and_replies_without_spaces(tmp_path: Path, capsys) -> None:
    tokenizer = load_tokenizer(str(write_chinese(tmp_path / "base")))
    assert "capital letters, digits" in capsys.readouterr().err  # they are in no word of this vocabulary
    encoder = Encoder(tokenizer)
    assert tokenizer.eos_token == "[SEP]"
    assert encoder.eos == 3
    tokenizer.save_pretrained(tmp_path / "saved")
    for loaded in (
        tokenizer,
        load_bare_tokenizer(str(tmp_path / "saved")),
        AutoTokenizer.from_pretrained(tmp_path / "saved"),
    ):
        encoder = Encoder(loaded)
        for text in [*TALK, TALK[0] + "2" + TALK[1], "ok ok", TALK[0] + "ok ok"]:
            assert encoder.decode_reply([*encoder.texts([text])[0], 3, 6]) == text
        messages = [
            {"role": "system", "content": TALK[1]},
            {"role": "user", "content": TALK[0]},
            {"role": "assistant", "content": TALK[1]},
        ]
        rendered = loaded.apply_chat_template(messages, return_dict=True)["input_ids"]
        facts = encoder.texts([TALK[1]])
        turns = [token for ids in encoder.texts(TALK) for token in [*ids, 3]]
        assert rendered == encoder.prefix(1, facts) + turns


def test_a_space_before_the_first_word_alone_stands_before_each_text_of_a_chat(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "base", "metaspace", "GPT2Tokenizer")
    content = (folder / "tokenizer.json").read_text()
    assert content.count('"prepend_scheme": "always"') == 2  # pre-tokenizer and decoder
    (folder / "tokenizer.json").write_text(content.replace('"prepend_scheme": "always"', '"prepend_scheme": "first"'))
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    load_tokenizer(str(folder)).save_pretrained(tmp_path / "saved")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "saved")
    encoder = Encoder(tokenizer)
    said = [own.encode(text, add_special_tokens=False).ids for text in TEXT]
    assert encoder.texts(TEXT) == said
    messages = [
        {"role": role, "content": text} for role, text in zip(("system", "user", "assistant"), TEXT, strict=True)
    ]
    rendered = tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"]
    assert rendered == encoder.prefix(1, said[:1]) + [token for ids in said[1:] for token in [*ids, encoder.eos]]


def test_a_tokenizer_without_any_end_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "base", "lower", None)
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", "eos_token_id": 50256}))
    with pytest.raises(ModelError, match=r"no usable fast tokenizer with an end token: .*an eos_token"):
        load_tokenizer(str(folder))


def test_a_damaged_tokenizer_is_one_line(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "base", "lower", "GPT2Tokenizer")
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="cannot load its tokenizer") as raised:
        load_tokenizer(str(folder))
    assert "\n" not in str(raised.value)
