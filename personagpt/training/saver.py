"""Save checkpoints and the best model while training goes on."""

from __future__ import annotations

import ctypes
import functools
import json
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from personagpt.errors import RunError
from personagpt.model.decoders import context_length
from personagpt.text.style import STYLE
from personagpt.training.card import write_card
from personagpt.training.checkpoint import save_best, save_checkpoint
from personagpt.training.optimization import REFERENCE, Trainer, optimizer_tensors
from personagpt.training.resume import RunState
from personagpt.training.start import RunPlan

SLACK = 64 << 20  # bytes left free beyond a checkpoint's own, for logs, plots and the tokenizer


class SaveThread:
    """Runs saves beside training, one at a time. An error of a save is raised in the thread of training."""

    def __init__(self) -> None:
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None

    def start(self, save: Callable[[], None]) -> None:
        """Wait for the save in progress, then run `save` beside the caller."""

        def run() -> None:
            try:
                save()
            except BaseException as error:
                self.error = error

        self.wait()
        self.thread = threading.Thread(target=run, name="save")
        self.thread.start()

    def wait(self) -> None:
        """Return when no save is in progress. Raises the error of the last save."""
        if self.thread is not None:
            self.thread.join()
            self.thread = None
        self.check()

    def check(self) -> None:
        """Raise the error of the last save, if it had one. Does not wait."""
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def __enter__(self) -> SaveThread:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Let the save in progress end, also where an error ends the run. A Ctrl-C ends the save at once."""
        if kind is None:
            return self.wait()
        if self.thread is not None:
            if not issubclass(kind, Exception):  # raise Ctrl-C in the save's thread, which then tidies up
                interrupt = ctypes.pythonapi.PyThreadState_SetAsyncExc
                interrupt(ctypes.c_ulong(self.thread.ident), ctypes.py_object(KeyboardInterrupt))
            self.thread.join()


class Saver:
    """Writes a run's model as it is now, with everything that a user of the model needs beside it."""

    def __init__(self, plan: RunPlan, trainer: Trainer) -> None:
        self.plan, self.trainer, self.thread = plan, trainer, SaveThread()
        self.folder = trainer.settings.save_path / "checkpoint"

    def save_checkpoint(self, state: RunState, draw_plots: Callable[[], None]) -> None:
        """Save what resuming from `state` needs, then draw the plots."""
        masters = self.trainer.precision == "apex-O2"
        tensors = optimizer_tensors(self.trainer.optimizer, with_masters=masters)
        if self.trainer.reference is not None:
            tensors[REFERENCE] = self.trainer.reference
        content = state.to_json()

        def write(write_model: Callable[[Path], None], tensors: dict[str, Tensor]) -> None:
            save_checkpoint(self.folder, state.step, write_model, content, tensors)
            draw_plots()

        self._save(state, tensors, write)

    def save_best(self, state: RunState) -> None:
        """Save the model as the best one of the run."""
        step = state.step
        self._save(state, {}, lambda write_model, _: save_best(self.folder, step, write_model))

    def _save(
        self,
        state: RunState,
        tensors: dict[str, Tensor],
        write: Callable[[Callable[[Path], None], dict[str, Tensor]], None],
    ) -> None:
        """Let `write` save the model and `tensors` as they are now, beside the next steps if memory allows it."""
        self.thread.wait()  # the save in progress may free the room that this save needs
        self.folder.mkdir(parents=True, exist_ok=True)
        weights = self._weights()
        size = size_of(weights) + size_of(tensors)
        check_room(self.folder, size)
        beside = has_memory(size)
        if beside:
            weights, tensors = copies(weights), copies(tensors)
        write_model = functools.partial(self._write_model, weights, replace(state))
        self.thread.start(lambda: write(write_model, tensors))
        if not beside:
            self.thread.wait()

    def _weights(self) -> dict[str, Tensor]:
        weights = self.trainer.model.state_dict()
        model = self.trainer.model
        if model.config.tie_word_embeddings:  # under apex-O2 every entry is a copy: the matrix would be saved twice
            head = model.get_output_embeddings()
            del weights[next(name for name, module in model.named_modules() if module is head) + ".weight"]
        return weights

    def _write_model(self, weights: dict[str, Tensor], state: RunState, folder: Path) -> None:
        """Write model and tokenizer, as from_pretrained loads them, the text's style and the model card."""
        model, settings, tokenizer = self.trainer.model, self.trainer.settings, self.plan.tokenizer
        model.save_pretrained(folder, state_dict=weights)
        tokenizer.save_pretrained(folder)
        if self.plan.train.style:
            (folder / STYLE).write_text(json.dumps(self.plan.train.style.plain(), indent=2), encoding="utf-8")
        write_card(folder, settings, tokenizer, context_length(model.config), state.step, state.evaluation)


def check_room(folder: Path, size: int) -> None:
    """Raise RunError unless the disk of `folder` has `size` bytes and SLACK free."""
    free = shutil.disk_usage(folder).free
    if free < size + SLACK:
        raise RunError(
            f"{folder}: a checkpoint needs {(size + SLACK) / 1e9:.2f} GB and {free / 1e9:.2f} GB are free; nothing was "
            "written and the last checkpoint is intact: free some space, then run the same command again to go on"
        )


def copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of `tensors` on the CPU. The next step changes the weights themselves in place."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def size_of(tensors: dict[str, Tensor]) -> int:
    """Return the size of all `tensors` in bytes."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def has_memory(size: int) -> bool:
    """Return whether twice `size` bytes of memory are available; True where the system does not say."""
    try:
        available = re.search(r"MemAvailable: +([0-9]+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        return True
    return available is None or int(available[1]) * 1024 > 2 * size
