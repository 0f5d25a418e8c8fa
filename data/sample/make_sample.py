"""Make the demo corpus and its base model: chats with personas, and a tiny GPT-2 without any.

    python -m data.sample.make_sample            both, in a few minutes on two CPU cores
    python -m data.sample.make_sample --text     the corpus only, in a second; needs no torch

Reads templates.py beside it. Writes, beside itself,

    train_both_original_no_cands.txt    the corpus, in the ConvAI2 text format
    valid_both_original_no_cands.txt    its validation part, of personas that training never shows
    base/                               a GPT-2 and its tokenizer

The text is the same on every machine; the weights may differ in their last bits.

The base model stands in for DialoGPT. It learns from chatter, in which people tell things and others repeat them. So it
can chat, and copy from an utterance, but it has never seen a persona. Fine-tuning on the corpus then teaches it to
answer from its persona. That can be counted, because each answer names a known word: `persona_questions` finds the
questions in a corpus, and `value_of` and `with_value` read and change a persona.
"""

import argparse
import functools
import itertools
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from data.sample.templates import (
    FACT_KINDS,
    FAREWELLS,
    GREETINGS,
    NOT_IN_PERSONA,
    REACTIONS,
    REPEATS,
    RETURN_QUESTIONS,
    SMALL_TALK,
)

FOLDER = Path(__file__).resolve().parent
TRAIN_FILE = FOLDER / "train_both_original_no_cands.txt"
VALID_FILE = FOLDER / "valid_both_original_no_cands.txt"
BASE_FOLDER = FOLDER / "base"

VALUES = [value for table in FACT_KINDS.values() for value in table.values]

SEED = 1
TRAIN_DIALOGUES, VALID_DIALOGUES = 1600, 80
FACTS = 1, 2, 3, 4, 4, 5, 5, 6, 6  # how many a persona has, by lot: a persona of many facts teaches more
EXCHANGES = 3, 12  # in a dialogue: fewest, most
FAREWELL, FAREWELL_EXCHANGES = (
    0.3,
    5,
)  # the share that ends in farewells, of the dialogues of so many exchanges at least
BARE_QUESTION, BARE_GREETING = 0.5, 0.1  # shares of the dialogues, by their first utterance; the others greet and ask

EOS = "<|endoftext|>"
CONTEXT = 320  # tokens; a side of twelve exchanges may have more, and is cut
WIDTH, LAYERS, HEADS = 112, 3, 4
BATCH_SIZE, BATCH_TOKENS, STEPS = 4, CONTEXT, 3000
LEARN_RATE, WARMUP_STEPS = 3e-3, 50


class Dialogue(NamedTuple):
    """What two speakers say to each other; speaker 0 talks first."""

    personas: tuple[list[str], list[str]]  # the facts of speaker 0 and of speaker 1
    utterances: list[str]  # in spoken order, speakers alternating


class PersonaQuestion(NamedTuple):
    """A question whose answer is in the persona of the speaker who answers."""

    dialogue: int  # place in the corpus, from 0
    utterance: int  # place of the question among the dialogue's utterances, from 0
    speaker: int  # who answers: 0 talks first in the dialogue, 1 is the other speaker
    kind: str  # a key of FACT_KINDS
    value: str  # the word of the persona that answers it
    uttered: bool  # whether a speaker has said that word before the answer


# --- the corpus ----------------------------------------------------------------------------------


def draw_persona(rng: random.Random, count: int, taken: set[str]) -> dict[str, str]:
    """Return the values of a new persona of `count` facts, by kind. No value is in `taken`."""
    kinds = rng.sample(list(FACT_KINDS), count)
    return {kind: rng.choice([v for v in FACT_KINDS[kind].values if v not in taken]) for kind in kinds}


def answer(rng: random.Random, topic: str, persona: dict[str, str]) -> str:
    """Return what a speaker says when asked about a topic, a key of FACT_KINDS or of SMALL_TALK."""
    if topic in SMALL_TALK:
        return rng.choice(SMALL_TALK[topic])
    if topic in persona:
        return rng.choice(FACT_KINDS[topic].answers).format(persona[topic])
    return rng.choice(NOT_IN_PERSONA)


def draw_topic(rng: random.Random, persona: dict[str, str], heard: list[str]) -> str:
    """Return the next topic for a speaker who has been asked about the topics in `heard`."""
    new_facts = [kind for kind in persona if kind not in heard]
    again = [kind for kind in heard[:-1] if kind in persona]
    small_talk = [question for question in SMALL_TALK if question not in heard]
    not_in_persona = [kind for kind in FACT_KINDS if kind not in persona]
    pools = [(new_facts, 0.66), (again, 0.18), (small_talk, 0.12), (not_in_persona, 0.03)]
    (pool,) = rng.choices(*zip(*[(pool, weight) for pool, weight in pools if pool], strict=True))
    return rng.choice(pool)


def make_utterances(rng: random.Random, personas: list[dict[str, str]]) -> list[str]:
    """Return a chat in which each speaker answers the other's questions and mostly asks one back.

    A farewell answers another farewell or an utterance that asks nothing, so that every question gets an answer. Short
    dialogues have no farewells: after a long persona a model would take a talk that has just begun for a longer one.
    """
    exchanges = rng.randint(*EXCHANGES)
    says_bye = exchanges >= FAREWELL_EXCHANGES and rng.random() < FAREWELL
    turns = 2 * exchanges
    farewells_from = turns - 2 if says_bye else turns
    opening = rng.random()
    greets, only_greets = opening >= BARE_QUESTION, opening >= 1 - BARE_GREETING
    heard: list[list[str]] = [[], []]  # the topics each speaker has been asked about
    utterances: list[str] = []
    topic = None  # what the last utterance asks about
    for turn in range(turns):
        speaker, listener = turn % 2, 1 - turn % 2
        returnable = {*personas[listener], *SMALL_TALK}.difference(heard[listener])
        sentences = []
        if turn < 2 and greets:
            greeting = rng.choice(GREETINGS)
            # Of somebody who types "hi", a model reads "hi .", in the style of the corpus.
            sentences.append(greeting.replace("!", rng.choice("!.")) if turn == 0 and only_greets else greeting)
        elif turn > 1 and rng.random() < 0.3:
            sentences.append(rng.choice(REACTIONS))
        if topic:
            sentences.append(answer(rng, topic, personas[speaker]))

        last_topic, topic = topic, None
        if turn >= farewells_from:
            sentences.append(rng.choice(FAREWELLS))
        elif turn == 0 and only_greets:
            pass
        elif turn == farewells_from - 1 or (last_topic and turn < farewells_from - 2 and rng.random() < 0.1):
            pass  # asks nothing
        elif last_topic in returnable and rng.random() < 0.4:
            topic = last_topic
            sentences.append(rng.choice(RETURN_QUESTIONS))
        else:
            topic = draw_topic(rng, personas[listener], heard[listener])
            sentences.append(topic if topic in SMALL_TALK else rng.choice(FACT_KINDS[topic].questions))
        if topic:
            heard[listener].append(topic)
        utterances.append(" ".join(sentences))
    return utterances


def make_corpus(
    rng: random.Random, count: int, held_out: set[frozenset[str]], facts: Sequence[int] = FACTS
) -> list[Dialogue]:
    """Return `count` dialogues. No persona's values are in `held_out`; `facts` is drawn from as FACTS is."""
    dialogues = []
    while len(dialogues) < count:
        first = draw_persona(rng, rng.choice(facts), taken=set())
        # The speakers share no value, so that no speaker gives away the other's answer.
        second = draw_persona(rng, rng.choice(facts), taken=set(first.values()))
        if not held_out.isdisjoint([frozenset(first.values()), frozenset(second.values())]):
            continue
        personas = tuple(
            [rng.choice(FACT_KINDS[kind].facts).format(value) for kind, value in persona.items()]
            for persona in (first, second)
        )
        dialogues.append(Dialogue(personas, make_utterances(rng, [first, second])))
    return dialogues


def make_corpora() -> tuple[list[Dialogue], list[Dialogue]]:
    """Return the training and the validation dialogues, which have no persona in common.

    Validation draws first, because training takes most personas of a single fact.
    """
    rng = random.Random(SEED)
    valid = make_corpus(rng, VALID_DIALOGUES, held_out=set())
    return make_corpus(rng, TRAIN_DIALOGUES, held_out=persona_values(valid)), valid


def write_corpus(path: Path, dialogues: list[Dialogue]) -> None:
    """Write the ConvAI2 text format, in which the partner talks first."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for (partner, own), utterances in dialogues:
            lines = [f"your persona: {fact}" for fact in own]
            lines += [f"partner's persona: {fact}" for fact in partner]
            lines += [f"{a}\t{b}" for a, b in zip(utterances[::2], utterances[1::2], strict=True)]
            file.writelines(f"{number} {line}\n" for number, line in enumerate(lines, start=1))


# --- reading it back: what the recall benchmark asks ---------------------------------------------


def read_corpus(path: Path) -> list[Dialogue]:
    """Return the dialogues of a file that `write_corpus` wrote."""
    dialogues: list[Dialogue] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        number, text = line.split(" ", maxsplit=1)
        if number == "1":
            dialogues.append(Dialogue(([], []), []))
        (partner, own), utterances = dialogues[-1]
        if text.startswith("your persona: "):
            own.append(text.removeprefix("your persona: "))
        elif text.startswith("partner's persona: "):
            partner.append(text.removeprefix("partner's persona: "))
        else:
            utterances.extend(text.split("\t"))
    return dialogues


@functools.cache
def match_fact(fact: str) -> tuple[str, str, str] | None:
    """Return the kind of a fact, its phrasing (an entry of `FACT_KINDS[kind].facts`) and its value, None if unknown."""
    for kind, table in FACT_KINDS.items():
        for phrasing in table.facts:
            match = re.fullmatch(re.escape(phrasing).replace(r"\{\}", "(.+)"), fact)
            if match and match[1] in table.values:
                return kind, phrasing, match[1]
    return None


def value_of(facts: list[str], kind: str) -> str | None:
    """Return the value that a persona has for a kind, None if it has no fact of that kind."""
    matches = [match_fact(fact) for fact in facts]
    return next((match[2] for match in matches if match and match[0] == kind), None)


def with_value(facts: list[str], kind: str, value: str) -> list[str]:
    """Return the persona with another value in its fact of that kind, and the same phrasing."""
    matches = [(fact, match_fact(fact)) for fact in facts]
    return [m[1].format(value) if m and m[0] == kind else fact for fact, m in matches]


def persona_values(dialogues: list[Dialogue]) -> set[frozenset[str]]:
    """Return the values of each persona of the dialogues. A value tells its kind."""
    personas = [facts for dialogue in dialogues for facts in dialogue.personas]
    return {frozenset(match[2] for fact in facts if (match := match_fact(fact))) for facts in personas}


def names(text: str, value: str) -> bool:
    """Return whether a text contains the value as a whole word."""
    return value in re.findall(r"\w+", text.lower())


def persona_questions(dialogues: list[Dialogue]) -> list[PersonaQuestion]:
    """Return the persona questions of a corpus, in the order in which they are asked.

    A question is recognised by its exact text. "and you ?" asks for the kind of the question before it.
    """
    kind_of = {question: kind for kind, table in FACT_KINDS.items() for question in table.questions}
    questions = []
    for index, (personas, utterances) in enumerate(dialogues):
        kind = None
        for place, utterance in enumerate(utterances):
            asked = re.split(r"(?<=[.!?]) ", utterance)[-1]
            if asked not in RETURN_QUESTIONS:
                kind = kind_of.get(asked)
            speaker = 1 - place % 2
            if kind and (value := value_of(personas[speaker], kind)):
                uttered = any(names(said, value) for said in utterances[: place + 1])
                questions.append(PersonaQuestion(index, place, speaker, kind, value, uttered))
    return questions


# --- the base model: chatter without personas ----------------------------------------------------


def draw_word(rng: random.Random, values: list[str]) -> str:
    """Return a value, or sometimes a made-up word, which a model can repeat only by copying it."""
    if rng.random() < 0.7:
        return rng.choice(values)
    return "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(2))


def make_chatter(rng: random.Random) -> str:
    """Return a chat in which people tell and repeat things, with EOS after each utterance."""
    utterances = []
    if rng.random() < 0.25:
        words = " ".join(draw_word(rng, VALUES) for _ in range(rng.randint(3, 9)))
        utterances += [f"say {words} .", f"you said {words} ."]
    if rng.random() < 0.2:
        utterances.append(rng.choice(GREETINGS))
    if rng.random() < 0.2:
        question = rng.choice(list(SMALL_TALK))
        utterances += [question, rng.choice(SMALL_TALK[question])]
    echoes: list[str] = []  # things told and not yet repeated
    kinds = rng.sample(list(FACT_KINDS), rng.randint(2, 6))
    for kind in kinds:
        word = draw_word(rng, FACT_KINDS[kind].values)
        utterances.append(rng.choice(FACT_KINDS[kind].facts + FACT_KINDS[kind].answers).format(word))
        echoes.append(rng.choice(FACT_KINDS[kind].echoes).format(word))
        if kind == kinds[-1] or rng.random() < 0.5:
            # In random order, so that the listener must find each thing, not just the last.
            rng.shuffle(echoes)
            joined = " and ".join(filter(None, [" , ".join(echoes[:-1]), echoes[-1]]))
            utterances.append(rng.choice(REPEATS).format(joined))
            echoes = []
    return "".join(utterance + EOS for utterance in utterances)


def make_base(folder: Path) -> None:
    """Train a byte-level BPE tokenizer and a small GPT-2 on chatter, and save both to `folder`."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast

    rng = random.Random(SEED)
    torch.manual_seed(SEED)
    chats = [make_chatter(rng) for _ in range(40_000)]

    bpe = ByteLevelBPETokenizer()
    # Every word of the corpus becomes a single token, because a sampled reply makes up words from pieces of words. The
    # base depends on the corpus's words alone, not on how often they occur.
    texts = [text for (first, second), said in read_corpus(TRAIN_FILE) for text in [*first, *second, *said]]
    words = sorted({word for text in texts for word in re.findall(r" ?\w+| ?[^\w\s]+", text)})
    bpe.train_from_iterator(words, min_frequency=1, special_tokens=[EOS], show_progress=False)
    tokenizer = GPT2TokenizerFast(
        tokenizer_object=bpe._tokenizer,
        bos_token=EOS,
        eos_token=EOS,
        unk_token=EOS,
        model_max_length=CONTEXT,
    )

    eos = tokenizer.eos_token_id
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=CONTEXT,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        # About 1 / sqrt(WIDTH); GPT-2's 0.02 is meant for a width of 768.
        initializer_range=0.08,
        bos_token_id=eos,
        eos_token_id=eos,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    model = GPT2LMHeadModel(config)
    stream = torch.tensor(list(itertools.chain.from_iterable(tokenizer(chats).input_ids)))
    print(f"base model: {model.num_parameters():,} parameters, {len(stream):,} tokens of chatter")
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARN_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / WARMUP_STEPS) * (1 - step / STEPS)
    )
    model.train()
    for step in range(STEPS):
        starts = torch.randint(len(stream) - BATCH_TOKENS, (BATCH_SIZE, 1))
        tokens = stream[starts + torch.arange(BATCH_TOKENS)]  # (BATCH_SIZE, BATCH_TOKENS)
        loss = model(tokens, labels=tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 200 == 0 or step == STEPS - 1:
            print(f"step {step}: loss {loss.item():.3f}")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--text", action="store_true", help="write the corpus only")
    arguments = parser.parse_args()
    for path, dialogues in zip((TRAIN_FILE, VALID_FILE), make_corpora(), strict=True):
        write_corpus(path, dialogues)
        print(f"{path.name}: {len(dialogues)} dialogues, {len(persona_questions(dialogues))} persona questions")
    if not arguments.text:
        make_base(BASE_FOLDER)


if __name__ == "__main__":
    main()
