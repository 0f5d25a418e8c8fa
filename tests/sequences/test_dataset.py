"""The tensor file: its dataset, and every kind of damage that must not get past it."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from transformers import AutoTokenizer

from personagpt.errors import UserError
from personagpt.files import file_checksum
from personagpt.sequences import dataset
from personagpt.sequences.dataset import PersonaChatDataset, encode_corpus, open_tensors, tensor_metadata
from personagpt.sequences.format import DataError, Encoder, add_special_tokens, tokenizer_checksum
from personagpt.sequences.goals import Goal, GoalDraw, goals_checksum
from personagpt.settings import TEXT_NAMES
from personagpt.text.convai2 import parse_corpus, read_corpus
from personagpt.text.lines import TextError
from personagpt.text.style import Style, Writing
from tests.helpers import METADATA, VALID


def test_the_dataset_by_hand(tmp_path) -> None:
    VALID.save(tmp_path / "t.safetensors", METADATA)
    dataset = PersonaChatDataset(tmp_path / "t.safetensors")
    assert len(dataset) == 2
    assert dataset.lengths.tolist() == [5, 4]
    assert dataset.label_tokens.tolist() == [3, 2]
    items = [{name: tensor.tolist() for name, tensor in item.items()} for item in dataset]
    assert items == [
        {"input_ids": [5, 6, 7, 8, 9], "labels": [-100, 6, -100, 8, 9]},
        {"input_ids": [5, 6, 7, 8], "labels": [-100, -100, 7, 8]},
    ]
    assert {tensor.dtype for tensor in dataset[0].values()} == {torch.int64}
    assert dataset[-1]["input_ids"].tolist() == dataset[1]["input_ids"].tolist()
    for index in (2, -3):
        with pytest.raises(IndexError, match=f"sequence {index} of 2"):
            dataset[index]
    # What is handed out is a copy: nobody changes the data by changing a batch.
    dataset[0]["input_ids"][0] = 0
    assert dataset[0]["input_ids"][0] == 5


def test_the_dataset_keeps_file_order_first_speaker_first(encoder, tmp_path) -> None:
    text = b"1 your persona: b.\n2 partner's persona: a.\n3 hi\thello\n1 __SILENCE__\tnow\n2 what\tthis\n"
    tensors = encode_corpus(parse_corpus(text, "t"), encoder, 20, 320, "t")
    tensors.save(tmp_path / "t", METADATA | {"vocabulary": str(len(encoder.tokenizer)), "context": "320"})
    dataset = PersonaChatDataset(tmp_path / "t")
    assert [encoder.decode(item["input_ids"].tolist()) for item in dataset] == [
        (0, ["a."], ["hi"]),
        (1, ["b."], ["hi", "hello"]),
        (0, [], ["now", "what", "this"]),
        (1, [], ["now", "what"]),
    ]
    assert dataset.tensors.dialogues.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"tokens": [5, 6, 7, 8, 10, 5, 6, 7, 8]}, "a token outside the vocabulary of 10"),
        ({"tokens": [5, 6, 7, 8, -1, 5, 6, 7, 8]}, "a token outside the vocabulary of 10"),
        ({"tokens": VALID.tokens.astype(np.int64)}, "tokens has the wrong type"),
        ({"tokens": VALID.tokens.astype(np.float32)}, "tokens has the wrong type"),
        ({"tokens": VALID.tokens[None]}, "tokens has the wrong shape"),
        ({"tokens": VALID.tokens[:0]}, "offsets out of range"),
        ({"offsets": [0, 5, 8]}, "offsets out of range"),
        ({"offsets": [0, 5, 10]}, "offsets out of range"),
        ({"offsets": [1, 5, 9]}, "offsets out of range"),
        ({"offsets": [0, 0, 9]}, "offsets out of order"),
        ({"offsets": [0, 3, 9]}, "a sequence is longer than the context of 5"),
        ({"offsets": [0, -(2**62), 9]}, "offsets out of order"),
        ({"offsets": [0, 2**62, 9]}, "offsets out of order"),
        ({"offsets": [0, 9]}, "the numbers of sequences differ"),
        ({"offsets": VALID.offsets.astype(np.int32)}, "offsets has the wrong type"),
        ({"response_offsets": [0, 3]}, "the numbers of sequences differ"),
        ({"response_offsets": [0, 0, 3]}, "response_offsets out of order"),
        ({"response_offsets": [0, 4, 3]}, "response_offsets out of order"),
        ({"response_offsets": [0, 2, 4]}, "response_offsets out of range"),
        ({"response_offsets": [0, 1, 3]}, "a response outside its sequence"),
        ({"responses": [[1, 2], [3, 6], [7, 9]]}, "a response outside its sequence"),
        ({"responses": [[1, 2], [3, 5], [5, 9]]}, "a response outside its sequence"),
        ({"responses": [[0, 2], [3, 5], [7, 9]]}, "a response outside its sequence"),
        ({"responses": [[1, 2], [3, 5], [7, 10]]}, "a response outside its sequence"),
        ({"responses": [[1, 2], [3, 5], [8, 8]]}, "responses out of order"),
        ({"responses": [[1, 4], [3, 5], [7, 9]]}, "responses out of order"),
        ({"responses": [[3, 5], [1, 2], [7, 9]]}, "responses out of order"),
        ({"responses": [[-(2**63), 2], [3, 5], [7, 9]]}, "a response outside its sequence"),
        ({"responses": [[1, 2], [3, 5], [7, 2**63 - 1]]}, "a response outside its sequence"),
        ({"responses": [[1, 2, 3], [3, 5, 6], [7, 9, 9]]}, "responses has the wrong shape"),
        ({"responses": [1, 2, 3, 5, 7, 9]}, "responses has the wrong shape"),
        ({"dialogues": [1, 0]}, "dialogues out of order"),
        ({"dialogues": [-1, 0]}, "dialogues out of order"),
        ({"dialogues": [0, 0, 0]}, "the numbers of sequences differ"),
        ({"dialogues": np.empty(0, np.int64)}, "the numbers of sequences differ"),
        ({"dialogues": np.empty(0, np.int64), "offsets": [0], "response_offsets": [0], "tokens": VALID.tokens[:0],
          "responses": np.empty((0, 2), np.int64)}, "the numbers of sequences differ"),
    ],
)  # fmt: skip
def test_damaged_arrays(tmp_path, changed, what) -> None:
    path = tmp_path / "t.safetensors"
    dtypes = {"tokens": np.int32}
    arrays = {
        name: array if isinstance(array, np.ndarray) else np.array(array, dtypes.get(name, np.int64))
        for name, array in changed.items()
    }
    path.write_bytes(save(vars(replace(VALID, **arrays)), METADATA))
    with pytest.raises(DataError) as caught:
        PersonaChatDataset(path)
    assert str(caught.value) == f"{path}: damaged tensors ({what}); run preprocess_dataset.py again"


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"offsets": [0, 3, 6, 9], "responses": [[1, 3], [4, 6], [7, 9]], "response_offsets": [0, 1, 2, 3],
          "dialogues": [0, 2, 1]}, "dialogues out of order"),
        ({"offsets": [0, 9], "responses": [[1, 2], [3, 5], [4, 6]], "response_offsets": [0, 3], "dialogues": [0]},
         "responses out of order"),
    ],
)  # fmt: skip
def test_every_two_neighbours_are_in_order(tmp_path, changed, what) -> None:
    replace(VALID, **{name: np.array(array) for name, array in changed.items()}).save(
        tmp_path / "t", METADATA | {"context": "9"}
    )
    with pytest.raises(DataError, match=what):
        PersonaChatDataset(tmp_path / "t")


@pytest.mark.parametrize(
    ("metadata", "what"),
    [
        ({}, "'vocabulary'"),
        ({"vocabulary": "10"}, "'context'"),
        ({"vocabulary": "ten", "context": "5"}, "invalid literal"),
        ({"vocabulary": "10", "context": ""}, "invalid literal"),
        ({"vocabulary": "10", "context": "1e9"}, "invalid literal"),
        ({"vocabulary": "9", "context": "5"}, "a token outside the vocabulary of 9"),
        ({"vocabulary": "-1", "context": "5"}, "a token outside the vocabulary of -1"),
        ({"vocabulary": "10", "context": "4"}, "a sequence is longer than the context of 4"),
        ({"vocabulary": "9" * 5000, "context": "5"}, "Exceeds the limit"),
    ],
)
def test_damaged_metadata(tmp_path, metadata, what) -> None:
    VALID.save(tmp_path / "t.safetensors", metadata)
    with pytest.raises(DataError) as caught:
        PersonaChatDataset(tmp_path / "t.safetensors")
    assert f"damaged tensors ({what}" in str(caught.value)


def valid_bytes(tmp_path) -> bytes:
    VALID.save(tmp_path / "valid", METADATA)
    return (tmp_path / "valid").read_bytes()


def with_header(data: bytes, change) -> bytes:
    """The safetensors file `data` with its JSON header changed."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    change(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[end:]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:7],
        lambda data: data[:100],
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: bytes(8) + data[8:],
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: data.replace(b'"tokens"', b'"tokenz"'),
        lambda data: b"1 your persona: i am a text.\n" * 20,
        lambda data: pickle.dumps({"tokens": [1, 2, 3]}, protocol=2),
        lambda data: with_header(data, lambda header: header.pop("offsets")),
        lambda data: with_header(data, lambda header: header["tokens"].update(dtype="BF16", shape=[18])),
        lambda data: with_header(data, lambda header: header["dialogues"].update(dtype="F8_E4M3", shape=[16])),
        lambda data: with_header(data, lambda header: header["tokens"].update(dtype="NO")),
        lambda data: with_header(
            data, lambda header: header["tokens"].update(data_offsets=[0, 10**15], shape=[10**14])
        ),
    ],
)  # fmt: skip
def test_a_file_that_is_none_of_ours(tmp_path, damage) -> None:
    path = tmp_path / "t.safetensors"
    path.write_bytes(damage(valid_bytes(tmp_path)))
    with pytest.raises(DataError) as caught:
        PersonaChatDataset(path)
    assert str(caught.value).startswith(f"{path}: not a tensor file of ours (")
    assert str(caught.value).endswith("; run preprocess_dataset.py again")
    assert "\n" not in str(caught.value)


def test_the_library_s_reason_is_told(tmp_path) -> None:
    (tmp_path / "t").write_bytes(b"x")
    with pytest.raises(DataError, match=r"not a tensor file of ours \(Error while deserializing header: "):
        PersonaChatDataset(tmp_path / "t")


def test_a_missing_file_says_what_makes_it(tmp_path) -> None:
    for path in (tmp_path / "no", tmp_path):
        with pytest.raises(UserError) as caught:
            PersonaChatDataset(path)
        assert str(caught.value) == f"{path}: no such file; first run `preprocess_dataset.py`"


def test_a_full_disk_while_saving_is_an_os_error(tmp_path) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            VALID.save(tmp_path / "t.safetensors", METADATA)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


TALK = b"1 your persona: i sing.\n2 hi !\thello .\n"


def test_what_a_tensor_file_says_of_itself(tokenizer) -> None:
    plain = {
        "tokenizer_sha256": tokenizer_checksum(tokenizer),
        "vocabulary": str(len(tokenizer)),
        "context": "320",
        "max_turns": "20",
        "text_sha256": "c0ffee",
    }
    assert tensor_metadata("c0ffee", tokenizer, 20, 320) == plain
    goals = [Goal("sing.", False, frozenset({"sing"}))]
    assert tensor_metadata("c0ffee", tokenizer, 20, 320, goals) == plain | {"goals_sha256": goals_checksum(goals)}
    style = Style(Writing(1.0, None, 0.5), Writing(0.0, 1.0, 0.25), 5, 20)
    with_style = tensor_metadata("c0ffee", tokenizer, 20, 320, style=style)
    assert with_style == plain | {"style": json.dumps(style.plain())}


def test_a_text_s_style_comes_back(tmp_path) -> None:
    path, style = tmp_path / "t", Style(Writing(1.0, None, 0.5), Writing(0.0, 1.0, 0.25), 5, 20)
    VALID.save(path, METADATA | {"style": json.dumps(style.plain())})
    assert PersonaChatDataset(path).style == style
    VALID.save(path, METADATA)
    assert PersonaChatDataset(path).style is None
    VALID.save(path, METADATA | {"style": "{}"})
    with pytest.raises(DataError, match=r"damaged tensors \('facts'\); run"):
        PersonaChatDataset(path)
    made = PersonaChatDataset.from_tensors(VALID, 5)
    assert (made.metadata, made.style) == ({"context": "5", "text_sha256": ""}, None)


def test_tensors_of_other_settings_are_refused(tokenizer, encoder, tmp_path) -> None:
    path, text = tmp_path / "t.safetensors", tmp_path / "t.txt"
    text.write_bytes(TALK)
    metadata = {
        "text_sha256": file_checksum(text),
        "tokenizer_sha256": tokenizer_checksum(tokenizer),
        "vocabulary": str(len(tokenizer)),
        "context": "320",
        "max_turns": "20",
    }

    def refused(**changes: str | None) -> str:
        kept = {key: value for key, value in (metadata | changes).items() if value is not None}
        encode_corpus(parse_corpus(TALK, "t"), encoder, 20, 320, "t").save(path, kept)
        with pytest.raises(DataError) as caught:
            open_tensors(path, text, tokenizer, 20, 320)
        return str(caught.value)

    again = "; run preprocess_dataset.py with these settings again"
    assert refused(text_sha256="0") == f"{path}: made from another text than {text}{again}"
    assert refused(text_sha256=None) == f"{path}: made from another text than {text}{again}"
    assert refused(tokenizer_sha256="0") == f"{path}: made with another tokenizer than model_name's{again}"
    assert refused(vocabulary="100000") == f"{path}: made for another vocabulary than model_name's{again}"
    for made in ("640", "160"):  # of fewer tokens, too: responses were cut apart that fit together
        assert refused(context=made) == f"{path}: made for a context of {made} tokens, model_name's is 320{again}"
    assert refused(max_turns="8") == f"{path}: made with max_turns = 8, not 20{again}"
    assert refused(goals_sha256="0") == f"{path}: made with goals, but none are set{again}"
    encode_corpus(parse_corpus(TALK, "t"), encoder, 20, 320, "t").save(path, metadata)
    goals = [Goal("sing.", False, frozenset({"hello"}))]
    with pytest.raises(DataError, match="made without these goals; run"):
        open_tensors(path, text, tokenizer, 20, 320, goals)
    encode_corpus(parse_corpus(TALK, "t"), encoder, 20, 320, "t").save(path, metadata | {"goals_sha256": "0"})
    with pytest.raises(DataError, match="made without these goals; run"):
        open_tensors(path, text, tokenizer, 20, 320, goals)
    encode_corpus(parse_corpus(TALK, "t"), encoder, 20, 320, "t").save(path, metadata)
    assert len(open_tensors(path, text, tokenizer, 20, 320)) == 1
    # Without the text, which need not travel with the tensors, nothing is compared to it.
    text.unlink()
    assert len(open_tensors(path, text, tokenizer, 20, 320)) == 1


def test_the_tokenizers_checksum_sees_what_changes_ids(base, tokenizer) -> None:
    bare = AutoTokenizer.from_pretrained(base)
    assert tokenizer_checksum(bare) != tokenizer_checksum(tokenizer)
    assert tokenizer_checksum(add_special_tokens(bare)) == tokenizer_checksum(tokenizer)
    bare.add_tokens(["dog"])
    assert tokenizer_checksum(bare) != tokenizer_checksum(tokenizer)


@pytest.mark.parametrize(
    "change",
    [
        lambda parts: parts.update(normalizer={"type": "Lowercase"}),
        lambda parts: parts["model"].update(ignore_merges=True),
        lambda parts: parts["model"].update(unk_token="<|endoftext|>"),
        lambda parts: parts["pre_tokenizer"].update(add_prefix_space=True),
        lambda parts: parts["added_tokens"][-1].update(rstrip=True),
        lambda parts: parts["added_tokens"][-1].update(special=True),
    ],
)
def test_the_tokenizers_checksum_sees_how_a_text_is_changed_and_split(tokenizer, change) -> None:
    made = copy.deepcopy(tokenizer)
    made.add_tokens(["dog"])
    before, parts = tokenizer_checksum(made), json.loads(made.backend_tokenizer.to_str())
    change(parts)
    made._tokenizer = type(made.backend_tokenizer).from_str(json.dumps(parts))
    assert tokenizer_checksum(made) != before


def test_tensors_made_before_stay_valid(tokenizer) -> None:
    # The checksum that the first tensor files had, which saw no normalizer: GPT-2's has none.
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    seen = [parts["model"]["merges"], sorted(tokenizer.get_vocab().items()), parts["pre_tokenizer"]]
    assert tokenizer_checksum(tokenizer) == hashlib.sha256(json.dumps(seen).encode()).hexdigest()
    # What came later joins under these names.
    made = copy.deepcopy(tokenizer)
    made.add_tokens(["dog"])
    parts = json.loads(made.backend_tokenizer.to_str()) | {"normalizer": {"type": "Lowercase"}}
    made._tokenizer = type(made.backend_tokenizer).from_str(json.dumps(parts))
    more = {"normalizer": {"type": "Lowercase"}, "added": parts["added_tokens"][-1:]}
    seen = [seen[0], sorted(made.get_vocab().items()), seen[2], more]
    assert tokenizer_checksum(made) == hashlib.sha256(json.dumps(seen).encode()).hexdigest()


@pytest.mark.parametrize(
    "which", ["", "speaker", "late speaker", "two speakers", "act", "speaker after act", "start", "late start", "eos"]
)
def test_sequences_that_are_not_of_the_format_are_refused(tokenizer, tmp_path, which) -> None:
    # Every number is in range, but evaluation would stumble over it hours later.
    text, path, encoder = tmp_path / "t.txt", tmp_path / "t.safetensors", Encoder(tokenizer)
    text.write_bytes(TALK)
    goals = [Goal("say hello.", False, frozenset({"hello"}))]
    corpus = parse_corpus(TALK, "t")
    tensors = encode_corpus(corpus, encoder, 20, 320, "t", GoalDraw(goals, {goals[0].text: 1}, 0))
    second = tensors.offsets[1]  # where the sequence with a goal starts
    speaker, start = encoder.speakers[1], int(np.argmax(tensors.tokens == encoder.start))
    changes = {
        "": {},
        "speaker": {0: 5},
        "late speaker": {0: 5, 1: speaker},
        "two speakers": {2: speaker},
        "act": {second: 5},
        "speaker after act": {second + tensors.tokens[second:].tolist().index(speaker): 5},
        "start": {start: 5},
        "late start": {start: 5, tensors.responses[0, 0]: encoder.start},
        "eos": {tensors.responses[0, 1] - 1: 5},
    }
    for place, token in changes[which].items():
        tensors.tokens[place] = token
    tensors.save(path, tensor_metadata(file_checksum(text), tokenizer, 20, 320, goals))
    if not which:
        assert len(open_tensors(path, text, tokenizer, 20, 320, goals)) == 2
        return
    with pytest.raises(DataError, match=r"damaged tensors \(not this format's sequences\); run preprocess"):
        open_tensors(path, text, tokenizer, 20, 320, goals)


def test_a_response_that_cannot_fit_is_named_by_its_line(encoder) -> None:
    corpus = parse_corpus(b"1 your persona: a\n2 b\tc\n3 d\te f g h i j k l m n o p q r s t u v w x y z\n", "t.txt")
    with pytest.raises(TextError) as caught:
        encode_corpus(corpus, encoder, 20, 12, "t.txt")
    assert str(caught.value) == (
        "t.txt:3: the speaker's persona and this utterance alone exceed the model's context of 12 tokens: shorten them"
    )


def test_texts_longer_than_a_batch_of_dialogues_stay_in_order(tokenizer, monkeypatch) -> None:
    text = "".join(f"1 your persona: fact {n % 7}.\n2 line {n}\tanswer {n}\n" for n in range(25)).encode()
    whole = encode_corpus(parse_corpus(text, "t"), Encoder(tokenizer), 20, 320, "t")
    for setting, value in (("DIALOGUES_PER_BATCH", 4), ("MOST_KNOWN_FACTS", 3)):
        monkeypatch.setattr(dataset, setting, value)
        in_batches = encode_corpus(parse_corpus(text, "t"), Encoder(tokenizer), 20, 320, "t")
        for name, array in vars(whole).items():
            assert np.array_equal(array, vars(in_batches)[name])
            assert array.dtype == vars(in_batches)[name].dtype
    assert whole.dialogues.tolist() == list(range(25))


def test_a_small_context_labels_every_response_once(sample, tokenizer, tmp_path) -> None:
    corpus = read_corpus(sample / TEXT_NAMES["valid"])
    tensors = encode_corpus(corpus, Encoder(tokenizer), 20, 100, "t")
    whole = encode_corpus(corpus, Encoder(tokenizer), 20, 320, "t")
    assert len(tensors.dialogues) > len(whole.dialogues)

    def responses(made) -> list[list[int]]:
        return [made.tokens[start:end].tolist() for start, end in made.responses]

    assert responses(tensors) == responses(whole)
    tensors.save(tmp_path / "t", {"vocabulary": str(len(tokenizer)), "context": "100"})
    assert PersonaChatDataset(tmp_path / "t").lengths.max() <= 100


def test_sequences_are_counted_from_the_end_too() -> None:
    dataset = PersonaChatDataset.from_tensors(VALID, 5)
    assert dataset.sequence(-2)[0].tolist() == dataset.sequence(0)[0].tolist() == [5, 6, 7, 8, 9]
    for index in (-3, 2):
        with pytest.raises(IndexError):
            dataset.sequence(index)
