"""Talk to a trained model, and record where it fails.

    python interact.py                                          type a persona, then talk
    python interact.py --persona "i have two dogs ." --persona "i work as a nurse ."
    python interact.py --random-persona --seed 7                a validation dialogue's persona, a repeatable talk
    python interact.py --self-play --turns 10                   two personas talk to each other
    echo "hi ! how are you ?" | python interact.py --random-persona
    python interact.py --export FOLDER [--only-flagged]         recorded talks -> text for preprocess_dataset.py

Reads   save_path/checkpoint/model, or the folder or hub name --model gives. It may run while train.py trains.
Writes  save_path/conversations/DATE.jsonl: one line a talk (conversations.py describes it). /help lists the commands.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from personagpt.errors import Stopped, UserError, exit_status
from personagpt.settings import Settings, add_env_option, env_option, read_settings


def command_line(arguments: list[str] | None = None) -> tuple[argparse.Namespace, Settings]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_env_option(parser)
    add = parser.add_argument
    add("--model", metavar="NAME", help="a folder or hub name (default: save_path/checkpoint/model)")
    persona = parser.add_mutually_exclusive_group()
    persona.add_argument("--persona", metavar="FACT", action="append", help="a fact of the model's persona; repeat it")
    persona.add_argument("--persona-file", metavar="FILE", type=Path, help="a persona, one fact a line")
    persona.add_argument("--random-persona", action="store_true", help="a persona of the validation text")
    add("--top-k", metavar="K", type=int, default=10, help="draw from the K most likely tokens (10; 0: all)")
    add("--top-p", metavar="P", type=float, default=0.92, help="... of those from the fewest that make up P (0.92)")
    add("--temperature", metavar="T", type=float, default=1.0, help="below 1: safer, above: bolder (1.0)")
    add("--max-new-tokens", metavar="N", type=int, default=40, help="longest reply (40)")
    add("--seed", metavar="N", type=int, help="makes a talk repeatable")
    add("--self-play", action="store_true", help="two personas talk to each other")
    add("--turns", metavar="N", type=int, default=10, help="utterances of a self-play (10)")
    add("--export", metavar="FOLDER", type=Path, help="write the recorded talks as ConvAI2 text")
    add("--only-flagged", action="store_true", help="... only talks with a flag, and a table of the flags")
    options = parser.parse_args(arguments)
    check_options(options)
    return options, read_settings(options.env)


def check_options(options: argparse.Namespace) -> None:
    """Raise UserError for a value out of range; put the facts of --persona or --persona-file into `persona`."""
    for name, holds, allowed in (
        ("top_k", options.top_k >= 0, "0 (all tokens) or more"),
        ("top_p", 0 < options.top_p <= 1, "above 0 and at most 1"),
        ("temperature", 0 < options.temperature < 1e6, "above 0 (--top-k 1 always takes the most likely token)"),
        ("max_new_tokens", options.max_new_tokens >= 1, "1 or more"),
        ("turns", options.turns >= 1, "1 or more"),
        ("seed", options.seed is None or 0 <= options.seed < 2**62, "0 or more, below 2**62"),
        ("only_flagged", options.export or not options.only_flagged, "used together with --export FOLDER"),
    ):
        if not holds:
            raise UserError(f"--{name.replace('_', '-')} {getattr(options, name)}: expected {allowed}")
    if options.persona_file is not None:
        try:
            options.persona = options.persona_file.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise UserError(f"--persona-file {options.persona_file}: cannot read it: {reason}") from None
    if options.persona is not None:
        options.persona = [fact.strip() for fact in options.persona if fact.strip()]
        if any("\udc80" <= letter <= "\udcff" for fact in options.persona for letter in fact):  # undecodable bytes
            raise UserError("--persona: not UTF-8 text; set the terminal to UTF-8, or use --persona-file")
        if not options.persona:
            raise UserError("an empty persona: give at least one fact, such as --persona 'i have two dogs .'")


if __name__ == "__main__":
    # --help and a mistake in the settings are answered now, before the seconds that importing torch takes.
    if status := exit_status(lambda: command_line() and 0):
        sys.exit(status)

import contextlib
import random
import secrets
import signal
from collections.abc import Iterator
from dataclasses import asdict, replace
from types import FrameType

import torch

from personagpt.model.generation import Sampling, stream_reply
from personagpt.model.trained import TrainedModel, load_trained
from personagpt.sequences.format import DataError
from personagpt.talking.recordings import FLAGS, Flag, Talk, Turn, append_talk, export, new_id
from personagpt.text.convai2 import Dialogue, read_corpus

DRAWS = 4  # how often a reply nobody wants is drawn before it stands
HELP = {
    "/persona [FACT | FACT]": "show the model's persona, or set another one and start a new talk",
    "/new": "start a new talk with the same persona",
    "/undo": "take back your last utterance and the reply",
    "/retry": "draw another reply",
    "/flag KIND [NOTE]": "mark the last reply: " + ", ".join(FLAGS),
    "/save": "record the talk now (it is recorded when it ends, too)",
    "/help": "this list",
    "/quit": "end (Ctrl-D does, too)",
}


def main(arguments: list[str] | None = None) -> int:
    options, settings = command_line(arguments)
    recordings = settings.save_path / "conversations"
    if options.export is not None:
        export(recordings, options.export, options.only_flagged, print, env_option(options.env))
        return 0
    trained = load_trained(options.model, settings)
    if options.max_new_tokens >= trained.context:
        raise UserError(f"--max-new-tokens {options.max_new_tokens}: the model's context is {trained.context} tokens")
    session = Session(trained, options, recordings)
    with ended_by_signals():
        try:
            if options.self_play:
                drawn = random_personas(settings, options.seed)
                session.begin(options.persona or drawn[1], "partner", drawn[0])
                self_play(session, options.turns)
            else:
                lines = read_lines()
                if options.random_persona:
                    options.persona = random_personas(settings, options.seed)[1]
                session.begin(options.persona or type_persona(lines))
                talk(session, lines)
        finally:
            session.record()
            if session.recorded_in:
                print(f"recorded in {session.recorded_in}")
    return 0


class Session:
    """The talk under way: replies stream to the terminal, and what was said is recorded."""

    def __init__(self, trained: TrainedModel, options: argparse.Namespace, recordings: Path) -> None:
        self.trained, self.recordings, self.seed = trained, recordings, options.seed
        self.sampling = Sampling(options.top_k, options.top_p, options.temperature)
        self.max_new_tokens = options.max_new_tokens
        self.generator = torch.Generator(trained.model.device)
        self.talks = 0
        self.talk: Talk | None = None
        self.recorded: dict | None = None  # the talk as it was when last recorded
        self.recorded_in: Path | None = None

    def begin(self, persona: list[str], partner: str = "human", partner_persona: list[str] | None = None) -> None:
        """Record the talk so far and start another. Raises DataError where a persona does not fit the context."""
        for speaker, facts in enumerate((partner_persona or [], persona)):
            self.trained.encoder.context(speaker, facts, [], self._room)
        self.record()
        seed = secrets.randbits(32) if self.seed is None else self.seed + self.talks
        self.talks += 1
        self.generator.manual_seed(seed)
        sampling = asdict(self.sampling) | {"max_new_tokens": self.max_new_tokens, "seed": seed}
        names = self.trained.name, self.trained.checksum
        self.talk = Talk(*names, sampling, persona, partner, partner_persona or [])
        for name, facts in (("partner", self.talk.partner_persona), ("model", persona)):
            if facts:
                print(f"{name}'s persona: {' | '.join(facts)}")

    @property
    def _room(self) -> int:
        return self.trained.context - self.max_new_tokens

    def reply(self, name: str, rejected: str = "") -> bool:
        """Print the next utterance of `name` ("model" or "partner") as it comes, and add it; False where it is empty.

        One that is empty, the speaker's last one or `rejected` is drawn again, a few times. Raises DataError where persona and the last utterance do not fit the context.
        """
        texts = self.talk.texts
        speaker, facts = (1, self.talk.persona) if name == "model" else (0, self.talk.partner_persona)
        context = self.trained.encoder.context(speaker, facts, texts, self._room)
        unwanted = ["", rejected, *texts[-2:-1]]
        print(f"{name}: ", end="", flush=True)
        for _ in range(DRAWS):
            text = self._stream(context, unwanted)
            if text not in unwanted:
                break
        else:
            print(text, end="")
        print()
        if text:
            self.talk.turns.append(Turn(name, text))
        return bool(text)

    def _stream(self, context: list[int], unwanted: list[str]) -> str:
        """Draw a reply and print it as it grows, once it cannot become one of the `unwanted` any more."""
        trained, shown, text = self.trained, "", ""
        pieces = stream_reply(
            trained.model, trained.encoder, context, trained.autocast, self._pick, self.max_new_tokens
        )
        for grown in pieces:
            text = printable(grown)
            if not any(other.startswith(text) for other in unwanted):
                print(text[len(shown) :], end="", flush=True)
                shown = text
        if text.rstrip() not in unwanted:
            print(text[len(shown) :], end="")  # it ended where an unwanted one goes on
        return text.rstrip()

    def _pick(self, logits: torch.Tensor) -> torch.Tensor:
        return self.sampling.draw(logits, self.generator)

    def answer(self, text: str, rejected: str = "") -> None:
        """Add what the human said, and the reply to it; without a reply neither."""
        self.talk.turns.append(Turn("human", text))
        try:
            if self.reply("model", rejected):
                return
            print("(the model said nothing: your utterance was taken back)")
        except DataError as error:
            print(f"({error})")
        self.talk.turns.pop()

    def take_back(self, count: int) -> None:
        """Remove the last `count` turns. A flag is evidence: the talk with it is recorded, and goes on as another."""
        kept = len(self.talk.turns) - count
        if any(flag.turn >= kept for flag in self.talk.flags):
            self.record()
            flags = [flag for flag in self.talk.flags if flag.turn < kept]
            self.talk = replace(self.talk, id=new_id(), turns=list(self.talk.turns), flags=flags)
        del self.talk.turns[kept:]

    def record(self) -> None:
        """Append the talk to today's file, if there is anything new in it."""
        if self.talk and self.talk.turns and asdict(self.talk) != self.recorded:
            self.recorded_in = append_talk(self.recordings, self.talk)
            self.recorded = asdict(self.talk)


def talk(session: Session, lines: Iterator[str]) -> None:
    """Answer what the human types, until they leave."""
    print("type what you say; /help lists the commands")
    for line in lines:
        text = line.strip()
        if text.startswith("/"):
            command, _, rest = text.partition(" ")
            if command == "/quit":
                return
            print(obey(session, command, rest.strip()), end="")
        elif text:
            session.answer(text)


def obey(session: Session, command: str, rest: str) -> str:
    """Carry out a command; returns what to say about it."""
    current = session.talk
    if command == "/help":
        return "".join(f"  {usage:<24}{meaning}\n" for usage, meaning in HELP.items())
    if command == "/persona" and not rest:
        return "".join(f"  {fact}\n" for fact in current.persona)
    if command == "/persona":
        facts = [fact.strip() for fact in rest.split("|") if fact.strip()]
        if not facts:
            return "an empty persona: write /persona FACT | FACT\n"
        try:
            session.begin(facts)
        except DataError as error:
            return f"{error}\n"
        return ""
    if command == "/new":
        session.begin(current.persona)
        return ""
    if command == "/save":
        session.record()
        return f"recorded in {session.recorded_in}\n" if current.turns else "nothing was said yet\n"
    if command in ("/undo", "/retry", "/flag") and not current.turns:
        return f"{command}: the model has not said anything yet\n"
    if command == "/undo":
        session.take_back(2)
        return f"taken back; {len(session.talk.turns)} utterances left\n"
    if command == "/retry":
        said, rejected = current.texts[-2:]
        session.take_back(2)
        session.answer(said, rejected)
        return ""
    if command == "/flag":
        kind, _, note = rest.partition(" ")
        if kind not in FLAGS:
            return f"/flag {kind or 'KIND'}: {'unknown kind' if kind else 'which kind?'}; the kinds are {', '.join(FLAGS)}\n"
        current.flags.append(Flag(len(current.turns) - 1, kind, note.strip()))
        return f"flagged as {kind}: {current.texts[-1]}\n"
    return f"{command}: unknown command; /help lists them\n"


def self_play(session: Session, turns: int) -> None:
    """Let both personas talk for `turns` utterances."""
    for number in range(turns):
        if not session.reply(("partner", "model")[number % 2]):
            print("(nothing more to say)")
            return


def read_lines() -> Iterator[str]:
    """What the human types, line by line, until the input ends; piped input is printed, as if typed."""
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="replace")
    if sys.stdin.isatty():
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  arrow keys and history for input()
        while True:
            try:
                yield input("you: ")
            except EOFError:
                print()
                return
    for line in sys.stdin:
        print(f"you: {line.rstrip()}")
        yield line


def type_persona(lines: Iterator[str]) -> list[str]:
    """The facts typed before an empty line."""
    print("the model's persona: type one fact a line, such as `i have two dogs .`; an empty line ends it")
    facts = []
    for line in lines:
        if not line.strip():
            break
        facts.append(line.strip())
    if not facts:
        raise UserError(
            "an empty persona: type at least one fact, or use --persona, --persona-file or --random-persona"
        )
    return facts


def random_personas(settings: Settings, seed: int | None) -> tuple[list[str], list[str]]:
    """Both personas of a random validation dialogue. Raises UserError where there is no text with personas."""
    path = settings.text("valid")
    if not path.is_file():
        raise UserError(f"{path} not found: a random persona comes from there; give one with --persona")
    dialogues: list[Dialogue] = [dialogue for dialogue in read_corpus(path).dialogues if all(dialogue.personas)]
    if not dialogues:
        raise UserError(f"{path}: no dialogue gives both personas; give one with --persona")
    return random.Random(seed).choice(dialogues).personas


def printable(text: str) -> str:
    """Without what could control a terminal or break a line."""
    return "".join(letter if letter.isprintable() else " " for letter in text).lstrip()


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """While open, SIGTERM and a closed terminal end the talk as Ctrl-C does: it is recorded first."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped("stopped; the talk is recorded", 128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(exit_status(main))
