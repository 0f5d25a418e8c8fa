"""What the tests share: where things are, how a script's main() is run, a tiny tokenizer and model."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

# Before transformers is imported: no test may wait for a network.
os.environ["HF_HUB_OFFLINE"] = "1"
# The models here are tiny: on a busy machine, threads that wait for each other cost far more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from personagpt.errors import exit_status
from personagpt.settings import KINDS

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "data" / "sample"
SHARED = ROOT.parent / "shared"

# The settings file that must work as it is: the nine required keys and nothing else.
NINE_LINES = """\
save_path = './save'
data_path = './data'
epochs = 3
learn_rate = 5e-5
gradient_accumulation_steps = 8
batch_size = 1
weight_decay = 0.0
logging_steps = 10
save_steps = 250
"""
NINE_KEYS = {key: value.strip("'") for key, value in (line.split(" = ") for line in NINE_LINES.splitlines())}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the tester's shell may pass for a setting."""
    for key in KINDS:
        monkeypatch.delenv(key, raising=False)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def sample() -> Path:
    """The sample corpus that ships with the repository."""
    return SAMPLE


@pytest.fixture(scope="session")
def base() -> Path:
    """The tiny base model and tokenizer that ship with the repository."""
    return SAMPLE / "base"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real dialogues and DialoGPT's real vocabulary, where somebody put them beside the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"no real ConvAI2 text and DialoGPT vocabulary at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def tokenizer(base):  # noqa: ANN201
    """The tiny base's tokenizer, with the persona tokens. Read only: the whole session shares it."""
    from personagpt.model.loading import load_tokenizer

    return load_tokenizer(str(base))


@pytest.fixture(scope="session")
def real_tokenizer(shared):  # noqa: ANN201
    """DialoGPT's tokenizer, with the persona tokens. Read only: the whole session shares it."""
    from personagpt.model.loading import load_tokenizer

    return load_tokenizer(str(shared / "dialogpt-medium"))


@pytest.fixture
def tiny_model(base, tokenizer):  # noqa: ANN201
    """The tiny base model, with rows for the persona tokens, ready to be changed."""
    from personagpt.model.loading import load_model

    return load_model(str(base), len(tokenizer))


@pytest.fixture(params=[True, False])
def pays(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether float32 products on the CPU go through oneDNN: both, whichever processor this is."""
    from personagpt.model import cpu_products

    if request.param and not cpu_products.AVAILABLE:
        pytest.skip("a PyTorch without oneDNN")
    monkeypatch.setattr(cpu_products, "PAYS", request.param)
    return request.param


@dataclass
class Outcome:
    """What a script left: its exit status and what it printed."""

    status: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """What stderr ends with, after the progress bars."""
        return self.err.rpartition("\r")[2].removesuffix("\n")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """run(main, "--env", path, ...) runs a script's main() as its last lines would, in this process."""

    def call(main: Callable[..., int], *arguments: object) -> Outcome:
        capsys.readouterr()
        try:
            status = exit_status(main, [str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse: --help, or an option that does not exist
            status = stop.code
        return Outcome(status, *capsys.readouterr())

    return call


@pytest.fixture
def write_env(tmp_path: Path) -> Callable[..., Path]:
    """write_env(epochs=1, seed=7) writes a settings file with the nine keys, these changed; None leaves one out."""

    def write(path: Path | None = None, **changes: object) -> Path:
        path = path or tmp_path / ".env"
        values = NINE_KEYS | changes
        path.write_text("".join(f"{key} = '{value}'\n" for key, value in values.items() if value is not None))
        return path

    return write
