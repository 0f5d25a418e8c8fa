"""Whether replies contradict: a classifier of sentence pairs reads them beside the facts and what was said before.

The classifier is any sequence classifier of the transformers library with the labels entailment, neutral and
contradiction. It reads a premise and a hypothesis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from personagpt.device import pick_device
from personagpt.errors import UserError
from personagpt.model.folders import check_labels
from personagpt.model.loading import WEIGHTS, quiet_libraries, say_if_fetched
from personagpt.scoring.entries import Entries
from personagpt.scoring.generated import Replies

SCORES = {"entailment": 1, "neutral": 0, "contradiction": -1}
PAIRS_PER_BATCH = 64
Pair = tuple[str, str]  # premise, hypothesis


@dataclass(frozen=True)
class Classifier:
    """A classifier of sentence pairs, on its device and in evaluation mode."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    def scores(self, pairs: list[Pair]) -> dict[Pair, int]:
        """Return +1 where the premise entails the hypothesis, 0 where it is neutral, -1 where it contradicts it."""
        labels = self.model.config.id2label
        order = sorted(set(pairs), key=lambda pair: (-len(pair[0]) - len(pair[1]), pair))
        result: dict[Pair, int] = {}
        with torch.inference_mode(), tqdm(total=len(order), desc="nli", unit="pair", leave=False, disable=None) as bar:
            for first in range(0, len(order), PAIRS_PER_BATCH):
                batch = order[first : first + PAIRS_PER_BATCH]
                likeliest = self._logits(batch).argmax(1).tolist()
                result |= {pair: SCORES[labels[index].lower()] for pair, index in zip(batch, likeliest, strict=True)}
                bar.update(len(batch))
        return result

    def _logits(self, batch: list[Pair]) -> torch.Tensor:
        """Return the logits (B, 3) of the pairs, cut to what the classifier reads."""
        positions = getattr(self.model.config, "max_position_embeddings", 512) - 2  # a RoBERTa numbers them from 2
        texts = self.tokenizer(
            *map(list, zip(*batch, strict=True)),
            padding=True,
            truncation=True,
            max_length=min(positions, self.tokenizer.model_max_length),
            return_tensors="pt",
        )
        return self.model(**texts.to(self.model.device)).logits


def load_classifier(name: str) -> Classifier:
    """Return the classifier of a folder or hub name. Raises UserError where it is none, or has other labels."""
    quiet_libraries()
    say_if_fetched(name, "classifier", *WEIGHTS)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, padding_side="right", trust_remote_code=False)
        model, info = AutoModelForSequenceClassification.from_pretrained(
            name, dtype=torch.float32, trust_remote_code=False, output_loading_info=True
        )
    except Exception as error:  # a damaged or foreign folder makes the library raise anything
        reason = str(error).strip().split("\n", 1)[0] or type(error).__name__
        raise UserError(f"--nli {name}: cannot load this classifier: {reason}; choose another one") from None
    check_labels(name, model.config.id2label)
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])[0]
        raise UserError(f"--nli {name}: its weights lack {missing}, so it was not trained as a classifier")
    if tokenizer.pad_token is None:  # a GPT-2's tokenizer has none
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    return Classifier(name, model.to(pick_device()).eval(), tokenizer)


def contradicts_facts(replies: list[str], facts: list[list[str]], classifier: Classifier) -> list[bool]:
    """Return whether each reply contradicts a fact of its own speaker's `facts`. The premise is the reply."""
    rows = list(zip(replies, facts, strict=True))
    scores = classifier.scores([(reply, fact) for reply, known in rows for fact in known])
    return [any(scores[reply, fact] < 0 for fact in known) for reply, known in rows]


def nli_metrics(replies: Replies, classifier: Classifier) -> dict[str, Entries]:
    """Return the entries of `c_score`, `c_score_pair` and `contradicts_self`.

    The premise is the reply and the hypothesis a fact, or the premise an earlier utterance and the hypothesis the
    reply. A reply of a speaker without facts has no `c_score`. A speaker's first reply contradicts nothing, and counts.
    """
    rows = list(zip(replies.generated, replies.facts, replies.earlier, strict=True))
    pairs = [(reply, fact) for reply, facts, _ in rows for fact in facts]
    pairs += [(utterance, reply) for reply, _, earlier in rows for utterance in earlier]
    scores = classifier.scores(pairs)
    of_facts = np.array([sum(scores[reply, fact] for fact in facts) for reply, facts, _ in rows], float)
    contradicts = [any(scores[said, reply] < 0 for said in earlier) for reply, _, earlier in rows]
    entries = {"contradicts_self": Entries.of_equals(replies.places, np.array(contradicts, float))}
    counts = np.array([len(facts) for facts in replies.facts])
    if counts.any():
        entries["c_score"] = Entries.of_equals(replies.places[counts > 0], of_facts[counts > 0])
        entries["c_score_pair"] = Entries(replies.places, of_facts, counts)[counts > 0]
    return entries
