"""The words and the sentences of a text in any script.

Chinese, Japanese, Thai, Lao, Khmer and Burmese put no spaces between words. A letter of these scripts counts as a word,
with the marks that are written on it.
"""

from __future__ import annotations

import re
import unicodedata

QUESTION_MARKS = "?？؟\u037e፧﹖⁇⁈⁉‽"  # U+037E is Greek; the semicolon looks the same and asks nothing
# Marks that end a sentence even where no space follows: exclamation marks, and full stops of other scripts.
_CLOSING_MARKS = QUESTION_MARKS + "!！﹗‼。｡．।॥۔։።။៕"
SENTENCE_ENDS = _CLOSING_MARKS + "."
# After such a mark, or a full stop before a space: `how are you ? fine .` and `How are you? Fine.`
_SENTENCE_END = re.compile(rf"(?<=[{_CLOSING_MARKS}])(?![{_CLOSING_MARKS}])|(?<=\.)\s+")
_QUESTION = re.compile(f"[{QUESTION_MARKS}]")

# Blocks of Unicode in which letters, marks, digits and punctuation stand side by side.
_MIXED_BLOCKS = (
    range(0x0E00, 0x0F00),  # Thai and Lao
    range(0x1000, 0x10A0),  # Burmese; the next two have more letters of it
    range(0xA9E0, 0xAA00),
    range(0xAA60, 0xAA80),
    range(0x1780, 0x1800),  # Khmer
    range(0x3005, 0x3008),  # signs that stand for a Chinese character
    range(0x3040, 0x3100),  # Hiragana and Katakana
    range(0x31F0, 0x3200),
    range(0xFF66, 0xFFA0),  # Katakana of half width
)
_MIXED = [chr(code) for block in _MIXED_BLOCKS for code in block]
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_LETTERS = _HAN + "".join(char for char in _MIXED if unicodedata.category(char) in ("Lo", "Lm", "Nl"))
_MARKS = "".join(char for char in _MIXED if unicodedata.category(char)[0] == "M")
_WORD = re.compile(rf"[{_LETTERS}][{_MARKS}]*|[^\s{_LETTERS}]+")
_ZERO_WIDTH_SPACE = 0x200B  # Khmer, Thai and Burmese text may have it between words


class _Separators(dict[int, int]):
    """A table for `str.translate` that turns Unicode's punctuation and symbols into spaces; it grows as it is used."""

    def __missing__(self, code: int) -> int:
        separates = unicodedata.category(chr(code))[0] in "PS" or code == _ZERO_WIDTH_SPACE
        self[code] = ord(" ") if separates else code
        return self[code]


_SEPARATORS = _Separators()


def split_words(text: str) -> list[str]:
    """Return the words of `text` in lower case, without punctuation and symbols (Unicode's categories P and S)."""
    pieces = _WORD.findall(text.lower().translate(_SEPARATORS))
    # An emoji is a symbol, but the invisible characters that may follow it are none.
    return [piece for piece in pieces if piece.isalnum() or any(map(str.isalnum, piece))]


def split_sentences(text: str) -> list[str]:
    """Return the sentences of `text`, each with its mark."""
    return _SENTENCE_END.split(text)


def asks(text: str) -> bool:
    """Return whether `text` has a question mark of any script."""
    return _QUESTION.search(text) is not None


def one_line(text: str) -> str:
    """Return `text` with a space for each tab and line end, without space around it."""
    return re.sub(r"[\t\n\r]+", " ", text).strip()
