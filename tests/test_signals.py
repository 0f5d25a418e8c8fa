"""signals.py: what a signal does to a script that imports, works, trains or replies."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from personagpt.errors import Stopped
from personagpt.signals import StopSignals, first_ctrl_c, importing, raise_on_signals
from tests.helpers import ROOT, SECOND_PROCESS


@pytest.fixture(autouse=True)
def _same_handlers() -> Iterator[None]:
    """Every test leaves the handlers as they were."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_second_ctrl_c_stops_at_once() -> None:
    with StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.status == 130
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_sigterm_leaves_the_last_save_alone() -> None:
    with raise_on_signals(), StopSignals() as stop:  # as train.py saves
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), number)
            assert stop.status == 143


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    """`nohup python train.py`, and what a shell script starts with `&`, are left alone."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGHUP)}
    try:
        with StopSignals() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.status == 0
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.status == 143
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 143), (signal.SIGINT, 130)])
def test_a_signal_while_a_script_works_tidies_up(number: signal.Signals, status: int) -> None:
    tidied = []

    def work() -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(tidied.append, True)
            os.kill(os.getpid(), number)
            time.sleep(10)

    with pytest.raises(Stopped) as stopped, raise_on_signals():
        work()
    assert (stopped.value.status, tidied) == (status, [True])


def test_a_signal_in_a_destructor_comes_again() -> None:
    class Slow:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)

    def drop_and_wait() -> None:
        del [Slow()][0]
        time.sleep(10)

    with pytest.raises(Stopped), raise_on_signals():
        drop_and_wait()


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_signal_while_libraries_are_imported_is_one_line_of_the_first_process(rank: str) -> None:
    program = (
        "import os, signal\nfrom personagpt.signals import importing\n"
        "with importing():\n    try: os.kill(os.getpid(), signal.SIGTERM)\n    except BaseException: pass\n"
        "    print('went on')"
    )
    environment = os.environ | SECOND_PROCESS | {"RANK": rank}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (143, "")
    assert done.stderr == ("stopped by SIGTERM\n" if rank == "0" else "")


def test_importing_leaves_the_handlers_as_they_were() -> None:
    with pytest.raises(ZeroDivisionError), importing():
        raise ZeroDivisionError


def test_only_the_first_ctrl_c_stops_a_reply() -> None:
    with first_ctrl_c() as pressed:
        os.kill(os.getpid(), signal.SIGINT)
        assert pressed == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
