"""The keys and values of the tokens so far, in memory that has room for the tokens to come.

The library's cache copies all earlier keys and values for each new token. For a batch of 16 replies to 300 tokens,
DialoGPT-medium's keys and values in float32 have 0.94 GB.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer

ROOM = 64  # tokens: a reply has at most 40, unless a user asks for more


def growing_cache(config: PreTrainedConfig) -> DynamicCache:
    """Return an empty cache for a model of `config`. Tokens join it and never leave it.

    Layers that attend to a window, or to no tokens at all, stay the library's.
    """
    cache = DynamicCache(config=config)
    cache.layers = [_GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class _GrowingLayer(DynamicLayer):
    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Add keys and values (B, H, T, D) of new tokens. Return those of all tokens (B, H, all T, D)."""
        start = self.get_seq_length()
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = start + key_states.shape[-2]
        if start == 0 or end > self._all_keys.shape[-2]:
            self._all_keys = _with_room(self.keys if start else None, key_states, end)
            self._all_values = _with_room(self.values if start else None, value_states, end)
        self._all_keys[:, :, start:end] = key_states
        self._all_values[:, :, start:end] = value_states
        self.keys, self.values = self._all_keys[:, :, :end], self._all_values[:, :, :end]
        return self.keys, self.values


def _with_room(earlier: Tensor | None, new: Tensor, count: int) -> Tensor:
    """Return memory (B, H, count + ROOM, D) for tokens like `new`, with the `earlier` ones at its start."""
    memory = new.new_empty(*new.shape[:2], count + ROOM, new.shape[-1])
    if earlier is not None:
        memory[:, :, : earlier.shape[-2]] = earlier
    return memory
