"""cache.py: the library's keys and values, in memory with room."""

from __future__ import annotations

import torch
from transformers import DynamicCache, GPT2Config, MistralConfig

from personagpt.model.cache import ROOM, growing_cache


def test_keys_and_values_are_the_librarys() -> None:
    """Also after the memory ran full, twice."""
    config = GPT2Config(n_layer=2)
    ours, theirs = growing_cache(config), DynamicCache(config=config)
    assert ours.get_seq_length() == 0
    for count in (5, 1, ROOM, 2 * ROOM, 1):
        for layer in range(2):
            keys, values = torch.rand(3, 2, count, 4), torch.rand(3, 2, count, 4)
            for our, their in zip(ours.update(keys, values, layer), theirs.update(keys, values, layer), strict=True):
                assert torch.equal(our, their)
        assert ours.get_seq_length() == theirs.get_seq_length()
        assert ours.get_mask_sizes(2, 0) == theirs.get_mask_sizes(2, 0)


def test_a_token_copies_no_earlier_ones() -> None:
    cache = growing_cache(GPT2Config(n_layer=1))
    token = torch.ones(1, 2, 1, 4)
    first, _ = cache.update(token, token, 0)
    second, _ = cache.update(2 * token, token, 0)
    assert second.data_ptr() == first.data_ptr()
    assert second[0, 0, :, 0].tolist() == [1.0, 2.0]


def test_layers_that_attend_to_a_window_stay_the_librarys() -> None:
    config = MistralConfig(num_hidden_layers=2, sliding_window=8)
    kinds = [
        [type(layer) for layer in make(config).layers] for make in (growing_cache, lambda c: DynamicCache(config=c))
    ]
    assert kinds[0] == kinds[1]
