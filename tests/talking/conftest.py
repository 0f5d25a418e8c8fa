"""A tiny model as training leaves it, and a session with it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from personagpt import load
from personagpt.model.loading import TrainedModel, load_model
from personagpt.model.sampling import Sampling
from personagpt.records.database import Recordings
from personagpt.records.talks import Talk
from personagpt.sequences.format import Encoder
from personagpt.sequences.goals import Goal
from personagpt.talking.commands import Commands
from personagpt.talking.session import Session

FACTS = ["i have two dogs .", "i work as a nurse ."]
GOALS = [
    Goal("ask about pets.", True, frozenset({"pet"})),
    Goal("talk about work.", False, frozenset({"work"})),
]
WILD = Sampling(top_k=0, top_p=1.0, temperature=3.0)  # two seeds hardly ever give the same reply
PAIRS = [(["i am old ."], ["i ski ."])]
TEXT = """\
1 your persona: i ski .
2 partner's persona: i am old .
3 hi ! any hobbies ?\ti ski . and you ?
4 nice . any hobbies ?\tbye .
1 your persona: i sing .
2 so ?\tno .
"""


@pytest.fixture(scope="session")
def folder(tmp_path_factory, base, tokenizer):  # noqa: ANN201
    """The folder of the model."""
    folder = tmp_path_factory.mktemp("model")
    load_model(str(base), len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def model(folder) -> TrainedModel:
    """The model. Read only: the whole session shares it."""
    return load(folder)


@pytest.fixture
def says(monkeypatch, model) -> Callable[..., list[int]]:
    """says("a", "b") lets the next draws spell these replies; returns the tokens still to come."""

    def script(*texts: str) -> list[int]:
        encoder = model.encoder
        waiting = [token for text in texts for token in [*encoder.texts([text])[0], encoder.eos]]
        monkeypatch.setattr(Sampling, "draw", lambda *_: torch.tensor([waiting.pop(0)]))
        return waiting

    return script


@pytest.fixture
def contexts(monkeypatch) -> list[dict]:
    """What each request for a context asks for: `facts`, `utterances`, `goal`."""
    asked: list[dict] = []
    context = Encoder.context

    def listen(self: Encoder, speaker: int, facts: list, utterances: list, room: int, goal: str | None = None) -> list:
        asked.append({"facts": facts, "utterances": utterances, "goal": goal})
        return context(self, speaker, facts, utterances, room, goal)

    monkeypatch.setattr(Encoder, "context", listen)
    return asked


@pytest.fixture
def make_session(model, tmp_path) -> Callable[..., Session]:
    """make_session(goal="ask about pets.") returns a session whose talk has begun."""

    def make(trained: TrainedModel = model, seed: int | None = 7, **options: object) -> Session:
        sampling = options.pop("sampling", Sampling())
        session = Session(trained, sampling, seed, Recordings(tmp_path), **options)
        session.begin(FACTS)
        return session

    return make


@pytest.fixture
def session(make_session) -> Session:
    return make_session()


@pytest.fixture
def commands(session) -> Commands:
    return Commands(session, GOALS, lambda: PAIRS)


@pytest.fixture
def recorded(tmp_path) -> Callable[[], list[Talk]]:
    """The talks on record, as another program reads them."""
    return lambda: Recordings(tmp_path).talks()
