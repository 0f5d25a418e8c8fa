"""Fetch the ConvAI2 archive, verify it, and unpack the text files that are needed.

An archive in `data_path` is used in place of a download. The whole archive is verified before a file is unpacked. An
interrupted download stays under `save_path/download/`, and the next download goes on from there.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import tarfile
import urllib.error
import urllib.parse
import urllib.request
import zlib
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from personagpt.errors import RunError, UserError, printable
from personagpt.files import file_checksum, write_atomically
from personagpt.output import say

PIECE = 1 << 20  # bytes read at a time
PATIENCE = 20  # seconds without an answer, or without a byte


@dataclass(frozen=True)
class Archive:
    """A file of known content, and the addresses where it is published."""

    urls: tuple[str, ...]  # tried in this order
    size: int
    sha256: str

    @property
    def name(self) -> str:
        return self.urls[0].rpartition("/")[2]


CONVAI2 = Archive(
    urls=(
        "https://dl.fbaipublicfiles.com/parlai/convai2/convai2_fix_723.tgz",
        "http://parl.ai/downloads/convai2/convai2_fix_723.tgz",
    ),
    size=429_780_162,
    sha256="d0ae89defe2fd0b0a4221eaa642a457d7d40cef475f54798119c7f3b8dd9361d",
)
CANDIDATES_NAME = "valid_both_original.txt"  # the validation text with candidates, for hits@1


def download(wanted: list[Path], cache: Path, archive: Archive = CONVAI2) -> None:
    """Unpack the archive's files to the paths `wanted`, by their names. `cache` holds an unfinished download.

    Raises UserError where the archive beside `wanted` is another file. Raises RunError, with nothing at `wanted`, where
    the servers, the connection or the archive's contents fail.
    """
    at_hand = wanted[0].with_name(archive.name)
    if at_hand.exists():
        if (checksum := file_checksum(at_hand)) != archive.sha256:
            raise UserError(
                f"{at_hand}: SHA-256 is {checksum}, not {archive.sha256}: the file is not whole, or another file; "
                f"remove it, or replace it by {archive.urls[0]}"
            )
        _unpack(at_hand, wanted)
        return
    partial = cache / (archive.name + ".part")
    new_folders = [folder for folder in (cache, *cache.parents) if not folder.exists()]
    try:
        _fetch_from_any(archive, partial, at_hand.parent)
        _unpack(partial, wanted)
        partial.unlink()
    finally:
        if partial.exists() and not partial.stat().st_size:
            partial.unlink()
        for folder in {cache: None} | dict.fromkeys(new_folders):
            with contextlib.suppress(OSError):  # the folder is not empty
                folder.rmdir()


def _fetch_from_any(archive: Archive, partial: Path, folder: Path) -> None:
    """Fetch the whole archive to `partial` from the first address that has it. An unfinished download is kept."""
    reasons = []
    for url in archive.urls:
        say(f"fetching {url} ...")
        try:
            _fetch(url, partial, archive.size)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, OSError) and error.filename == str(partial):
                raise
            reasons.append(f"{urllib.parse.urlsplit(url).netloc}: {_one_line(error)}")
            continue
        checksum = file_checksum(partial)
        if checksum == archive.sha256:
            return
        partial.unlink()
        reasons.append(f"{urllib.parse.urlsplit(url).netloc}: SHA-256 is {checksum}, not {archive.sha256}")
    have = partial.stat().st_size if partial.exists() else 0
    raise RunError(
        f"{archive.name} could not be fetched ({'; '.join(reasons)}): run the same command again"
        f"{f', which goes on after {have:,} bytes' if have else ''}; or fetch {archive.urls[0]} elsewhere, put it into "
        f"{folder}, and run the same command again"
    )


def _fetch(url: str, partial: Path, size: int) -> None:
    """Append the missing bytes of the file at `url`, which has `size` bytes, to `partial`."""
    have = partial.stat().st_size if partial.exists() else 0
    if have == size:
        return
    if have > size:
        have = 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        if response.status != 206:  # this server sends whole files only
            have = 0
        length = response.headers.get("Content-Length")
        if length and have + int(length) != size:
            raise ValueError(f"the server offers {have + int(length):,} bytes, but the archive has {size:,}")
        partial.parent.mkdir(parents=True, exist_ok=True)
        with (
            open(partial, "ab" if have else "wb") as file,
            tqdm(total=size, initial=have, unit="B", unit_scale=True, desc="download", disable=None) as bar,
        ):
            while piece := response.read(min(PIECE, size - have + 1)):
                have += len(piece)
                if have > size:
                    file.truncate(0)
                    raise ValueError(f"the server sends more than the archive's {size:,} bytes")
                file.write(piece)
                bar.update(len(piece))
    if have < size:
        raise ConnectionError(f"the connection broke off after {have:,} bytes")


def _one_line(error: Exception) -> str:
    """Return the error on one line. A server's own words may hold line ends and a terminal's commands."""
    reason = str(error.reason if type(error) is urllib.error.URLError else error) or type(error).__name__
    shown = " ".join(printable(reason).split())
    return shown if len(shown) <= 200 else shown[:197] + "..."


def _unpack(archive: Path, wanted: list[Path]) -> None:
    """Write the archive's regular files to the paths `wanted` whose names they have.

    A member's own folder is never used. Raises RunError, with nothing written, where a file is not in the archive.
    """
    absent = {path.name: path for path in wanted}
    contents: dict[Path, bytes] = {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                name = member.name.rpartition("/")[2]
                if member.isreg() and name in absent:
                    contents[absent.pop(name)] = tar.extractfile(member).read()
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise RunError(f"{archive}: cannot be unpacked: {error}") from None
    if absent:
        raise RunError(f"{archive}: {', '.join(absent)} not in the archive")
    for path, data in contents.items():
        write_atomically(path, data)
