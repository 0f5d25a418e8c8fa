"""words.py: words and sentences by hand in several scripts; on English text the words are ConvAI2's."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personagpt.text.words import asks, split_sentences, split_words

SPACES = str.maketrans(dict.fromkeys(string.punctuation, " "))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("The dog's co-worker paid $3.50!", ["the", "dog", "s", "co", "worker", "paid", "3", "50"]),
        ("I don’t – “really” … know", ["i", "don", "t", "really", "know"]),
        ("¿Tienes mascotas? ¡Sí!", ["tienes", "mascotas", "sí"]),
        ("我有两只猫。", ["我", "有", "两", "只", "猫"]),
        ("我喜欢iPhone 15，你呢？", ["我", "喜", "欢", "iphone", "15", "你", "呢"]),
        ("人々はカード・ゲーム", ["人", "々", "は", "カ", "ー", "ド", "ゲ", "ー", "ム"]),
        ("ｶﾞ𠀋", ["ｶ", "ﾞ", "𠀋"]),
        ("ไม่มี ๑๒", ["ไ", "ม่", "มี", "๑๒"]),  # a mark above a letter belongs to the letter
        ("ຂ້ອຍ", ["ຂ້", "ອ", "ຍ"]),
        ("ខ្ញុំ\u200bcat", ["ខ្", "ញុំ", "cat"]),
        ("မြန်", ["မြ", "န်"]),
        ("고양이가 있어요?", ["고양이가", "있어요"]),  # Korean has spaces
        ("هل لديك قطة؟", ["هل", "لديك", "قطة"]),
        ("क्या बिल्ली है।", ["क्या", "बिल्ली", "है"]),
        ("I ❤️ it 👍🏽", ["i", "it"]),  # nor is the invisible U+FE0F a word
    ],
)
def test_words(text, words) -> None:
    assert split_words(text) == words


@given(st.text(string.printable))
def test_words_of_ascii_text_are_those_of_convai2(text) -> None:
    assert split_words(text) == text.lower().translate(SPACES).split()


@given(st.text())
def test_any_text_has_words_that_are_words_again(text) -> None:
    for word in split_words(text):
        assert split_words(word) == [word]
        assert any(map(str.isalnum, word))


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("how are you ? fine .", ["how are you ?", " fine ."]),
        ("3.5 years. You?!", ["3.5 years.", "You?!", ""]),
        ("我养猫。你呢？！好", ["我养猫。", "你呢？！", "好"]),
        ("هل لديك قطة؟ نعم", ["هل لديك قطة؟", " نعم"]),
        ("मैं हूँ। तुम?", ["मैं हूँ।", " तुम?", ""]),
    ],
)
def test_sentences(text, sentences) -> None:
    assert split_sentences(text) == sentences


@given(st.text("ab .!?"))
def test_sentences_of_ascii_text(text) -> None:
    assert split_sentences(text) == re.split(r"(?<=[?!])(?![?!])|(?<=\.)\s+", text)


def test_which_texts_ask() -> None:
    assert all(map(asks, ["you?", "你养猫吗？", "هل لديك قطة؟", "Έχεις γάτα\u037e"]))
    assert not any(map(asks, ["you.", "one; two", "我养猫。", "¿"]))
