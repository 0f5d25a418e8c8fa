"""The times that chat programs write, in any country's form -> seconds.

    12/11/23, 21:55     11/12/2023 9:55 PM     12.11.23, 21:55:01     2023-11-12, 9:55 p. m.     21:55, 12 Nov 2023

Whether the day or the month comes first is decided from all dates of a file. The times before a name in a plain written
talk are in speaker_lines.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from itertools import pairwise

Triple = tuple[int, int, int]  # the numbers of a date in the order in which they are written; 0 for a missing year

MARK = "[\u200e\u200f\ufeff]*"  # marks of direction, which stand around the numbers of a right-to-left language
WORD = r"[^\W\d_]{3,9}"
SEPARATOR = rf"{MARK}[./\-年月년월]\s?{MARK}"  # with the Chinese and Korean words for year and month
EASTERN_AM, EASTERN_PM = "上午|凌晨|早上|오전|午前", "下午|中午|晚上|오후|午後"  # these stand before the clock
AM = rf"a\.?\s?m\b\.?|in the morning|ص|π\.?μ\.?|öö|{EASTERN_AM}"
PM = rf"p\.?\s?m\b\.?|in the (?:afternoon|evening)|at night|م|μ\.?μ\.?|ös|{EASTERN_PM}"
NUMBERS = rf"R?\d{{1,4}}{SEPARATOR}\d{{1,2}}(?:{SEPARATOR}R?\d{{1,4}})?[.日일]?(?:\sBE)?"  # R5, 2566 BE: eras
NAMED = rf"\d{{1,2}}\.?[\s-]{WORD}\.?(?:[\s-]\d{{2,4}}\b)?|{WORD}\s\d{{1,2}}(?:,?\s\d{{4}})?"
DATE = rf"{MARK}(?:{NUMBERS}|{NAMED})"
CLOCK = rf"(?:(?:{EASTERN_AM}|{EASTERN_PM})\s?)?\d{{1,2}}[:.]\d{{2}}(?:[:.]\d{{2}})?(?:\s?(?:{AM}|{PM}))?"
# A word such as `at`, `um` or `klo` may stand between date and clock.
STAMP = rf"""(?:(?P<date>{DATE})(?:T|[,،]?\s(?:(?!{EASTERN_AM}|{EASTERN_PM})\w{{1,3}}\s)?)(?P<clock>{CLOCK})
|(?P<clock2>{CLOCK}),?\s(?P<date2>{DATE}))""".replace("\n", "")

MONTHS = {
    start: number
    for number, starts in enumerate(
        ["jan ene gen", "feb fév fev", "mar mär mrt", "apr avr abr", "may mai mag mei", "jun juin giu",
         "jul juil lug", "aug aoû ago", "sep set", "oct okt ott out", "nov", "dec dez dic déc"], start=1
    )
    for start in starts.split()
}  # fmt: skip
ORDERS = {"dmy": (2, 1, 0), "mdy": (2, 0, 1), "ymd": (0, 1, 2)}  # where year, month and day stand
CLOCK_PARTS = re.compile(r"(?P<before>\D*)(?P<hour>\d+)[:.](?P<minute>\d+)(?:[:.](?P<second>\d+))?(?P<after>.*)")
IS_PM, IS_AM = re.compile(PM, re.IGNORECASE), re.compile(AM, re.IGNORECASE)


@lru_cache(maxsize=4096)
def triple(written: str) -> Triple | None:
    """Return the numbers of a date; with a month's name as (day, month, year). None where no month has the name."""
    numbers = [int(number) for number in re.findall(r"\d+", written)]
    if name := re.search(rf"(?<!\w){WORD}", written):
        word = name[0].casefold()
        month = MONTHS.get(word[:4]) or MONTHS.get(word[:3])
        return (numbers[0], month, numbers[1] if len(numbers) > 1 else 0) if month else None
    return (numbers[0], numbers[1], numbers[2] if len(numbers) > 2 else 0)


def order_of(triples: Iterable[Triple]) -> str:
    """Return which of ORDERS the dates of a file have, in the order of its messages.

    A number above 12 is no month. Where no date has such a number, the right order is the one in which the messages go
    forward, else the one in which they are closer together.
    """
    dates = list(dict.fromkeys(triples))
    if any(first > 31 for first, _, _ in dates):
        return "ymd"
    if any(first > 12 for first, _, _ in dates):
        return "dmy"
    if any(second > 12 for _, second, _ in dates):
        return "mdy"

    def cost(order: str) -> tuple[int, int]:
        days = [day for numbers in dates if (day := _day(numbers, order)) is not None]
        backward = sum(after < before for before, after in pairwise(days))
        return backward, max(days, default=0) - min(days, default=0)

    return min("dmy", "mdy", key=cost)


@lru_cache(maxsize=4096)
def _day(numbers: Triple, order: str) -> int | None:
    """Return the number of the day, counted from a fixed day; None where the date is in no calendar."""
    year, month, day = (numbers[place] for place in ORDERS[order])
    try:
        return date(year + 2000 if year < 100 else year, month, day).toordinal()
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def _second(clock: str) -> int | None:
    """Return the second of the day; None where no clock shows `clock`."""
    parts = CLOCK_PARTS.match(clock)
    if not parts:
        return None
    hour, minute, second = int(parts["hour"]), int(parts["minute"]), int(parts["second"] or 0)
    half = parts["before"] + parts["after"]
    if hour <= 12 and IS_PM.search(half):
        hour = hour % 12 + 12
    elif hour <= 12 and IS_AM.search(half):
        hour %= 12
    return hour * 3600 + minute * 60 + second if hour < 24 and minute < 60 and second < 60 else None


def seconds_of(numbers: Triple | None, clock: str, order: str) -> float | None:
    """Return the time in seconds, counted from a fixed day; None where it is no time."""
    day = _day(numbers, order) if numbers else None
    second = _second(clock)
    return None if day is None or second is None else day * 86_400.0 + second


def times(written: Sequence[str]) -> list[float | None]:
    """Return the time of each of the stamps of a file, in seconds; None for text that is no stamp."""
    stamps = [COMPILED.match(text) for text in written]
    pairs = [
        (triple(stamp["date"] or stamp["date2"]), stamp["clock"] or stamp["clock2"]) if stamp else (None, "")
        for stamp in stamps
    ]
    order = order_of(numbers for numbers, _ in pairs if numbers)
    return [seconds_of(numbers, clock, order) for numbers, clock in pairs]


def any_seconds(written: Sequence[str]) -> list[float | None]:
    """Return the time of each of the stamps of a file, in seconds: a date with its clock, ISO 8601, or a number."""
    found = []
    for text, seconds in zip(written, times(written), strict=True):
        is_number = re.fullmatch(r"\d{9,}(\.\d+)?", text) is not None
        in_thousandths = is_number and len(text.partition(".")[0]) > 11
        known = number_seconds(text, 1000 if in_thousandths else 1) if is_number else iso_seconds(text)
        found.append(seconds if known is None else known)
    return found


COMPILED = re.compile(STAMP, re.IGNORECASE)
ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?", re.ASCII)


def iso_seconds(text: object) -> float | None:
    """Return the time that `2024-02-01T10:00:00.0000000+01:00` names, in seconds; None for anything else.

    Parts of a second are dropped. A time without a zone is taken for one of Greenwich.
    """
    if not isinstance(text, str) or not ISO.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text).replace(microsecond=0)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def number_seconds(value: object, per_second: int = 1) -> float | None:
    """Return the seconds of a number, or of text that is a number, of which `per_second` are a second; else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        seconds = float(value) / per_second
    except (ValueError, OverflowError):
        return None
    return seconds if abs(seconds) < 1e12 else None  # no NaN, no infinity
