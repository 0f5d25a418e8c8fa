"""personagpt/scoring/api.py: the replies of a program behind an API, scored; tests/test_serve.py has a real server."""

from __future__ import annotations

import numpy as np
import pytest

from personagpt.model.api import ApiProgram, EmptyReply
from personagpt.model.api_settings import Api
from personagpt.scoring.api import asked_of, score_api
from personagpt.scoring.evaluation import EvaluationPlan
from personagpt.scoring.generated import greedy_replies
from personagpt.text.convai2 import parse_corpus
from tests.api_server import serving, streamed
from tests.scoring.helpers import CANDIDATES, PLAIN, dataset_of


@pytest.mark.parametrize("count", [1, 3, 4, 7, 100])
def test_the_responses_are_those_of_a_model_on_this_machine(tiny_model, encoder, count, monkeypatch) -> None:
    generate = "personagpt.scoring.generated.generate_replies"
    monkeypatch.setattr(generate, lambda model, encoder, asked, *_: [""] * len(asked))
    own = greedy_replies(tiny_model, dataset_of(CANDIDATES.encode(), encoder), encoder, PLAIN, count)
    asked, replies = asked_of(parse_corpus(CANDIDATES.encode(), "t"), "both", 20, count)
    assert (replies.human, replies.facts, replies.earlier) == (own.human, own.facts, own.earlier)
    for name in ("dialogues", "turns"):
        assert np.array_equal(getattr(replies.places, name), getattr(own.places, name))
    assert [facts for facts, _ in asked] == replies.facts
    assert asked[0] == (["i like rap music ."], [])


def test_a_side_and_a_number_of_turns() -> None:
    corpus = parse_corpus(CANDIDATES.encode(), "t")
    asked, replies = asked_of(corpus, "second", 2, 100)
    assert replies.human == ["great . just walking my dogs .", "hello , who are you ?"]
    assert asked[0] == (["i have two dogs.", "i work as a nurse."], ["hi ! how are you ?"])


def test_figures_by_hand(tmp_path, capsys) -> None:
    path = tmp_path / "t.txt"
    path.write_text(CANDIDATES)
    plan = EvaluationPlan(path, parse_corpus(CANDIDATES.encode(), "t"), [], "second", 2, by_turn=True)
    words = {2: "great dogs", 4: "i am nurse"}  # by the number of messages
    with serving(lambda handler: streamed(words[len(handler.body["messages"])])(handler)) as server:
        program = ApiProgram(Api(server.url, "m"))
        figures = score_api(program, plan, 20)
        assert [request["temperature"] for request in server.requests] == [0, 0]
        server.answers = [streamed("")]
        program._closes_within = lambda seconds: False
        with pytest.raises(EmptyReply, match="every reply is empty"):
            score_api(program, plan, 20)
    # great dogs: 2 of 2 and 5 words; i am nurse: 3 of 3 and 8 words (ConvAI2 leaves out a, an, the).
    one, two = 2 * 2 / (2 + 5), 2 * 3 / (3 + 3)
    assert figures["word_f1"] == pytest.approx((one + two) / 2)
    assert [row["word_f1"] for row in figures["by_turn"]] == pytest.approx([one, two])
    assert (figures["generated"], figures["model"], figures["temperature"]) == (2, f"api://{program.api.host}/m", 0.0)
    assert "prompt_sha256" in figures
    assert "perplexity" not in figures
    assert "word_f1" in capsys.readouterr().out
