"""What the tests of studies share."""

from __future__ import annotations

import pytest

from personagpt.study import routes


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one participant does is there for the other one at once."""
    monkeypatch.setattr(routes, "VIEW_SECONDS", 0.01)
