"""Draw a reply's tokens. This module imports no torch, so that a script can check its options first."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from personagpt.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

# For each field a check of its value, and the allowed values in words.
RANGES = {
    "top_k": (lambda value: value >= 0, "0 (all tokens) or more"),
    "top_p": (lambda value: 0 < value <= 1, "above 0 and at most 1"),
    "temperature": (
        lambda value: 1e-3 <= value <= 1e6,
        "0.001 to 1000000 (top_k 1 always takes the most likely token)",
    ),
    "max_new_tokens": (lambda value: value >= 1, "1 or more"),
    "no_repeat": (lambda value: value == 0 or value >= 2, "0 (off), or 2 or more"),
}


@dataclass(frozen=True)
class Sampling:
    """How to draw: from the `top_k` most likely tokens (0: all), and of these the fewest that make up `top_p`.

    Raises UserError where a value is out of range.
    """

    top_k: int = 10
    top_p: float = 0.92  # nucleus sampling, Holtzman et al. 2020
    temperature: float = 1.0
    max_new_tokens: int = 40  # the longest reply
    no_repeat: int = 4  # a reply shares fewer tokens in a row with its speaker's earlier replies; 0: no limit

    def __post_init__(self) -> None:
        for field in fields(self):
            value, (holds, allowed) = getattr(self, field.name), RANGES[field.name]
            if isinstance(value, bool) or not isinstance(value, {"int": int, "float": (int, float)}[field.type]):
                raise UserError(f"{field.name} {value!r}: expected a number, {allowed}")
            if not holds(value):
                raise UserError(f"{field.name} {value}: expected {allowed}")

    def draw(self, logits: Tensor, numbers: list[float]) -> Tensor:
        """Draw a token (B,) for each row of logits (B, V). The `numbers` (B), from 0 to below 1, decide."""
        if self.top_k == 1:
            return logits.argmax(1)
        values, tokens = (logits.float() / self.temperature).topk(min(self.top_k or logits.shape[1], logits.shape[1]))
        probabilities = values.softmax(1)  # (B, K), largest first
        # A token stays as long as the tokens before it make up less than top_p, so the first token always stays.
        before = probabilities.cumsum(1) - probabilities
        unlikely = before >= self.top_p
        unlikely[:, 0] = False  # also where top_p is too small for a float32
        sums = probabilities.masked_fill(unlikely, 0).cumsum(1)
        passed = sums <= sums[:, -1:] * sums.new_tensor(numbers)[:, None]
        last = (~unlikely).sum(1, keepdim=True) - 1  # the limit where rounding makes a number 1
        return tokens.gather(1, passed.sum(1, keepdim=True).minimum(last))[:, 0]


GREEDY = Sampling(top_k=1, no_repeat=0)
