"""personagpt/model/api_settings.py: what names a program behind an API, and the messages that it gets."""

from __future__ import annotations

import pytest

from personagpt.errors import UserError
from personagpt.model.api_settings import Api, Drawing, is_address, read_api
from tests.api_server import KEY

LINES = 'url = "https://api.example.com:8443/v1/chat/completions"\napi_model = "large-1"\n'


def written(tmp_path, lines: str):  # noqa: ANN201
    (tmp_path / "program.toml").write_text(lines)
    return tmp_path / "program.toml"


def test_a_file_with_everything(tmp_path) -> None:
    (tmp_path / "prompt.txt").write_text("You are:\n{facts}\nBe {brief}.\n")
    rest = 'key_env = "K"\nprompt = "prompt.txt"\nopening = "You begin."\ntop_p = 1\n'
    api = read_api(written(tmp_path, LINES + rest))
    told = "You are:\n{facts}\nBe {brief}.", "You begin."
    assert api == Api("https://api.example.com:8443/v1", "large-1", "K", *told, Drawing(top_p=1))
    assert (api.host, api.name) == ("api.example.com:8443", "api://api.example.com:8443/large-1")
    assert api.messages(["a.", "b."], []) == [
        {"role": "system", "content": "You are:\na.\nb.\nBe {brief}."},
        {"role": "user", "content": "You begin."},
    ]


def test_who_says_what() -> None:
    api = Api("http://x", "m")
    system = [{"role": "system", "content": "a."}]
    assert api.messages(["a."], []) == system  # the program opens the talk
    assert api.messages(["a."], ["hi", "ho"]) == [
        *system,
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": "ho"},
    ]
    assert api.messages([], ["hi"]) == [{"role": "user", "content": "hi"}]
    opened = Api("http://x", "m", opening="go").messages([], ["hi", "ho"])
    assert [message["content"] for message in opened] == ["go", "hi", "ho"]
    assert len(Api("http://x", "m", opening="go").messages([], ["hi"])) == 1


def test_the_checksum_tells_programs_apart() -> None:
    apis = [Api("http://x", "m"), Api("http://y", "m"), Api("http://x", "n"), Api("http://x", "m", None, "{facts}!")]
    assert len({api.checksum for api in apis}) == 4
    assert Api("http://x", "m", "KEY_1").checksum == Api("http://x", "m", "KEY_2").checksum
    assert [api.recorded == apis[0].recorded for api in apis] == [True, True, True, False]
    assert apis[0].recorded | {"prompt_sha256": ""} == {
        "prompt_sha256": "",
        "max_new_tokens": 40,
        "temperature": None,
        "top_p": None,
    }


def test_a_path_stays_on_the_machine() -> None:
    assert [Api("http://x:1/v1", name).name for name in ("/home/me/best", "./best", "org/best")] == [
        "api://x:1/best",
        "api://x:1/best",
        "api://x:1/org/best",
    ]


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        ("", "url, api_model missing; add url = ... (an address such as https://api.example.com/v1)"),
        (LINES + "key = 'x'", "unknown key 'key'; the nearest known one is 'key_env'"),
        (LINES + "prompt = 'no.txt'", "prompt = 'no.txt': "),
        (LINES + "prompt = 'empty.txt'", "prompt = 'empty.txt': the file has no {facts}, where the persona is to"),
        (LINES + "opening = ' '", "opening = ' ' is not allowed; expected 1 to 1000 letters"),
        (LINES.replace("large-1", " "), "api_model = ' ' is not allowed"),
        (LINES + "x", "not a TOML file"),
        (LINES + f"key_env = '{KEY}'", "key_env: expected the name of an environment variable, never the key itself"),
        (LINES.replace("api.", f"{KEY}@api."), "url: expected an address such as https://api.example.com/v1, without"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, lines, line) -> None:
    (tmp_path / "empty.txt").write_text("be nice")
    path = written(tmp_path, lines)
    with pytest.raises(UserError) as caught:
        read_api(path)
    assert str(caught.value).removeprefix("--api ").startswith(f"{path}: {line}")
    assert KEY not in str(caught.value)


def test_addresses() -> None:
    assert all(map(is_address, ("http://localhost:8000/v1", "https://[::1]/v1", "https://x.example")))
    wrong = (
        "x",
        "ftp://x",
        "https://",
        "https://x?key=1",
        "https://a:b@x/",
        "https://x:port",
        "https://x/ y",
        "http://[",
    )
    assert not any(map(is_address, (*wrong, "http://../v1", f"http://{'a' * 64}.example/v1")))
