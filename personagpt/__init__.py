"""PersonaGPT: everything that the scripts are made of, in a folder for each station that a dialogue passes.

text -> importing | records | sequences -> model -> scoring -> training | talking | detection
records, talking -> page -> study
errors, files, settings, signals, startup, output, device: the ground, which every folder may import

Programs use `from personagpt import Persona, PersonaChatDataset, load`.
"""

from __future__ import annotations

from importlib import import_module

PUBLIC = {  # name -> its module
    "Persona": "personagpt.talking.persona",
    "PersonaChatDataset": "personagpt.sequences.dataset",
    "load": "personagpt.model.loading",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that `import personagpt` alone does not load torch."""
    if name not in PUBLIC:
        raise AttributeError(f"module 'personagpt' has no attribute {name!r}")
    return getattr(import_module(PUBLIC[name]), name)
