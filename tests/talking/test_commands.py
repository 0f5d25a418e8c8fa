"""commands.py: what a person types while they talk, with a real (tiny) model."""

import re

import pytest

from personagpt.errors import UserError
from personagpt.model.generation import DRAWS
from personagpt.model.sampling import Sampling
from personagpt.records.database import Recordings
from personagpt.records.talks import Flag
from personagpt.talking import persona
from personagpt.talking.commands import Commands, answer_lines, completions, type_persona
from tests.talking.conftest import FACTS, GOALS, PAIRS


def talk(commands: Commands, *lines: str) -> None:
    answer_lines(commands, iter(lines))


def test_undo_retry_new_and_another_persona(commands, recorded, says, capsys) -> None:
    says("fine .", "i am old .", "i am a nurse .", "hi !", "hello .")
    talk(commands, "hi !", "", "what do you do ?", "/undo", "/retry", "/new", "hello")
    talk(commands, "/persona i am old . | i like tea .", "hi", "/persona", "/quit now", "never read")
    first, second, third = recorded()
    assert first.texts == ["hi !", "i am a nurse ."]
    assert (second.texts, second.persona) == (["hello", "hi !"], FACTS)
    assert (third.texts, third.persona) == (["hi", "hello ."], ["i am old .", "i like tea ."])
    assert (out := capsys.readouterr().out).count("  i am old .\n  i like tea .\n") == 1
    assert "taken back; 2 utterances left\n" in out


def test_a_new_talk_keeps_the_facts_as_they_are(commands, monkeypatch) -> None:
    begun = []
    monkeypatch.setattr(commands.session, "begin", lambda *facts, **options: begun.append((*facts, options)))
    commands.run("/new")
    commands.run("/persona i am old .")
    assert begun == [(FACTS, {"keep_facts": True}), (["i am old ."], {})]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/undo", "/undo: the model has not said anything yet"),
        ("/retry", "/retry: the model has not said anything yet"),
        ("/flag other", "/flag: the model has not said anything yet"),
        ("/dance", "/dance: unknown command; /help lists them"),
        ("/persona |", "an empty persona"),
        ("/persona " + "dogs " * 400, "do not fit into 280 tokens"),
        ("/set max_new_tokens 320", "max_new_tokens 320: the model's context is 320 tokens"),
        ("/set top_k", "top_k: expected 0 (all tokens) or more"),
        ("/set top_k many", "top_k many: expected 0 (all tokens) or more"),
        ("/set colour 3", "colour: expected one of top_k, top_p, temperature, max_new_tokens, no_repeat"),
        ("/goal 3", "/goal 3: there is no such number in /goals"),
        ("/save", "nothing was said yet"),
        ("/history", "nothing was said yet"),
    ],
)
def test_a_mistake_is_one_line_and_the_talk_goes_on(commands, recorded, line, words) -> None:
    answer = commands.run(line)
    assert words in answer
    assert "\n" not in answer
    talk(commands, "hi !")
    assert recorded()[0].texts[0] == "hi !"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/flag boring", "/flag boring: unknown kind; the kinds are inconsistent, contradicts,"),
        ("/flag", "/flag KIND: which kind?; the kinds are"),
        ("/choose 1", "/choose: first let /alternatives show other replies"),
        ("/alternatives 0", "/alternatives 0: expected a number of replies, 1 to 20"),
        ("/alternatives 21", "/alternatives 21: expected a number of replies, 1 to 20"),
        ("/fix", "an empty correction: give the right reply"),
    ],
)
def test_a_mistake_after_a_reply_is_one_line(commands, recorded, line, words) -> None:
    talk(commands, "hi !")
    before = recorded()
    answer = commands.run(line)
    assert words in answer
    assert "\n" not in answer
    assert recorded() == before


def test_help_lists_every_command(commands) -> None:
    listed = re.findall(r"^  (/\w+)", commands.run("/help"), re.MULTILINE)
    assert {"/persona", "/flag", "/quit"} < set(listed)
    assert not [name for name in listed if name != "/quit" and "unknown command" in commands.run(name)]


def test_text_from_outside_cannot_control_the_terminal(commands, recorded, capsys) -> None:
    red = "\x1b[31m"
    commands.session.begin([f"i am {red} ."])
    talk(commands, f"hi {red}", "/persona", f"/{red}", f"/flag {red}", f"/fix {red}", "/flag other", "/history")
    talk(commands, f"/goal {red}", f"/set {red}")
    assert "\x1b" not in (out := capsys.readouterr().out)
    assert out.count("i am  [31m .") == 2
    assert recorded()[0].texts[0] == f"hi {red}"  # the record keeps the text as it was typed


def test_a_flag(commands, recorded, says) -> None:
    says("i have a cat .", "i have two dogs .")
    talk(commands, "any pet ?")
    assert commands.run("/flag inconsistent has no cat") == "flagged as inconsistent: i have a cat ."
    assert recorded()[0].flags == [Flag(1, "inconsistent", "has no cat")]
    assert commands.run("/save") == f"recorded in {commands.session.recordings.path}: {recorded()[0].id}"
    commands.run("/set top_k 3")  # what is said from now on is another talk's
    assert commands.run("/save") == f"recorded in {commands.session.recordings.path}: {recorded()[0].id}"


def test_save_names_no_talk_that_is_not_on_record(commands, says) -> None:
    says("i have a cat .")
    talk(commands, "any pet ?")
    commands.session.recordings.path.rename(commands.session.recordings.path.with_name("moved.sqlite"))
    assert commands.run("/save").startswith("this talk is no longer on record: ")


def test_a_corrected_reply(commands, recorded, says) -> None:
    says("no .", "i have a cat .", "they are fine .")
    talk(commands, "any pet ?", "/retry", "/fix i have two birds .", "/fix i have two dogs .", "how are they ?")
    (kept,) = recorded()
    assert kept.texts == ["any pet ?", "i have two dogs .", "how are they ?", "they are fine ."]
    assert [(turn.replaced, turn.corrected) for turn in kept.turns[1::2]] == [("i have a cat .", True), (None, False)]
    assert "  model: i have two dogs .\n  you: how are they ?\n" in commands.run("/history")


def test_a_correction_stands_beside_the_flag_of_the_reply_it_replaces(commands, recorded, says) -> None:
    says("no .")
    talk(commands, "hi !", "/flag inconsistent", "/fix hello !")
    (kept,) = recorded()
    assert [(flag.turn, flag.kind) for flag in kept.flags] == [(1, "inconsistent")]
    assert (kept.turns[1].text, kept.turns[1].replaced, kept.turns[1].corrected) == ("hello !", "no .", True)


def test_another_reply_is_chosen(commands, recorded, says) -> None:
    talk(commands, "hi !")
    first = recorded()[0].texts[1]
    others = dict(re.findall(r"^  (\d): (.*)$", commands.run("/alternatives 4"), re.MULTILINE))
    assert len(others) == len(set(others.values())) == 4
    assert commands.run("/choose 5") == "/choose 5: expected a number from 1 to 4"
    assert commands.run("/choose 2") == f"model: {others['2']}"
    assert commands.run("/choose 1") == "/choose: first let /alternatives show other replies"  # for another reply
    talk(commands, "and you ?")
    (kept,) = recorded()
    assert (kept.texts[1], len(kept.turns)) == (others["2"], 4)
    assert (kept.turns[1].replaced, kept.turns[1].corrected) == (first, False)


def test_where_there_is_no_other_reply_there_is_none_to_choose(commands, says) -> None:
    says("fine .", *[""] * DRAWS)
    talk(commands, "hi")
    none = "the model has no other reply (try a higher temperature, or another top_k than 1)"
    assert commands.run("/alternatives 1") == none
    assert commands.run("/choose 1") == "/choose: first let /alternatives show other replies"


def test_why(commands, monkeypatch) -> None:
    talk(commands, "hi !")
    own, other, leans = commands.run("/why").splitlines()
    reason = commands.session.speakers["model"].why(PAIRS[0][0])
    assert own == f"  perplexity {reason.score.perplexity:.2f} under this persona"
    assert other == f"  perplexity {reason.score.other_perplexity:.2f} under i am old ."
    assert (reason.fact, leans) == (None, "  no fact stands out")
    monkeypatch.setattr(persona, "MARKED_LOSS", reason.loss)
    reason = commands.session.speakers["model"].why(PAIRS[0][0])
    assert commands.run("/why").splitlines()[2] == (
        f"  leans on: {reason.fact} (without it {reason.loss:.2f} nats less likely)"
    )


def test_why_without_a_text_of_personas(session) -> None:
    def no_text() -> list:
        raise UserError("there is no such text")

    commands = Commands(session, GOALS, no_text)
    talk(commands, "hi !")
    assert commands.run("/why").splitlines()[1].endswith(" under no persona")


def test_sampling(commands, recorded) -> None:
    talk(commands, "/set temperature 0.5", "hi !", "/set top-k=1", "and you ?")
    first, second = recorded()
    assert (first.sampling["temperature"], first.sampling["top_k"]) == (0.5, 10)
    assert (second.sampling["temperature"], second.sampling["top_k"]) == (0.5, 1)
    assert commands.session.sampling == Sampling(temperature=0.5, top_k=1)
    assert commands.run("/set").splitlines()[-1] == "  no_repeat 4"


def test_a_talk_deleted_elsewhere(commands, recorded, capsys) -> None:
    talk(commands, "a secret")
    Recordings(commands.session.recordings.path.parent).delete(ids=[recorded()[0].id])
    talk(commands, "and you ?", "/set top_k 1", "hello", "/flag other", "/new", "hi !")
    assert capsys.readouterr().out.count("this talk is no longer on record: ") == 3
    assert [kept.texts[0] for kept in recorded()] == ["hi !"]


def test_goals(commands, recorded, contexts) -> None:
    assert commands.run("/goals") == "  1: ask about pets.\n  2: talk about work."
    assert commands.run("/goal 2") == "goal: talk about work."
    talk(commands, "hi !")
    talk(commands, "/goal my own", "hi", "/goal off", "hey")
    assert [turn.goal for turn in recorded()[0].turns[1::2]] == ["talk about work.", "my own", None]
    assert [asked["goal"] for asked in contexts[-3:]] == ["talk about work.", "my own", None]
    assert commands.run("/goal") == "goal: none"
    assert commands.run("/undo") == "taken back; 4 utterances left; goal: my own"


def test_the_tab_key_completes_commands_goals_kinds_and_options() -> None:
    assert completions(GOALS, "/f") == ["/fix ", "/flag "]
    assert completions(GOALS, "/he") == ["/help"]
    assert completions(GOALS, "/goal a") == ["/goal ask about pets."]
    assert completions(GOALS, "/goal ask about p") == ["/goal ask about pets."]
    assert completions(GOALS, "/goal o") == ["/goal off"]
    assert completions(GOALS, "/flag in") == ["/flag inconsistent"]
    assert completions([], "/set t") == ["/set top_k", "/set top_p", "/set temperature"]
    assert completions(GOALS, "hi") == completions(GOALS, "/fix i ") == []


def test_a_goal_that_the_model_never_learned(commands, model, monkeypatch, capsys) -> None:
    monkeypatch.setattr(model.model.config, "goals", ["ask about pets."], raising=False)
    talk(commands, "/goal ask about elephants.", "/goal 1")
    said = capsys.readouterr().out
    assert "(the model was not trained with the goal 'ask about elephants.'; its goals are: ask about pets.)" in said
    assert said.count("not trained") == 1


def test_commands_while_a_persona_is_typed(capsys) -> None:
    assert type_persona(iter(["/help\n", "/retry\n", "i like tea .\n", "\n", "hi\n"])) == ["i like tea ."]
    assert (out := capsys.readouterr().out).count("/flag KIND [NOTE]") == 1
    assert "/retry: no talk yet; type facts, an empty line after them, or /help or /quit\n" in out
    assert type_persona(iter(["i like", "/persona i am old . | i ski ."])) == ["i am old .", "i ski ."]
    assert type_persona(iter(["i like tea .", "/quit"])) == []
    with pytest.raises(UserError, match="an empty persona: type at least one fact"):
        type_persona(iter(["", "i like tea ."]))
