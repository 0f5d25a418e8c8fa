"""Fetch the ConvAI2 archive, verify it, and unpack the text files that are needed.

An archive that lies in `data_path` already is used in place of a download. Nothing is unpacked before the whole archive
has been verified; an interrupted download is kept beside the tensors, under `save_path/download/`, and the next one
goes on from there.
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

PIECE = 1 << 20  # bytes read at a time
PATIENCE = 20  # seconds without an answer, or without a byte


@dataclass(frozen=True)
class Archive:
    """A file of known content, and the addresses it is published at."""

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
    """Put the archive's files of the same names at the paths `wanted`; `cache` holds the download meanwhile.

    Raises UserError where the archive beside them is another file, and RunError, with nothing at `wanted`, where the
    servers, the connection or the archive's contents fail.
    """
    at_hand = wanted[0].with_name(archive.name)
    if at_hand.exists():
        found = file_checksum(at_hand)
        if found != archive.sha256:
            raise UserError(
                f"{at_hand}: SHA-256 is {found}, not {archive.sha256}: it is not whole, or another file; remove it, "
                f"or replace it by {archive.urls[0]}"
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
            with contextlib.suppress(OSError):  # something is in it
                folder.rmdir()


def _fetch_from_any(archive: Archive, partial: Path, folder: Path) -> None:
    """Fetch the whole archive to `partial` from the first address that has it; what there is of it is kept."""
    reasons = []
    for url in archive.urls:
        print(f"fetching {url} ...", flush=True)
        try:
            _fetch(url, partial, archive.size)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, OSError) and error.filename == str(partial):
                raise
            reasons.append(f"{urllib.parse.urlsplit(url).netloc}: {_one_line(error)}")
            continue
        found = file_checksum(partial)
        if found == archive.sha256:
            return
        partial.unlink()
        reasons.append(f"{urllib.parse.urlsplit(url).netloc}: SHA-256 is {found}, not {archive.sha256}")
    have = partial.stat().st_size if partial.exists() else 0
    raise RunError(
        f"{archive.name} could not be fetched ({'; '.join(reasons)}): run the same command again"
        f"{f', which goes on after {have:,} bytes' if have else ''}; or fetch {archive.urls[0]} elsewhere, put it into "
        f"{folder}, and run the same command again"
    )


def _fetch(url: str, partial: Path, size: int) -> None:
    """Append what is missing of the file of `size` bytes at `url` to `partial`."""
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
            raise ValueError(f"it offers {have + int(length):,} bytes, but the archive has {size:,}")
        partial.parent.mkdir(parents=True, exist_ok=True)
        with (
            open(partial, "ab" if have else "wb") as file,
            tqdm(total=size, initial=have, unit="B", unit_scale=True, desc="download", disable=None) as bar,
        ):
            while piece := response.read(min(PIECE, size - have + 1)):
                have += len(piece)
                if have > size:
                    file.truncate(0)
                    raise ValueError(f"it sends more than the archive's {size:,} bytes")
                file.write(piece)
                bar.update(len(piece))
    if have < size:
        raise ConnectionError(f"it broke off after {have:,} bytes")


def _one_line(error: Exception) -> str:
    """What went wrong, on one line: a server's own words may hold line ends and a terminal's commands."""
    reason = str(error.reason if type(error) is urllib.error.URLError else error) or type(error).__name__
    shown = " ".join(printable(reason).split())
    return shown if len(shown) <= 200 else shown[:197] + "..."


def _unpack(archive: Path, wanted: list[Path]) -> None:
    """Write the archive's regular files whose last name part is that of a path in `wanted` to these paths.

    A member's own path is never used to write to. Raises RunError, with nothing written, where one is not there.
    """
    absent = {path.name: path for path in wanted}
    found: dict[Path, bytes] = {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                name = member.name.rpartition("/")[2]
                if member.isreg() and name in absent:
                    found[absent.pop(name)] = tar.extractfile(member).read()
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise RunError(f"{archive}: cannot be unpacked: {error}") from None
    if absent:
        raise RunError(f"{archive}: {', '.join(absent)} not in the archive")
    for path, data in found.items():
        write_atomically(path, data)
