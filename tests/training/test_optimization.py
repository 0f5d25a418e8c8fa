"""optimization.py: the schedule, apex, and steps that are taken again in smaller batches or uncompiled."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import train
from personagpt import device
from personagpt.device import Processes
from personagpt.model.loading import load_model
from personagpt.model.loss import ResponseLoss
from personagpt.sequences.batches import StepPlan
from personagpt.settings import read_settings
from personagpt.training import optimization
from personagpt.training.checkpoint import save_checkpoint
from personagpt.training.optimization import (
    Trainer,
    load_optimizer,
    make_optimizer,
    optimizer_tensors,
    schedule,
    step_seed,
)
from tests.helpers import (
    copy_base,
    die,
    group_before,
    prepare_run,
    rows,
    same,
    train_in_two_processes,
    train_run,
    weights,
    write_data,
)


def test_schedule_decays_linearly_and_warms_up() -> None:
    assert [schedule(step, 4, 0) for step in (1, 2, 3, 4)] == [1.0, 0.75, 0.5, 0.25]
    assert [schedule(step, 6, 2) for step in range(1, 7)] == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]


def test_every_step_and_process_draws_numbers_of_its_own() -> None:
    seeds = [step_seed(seed, step, rank) for seed in (1, 2) for step in (1, 2, 3) for rank in (0, 1, 2)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    first = [torch.rand(100, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    assert all(abs(torch.corrcoef(torch.stack(first))[0, 1:]) < 0.4)


class StandInAmp(types.ModuleType):
    """apex.amp's functions, as tag 25.04 was seen to behave: the loss scaled by 4, O1 and O2 with their own manners."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__("apex.amp")
        self.calls: list[str] = []
        self.monkeypatch = monkeypatch

    def initialize(self, model: torch.nn.Module, optimizer: object, opt_level: str, verbosity: int) -> tuple:
        self.calls.append(f"initialize {opt_level}")
        if opt_level == "O1":  # patches torch's functions; in place, two types are refused
            add = torch.Tensor.__iadd__

            def checked(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
                if isinstance(right, torch.Tensor) and left.dtype != right.dtype:
                    raise NotImplementedError("Mixing different types in an in-place method is not supported.")
                return add(left, right)

            self.monkeypatch.setattr(torch.Tensor, "__iadd__", checked)
        else:  # patches the model: its output is a plain dict, its saved tensors are float32 copies
            forward = model.forward
            model.forward = lambda *inputs, **options: dict(forward(*inputs, **options))
            model._register_state_dict_hook(copy_entries)
        return model, optimizer

    @contextmanager
    def scale_loss(self, loss: torch.Tensor, optimizer: torch.optim.Optimizer) -> Iterator[torch.Tensor]:
        before = [None if p.grad is None else p.grad.clone() for p in self.master_params(optimizer)]
        for parameter in self.master_params(optimizer):
            parameter.grad = None
        yield loss * 4
        for parameter, gradient in zip(self.master_params(optimizer), before, strict=True):
            parameter.grad = parameter.grad / 4 + (0 if gradient is None else gradient)
        self.calls.append("scale_loss")

    @contextmanager
    def disable_casts(self) -> Iterator[None]:
        self.calls.append("disable_casts")
        yield

    def master_params(self, optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
        return [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def state_dict(self) -> dict:
        return {"loss_scaler0": {"loss_scale": 4.0, "unskipped": len(self.calls)}}

    def load_state_dict(self, state: dict) -> None:
        self.calls.append(f"load {state['loss_scaler0']['loss_scale']}")


def copy_entries(module: torch.nn.Module, entries: dict[str, torch.Tensor], *_: object) -> None:
    for name in entries:
        entries[name] = entries[name].clone()


@pytest.mark.parametrize("level", ["O1", "O2"])
def test_training_through_apex(level: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # A run on the CPU whose precision is forced to apex; the stand-in takes the real one's place.
    amp = StandInAmp(monkeypatch)
    apex = types.ModuleType("apex")
    apex.amp = amp
    monkeypatch.setitem(sys.modules, "apex", apex)
    monkeypatch.setitem(sys.modules, "apex.amp", amp)
    data = tmp_path / "data"
    data.mkdir()
    write_data(data, train=4, valid=4)
    copy_base(data / "base", dropout=0.0)
    losses = {}
    for precision in ("fp32", f"apex-{level}"):
        folder = tmp_path / precision
        folder.mkdir()
        env = prepare_run(folder, data, precision=precision, epochs=1, save_steps=1, batch_size=1)
        monkeypatch.setattr(device, "resolve_precision", lambda name, device: name)
        assert train_run(env) == 0
        losses[precision] = [float(row["loss"]) for row in rows(env)]
    assert losses["fp32"] == pytest.approx(losses[f"apex-{level}"], abs=1e-5)
    assert weights(tmp_path / "fp32" / ".env").keys() == weights(env).keys()  # the tied matrix once
    assert amp.calls[0] == f"initialize {level}"
    assert amp.calls.count("scale_loss") == 8  # 8 sequences, one at a time
    assert train_run(prepare_run(folder, data, precision=precision, epochs=2, save_steps=1, batch_size=1)) == 0
    assert "load 4.0" in amp.calls
    # Only O1 patches torch's functions, whose casts would turn the loss's `out=` into copies.
    assert ("disable_casts" in amp.calls) == (level == "O1")
    # Another precision has no use for apex's loss scale.
    assert train_run(prepare_run(folder, data, precision="fp32", epochs=3, save_steps=1, batch_size=1)) == 0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """8 training dialogues: 16 sequences; dropout on, so that masks drawn anew would be seen."""
    folder = tmp_path / "data"
    folder.mkdir()
    write_data(folder, train=8, valid=2)
    copy_base(folder / "base", dropout=0.1)
    return folder


def limit_batches(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Let batches of more than `most` sequences run out of memory, in this process."""
    forward = ResponseLoss.forward

    def limited(module: ResponseLoss, input_ids: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        if len(input_ids) > most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return forward(module, input_ids, *rest)

    monkeypatch.setattr(ResponseLoss, "forward", limited)


def run_in(tmp_path: Path, name: str, data: Path, **changes: object) -> Path:
    (tmp_path / name).mkdir()
    common = {"epochs": 2, "logging_steps": 1, "save_steps": 2, "gradient_accumulation_steps": 1}
    return prepare_run(tmp_path / name, data, **common | changes)


def test_out_of_memory_takes_the_step_again_in_smaller_batches(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = run_in(tmp_path, "small", data, batch_size=2, gradient_accumulation_steps=4)
    assert train_run(small) == 0
    halved = run_in(tmp_path, "halved", data, batch_size=8)
    capsys.readouterr()
    with monkeypatch.context() as patch:
        limit_batches(patch, most=3)
        assert train_run(halved) == 0
        said = capsys.readouterr().out
        assert said.count("out of memory: going on with batches of 4; the steps stay the same") == 1
        assert said.count("out of memory: going on with batches of 2; the steps stay the same") == 1
    # The masks of a step come from its seed, and it is split as the small one is: the same steps to the last bit.
    assert rows(halved) == rows(small)
    assert same(weights(halved), weights(small))


def test_a_resumed_run_keeps_the_smaller_batches(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calm = run_in(tmp_path, "calm", data, batch_size=8)
    resumed = run_in(tmp_path, "resumed", data, batch_size=8)
    limit_batches(monkeypatch, most=4)
    assert train_run(calm) == 0
    with monkeypatch.context() as patch:
        patch.setattr(StepPlan, "group", group_before(3, die))
        with pytest.raises(ZeroDivisionError):
            train.main(["--env", str(resumed)])
    capsys.readouterr()
    assert train_run(resumed) == 0
    assert "out of memory" not in capsys.readouterr().out  # it did not have to find out again
    assert rows(resumed) == rows(calm)
    assert same(weights(resumed), weights(calm))


def test_a_single_sequence_that_does_not_fit_ends_the_run(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    env = run_in(tmp_path, "run", data, batch_size=4)
    limit_batches(monkeypatch, most=0)
    assert train_run(env) == 1
    assert "error: out of memory (DefaultCPUAllocator: can't allocate memory" in capsys.readouterr().err


def limit_second_process(rank: int) -> None:
    if rank == 1:
        limit_batches(pytest.MonkeyPatch(), most=2)


def test_all_processes_halve_together(tmp_path: Path, data: Path) -> None:
    copy_base(data / "plain", dropout=0.0)
    # A low rate: AdamW makes whole steps of gradients that are rounding errors alone.
    common = {"model_name": data / "plain", "epochs": 1, "learn_rate": 5e-5}
    one = run_in(tmp_path, "one", data, batch_size=8, **common)
    two = run_in(tmp_path, "two", data, batch_size=4, **common)
    assert train_run(one) == 0
    statuses, said = train_in_two_processes(two, limit_second_process)
    assert statuses == [0, 0], said
    assert said.count("going on with batches of 2") == 1  # the first process speaks for all
    for ours, theirs in zip(rows(two), rows(one), strict=True):
        for column in ("loss", "grad_norm"):
            assert float(ours[column]) == pytest.approx(float(theirs[column]), abs=1e-5)


def test_a_failure_in_both_processes_is_no_lack_of_memory(
    write_settings, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_reduce(number: torch.Tensor, op: torch.distributed.ReduceOp, group: object = None) -> None:
        """The other process has the same number."""
        number *= 1 if op == torch.distributed.ReduceOp.MAX else 2

    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    settings = read_settings(write_settings(batch_size=4), {})
    trainer = Trainer(settings, Processes(0, 2, torch.device("cpu")), "fp32", load_model(str(base), 0))
    trainer.compiled = True
    assert trainer.must_retake(RuntimeError("no compiler"))
    assert (trainer.compiled, trainer.batch_size) == (False, 4)


def break_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> None:
        raise RuntimeError("Failed to find C compiler.\nPlease specify via CC environment variable")

    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda module, **options: compile_module(module, backend=no_compiler, **options)
    )
    torch._dynamo.reset()


@pytest.mark.parametrize("setting", ["auto", "True"])
def test_where_compiling_fails_auto_goes_on(
    tmp_path: Path, data: Path, setting: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    env = run_in(tmp_path, "compiled", data, batch_size=4, compile=setting)
    with monkeypatch.context() as patched:
        break_compiler(patched)
        patched.setattr(optimization, "compiles_by_itself", lambda device: True)  # as CUDA does
        status = train_run(env)
    said = capsys.readouterr()
    if setting == "auto":
        assert status == 0
        assert said.out.count("compiling the model failed (") == 1
        plain = run_in(tmp_path, "plain", data, batch_size=4)
        assert train_run(plain) == 0
        assert rows(env) == rows(plain)
    else:
        assert status == 1
        assert "error: compiling the model failed (" in said.err


def write_model(folder: Path) -> None:
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")


def test_optimizer_state_goes_on_exactly(tmp_path: Path) -> None:
    def steps(weight: torch.nn.Parameter, optimizer: torch.optim.Optimizer, count: int) -> None:
        for _ in range(count):
            weight.grad = weight.detach() ** 2
            optimizer.step()

    straight = torch.nn.Parameter(torch.ones(3))
    steps(straight, torch.optim.AdamW([straight], lr=0.1, fused=True), 4)

    first = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([first], lr=0.1, fused=True)
    steps(first, optimizer, 2)
    save_checkpoint(tmp_path, 2, write_model, {"step": 2}, optimizer_tensors(optimizer, with_masters=True))
    second = torch.nn.Parameter(torch.zeros(3))  # its value comes back with the master copies
    optimizer = torch.optim.AdamW([second], lr=0.1, fused=True)
    load_optimizer(optimizer, tmp_path / "model")
    steps(second, optimizer, 2)
    assert torch.equal(second, straight)


def test_master_weights_that_apex_makes_late_are_made_before_they_are_filled(tmp_path: Path) -> None:
    class LazyAdamW(torch.optim.AdamW):
        """As apex's `amp` leaves one: its float32 parameters appear with the first step, or when asked for."""

        def _amp_lazy_init(self) -> None:
            self.param_groups[0]["params"] = [torch.nn.Parameter(torch.zeros(3))]

    save_checkpoint(tmp_path, 2, write_model, {"step": 2}, {"0.master": torch.arange(3.0)})
    half = torch.nn.Parameter(torch.zeros(3, dtype=torch.bfloat16))
    optimizer = LazyAdamW([half], lr=0.1)
    load_optimizer(optimizer, tmp_path / "model")
    (master,) = optimizer.param_groups[0]["params"]
    assert master.tolist() == [0.0, 1.0, 2.0]
    assert not half.any()


def test_biases_and_layer_norms_do_not_decay(write_settings, tiny_model) -> None:
    settings = read_settings(write_settings(weight_decay=0.1), {})
    names = {id(parameter): name for name, parameter in tiny_model.named_parameters()}
    decays = {
        names[id(parameter)]: group["weight_decay"]
        for group in make_optimizer(tiny_model, settings, fused=False).param_groups
        for parameter in group["params"]
    }
    assert decays.keys() == set(names.values())
    for name, decay in decays.items():
        assert decay == (0.0 if name.endswith(".bias") or ".ln_" in name else 0.1)
