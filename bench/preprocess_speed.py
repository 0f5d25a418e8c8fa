"""The time and the memory of preprocess_dataset.py on a file of ConvAI2's full size.

    python -m bench.preprocess_speed
    python -m bench.preprocess_speed --dialogues 1000000    does the memory stay the same when the text grows?

Reads   the dialogues of ../shared/convai2 (training and validation) and the vocabulary of ../shared/dialogpt-medium
        if they exist, else those of data/sample. The dialogues are repeated until there are 17,878. Each fact and
        utterance ends in a number of its own, so that no text is encoded twice.
Prints  the script's own lines, the time of the whole process (imports included), and its peak memory.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.common import CONVAI2_DIALOGUES, ROOT, text_and_vocabulary
from personagpt.settings import TEXT_NAMES

NINE_KEYS = (ROOT / ".env").read_text(encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dialogues", type=int, default=CONVAI2_DIALOGUES, help=f"default: {CONVAI2_DIALOGUES:,}")
    count = parser.parse_args().dialogues
    source, vocabulary = text_and_vocabulary()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").mkdir()
        train, valid = TEXT_NAMES.values()
        text = (source / train).read_text(encoding="utf-8") + (source / valid).read_text(encoding="utf-8")
        with open(folder / "data" / train, "w", encoding="utf-8") as file:
            file.writelines(full_size(text, count))
        (folder / "data" / valid).write_text((source / valid).read_text(encoding="utf-8"), encoding="utf-8")
        print(f"{source}, {vocabulary}: {(folder / 'data' / train).stat().st_size / 1e6:.1f} MB of text")
        (folder / ".env").write_text(f"{NINE_KEYS}model_name = '{vocabulary}'\n", encoding="utf-8")
        command = [sys.executable, ROOT / "preprocess_dataset.py", "--env", folder / ".env"]
        start = time.perf_counter()
        status = subprocess.run(command, check=False, stdout=sys.stdout, stderr=subprocess.DEVNULL).returncode
        taken = time.perf_counter() - start
    # Bytes on macOS, kilobytes elsewhere.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(
        f"whole process {taken:.1f} s on {os.cpu_count()} processors, peak memory {peak / 1e9:.2f} GB, status {status}"
    )
    return status


def full_size(text: str, count: int) -> Iterator[str]:
    """Yield the lines of `count` dialogues: those of `text`, repeated. Each part ends in its dialogue's number."""
    dialogues = re.split(r"^(?=1 )", text, flags=re.MULTILINE)[1:]
    for number in range(count):
        for line in dialogues[number % len(dialogues)].splitlines():
            yield "\t".join(f"{part} {number}" for part in line.split("\t")[:2]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
