"""preference_tensors.py: the sequences of preferences, and tensors that are none."""

from dataclasses import replace

import numpy as np
import pytest

from personagpt.errors import UserError
from personagpt.files import file_checksum
from personagpt.records.export import export
from personagpt.sequences.dataset import open_tensors, tensor_metadata
from personagpt.sequences.format import DataError, Encoder
from personagpt.sequences.preference_tensors import PreferenceData, collate_branches, encode_preferences
from personagpt.sequences.preferences import read_preferences
from tests.records.making import make_talk
from tests.sequences.pairs import messages, pair, said, written


def test_what_an_export_writes_is_read(tmp_path, tokenizer) -> None:
    talk = make_talk("hi", "bad", "and ?", "worse", flags=((3, "other"),), persona=["i ski .", "i sing ."])
    talk.turns[1] = talk.turns[1].instead("good", corrected=True)
    export([talk], tmp_path, False)
    both = tmp_path / "both.jsonl"
    both.write_text("".join((tmp_path / f"{name}.jsonl").read_text() for name in ("preferences", "feedback")))
    items, encoder = read_preferences(both), Encoder(tokenizer)
    tensors, held_back = encode_preferences(items, encoder, 100, "both.jsonl")
    decoded = [
        encoder.decode(tensors.tokens[start:end].tolist())
        for start, end in zip(tensors.offsets, tensors.offsets[1:], strict=False)
    ]
    facts = ["i ski .", "i sing ."]
    assert decoded == [
        (1, facts, ["hi", "good"]),
        (1, facts, ["hi", "bad"]),
        (1, facts, ["hi", "good", "and ?", "worse"]),
    ]
    replies = [encoder.decode_reply(tensors.tokens[start:end].tolist()) for start, end in tensors.responses]
    assert replies == ["good", "bad", "worse"]
    assert (tensors.dialogues.tolist(), held_back) == ([0, 0, 1], 0)


def test_a_goal_and_a_first_utterance(tmp_path, tokenizer) -> None:
    path = written(tmp_path, pair(prompt=messages(persona=""), goal="ask about pets."))
    encoder = Encoder(tokenizer)
    tensors, _ = encode_preferences(read_preferences(path), encoder, 100, str(path))
    prefix = encoder.prefix(0, [], "ask about pets.")
    assert tensors.tokens[: len(prefix)].tolist() == prefix


def test_the_context_is_the_same_and_the_oldest_utterances_go(tmp_path, tokenizer) -> None:
    path = written(tmp_path, pair(prompt=messages("one " * 20, "two", "three"), rejected=said("a much longer reply")))
    encoder = Encoder(tokenizer)
    whole, _ = encode_preferences(read_preferences(path), encoder, 320, str(path))
    longest = int(max(whole.offsets[1:] - whole.offsets[:-1]))
    cut, _ = encode_preferences(read_preferences(path), encoder, longest - 1, str(path))
    middle = cut.offsets[1]
    assert encoder.decode(cut.tokens[:middle].tolist())[2] == ["two", "three", "good"]
    assert encoder.decode(cut.tokens[middle:].tolist())[2] == ["two", "three", "a much longer reply"]
    reply = len(encoder.texts(["a much longer reply"])[0]) + 1
    for context_length in (reply + 2, reply - 1):  # too small for the context, and for the reply alone
        expected = (
            rf"preferences.jsonl:1: beside a reply of {reply} tokens, the persona \(\d+ tokens\) and the last "
            rf"utterance do not fit into {max(0, context_length - reply)} tokens: shorten them"
        )
        with pytest.raises(UserError, match=expected):
            encode_preferences(read_preferences(path), encoder, context_length, str(path))


def test_held_back_pairs_come_last(tmp_path, tokenizer) -> None:
    lines = [pair(prompt=messages("hi", persona=f"i am number {number % 20} .")) for number in range(40)]
    items = read_preferences(written(tmp_path, *lines))
    encoder = Encoder(tokenizer)
    tensors, held_back = encode_preferences(items, encoder, 100, "x")
    assert (held_back, tensors.dialogues.tolist()) == (4, [number // 2 for number in range(80)])
    facts = [encoder.decode(tensors.tokens[start:].tolist())[1] for start in tensors.offsets[72:80:2]]
    assert facts == [["i am number 9 ."], ["i am number 19 ."]] * 2


def test_tensors_of_another_file_and_tensors_that_are_no_preferences(tmp_path, tokenizer) -> None:
    file, path = written(tmp_path, pair(), pair(rejected=said("worse"))), tmp_path / "p.safetensors"
    tensors, held_back = encode_preferences(read_preferences(file), Encoder(tokenizer), 100, str(file))
    metadata = tensor_metadata(file_checksum(file), tokenizer, 20, 100) | {"held_back": str(held_back)}
    tensors.save(path, metadata)
    data = PreferenceData(open_tensors(path, file, tokenizer, 20, 100))
    assert (len(data), data.trained, data.starts.tolist(), data.sizes.tolist()) == (2, 2, [0, 2], [2, 2])
    assert data.lengths().tolist() == [max(data.dataset.lengths[:2]), max(data.dataset.lengths[2:])]
    for damaged, changes in (
        (replace(tensors, dialogues=np.array([0, 0, 0, 0])), {}),
        (replace(tensors, dialogues=np.array([0, 0, 1, 9])), {}),
        (tensors, {"held_back": "2"}),
        (tensors, {"held_back": "-1"}),
    ):
        damaged.save(path, metadata | changes)
        with pytest.raises(DataError, match="not of preferences"):
            PreferenceData(open_tensors(path, file, tokenizer, 20, 100))
    tensors.save(path, metadata)
    written(tmp_path, pair())
    with pytest.raises(DataError, match=r"made from another text than .*preferences.jsonl; run preprocess_dataset.py"):
        PreferenceData(open_tensors(path, file, tokenizer, 20, 100))


def test_the_replies_of_a_pair_follow_their_context_in_one_row() -> None:
    """9 ends a reply. A pair after the context 1 2 3, and a reply alone after the context 1."""
    written_out = [([1, 2, 3, 4, 5, 9], (3, 6)), ([1, 2, 3, 6, 9], (3, 5)), ([1, 7, 9], (1, 3))]
    batch = collate_branches([(np.array(tokens), np.array([span])) for tokens, span in written_out], pairs=1)
    assert batch.input_ids.tolist() == [[1, 2, 3, 4, 5, 6], [1, 7, 0, 0, 0, 0]]
    assert batch.branches.tolist() == [[0, 0, 0, 1, 1, 2], [0, 1, 0, 0, 0, 0]]
    assert batch.label_index.tolist() == [2, 3, 4, 2, 5, 6, 7]
    assert batch.targets.tolist() == [4, 5, 9, 6, 9, 7, 9]
