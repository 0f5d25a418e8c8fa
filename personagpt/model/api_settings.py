"""What names a program behind an OpenAI-style API, in study.toml or in a file of its own (--api FILE):

    url = "https://api.example.com/v1"   # requests go to URL/chat/completions
    api_model = "large-1"                # the program's name there
    key_env = "EXAMPLE_KEY"              # the environment variable that holds the key; without it no key is sent
    prompt = "prompt.txt"                # the system message, with {facts}; by default the facts, one a line
    opening = "(You begin.)"             # what the program is told where it opens a talk; by default nothing
    max_new_tokens = 40                  # of a reply; and temperature, top_p, by default as the server does by itself

No key stands in the file, and none is recorded. docs/api.md explains every key. This module imports nothing heavy.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from personagpt.errors import UserError
from personagpt.files import read_text
from personagpt.model.tables import Keys, check_table

FACTS = "{facts}"
SCHEME = "api://"  # begins the name of a program behind an API among the models of recorded talks
PATH = "/chat/completions"
NAMED = ("url", "api_model")


@dataclass(frozen=True)
class Drawing:
    """How the program draws its replies. None: as the server does by itself."""

    max_new_tokens: int = 40
    temperature: float | None = None
    top_p: float | None = None

    def fields(self, seed: int | None = None) -> dict[str, Any]:
        """Return the request's fields."""
        given = {"temperature": self.temperature, "top_p": self.top_p, "seed": seed}
        return {"max_tokens": self.max_new_tokens} | {key: value for key, value in given.items() if value is not None}


@dataclass(frozen=True)
class Api:
    """Where a program behind an API is, and what it is told. The key is no part of it."""

    url: str  # without /chat/completions
    api_model: str
    key_env: str | None = None
    prompt: str = FACTS  # the text itself
    opening: str = ""
    drawing: Drawing = Drawing()

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def name(self) -> str:
        """The program's name in recorded talks and figures. Where api_model is a path, only its last part."""
        is_path = self.api_model.startswith(("/", ".", "~"))
        return f"{SCHEME}{self.host}/{Path(self.api_model).name if is_path else self.api_model}"

    @property
    def checksum(self) -> str:
        """What tells the program from others, as a model's checksum does: of the address, the model and the prompt."""
        told = [self.url, self.api_model, self.prompt, self.opening]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    @property
    def recorded(self) -> dict[str, Any]:
        """What a recorded talk says of the replies, beside the program's name: the prompt's checksum, the drawing."""
        return {"prompt_sha256": hashlib.sha256(self.prompt.encode()).hexdigest()} | asdict(self.drawing)

    def key(self) -> str | None:
        """Return the key, which the environment holds. Raises UserError where it holds none, or no possible key."""
        if self.key_env is None:
            return None
        key = os.environ.get(self.key_env, "").strip()
        # The message does not show key_env: somebody may have put the key there.
        if not key:
            raise UserError("key_env: the environment has no variable of this name; set it to the key of the API")
        if not (key.isascii() and key.isprintable()):
            raise UserError("key_env: the variable's value is no key: it has characters that no header may have")
        return key

    def messages(self, facts: Sequence[str], history: Sequence[str]) -> list[dict[str, str]]:
        """Return the messages that ask for the next utterance of the program's side.

        The last utterance of `history` is the other side's, the utterance before it the program's, and so on.
        """
        system = self.prompt.replace(FACTS, "\n".join(facts)).strip()
        roles = ["assistant" if place % 2 else "user" for place in range(len(history))][::-1]
        said = [{"role": role, "content": text} for role, text in zip(roles, history, strict=True)]
        if self.opening and len(history) % 2 == 0:
            said.insert(0, {"role": "user", "content": self.opening})
        return ([{"role": "system", "content": system}] if system else []) + said


def is_address(value: str) -> bool:
    """Return whether `value` is an address that holds no key: no user, no password, no query."""
    try:
        parts = urlsplit(value)
        _ = parts.port, (parts.hostname or "").encode("idna")  # raises for a port that is no number, a name too long
    except ValueError:
        return False
    is_plain = not (parts.query or parts.fragment or "@" in parts.netloc)
    is_clean = value.isascii() and value.isprintable() and " " not in value
    return parts.scheme in ("http", "https") and bool(parts.hostname) and is_plain and is_clean


API_KEYS: Keys = {
    "url": (str, lambda value: True, "an address such as https://api.example.com/v1"),  # like key_env checked below
    "api_model": (
        str,
        lambda value: 1 <= len(value.strip()) <= 200 and value.isprintable(),
        "the program's name at the address, 1 to 200 letters",
    ),
    "key_env": (str, lambda value: True, "the name of an environment variable"),
    "prompt": (str, lambda value: value.strip() and "\0" not in value, "the path of a text file with {facts}"),
    "opening": (str, lambda value: 1 <= len(value.strip()) <= 1000, "1 to 1000 letters"),
    "max_new_tokens": (int, lambda value: 1 <= value <= 100_000, "1 to 100000"),
    "temperature": ((int, float), lambda value: 0 <= value <= 2, "0 to 2"),
    "top_p": ((int, float), lambda value: 0 < value <= 1, "above 0 and at most 1"),
}


def read_api(path: Path) -> Api:
    """Return the program of a file of its own. Raises UserError with one line that names the file and the key."""
    try:
        table = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"--api {path}: not a TOML file: {error}") from None
    return api_of(table, path, f"{path}")


def api_of(table: dict[str, Any], path: Path, where: str) -> Api:
    """Return the program that the API's keys of `table` name. A relative path starts at the folder of the file `path`.

    The key need not be there yet. Raises UserError with a line that begins with `where`.
    """
    if find_spec("httpx2") is None:
        raise UserError(f"{where}: a program behind an API needs httpx2: pip install -r requirements.txt")
    check_table(table, API_KEYS, NAMED, where)
    # These two messages do not show the value, because somebody may have put a key there.
    if not is_address(table["url"]):
        raise UserError(f"{where}: url: expected {API_KEYS['url'][2]}, without a user, a password or a query")
    key_env = table.get("key_env")
    if key_env is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key_env):
        raise UserError(f"{where}: key_env: expected the name of an environment variable, never the key itself")
    url = table["url"].rstrip("/").removesuffix(PATH)
    prompt = _prompt(path, table["prompt"], where) if "prompt" in table else FACTS
    drawing = Drawing(**{field.name: table[field.name] for field in fields(Drawing) if field.name in table})
    return Api(url, table["api_model"].strip(), key_env, prompt, table.get("opening", "").strip(), drawing)


def _prompt(path: Path, name: str, where: str) -> str:
    try:
        text = read_text(path.parent / name).strip()
    except UserError as error:
        raise UserError(f"{where}: prompt = '{name}': {error}") from None
    if FACTS not in text:
        raise UserError(f"{where}: prompt = '{name}': the file has no {FACTS}, where the persona is to stand")
    return text
