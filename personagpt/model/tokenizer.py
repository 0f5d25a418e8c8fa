"""A base model's tokenizer: as its own files describe it, with an end token, and which text it loses.

The library builds the tokenizer of a known class, such as GPT2Tokenizer, from the vocabulary alone. A tokenizer.json
that splits, changes or decodes text in its own way then gets other ids than its model has learned.
"""

from __future__ import annotations

import re
from pathlib import Path

import huggingface_hub
from tokenizers import Regex, Tokenizer, decoders
from transformers import PretrainedConfig, PreTrainedTokenizerFast

from personagpt.errors import UserError

# What is in a text -> an example of it.
PROBES = {
    "small Latin letters": "hi there , how are you ?",
    "capital letters": "Hello There , You !",
    "digits": "room 1234 .",
    "Latin letters with accents": "d\u00e9j\u00e0 vu , gr\u00f6\u00dfer .",
    "Greek": "\u03b3\u03b5\u03b9\u03b1 \u03c3\u03bf\u03c5 .",
    "Cyrillic": "\u043f\u0440\u0438\u0432\u0435\u0442 , \u043a\u0430\u043a \u0434\u0435\u043b\u0430 ?",
    "Arabic": "\u0645\u0631\u062d\u0628\u0627 .",
    "Hindi": "\u0928\u092e\u0938\u094d\u0924\u0947 .",
    "Thai": "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 .",
    "Chinese": "\u4f60\u597d\uff0c\u4f60\u5fd9\u5417\uff1f",
    "Japanese": "\u3053\u3093\u306b\u3061\u306f\u3002",
    "Korean": "\uc548\ub155 , \uc798 \uc9c0\ub0b4 ?",
    "emoji": "\U0001f642",
}
# Text that tokenizers split in different ways.
TRICKY = "don't STOP ... x_y=12,345.6 (a-b)  AbcDef #1 @me\thttp://a.b/c?d"
WITHOUT_CAPITALS = ("Arabic", "Hindi", "Thai", "Chinese", "Japanese", "Korean")
# Chinese and Japanese letters and their punctuation, beside which no space stands.
UNSPACED = "\u2e80-\u312f\u31a0-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff"


def as_published(name: str, tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Return `tokenizer`, which the library loaded from the folder or hub model `name`, as the files of `name` say.

    That is the tokenizer.json where the library built another tokenizer from it. A tokenizer without an end token gets
    the one that config.json names, else its sep token, which BERT's vocabulary has. Without either it stays as it is.
    """
    own = _own_backend(name)
    if own is not None and _differs(tokenizer, own):
        tokenizer = PreTrainedTokenizerFast.from_pretrained(name, padding_side="left")
    if tokenizer.eos_token_id is None:
        tokenizer.eos_token = _end_of_config(name, tokenizer) or tokenizer.sep_token
    if isinstance(tokenizer.backend_tokenizer.decoder, decoders.WordPiece):
        tokenizer = _without_spaces(tokenizer)
    return _alike_everywhere(tokenizer)


def _own_backend(name: str) -> Tokenizer | None:
    """Return the tokenizer of the tokenizer.json of `name`; None where it has no such file."""
    path = Path(name) / "tokenizer.json"
    if not Path(name).is_dir():
        path = huggingface_hub.try_to_load_from_cache(name, "tokenizer.json")
    return Tokenizer.from_file(str(path)) if isinstance(path, (str, Path)) and Path(path).is_file() else None


def _differs(tokenizer: PreTrainedTokenizerFast, own: Tokenizer) -> bool:
    """Return whether `tokenizer` reads or writes text otherwise than `own`, or has an end token that `own` lacks."""
    if tokenizer.eos_token is not None and own.token_to_id(tokenizer.eos_token) is None:
        return True
    return not _are_alike(tokenizer.backend_tokenizer, own)


def _are_alike(one: Tokenizer, other: Tokenizer) -> bool:
    """Return whether both read and write the same text alike."""
    for backend in (one, other):  # a tokenizer is saved as it was last used
        backend.no_truncation()
        backend.no_padding()
    for text in (*PROBES.values(), TRICKY):
        ids = one.encode(text, add_special_tokens=False).ids
        if ids != other.encode(text, add_special_tokens=False).ids or one.decode(ids) != other.decode(ids):
            return False
    return True


def _end_of_config(name: str, tokenizer: PreTrainedTokenizerFast) -> str | None:
    """Return the end token that config.json names; None where it names none of this vocabulary."""
    end = PretrainedConfig.get_config_dict(name)[0].get("eos_token_id")
    end = end[0] if isinstance(end, list) and end else end
    return tokenizer.convert_ids_to_tokens(end) if isinstance(end, int) and 0 <= end < len(tokenizer) else None


def _without_spaces(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Return a BERT tokenizer that writes no spaces beside Chinese and Japanese letters.

    The library's BertTokenizer would lose that decoder when it is loaded again, so the class is the general one.
    """
    backend = tokenizer.backend_tokenizer
    space = Regex(f" (?=[{UNSPACED}])|(?<=[{UNSPACED}]) ")
    backend.decoder = decoders.Sequence([backend.decoder, decoders.Fuse(), decoders.Replace(space, "")])
    return PreTrainedTokenizerFast(tokenizer_object=backend, padding_side="left", **tokenizer.special_tokens_map)


def _alike_everywhere(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Return `tokenizer` such that it reads text after a special token as it reads that text alone.

    The scheme `first` puts a space only in front of a text's first word. A chat template renders a chat as one text,
    and its ids would not be those of preprocessing, which encodes each utterance alone.
    """
    state = tokenizer.backend_tokenizer.to_str()
    backend = Tokenizer.from_str(state.replace('"prepend_scheme":"first"', '"prepend_scheme":"always"'))
    if backend.to_str() == state or not _are_alike(tokenizer.backend_tokenizer, backend):
        return tokenizer
    return PreTrainedTokenizerFast(tokenizer_object=backend, padding_side="left", **tokenizer.special_tokens_map)


def lost_text(name: str, tokenizer: PreTrainedTokenizerFast) -> str:
    """Return a line that says which text does not come back from its ids; "" where all does.

    Raises UserError where capital letters vanish although the base is one for scripts that have them.
    """
    backs = {kind: _back(tokenizer, text) for kind, text in PROBES.items()}
    gone = [kind for kind, back in backs.items() if _letters(back) != _letters(PROBES[kind])]
    capitals, small = "capital letters", "small Latin letters"
    if capitals in gone and small not in gone and all(kind in gone for kind in WITHOUT_CAPITALS):
        raise UserError(
            f"{name}: its tokenizer loses capital letters ({PROBES[capitals]!r} comes back as {backs[capitals]!r}): "
            'choose another base, or set "normalizer": {"type": "Lowercase"} in its tokenizer.json'
        )
    respaced = small not in gone and _compact(backs[small]) == _compact(PROBES[small]) and backs[small] != PROBES[small]
    parts = [f"lost: {', '.join(gone)}"] if gone else []
    parts += ["capital letters become small"] if capitals not in gone and backs[capitals].islower() else []
    parts += [f"spaces change: {PROBES[small]!r} becomes {backs[small]!r}"] if respaced else []
    return f"{name}: its tokenizer does not give all text back ({'; '.join(parts)})" if parts else ""


def _back(tokenizer: PreTrainedTokenizerFast, text: str) -> str:
    """Return `text` as it comes back from its ids."""
    ids = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
    return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False).strip()


def _compact(text: str) -> str:
    return re.sub(r"\s", "", text)


def _letters(text: str) -> str:
    """Return what must not vanish from `text`: all but spaces and the case of letters."""
    return _compact(text).casefold()
