"""A script of one character, such as people bring: 84 short scenes, for the figures in docs/character.md.

    python -m bench.character_script FOLDER

Writes  FOLDER/script.csv, with the columns scene, name and line, and FOLDER/vex.txt, the facts of Vex, a ship's
        mechanic. Text and order are the same on every machine.
"""

from __future__ import annotations

import csv
import random
import sys
from pathlib import Path

SCENES, EXCHANGES = 84, (3, 6)
CREW = ("Pim", "Captain Sal", "Doctor Ho")
PARTS = ("cooling pump", "left engine", "air filter", "landing gear", "radio", "fuel line", "hull plate", "heat shield")
PLACES = ("Tarn Station", "the moon of Oru", "Port Lenn", "the ice belt", "New Harbour", "the Ruby Gate")
THINGS = ("sand", "old soup", "rust", "glue", "wet socks", "candle wax", "salt", "feathers")
NUMBERS = ("two", "three", "five", "nine", "eleven", "forty")
FACTS = (
    "I am Vex, the mechanic of the Grey Heron.",
    "I lost my left hand in a fire and built a new one.",
    "I drink black tea and nothing else.",
    "My brother stole my first ship.",
    "I do not trust robots.",
)
GREETINGS = (
    ("Good morning, Vex.", "Is it? I have not slept."),
    ("Vex! Are you down there?", "Where else would I be?"),
    ("There you are.", "Make it quick, I am working."),
    ("Do you have a minute?", "I have one. Use it well."),
)
# What somebody says -> what Vex may answer.
TALK = (
    (("What is wrong with the {part}?", "Why is the {part} smoking?", "Is the {part} safe?"),
     ("The {part} is older than you are.", "The {part} needs a hammer and {number} minutes.",
      "Somebody filled the {part} with {thing}.")),
    (("Can you fix the {part} before {place}?", "How long do you need for the {part}?"),
     ("Give me {number} hours and nobody who talks.", "I can fix anything, but not for free.",
      "I will mend it with {thing} and luck.")),
    (("We are going to {place}.", "The next stop is {place}.", "Have you ever been to {place}?"),
     ("I hate {place}, the tea there tastes of {thing}.", "I spent {number} years on {place}.",
      "Then the {part} had better hold.")),
    (("Do you want some coffee?", "Can I bring you something to drink?"),
     ("I drink black tea and nothing else.", "Tea, black, in a cup without {thing} in it.")),
    (("How did you lose your hand?", "Does the hand still hurt?"),
     ("A fire on {place} took my left hand.", "I built the new hand from a {part}.",
      "The new hand never hurts and it opens any {part}.")),
    (("The robot could help you with the {part}.", "Why do you not like the robot?"),
     ("I do not trust robots.", "The last robot put {thing} into my {part}.", "Robots never ask why.")),
    (("Do you have a family?", "You never talk about your brother."),
     ("My brother stole my first ship.", "My brother sells {thing} on {place} now.",
      "I had a brother, and he had my ship.")),
    (("You look tired.", "When did you last sleep?"),
     ("I have been awake for {number} hours.", "I sleep when the {part} sleeps.", "Sleep is for passengers.")),
    (("Somebody is following us.", "There is a ship behind us."),
     ("If it is my brother, I will open the door myself.", "Then give me more fuel and less noise.",
      "Throw {thing} at them.")),
    (("Thank you, Vex.", "You saved us again."),
     ("Thank me with {number} cups of tea.", "I saved the ship, and you were on it.")),
    (("What is in that box?", "What did you buy on {place}?"),
     ("The box has {thing} in it.", "A new {part}, and it was not cheap.")),
    (("Tell me a story.", "What was your first ship like?"),
     ("My first ship had a {part} of gold.", "She was small, and she flew {number} years without a fault.")),
)  # fmt: skip
BEFORE = ("Listen.", "Hm.", "No.", "Ha!", "Again?", "Look here.", "Well.", "Fine.")
AFTER = (
    "Now hand me the wrench.", "Ask me again and I walk.", "Mind your head.", "Do not touch that.", "Write that down.",
    "And close the door.", "You owe me {number} coins.", "That is all I will say.", "Believe me or not.",
    "Tell the Captain.", "Where is my tea?", "Hold this lamp.",
)  # fmt: skip


def make_scene(rng: random.Random) -> list[tuple[str, str]]:
    """Return the (name, line) pairs of a scene between Vex and one or two others."""
    names = rng.sample(CREW, rng.randint(1, 2))
    choices = {"part": PARTS, "place": PLACES, "thing": THINGS, "number": NUMBERS}
    words = {name: rng.choice(values) for name, values in choices.items()}
    asked, answered = rng.choice(GREETINGS)
    lines = [(names[0], asked), ("Vex", answered)]
    for questions, answers in rng.sample(TALK, rng.randint(*EXCHANGES)):
        lines.append((rng.choice(names), rng.choice(questions).format(**words)))
        said = [rng.choice(BEFORE)] * (rng.random() < 0.4) + [rng.choice(answers)]
        said += [rng.choice(AFTER)] * (rng.random() < 0.6)
        lines.append(("Vex", " ".join(said).format(**words)))
    return lines


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__)
        return 2
    folder, rng = Path(arguments[0]), random.Random(1)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "script.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["scene", "name", "line"])
        writer.writerows((scene, *said) for scene in range(1, SCENES + 1) for said in make_scene(rng))
    (folder / "vex.txt").write_text("".join(f"{fact}\n" for fact in FACTS), encoding="utf-8")
    print(f"{SCENES} scenes in {folder}/script.csv, {len(FACTS)} facts in {folder}/vex.txt")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
