"""PersonaGPT: everything the scripts are made of, in folders that are the stations a dialogue passes.

text -> sequences -> model -> scoring -> talking | training          each imports what is left of it
errors, files, settings, signals, device                                the ground all stand on
"""

from __future__ import annotations

import os
from importlib import import_module

# Before torch is imported anywhere. Threads that wait for one another otherwise spin for milliseconds; on a machine
# that others use too, they then burn the time of the very thread they wait for. bench/RESULTS.md has the rates.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

PUBLIC = {  # name -> its module
    "Persona": "personagpt.talking.persona",
    "PersonaChatDataset": "personagpt.sequences.dataset",
    "load": "personagpt.model.loading",
}


def __getattr__(name: str) -> object:
    """The public names, imported when first used: `import personagpt` alone does not load torch."""
    if name not in PUBLIC:
        raise AttributeError(f"module 'personagpt' has no attribute {name!r}")
    return getattr(import_module(PUBLIC[name]), name)
