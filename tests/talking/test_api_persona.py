"""personagpt/talking/api_persona.py: a program behind an API as a speaker."""

from __future__ import annotations

from personagpt.model.api import ApiProgram
from personagpt.model.api_settings import Api
from personagpt.talking.api_persona import ApiPersona
from tests.api_server import serving, streamed


def test_a_talk_with_two_personas(monkeypatch) -> None:
    monkeypatch.setattr(ApiProgram, "_closes_within", lambda self, seconds: False)
    with serving(streamed("Hi"), streamed("You?"), streamed(""), streamed("Me")) as server:
        program = ApiProgram(Api(server.url, "m"))
        first = ApiPersona(program, ["a."], str.lower, seed=3)
        assert "".join(first.stream(None)) == "hi"
        assert "".join(first.stream("who ?")) == "you?"
        assert first.history == ["hi", "who ?", "you?"]
        assert [request["seed"] for request in server.requests] == [3, 3]
        server.answers = [streamed("")]
        assert list(first.stream("and ?")) == []
        assert first.history == ["hi", "who ?", "you?"]
        server.answers = [streamed("Well")]
        second = ApiPersona(program, ["b."], str.lower)
        heard: dict[int, str] = {}
        ApiPersona.replies([(second, "yo"), (first, "so ?")], heard.update)
        assert heard == {0: "well", 1: "well"}
        assert (second.history, first.history[-2:]) == (["yo", "well"], ["so ?", "well"])
        ApiPersona.replies([], heard.update)
