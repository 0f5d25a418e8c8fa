"""Times in the forms of many countries."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personagpt.importing.stamps import ORDERS, order_of, seconds_of, times, triple

DAY_FIRST = ["29/11/23, 08:00"]


@pytest.mark.parametrize(
    "stamp",
    [
        "30/11/23, 21:55", "30/11/2023 21:55", "30.11.23, 21:55:00", "30-11-2023 9:55 PM", "30/11/2023, 9:55 p. m.",
        "30/11/2023, 9:55\u202fPM", "30.11.2023 klo 21.55.00", "30/11/2023 \u00e0 21:55", "21:55, 30/11/2023",
        "30 Nov 2023 21:55", "21:55, 30 Nov 2023", "30-Nov-23 09:55 PM", "30. Nov. 2023 um 21:55",
        "30/11/2023, 9:55 in the evening", "30\u200f/11\u200f/2023\u060c 9:55 \u0645",
        "\u0663\u0660\u200f/\u0661\u0661\u200f/\u0662\u0660\u0662\u0663\u060c \u0669:\u0665\u0665 \u0645",
    ],
)  # fmt: skip
def test_the_same_moment(stamp: str) -> None:
    morning, moment = times([*DAY_FIRST, stamp])
    assert moment - morning == (24 + 13) * 3600 + 55 * 60


@pytest.mark.parametrize(
    ("stamps", "hours"),
    [
        (["2023-11-30T08:00:00.0000000+02:00", "2023-11-30T21:55:30"], 13.925),
        (["2023. 11. 30. \uc624\uc804 12:00", "2023. 11. 30. \uc624\ud6c4 12:30"], 12.5),
        (["2023\u5e7411\u670830\u65e5 \u4e0a\u53488:00", "2023\u5e7411\u670830\u65e5 \u4e0b\u53489:00"], 13),
        (["3/18/R4, 8:00", "3/19/R4, 8:00"], 24),
        (["3/18/2565 BE, 8:00", "3/19/2565 BE, 8:00"], 24),
        (["06/11, 10:29", "06/11, 11:29"], 1),
        (["Oct 31, 23:00", "Nov 1, 1:00"], 2),
        (["2/28/24, 12:05 AM", "2/28/24, 12:05 PM"], 12),
    ],
)
def test_hours_between(stamps: list[str], hours: float) -> None:
    first, second = times(stamps)
    assert second - first == pytest.approx(hours * 3600)


@pytest.mark.parametrize("stamp", ["30/30/23, 21:55", "30/11/23, 25:00", "1 Foo 2023 21:55", "today", "1 2"])
def test_no_time(stamp: str) -> None:
    assert times([*DAY_FIRST, stamp])[1] is None


@pytest.mark.parametrize(
    ("dates", "order"),
    [
        (["12/11/23", "13/11/23"], "dmy"),
        (["11/12/23", "11/13/23"], "mdy"),
        (["2023/11/12", "2023/11/13"], "ymd"),
        (["01/02/23", "02/02/23", "03/02/23"], "dmy"),  # three days in a row, and not months
        (["02/01/23", "02/02/23", "02/03/23"], "mdy"),
        (["01/05/23", "02/01/23"], "mdy"),  # else the second message is older than the first
        (["12/11/23"], "dmy"),
        ([], "dmy"),
    ],
)
def test_the_order_of_a_file(dates: list[str], order: str) -> None:
    assert order_of([triple(date) for date in dates]) == order


@given(st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1)), st.sampled_from(list(ORDERS)))
def test_what_is_written_is_read_back(moment: datetime, order: str) -> None:
    form = {"dmy": "%d/%m/%Y", "mdy": "%m/%d/%Y", "ymd": "%Y/%m/%d"}[order]
    expected = (moment.replace(second=0, microsecond=0) - datetime(1, 1, 1)).total_seconds() + 86_400
    for clock in ("%H:%M", "%I:%M %p"):
        assert seconds_of(triple(moment.strftime(form)), moment.strftime(clock), order) == expected
