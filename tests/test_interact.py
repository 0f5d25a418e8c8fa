"""interact.py: talks with a real (tiny) model through the script's own main()."""

import io
import itertools
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import interact
import preprocess_dataset
from personagpt.model.generation import DRAWS, Reply, ReplyRequest, stream_replies
from personagpt.model.sampling import Sampling
from personagpt.records.database import Recordings
from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.sequences.format import Encoder
from personagpt.settings import TEXT_NAMES
from personagpt.talking import persona
from personagpt.text.convai2 import read_corpus
from personagpt.text.style import STYLE, Style, Writing
from tests.helpers import SAMPLE
from tests.records.making import make_talk

SAMPLE_TEXT = SAMPLE / "valid_both_original_no_cands.txt"


@pytest.fixture
def settings_file(tmp_path, write_settings, tiny_model, tokenizer, sample):  # noqa: ANN201
    """Settings whose save_path holds a model."""
    folder = tmp_path / "save" / "checkpoint" / "model"
    tiny_model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return write_settings(save_path=tmp_path / "save", data_path=sample, model_name=sample / "base")


@pytest.fixture
def chat(run, settings_file, monkeypatch):  # noqa: ANN201
    """chat("hi\\n", "--seed", 7) runs interact.py with this input."""

    def call(typed: str, *arguments: object):  # noqa: ANN202
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        return run(interact.main, "--env", settings_file, *arguments)

    return call


@pytest.fixture
def recorded(tmp_path):  # noqa: ANN201
    """The talks recorded so far."""
    return lambda: Recordings(tmp_path / "save" / "conversations").talks()


def replies(outcome) -> list[str]:
    return [line.removeprefix("model: ") for line in outcome.out.splitlines() if line.startswith("model: ")]


DOGS = ("--persona", "i have two dogs.", "--persona", "i work as a nurse.")


def test_a_talk_is_printed_and_recorded(chat, recorded, tmp_path) -> None:
    outcome = chat("hi ! how are you ?\n\nwhat do you do ?\n", *DOGS, "--seed", 7)
    assert outcome.status == 0
    assert outcome.out.startswith("model's persona: i have two dogs. | i work as a nurse.\n")
    (talk,) = recorded()
    assert [turn.speaker for turn in talk.turns] == ["human", "model", "human", "model"]
    assert talk.texts[::2] == ["hi ! how are you ?", "what do you do ?"]
    assert [text.rstrip() for text in replies(outcome)] == talk.texts[1::2]
    assert talk.persona == ["i have two dogs.", "i work as a nurse."]
    assert talk.sampling == {
        "top_k": 10,
        "top_p": 0.92,
        "temperature": 1.0,
        "max_new_tokens": 40,
        "no_repeat": 4,
        "seed": 7,
    }
    assert len(talk.model_checksum) == 64
    assert talk.started <= talk.turns[0].time <= talk.turns[1].time


def test_a_seed_repeats_a_talk_and_another_does_not(chat) -> None:
    typed = "hi ! how are you ?\nwhat do you do ?\n"
    first, again, other = (replies(chat(typed, *DOGS, "--seed", seed)) for seed in (7, 7, 8))
    assert first == again != other


def test_without_a_seed_the_recorded_one_repeats_the_talk(chat, recorded) -> None:
    first = replies(chat("hi !\n", *DOGS))
    assert replies(chat("hi !\n", *DOGS, "--seed", recorded()[0].sampling["seed"])) == first


def test_personas_from_everywhere(chat, recorded, tmp_path, sample) -> None:
    file = tmp_path / "persona.txt"
    file.write_text("\ufeffi am old.\r\n\r\ni play the banjo.", encoding="utf-8")
    chat("hi\n", "--persona-file", file)
    chat("\ufeffi like tea.\ni am called tom.\n\nhi\n")
    chat("hi\n", "--random-persona", "--seed", 3)
    first, second, third = (talk.persona for talk in recorded())
    assert first == ["i am old.", "i play the banjo."]
    assert second == ["i like tea.", "i am called tom."]
    personas = [dialogue.personas[1] for dialogue in read_corpus(sample / TEXT_NAMES["valid"]).dialogues]
    assert third in personas


def test_undo_retry_and_new(chat, recorded) -> None:
    outcome = chat(
        "hi !\nwhat do you do ?\n/undo\n/retry\n/new\nhello\n/persona i am old. | i like tea.\nhi\n/persona\n", *DOGS
    )
    first, second, third = recorded()
    said = [text.rstrip() for text in replies(outcome)]
    assert first.texts == ["hi !", said[2]]  # the second reply was taken back, the first drawn again
    assert said[2] != said[0]
    assert second.texts == ["hello", said[3]]
    assert second.persona == first.persona
    assert third.persona == ["i am old.", "i like tea."]
    assert outcome.out.count("  i am old.\n  i like tea.\n") == 1


def test_a_flag_survives_undo_and_retry(chat, recorded) -> None:
    chat("hi !\nand you ?\n/flag inconsistent has no cat\n/retry\n/save\n", *DOGS)
    flagged, kept = recorded()
    assert [(flag.turn, flag.kind, flag.note) for flag in flagged.flags] == [(3, "inconsistent", "has no cat")]
    assert kept.flags == []
    assert flagged.texts[:3] == kept.texts[:3]
    assert flagged.texts[3] != kept.texts[3]
    assert kept.turns[3].replaced == flagged.texts[3]


def test_everything_is_on_record_when_it_is_said(chat, recorded, monkeypatch) -> None:
    seen = []

    def typed(kept: Path):  # noqa: ANN202
        for line in ("hi !", "and you ?", "/flag other", "/undo", "/retry", "/quit", "never read"):
            yield line
            seen.append([(len(talk.turns), len(talk.flags)) for talk in recorded()])

    monkeypatch.setattr(interact, "typed_lines", typed)
    outcome = chat("", *DOGS)
    assert seen == [[(2, 0)], [(4, 0)], [(4, 1)], [(4, 1), (2, 0)], [(4, 1), (2, 0)]]
    talk = recorded()[1]
    assert talk.turns[1].replaced is not None
    assert outcome.out.splitlines()[-1].endswith(f"talks.sqlite: {recorded()[0].id}, {talk.id}")


def test_where_a_talk_is_recorded(chat, recorded) -> None:
    outcome = chat("hi !\n/save\n/undo\n/quit\n", *DOGS)
    assert re.search(r"recorded in .*/conversations/talks.sqlite: [0-9a-f]{32}\n", outcome.out)
    assert recorded() == []
    assert outcome.out.endswith("taken back; 0 utterances left\nyou: /quit\n")


def test_a_reply_that_cannot_be_drawn_again_stays(chat, recorded, monkeypatch, tokenizer) -> None:
    scripted(monkeypatch, tokenizer, "i am fine .", *[""] * DRAWS)
    outcome = chat("hi\n/retry\n", *DOGS)
    assert "(the model said nothing else: the reply stays)" in outcome.out
    assert recorded()[0].texts == ["hi", "i am fine ."]


def test_the_same_reply_once_more_is_no_other_one(chat, recorded) -> None:
    outcome = chat("hi\n/flag other\n/retry\n/alternatives\n", *DOGS, "--top-k", 1)
    (talk,) = recorded()
    assert (len(talk.turns), len(talk.flags), talk.turns[1].replaced) == (2, 1, None)
    assert "(the model said nothing else: the reply stays)" in outcome.out
    assert "or another top_k than 1" in outcome.out


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("/undo\n", "/undo: the model has not said anything yet"),
        ("/retry\n", "/retry: the model has not said anything yet"),
        ("/flag other\n", "/flag: the model has not said anything yet"),
        ("hi\n/flag boring\n", "/flag boring: unknown kind; the kinds are inconsistent, contradicts,"),
        ("/dance\n", "/dance: unknown command; /help lists them"),
        ("/persona |\n", "an empty persona"),
        ("/set max_new_tokens 320\n", "max_new_tokens 320: the model's context is 320 tokens"),
        ("/set top_k\n", "top_k: expected 0 (all tokens) or more"),
        ("/set colour 3\n", "colour: expected one of top_k, top_p, temperature, max_new_tokens, no_repeat"),
        ("hi\n/choose 0\n", "/choose: first let /alternatives show other replies"),
        ("/persona " + "dogs " * 400 + "\n", "do not fit into 280 tokens"),
        ("dogs " * 400 + "\n", "do not fit into 280 tokens"),
        ("/save\n", "nothing was said yet"),
        ("/help\n", "/flag KIND [NOTE]"),
    ],
)
def test_a_mistake_while_talking_is_one_line_and_the_talk_goes_on(chat, recorded, typed, words) -> None:
    outcome = chat(typed + "hi !\n", *DOGS)
    assert outcome.status == 0
    assert sum(words in line for line in outcome.out.splitlines()) == 1
    assert recorded()[-1].texts[-2] == "hi !"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--persona", " "], "an empty persona"),
        (["--persona", "dogs " * 400], "do not fit into 280 tokens"),
        (["--persona-file", "nowhere.txt"], "--persona-file nowhere.txt: cannot read it"),
        (["--top-p", "0"], "--top-p 0.0: expected above 0 and at most 1"),
        (["--top-k", "-1"], "--top-k -1"),
        (["--temperature", "0"], "top_k 1 always takes the most likely token"),
        (["--temperature", "1e-45"], "--temperature 1e-45: expected 0.001 to 1000000 (top_k 1 always takes"),
        (["--temperature", "nan"], "--temperature nan: expected"),
        (["--max-new-tokens", "320"], "the model's context is 320 tokens"),
        (["--turns", "0"], "--turns 0"),
        (["--seed", "-1"], "--seed -1"),
        (["--only-flagged"], "--export FOLDER"),
        (["--talks", "3"], "--talks 3: expected 1 or more, with --self-play and without a persona: they are"),
        (["--talks", "3", "--self-play", "--persona", "i ski."], "--talks 3: expected 1 or more, with --self-play and"),
        (["--model", "./nowhere"], "there is no such folder"),
        ([], "an empty persona: type at least one fact"),
    ],
)
def test_a_mistake_in_the_command_is_one_line(chat, tmp_path, arguments, words) -> None:
    outcome = chat("", *arguments)
    assert outcome.status == 2
    assert words in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "save" / "conversations").exists()


def test_when_the_talk_passes_the_context_the_oldest_turns_go(chat, recorded, tokenizer, monkeypatch) -> None:
    contexts = []

    def listen(model: object, encoder: Encoder, drafts: list[ReplyRequest], *rest: object) -> Iterator[list[Reply]]:
        contexts.append(drafts[0].context)
        return stream_replies(model, encoder, drafts, *rest)

    monkeypatch.setattr(persona, "stream_replies", listen)
    typed = "".join(f"{'dogs ' * 30}{number}\n" for number in range(8))
    assert chat(typed, *DOGS, "--max-new-tokens", 5).status == 0
    (talk,) = recorded()
    encoder = Encoder(tokenizer)
    context = encoder.context(1, talk.persona, talk.texts[:-1], 315)
    assert contexts[-1] == context
    _, facts, utterances = encoder.decode(context)
    assert facts == talk.persona
    assert 0 < len(utterances) < len(talk.turns) - 1
    assert utterances == talk.texts[:-1][-len(utterances) :]
    assert talk.texts[-1]


def scripted(monkeypatch, tokenizer, *texts: str) -> list[str]:
    """Let the model's draws spell these replies, one after another; returns what is still to come."""
    encoder, waiting = Encoder(tokenizer), list(texts)
    current: list[int] = []

    def draw(self: Sampling, logits: torch.Tensor, numbers: list[float]) -> torch.Tensor:
        if not current:
            current.extend([*encoder.texts([waiting.pop(0)])[0], encoder.eos])
        return torch.tensor([current.pop(0)])

    monkeypatch.setattr(Sampling, "draw", draw)
    return waiting


def test_an_empty_or_repeated_reply_is_drawn_again_unseen(chat, recorded, monkeypatch, tokenizer) -> None:
    waiting = scripted(monkeypatch, tokenizer, "", "i am fine .", "i am fine .", "i am old .")
    outcome = chat("hi\nand you ?\n", *DOGS)
    assert replies(outcome) == ["i am fine .", "i am old ."]
    assert recorded()[0].texts == ["hi", "i am fine .", "and you ?", "i am old ."]
    assert waiting == []


def test_where_there_is_no_other_reply_there_is_none_to_choose(chat, monkeypatch, tokenizer) -> None:
    scripted(monkeypatch, tokenizer, "fine .", *[""] * DRAWS)
    outcome = chat("hi\n/alternatives 1\n/choose 1\n", *DOGS)
    assert "the model has no other reply (try a higher temperature, or another top_k than 1)\n" in outcome.out
    assert "/choose: first let /alternatives show other replies\n" in outcome.out


def test_a_few_draws_are_enough(chat, recorded, monkeypatch, tokenizer) -> None:
    waiting = scripted(monkeypatch, tokenizer, "fine .", *["fine ."] * DRAWS, *[""] * DRAWS, "fine . i am")
    outcome = chat("hi\nand you ?\nsay something !\ngo on\n", *DOGS)
    assert replies(outcome) == ["fine .", "fine .", "", "fine . i am"]
    assert "your utterance was taken back" in outcome.out
    assert recorded()[0].texts == ["hi", "fine .", "and you ?", "fine .", "go on", "fine . i am"]
    assert waiting == []


def test_a_reply_that_is_the_beginning_of_the_last_one_is_shown(chat, monkeypatch, tokenizer) -> None:
    scripted(monkeypatch, tokenizer, "i am fine . and you ?", "i am fine .")
    said = replies(chat("hi\nand you ?\n", *DOGS, "--no-repeat", 9))
    assert said == ["i am fine . and you ?", "i am fine ."]


def test_text_from_outside_cannot_control_the_terminal(chat, recorded) -> None:
    red = "\x1b[31m"
    typed = f"hi {red}\n/persona\n/{red}\n/flag {red}\n/fix {red}\n/flag other\n/history\n/goal {red}\n"
    outcome = chat(typed, "--persona", f"i am {red} .")
    assert outcome.status == 0
    assert "\x1b" not in outcome.out + outcome.err
    assert outcome.out.count("i am  [31m .") == 2
    assert "you: hi  [31m\n" in outcome.out
    assert recorded()[0].texts[0] == f"hi {red}"  # what was said is kept


@pytest.mark.parametrize("option", [("--temperature", "0.001"), ("--temperature", "1e6"), ("--top-p", "1e-300")])
def test_sampling_at_the_ends_of_its_range(chat, option) -> None:
    outcome = chat("hi !\n", *DOGS, *option, "--seed", 1)
    assert outcome.status == 0
    assert replies(outcome)[0]


def test_a_reply_cannot_control_the_terminal(chat, recorded, monkeypatch, tokenizer) -> None:
    scripted(monkeypatch, tokenizer, " \x1b[2Jhi\tyou\nthere ")
    assert replies(chat("hi\n", *DOGS))[0].rstrip() == "[2Jhi you there"
    assert recorded()[0].texts == ["hi", "[2Jhi you there"]


def test_ctrl_c_during_a_reply_stops_that_reply_only(chat, recorded, monkeypatch, tokenizer) -> None:
    scripted(monkeypatch, tokenizer, "i am fine . and you ?", "i am old .")
    draw, drawn = Sampling.draw, []

    def press_at_the_third_token(*arguments: object) -> torch.Tensor:
        drawn.append(len(drawn))
        if len(drawn) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return draw(*arguments)

    monkeypatch.setattr(Sampling, "draw", press_at_the_third_token)
    before = signal.getsignal(signal.SIGINT)
    outcome = chat("hi\nand you ?\n", *DOGS)
    assert outcome.status == 0
    first, second = replies(outcome)
    assert "i am fine . and you ?".startswith(first)
    assert 0 < len(first) < len("i am fine . and you ?")
    assert recorded()[0].texts[1::2] == [first, recorded()[0].texts[3]]
    assert second == recorded()[0].texts[3]
    assert signal.getsignal(signal.SIGINT) is before


def test_typed_text_is_brought_into_the_style(chat, recorded, tmp_path) -> None:
    style = Style(Writing(1.0, 0.0, 1.0), Writing(1.0, 1.0, 0.5), 1, 6)
    (tmp_path / "save" / "checkpoint" / "model" / STYLE).write_text(json.dumps(style.plain()))
    outcome = chat("What do you do?\n", "--persona", "I have two dogs", "--persona", "I work as a nurse")
    assert outcome.out.startswith("model's persona: i have two dogs. | i work as a nurse.\n")
    assert "(2 facts: in training a persona had 1 at most)\n" in outcome.out
    chat("What do you do?\n", "--persona", "I have two dogs", "--as-typed")
    brought, typed = recorded()
    assert (brought.texts[0], brought.persona) == ("what do you do ?", ["i have two dogs.", "i work as a nurse."])
    assert (typed.texts[0], typed.persona) == ("What do you do?", ["I have two dogs"])


def test_facts_of_the_text_stay_as_they_are(chat, recorded, tmp_path) -> None:
    style = Style(Writing(1.0, 1.0, 1.0), Writing(1.0, 1.0, 0.5), 5, 6)  # the text's own facts have no space
    (tmp_path / "save" / "checkpoint" / "model" / STYLE).write_text(json.dumps(style.plain()))
    known = [facts for dialogue in read_corpus(SAMPLE_TEXT).dialogues for facts in dialogue.personas]
    chat("Hi!\n/why\n/new\nhi\n", "--random-persona")
    chat("", "--self-play", "--turns", 1, "--persona", "I ski")
    chat("", "--self-play", "--turns", 1, "--talks", 1)
    first, again, mixed, played = recorded()
    assert first.texts[0] == "hi !"
    assert first.persona == again.persona
    assert mixed.persona == ["i ski ."]
    drawn = first.persona, mixed.partner_persona, played.persona, played.partner_persona
    assert all(facts in known for facts in drawn)


def test_how_far_back_the_model_is_shown_the_talk(chat, monkeypatch) -> None:
    shown = []
    context = Encoder.context
    monkeypatch.setattr(Encoder, "context", lambda *rest: shown.append(len(rest[3])) or context(*rest))
    chat("a\nb\nc\n", *DOGS, "--history", 3)
    assert shown[-3:] == [1, 3, 3]
    chat("a\nb\nc\n", *DOGS)
    assert shown[-3:] == [1, 3, 5]
    assert chat("", "--history", -1).err == "error: --history -1: expected 0 (all that fit the context) or more\n"


def test_a_corrected_reply_goes_on_record_and_into_the_export(chat, recorded, monkeypatch, tokenizer, tmp_path) -> None:
    scripted(monkeypatch, tokenizer, "no .", "i have a cat .", "they are fine .")
    typed = "any pet ?\n/retry\n/fix i have two birds .\n/fix i have two dogs .\nhow are they ?\n/history\n"
    outcome = chat(typed, *DOGS)
    (talk,) = recorded()
    assert talk.texts == ["any pet ?", "i have two dogs .", "how are they ?", "they are fine ."]
    assert [(turn.replaced, turn.corrected) for turn in talk.turns[1::2]] == [("i have a cat .", True), (None, False)]
    assert "  model: i have two dogs .\n  you: how are they ?\n" in outcome.out
    chat("", "--export", tmp_path / "text")
    (dialogue,) = read_corpus(tmp_path / "text" / TEXT_NAMES["train"]).dialogues
    assert dialogue.utterances[1] == "i have two dogs ."


def test_a_flag_stays_with_the_reply_that_was_corrected(chat, recorded) -> None:
    chat("hi !\n/flag inconsistent\n/fix hello !\n", *DOGS)
    flagged, kept = recorded()
    assert flagged.flags
    assert flagged.texts[1] != "hello !"
    assert (kept.flags, kept.texts[1]) == ([], "hello !")


def test_another_reply_is_chosen(chat, recorded, monkeypatch, tokenizer) -> None:
    outcome = chat("hi !\n/alternatives 4\n/choose 2\n/choose 1\nand you ?\n", *DOGS, "--seed", 1)
    (talk,) = recorded()
    others = dict(re.findall(r"^  (\d): (.*)$", outcome.out, re.MULTILINE))
    assert len(others) == len(set(others.values())) == 4
    assert talk.texts[1] == others["2"]
    assert talk.turns[1].replaced == replies(outcome)[0]
    assert not talk.turns[1].corrected
    assert "first let /alternatives show other replies" in outcome.out  # they were for another reply
    assert len(talk.turns) == 4


def test_why(chat) -> None:
    outcome = chat("hi !\n/why\n", *DOGS, "--seed", 1)
    own, other, leans = outcome.out.splitlines()[-4:-1]
    assert re.fullmatch(r"  perplexity \d+\.\d\d under this persona", own)
    assert re.fullmatch(r"  perplexity \d+\.\d\d under .+ \| .+", other)  # a persona of the validation text
    assert re.fullmatch(r"  leans on: .* \(without it \d+\.\d\d nats less likely\)|  no fact .*", leans)


def test_sampling_changes_while_talking(chat, recorded) -> None:
    typed = "/set temperature 0.5\nhi !\n/set top-k 1\nand you ?\n/set\n"
    outcome = chat(typed, *DOGS, "--seed", 1)
    first, second = recorded()
    assert (first.sampling["temperature"], first.sampling["top_k"], len(first.turns)) == (0.5, 10, 2)
    assert (second.sampling["top_k"], second.sampling["seed"], len(second.turns)) == (1, 1, 4)
    assert second.texts[:2] == first.texts
    assert outcome.out.rstrip().rpartition("recorded in")[0].endswith("  no_repeat 4\n")


def test_goals(chat, recorded, monkeypatch, tmp_path, settings_file) -> None:
    asked = []
    context = Encoder.context
    monkeypatch.setattr(Encoder, "context", lambda *rest: asked.append(rest[5:]) or context(*rest))
    goals = tmp_path / "goals.tsv"
    goals.write_text("ask about pets.\task\tpet dog\ntalk about work.\ttalk\twork\n")
    monkeypatch.setenv("goals", str(goals))
    outcome = chat("/goals\n/goal 2\nhi !\n/goal my own\nhi\n/goal off\nhey\n/goal 3\n", *DOGS)
    (talk,) = recorded()
    assert "  1: ask about pets.\n  2: talk about work.\nyou: /goal 2\ngoal: talk about work.\n" in outcome.out
    assert [turn.goal for turn in talk.turns[1::2]] == ["talk about work.", "my own", None]
    assert asked[-3:] == [("talk about work.",), ("my own",), (None,)]
    assert "/goal 3: there is no such number in /goals\n" in outcome.out
    chat("hi\n", *DOGS, "--goal", "ask about pets.")
    assert recorded()[1].turns[1].goal == "ask about pets."


def test_commands_while_a_persona_is_typed(chat, recorded) -> None:
    outcome = chat("/help\n/retry\ni like tea .\n\nhi\n")
    assert outcome.out.count("/flag KIND [NOTE]") == 1
    assert "/retry: no talk yet; type facts, an empty line after them, or /help or /quit\n" in outcome.out
    assert recorded()[0].persona == ["i like tea ."]
    chat("i like\n/persona i am old . | i ski .\nhi\n")
    assert recorded()[1].persona == ["i am old .", "i ski ."]
    assert chat("i like tea .\n/quit\n").status == 0
    assert len(recorded()) == 2
    assert chat("i like tea .\n\n/quit now\nhi\n").status == 0
    assert len(recorded()) == 2


def test_many_self_plays_at_once(chat, recorded, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("personagpt.talking.self_play.TOGETHER", 2)
    options = ["--self-play", "--talks", 3, "--turns", 5, "--seed", 4, "--max-new-tokens", 6, "--goal", "ask about x."]
    outcome = chat("", *options)
    assert outcome.status == 0
    where = f"talks recorded in {tmp_path / 'save' / 'conversations' / 'talks.sqlite'}"
    assert outcome.out.splitlines() == [f"2 of 3 {where}", f"3 of 3 {where}"]
    first = recorded()
    known = [list(map(list, dialogue.personas)) for dialogue in read_corpus(SAMPLE_TEXT).dialogues]
    for number, talk in enumerate(first):
        assert (talk.partner, talk.source, talk.sampling["seed"]) == ("partner", "self-play", 4 + number)
        assert [turn.speaker for turn in talk.turns] == ["partner", "model", "partner", "model", "partner"]
        assert [turn.goal for turn in talk.turns] == [None, "ask about x.", None, "ask about x.", None]
        assert [talk.partner_persona, talk.persona] in known
    assert len({tuple(talk.texts) for talk in first}) == 3
    chat("", *options)
    assert [talk.texts for talk in recorded()[3:]] == [talk.texts for talk in first]


def test_a_talk_ends_where_somebody_has_nothing_to_say(chat, recorded, monkeypatch) -> None:
    """Every third reply is empty."""
    counted = itertools.count(1)

    def replies(pairs: list, goal: str | None) -> list[str]:
        made = ["" if next(counted) % 3 == 0 else "hello" for _ in pairs]
        for (speaker, text), reply in zip(pairs, made, strict=True):
            speaker.history += [text, reply] if reply and text else [reply] * bool(reply)
        return made

    monkeypatch.setattr(persona.Persona, "replies", replies)
    assert chat("", "--self-play", "--talks", 2, "--turns", 4, "--seed", 4).status == 0
    assert sorted(len(talk.turns) for talk in recorded()) == [1, 3]


def test_self_play(chat, recorded) -> None:
    outcome = chat("", "--self-play", "--turns", 5, *DOGS, "--seed", 1)
    assert outcome.status == 0
    (talk,) = recorded()
    assert [turn.speaker for turn in talk.turns] == ["partner", "model", "partner", "model", "partner"]
    assert talk.persona == ["i have two dogs.", "i work as a nurse."]
    assert talk.partner_persona
    assert [line.rstrip() for line in outcome.out.splitlines()[2:7]] == [f"{t.speaker}: {t.text}" for t in talk.turns]
    again = chat("", "--self-play", "--turns", 5, *DOGS, "--seed", 1)
    assert again.out.partition("recorded in")[0] == outcome.out.partition("recorded in")[0]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 143), (signal.SIGINT, 130)])
def test_a_talk_that_is_ended_by_a_signal_is_recorded(
    run, settings_file, recorded, monkeypatch, number, status
) -> None:
    def typed(kept: Path):  # noqa: ANN202
        yield "hi !\n"
        os.kill(os.getpid(), number)
        yield "never answered\n"

    monkeypatch.setattr(interact, "typed_lines", typed)
    before = signal.getsignal(signal.SIGTERM)
    assert run(interact.main, "--env", settings_file, *DOGS).status == status
    assert len(recorded()[0].turns) == 2
    assert signal.getsignal(signal.SIGTERM) is before


def test_from_talking_to_training_tensors(chat, recorded, run, write_settings, tmp_path, sample, tokenizer) -> None:
    """The loop is closed: recorded talks, exported, are what preprocess_dataset.py reads."""
    chat("hi !\nwhat do you do ?\n/flag off-topic\n", *DOGS, "--seed", 1)
    chat("good morning !\n", *DOGS, "--seed", 2)
    assert chat("", "--export", tmp_path / "text").status == 0
    env = write_settings(
        tmp_path / "env2", save_path=tmp_path / "next", data_path=tmp_path / "text", model_name=sample / "base"
    )
    assert run(preprocess_dataset.main, "--env", env).status == 0
    data = PersonaChatDataset(tmp_path / "next" / "train_data.safetensors")
    speaker, facts, utterances = Encoder(tokenizer).decode(data[0]["input_ids"].tolist())
    assert (speaker, facts) == (1, ["i have two dogs.", "i work as a nurse."])
    assert utterances == recorded()[0].texts[:2]  # cut before the flagged reply
    assert len(data) == 1


def test_exporting_flagged_talks_needs_no_model(run, write_settings, tmp_path) -> None:
    outcome = run(interact.main, "--env", write_settings(), "--export", tmp_path / "text", "--only-flagged")
    assert outcome.status == 2
    assert "no flagged talk to export" in outcome.err


def test_counting_and_deleting_need_no_model(run, write_settings, tmp_path) -> None:
    env = write_settings(save_path=tmp_path)
    recordings = Recordings(tmp_path / "conversations")
    mine, yours = make_talk("a secret", "b"), make_talk("x", "y", participant="you")
    for talk in (mine, yours):
        recordings.save(talk)
    recordings.close()
    assert run(interact.main, "--env", env, "--stats").out.startswith("2 talks, ")
    outcome = run(interact.main, "--env", env, "--delete-talk", mine.id)
    assert (outcome.status, outcome.out.split(" from ")[0]) == (0, "deleted 1 talk")
    assert b"secret" not in recordings.path.read_bytes()
    assert run(interact.main, "--env", env, "--delete-talk", mine.id).status == 2
    assert run(interact.main, "--env", env, "--delete-participant", "").status == 2
    assert recordings.talks() == [yours]
    recordings.close()
    assert run(interact.main, "--env", env, "--delete-participant", "you").status == 0
    outcome = run(interact.main, "--env", env, "--delete-participant", "you")
    assert (outcome.status, outcome.err.count("\n")) == (2, 1)
    assert "no such talk; --export lists them" in outcome.err
    assert run(interact.main, "--env", env, "--stats").out.startswith("0 talks\n")
