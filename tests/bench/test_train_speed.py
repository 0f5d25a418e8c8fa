"""bench/train_speed.py: the figures of the real run, and the settings of CUDA."""

from pathlib import Path

import pytest
import torch

from bench.common import Training, Work, prepare
from bench.train_speed import item_work, projection


def test_three_epochs_are_those_of_what_is_trained(capsys) -> None:
    # 17,878 dialogues, half of which repeat the other half: 8,939 of 491.447 tokens each.
    projection(tokens_per_second=1000)
    assert capsys.readouterr().out.startswith(
        "three epochs of ConvAI2: 3 x 4,393,044 tokens / 1,000 tokens/s = 219.7 min"
    )


def test_the_work_of_an_item() -> None:
    context, labels = torch.tensor([1, 2, 3]), torch.tensor([4, 5, 0, 6, 0])  # two utterances, each with its <eos>
    assert item_work((context, labels), eos=0) == Work(responses=2, tokens=8, labels=5)


def test_on_cuda_a_benchmark_computes_as_the_scripts_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_float32_matmul_precision()
    material = prepare(tmp_path, "tiny", dialogues=2)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(torch.cuda, "is_available", lambda: True)
            Training(material, material.model(), torch.device("cpu"), "fp32", compile="False")
        assert torch.get_float32_matmul_precision() == "high"  # TF32
        assert not torch.backends.cuda.cudnn_sdp_enabled()
    finally:
        torch.set_float32_matmul_precision(before)
        torch.backends.cuda.enable_cudnn_sdp(True)
