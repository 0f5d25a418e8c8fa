"""The words of the demo corpus: kinds of persona facts, their values, the sentences around them.

make_sample.py draws from these tables when it writes the corpus, and compares text with them when it looks for the
persona questions. So a value, a question or a fact belongs to a single kind. Each sentence ends in `.`, `!` or `?`. As
in ConvAI2, a space precedes punctuation, but not the full stop at the end of a fact.
"""

from typing import NamedTuple


class FactKind(NamedTuple):
    """One kind of persona fact. `{}` stands for the value in facts, answers and echoes."""

    values: list[str]  # one word each
    facts: list[str]  # lines of a persona
    questions: list[str]  # what the other speaker asks
    answers: list[str]  # how the persona's owner replies
    echoes: list[str]  # how a listener repeats it, in the base model's chatter only


def words(text: str) -> list[str]:
    """Return the words of a text."""
    return text.split()


FACT_KINDS: dict[str, FactKind] = {
    "name": FactKind(
        values=words(
            """anna ben carla david emma frank grace henry irene jack karen leo maria nina oscar paula robert sara
            tom vera felix zoe alice brian"""
        ),
        facts=["my name is {}.", "i am called {}.", "people call me {}."],
        questions=[
            "what is your name ?",
            "may i ask your name ?",
            "what should i call you ?",
            "who am i talking to ?",
        ],
        answers=[
            "my name is {} .",
            "you can call me {} .",
            "i am {} , nice to meet you .",
            "everyone calls me {} .",
        ],
        echoes=["your name is {}", "you are called {}", "i can call you {}"],
    ),
    "job": FactKind(
        values=words(
            """baker nurse teacher pilot farmer lawyer plumber writer chef doctor dentist waiter tailor carpenter
            gardener librarian mechanic painter barber banker sailor scientist"""
        ),
        facts=[
            "i work as a {}.",
            "i am a {}.",
            "i earn my living as a {}.",
            "i have been a {} for years.",
        ],
        questions=[
            "what do you do for a living ?",
            "what do you do for work ?",
            "what is your job ?",
            "what kind of work do you do ?",
            "where do you work ?",
        ],
        answers=[
            "i work as a {} .",
            "i am a {} , and i like it .",
            "i have a job as a {} .",
            "i became a {} a few years ago .",
        ],
        echoes=["you are a {}", "you work as a {}", "your job is to be a {}"],
    ),
    "city": FactKind(
        values=words(
            """paris london berlin madrid rome vienna oslo dublin lisbon prague boston chicago denver seattle
            dallas toronto tokyo delhi cairo sydney athens warsaw"""
        ),
        facts=[
            "i live in {}.",
            "my home is in {}.",
            "i moved to {} last year.",
            "i have a small flat in {}.",
        ],
        questions=[
            "where do you live ?",
            "where are you from ?",
            "which city do you live in ?",
            "where is your home ?",
            "where are you writing from ?",
        ],
        answers=[
            "i live in {} .",
            "my home is in {} .",
            "i am in {} , it is lovely here .",
            "i have a place in {} .",
        ],
        echoes=["you live in {}", "your home is in {}", "you are from {}"],
    ),
    "pet": FactKind(
        values=words(
            """dog cat rabbit hamster parrot turtle pony mouse ferret snake canary frog goat duck pigeon rat hen
            donkey gecko sheep pig"""
        ),
        facts=["i have a {}.", "i own a {}.", "i share my home with a {}.", "my pet is a {}."],
        questions=[
            "do you have any pets ?",
            "do you have a pet ?",
            "what kind of pet do you have ?",
            "do you keep an animal at home ?",
            "do you like animals ?",
        ],
        answers=[
            "yes , i have a {} .",
            "i have a {} , we are best friends .",
            "i live with a {} .",
            "my pet is a {} .",
        ],
        echoes=["you have a {}", "your pet is a {}", "you own a {}"],
    ),
    "pet name": FactKind(
        values=words(
            """bella max luna rocky daisy buddy molly coco lucky ruby teddy rosie bruno misty pepper ginger domino
            simba nemo biscuit muffin rusty"""
        ),
        facts=[
            "my pet is called {}.",
            "my pet answers to the name {}.",
            "i named my pet {}.",
        ],
        questions=[
            "what is your pet called ?",
            "what is the name of your pet ?",
            "what did you name your pet ?",
        ],
        answers=[
            "my pet is called {} .",
            "we named our little friend {} .",
            "the name is {} .",
            "i picked the name {} .",
        ],
        echoes=["your pet is called {}", "the name of your pet is {}", "you named your pet {}"],
    ),
    "food": FactKind(
        values=words(
            """pizza pasta sushi tacos curry salad soup steak burgers noodles rice lasagna waffles burritos bread
            risotto kebabs lentils tofu meatballs chili cheese"""
        ),
        facts=[
            "my favorite food is {}.",
            "i could eat {} every day.",
            "i love to eat {}.",
            "i cook {} on sundays.",
        ],
        questions=[
            "what is your favorite food ?",
            "what do you like to eat ?",
            "what is for dinner tonight ?",
            "which dish do you love most ?",
        ],
        answers=[
            "i love {} .",
            "my favorite food is {} .",
            "i eat {} all the time .",
            "nothing beats {} for me .",
        ],
        echoes=["you love to eat {}", "your favorite food is {}", "you eat {}"],
    ),
    "fruit": FactKind(
        values=words(
            """apples bananas cherries plums pears peaches mangoes grapes melons lemons kiwis figs apricots limes
            guavas coconuts oranges dates berries currants"""
        ),
        facts=[
            "my favorite fruit is {}.",
            "i grow {} in my garden.",
            "i snack on {}.",
            "i buy fresh {} at the market.",
        ],
        questions=[
            "which fruit do you like ?",
            "what is your favorite fruit ?",
            "what fruit do you buy ?",
            "do you eat fruit ?",
        ],
        answers=[
            "i like {} the most .",
            "my favorite fruit is {} .",
            "i always have {} at home .",
            "i can never have enough {} .",
        ],
        echoes=["you like {}", "your favorite fruit is {}", "you always have {}"],
    ),
    "hobby": FactKind(
        values=words(
            """reading fishing knitting hiking dancing sewing gardening camping baking sailing drawing sculpting
            blogging shopping juggling climbing kayaking skating origami chess yoga"""
        ),
        facts=[
            "my hobby is {}.",
            "i enjoy {} in my free time.",
            "i spend my weekends on {}.",
            "i am crazy about {}.",
        ],
        questions=[
            "what are your hobbies ?",
            "what do you do for fun ?",
            "what do you do in your free time ?",
            "how do you spend your weekends ?",
        ],
        answers=[
            "i enjoy {} .",
            "my hobby is {} .",
            "i spend a lot of time on {} .",
            "mostly {} , it relaxes me .",
        ],
        echoes=["you enjoy {}", "your hobby is {}", "you spend your time on {}"],
    ),
    "color": FactKind(
        values=words(
            """red blue green yellow purple pink black white brown gray gold silver violet beige indigo crimson
            scarlet lilac maroon teal"""
        ),
        facts=[
            "my favorite color is {}.",
            "i paint everything {}.",
            "all my clothes are {}.",
            "my car is {} , like all my things.",
        ],
        questions=[
            "what is your favorite color ?",
            "which color do you like best ?",
            "what color do you wear ?",
        ],
        answers=[
            "my favorite color is {} .",
            "i like {} best .",
            "it has to be {} .",
            "i think {} is beautiful .",
        ],
        echoes=["your favorite color is {}", "you like {} best", "the color is {}"],
    ),
    "music": FactKind(
        values=words(
            """jazz rock pop blues country folk punk metal techno reggae opera soul disco gospel rap swing funk ska
            salsa samba tango"""
        ),
        facts=[
            "i listen to {} music.",
            "i am a fan of {} music.",
            "my favorite music is {}.",
            "i go to {} concerts.",
        ],
        questions=[
            "what music do you like ?",
            "what do you listen to ?",
            "do you like music ?",
            "what is your favorite kind of music ?",
        ],
        answers=[
            "i listen to {} .",
            "i am a big fan of {} .",
            "i love {} music .",
            "i am happy when they play {} .",
        ],
        echoes=["you listen to {}", "your music is {}", "you are a fan of {}"],
    ),
    "instrument": FactKind(
        values=words(
            """piano guitar violin drum flute cello trumpet harp saxophone clarinet banjo ukulele fiddle harmonica
            mandolin trombone tuba viola lute bugle"""
        ),
        facts=[
            "i play the {}.",
            "i am learning the {}.",
            "i practice the {} every evening.",
            "i take {} lessons.",
        ],
        questions=[
            "do you play an instrument ?",
            "which instrument do you play ?",
            "can you make music yourself ?",
        ],
        answers=[
            "yes , i play the {} .",
            "i play the {} , but not very well .",
            "i have a {} at home .",
            "the {} is my instrument .",
        ],
        echoes=["you play the {}", "you are learning the {}", "the {} is your instrument"],
    ),
    "sport": FactKind(
        values=words(
            """tennis soccer golf hockey baseball basketball rugby cricket swimming skiing surfing boxing judo
            karate cycling running rowing bowling fencing gymnastics archery squash"""
        ),
        facts=[
            "my favorite sport is {}.",
            "i do {} twice a week.",
            "i train hard for {}.",
            "i am in a {} club.",
        ],
        questions=[
            "do you do any sports ?",
            "which sport do you do ?",
            "what is your favorite sport ?",
            "how do you stay fit ?",
        ],
        answers=[
            "my sport is {} .",
            "i do {} .",
            "i stay fit with {} .",
            "i really enjoy {} with my club .",
        ],
        echoes=["your sport is {}", "you do {}", "you stay fit with {}"],
    ),
}

# What one replies whose persona does not say. The same for all kinds: whether a persona says is then learned once.
NOT_IN_PERSONA = [
    "i would rather not say .",
    "that is hard to say .",
    "let us talk about something else .",
    "i have not made up my mind .",
]

# Asks what its speaker has just been asked.
RETURN_QUESTIONS = ["and you ?", "how about you ?", "what about you ?"]

GREETINGS = ["hello !", "hi there !", "hey !", "good morning !", "good evening !", "hi !"]

# A small-talk question, and replies that fit it.
SMALL_TALK = {
    "how are you today ?": [
        "i am fine , thanks .",
        "i am doing great .",
        "a bit tired , but happy .",
        "very well , thank you .",
    ],
    "how is the weather ?": [
        "it is warm and sunny .",
        "it is raining again .",
        "a little cold today .",
        "windy , but nice .",
    ],
    "how was your day ?": [
        "it was long but good .",
        "quiet , just as i like it .",
        "busy , as always .",
        "it was wonderful .",
    ],
    "do you have plans for tomorrow ?": [
        "i will see some friends .",
        "no plans , just rest .",
        "i will visit my family .",
        "only some cleaning .",
    ],
    "did you sleep well ?": [
        "yes , like a stone .",
        "not really , it was too warm .",
        "i did , thank you .",
        "well enough .",
    ],
    "do you like to travel ?": [
        "yes , whenever i can .",
        "i prefer to stay at home .",
        "only by train .",
        "i do , as far as possible .",
    ],
    "are you a morning person ?": [
        "i am , i get up early .",
        "no , i love to sleep in .",
        "only after some coffee .",
        "not at all .",
    ],
    "do you have a big family ?": [
        "yes , we are many .",
        "no , it is a small one .",
        "i have two brothers .",
        "i have a sister .",
    ],
}

REACTIONS = [
    "nice !",
    "cool !",
    "that is great .",
    "how interesting .",
    "sounds good .",
    "oh , really ?",
    "i see .",
    "wonderful !",
]

FAREWELLS = [
    "it was nice talking to you . bye !",
    "i have to go now . take care !",
    "thanks for the chat . see you !",
    "have a lovely day . goodbye !",
]

# How a listener repeats what was said; `{}` is an echo, or several joined by commas and "and".
REPEATS = [
    "so {} .",
    "oh , {} !",
    "i heard that {} .",
    "you told me that {} .",
    "i will remember that {} .",
]
