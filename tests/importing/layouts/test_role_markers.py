"""Text with a language model's markers."""

from __future__ import annotations

import csv
import io
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.importing.helpers import check, json_lines, layout, read, same

CHATML = """\
<|im_start|>system
i keep bees .
i row .<|im_end|>
<|im_start|>user
hi !<|im_end|>
<|im_start|>assistant
ho
!<|im_end|>
"""
FORMS = {
    "chatml": ("<|im_start|>user\n{}<|im_end|>\n", "<|im_start|>assistant\n{}<|im_end|>\n"),
    "hashes": ("### Human: {}\n", "### Assistant: {}\n"),
    "apart": ("### Instruction:\n{}\n\n", "### Response:\n{}\n\n"),
    "zephyr": ("<|user|>\n{}</s>\n", "<|assistant|>\n{}</s>\n"),
    "llama 3": (
        "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n{}<|eot_id|>",
    ),
    "gemma": ("<start_of_turn>user\n{}<end_of_turn>\n", "<start_of_turn>model\n{}<end_of_turn>\n"),
    "llama 2": ("<s>[INST] {} [/INST]", " {} </s>"),
    "guanaco": ("### Human: {}", "### Assistant: {}"),
}


def written(form: str, said: list[str]) -> str:
    return "".join(FORMS[form][number % 2].format(text) for number, text in enumerate(said))


@pytest.mark.parametrize("form", FORMS)
def test_a_talk_of_each_form(form: str) -> None:
    text = written(form, ["hi !", "ho !", "who is it ?", "me ."])
    for content in (text, [{"text": text}], json_lines({"text": text})):
        assert layout(content) == "role-markers"
        assert same(read(content)[0], ([], []), ["hi !", "ho !", "who is it ?", "me ."])


def test_the_system_message_is_the_persona() -> None:
    assert layout(CHATML * 2) == "role-markers"
    dialogues = read(CHATML * 2)
    assert len(dialogues) == 2
    assert all(same(dialogue, ([], ["i keep bees .", "i row ."]), ["hi !", "ho !"]) for dialogue in dialogues)
    llama = "<s>[INST] <<SYS>>\ni keep bees .\n<</SYS>>\n\nhi ! [/INST] ho ! </s><s>[INST] a [/INST] b </s>"
    dialogues = read(llama * 2)
    assert len(dialogues) == 2
    assert all(same(dialogue, ([], ["i keep bees ."]), ["hi !", "ho !", "a", "b"]) for dialogue in dialogues)
    vicuna = [{"text": "i keep bees .### Human: hi !### Assistant: ho !"}]
    assert same(read(vicuna)[0], ([], ["i keep bees ."]), ["hi !", "ho !"])


@pytest.mark.parametrize(
    ("form", "between"),
    [
        ("chatml", "<|endoftext|>\n"), ("chatml", "\n"), ("hashes", "\n"), ("hashes", "<|endoftext|>"),
        ("zephyr", "\n"),
        ("llama 2", "\n"), ("guanaco", "\n"), ("guanaco", "\n\n"), ("gemma", "<eos>\n<bos>"),
        ("apart", "<|endoftext|>\n"),
        ("llama 3", "<|end_of_text|><|begin_of_text|>"),
    ],
)  # fmt: skip
def test_what_stands_between_talks(form: str, between: str) -> None:
    text = between.join(written(form, said) for said in (["a", "b", "c", "d"], ["e", "f"]))
    assert layout(text) == "role-markers"
    first, second = read(text)
    assert (first.utterances, second.utterances) == (["a", "b", "c", "d"], ["e", "f"])


def test_a_table() -> None:
    file = io.StringIO()
    csv.writer(file).writerows(
        [["id", "text"], [1, written("hashes", ["a, b", "c"])], [2, written("hashes", ["d", "e"])]]
    )
    assert layout(file.getvalue()) == "role-markers"
    assert [dialogue.utterances for dialogue in read(file.getvalue())] == [["a, b", "c"], ["d", "e"]]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<|user|>\nhi\n<|system|>\nx\n<|user|>\na\n<|assistant|>\nb", "line 1: message 2 has the role 'system'"),
        ("\n<|im_start|>user\nhi<|im_end|><|im_start|>judge\nno<|im_end|>", "line 2: message 2 has the role 'judge'"),
        (
            "<|user|>a<|assistant|>b<|endoftext|>\nfree text",
            "line 2: expected a marker such as <|user|> in 'free text'",
        ),
    ],
)
def test_a_talk_that_is_none(text: str, reason: str) -> None:
    assert any(isinstance(line, str) and line.startswith(reason) for line in read(text))


def test_a_heading_is_no_marker() -> None:
    assert layout("### Scene 1\nAnn: hi\nBen: ho") == "plain"


PIECES = st.sampled_from(
    [part for form in FORMS.values() for part in form] + ["<|endoftext|>", "\n", "<<SYS>>", "###", "a"]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES | st.text(max_size=8), max_size=10))
def test_any_text_gives_dialogues_or_one_line(pieces: list[str]) -> None:
    check("".join(pieces).encode())
    check("".join(pieces).encode(), "role-markers")
    check(json_lines({"text": "".join(pieces)}).encode(), "role-markers")


SAID = st.lists(st.text("abc \u00e9\U0001f600.!?", min_size=1).map(str.strip).filter(bool), min_size=1, max_size=6)


@given(st.sampled_from(list(FORMS)), SAID, SAID)
def test_what_was_said_comes_back(form: str, questions: list[str], answers: list[str]) -> None:
    said = [text for pair in zip(questions, answers, strict=False) for text in pair]
    assert same(read(written(form, said), "role-markers")[0], ([], []), said)


def test_a_preference_keeps_the_chosen_talk() -> None:
    talk = "\n\nHuman: hi\n\nAssistant: {}"
    record = {"chosen": talk.format("hello\n\nthere"), "rejected": talk.format("go away")}
    left_out: Counter[str] = Counter()
    assert layout([record]) == "role-markers"
    assert read([record], left_out=left_out)[0].utterances == ["hi", "hello there"]
    assert +left_out == {"rejected talks": 1}
