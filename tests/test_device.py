"""device.py: the device, precisions and apex's contract, a run of one process."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import sys
import types
from pathlib import Path

import pytest
import torch

from personagpt.device import autocast, configure_cuda, pick_device, resolve_precision, start_processes
from personagpt.errors import UserError
from tests.helpers import SECOND_PROCESS

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_auto_is_what_the_hardware_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_precision("auto", CPU) == "fp32"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert resolve_precision("auto", CUDA) == "bf16"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert resolve_precision("auto", CUDA) == "fp16"


def test_fp16_and_apex_need_a_gpu() -> None:
    for name in ("fp16", "apex-O1", "apex-O2"):
        with pytest.raises(UserError, match=f"precision = {name} needs a CUDA GPU"):
            resolve_precision(name, CPU)
    assert resolve_precision("bf16", CPU) == "bf16"


def test_bf16_matrix_products_over_float32_weights() -> None:
    layer = torch.nn.Linear(4, 4)
    with autocast("bf16", CPU):
        assert layer(torch.ones(1, 4)).dtype == torch.bfloat16
    with autocast("fp32", CPU):
        assert layer(torch.ones(1, 4)).dtype == torch.float32
    assert layer.weight.dtype == torch.float32


def test_missing_apex_says_what_to_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apex", None)
    with pytest.raises(UserError) as raised:
        resolve_precision("apex-O1", CUDA)
    for part in ("tag 25.04", "the package index's `apex` is another project", "precision = fp16, which needs no apex"):
        assert part in str(raised.value)


def test_apex_without_amp_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apex", types.ModuleType("apex"))
    with pytest.raises(UserError, match=r"needs NVIDIA apex with its amp module .* at tag 25\.04"):
        resolve_precision("apex-O2", CUDA)


def test_one_process_without_torchrun() -> None:
    with start_processes() as processes:
        assert (processes.rank, processes.count) == (0, 1)
        assert processes.agree(3)
        assert processes.any(True)
        assert not processes.any(False)
        assert processes.sum(torch.tensor(2.0)).item() == 2.0
        assert processes.device == pick_device()


def test_two_processes_ask_each_other(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def ask(rank: int) -> None:
        os.environ |= SECOND_PROCESS | {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_PORT": str(port)}
        with start_processes() as processes:
            asked = [
                (processes.rank, processes.count), processes.any(rank == 1), processes.any(False),
                processes.max(3 * rank), processes.max(-1 - rank), processes.agree(5), processes.agree(rank),
                processes.sum(torch.tensor(1.0 + rank)).item(),
            ]  # fmt: skip
        (tmp_path / str(rank)).write_text(json.dumps(asked))

    forks = [multiprocessing.get_context("fork").Process(target=ask, args=(rank,), daemon=True) for rank in (0, 1)]
    for fork in forks:
        fork.start()
    for rank, fork in enumerate(forks):
        fork.join(120)
        answers = json.loads((tmp_path / str(rank)).read_text())
        assert answers == [[rank, 2], True, False, 3, -1, True, False, 3.0]


def test_tf32_can_be_read_by_old_and_new_names(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_float32_matmul_precision()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    try:
        configure_cuda()
        assert torch.backends.cuda.matmul.allow_tf32  # raises after a write to fp32_precision
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
        torch.backends.cuda.enable_cudnn_sdp(True)
