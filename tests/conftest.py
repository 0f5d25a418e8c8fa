"""What the tests share: where things are, how a script's main() is run, a tiny tokenizer and model."""

from __future__ import annotations

import gc
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

# Before transformers is imported: no test may wait for a network.
os.environ["HF_HUB_OFFLINE"] = "1"
# The models here are tiny: on a busy machine, threads that wait for each other cost far more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from utils import exit_status

from personagpt.settings import VALUE_TYPES
from tests.helpers import NINE_KEYS, ROOT, SAMPLE, SHARED, Outcome
from tests.page.served import ServedPage

# As in a script: with its default threshold, Python looks for garbage among the libraries' objects again and again.
gc.set_threshold(100_000)
# Time is no reason for a test to fail: the machine may be busy.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the tester's shell may pass for a setting."""
    for key in VALUE_TYPES:
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
def encoder(tokenizer):  # noqa: ANN201
    """The encoder of that tokenizer."""
    from personagpt.sequences.format import Encoder

    return Encoder(tokenizer)


@pytest.fixture(scope="session")
def real_tokenizer(shared):  # noqa: ANN201
    """DialoGPT's tokenizer, with the persona tokens. Read only: the whole session shares it."""
    from personagpt.model.loading import load_tokenizer

    return load_tokenizer(str(shared / "dialogpt-medium"))


@pytest.fixture(scope="session")
def nli_folder(tmp_path_factory) -> Path:
    """A tiny classifier of sentence pairs, which knows the pairs of tests.scoring.classifiers. Read only."""
    from tests.scoring.classifiers import train_classifier

    return train_classifier(tmp_path_factory.mktemp("nli"))


@pytest.fixture
def tiny_model(base, tokenizer):  # noqa: ANN201
    """The tiny base model, with rows for the persona tokens, ready to be changed."""
    from personagpt.model.loading import load_model

    return load_model(str(base), len(tokenizer))


@pytest.fixture
def serve_page(tmp_path, tiny_model, tokenizer):  # noqa: ANN201
    """serve_page(turns=4) serves the page with the tiny base model and these limits."""
    from personagpt.model.loading import TrainedModel
    from personagpt.sequences.format import Encoder

    encoder = Encoder(tokenizer)
    trained = TrainedModel("m", None, tiny_model.eval(), tokenizer, encoder, "fp32", "c0ffee", None)
    opened = []

    def serve(**options: object) -> ServedPage:
        opened.append(ServedPage(tmp_path / "conversations", trained, **options))
        return opened[-1]

    yield serve
    for page in opened:
        page.close()


@pytest.fixture(scope="module")
def chromium():  # noqa: ANN201
    """Headless Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no Chromium here (Debian: apt-get install chromium)")
    # As root in a container; and without the services that Chromium itself would ask.
    options = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    options += ["--disable-component-update", "--disable-sync"]
    sync_api.expect.set_options(timeout=60_000)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=options)
        yield browser
        browser.close()


@pytest.fixture
def browse(chromium):  # noqa: ANN201
    """browse(url) opens a page in a browser of its own, which asks no other host and complains of nothing."""
    contexts, asked, complaints, urls = [], [], [], []

    def note(line) -> None:
        if line.type == "error" and not line.text.startswith("Failed to load resource"):  # those the page tells itself
            complaints.append(line.text)

    def open_page(url: str, **options: object):  # noqa: ANN202
        urls.append(url)
        context = chromium.new_context(**options)
        context.set_default_timeout(60_000)  # the machine may be busy
        contexts.append(context)
        shown = context.new_page()
        shown.on("request", lambda request: asked.append(request.url))
        shown.on("pageerror", lambda error: complaints.append(str(error)))
        shown.on("console", note)
        shown.goto(url)
        return shown

    yield open_page
    for context in contexts:
        context.close()
    assert asked
    assert [url for url in asked if not url.startswith((*urls, "data:"))] == []
    assert complaints == []


@pytest.fixture
def gate(monkeypatch):  # noqa: ANN201
    """Each reply stops after its first letters until the gate is opened: `gate.set()`. `gate.batches`: their sizes."""
    from personagpt.page import replies

    opened = threading.Event()
    opened.batches = []
    real = replies.stream_replies

    def stream(model, encoder, drafts, autocast):  # noqa: ANN202
        opened.batches.append(len(drafts))
        for drawn in real(model, encoder, drafts, autocast):
            yield drawn
            if all(reply.shown for reply in drawn):
                opened.wait(timeout=60)

    monkeypatch.setattr(replies, "stream_replies", stream)
    yield opened
    opened.set()


@pytest.fixture(params=[True, False])
def onednn_is_faster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether float32 products on the CPU go through oneDNN: both, whichever processor this is."""
    from personagpt.model import cpu_products

    if request.param and not cpu_products.has_onednn():
        pytest.skip("a PyTorch without oneDNN")
    monkeypatch.setattr(cpu_products, "onednn_is_faster", lambda: request.param)
    return request.param


@pytest.fixture
def disk_events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the disk, in order: "fsync NAME" ("fsync NAME, empty"), "rename NAME", "replace NAME"."""
    events: list[str] = []
    real = {name: getattr(os, name) for name in ("fsync", "rename", "replace")}

    def fsync(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        events.append(f"fsync {path.name}" + ("" if path.is_dir() or path.stat().st_size else ", empty"))
        real["fsync"](descriptor)

    def move(kind: str) -> Callable[[object, object], None]:
        def call(source: object, target: object) -> None:
            real[kind](source, target)
            events.append(f"{kind} {Path(str(target)).name}")

        return call

    monkeypatch.setattr(os, "fsync", fsync)
    for kind in ("rename", "replace"):
        monkeypatch.setattr(os, kind, move(kind))
    return events


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
def write_settings(tmp_path: Path) -> Callable[..., Path]:
    """write_settings(epochs=1, seed=7) writes the nine keys into a file, these changed; None leaves one out."""

    def write(path: Path | None = None, **changes: object) -> Path:
        path = path or tmp_path / ".env"
        values = NINE_KEYS | changes
        path.write_text("".join(f"{key} = '{value}'\n" for key, value in values.items() if value is not None))
        return path

    return write
