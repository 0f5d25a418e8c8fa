"""Malformed texts, settings and tensors: each has its one line, and no bytes at all bring a traceback."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from personagpt.errors import UserError
from personagpt.sequences.dataset import PersonaChatDataset, encode_corpus
from personagpt.sequences.format import DataError, Encoder
from personagpt.settings import VALUE_TYPES, read_settings
from personagpt.text.convai2 import Corpus, Dialogue, TextError, is_writable, parse_corpus, write_corpus
from tests.helpers import METADATA, NINE_LINES, VALID

ORDER = "number {} is out of order; expected {}, or 1 to start a dialogue"
NEITHER = "is neither a folder nor a hub name such as microsoft/DialoGPT-medium"
EXPECTED = "expected a folder or a hub name"
LINE_NUMBER = "no line number; expected `N your persona: FACT` or `N PARTNER<TAB>YOU`, got "
NO_TAB = "no tab; expected `N PARTNER<TAB>YOU`, a tab between the two utterances, got "
NO_PERSONA = (
    "not a persona line; expected `your persona: FACT` or `partner's persona: FACT` (lower case, a straight "
    "apostrophe, a colon and a space), got "
)
BLANK = "a blank line inside a dialogue; remove it"
TABS = "too many tabs; expected `N PARTNER<TAB>YOU` or `N PARTNER<TAB>YOU<TAB><TAB>CANDIDATES`"
LATE = "a persona line after the talk began; expected all persona lines before it"
NO_TALK = "this dialogue has no exchange; expected `N PARTNER<TAB>YOU` lines"
EMPTY_FACT = "an empty fact; expected text after `persona:`"
UTF8 = "byte {} is not UTF-8; save the file as UTF-8"

TEXTS = [
    (b"", ": the file is empty; expected dialogues in the ConvAI2 format (see data/README.md)"),
    (b"\n \r\n\n", ": the file is empty; expected dialogues in the ConvAI2 format (see data/README.md)"),
    (b"\xef\xbb\xbf", ": the file is empty; expected dialogues in the ConvAI2 format (see data/README.md)"),
    (b"1 a\t\n", ": no dialogue is left: each of the 1 has an empty utterance"),
    (b"1 \t\n1 a\t \n", ": no dialogue is left: each of the 2 has an empty utterance"),
    (b"1 a\tb\n2 \xe9\tc\n", ":2: " + UTF8.format("0xe9")),
    (b"\xff\xfe1\0 \0", ":1: " + UTF8.format("0xff")),
    (b"1 a\tb\n1 cut \xf0\x9f\x98", ":2: " + UTF8.format("0xf0")),
    (b"1 a\tb\n2 \xed\xa0\x80\tc\n", ":2: " + UTF8.format("0xed")),
    (b"hello\tthere\n", ":1: " + LINE_NUMBER + r"'hello\tthere'"),
    (b"1\ta\tb\n", ":1: " + LINE_NUMBER + r"'1\ta\tb'"),
    (b" 1 a\tb\n", ":1: " + LINE_NUMBER + r"' 1 a\tb'"),
    (b"-1 a\tb\n", ":1: " + LINE_NUMBER + r"'-1 a\tb'"),
    (b"1. a\tb\n", ":1: " + LINE_NUMBER + r"'1. a\tb'"),
    ("\u0661 a\tb\n".encode(), ":1: " + LINE_NUMBER + "'\u0661 a\\tb'"),
    (b"1 a\tb\n\n2 c\td\n", ":2: " + BLANK),
    (b"1 a\tb\n" + b"9" * 5000 + b" c\td\n", ":2: " + LINE_NUMBER + "'" + "9" * 57 + "...'"),
    (
        b"{'text': 'a json line that is longer than sixty characters, all told'}\n",
        ":1: " + LINE_NUMBER + '"{\'text\': \'a json line that is longer than sixty character..."',
    ),
    (b"\0\0\0\0", ":1: " + LINE_NUMBER + r"'\x00\x00\x00\x00'"),
    (b"\xef\xbb\xbf\xef\xbb\xbf1 a\tb\n", ":1: " + LINE_NUMBER + r"'\ufeff1 a\tb'"),
    (b"2 a\tb\n", ":1: the file starts with number 2; expected 1, which starts a dialogue"),
    (b"0 a\tb\n", ":1: the file starts with number 0; expected 1, which starts a dialogue"),
    (b"1 a\tb\n3 c\td\n", ":2: " + ORDER.format(3, 2)),
    (b"1 a\tb\n2 c\td\n2 e\tf\n", ":3: " + ORDER.format(2, 3)),
    (b"1 a\tb\n0 c\td\n", ":2: " + ORDER.format(0, 2)),
    (b"1 your persona: x\n3 partner's persona: y\n", ":2: " + ORDER.format(3, 2)),
    (b"1 a\tb\n1 c\td\n3 e\tf\n", ":3: " + ORDER.format(3, 2)),
    (b"1 hello there\n", ":1: " + NO_TAB + "'hello there'"),
    (b"1 a\tb\n2\n", ":2: " + NO_TAB + "''"),
    (b"1 a\tb\n2 \n", ":2: " + NO_TAB + "''"),
    (b"1 your persona:x\n2 a\tb\n", ":1: " + NO_PERSONA + "'your persona:x'"),
    (b"1 Your persona: x\n2 a\tb\n", ":1: " + NO_PERSONA + "'Your persona: x'"),
    (b"1  your persona: x\n2 a\tb\n", ":1: " + NO_PERSONA + "' your persona: x'"),
    (b"1 my persona: x\n2 a\tb\n", ":1: " + NO_PERSONA + "'my persona: x'"),
    (b"1 a\tb\tc\n", ":1: " + TABS),
    (b"1 a\tb\n2 a\tb\tc\td\n", ":2: " + TABS),
    (b"1 a\tb\t\tc|d\te\n", ":1: " + TABS),
    (b"1 a\tb\t\t\t\t\n", ":1: " + TABS),
    (b"1 a\tb\n2 your persona: x\n", ":2: " + LATE),
    (b"1 your persona: x\n2 a\tb\n3 partner's persona: y\n", ":3: " + LATE),
    (b"1 a\tb\n2 your persona:\n", ":2: " + LATE),
    (b"1 your persona: \n2 a\tb\n", ":1: " + EMPTY_FACT),
    (b"1 your persona:\n2 a\tb\n", ":1: " + EMPTY_FACT),
    (b"1 your persona: x\n2 partner's persona:   \n3 a\tb\n", ":2: " + EMPTY_FACT),
    (b"1 your persona: x\n", ":1: " + NO_TALK),
    (b"1 your persona: x\n1 your persona: y\n2 a\tb\n", ":1: " + NO_TALK),
    (b"1 a\tb\n1 your persona: x\n2 partner's persona: y\n", ":2: " + NO_TALK),
]  # fmt: skip


@pytest.mark.parametrize(("data", "line"), TEXTS)
def test_malformed_texts(data, line) -> None:
    with pytest.raises(TextError) as caught:
        parse_corpus(data, "t.txt")
    assert str(caught.value) == "t.txt" + line


WHOLE = "a whole number from {} to {}"
VALUES = [
    *((key, value, WHOLE.format(1, 10**9)) for key in ("epochs", "batch_size") for value in ("0", "-1", "1.0", "1e3")),
    *((key, "0", WHOLE.format(1, 10**9)) for key in ("gradient_accumulation_steps", "logging_steps", "save_steps")),
    ("epochs", "1000000001", WHOLE.format(1, 10**9)),
    ("epochs", "9" * 5000, WHOLE.format(1, 10**9)),
    ("epochs", "three", WHOLE.format(1, 10**9)),
    ("epochs", "1 2", WHOLE.format(1, 10**9)),
    ("epochs", "0x10", WHOLE.format(1, 10**9)),
    ("epochs", "1_000", WHOLE.format(1, 10**9)),
    ("epochs", "\u0663", WHOLE.format(1, 10**9)),
    ("epochs", "True", WHOLE.format(1, 10**9)),
    ("max_turns", "0", WHOLE.format(1, 10**9)),
    ("warmup_steps", "-1", WHOLE.format(0, 10**9)),
    ("warmup_steps", "0.1", WHOLE.format(0, 10**9)),
    ("seed", "-1", WHOLE.format(0, 2**32 - 1)),
    ("seed", "4294967296", WHOLE.format(0, 2**32 - 1)),
    *(
        ("learn_rate", value, "a number above 0 and at most 1")
        for value in ("0", "-1e-5", "1.5", "nan", "inf", "5e-5x")
    ),
    ("learn_rate", "1e-9999", "a number above 0 and at most 1"),
    ("learn_rate", "5,0", "a number above 0 and at most 1"),
    *(("weight_decay", value, "a number from 0 to 1") for value in ("-0.1", "1.01", "-inf", "None")),
    *(("max_grad_norm", value, "a number above 0 and at most 1e+09") for value in ("0", "2e9", "off")),
    ("init", "scratch", "one of pretrained, random"),
    ("precision", "fp8", "one of auto, fp32, bf16, fp16, apex-O1, apex-O2"),
    ("precision", "O1", "one of auto, fp32, bf16, fp16, apex-O1, apex-O2"),
    ("compile", "maybe", "one of auto, True, False"),
    ("gradient_checkpointing", "1", "True or False"),
    ("tensorboard", "yes", "True or False"),
    ("save_path", "a\0b", "a path"),
    ("model_name", "a\0b", "a path"),
    ("goals", "a\0b", "a path"),
]


def refusal(data: str | bytes) -> str:
    """The line that settings of these bytes are refused with, without the file's name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ".env"
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        with pytest.raises(UserError) as caught:
            read_settings(path, {})
        message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(path), "").replace(folder, "")


@pytest.mark.parametrize(("key", "value", "allowed"), VALUES, ids=lambda value: str(value)[:30])
def test_values_out_of_range(key, value, allowed) -> None:
    kept = "".join(f"{line}\n" for line in NINE_LINES.splitlines() if not line.startswith(f"{key} ="))
    assert refusal(f"{key} = '{value}'\n{kept}") == f":1: {key} = {value!r} is not allowed; expected {allowed}"


@pytest.mark.parametrize("key", VALUE_TYPES)
@pytest.mark.parametrize(
    "line", ["{} =", "{} = ''", "{} = '  '", "{}", '{} = ""  # comment', "{} = ${{not_set_anywhere}}"]
)
def test_values_that_are_empty(key, line) -> None:
    kept = "".join(f"{other}\n" for other in NINE_LINES.splitlines() if not other.startswith(f"{key} ="))
    assert refusal(f"{line.format(key)}\n{kept}") == f":1: {key} has no value; expected {VALUE_TYPES[key].allowed}"


@pytest.mark.parametrize(
    ("added", "line"),
    [
        ("epochs = 4", ":10: epochs is set twice, first on line 3; keep one of them"),
        ("\n\nexport epochs=3", ":12: epochs is set twice, first on line 3; keep one of them"),
        ("Seed = 1", ":10: unknown key 'Seed'; the nearest known one is 'seed'"),
        ("warmup = 1", ":10: unknown key 'warmup'; the nearest known one is 'warmup_steps'"),
        ("'seed ' = 1", ":10: unknown key 'seed '; the nearest known one is 'seed'"),
        ("seed: 1", ":10: cannot read 'seed: 1'; expected `key = value`, or `# comment`"),
        ("= 1", ":10: cannot read '= 1'; expected `key = value`, or `# comment`"),
        ("// comment", ":10: cannot read '// comment'; expected `key = value`, or `# comment`"),
        ("seed = '1\nmax_turns = 2", ":10: cannot read \"seed = '1\"; expected `key = value`, or `# comment`"),
        ("seed = '1' 2", ":10: cannot read \"seed = '1' 2\"; expected `key = value`, or `# comment`"),
        ("model_name = ./none", f":10: model_name = './none': there is no folder /none; {EXPECTED}"),
        ("model_name = a/b/c", f":10: model_name = 'a/b/c' {NEITHER}"),
        ("model_name = 'two words'", f":10: model_name = 'two words' {NEITHER}"),
        ("model_name = https://example.org/x", f":10: model_name = 'https://example.org/x' {NEITHER}"),
    ],
)  # fmt: skip
def test_malformed_lines(added, line) -> None:
    assert refusal(NINE_LINES + added + "\n") == line


def test_settings_saved_in_another_encoding() -> None:
    assert refusal(NINE_LINES.encode("utf-16")) == ":1: byte 0xff is not UTF-8; save the file as UTF-8"
    latin = NINE_LINES.replace("./save", "./caf\u00e9").encode("latin-1")
    assert refusal(latin) == ":1: byte 0xe9 is not UTF-8; save the file as UTF-8"


# Any bytes at all


def tried(call: Callable[..., Any], *arguments: object, raises: type[Exception]) -> tuple[Any, str]:
    """What the call gives, or None and the one line of its module's own error. Any other error passes."""
    try:
        return call(*arguments), ""
    except raises as error:
        line = str(error)
    assert line
    return None, line


quick = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def mutations(draw: st.DrawFn, valid: bytes, within: int | None = None, pieces: tuple[bytes, ...] = ()) -> bytes:
    """`valid` with a few cuts, changed bytes and insertions, most of them in its first `within` bytes."""
    data = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        end = min(len(data), within or len(data)) if draw(st.integers(0, 3)) else len(data)
        start = draw(st.integers(0, end))
        length = draw(st.sampled_from([0, 1, 1, 2, 8, len(data)]))
        data[start : start + length] = draw(st.sampled_from([b"", *pieces]) | st.binary(max_size=9))
    return bytes(data)


TEXT = (
    "1 your persona: i sing.\n2 partner's persona: ä.\n3 hi\tyou\t\ta|you\n4 a\tb\n1 __SILENCE__\thi\n2 a\tb\n".encode()
)
TEXT_PIECES = (
    b"\n",
    b"\t",
    b"\r\n",
    b" ",
    b"1 ",
    b"2 ",
    b"\n1 a\tb\n",
    b"__SILENCE__",
    b"your persona: ",
    b"|",
    b"\xef\xbb\xbf",
)


@given(st.binary(max_size=200) | mutations(TEXT, pieces=TEXT_PIECES))
@quick
def test_any_bytes_as_a_text(data) -> None:
    corpus, line = tried(parse_corpus, data, "t.txt", raises=TextError)
    if corpus is None:
        assert all(part.startswith(("t.txt:", "these are")) for part in line.split("\n"))
        return
    assert corpus.dialogues
    assert len(corpus.dialogues) == len(corpus.sides)
    for dialogue, sides in zip(corpus.dialogues, corpus.sides, strict=True):
        assert all(text.strip() for text in [*dialogue.utterances, *dialogue.personas[0], *dialogue.personas[1]])
        assert dialogue.utterances
        assert dialogue.line_of(len(dialogue.utterances) - 1) <= data.count(b"\n") + 1
        assert sides in ((0,), (1,), (0, 1))
        assert all(0 <= index < len(dialogue.utterances) for index in dialogue.candidates)


ENV_PIECES = (
    b"\n",
    b"=",
    b"'",
    b'"',
    b"#",
    b"\\",
    b"${",
    b"}",
    b"${epochs}",
    b"export ",
    b"\r",
    b"\0",
    b"\n\n",
    b" ",
    b"~",
    b"-",
)


@given(st.binary(max_size=200) | mutations(NINE_LINES.encode() + b"model_name = 'gpt2'\n", pieces=ENV_PIECES))
@example(NINE_LINES.encode() + b"model_name = '" + b"a/" * 5000 + b"'")
@example(NINE_LINES.replace("./save", "~no-such-user/save").encode())
@example(NINE_LINES.encode() + b'seed = "\\')
@quick
def test_any_bytes_as_settings(data) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ".env"
        path.write_bytes(data)
        found, line = tried(read_settings, path, {}, raises=UserError)
        if found is None:
            assert line.startswith(str(path))
            return
    assert found.save_path.is_absolute()
    assert found.epochs >= 1
    assert 0 < found.learn_rate <= 1
    assert json.loads(json.dumps(found.plain())) == found.plain()


@given(st.sampled_from(sorted(VALUE_TYPES)), st.text(max_size=12))
@quick
def test_any_value_of_the_environment(key, value) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ".env"
        path.write_text(NINE_LINES)
        found, line = tried(read_settings, path, {key: value}, raises=UserError)
    assert getattr(found, key) is not None if found else line.startswith(f"environment variable: {key} ")


def tensor_bytes() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        VALID.save(Path(folder) / "t", METADATA)
        return (Path(folder) / "t").read_bytes()


FILE = tensor_bytes()
HEADER_END = 8 + int.from_bytes(FILE[:8], "little")


def check_tensors(data: bytes) -> None:
    """Either every sequence can be read and is in range, or it is a DataError of one line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.safetensors"
        path.write_bytes(data)
        dataset, line = tried(PersonaChatDataset, path, raises=DataError)
        if dataset is None:
            assert line.startswith(f"{path}: ")
            return
        vocabulary, context = int(dataset.metadata["vocabulary"]), int(dataset.metadata["context"])
        labels = 0
        for item in dataset:
            ids = item["input_ids"]
            assert 0 < len(ids) <= context
            assert all(0 <= token < vocabulary for token in ids.tolist())
            assert item["labels"][0] == -100
            assert ((item["labels"] == -100) | (item["labels"] == ids)).all()
            labels += int((item["labels"] != -100).sum())
        assert dataset.label_tokens.sum() == labels > 0


@given(st.binary(max_size=200) | mutations(FILE, within=HEADER_END, pieces=(b"0", b"9", b"-", b'"', b",", b"[", b"{}")))
@quick
def test_any_bytes_as_tensors(data) -> None:
    check_tensors(data)


DTYPES = [
    "BOOL",
    "U8",
    "I8",
    "U16",
    "I16",
    "F16",
    "BF16",
    "U32",
    "I32",
    "F32",
    "U64",
    "I64",
    "F64",
    "C64",
    "F4",
    "F8_E4M3",
    "F8_E5M2",
    "F8_E8M0",
    "F6_E2M3",
    "X",
]


@given(st.data())
@quick
def test_any_header_over_the_tensors(data) -> None:
    """The JSON header stays JSON: another type, shape, place or number of a tensor, other metadata."""
    header = json.loads(FILE[8:HEADER_END])
    numbers = st.integers(0, 20) | st.sampled_from([112, 144, 148, 2**31, 2**63, 2**64, -1])
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(header)))
        if name == "__metadata__":
            header[name][data.draw(st.sampled_from(["vocabulary", "context"]))] = data.draw(
                st.integers(-(10**30), 10**30).map(str) | st.text(max_size=4)
            )
        elif data.draw(st.integers(0, 5)) == 0:
            del header[name]
            if not header:
                break
        else:
            changed = data.draw(st.sampled_from(["dtype", "shape", "data_offsets"]))
            header[name][changed] = data.draw(
                {
                    "dtype": st.sampled_from(DTYPES),
                    "shape": st.lists(numbers, max_size=3),
                    "data_offsets": st.lists(numbers, min_size=2, max_size=2),
                }[changed]
            )
    text = json.dumps(header).encode()
    check_tensors(len(text).to_bytes(8, "little") + text + FILE[HEADER_END:])


@given(st.integers(HEADER_END, len(FILE) - 8), st.integers(-(2**63), 2**63 - 1))
@quick
def test_any_number_in_the_tensors(place, number) -> None:
    place -= place % 4
    check_tensors(FILE[:place] + number.to_bytes(8, "little", signed=True) + FILE[place + 8 :])


# Well-formed text comes through everything unchanged

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\r\n"), min_size=1, max_size=20)
words = texts.filter(str.strip) | st.sampled_from(
    ["<|p1|>", "<|endoftext|>", "your persona: x", "1 a", " x ", "x\u2028", "|"]
)


talks = st.tuples(st.lists(words, max_size=3), st.lists(words, max_size=3), st.lists(words, min_size=1, max_size=6))


@given(st.lists(talks, min_size=1, max_size=3))
@example([(["<|sep|><|start|>"], ["\ufeff"], ["a\x85b", "<|start|>", "\U0001f600\u200d"])])
@settings(quick, max_examples=150)
def test_dialogues_come_through_unchanged(tokenizer, drawn) -> None:
    dialogues = [Dialogue((first, other), utterances) for first, other, utterances in drawn]
    assume(all(is_writable(dialogue.utterances) for dialogue in dialogues))
    corpus = parse_corpus(write_corpus(dialogues).encode(), "t.txt")
    assume(not corpus.mirrors)
    assert [(d.personas, d.utterances) for d in corpus.dialogues] == [(d.personas, d.utterances) for d in dialogues]
    encoder = Encoder(tokenizer)
    both = Corpus(corpus.dialogues, [(0, 1)] * len(dialogues), [])
    tensors = encode_corpus(both, encoder, 20, 10**6, "t.txt")
    expected = []
    for dialogue in dialogues:
        for speaker in (0, 1):
            last = len(dialogue.utterances) - (len(dialogue.utterances) - 1 - speaker) % 2
            if last > 0:
                expected.append((speaker, dialogue.personas[speaker], dialogue.utterances[:last]))
    decoded = [
        encoder.decode(tensors.tokens[start:end].tolist())
        for start, end in zip(tensors.offsets[:-1], tensors.offsets[1:], strict=True)
    ]
    assert decoded == expected
