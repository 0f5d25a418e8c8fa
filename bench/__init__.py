"""Benchmarks, each a module with a command line: `python -m bench.train_speed --help`. RESULTS.md has the figures."""

from personagpt.startup import set_environment

# Every benchmark imports this package before torch. So its threads and its memory behave as in the scripts.
set_environment()
