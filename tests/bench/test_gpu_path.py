"""bench/gpu_path.py, where there is no CUDA runtime that counts."""

import pytest

from bench.gpu_path import main


def test_without_the_runtime_it_says_so_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "tiny"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "bench.gpu_path counts over a CUDA runtime without a device, and there is none here\n"
