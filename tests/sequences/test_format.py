"""The format: token ids, cuts and labels worked by hand."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, processors
from transformers import AutoTokenizer

from personagpt.model.loading import load_tokenizer
from personagpt.sequences.dataset import encode_corpus
from personagpt.sequences.format import (
    IGNORED,
    SPECIAL_TOKENS,
    DataError,
    Encoder,
    add_special_tokens,
    side_sequences,
    tokenizer_checksum,
)
from personagpt.text.convai2 import parse_corpus
from personagpt.text.dialogues import Corpus, Dialogue

EOS, SEP, CLS, START, P1, P2, ACT = range(50256, 50263)

TALK = b"""\
1 your persona: i have two dogs.
2 partner's persona: i like tea.
3 partner's persona: i sing.
4 hi !\thello , how are you ?
5 fine .\tbye
"""
# DialoGPT's ids of the texts above.
DOGS, TEA, SING = [72, 423, 734, 6844, 13], [72, 588, 8887, 13], [72, 1702, 13]
HI, HELLO, FINE, BYE = [5303, 5145], [31373, 837, 703, 389, 345, 5633], [38125, 764], [16390]


@pytest.fixture(scope="module")
def real_encoder(real_tokenizer) -> Encoder:
    return Encoder(real_tokenizer)


def sequences(corpus: Corpus, encoder: Encoder, max_turns: int = 20, context: int = 1024) -> list[tuple[list, list]]:
    """Each sequence's tokens and labels, by way of the arrays."""
    tensors = encode_corpus(corpus, encoder, max_turns, context, "t.txt")
    made = []
    for i in range(len(tensors.dialogues)):
        tokens = tensors.tokens[tensors.offsets[i] : tensors.offsets[i + 1]].tolist()
        labels = [IGNORED] * len(tokens)
        for start, end in tensors.responses[tensors.response_offsets[i] : tensors.response_offsets[i + 1]]:
            start, end = start - tensors.offsets[i], end - tensors.offsets[i]
            labels[start:end] = tokens[start:end]
        made.append((tokens, labels))
    return made


def no(tokens: list[int]) -> list[int]:
    return [IGNORED] * len(tokens)


def test_special_tokens_have_the_published_ids(real_tokenizer) -> None:
    assert real_tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == [SEP, CLS, START, P1, P2, ACT]
    assert len(real_tokenizer) == 50263
    assert real_tokenizer.eos_token_id == real_tokenizer.pad_token_id == EOS
    assert (real_tokenizer.sep_token, real_tokenizer.cls_token) == ("<|sep|>", "<|cls|>")
    # As loading with pad_token=, cls_token=, sep_token= and adding the four others gives.
    add_special_tokens(real_tokenizer)
    assert len(real_tokenizer) == 50263


def test_what_a_tokenizer_puts_around_a_text_stays_out(tokenizer) -> None:
    made = copy.deepcopy(tokenizer)
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", tokenizer.eos_token_id)]
    )
    assert Encoder(made).texts(["hi"]) == Encoder(tokenizer).texts(["hi"])


def test_a_saved_tokenizer_gets_nothing_added(tokenizer, tmp_path) -> None:
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    ids = again.convert_tokens_to_ids(list(SPECIAL_TOKENS))
    assert len(add_special_tokens(again)) == len(tokenizer)
    assert again.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == ids
    assert tokenizer_checksum(again) == tokenizer_checksum(tokenizer)


def test_a_saved_tokenizer_pads_on_the_left_and_gives_the_same_ids(base, tmp_path) -> None:
    made = load_tokenizer(str(base))
    made.save_pretrained(tmp_path)
    saved = AutoTokenizer.from_pretrained(tmp_path)
    short, long = ([{"role": "user", "content": text}] for text in ("hi !", "hello , how are you ?"))
    padded = saved.apply_chat_template([short, long], padding=True, return_dict=True)
    alone = saved.apply_chat_template(short, return_dict=True)["input_ids"]
    width = len(padded["input_ids"][1])
    assert len(alone) < width
    assert padded["input_ids"][0] == [saved.pad_token_id] * (width - len(alone)) + alone
    assert padded["attention_mask"][0] == [0] * (width - len(alone)) + [1] * len(alone)
    # The padding side is no part of what tensors depend on.
    saved.padding_side = "right"
    assert tokenizer_checksum(saved) == tokenizer_checksum(made)
    assert Encoder(saved).texts(["hi !"]) == Encoder(made).texts(["hi !"])


def test_a_worked_example(real_encoder) -> None:
    corpus = parse_corpus(TALK, "t.txt")
    first = [P1, *TEA, EOS, *SING, EOS, SEP, START]
    other = [P2, *DOGS, EOS, SEP, START]
    hi, hello, fine, bye = ([*ids, EOS] for ids in (HI, HELLO, FINE, BYE))
    assert sequences(corpus, real_encoder) == [
        (first + hi + hello + fine, no(first) + hi + no(hello) + fine),
        (other + hi + hello + fine + bye, no(other) + no(hi) + hello + no(fine) + bye),
    ]


def test_no_facts(real_encoder) -> None:
    corpus = parse_corpus(b"1 __SILENCE__\thi !\n2 bye\tfine .\n", "t.txt")
    hi, fine, bye = [*HI, EOS], [*FINE, EOS], [*BYE, EOS]
    assert sequences(corpus, real_encoder) == [
        ([P1, SEP, START, *hi, *bye, *fine], no([P1, SEP, START]) + hi + no(bye) + fine),
        ([P2, SEP, START, *hi, *bye], no([P2, SEP, START]) + no(hi) + bye),
    ]


def test_one_persona_only_gives_one_side(real_encoder) -> None:
    (side,) = sequences(parse_corpus(b"1 your persona: i sing.\n2 hi !\tbye\n", "t.txt"), real_encoder)
    assert side == ([P2, *SING, EOS, SEP, START, *HI, EOS, *BYE, EOS], [*no([0] * 10), *BYE, EOS])


@pytest.mark.parametrize("max_turns", [1, 2, 3, 20, 23, 24, 100])
def test_at_most_max_turns_utterances(encoder, max_turns) -> None:
    utterances = [f"line {i}" for i in range(24)]
    corpus = Corpus([Dialogue((["a"], ["b"]), utterances)], [(0, 1)], [])
    made = sequences(corpus, encoder, max_turns)
    used = utterances[:max_turns]
    assert len(made) == (1 if max_turns == 1 else 2)  # a side with no utterance of its own gives no sequence
    for speaker, (tokens, labels) in enumerate(made):
        # The last own utterance among those used ends the sequence.
        last = max(i for i in range(len(used)) if i % 2 == speaker)
        assert encoder.decode(tokens) == (speaker, ["ab"[speaker]], used[: last + 1])
        assert sum(label == encoder.eos for label in labels) == len(used[speaker::2])


def test_literal_special_tokens_stay_text(real_encoder) -> None:
    assert real_encoder.texts(["<|p1|>"]) == [[27, 91, 79, 16, 91, 29]]  # < | p 1 | >
    for token in (*SPECIAL_TOKENS, "<|endoftext|>"):
        (ids,) = real_encoder.texts([f"a {token}{token}"])
        assert max(ids) < EOS
        assert real_encoder.tokenizer.decode(ids) == f"a {token}{token}"
    # The tokenizer itself is as it was: in a rendered chat, special tokens are control.
    assert real_encoder.tokenizer("<|p1|>").input_ids == [P1]


def test_literal_special_tokens_where_a_tokenizer_had_them_as_words(shared, tmp_path) -> None:
    published = AutoTokenizer.from_pretrained(shared / "dialogpt-medium")
    published.add_tokens(list(SPECIAL_TOKENS))
    published.save_pretrained(tmp_path)
    for tokenizer in (published, AutoTokenizer.from_pretrained(tmp_path)):
        encoder = Encoder(add_special_tokens(tokenizer))
        assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == [SEP, CLS, START, P1, P2, ACT]
        assert encoder.texts(["<|p1|><|act|>"]) == [[27, 91, 79, 16, 91, 6927, 91, 529, 91, 29]]


def test_a_tokenizer_saved_while_it_cut_and_padded(base, encoder, tmp_path) -> None:
    used = AutoTokenizer.from_pretrained(base, pad_token="<|endoftext|>")
    used(["one text", "a longer text"], truncation=True, max_length=2, padding=True)
    used.backend_tokenizer.enable_truncation(2)
    used.save_pretrained(tmp_path)
    again = Encoder(add_special_tokens(AutoTokenizer.from_pretrained(tmp_path)))
    texts = ["i walk with my two dogs", "no"]
    assert again.texts(texts) == encoder.texts(texts)


def test_a_tokenizer_without_the_tokens_is_refused(base) -> None:
    with pytest.raises(DataError, match="no persona tokens"):
        Encoder(AutoTokenizer.from_pretrained(base))
    endless = add_special_tokens(AutoTokenizer.from_pretrained(base))
    endless.eos_token = None
    with pytest.raises(DataError, match="no persona tokens"):
        Encoder(endless)


def other_vocabulary(parts: dict) -> None:
    words = parts["model"]["vocab"]
    words["a"], words["b"] = words["b"], words["a"]


@pytest.mark.parametrize(
    "change",
    [
        other_vocabulary,
        lambda parts: parts["model"]["merges"].reverse(),
        lambda parts: parts["pre_tokenizer"].update(add_prefix_space=not parts["pre_tokenizer"]["add_prefix_space"]),
    ],
)
def test_the_checksum_sees_every_part_that_decides_a_token(base, tmp_path, change) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    before, ids = tokenizer_checksum(tokenizer), tokenizer("a bad dog , the cat").input_ids
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    change(parts)
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(parts))
    assert tokenizer("a bad dog , the cat").input_ids != ids
    assert tokenizer_checksum(tokenizer) != before


def test_a_sequence_comes_back_as_text(encoder) -> None:
    facts, said = ["i sing .", "i have two dogs ."], ["hello , how are you ?", "don 't ask !"]
    for speaker in (0, 1):
        assert encoder.decode(encoder.context(speaker, facts, said, 320)) == (speaker, facts, said)
        assert encoder.decode(encoder.context(speaker, [], [], 320)) == (speaker, [], [])


def test_a_goal_stands_in_front(real_encoder) -> None:
    goal = [ACT, 2093, 546, 17252, 13]  # ask about pets.
    assert real_encoder.prefix(0, [], "ask about pets.") == [*goal, P1, SEP, START]
    assert real_encoder.prefix(1, [SING], "ask about pets.") == [*goal, P2, *SING, EOS, SEP, START]
    # With no facts and <|p1|>, the published model's own prompt.
    assert real_encoder.context(0, [], [], 8, goal="ask about pets.") == [*goal, P1, SEP, START]
    # The goal stays where the oldest utterances go.
    for room in (20, 19):
        context = real_encoder.context(1, ["i sing."], ["hi !", "bye", "fine ."], room, goal="ask about pets.")
        said = [*HI, EOS, *BYE, EOS, *FINE, EOS] if room == 20 else [*BYE, EOS, *FINE, EOS]
        assert context == [*goal, P2, *SING, EOS, SEP, START, *said]
    assert real_encoder.decode(context) == (1, ["i sing."], ["bye", "fine ."])
    for asked, told in ((None, r"the persona \(7 tokens\) and"), ("x", r"the persona with the goal \(9 tokens\) and")):
        with pytest.raises(DataError, match=told):
            real_encoder.context(1, ["i sing."], ["hi !"], 5, goal=asked)
    assert real_encoder.prefix(0, [], "") == real_encoder.prefix(0, []) == [P1, SEP, START]
    assert real_encoder.prefix(0, [], "<|p2|>") == [ACT, 27, 91, 79, 17, 91, 29, P1, SEP, START]


def test_decode_reply_ends_at_eos(encoder) -> None:
    hello, bye = encoder.texts(["hello , how are you ?", "bye"])
    assert encoder.decode_reply([*hello, encoder.eos, *bye]) == "hello , how are you ?"
    assert encoder.decode_reply([*hello, encoder.speakers[0]]) == "hello , how are you ?"
    assert encoder.decode_reply([]) == ""


def test_context_drops_the_oldest_utterances(encoder) -> None:
    facts, said = ["i sing ."], ["hi !", "hello , how are you ?", "fine ."]
    prefix = encoder.prefix(1, encoder.texts(facts))
    hi, hello, fine = ([*ids, encoder.eos] for ids in encoder.texts(said))

    def context(room: int, utterances: list[str] = said) -> list[int]:
        return encoder.context(1, facts, utterances, room)

    whole = len(prefix) + len(hi) + len(hello) + len(fine)
    assert context(whole) == prefix + hi + hello + fine
    assert context(whole - 1) == context(whole - len(hi)) == prefix + hello + fine
    assert context(whole - len(hi) - 1) == context(len(prefix) + len(fine)) == prefix + fine
    assert context(len(prefix), []) == prefix
    for room, utterances in ((len(prefix) + len(fine) - 1, said), (len(prefix) - 1, [])):
        with pytest.raises(DataError, match=rf"the persona \({len(prefix)} tokens\) .* do not fit into {room} tokens"):
            context(room, utterances)


# Utterances of 1, 2, 1, 3, 2, 1 tokens, which their <eos> (0) makes 2, 3, 2, 4, 3, 2; the prefix has 3.
PREFIX = [7, 8, 9]
UTTERANCES = [[10], [11, 11], [12], [13, 13, 13], [14, 14], [15]]


def test_a_long_dialogue_is_cut_greedily_first_speaker() -> None:
    # Own responses 0, 2, 4. From 0 on: 3+2 = 5; up to 2: 10; up to 4: 17 > 12. Nothing is older than utterance 0.
    # Then from 4 on: 3+3 = 6; older ones in front: 3 (10), 2 (12), not 1 (15). Only 4 is labelled there.
    assert side_sequences(PREFIX, UTTERANCES, 0, 0, 12) == [
        ([7, 8, 9, 10, 0, 11, 11, 0, 12, 0], [(3, 5), (8, 10)]),
        ([7, 8, 9, 12, 0, 13, 13, 13, 0, 14, 14, 0], [(9, 12)]),
    ]


def test_a_long_dialogue_is_cut_greedily_other_speaker() -> None:
    # Own responses 1, 3, 5. From 1 on: 3+3 = 6; up to 3: 12; that is the limit: utterance 0 no longer fits in front.
    # Then from 5 on: 3+2 = 5; in front 4 (8), 3 (12).
    assert side_sequences(PREFIX, UTTERANCES, 1, 0, 12) == [
        ([7, 8, 9, 11, 11, 0, 12, 0, 13, 13, 13, 0], [(3, 6), (8, 12)]),
        ([7, 8, 9, 13, 13, 13, 0, 14, 14, 0, 15, 0], [(10, 12)]),
    ]


def test_a_dialogue_that_just_fits_is_not_cut() -> None:
    whole = [(PREFIX + [token for ids in UTTERANCES for token in [*ids, 0]], [(5, 8), (10, 14), (17, 19)])]
    assert side_sequences(PREFIX, UTTERANCES, 1, 0, 19) == whole
    # One token less: all three responses still fit, but not utterance 0 in front of them.
    assert side_sequences(PREFIX, UTTERANCES, 1, 0, 18) == [(PREFIX + whole[0][0][5:], [(3, 6), (8, 12), (15, 17)])]
    assert [len(spans) for _, spans in side_sequences(PREFIX, UTTERANCES, 1, 0, 16)] == [2, 1]


@pytest.mark.parametrize(("speaker", "limit", "utterance"), [(0, 4, 0), (0, 5, 4), (1, 6, 3), (1, 5, 1)])
def test_a_response_that_does_not_fit_is_named(speaker, limit, utterance) -> None:
    with pytest.raises(OverflowError) as caught:
        side_sequences(PREFIX, UTTERANCES, speaker, 0, limit)
    assert caught.value.args == (utterance,)


def test_a_partner_utterance_too_long_for_any_sequence() -> None:
    made = side_sequences([7], [[1], [2] * 50, [3], [4], [5]], 0, 0, 10)
    assert made == [([7, 1, 0], [(1, 3)]), ([7, 3, 0, 4, 0, 5, 0], [(1, 3), (5, 7)])]


def slow_cut(sizes: list[int], speaker: int, room: int) -> list[tuple[int, int, int]]:
    """Section 3 read aloud: (oldest utterance, first response, last response) of each sequence."""
    own, made = list(range(speaker, len(sizes), 2)), []
    while own:
        first = own[0]
        last = max(i for i in own if i == first or sum(sizes[first : i + 1]) <= room)
        oldest = min(i for i in range(first + 1) if i == first or sum(sizes[i : last + 1]) <= room)
        made.append((oldest, first, last))
        own = [i for i in own if i > last]
    return made


@given(st.lists(st.integers(1, 6), max_size=14), st.sampled_from([0, 1]), st.integers(1, 4), st.integers(8, 40))
@settings(max_examples=300, deadline=None)
def test_cuts_by_section_3(sizes, speaker, prefix_length, limit) -> None:
    prefix = [99] * prefix_length
    utterances = [[i + 1] * size for i, size in enumerate(sizes)]
    hopeless = [i for i in range(speaker, len(sizes), 2) if prefix_length + sizes[i] + 1 > limit]
    if hopeless:
        with pytest.raises(OverflowError) as caught:
            side_sequences(prefix, utterances, speaker, 0, limit)
        assert caught.value.args == (hopeless[0],)
        return
    made = side_sequences(prefix, utterances, speaker, 0, limit)
    expected = []
    for oldest, first, last in slow_cut([size + 1 for size in sizes], speaker, limit - prefix_length):
        tokens, spans = list(prefix), []
        for i in range(oldest, last + 1):
            start = len(tokens)
            tokens += [*utterances[i], 0]
            if i >= first and i % 2 == speaker:
                spans.append((start, len(tokens)))
        expected.append((tokens, spans))
    assert made == expected
    labelled = [tokens[start] - 1 for tokens, spans in made for start, _ in spans]
    assert labelled == list(range(speaker, len(sizes), 2))  # every response once
    assert all(len(tokens) <= limit for tokens, _ in made)
