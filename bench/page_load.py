"""How fast the page answers many visitors at once: replies one by one, and in batches.

    python -m bench.page_load [--env .env.demo] [--model FOLDER] [--visitors 20] [--rounds 5]

All visitors ask the model at the same instant, and again as soon as every visitor has a reply. Prints replies a second,
and the seconds until a visitor sees the first letters and the whole reply, median and longest. A temporary folder holds
the recorded talks.
"""

from __future__ import annotations

from utils import exit_status, new_parser

import statistics
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from personagpt.model.generation import REPLIES_PER_BATCH
from personagpt.model.loading import TrainedModel, load_trained
from personagpt.model.sampling import Sampling
from personagpt.page.replies import ReplyQueue
from personagpt.records.database import Recordings
from personagpt.records.talks import Talk, Turn
from personagpt.settings import read_settings

QUESTIONS = ("hi ! how are you today ?", "what do you do for a living ?", "do you have a pet ?", "what do you eat ?")


def main() -> int:
    parser = new_parser(__doc__)
    parser.add_argument("--model")
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    trained = load_trained(options.model, read_settings(options.env))
    print(f"{options.visitors} visitors at once, {options.rounds} replies each, on {trained.model.device.type}")
    for size in (1, 4, REPLIES_PER_BATCH[trained.model.device.type]):
        with tempfile.TemporaryDirectory() as folder:
            first, whole, seconds = ask_all(trained, Path(folder), size, options.visitors, options.rounds)
        waits = (("first letters after", first), ("whole reply after", whole))
        shown = [f"{name} {statistics.median(times):.2f} s, {max(times):.2f} s at most" for name, times in waits]
        print(f"  batches of {size:<3} {len(whole) / seconds:6.1f} replies/s   {',   '.join(shown)}")
    return 0


def ask_all(
    trained: TrainedModel, folder: Path, size: int, visitors: int, rounds: int
) -> tuple[list[float], list[float], float]:
    """Return the seconds to the first letters of each reply, to its end, and of the whole measurement."""
    recordings = Recordings(folder)
    queue = ReplyQueue(trained, recordings, visitors, size)
    sampling = asdict(Sampling()) | {"seed": 1}
    talks = [Talk("m", "c", sampling, [f"i have {number} dogs ."], source="bench") for number in range(visitors)]
    first, whole, started = [], [], time.perf_counter()
    for number in range(rounds):
        for talk in talks:
            talk.turns.append(Turn("human", QUESTIONS[number % len(QUESTIONS)]))
        asked = time.perf_counter()
        waiting = [queue.ask(talk) for talk in talks]
        unseen = list(waiting)
        while waiting:
            now = time.perf_counter() - asked
            first += [now for reply in unseen if reply.text or reply.done]
            unseen = [reply for reply in unseen if not reply.text and not reply.done]
            whole += [now for reply in waiting if reply.done]
            waiting = [reply for reply in waiting if not reply.done]
            time.sleep(0.002)
        talks = recordings.talks()
    seconds = time.perf_counter() - started
    queue.close()
    recordings.close()
    return first, whole, seconds


if __name__ == "__main__":
    sys.exit(exit_status(main))
