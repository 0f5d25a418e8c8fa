"""fact_order.py: what moves in a sequence, what stays, and what an order depends on."""

from __future__ import annotations

import itertools

import numpy as np

from personagpt.sequences.dataset import PersonaChatDataset, encode_corpus
from personagpt.sequences.fact_order import FactOrder
from personagpt.text.convai2 import parse_corpus

FACTS = ["i ski .", "i have two dogs .", "i sing ."]
TEXT = "".join(f"{number} your persona: {fact}\n" for number, fact in enumerate(FACTS, start=1)) + "4 hi !\thello !\n"


def test_facts_move_and_nothing_else(encoder) -> None:
    facts = encoder.texts(FACTS)
    goal = encoder.prefix(1, facts, "ask about pets.")
    said = [*encoder.texts(["hi !"])[0], encoder.eos]
    orders = set()
    for prefix, talk in ((encoder.prefix(1, facts), said), (goal, said), (encoder.prefix(0, facts), [])):
        tokens = np.array([*prefix, *talk])
        for index in range(20):
            moved = FactOrder(encoder, 42, 0).apply(index, tokens).tolist()
            speaker, found, utterances = encoder.decode(moved)
            orders.add(tuple(found))
            assert (speaker, utterances) == encoder.decode(tokens.tolist())[::2]
            assert moved[: prefix.index(encoder.speakers[speaker])] == prefix[: prefix.index(encoder.speakers[speaker])]
            assert moved[len(prefix) - 2 :] == tokens.tolist()[len(prefix) - 2 :]
    assert orders == set(itertools.permutations(FACTS))


def test_fewer_than_two_facts_stay(encoder) -> None:
    for facts in ([], encoder.texts(["i ski ."])):
        tokens = np.array(encoder.prefix(0, facts))
        assert FactOrder(encoder, 42, 3).apply(0, tokens).tolist() == tokens.tolist()


def test_an_order_depends_on_seed_number_and_sequence_only(encoder) -> None:
    tokens = np.array(encoder.prefix(0, encoder.texts([f"i have {number} cats ." for number in range(9)])))
    first = FactOrder(encoder, 42, 1).apply(5, tokens).tolist()
    assert FactOrder(encoder, 42, 1).apply(5, tokens).tolist() == first
    for seed, number, index in ((43, 1, 5), (42, 2, 5), (42, 1, 6)):
        assert FactOrder(encoder, seed, number).apply(index, tokens).tolist() != first


def test_a_dataset_in_another_order_shares_its_tensors(encoder) -> None:
    data = PersonaChatDataset.from_tensors(encode_corpus(parse_corpus(TEXT.encode(), "t"), encoder, 20, 320, "t"), 320)
    order = FactOrder(encoder, 42, 0)
    moved = data.with_facts_in(order)
    assert moved.tensors is data.tensors
    tokens, spans = data.sequence(0)
    assert moved.sequence(0)[0].tolist() == order.apply(0, tokens).tolist() != tokens.tolist()
    assert moved.sequence(-1)[0].tolist() == moved.sequence(0)[0].tolist()
    assert moved.sequence(0)[1].tolist() == spans.tolist()
    assert data.order is None
