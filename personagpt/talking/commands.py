"""The lines that a person types while they talk: utterances, and commands that start with `/`."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

from personagpt.errors import UserError, printable
from personagpt.model.sampling import RANGES
from personagpt.output import counted, say
from personagpt.records.database import TalkDeleted
from personagpt.records.talks import FLAGS, Flag
from personagpt.sequences.goals import Goal
from personagpt.talking.persona import Persona
from personagpt.talking.session import Session
from personagpt.talking.terminal import name_before

HELP = {
    "/persona [FACT | FACT]": "show the model's persona, or set another one and start a new talk",
    "/new": "start a new talk with the same persona",
    "/history": "show the talk so far",
    "/undo": "take back your last utterance and the reply",
    "/retry": "draw another reply",
    "/alternatives [N]": "show N other replies (3)",
    "/choose K": "... and put the K-th of them in the last one's place",
    "/fix TEXT": "put the right reply in the last one's place; an export trains on it",
    "/why": "how likely the last reply is, here and under another persona, and the fact it leans on",
    "/goal [TEXT]": "a goal for the replies from now on: its text, its number, or off",
    "/goals": "the goals that the settings name",
    "/set [NAME VALUE]": "how replies are drawn, such as /set temperature 0.7",
    "/flag KIND [NOTE]": "mark the last reply: " + ", ".join(FLAGS),
    "/save": "where the talk is recorded (every utterance is, when it is said)",
    "/help": "this list",
    "/quit": "end (Ctrl-D does, too)",
}
HELP_TEXT = "\n".join(f"  {usage:<24}{meaning}" for usage, meaning in HELP.items())
NEED_A_REPLY = ("/undo", "/retry", "/flag", "/alternatives", "/choose", "/fix", "/why")
MOST_ALTERNATIVES = 20
NOTHING = "nothing was said yet"


class Commands:
    """The commands of a session. Each returns lines to print, and raises UserError if it cannot be carried out."""

    def __init__(
        self, session: Session, goals: Sequence[Goal], pairs: Callable[[], list[tuple[list[str], list[str]]]]
    ) -> None:
        """`goals` are listed by /goals. `pairs` returns pairs of personas; /why compares with the first of a pair."""
        self.session, self.goals, self.pairs = session, goals, pairs
        self.alternatives: list[str] = []  # the replies shown last
        self.shown_for: tuple[str, ...] = ()  # the history that they were shown for

    def run(self, line: str) -> str:
        """Carry out the command in `line`, and return the lines to print, which may be none."""
        name, _, rest = line.partition(" ")
        if name not in {usage.split()[0] for usage in HELP}:
            return f"{printable(name)}: unknown command; /help lists them"
        if name in NEED_A_REPLY and not self.session.talk.turns:
            return f"{name}: the model has not said anything yet"
        try:
            return getattr(self, f"_{name[1:]}")(rest.strip())
        except UserError as error:
            return printable(str(error))

    def _help(self, rest: str) -> str:
        return HELP_TEXT

    def _persona(self, rest: str) -> str:
        if not rest:
            return "\n".join(f"  {printable(fact)}" for fact in self.session.talk.persona)
        self.session.begin(split_facts(rest))
        return ""

    def _new(self, rest: str) -> str:
        self.session.begin(self.session.talk.persona, keep_facts=True)
        return ""

    def _history(self, rest: str) -> str:
        turns = self.session.talk.turns
        return "\n".join(f"  {name_before(turn.speaker)}{printable(turn.text)}" for turn in turns) or NOTHING

    def _undo(self, rest: str) -> str:
        before = self.session.goal
        self.session.undo()
        goal = f"; {self._goal('')}" if self.session.goal != before else ""
        return f"taken back; {counted(len(self.session.talk.turns), 'utterances')} left{goal}"

    def _retry(self, rest: str) -> str:
        self.session.retry()
        return ""

    def _alternatives(self, rest: str) -> str:
        if not (rest or "3").isdecimal() or not 1 <= int(rest or 3) <= MOST_ALTERNATIVES:
            raise UserError(f"/alternatives {rest}: expected a number of replies, 1 to {MOST_ALTERNATIVES}")
        speaker = self.session.speakers["model"]
        self.alternatives = speaker.alternatives(int(rest or 3), goal=self.session.goal)
        self.shown_for = tuple(speaker.history)
        if not self.alternatives:
            return "the model has no other reply (try a higher temperature, or another top_k than 1)"
        lines = [f"  {number}: {text}" for number, text in enumerate(self.alternatives, 1)]
        return "\n".join([*lines, "/choose K puts a reply in the last one's place"])

    def _choose(self, rest: str) -> str:
        if not self.alternatives or self.shown_for != tuple(self.session.speakers["model"].history):
            raise UserError("/choose: first let /alternatives show other replies")
        if not rest.isdecimal() or not 1 <= int(rest) <= len(self.alternatives):
            raise UserError(f"{f'/choose {rest}'.strip()}: expected a number from 1 to {len(self.alternatives)}")
        return name_before("model") + self.session.replace_last(self.alternatives[int(rest) - 1], corrected=False)

    def _fix(self, rest: str) -> str:
        return name_before("model") + printable(self.session.replace_last(rest, corrected=True))

    def _why(self, rest: str) -> str:
        facts: list[str] = []
        with contextlib.suppress(UserError):  # no validation text
            facts = random.Random(self.session.seed).choice(self.pairs())[0]
        speaker = self.session.speakers["model"]
        reason = speaker.why(Persona(speaker.model, facts, keep_facts=True))
        leans = "no fact stands out"
        if reason.fact is not None:
            leans = f"leans on: {printable(reason.fact)} (without it {reason.loss:.2f} nats less likely)"
        return (
            f"  perplexity {reason.score.perplexity:.2f} under this persona\n"
            f"  perplexity {reason.score.other_perplexity:.2f} under {printable(' | '.join(facts)) or 'no persona'}\n"
            f"  {leans}"
        )

    def _goals(self, rest: str) -> str:
        lines = [f"  {number}: {goal.text}" for number, goal in enumerate(self.goals, 1)]
        return "\n".join(lines) or "the settings name no goals file; /goal TEXT takes any goal"

    def _goal(self, rest: str) -> str:
        if rest == "off":
            self.session.set_goal(None)
        elif rest.isdecimal():
            if not 1 <= int(rest) <= len(self.goals):
                raise UserError(f"/goal {rest}: there is no such number in /goals")
            self.session.set_goal(self.goals[int(rest) - 1].text)
        elif rest:
            self.session.set_goal(rest)
        return f"goal: {printable(self.session.goal or 'none')}"

    def _set(self, rest: str) -> str:
        if rest:
            name, _, value = rest.replace("=", " ").partition(" ")
            self.session.set(name.replace("-", "_"), value.strip())
        return "\n".join(f"  {name} {value}" for name, value in asdict(self.session.sampling).items())

    def _flag(self, rest: str) -> str:
        kind, _, note = rest.partition(" ")
        if kind not in FLAGS:
            reason = "unknown kind" if kind else "which kind?"
            raise UserError(f"/flag {kind or 'KIND'}: {reason}; the kinds are {', '.join(FLAGS)}")
        talk = self.session.talk
        talk.flags.append(Flag(len(talk.turns) - 1, kind, note.strip()))
        self.session.record()
        return f"flagged as {kind}: {printable(talk.texts[-1])}"

    def _save(self, rest: str) -> str:
        session = self.session
        if not session.talk.turns:
            return NOTHING
        if not session.recordings.talks(ids=[session.recorded_as]):
            raise TalkDeleted
        return f"recorded in {session.recordings.path}: {session.recorded_as}"


def completions(goals: Sequence[Goal], line: str) -> list[str]:
    """Return the lines that begin with `line`: of the commands' names, or of a command with a goal, kind or option."""
    if " " not in line:
        names = [usage.partition(" ") for usage in HELP]
        lines = [name + space for name, space, _ in names]
    else:
        words = {"/goal": [*(goal.text for goal in goals), "off"], "/flag": [*FLAGS], "/set": [*RANGES]}
        lines = [f"{name} {word}" for name in words for word in words[name]]
    return [whole for whole in lines if whole.startswith(line)]


def answer_lines(commands: Commands, lines: Iterator[str]) -> None:
    """Answer the lines that the human types, until they leave."""
    say("type what you say; /help lists the commands")
    for line in lines:
        text = line.strip()
        if text.partition(" ")[0] == "/quit":
            return
        if text.startswith("/"):
            if answer := commands.run(text):
                say(answer)
        elif text:
            try:
                commands.session.answer(text)
            except TalkDeleted as error:
                say(f"({error})")


def type_persona(lines: Iterator[str]) -> list[str]:
    """Return the facts typed before an empty line, or after /persona; no fact if the human leaves. Raises UserError."""
    say("the model's persona: type one fact a line, such as `i have two dogs.`; an empty line ends it")
    facts: list[str] = []
    for line in lines:
        text = line.strip()
        name, _, rest = text.partition(" ")
        if not text:
            break
        if name == "/quit":
            return []
        if name == "/persona" and rest.strip("| "):
            return split_facts(rest)
        if name == "/help":
            say(HELP_TEXT)
        elif text.startswith("/"):
            say(f"{printable(name)}: no talk yet; type facts, an empty line after them, or /help or /quit")
        else:
            facts.append(text)
    if not facts:
        raise UserError(
            "an empty persona: type at least one fact, or use --persona, --persona-file or --random-persona"
        )
    return facts


def split_facts(text: str) -> list[str]:
    """Return the facts of FACT | FACT. Raises UserError if there is none."""
    facts = [fact.strip() for fact in text.split("|") if fact.strip()]
    if not facts:
        raise UserError("an empty persona: write /persona FACT | FACT")
    return facts
