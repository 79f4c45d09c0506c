"""Shows that sums come back from what is stored of a day as they went in, however great, and never negative."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.journeys import quarter_hours, series
from projections.journeys.quarter_hours import Cells
from projections.metrics import MEASURES

# Among the sums are those about which a digit more begins.
EDGES = [1, (1 << 18) - 1, 1 << 18, (1 << 36) - 1, 1 << 36, (1 << 54) - 1, 1 << 54]
amounts = st.integers(1, 1 << 55) | st.sampled_from(EDGES)
# A campaign's place, a quarter hour, a measure's place, and how much.
sums = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 400), st.integers(0, len(MEASURES) - 1), amounts),
    unique_by=lambda each: each[:3],
)


def made(of: list[tuple[int, int, int, int]]) -> Cells:
    """Return sums as columns, in order."""
    columns = np.array(of, np.int64).reshape(-1, 4).T
    return quarter_hours.summed([quarter_hours.cells(*columns)])


@given(of=sums)
def test_a_stored_day_is_read_as_it_was_written(of: list[tuple[int, int, int, int]]) -> None:
    """The quarter hours give the same again, and the sums of the day are theirs."""
    stored = quarter_hours.packed(made(of))
    again = quarter_hours.summed([quarter_hours.unpacked(stored.owners, stored.days, stored.quarters)])
    unpacked = zip(
        again.owners.tolist(), again.quarters.tolist(), again.places.tolist(), again.values.tolist(), strict=True
    )
    assert list(unpacked) == sorted(of)
    rows, places, values = quarter_hours.entries(stored.sums)
    for row, (owner, day) in enumerate(zip(stored.owners, stored.days, strict=True)):
        for place in range(len(MEASURES)):
            expected = sum(each[3] for each in of if (each[0], each[1] // 96, each[2]) == (owner, day, place))
            assert values[(rows == row) & (places == place)].sum() == expected


@given(of=sums, cuts=st.lists(st.integers(0, 500), min_size=2, unique=True))
def test_any_stretches_have_the_sums_of_their_quarter_hours(
    of: list[tuple[int, int, int, int]], cuts: list[int]
) -> None:
    """Wherever they begin and end: at a day, within one, or several within one."""
    *starts, end = sorted(cuts)
    stored = quarter_hours.packed(made(of))
    days = [series.Day(*each) for each in zip(stored.days, stored.sums, stored.quarters, strict=True)]
    buckets = series.bucketed(days, starts, end)
    for bucket, first, following in zip(buckets, starts, [*starts[1:], end], strict=True):
        for place, value in enumerate(bucket):
            assert value == sum(each[3] for each in of if first <= each[1] < following and each[2] == place)


def test_what_is_added_and_taken_away_again_leaves_nothing() -> None:
    """Not even a zero."""
    one, other = made([(0, 5, 1, 7), (0, 6, 1, 1)]), quarter_hours.cells(*np.array([[0, 5, 1, -7]]).T)
    assert quarter_hours.summed([one, other]).keys.tolist() == made([(0, 6, 1, 1)]).keys.tolist()


def test_a_sum_that_cant_be_is_not_stored() -> None:
    """A negative one, or two that are too great together."""
    with pytest.raises(OverflowError):
        quarter_hours.packed(made([(0, 0, 0, -1)]))
    with pytest.raises(OverflowError):
        quarter_hours.packed(made([(0, 0, 0, 1 << 62), (0, 1, 0, 1 << 62)]))


@pytest.mark.parametrize(
    "damage",
    [
        b"dam",
        b"damagedX",
        (31 << 20 | 1).to_bytes(4, "little"),
        (96 << 25 | 1).to_bytes(4, "little"),
        b"\xff\xff\x0f\0",
    ],
)
def test_damaged_sums_are_refused(damage: bytes) -> None:
    """A piece of an entry, a measure or a quarter hour that is none, and more than an integer holds."""
    with pytest.raises(msgspec.DecodeError):
        quarter_hours.entries([damage])
