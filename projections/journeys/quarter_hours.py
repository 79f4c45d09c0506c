"""Sums by quarter hour of UTC and measure, as columns of integers: how they are added up, and how a day's are stored.

A quarter hour is the number of quarter hours since 1970 in UTC, a day that of days.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec
import numpy as np

from domain.events import INSTANT_BITS
from projections.journeys.columns import Integers, is_first
from projections.metrics import MEASURES

QUARTER_MS = 900_000
QUARTERS_A_DAY = 96

# A key: whose sum it is, of which day, quarter hour of the day and measure. The last two are a sum's slot in its day.
_PLACE_BITS, _QUARTER_BITS, _DAY_BITS = 5, 7, 19
_SLOT_BITS = _PLACE_BITS + _QUARTER_BITS
_PLACE_MASK, _QUARTER_MASK, _DAY_MASK = (1 << _PLACE_BITS) - 1, (1 << _QUARTER_BITS) - 1, (1 << _DAY_BITS) - 1
assert len(MEASURES) <= 1 << _PLACE_BITS
assert (1 << INSTANT_BITS) // QUARTER_MS // QUARTERS_A_DAY <= _DAY_MASK

# A stored sum is an entry of four bytes for each of its digits that is not zero: in the upper bits its slot and which
# digit it is, in the lower ones the digit. Nearly all sums have one digit. A change wants a new FOLD_VERSION.
_ENTRY = np.dtype("<u4")
_ENTRY_BYTES = 4
_DIGIT_BITS, _DIGITS, _WHICH_BITS = 18, 4, 2
_DIGIT_MASK, _WHICH_MASK = (1 << _DIGIT_BITS) - 1, _DIGITS - 1
assert _SLOT_BITS + _WHICH_BITS + _DIGIT_BITS == 8 * _ENTRY_BYTES


class Cells(NamedTuple):
    """Sums by columns; a key says whose, of which quarter hour and which measure. Whose is a number up to 2^31."""

    keys: Integers
    values: Integers

    @property
    def owners(self) -> Integers:
        """Return whose each sum is."""
        return self.keys >> _DAY_BITS + _SLOT_BITS

    @property
    def days(self) -> list[tuple[int, int]]:
        """Return on which days of whom there are sums, in order."""
        days = np.unique(self.keys >> _SLOT_BITS)
        return list(zip((days >> _DAY_BITS).tolist(), (days & _DAY_MASK).tolist(), strict=True))

    @property
    def quarters(self) -> Integers:
        """Return of which quarter hour each sum is."""
        return (self.keys >> _SLOT_BITS & _DAY_MASK) * QUARTERS_A_DAY + (self.keys >> _PLACE_BITS & _QUARTER_MASK)

    @property
    def places(self) -> Integers:
        """Return of which measure each sum is, as its place in `MEASURES`."""
        return self.keys & _PLACE_MASK


NOTHING = Cells(np.empty(0, np.int64), np.empty(0, np.int64))


class Days(NamedTuple):
    """Days as they are stored, in order of their owners: the sums of the whole day, and those of its quarter hours."""

    owners: list[int]
    days: list[int]
    sums: list[bytes]
    quarters: list[bytes]


def cells(owners: Integers, quarters: Integers, places: Integers, values: Integers) -> Cells:
    """Return sums of which the columns are given."""
    days, of_day = np.divmod(quarters, QUARTERS_A_DAY)
    return Cells(((owners << _DAY_BITS | days) << _QUARTER_BITS | of_day) << _PLACE_BITS | places, values)


def summed(several: Sequence[Cells]) -> Cells:
    """Return the sums of all of these, in order and without those that are zero."""
    keys, values = (np.concatenate(column) for column in zip(NOTHING, *several, strict=True))
    order = np.argsort(keys, kind="stable")
    keys, values = keys[order], values[order]
    begins = np.flatnonzero(is_first(keys))
    values = np.add.reduceat(values, begins) if begins.size else values
    kept = values != 0
    return Cells(keys[begins][kept], values[kept])


def totals(of: Cells, owners: int) -> Integers:
    """Return the sums of each owner, a row each; a column is a measure."""
    return added((owners, len(MEASURES)), of.owners, of.places, of.values)


def added(shape: tuple[int, int], rows: Integers, columns: Integers, values: Integers) -> Integers:
    """Return a table of so many rows and columns to whose fields these values were added."""
    found = np.zeros(shape, np.int64)
    np.add.at(found.reshape(-1), rows * shape[1] + columns, values)  # a fourth of the time that two indices take
    return found


def packed(of: Cells) -> Days:
    """Return sums, in order, as they are stored.

    Raises OverflowError where one is negative, as one that is too great has become.
    """
    days = of.keys >> _SLOT_BITS
    begin = is_first(days)
    begins, rows = days[begin], np.cumsum(begin) - 1
    whole = added((begins.size, len(MEASURES)), rows, of.places, of.values)
    counted, places = np.nonzero(whole)
    return Days(
        (begins >> _DAY_BITS).tolist(),
        (begins & _DAY_MASK).tolist(),
        _pack(counted, places, whole[counted, places], begins.size),
        _pack(rows, of.keys & (1 << _SLOT_BITS) - 1, of.values, begins.size),
    )


def unpacked(
    owners: Sequence[int] | Integers,
    days: Sequence[int] | Integers,
    quarters: Sequence[bytes],
    without: tuple[Integers, Integers] | None = None,
) -> Cells:
    """Return the sums of stored days; takes `without` and raises what `entries` does."""
    rows, slots, values = entries(quarters, without)
    begins = np.asarray(owners, np.int64) << _DAY_BITS | np.asarray(days, np.int64)
    return Cells(begins[rows] << _SLOT_BITS | slots, values)


def entries(
    stored: Sequence[bytes], without: tuple[Integers, Integers] | None = None
) -> tuple[Integers, Integers, Integers]:
    """Return what is stored: in which of those given, of which measure (and quarter hour), and how much.

    The quarter hours of each day from the first up to the second of `without` are left out. Raises
    msgspec.DecodeError where they are damaged.
    """
    lengths = np.fromiter(map(len, stored), np.int64, len(stored))
    if (lengths % _ENTRY_BYTES).any():
        raise msgspec.DecodeError("a day's sums are damaged")
    counts = lengths // _ENTRY_BYTES
    found, rows = np.frombuffer(b"".join(stored), _ENTRY), np.repeat(np.arange(len(stored)), counts)
    if without is not None:
        of_day = found >> _DIGIT_BITS + _WHICH_BITS + _PLACE_BITS
        first, end = (np.repeat(bound.astype(_ENTRY), counts) for bound in without)
        kept = np.flatnonzero((of_day < first) | (of_day >= end))
        found, rows = found[kept], rows[kept]
    found = found.astype(np.int64)
    slots = found >> _DIGIT_BITS + _WHICH_BITS
    values = (found & _DIGIT_MASK) << (found >> _DIGIT_BITS & _WHICH_MASK) * _DIGIT_BITS
    if found.size and (
        (slots & _PLACE_MASK).max() >= len(MEASURES) or slots.max() >> _PLACE_BITS >= QUARTERS_A_DAY or values.min() < 0
    ):
        raise msgspec.DecodeError("a day's sums are damaged")
    return rows, slots, values


def _pack(rows: Integers, slots: Integers, values: Integers, number: int) -> list[bytes]:
    if values.size and values.min() < 0:
        raise OverflowError("a sum is negative or too great")
    found = []
    for which in range(_DIGITS):
        if which and not (values >> which * _DIGIT_BITS).any():
            break
        digits = values >> which * _DIGIT_BITS & _DIGIT_MASK
        kept = np.flatnonzero(digits)
        slot = (rows[kept] << _SLOT_BITS | slots[kept]) << _WHICH_BITS | which
        found.append(slot << _DIGIT_BITS | digits[kept])
    entries = np.sort(np.concatenate(found), kind="stable")  # by row, slot and digit; nearly all of them are already
    ends = np.searchsorted(entries >> 8 * _ENTRY_BYTES, np.arange(number + 1)) * _ENTRY_BYTES
    data = entries.astype(_ENTRY).tobytes()
    return [data[start:end] for start, end in pairwise(ends.tolist())]
