"""Benchmarks, each a module with a command line: `python -m bench.train_speed --help`. RESULTS.md has the figures."""

import personagpt  # noqa: F401  before torch, as in the scripts: it says how threads wait
