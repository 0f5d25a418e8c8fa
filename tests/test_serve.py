"""The saved folder in other people's tools: transformers' pipeline, and its OpenAI-style server."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from transformers import pipeline
from transformers.utils.chat_template_utils import Chat
from transformers.utils.import_utils import is_serve_available

from personagpt.model.api import ApiError, ApiProgram
from personagpt.model.api_settings import Api, Drawing
from personagpt.model.generation import set_generation_defaults
from personagpt.model.loading import load_model, load_tokenizer
from personagpt.model.sampling import GREEDY
from personagpt.scoring.api import asked_of
from personagpt.scoring.generated import greedy_replies
from personagpt.sequences.format import Encoder
from personagpt.text.convai2 import parse_corpus
from tests.families import write_base
from tests.helpers import free_port
from tests.scoring.helpers import PLAIN, dataset_of

FACTS = ["i have two dogs.", "i work as a nurse."]
MESSAGES = [
    {"role": "system", "content": "\n".join(FACTS)},
    {"role": "user", "content": "hi ! what do you do for a living ?"},
]
TEXT = b"""\
1 your persona: i have two dogs.
2 partner's persona: i like tea.
3 partner's persona: i am old.
4 hi !\thello , how are you ?
5 i am fine . any pets ?\tyes , two dogs .
6 i drink tea .\tme too .
"""
PATIENCE = 90  # seconds for the server to start on a busy machine


@pytest.fixture
def folder(tmp_path, tiny_model, tokenizer) -> Path:
    return saved(tmp_path, tiny_model, tokenizer)


def saved(place: Path, model, tokenizer) -> Path:
    """Return the folder of the model, as training writes it."""
    set_generation_defaults(model, tokenizer)
    model.save_pretrained(place / "model")
    tokenizer.save_pretrained(place / "model")
    return place / "model"


def test_the_pipeline_chats_from_the_folder_alone(folder) -> None:
    chat = pipeline("text-generation", model=str(folder), device="cpu")
    answer = chat(MESSAGES)[0]["generated_text"]
    assert answer[:2] == MESSAGES
    assert answer[2]["role"] == "assistant"
    assert answer[2]["content"]
    assert "<|" not in answer[2]["content"]


def test_the_pipeline_takes_a_goal(folder, tokenizer) -> None:
    chat = pipeline("text-generation", model=str(folder), device="cpu")
    goal = {"tokenizer_encode_kwargs": {"goal": "ask about pets."}}
    prompt = Encoder(tokenizer).context(1, FACTS, [MESSAGES[1]["content"]], 320, goal="ask about pets.")
    assert chat.preprocess(Chat(MESSAGES), **goal)["input_ids"].tolist() == [prompt]
    assert chat(MESSAGES, **goal)[0]["generated_text"][:2] == MESSAGES


@pytest.mark.skipif(not is_serve_available(), reason="needs the extra: pip install 'transformers[serving]'")
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_server_answers_an_openai_style_request(family, tmp_path, tiny_model, tokenizer) -> None:
    if family != "gpt2":
        base = str(write_base(tmp_path / "base", family))
        tokenizer = load_tokenizer(base)
        tiny_model = load_model(base, len(tokenizer)).eval()
    folder, port = saved(tmp_path, tiny_model, tokenizer), free_port()
    command = [
        Path(sys.executable).with_name("transformers"),
        "serve",
        folder,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    log = folder.parent / "serve.log"
    with open(log, "wb") as output:
        server = subprocess.Popen(
            [*command, "--device", "cpu"], stdout=output, stderr=output, env=os.environ | {"HF_HUB_OFFLINE": "1"}
        )
    try:
        wait_for(server, f"http://127.0.0.1:{port}/health", log)
        body = {"model": str(folder), "messages": MESSAGES, "max_tokens": 40, "seed": 1}
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        # Our own client, as evaluate.py --api uses it: the server's greedy replies are the model's own.
        program = ApiProgram(Api(f"http://127.0.0.1:{port}/v1", str(folder)))
        corpus = parse_corpus(TEXT, "t")
        asked, _ = asked_of(corpus, "both", 20, 6)
        replies = list(program.replies(asked, Drawing(GREEDY.max_new_tokens, temperature=0.0)))
        with pytest.raises(ApiError, match=r"model nobody/none: .*\(HTTP 4\d\d\)|no chat completion"):
            ApiProgram(Api(f"http://127.0.0.1:{port}/v1", "nobody/none")).reply(FACTS, ["hi"], tries=1)
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
    encoder = Encoder(tokenizer)
    own = greedy_replies(tiny_model, dataset_of(TEXT, encoder, 320), encoder, PLAIN, 6)
    assert [" ".join(reply.split()) for reply in own.generated] == replies
    assert len(set(replies)) > 1
    message = answer["choices"][0]["message"]
    assert message["role"] == "assistant"
    assert message["content"]
    # The server's prompt is the training format's: persona, utterance, and where the reply begins.
    prompt = Encoder(tokenizer).context(1, FACTS, [MESSAGES[1]["content"]], 320)
    assert answer["usage"]["prompt_tokens"] == len(prompt)


def wait_for(server: subprocess.Popen, url: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if server.poll() is not None:
            pytest.fail(f"the server ended with status {server.returncode}: {log.read_text()[-1000:]}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"no server after {PATIENCE} s: {log.read_text()[-1000:]}")
