"""Break the package in thousands of small ways and count what no test notices.

    python bench/mutants.py [--elsewhere 0.5] [--processes 2] [PATTERN ...]      (PATTERN: 'personagpt.model.*')

mutmut (its settings: pyproject.toml) makes the mutants, says which tests reach which function, and shows a survivor:
`mutmut show NAME`. It tries them too, but starts pytest anew for each, which takes ten times as long as the test that
notices. Here the tests are collected once, and each mutant gets a fork, in which those run first that noticed another
mutant of the function, then the tests that mirror the module, then the quickest others, half a second's worth.

Prints each survivor and, for each module, mutants, killed, of these those that hung or looped, and survivors.
Writes verdicts into mutants/, where mutmut reads them. Not `python -m`: that would import the package unbroken.
"""

from __future__ import annotations

import argparse
import fnmatch
import gc
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tqdm import tqdm

FOLDER = Path("mutants").absolute()
SHARED_FIXTURES = {"tokenizer", "real_tokenizer"}  # read-only ones of the session, which every fork would make anew
CPU_SECONDS = 10  # on top of ten times what a test takes: one that takes longer loops
# A mutant that computes for less than IDLE_CPU seconds in IDLE_SECONDS waits for ever, on however busy a machine.
IDLE_SECONDS, IDLE_CPU = 20.0, 0.4
SURVIVED, KILLED, NO_TESTS, HANGS = 0, 1, 33, 36  # mutmut's numbers
FIRST = "personagpt.scoring.tally.x_perplexity__mutmut_1"  # mutmut makes mutants only where it may try one
NONE, EVERY = "", "fail"  # in place of a mutant's name: the code as it is, and every function broken


@dataclass
class Trial:
    """A mutant in its fork."""

    name: str
    tests: list[str]
    killer: int  # a pipe from which the name of the test that notices comes, on a line
    began: float
    since: float  # when it was last seen to have computed for IDLE_CPU seconds more, and how many till then
    cpu: float = 0.0
    hangs: bool = False


def has_survived(verdict: int) -> bool:
    return verdict in (SURVIVED, NO_TESTS)


def function_of(mutant: str) -> str:
    return mutant.rpartition("__mutmut_")[0]


def prepare() -> int:
    """Make the mutants, and measure which tests reach which function. Returns mutmut's exit status."""
    (FOLDER / "mutmut-stats.json").unlink(missing_ok=True)
    return subprocess.run([sys.executable, "-m", "mutmut", "run", FIRST]).returncode


def all_mutants(patterns: list[str]) -> list[str]:
    """Those that match, in the order of their modules."""
    names = [
        name for path in sorted(FOLDER.glob("personagpt/**/*.meta"))
        for name in json.loads(path.read_text("utf-8"))["exit_code_by_key"]
    ]  # fmt: skip
    return [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]


def write_verdicts(verdicts: dict[str, int]) -> None:
    for path in FOLDER.glob("personagpt/**/*.meta"):
        known = json.loads(path.read_text("utf-8"))
        codes = known["exit_code_by_key"]
        codes |= {name: code for name, code in verdicts.items() if name in codes}
        path.write_text(json.dumps(known, indent=4), "utf-8")


def tests_by_module_fixture(items: Iterable[pytest.Item]) -> dict[str, set[str]]:
    """For each test, those that share a fixture of their module with it: mutmut blames its calls on the first alone."""
    using: dict[tuple[Path, str], set[str]] = defaultdict(set)
    for item in items:
        for name, definitions in item._fixtureinfo.name2fixturedefs.items():
            if definitions[-1].scope == "module":
                using[item.path, name].add(item.nodeid)
    sharing: dict[str, set[str]] = defaultdict(set)
    for tests in using.values():
        for test in tests:
            sharing[test] |= tests
    return sharing


class Trials:
    """A pytest plugin: in place of running the tests once, every mutant against those that reach it."""

    def __init__(self, names: list[str], processes: int, elsewhere: float) -> None:
        stats = json.loads((FOLDER / "mutmut-stats.json").read_text("utf-8"))
        self.reaching: dict[str, list[str]] = stats["tests_by_mangled_function_name"]
        self.seconds: dict[str, float] = {}  # of each test with its fixtures, which mutmut's durations leave out
        self.names, self.processes, self.elsewhere = names, processes, elsewhere
        self.verdicts: dict[str, int] = {}
        self.noticed: dict[str, list[str]] = defaultdict(list)  # function -> tests, the last one first
        self.running: dict[int, Trial] = {}
        self.survivors = 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.session = session
        self.items = {item.nodeid: item for item in session.items}
        self.sharing = tests_by_module_fixture(session.items)
        self.make_shared_fixtures()
        gc.freeze()
        self.leave_out_what_fails_anyway()
        self.start(EVERY, list(self.items))
        self.reap_until(0)
        if self.verdicts[EVERY] != KILLED:
            raise pytest.UsageError("no test notices that every function is broken: they do not run the mutants")
        self.verdicts.clear()
        self.bar = tqdm(total=len(self.names), unit="mutant", mininterval=5.0, smoothing=0.02)
        try:
            for name in self.names:
                self.start(name, self.tests_for(name))
                self.reap_until(self.processes - 1)
            self.reap_until(0)
        finally:
            self.bar.close()
            write_verdicts(self.verdicts)
        return True

    def leave_out_what_fails_anyway(self) -> None:
        """Each test in a fork of its own, as it may come first for a mutant; and how long it takes there."""
        for test in self.items:
            self.start(NONE, [test])
            self.reap_until(self.processes - 1)
        self.reap_until(0)
        for test in self.noticed.pop(NONE, []):
            print(f"left out, since it fails without any mutant: {test}")
            del self.items[test]

    def listchain(self) -> list[pytest.Session]:
        """As the test that follows another one: all but the session's fixtures are torn down in between."""
        return [self.session]

    def make_shared_fixtures(self) -> None:
        from mutmut.mutation import trampoline

        missing, reached = set(SHARED_FIXTURES), set()
        trampoline.record_trampoline_hit = lambda name, **caller: reached.add(name)
        trampoline.set_mutant_under_test("stats")
        for item in sorted(self.items.values(), key=lambda item: len(item.fixturenames)):
            if made := missing & set(item.fixturenames):
                item.session._setupstate.setup(item)
                item.session._setupstate.teardown_exact(self)
                item._initrequest()  # else the item would keep the fixtures' values
                missing -= made
        trampoline.set_mutant_under_test("")
        self.made_by = reached  # functions whose mutants need the fixtures anew

    def tests_for(self, name: str) -> list[str]:
        function = function_of(name)
        *folders, module = function.split(".")[:-1]
        mirror = "/".join(["tests", *folders[1:], f"test_{module}.py"])
        reaching = set(self.reaching.get(function, ())) & self.items.keys()
        if function in self.made_by:  # mutmut knows only of the first test that has the fixture
            reaching |= {test for test, item in self.items.items() if SHARED_FIXTURES & set(item.fixturenames)}
        reaching |= set().union(*(self.sharing[test] for test in reaching)) & self.items.keys()
        tests = sorted(reaching, key=self.seconds.__getitem__)
        near = [test for test in tests if test.startswith(mirror)]
        others = [test for test in tests if test not in near]
        spent = itertools.accumulate(self.seconds[test] for test in others)
        quick = [test for test, sum_ in zip(others, spent, strict=True) if sum_ <= self.elsewhere]
        return list(dict.fromkeys([*self.noticed[function], *near, *quick])) or others[:1]

    def start(self, name: str, tests: list[str]) -> None:
        """Fork for a mutant."""
        if not tests:
            self.note(name, NO_TESTS)
            return
        reader, writer = os.pipe()
        process = os.fork()
        if process:
            os.close(writer)
            self.running[process] = Trial(name, tests, reader, time.monotonic(), time.monotonic())
            return
        status = 3  # an error of pytest's: mutmut counts it as killed
        try:
            status = self.run_tests(name, tests, writer)
        finally:
            os._exit(status)

    def run_tests(self, name: str, tests: list[str], writer: int) -> int:
        from _pytest.runner import runtestprotocol
        from mutmut.mutation import trampoline

        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        # pytest empties its folder where it is first asked for one: a fork that had no own would empty another's.
        factory = self.session.config._tmp_path_factory
        factory._basetemp = Path(tempfile.mkdtemp(dir=factory._given_basetemp))
        if function_of(name) in self.made_by:
            self.session._setupstate.teardown_exact(None)
        trampoline.set_mutant_under_test(name)
        for test, following in itertools.zip_longest(tests, tests[1:]):
            limit = time.process_time() + CPU_SECONDS + 10 * self.seconds.get(test, 1.0)
            resource.setrlimit(resource.RLIMIT_CPU, (int(limit), resource.RLIM_INFINITY))
            follows = self.items[following] if following else self
            if any(report.failed for report in runtestprotocol(self.items[test], nextitem=follows, log=False)):
                os.write(writer, f"{test}\n".encode())
                if name != NONE:
                    return KILLED
        return SURVIVED

    def reap_until(self, left: int) -> None:
        """Wait until no more than so many run."""
        while len(self.running) > left:
            self.reap()

    def reap(self) -> None:
        """Wait a moment for the mutants that run; end one that waits for ever."""
        process, status = os.waitpid(-1, os.WNOHANG)
        if not process:
            time.sleep(0.005)
            for running, trial in self.running.items():
                if self.is_stuck(running, trial):
                    os.kill(running, signal.SIGKILL)
                    trial.hangs = True
            return
        trial = self.running.pop(process, None)
        if trial is None:
            return
        with open(trial.killer, encoding="utf-8") as pipe:
            killers = pipe.read().splitlines()
        code = os.waitstatus_to_exitcode(status)
        if trial.name == NONE:
            self.seconds[trial.tests[0]] = time.monotonic() - trial.began
        self.note(trial.name, HANGS if trial.hangs or code == -signal.SIGXCPU else code)
        for killer in killers:
            noticed = self.noticed[function_of(trial.name)]
            noticed[:] = [killer, *(test for test in noticed if test != killer)]

    def note(self, name: str, verdict: int) -> None:
        if name == NONE and verdict != SURVIVED:
            raise pytest.UsageError("the tests come to no end without any mutant")
        self.verdicts[name] = verdict
        if name not in (NONE, EVERY):
            self.survivors += has_survived(verdict)
            self.bar.set_postfix(survivors=self.survivors, refresh=False)
            self.bar.update()

    def is_stuck(self, process: int, trial: Trial) -> bool:
        if time.monotonic() - trial.since < IDLE_SECONDS:
            return False
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        cpu = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")  # its own and its children's, user's and system's
        if cpu - trial.cpu < IDLE_CPU:
            return True
        trial.cpu, trial.since = cpu, time.monotonic()
        return False


def print_table(verdicts: dict[str, int]) -> None:
    """Survivors, then a line for each module."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for name, code in verdicts.items():
        survived = has_survived(code)
        if survived:
            print(f"{name}{'   no test reaches it' if code == NO_TESTS else ''}")
        module = function_of(name).rpartition(".")[0]
        counts[module] += Counter(mutants=1, killed=not survived, hung=code == HANGS, survived=survived)
    counts["all"] = sum(counts.values(), Counter())
    print(f"\n{'':<40}{'mutants':>9}{'killed':>9}{'hung':>9}{'survived':>9}")
    for module, count in counts.items():
        cells = "".join(f"{count[name]:>9,}" for name in ("mutants", "killed", "hung", "survived"))
        print(f"{module:<40}{cells}{100 * count['killed'] / count['mutants']:7.1f} %")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("patterns", nargs="*", default=["personagpt.*"], metavar="PATTERN")
    parser.add_argument("--elsewhere", type=float, default=0.5, help="seconds of tests that do not mirror the module")
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args()
    settings = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["tool"]["mutmut"]
    began = time.monotonic()
    if status := prepare():
        return status
    prepared = time.monotonic()
    names = all_mutants(chosen.patterns)
    if not names:
        parser.error(f"no mutant's name matches {' '.join(chosen.patterns)}; they look like {FIRST}")
    trials = Trials(names, chosen.processes, chosen.elsewhere)
    os.environ |= {"OMP_NUM_THREADS": "1", "MUTANT_UNDER_TEST": ""}
    os.chdir(FOLDER)
    sys.path[0] = str(FOLDER)  # from here on, `personagpt` is the copy that holds the mutants
    with tempfile.TemporaryDirectory(prefix="mutants-") as temporary:
        status = pytest.main(
            [
                "--rootdir=.", "-q", "-s", "-p", "no:xdist", "--basetemp", temporary,
                "--tb=native", "--assert=plain",  # to say at length what failed takes as long as the test
                "-o", "tmp_path_retention_policy=none",
                *settings["pytest_add_cli_args"], *settings["pytest_add_cli_args_test_selection"],
            ],
            plugins=[trials],
        )  # fmt: skip
    if status:
        return int(status)
    print_table(trials.verdicts)
    ended = time.monotonic()
    print(f"\n{(prepared - began) / 60:.1f} minutes to make the mutants, {(ended - prepared) / 60:.1f} to try them")
    return 0


if __name__ == "__main__":
    sys.exit(main())
