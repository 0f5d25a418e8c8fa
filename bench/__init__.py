"""Benchmarks, each a module with a command line: `python -m bench.train_speed --help`. RESULTS.md has the figures."""
