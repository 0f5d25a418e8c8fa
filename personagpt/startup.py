"""Set up the process of a script. utils.py imports this module before all others.

From this import on, Ctrl-C ends a script of this repository with one line, also while it imports other modules.
"""

from __future__ import annotations

import os
import sys

from personagpt.signals import exit_on_signals

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Read by libraries when torch and transformers are imported. bench/RESULTS.md has the effects.
ENVIRONMENT = {
    # Threads that wait for one another spin for milliseconds by default. On a busy machine the spinning takes the time
    # of the thread that they wait for.
    "GOMP_SPINCOUNT": "1000",
    # On a CPU, torch asks Linux for memory in pages of 2 MB in place of 4 KB: a 500th of the page faults.
    "THP_MEM_ALLOC_ENABLE": "1",
    # oneDNN keeps 1,024 compiled programs in each of two caches: half a gigabyte for lengths that hardly come back. A
    # training step has about 15 shapes.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
    "LRU_CACHE_CAPACITY": "64",
    # Without this value the tokenizers library warns at a later fork, such as a data loader's.
    "TOKENIZERS_PARALLELISM": "true",
}


def set_environment() -> None:
    """Set the environment variables that make torch faster and quieter. Call it before torch is imported.

    A variable that the user has set stays as it is.
    """
    for name, value in ENVIRONMENT.items():
        if name != "GOMP_SPINCOUNT" or "OMP_WAIT_POLICY" not in os.environ:
            os.environ.setdefault(name, value)


def is_script() -> bool:
    """Return whether Python was started with a script of this repository's root, such as `python train.py`."""
    path = os.path.abspath(sys.argv[0])
    return os.path.dirname(path) == ROOT and os.path.isfile(path)


if is_script():
    exit_on_signals()
