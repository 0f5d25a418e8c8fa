"""Fetch the ConvAI2 archive, verify it, and unpack the two text files that are needed.

Nothing appears under `data_path` before the whole archive has been verified; an interrupted download is kept beside
the tensors, under `save_path/download/`, and the next one goes on from there.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import os
import tarfile
import urllib.error
import urllib.request
import zlib
from pathlib import Path

from tqdm import tqdm

from personagpt.errors import RunError
from personagpt.files import file_checksum

URL = "http://parl.ai/downloads/convai2/convai2_fix_723.tgz"
SHA256 = "d0ae89defe2fd0b0a4221eaa642a457d7d40cef475f54798119c7f3b8dd9361d"
PIECE = 1 << 20  # bytes read at a time


def download(wanted: list[Path], cache: Path, url: str = URL, sha256: str = SHA256) -> None:
    """Put the archive's files of the same names at the paths `wanted`; `cache` holds the download meanwhile.

    Raises RunError, with nothing at `wanted`, where the server, the connection or the archive's contents fail.
    """
    cache.mkdir(parents=True, exist_ok=True)
    partial = cache / (url.rpartition("/")[2] + ".part")
    try:
        _fetch(url, partial)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, OSError) and error.filename == str(partial):
            raise
        have = partial.stat().st_size if partial.exists() else 0
        reason = error.reason if type(error) is urllib.error.URLError else error
        raise RunError(
            f"the download from {url} failed after {have:,} bytes ({reason}): run the same command again to go on"
        ) from None
    found = file_checksum(partial)
    if found != sha256:
        partial.unlink()
        raise RunError(f"{url}: SHA-256 is {found}, not {sha256}: the file was discarded; run the same command again")
    _unpack(partial, wanted)
    partial.unlink()
    with contextlib.suppress(OSError):  # something else of the user's is in it
        cache.rmdir()


def _fetch(url: str, partial: Path) -> None:
    """Append what is missing of the file at `url` to `partial`."""
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if have and error.code == 416:  # nothing is missing
            return
        raise
    with response:
        if response.status != 206:  # this server sends whole files only
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with (
            open(partial, "ab" if have else "wb") as file,
            tqdm(total=total, initial=have, unit="B", unit_scale=True, desc="download", disable=None) as bar,
        ):
            while piece := response.read(PIECE):
                file.write(piece)
                have += len(piece)
                bar.update(len(piece))
    if total is not None and have < total:
        raise http.client.IncompleteRead(b"", total - have)


def _unpack(archive: Path, wanted: list[Path]) -> None:
    """Write the archive's files of the same names to the paths `wanted`: all of them or none."""
    unpacked = {path: archive.with_name(path.name + ".new") for path in wanted}
    # `data_path` may be another file system than the cache's: copy the files beside their places, then rename.
    beside = {path: path.with_name(path.name + ".new") for path in wanted}
    try:
        _extract(archive, unpacked)
        for path, new in unpacked.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            beside[path].write_bytes(new.read_bytes())
        for path, copy in beside.items():
            os.replace(copy, path)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise RunError(f"{archive}: cannot be unpacked: {error}") from None
    finally:
        for new in [*unpacked.values(), *beside.values()]:
            new.unlink(missing_ok=True)


def _extract(archive: Path, targets: dict[Path, Path]) -> None:
    """Write each regular file whose last name part is a key's to that key's path in `targets`.

    A member's own path is never used to write to. Raises RunError where one is not in the archive.
    """
    absent = {path.name: target for path, target in targets.items()}
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            name = member.name.rpartition("/")[2]
            if member.isreg() and name in absent:
                absent.pop(name).write_bytes(tar.extractfile(member).read())
    if absent:
        raise RunError(f"{archive}: {', '.join(absent)} not in the archive")
