"""Fetching the archive: whole, resumed, broken, wrong and hostile, from a server on this machine."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import re
import tarfile
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import preprocess_dataset
from personagpt.errors import RunError, UserError
from personagpt.sequences.dataset import PersonaChatDataset
from personagpt.text.download import CANDIDATES_NAME, CONVAI2, Archive, download

TRAIN, VALID = (f"{split}_both_original_no_cands.txt" for split in ("train", "valid"))
TALK = b"1 your persona: i sing.\n2 partner's persona: i ski.\n3 hi\thello\n4 how are you ?\tfine\n"


def archive(members: list[tuple[str | tarfile.TarInfo, bytes]]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return made.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


GOOD = archive([("other.txt", b"x" * 5000), (TRAIN, TALK * 3), ("./" + VALID, TALK)])


def damaged_late() -> bytes:
    """An archive whose compressed stream is nonsense from the middle of a long text on."""
    whole = gzip.decompress(archive([(TRAIN, TALK * 40_000)]))
    packer = zlib.compressobj(wbits=31)
    return packer.compress(whole[: len(whole) // 2]) + packer.flush(zlib.Z_SYNC_FLUSH) + b"\xff" * 100


class Server(ThreadingHTTPServer):
    """Serves `data` at /convai2.tgz; `ranges`: it knows Range; `breaks_after`: it hangs up after so many bytes.

    `tells_length`: whether it says how much comes; `reason`: the words beside a 404.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.ranges, self.breaks_after, self.asked = GOOD, True, None, []
        self.tells_length, self.reason = True, "Not Found"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/convai2.tgz"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    def archive(self, *urls: str, sha256: str | None = None) -> Archive:
        return Archive(urls or (self.url,), len(self.data), sha256 or self.sha256)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Server = self.server
        wanted = self.headers.get("Range")
        server.asked.append(wanted)
        if self.path == "/round.tgz":
            self.send_response(302)
            self.send_header("Location", "/round.tgz")
            self.end_headers()
            return
        if self.path != "/convai2.tgz":
            self.send_response(404, server.reason)
            self.end_headers()
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.ranges else 0
        if start >= len(server.data):
            self.send_error(416)
            return
        body = server.data[start:]
        self.send_response(206 if wanted and server.ranges else 200)
        if server.tells_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.breaks_after])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def wanted(tmp_path) -> list[Path]:
    return [tmp_path / "data" / TRAIN, tmp_path / "data" / VALID]


def fetch(server: Server, wanted: list[Path], sha256: str | None = None) -> None:
    download(wanted, wanted[0].parents[1] / "cache", server.archive(sha256=sha256))


def partial(wanted: list[Path], data: bytes) -> Path:
    path = wanted[0].parents[1] / "cache" / "convai2.tgz.part"
    path.parent.mkdir()
    path.write_bytes(data)
    return path


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def unpacked(wanted: list[Path]) -> bool:
    """Whether the two texts, whole, are all there is."""
    assert files(wanted[0].parents[1]) == [f"data/{TRAIN}", f"data/{VALID}"]
    return [path.read_bytes() for path in wanted] == [TALK * 3, TALK]


def test_what_is_fetched_by_default() -> None:
    assert CONVAI2.urls == (
        "https://dl.fbaipublicfiles.com/parlai/convai2/convai2_fix_723.tgz",
        "http://parl.ai/downloads/convai2/convai2_fix_723.tgz",
    )
    assert CONVAI2.size == 429_780_162
    assert CONVAI2.sha256 == "d0ae89defe2fd0b0a4221eaa642a457d7d40cef475f54798119c7f3b8dd9361d"
    assert CONVAI2.name == "convai2_fix_723.tgz"


def test_a_whole_download(server, wanted) -> None:
    fetch(server, wanted)
    assert unpacked(wanted)
    assert server.asked == [None]


def test_only_what_is_wanted_is_replaced(server, wanted) -> None:
    wanted[0].parent.mkdir()
    wanted[0].write_bytes(b"mine")
    fetch(server, wanted[1:])
    assert [path.read_bytes() for path in wanted] == [b"mine", TALK]


@pytest.mark.parametrize("have", [1, len(GOOD) // 2, len(GOOD) - 1])
def test_a_broken_download_goes_on(server, wanted, have) -> None:
    partial(wanted, GOOD[:have])
    fetch(server, wanted)
    assert unpacked(wanted)
    assert server.asked == [f"bytes={have}-"]


def test_a_server_that_sends_whole_files_only(server, wanted) -> None:
    server.ranges = False
    partial(wanted, GOOD[:100])
    fetch(server, wanted)
    assert unpacked(wanted)


def test_a_download_that_was_whole_already(server, wanted) -> None:
    partial(wanted, GOOD)
    fetch(server, wanted)
    assert unpacked(wanted)


def test_a_download_that_is_too_long_starts_over(server, wanted) -> None:
    partial(wanted, GOOD + b"too much")
    fetch(server, wanted)
    assert unpacked(wanted)
    assert server.asked == [None]


def test_a_connection_that_breaks_off(server, wanted) -> None:
    server.breaks_after = 50
    for have in (50, 100):
        with pytest.raises(RunError) as caught:
            fetch(server, wanted)
        told = f": the connection broke off after {have} bytes): run the same command again, which goes on"
        assert told in str(caught.value)
        assert files(wanted[0].parents[1]) == ["cache/convai2.tgz.part"]
    server.breaks_after = None
    fetch(server, wanted)
    assert unpacked(wanted)
    assert server.asked == [None, "bytes=50-", "bytes=100-"]


@pytest.mark.parametrize("have", [b"", b"of another file"])
def test_a_wrong_checksum_discards_the_file(server, wanted, have) -> None:
    server.data = GOOD if have else GOOD[:-1] + b"?"
    path = partial(wanted, have)
    with pytest.raises(RunError) as caught:
        fetch(server, wanted, hashlib.sha256(GOOD).hexdigest())
    assert f"not {hashlib.sha256(GOOD).hexdigest()}): run the same command again; or fetch " in str(caught.value)
    assert not path.parent.exists()
    assert not wanted[0].parent.exists()
    # And the next attempt starts from nothing.
    server.data = GOOD
    fetch(server, wanted)
    assert unpacked(wanted)


def test_a_page_that_is_not_there(server, wanted) -> None:
    # A server's words reach the terminal as plain text, on one line.
    server.reason = "\x1b[31mNot\x9b2J\tFound" + "!" * 1000
    with pytest.raises(RunError) as caught:
        download(wanted, wanted[0].parents[1] / "cache", server.archive(server.url.replace("convai2", "gone")))
    assert f" (127.0.0.1:{server.server_port}: HTTP Error 404: [31mNot 2J Found!!!" in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


def test_a_redirect_without_end_has_one_line(server, wanted) -> None:
    with pytest.raises(RunError) as caught:
        download(wanted, wanted[0].parents[1] / "cache", server.archive(server.url.replace("convai2", "round")))
    assert "would lead to an infinite loop. The last 30x error message was: Found" in str(caught.value)
    assert str(caught.value).isprintable()


def test_no_network_leaves_no_folder(wanted, tmp_path) -> None:
    urls = ("http://127.0.0.1:1/convai2.tgz", "http://127.0.0.1:2/convai2.tgz")
    with pytest.raises(RunError) as caught:
        download(wanted, tmp_path / "save" / "download", Archive(urls, 1, "0"))
    refused = r"127\.0\.0\.1:{}: \[Errno \d+\] Connection refused"
    assert re.fullmatch(
        rf"convai2\.tgz could not be fetched \({refused.format(1)}; {refused.format(2)}\): run the same command again; "
        rf"or fetch http://127\.0\.0\.1:1/convai2\.tgz elsewhere, put it into {tmp_path}/data, and run the same .*",
        str(caught.value),
    )
    assert list(tmp_path.iterdir()) == []


def test_the_second_address_goes_on_where_the_first_broke_off(server, wanted, capsys) -> None:
    other = Server()
    other.breaks_after = 50
    thread = threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        download(wanted, wanted[0].parents[1] / "cache", server.archive(other.url, server.url))
    finally:
        other.shutdown()
        other.server_close()
        thread.join()
    assert unpacked(wanted)
    assert (other.asked, server.asked) == ([None], ["bytes=50-"])
    assert capsys.readouterr().out == f"fetching {other.url} ...\nfetching {server.url} ...\n"


def test_a_file_of_another_size_is_refused_at_once(server, wanted) -> None:
    archive = server.archive()
    for data in (GOOD + b"?" * 1000, GOOD[:-1]):
        server.data = data
        with pytest.raises(RunError, match=f"the server offers {len(data):,} bytes, but the archive has {len(GOOD):,}"):
            download(wanted, wanted[0].parents[1] / "cache", archive)
        assert not wanted[0].parents[1].joinpath("cache").exists()


def test_a_stream_without_end_is_cut(server, wanted) -> None:
    archive = server.archive()
    server.tells_length, server.data = False, GOOD + b"?" * (8 << 20)
    with pytest.raises(RunError, match=f"the server sends more than the archive's {len(GOOD):,} bytes"):
        download(wanted, wanted[0].parents[1] / "cache", archive)
    assert not wanted[0].parents[1].joinpath("cache").exists()
    # A shorter one is taken for broken off.
    server.data = GOOD[:100]
    with pytest.raises(RunError, match="the connection broke off after 100 bytes"):
        download(wanted, wanted[0].parents[1] / "cache", archive)
    server.data = GOOD
    download(wanted, wanted[0].parents[1] / "cache", archive)
    assert unpacked(wanted)


def test_an_archive_that_is_there_needs_no_network(server, wanted) -> None:
    there = wanted[0].with_name("convai2.tgz")
    there.parent.mkdir()
    there.write_bytes(GOOD)
    fetch(server, wanted)
    assert server.asked == []
    assert [path.read_bytes() for path in wanted] == [TALK * 3, TALK]
    assert there.read_bytes() == GOOD  # the user's own: it stays
    # One that is not whole is no reason to fetch, either, and stays too.
    there.write_bytes(GOOD[:-1])
    wanted[0].unlink()
    with pytest.raises(UserError, match="the file is not whole, or another file; remove it, or replace it by http"):
        fetch(server, wanted, server.sha256)
    assert there.read_bytes() == GOOD[:-1]
    assert server.asked == []


def test_hostile_members_write_nothing_outside(server, wanted, tmp_path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_bytes(b"kept")
    server.data = archive(
        [
            ("../../x", b"evil"),
            (str(outside / "absolute"), b"evil"),
            (link("away", str(outside)), b""),
            ("away/x", b"evil"),
            (link(TRAIN, str(outside / "kept")), b""),
            (link(VALID, "../outside/kept", tarfile.LNKTYPE), b""),
            (link("pipe", "", tarfile.FIFOTYPE), b""),
            # Even the wanted files are written where they are wanted only.
            (f"../outside/{TRAIN}", TALK * 3),
            (f"{outside}/{VALID}", TALK),
        ]
    )
    fetch(server, wanted)
    assert [path.read_bytes() for path in wanted] == [TALK * 3, TALK]
    assert not any(path.is_symlink() for path in wanted)
    assert files(tmp_path) == [f"data/{TRAIN}", f"data/{VALID}", "outside/kept"]
    assert (outside / "kept").read_bytes() == b"kept"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (archive([(TRAIN, TALK), ("other", b"")]), f"{VALID} not in the archive"),
        (archive([(link(TRAIN, VALID), b""), (VALID + "/x", b"")]), f"{TRAIN}, {VALID} not in the archive"),
        (archive([]), f"{TRAIN}, {VALID} not in the archive"),
        (b"no archive at all" * 100, "cannot be unpacked: "),
        (GOOD[: len(GOOD) // 2], "cannot be unpacked: "),
        (GOOD[:60] + b"\xff" * 100 + GOOD[160:], "cannot be unpacked: "),
        (damaged_late(), "cannot be unpacked: "),
    ],
    ids=["one file lacks", "links only", "empty", "a page of text", "cut", "damaged", "damaged text"],
)
def test_an_archive_without_the_texts(server, wanted, data, what) -> None:
    server.data = data
    with pytest.raises(RunError) as caught:
        fetch(server, wanted)
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files(wanted[0].parents[1]) == ["cache/convai2.tgz.part"]


def test_the_script_downloads_and_encodes(server, run, write_settings, base, tmp_path) -> None:
    server.data = archive([(TRAIN, TALK * 3), (VALID, TALK), (CANDIDATES_NAME, b"candidates")])
    main = functools.partial(preprocess_dataset.main, archive=server.archive())
    env = write_settings(model_name=base)
    refused = run(main, "--env", env)
    assert refused.status == 2
    assert f"{tmp_path / 'data' / TRAIN}, {tmp_path / 'data' / VALID} not found" in refused.err
    assert "--download" in refused.err
    assert server.asked == []
    done = run(main, "--env", env, "--download")
    assert done.status == 0
    assert "valid: 1 dialogues, 2 sequences, 4 responses, " in done.out
    assert len(PersonaChatDataset(tmp_path / "save" / "train_data.safetensors")) == 6
    # The validation text with candidates is for `evaluate.py --text`.
    assert (tmp_path / "data" / CANDIDATES_NAME).read_bytes() == b"candidates"
    # What is there is not fetched again.
    assert run(main, "--env", env, "--download").status == 0
    assert server.asked == [None]
    (tmp_path / "data" / VALID).unlink()
    (tmp_path / "data" / TRAIN).write_bytes(TALK)
    assert run(main, "--env", env, "--download").status == 0
    assert server.asked == [None, None]
    assert len(PersonaChatDataset(tmp_path / "save" / "train_data.safetensors")) == 2


def test_the_script_when_the_download_fails(server, run, write_settings, base, tmp_path) -> None:
    server.breaks_after = 30
    main = functools.partial(preprocess_dataset.main, archive=server.archive())
    outcome = run(main, "--env", write_settings(model_name=base), "--download")
    assert outcome.status == 1
    # The only line: off a terminal there is no bar.
    assert outcome.err.startswith("error: convai2.tgz could not be fetched (127.0.0.1")
    assert outcome.err.count("\n") == 1
    assert ": the connection broke off after 30 bytes)" in outcome.err
    assert not (tmp_path / "data").exists()
