"""persona.py: replies, histories and scores of personas that share one model, with a real (tiny) model."""

import math
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from transformers import AutoTokenizer

from personagpt import Persona, load
from personagpt.errors import UserError
from personagpt.model.generation import DRAWS
from personagpt.model.loading import TrainedModel, load_model
from personagpt.sequences.format import CLS, SEP, SPECIAL_TOKENS, DataError, Encoder
from personagpt.talking import persona as module
from personagpt.talking.persona import Score
from personagpt.text.style import Style, Writing
from tests.talking.conftest import FACTS

TALK = ["hi ! how are you ?", "what do you do ?", "do you have a pet ?"]


def talk(persona: Persona) -> list[str]:
    return [persona.reply(text) for text in TALK]


def test_a_talk_is_kept_and_taken_back(model, says) -> None:
    oscar = Persona(model, (fact for fact in FACTS))
    assert oscar.facts == FACTS
    says("i am fine .", "i am a nurse .")
    assert oscar.reply(" hi ! ") == "i am fine ."
    assert oscar.reply("and you ?") == "i am a nurse ."
    assert oscar.history == ["hi !", "i am fine .", "and you ?", "i am a nurse ."]
    assert oscar.undo() == ["and you ?", "i am a nurse ."]
    assert oscar.history == ["hi !", "i am fine ."]
    assert oscar.undo() == ["hi !", "i am fine ."]
    assert oscar.undo() == []


def test_a_persona_opens_a_talk_and_two_talk_to_each_other(model, says) -> None:
    anna, oscar = Persona(model, ["i am anna ."]), Persona(model, FACTS)
    says("hi !", "hello !", "how are you ?")
    last = anna.reply()
    last = oscar.reply(last)
    anna.reply(last)
    assert anna.history == ["hi !", "hello !", "how are you ?"]
    assert oscar.history == ["hi !", "hello !"]
    assert anna.undo() == ["hello !", "how are you ?"]
    assert anna.undo() == ["hi !"]


def test_streamed_pieces_make_up_the_reply(model) -> None:
    streamed, whole = Persona(model, FACTS, seed=3), Persona(model, FACTS, seed=3)
    pieces = list(streamed.stream(TALK[0]))
    assert len(pieces) > 1
    assert "".join(pieces).strip() == whole.reply(TALK[0])
    assert streamed.history == whole.history


def test_who_stops_reading_keeps_what_was_read(model) -> None:
    oscar = Persona(model, FACTS, seed=3)
    pieces = oscar.stream(TALK[0])
    first = next(pieces)
    pieces.close()
    assert oscar.history == [TALK[0], first.strip()]
    oscar.undo()
    oscar.stream(TALK[0]).close()  # nothing was read
    assert oscar.history == []


def test_seeds_and_sampling(model) -> None:
    first, again, other = (talk(Persona(model, FACTS, seed=seed)) for seed in (7, 7, 8))
    assert first == again != other
    greedy = [Persona(model, FACTS, top_k=1, seed=seed).reply(TALK[0]) for seed in (1, 2)]
    assert greedy[0] == greedy[1]
    assert len(model.encoder.texts(greedy)[0]) > 3
    assert len(model.encoder.texts([Persona(model, FACTS, top_k=1, max_new_tokens=3).reply(TALK[0])])[0]) <= 3


def test_eight_threads_reply_as_one_by_one(model) -> None:
    """Each with its own talk; literal special tokens, which the tokenizer must leave text, come in between."""
    torch.set_num_threads(1)
    facts = [[*FACTS, f"i am {number} years old . <|p1|>"] for number in range(16)]
    weights = {name: value.clone() for name, value in model.model.state_dict().items()}

    def run(number: int) -> tuple[list[str], float]:
        persona = Persona(model, facts[number], seed=number)
        replies = talk(persona)
        return replies, persona.score(replies[-1]).own

    expected = list(map(run, range(16)))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(run, range(16))) == expected
    assert len({tuple(replies) for replies, _ in expected}) > 8
    assert all(torch.equal(value, weights[name]) for name, value in model.model.state_dict().items())


def test_a_talk_may_change_its_thread_between_pieces(model) -> None:
    expected = Persona(model, FACTS, seed=5).reply(TALK[0])
    pieces, found = Persona(model, FACTS, seed=5).stream(TALK[0]), []
    while True:
        with ThreadPoolExecutor(1) as pool:
            piece = pool.submit(next, pieces, None).result()
        if piece is None:
            break
        found.append(piece)
    assert "".join(found).strip() == expected


def test_many_replies_at_once_are_those_one_by_one(model) -> None:
    def personas() -> list[Persona]:
        return [Persona(model, FACTS[: number % 3], seed=number) for number in range(20)]

    single, together = personas(), personas()
    for text in TALK:
        expected = [persona.reply(text) for persona in single]
        assert Persona.replies((persona, text) for persona in together) == expected
    assert [persona.history for persona in together] == [persona.history for persona in single]
    assert Persona.replies([]) == []


def test_many_replies_of_one_persona_or_two_models_are_refused(model, folder) -> None:
    oscar = Persona(model, FACTS)
    with pytest.raises(UserError, match="stands there twice"):
        Persona.replies([(oscar, "hi"), (oscar, "hello")])
    with pytest.raises(UserError, match="several models"):
        Persona.replies([(oscar, "hi"), (Persona(load(folder)), "hi")])


def test_an_empty_or_repeated_reply_is_drawn_again(model, says) -> None:
    oscar = Persona(model, FACTS)
    waiting = says("", "fine .", "fine .", "", "nice .", "bad .", "good .")
    assert oscar.reply("hi") == "fine ."
    assert oscar.reply("hi") == "nice ."
    assert oscar.reply("hi", avoid=["bad ."]) == "good ."
    assert waiting == []


def test_a_model_with_nothing_to_say_leaves_the_history_alone(model, says) -> None:
    oscar = Persona(model, FACTS)
    waiting = says(*[""] * DRAWS)
    assert oscar.reply("hi") == ""
    assert oscar.history == []
    assert waiting == []


def test_a_score_is_the_sum_over_the_reply_s_tokens(model) -> None:
    oscar, reply = Persona(model, FACTS, history=["hi !", "hello ."]), "i am a nurse ."
    encoder = model.encoder
    ids = [*encoder.texts([reply])[0], encoder.eos]

    def by_the_library(facts: list[str]) -> float:
        context = encoder.context(1, facts, ["hi !", "hello .", "what do you do ?"], 300)
        with torch.no_grad():
            logits = model.model(torch.tensor([context + ids])).logits[0, len(context) - 1 : -1]
        return logits.log_softmax(1).gather(1, torch.tensor(ids)[:, None]).sum().item()

    score = oscar.score(reply, to="what do you do ?", other=["i am a pilot ."])
    assert score.own == pytest.approx(by_the_library(FACTS), abs=1e-4)
    assert score.other == pytest.approx(by_the_library(["i am a pilot ."]), abs=1e-4)
    assert score.tokens == len(ids)
    assert score.perplexity == pytest.approx(math.exp(-score.own / len(ids)))
    assert score.other_perplexity == pytest.approx(math.exp(-score.other / len(ids)))
    assert oscar.history == ["hi !", "hello ."]
    assert oscar.score(reply, to="what do you do ?", other=Persona(model, ["i am a pilot ."])) == score
    oscar.history += ["what do you do ?", "i do not work ."]
    assert oscar.score(reply, other=["i am a pilot ."]) == score  # in the place of the last reply


def test_a_fixed_reply_is_the_talk_s(model, says) -> None:
    oscar = Persona(model, FACTS)
    says("i am fine .")
    with pytest.raises(UserError, match="no reply to correct"):
        oscar.fix("i am old .")
    oscar.reply("hi")
    assert oscar.fix(" i am old . ") == "i am old ."
    assert oscar.history == ["hi", "i am old ."]
    with pytest.raises(UserError, match="an empty correction"):
        oscar.fix(" ")


def test_alternatives_differ_from_each_other_and_the_reply(model, says) -> None:
    oscar = Persona(model, FACTS, seed=1)
    assert oscar.alternatives(3) == []
    reply = oscar.reply("hi")
    others = oscar.alternatives(5)
    assert len({reply, *others}) == len(others) + 1
    assert len(others) >= 4
    assert oscar.history == ["hi", reply]


def test_why_names_the_fact_without_which_the_reply_is_least_likely(model, monkeypatch) -> None:
    facts, others = [*FACTS, "i like tea ."], ["i am old .", "i am a pilot ."]
    oscar = Persona(model, facts, history=["what do you do ?", "i work as a nurse ."])

    def likelihood(facts: list[str]) -> float:
        return Persona(model, facts, history=oscar.history).score("i work as a nurse .").own

    own = likelihood(facts)
    losses = {fact: own - max(likelihood([put if f == fact else f for f in facts]) for put in others) for fact in facts}
    worst = max(losses, key=losses.get)
    assert losses[worst] > 0
    for least, fact in ((losses[worst] - 0.01, worst), (losses[worst] + 0.01, None)):
        monkeypatch.setattr(module, "MARKED_LOSS", least)
        reason = oscar.why(others)
        assert (reason.fact, reason.loss) == (fact, pytest.approx(losses[worst], abs=1e-4))
    assert reason.score.own == pytest.approx(own, abs=1e-4)
    assert reason.score.other == pytest.approx(likelihood(others), abs=1e-4)


def test_why_names_no_fact_that_the_reply_does_not_lean_on(model) -> None:
    """With fewer facts any reply is less likely; the other persona's fact keeps their number."""
    oscar = Persona(model, ["i am a spy ."], history=["any fruit ?", "i like cherries ."])
    without = oscar.why()
    assert without.loss > (reason := oscar.why(["i am a tailor ."])).loss
    assert (reason.fact, reason.loss < module.MARKED_LOSS) == (None, True)
    assert Persona(model, [], history=["hi", "hello ."]).why().fact is None


def test_score_and_why_show_the_model_as_much_as_a_reply_does(model, contexts) -> None:
    oscar = Persona(model, FACTS, history=["a", "b", "c", "d", "e", "f"], max_history=3)
    for ask, shown in (
        (oscar.why, ["c", "d", "e"]),
        (lambda: oscar.score("f"), ["c", "d", "e"]),
        (lambda: oscar.score("h", to="g"), ["e", "f", "g"]),
    ):
        contexts.clear()
        ask()
        asked = [context["utterances"] for context in contexts if context["utterances"]]
        assert asked == [shown] * len(asked) != []


def test_a_goal_stands_in_front(model, monkeypatch) -> None:
    contexts = []
    context = model.encoder.context
    monkeypatch.setattr(model.encoder, "context", lambda *rest: contexts.append(context(*rest)) or contexts[-1])
    monkeypatch.setattr(model.model.config, "goals", [], raising=False)  # as train.py leaves it
    Persona(model, FACTS).reply("hi", goal="ask about pets.")
    ids = model.encoder.texts(["ask about pets."])[0]
    assert contexts[-1][: len(ids) + 2] == [model.encoder.act, *ids, model.encoder.speakers[1]]


def test_a_model_without_a_record_of_its_goals_gets_a_goal_as_the_published_model_learned_it(
    model, real_tokenizer
) -> None:
    """`<|act|>GOAL<|p1|><|sep|><|start|>`, without facts, whoever talks: in the published vocabulary, id by id."""
    encoder = Encoder(real_tokenizer)
    published = replace(model, tokenizer=real_tokenizer, encoder=encoder)
    prompt = [50262, 2093, 546, 17252, 13, 50260, 50257, 50259]
    oscar = Persona(published, FACTS, history=["hello ."])
    hello, hi, eos = *encoder.texts(["hello .", "hi !"]), 50256
    talk = [*hello, eos, *hi, eos]
    assert oscar.draft("hi !", goal="ask about pets.").context == prompt + talk
    assert Persona(published, FACTS).draft("hi !", goal="ask about pets.").context == [*prompt, *hi, eos]
    # Without a goal the facts stay.
    assert oscar.draft("hi !").context == encoder.context(0, FACTS, ["hello .", "hi !"], 280)


@pytest.mark.parametrize(
    ("most", "shown"),
    [(None, "abcde"), (0, "abcde"), (9, "abcde"), (5, "abcde"), (4, "cde"), (3, "cde"), (2, "e"), (1, "e")],
)
def test_an_old_talk_is_left_out_two_utterances_at_a_time(model, monkeypatch, most, shown) -> None:
    """So that the first speaker shown stays the same one."""
    seen = []
    context = model.encoder.context
    monkeypatch.setattr(model.encoder, "context", lambda *rest: seen.append(rest[2]) or context(*rest))
    Persona(model, FACTS, history=list("abcd"), max_history=most).reply("e")
    assert seen[-1] == list(shown)


def test_a_talk_longer_than_the_context_goes_on(model) -> None:
    oscar = Persona(model, FACTS, seed=1)
    for _ in range(5):
        assert oscar.reply("dogs " * 60)
    assert len(oscar.history) == 10


def test_a_published_tokenizer_s_layout(tmp_path, base, tokenizer) -> None:
    """As af1tang/personaGPT's: the four tokens of ours are ordinary added words there."""
    load_model(str(base), len(tokenizer)).save_pretrained(tmp_path)
    published = AutoTokenizer.from_pretrained(base)
    published.add_special_tokens({"sep_token": SEP, "cls_token": CLS})
    published.add_tokens(list(SPECIAL_TOKENS[2:]))
    published.save_pretrained(tmp_path)
    model = load(tmp_path)
    oscar = Persona(model, FACTS, seed=1)
    assert oscar.reply("hi <|p1|>", goal="ask about pets.")
    assert model.encoder.texts(["<|p1|>"])[0] != [model.encoder.speakers[0]]


@pytest.mark.parametrize(
    ("facts", "options", "words"),
    [
        ("i am a pilot .", {}, "the facts: expected a list of texts"),
        ([1], {}, "the facts: expected a list of texts"),
        (None, {}, "the facts: expected a list of texts"),
        ([], {"history": "hi"}, "the history: expected a list of texts"),
        ([], {"top_p": 0}, "top_p 0: expected above 0 and at most 1"),
        ([], {"max_history": -1}, "max_history -1: expected 0"),
        ([], {"max_history": "3"}, "max_history '3': expected 0"),
        ([], {"max_new_tokens": 320}, "max_new_tokens 320: the model's context is 320 tokens"),
    ],
)
def test_what_cannot_be_used_is_one_line(model, facts, options, words) -> None:
    with pytest.raises(UserError) as raised:
        Persona(model, facts, **options)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_persona_or_utterance_that_does_not_fit(model) -> None:
    with pytest.raises(DataError, match="do not fit into 280 tokens"):
        Persona(model, ["dogs " * 400])
    oscar = Persona(model, FACTS)
    with pytest.raises(DataError, match="do not fit into 280 tokens"):
        oscar.stream("dogs " * 400)  # at once, not at the first piece
    with pytest.raises(DataError, match=r"the persona with the goal \(\d+ tokens\) and the last utterance do not fit"):
        oscar.reply("hi", goal="dogs " * 400)
    with pytest.raises(DataError, match=r"a reply of \d+ tokens: the model's context is 320 tokens"):
        oscar.score("dogs " * 400)
    with pytest.raises(UserError, match="an empty utterance"):
        oscar.reply(" ")
    assert oscar.reply("hi")
    with pytest.raises(UserError, match="the talk has begun"):
        oscar.reply()


@pytest.mark.parametrize(
    ("name", "precision", "words"),
    [("./nowhere", "auto", "./nowhere: there is no such folder"), ("data", "apex-O1", "precision 'apex-O1': expected")],
)
def test_loading_what_is_not_there(name, precision, words) -> None:
    with pytest.raises(UserError) as raised:
        load(name, precision)
    assert str(raised.value).startswith(words)


@pytest.fixture
def styled(model) -> TrainedModel:
    """The model of a text in ConvAI2's style, whose personas have 1 or 2 facts and whose dialogues 8 utterances."""
    style = Style(Writing(1.0, 0.0, 1.0), Writing(1.0, 1.0, 0.5), 2, 8, 1)
    return replace(model, style=style)


def test_what_is_given_is_brought_into_the_style(styled, says) -> None:
    oscar = Persona(styled, ["I have a dog", "I am Bob."], history=["Hi!", "hello ."])
    assert oscar.facts == ["i have a dog.", "i am bob."]
    says("fine .")
    oscar.reply("What is your name?")
    assert oscar.history == ["hi !", "hello .", "what is your name ?", "fine ."]
    plain = Persona(styled, ["I have a dog"], history=["Hi!"], as_typed=True)
    assert plain.facts + plain.history == ["I have a dog", "Hi!"]
    of_a_text = Persona(styled, ["I have a dog"], history=["Hi!"], keep_facts=True)
    assert of_a_text.facts + of_a_text.history == ["I have a dog", "hi !"]
    assert oscar.score("Fine.", other=["I am old"]) == plain_score(styled, oscar.facts, oscar.history)


def plain_score(model: TrainedModel, facts: list[str], history: list[str]) -> Score:
    return Persona(model, facts, history=history, as_typed=True).score("fine .", other=["i am old."])


@pytest.mark.parametrize(
    ("facts", "notice"),
    [
        ([], "0 facts: in training a persona had 1 at least"),
        (["a"], None),
        (["a", "b"], None),
        (["a", "b", "c"], "3 facts: in training a persona had 2 at most"),
    ],
)
def test_fewer_and_more_facts_than_training_had_are_told(styled, recwarn, facts: list[str], notice: str | None) -> None:
    nurse = Persona(styled, facts)
    assert [str(warning.message) for warning in recwarn] == ([notice] if notice else [])
    recwarn.clear()
    Persona(styled, facts, keep_facts=True)  # a dialogue text's own persona
    nurse.score("fine .", to="hi !")  # against the model without a persona, which nobody gave too few facts
    assert not recwarn.list


def test_a_reply_is_compared_under_other_personas_on_average(model) -> None:
    persona = Persona(model, ["i have two dogs ."], history=["hi", "ho"])
    others = [["i ski ."], ["i am old .", "i sing ."]]
    single = [persona.score("two dogs .", "any pets ?", other) for other in others]
    found = persona.compare("two dogs .", "any pets ?", others)
    assert found.own == pytest.approx(single[0].own, rel=1e-5)
    assert found.other == pytest.approx((single[0].other + single[1].other) / 2, rel=1e-5)
    assert found.tokens == single[0].tokens


def test_the_fewest_facts_are_those_of_the_model(styled) -> None:
    style = replace(styled.style, facts_a_persona=5, fewest_facts_a_persona=2)
    with pytest.warns(UserWarning, match="^1 fact: in training a persona had 2 at least$"):
        Persona(replace(styled, style=style), ["i am a nurse."])


def test_the_history_shown_ends_before_training_s_dialogues_did(styled) -> None:
    assert Persona(styled, ["a"]).max_history == 5
    assert Persona(styled, ["a"], max_history=0).max_history == 0
    assert Persona(styled, ["a"], max_history=7).max_history == 7


def test_the_examples_of_the_docs_run(root, folder, tmp_path, monkeypatch, capsys) -> None:
    examples = re.findall(
        r"^```python\n(.*?)^```", (root / "docs" / "persona.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert len(examples) >= 6
    (tmp_path / "save" / "checkpoint").mkdir(parents=True)
    (tmp_path / "save" / "checkpoint" / "model").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for example in examples:
        exec(compile(example, "docs/persona.md", "exec"), names)
        assert capsys.readouterr().out.strip()
