"""personagpt/model/api_kept.py: what a program behind an API has said is not asked for again."""

from __future__ import annotations

import pytest

from personagpt.model.api import ApiError, ApiProgram
from personagpt.model.api_kept import KeptReplies
from personagpt.model.api_settings import Api, Drawing
from tests.api_server import refusing, serving, streamed

ASKED = [(["i ski."], [f"word {number}"]) for number in range(4)]


def test_a_second_run_goes_on(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("personagpt.model.api.TOGETHER", 1)
    monkeypatch.setattr(ApiProgram, "_closes_within", lambda self, seconds: False)
    path = tmp_path / "new" / "replies.jsonl"
    with serving(streamed("one"), streamed("two"), refusing(401, "no")) as server:

        def replies(asked=ASKED, drawing: Drawing | None = None) -> list[str]:
            return list(ApiProgram(Api(server.url, "m"), KeptReplies(path)).replies(asked, drawing))

        with pytest.raises(ApiError, match=r"no; 2 replies are kept: run the same command again to go on$"):
            replies()
        assert len(server.requests) == 3  # none after the refusal
        assert capsys.readouterr().out == ""
        path.write_bytes(path.read_bytes() + b'\n{"request": "cut')  # killed while it wrote
        server.requests.clear()
        server.answers = [streamed("three"), streamed(""), refusing(500, "busy")]
        with pytest.raises(ApiError, match=r"; 3 replies are kept"):
            replies([*ASKED[:3], ASKED[0]])  # the same again is another reply, and an empty one is none
        said = [request["messages"][-1]["content"] for request in server.requests[:2]]
        assert said == ["word 2", "word 0"]
        assert "going on with 2 kept replies of a run that did not end" in capsys.readouterr().out
        server.answers = [streamed("four")]
        assert replies(drawing=Drawing(7)) == ["four"] * 4  # drawn otherwise: other requests
        assert replies() == ["one", "two", "three", "four"]
    KeptReplies(path).remove()
    assert not path.exists()
