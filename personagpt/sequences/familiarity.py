"""Whether a base model has seen the writing of a text: its language, its script, its capitals."""

from __future__ import annotations

from personagpt.sequences.format import Encoder
from personagpt.text.dialogues import Corpus
from personagpt.text.words import split_words

SAMPLED = 200  # dialogues
# DialoGPT needs 1.2 tokens for a word of ConvAI2, 1.7 in capitals or in French, 2.7 in German, 5.2 in Russian.
MOST_TOKENS = 1.8  # a word
MOST_UNKNOWN = 0.01  # of the tokens


def unfamiliar(corpus: Corpus, encoder: Encoder) -> str:
    """Return a line that says how little the base knows the text of `corpus`; "" where it knows the text."""
    texts = [text for dialogue in corpus.dialogues[:SAMPLED] for text in dialogue.utterances]
    words = sum(len(split_words(text)) for text in texts)
    ids = [token for tokens in encoder.texts(texts) for token in tokens]
    unknown = ids.count(encoder.tokenizer.unk_token_id) / max(1, len(ids))
    if unknown > MOST_UNKNOWN:
        return (
            f"{unknown:.0%} of the training text's tokens are unknown to the base model, so that their letters are "
            "lost: choose a base for this language (docs/character.md)"
        )
    if words and len(ids) > MOST_TOKENS * words:
        return (
            f"the base model hardly knows this writing: {len(ids) / words:.1f} tokens a word, where a text that a base "
            "knows has about 1.3: choose a base for its language and capitals, or train for more epochs "
            "(docs/character.md)"
        )
    return ""
