"""The tables, whole: every column where it stands."""

from __future__ import annotations

from personagpt.scoring.report import COMPARABLE, table, table_by_turn, table_of_differences, table_of_interviews

FIGURES = {
    "loss": 2.34567,
    "perplexity": 10.4402,
    "turn_perplexity": 12.25,
    "token_f1": 0.4321,
    "responses": 1234,
    "response_tokens": 56789,
}


def test_the_metrics_that_there_are() -> None:
    found = FIGURES | {"generated": 1000, "goal_replies": 2000, "identified": 3000}
    counts = {"identified_among": 15, "identified_left_out": 0}
    expected = """\
loss               2.3457   nats per response token
perplexity          10.44   exp(loss)
turn_perplexity     12.25   mean over responses, first token left out
token_f1           43.2 %   of sets of teacher-forced tokens: to be distrusted
responses           1,234   of 56,789 tokens"""
    assert table(FIGURES, comparable=False) == expected
    more = """
generated           1,000   replies, greedy
goal_replies        2,000   replies, greedy, with a goal and without it
identified          3,000   sides, each among 15 personas: chance 6.7 %; the text has no more"""
    assert table(found | counts, comparable=False) == expected + more
    left_out = table(found | counts | {"identified_left_out": 7}, comparable=False)
    assert left_out == expected + more + "; 7 left out (no persona, or no room for another one)"
    enough = table(FIGURES | {"identified": 3000, "identified_among": 20, "identified_left_out": 0}, comparable=False)
    assert enough == f"{expected}\nidentified          3,000   sides, each among 20 personas: chance 5.0 %"
    two = table(FIGURES | {"identified": 3, "identified_among": 2, "identified_left_out": 0}, comparable=False)
    assert two.endswith("3   sides, each among 2 personas: chance 50.0 %; the text has no more")
    alone = FIGURES | {"identified_among": 1, "identified_left_out": 2}
    last = "identified              0   sides: the text has no two personas to tell apart"
    assert table(alone, comparable=False) == f"{expected}\n{last}"


def test_the_published_figures_beside_them() -> None:
    assert table(FIGURES, comparable=True) == table(FIGURES, comparable=False) + "\n" + (
        """
published on ConvAI2  turn_perplexity  token_f1   word_f1  hits_at_1   published otherwise
this model                      12.25    43.2 %
PersonaGPT                      ~12.6    43.4 %                        perplexity 10.2, over two <eos>
DialoGPT, fine-tuned            ~14.2    22.7 %                        perplexity 11.4, over two <eos>
TransferTransfo                                   19.09 %              17.51 per word; hits@1 82.1 % by a trained head
P2Bot                                             19.77 %              15.12 per token; hits@1 81.9 % by a trained head
Lost in Conversation                              17.79 %     17.3 %

"""
        + COMPARABLE
    )
    more = table(FIGURES | {"word_f1": 0.1955, "hits_at_1": 0.1234, "side": "second"}, comparable=True)
    assert "\nresponses           1,234   of 56,789 tokens, of the speaker who talks second\n" in more
    assert "\nthis model                      12.25    43.2 %    19.6 %     12.3 %\n" in more


def test_a_line_for_each_turn() -> None:
    rows = [
        {"turn": 1, "responses": 1000, "perplexity": 9.5, "turn_perplexity": 8.0},
        {"turn": 12, "responses": 2, "perplexity": 10.25},
    ]
    assert table_by_turn(rows) == (
        "turn  responses  perplexity  turn_perplexity\n"
        "   1      1,000        9.50             8.00\n"
        "  12          2       10.25"
    )
    assert table_by_turn([{"turn": 1, "responses": 3, "loss": 1.0}]) == (
        "turn  responses       loss\n   1          3     1.0000"
    )


def test_two_models() -> None:
    ours = {"perplexity": 4027180.88, "word_f1": 0.2, "distinct_1": 0.1, "hits_at_1": 0.5}
    theirs = {"perplexity": 1234567.89, "word_f1": 0.25, "distinct_1": 0.125, "hits_at_1": 0.6, "loss": 2.0}
    differences = {
        "word_f1": {"difference": 0.05, "low": -0.01, "high": 0.11},
        "distinct_1": {"difference": 0.025, "low": 0.0125, "high": 0.05},
    }
    expected = """\
                         A         B      B - A   95 % interval
perplexity      4027180.88 1234567.89
word_f1             20.0 %    25.0 %     +5.0 %   -1.0 % to +11.0 %
distinct_1          10.0 %    12.5 %     +2.5 %   +1.2 % to +5.0 %
hits_at_1           50.0 %    60.0 %

Intervals: 2,000 resamples of the text's dialogues; where 0 lies outside, it is hardly chance."""
    assert table_of_differences(ours, theirs, differences, True) == expected
    words = """
The two models cut text into different tokens, so figures per token have no difference here.
word_perplexity, of the same words for both models, compares them."""
    assert table_of_differences(ours, theirs, differences, False) == expected + words


def test_interviews_by_question_and_order() -> None:
    def row(number: int, **over: object) -> dict[str, object]:
        first, mrr = {"value": 0.5, "low": 0.4, "high": 0.6}, {"value": 0.75, "low": 0.7, "high": 0.8}
        return {
            "questions": number,
            "persona_at_1": first,
            "persona_mrr": mrr,
            "persona_entropy": {"value": 1.5},
        } | over

    over = {name: {"value": 0.25, "low": -0.125, "high": 0.5} for name in ("persona_mrr", "persona_entropy")}
    over |= {"persona_at_1": {"value": 0.25, "low": -0.1, "high": 0.5}}
    counts = {"interviews": 1000, "among": 20}
    found = {
        "own model, random": counts | {"by_question": [row(1), row(2)]},
        "own model, chosen": counts | {"by_question": [row(1, over_random=over), row(2, over_random=over)]},
    }
    lines = table_of_interviews(found).splitlines()
    assert lines[0] == "interviews: 1,000, each among 20 personas: chance 5.0 %, 0.18 and 3.00 nats"
    cells = "     50.0 % (40.0 to 60.0)       0.75 (0.70 to 0.80)                      1.50"
    assert lines[2:7] == [
        "questions  partner and order              persona_at_1               persona_mrr           persona_entropy",
        f"        1  own model, random{cells}",
        f"        1  own model, chosen{cells}",
        f"        2  own model, random{cells}",
        f"        2  own model, chosen{cells}",
    ]
    differences = "  +25.0 % (-10.0 to +50.0)    +0.25 (-0.12 to +0.50)    +0.25 (-0.12 to +0.50)"
    assert lines[8:11] == [
        "less the same interviews with random questions",
        f"        1  own model, chosen{differences}",
        f"        2  own model, chosen{differences}",
    ]
    assert lines[-1] == "In brackets: 95 % intervals, 2,000 resamples of the interviews"
    recorded = {"talks.jsonl, recorded": counts | {"left_out": 7, "by_question": [row(1)]}}
    assert table_of_interviews(recorded).splitlines()[0].endswith("3.00 nats; 7 talks left out")
    assert "random" not in table_of_interviews(recorded)
    assert table_of_interviews({}).startswith("interviews: none, because there are no two personas")
