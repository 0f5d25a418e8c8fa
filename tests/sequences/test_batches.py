"""Steps and micro-batches: the same groups however they are cut, every sequence once an epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from personagpt.sequences.batches import StepBatches, StepPlan, collate, epoch_groups, load_batch, micro_batches
from personagpt.sequences.dataset import PersonaChatDataset, encode_corpus
from personagpt.sequences.format import Encoder
from personagpt.text.convai2 import read_corpus
from tests.helpers import VALID

RANDOM = np.random.RandomState(0)
LENGTHS = RANDOM.randint(20, 400, size=1003)


def listed(groups: list[np.ndarray]) -> list[list[int]]:
    return [group.tolist() for group in groups]


def test_order_depends_on_seed_epoch_and_sequences_per_step_only() -> None:
    groups = listed(epoch_groups(LENGTHS, 42, 0, 8))
    assert listed(epoch_groups(LENGTHS.copy(), 42, 0, 8)) == groups
    np.random.rand(3)  # the state of numpy's own generator does not matter
    torch.manual_seed(5)
    assert listed(epoch_groups(LENGTHS, 42, 0, 8)) == groups
    for other in ((43, 0, 8), (42, 1, 8), (42, 0, 4)):
        assert listed(epoch_groups(LENGTHS, *other)) != groups


def test_the_order_is_the_one_runs_resume_with() -> None:
    # Worked once, to hold for good: a checkpoint must go on with the same data under any version.
    lengths = np.array([5, 9, 2, 7, 3, 8, 4])
    assert listed(epoch_groups(lengths, 42, 0, 2)) == [[1, 5], [3, 0], [6, 4], [2]]
    assert listed(epoch_groups(lengths, 43, 0, 2)) == [[3, 0], [1, 5], [6, 4], [2]]


@pytest.mark.parametrize("per_step", [8, 600])
def test_sequences_of_one_length_stay_in_the_shuffled_order(per_step) -> None:
    lengths = np.arange(1003) % 3
    order, whole = np.random.RandomState([42, 0]).permutation(1003).tolist(), 1003 - 1003 % per_step
    # Python's own sort is stable; all whole steps are within one window.
    first, last = (sorted(part, key=lambda index: -lengths[index]) for part in (order[:whole], order[whole:]))
    *groups, rest = listed(epoch_groups(lengths, 42, 0, per_step))
    assert sorted(groups) == sorted(first[start : start + per_step] for start in range(0, whole, per_step))
    assert rest == last


def test_long_and_short_steps_take_turns() -> None:
    longest = [LENGTHS[group[0]] for group in epoch_groups(LENGTHS, 42, 0, 8)[:125]]
    ranks = np.argsort(np.argsort(longest))
    assert abs(np.corrcoef(ranks, np.arange(125))[0, 1]) < 0.2


@pytest.mark.parametrize("per_step", [1, 2, 7, 8, 1003, 5000])
@pytest.mark.parametrize("epoch", [0, 1])
def test_every_sequence_once_an_epoch(per_step, epoch) -> None:
    groups = epoch_groups(LENGTHS, 42, epoch, per_step)
    assert len(groups) == -(-1003 // per_step)
    assert sorted(np.concatenate(groups).tolist()) == list(range(1003))
    assert all(len(group) == per_step for group in groups[:-1])
    # Within a step, longest first.
    assert all((np.diff(LENGTHS[group]) <= 0).all() for group in groups)


def test_steps_count_through_epochs() -> None:
    plan = StepPlan(LENGTHS, 42, 8)
    assert plan.steps_per_epoch == 126
    first, second = epoch_groups(LENGTHS, 42, 0, 8), epoch_groups(LENGTHS, 42, 1, 8)
    for step, group in ((1, first[0]), (126, first[125]), (127, second[0]), (252, second[125]), (2, first[1])):
        assert plan.group(step).tolist() == group.tolist()
    # Any step at once, without those before it.
    assert StepPlan(LENGTHS, 42, 8).group(200).tolist() == second[200 - 127].tolist()
    assert len(plan.group(126)) == 1003 - 125 * 8


@pytest.mark.parametrize(
    ("batch_size", "accumulation", "processes"), [(1, 8, 1), (2, 4, 1), (8, 1, 1), (1, 4, 2), (2, 2, 2), (1, 2, 4)]
)
def test_any_split_sees_the_same_step(batch_size, accumulation, processes) -> None:
    group = StepPlan(LENGTHS, 42, batch_size * accumulation * processes).group(17)
    assert group.tolist() == StepPlan(LENGTHS, 42, 8).group(17).tolist()
    dealt = [micro_batches(group, batch_size, rank, processes) for rank in range(processes)]
    assert [len(batches) for batches in dealt] == [accumulation] * processes
    assert all(len(batch) == batch_size for batches in dealt for batch in batches)
    assert sorted(i for batches in dealt for batch in batches for i in batch) == sorted(group.tolist())


def test_micro_batches_by_hand() -> None:
    group = np.array([50, 40, 30, 20, 10])
    assert listed(micro_batches(group, 2)) == [[50, 40], [30, 20], [10]]
    assert listed(micro_batches(group, 2, 0, 2)) == [[50, 40], [10]]
    # The second process's second batch is missing; it takes part with an empty one.
    assert listed(micro_batches(group, 2, 1, 2)) == [[30, 20], []]
    assert [listed(micro_batches(group[:1], 8, rank, 3)) for rank in range(3)] == [[[50]], [[]], [[]]]


def test_collate_by_hand() -> None:
    batch = collate(
        [
            (np.array([1, 2, 3, 4, 5]), np.array([[1, 2], [3, 5]])),  # responses 2 and 4 5
            (np.array([6, 7, 8]), np.array([[2, 3]])),  # response 8
        ],
        pad=9,
    )
    assert batch.input_ids.tolist() == [[1, 2, 3, 4], [6, 7, 9, 9]]
    assert batch.label_index.tolist() == [0, 2, 3, 5]
    assert batch.targets.tolist() == [2, 4, 5, 8]
    assert batch.branches is None
    assert batch.input_ids.dtype == batch.label_index.dtype == batch.targets.dtype == torch.int64
    moved = batch.to(torch.device("cpu"))
    assert moved.targets.tolist() == [2, 4, 5, 8]


def test_a_datasets_sequences_become_a_batch() -> None:
    data = PersonaChatDataset.from_tensors(VALID, 5)
    for pad, options in ((0, {}), (3, {"pad": 3})):
        batch = load_batch(data, np.array([1, 0]), **options)
        assert batch.input_ids.tolist() == [[5, 6, 7, pad], [5, 6, 7, 8]]
        assert batch.label_index.tolist() == [1, 2, 4, 6, 7]
        assert batch.targets.tolist() == [7, 8, 6, 8, 9]
    assert load_batch(data, np.array([1])).input_ids.tolist() == [[5, 6, 7]]
    assert load_batch(data, np.array([1]), multiple=5).input_ids.tolist() == [[5, 6, 7, 0, 0]]


def test_an_empty_batch_has_no_labels() -> None:
    batch = collate([], pad=9)
    assert (batch.input_ids.tolist(), batch.label_index.tolist(), batch.targets.tolist()) == ([[9]], [], [])


def test_an_empty_micro_batch_has_loss_and_gradients_zero(tiny_model) -> None:
    from personagpt.model.loss import ResponseLoss

    (group,) = micro_batches(np.array([3]), 1, rank=1, processes=2)
    batch = load_batch(None, group, pad=0)
    value = ResponseLoss(tiny_model)(batch.input_ids, batch.label_index, batch.targets)
    value.backward()
    assert value.item() == 0
    assert not any(parameter.grad.any() for parameter in tiny_model.parameters())


@pytest.fixture(scope="module")
def real_data(shared, real_tokenizer, tmp_path_factory) -> PersonaChatDataset:
    corpus = read_corpus(shared / "convai2" / "train_both_original_no_cands.txt")
    path = tmp_path_factory.mktemp("tensors") / "train"
    encode_corpus(corpus, Encoder(real_tokenizer), 20, 1024, "t").save(path, {"vocabulary": "50263", "context": "1024"})
    return PersonaChatDataset(path)


def test_padding_of_real_dialogues_is_under_5_percent(real_data) -> None:
    for epoch in range(3):
        groups = epoch_groups(real_data.lengths, 42, epoch, 8)
        assert len(groups) == 100
        padded = sum(len(group) * real_data.lengths[group].max() for group in groups)
        assert 1 - real_data.lengths.sum() / padded < 0.05


def test_a_batch_of_real_dialogues_is_the_datasets_items(real_data) -> None:
    group = epoch_groups(real_data.lengths, 42, 0, 8)[3]
    batch = load_batch(real_data, group, pad=50256)
    targets, width = [], batch.input_ids.shape[1]
    for row, index in enumerate(group):
        item = real_data[int(index)]
        length = len(item["input_ids"])
        assert batch.input_ids[row, : length - 1].equal(item["input_ids"][:-1])
        assert (batch.input_ids[row, length - 1 :] == 50256).all()
        chosen = batch.label_index[batch.label_index // width == row] % width
        assert chosen.tolist() == (torch.nonzero(item["labels"] != -100)[:, 0] - 1).tolist()
        targets.append(item["labels"][item["labels"] != -100])
    assert batch.targets.equal(torch.cat(targets))


def test_a_width_of_a_multiple() -> None:
    tokens, spans = np.arange(1, 7), np.array([[2, 6]])  # five of six tokens are input
    plain, wide = collate([(tokens, spans)]), collate([(tokens, spans)], multiple=8)
    assert plain.input_ids.tolist() == [[1, 2, 3, 4, 5]]
    assert wide.input_ids.tolist() == [[1, 2, 3, 4, 5, 0, 0, 0]]
    assert wide.label_index.tolist() == plain.label_index.tolist() == [1, 2, 3, 4]
    two = collate([(tokens, spans)] * 2, multiple=8)
    assert two.label_index.tolist() == [1, 2, 3, 4, 9, 10, 11, 12]


def test_a_steps_batches_in_any_size() -> None:
    data = PersonaChatDataset.from_tensors(VALID, 5)
    whole = StepBatches(data, np.array([0, 1]))
    assert (whole.label_tokens, whole.tokens) == (5, 9)
    for _ in range(2):  # a step that starts over makes them again
        assert [batch.input_ids.tolist() for batch in whole.of_size(1)] == [[[5, 6, 7, 8]], [[5, 6, 7]]]
    assert [batch.input_ids.tolist() for batch in whole.of_size(2)] == [[[5, 6, 7, 8], [5, 6, 7, 0]]]
    second = StepBatches(data, np.array([0, 1]), rank=1, processes=2, multiple=5)
    assert (second.label_tokens, second.tokens) == (5, 9)  # of both processes
    assert [batch.input_ids.tolist() for batch in second.of_size(1)] == [[[5, 6, 7, 0, 0]]]
    assert [len(batch.targets) for batch in second.of_size(2)] == [0]  # takes part with an empty batch
