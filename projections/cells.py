"""Sums by quarter hour of UTC and measure, as columns of integers: how they are added up, and how a day's are stored.

A quarter hour is the number of quarter hours since 1970 in UTC, a day that of days.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from domain.events import INSTANT_BITS
from projections.journey import Integers
from projections.metrics import MEASURES

QUARTER_MS = 900_000
QUARTERS_A_DAY = 96

_PLACE_BITS = 6
_QUARTER_BITS = 26
_OWNER_SHIFT = _PLACE_BITS + _QUARTER_BITS
_QUARTER_MASK = (1 << _QUARTER_BITS) - 1
_PLACE_MASK = (1 << _PLACE_BITS) - 1
assert (1 << INSTANT_BITS) // QUARTER_MS <= _QUARTER_MASK

# A stored sum is an entry of four bytes for each digit that is not zero: in the upper bits which quarter hour of the
# day, measure and digit it is, in the lower ones the digit. Nearly all sums have one digit.
_DIGIT_BITS = 18
_DIGITS = 4
_DIGIT_MASK = (1 << _DIGIT_BITS) - 1
_ENTRY_BYTES = 4
_ENTRY = np.dtype("<u4")
_DIGIT_SHIFTS = np.arange(_DIGITS) * _DIGIT_BITS
assert QUARTERS_A_DAY * len(MEASURES) * _DIGITS <= 1 << (8 * _ENTRY_BYTES - _DIGIT_BITS)


class Cells(NamedTuple):
    """Sums by columns; a key says whose, of which quarter hour and which measure. Whose is a number up to 2^31."""

    keys: Integers
    values: Integers

    @property
    def owners(self) -> Integers:
        """Return whose each sum is."""
        return self.keys >> _OWNER_SHIFT

    @property
    def quarters(self) -> Integers:
        """Return of which quarter hour each sum is."""
        return self.keys >> _PLACE_BITS & _QUARTER_MASK

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
    return Cells(owners << _OWNER_SHIFT | quarters << _PLACE_BITS | places, values)


def summed(several: Sequence[Cells]) -> Cells:
    """Return the sums of all of these, in order and without those that are zero."""
    keys = np.concatenate([each.keys for each in several])
    values = np.concatenate([each.values for each in several])
    order = np.argsort(keys, kind="stable")
    keys, values = keys[order], values[order]
    begins = np.flatnonzero(np.diff(keys, prepend=-1) != 0)
    values = np.add.reduceat(values, begins) if begins.size else values
    kept = values != 0
    return Cells(keys[begins][kept], values[kept])


def totals(of: Cells, owners: int) -> Integers:
    """Return the sums of each owner, a row each; a column is a measure."""
    found = np.zeros((owners, len(MEASURES)), np.int64)
    np.add.at(found, (of.owners, of.places), of.values)
    return found


def packed(of: Cells) -> Days:
    """Return sums, in order, as they are stored.

    Raises OverflowError where one is negative, as one that is too great has become.
    """
    days = of.owners << _QUARTER_BITS | of.quarters // QUARTERS_A_DAY
    begins = np.flatnonzero(np.diff(days, prepend=-1) != 0)
    rows = np.cumsum(np.diff(days, prepend=-1) != 0) - 1
    whole = np.zeros((begins.size, len(MEASURES)), np.int64)
    np.add.at(whole, (rows, of.places), of.values)
    counted, places = np.nonzero(whole)
    slots = of.quarters % QUARTERS_A_DAY * len(MEASURES) + of.places
    return Days(
        of.owners[begins].tolist(),
        (days[begins] & _QUARTER_MASK).tolist(),
        _pack(counted, places, whole[counted, places], begins.size),
        _pack(rows, slots, of.values, begins.size),
    )


def unpacked(owners: Sequence[int] | Integers, days: Sequence[int] | Integers, quarters: Sequence[bytes]) -> Cells:
    """Return the sums of stored days. Raises msgspec.DecodeError where they are damaged."""
    rows, slots, values = entries(quarters)
    owner, day = np.asarray(owners, np.int64), np.asarray(days, np.int64)
    quarter = day[rows] * QUARTERS_A_DAY + slots // len(MEASURES)
    return cells(owner[rows], quarter, slots % len(MEASURES), values)


def entries(stored: Sequence[bytes]) -> tuple[Integers, Integers, Integers]:
    """Return what is stored: in which of those given, of which measure (and quarter hour), and how much.

    Raises msgspec.DecodeError where they are damaged.
    """
    lengths = np.fromiter(map(len, stored), np.int64, len(stored))
    if (lengths % _ENTRY_BYTES).any():
        raise msgspec.DecodeError("a day's sums are damaged")
    found = np.frombuffer(b"".join(stored), _ENTRY).astype(np.int64)
    slots, digits = np.divmod(found >> _DIGIT_BITS, _DIGITS)
    rows = np.repeat(np.arange(len(stored)), lengths // _ENTRY_BYTES)
    return rows, slots, (found & _DIGIT_MASK) << digits * _DIGIT_BITS


def _pack(rows: Integers, slots: Integers, values: Integers, number: int) -> list[bytes]:
    if values.size and values.min() < 0:
        raise OverflowError("a sum is negative or too great")
    digits = values[:, np.newaxis] >> _DIGIT_SHIFTS & _DIGIT_MASK
    kept = digits != 0
    found = (slots[:, np.newaxis] * _DIGITS + np.arange(_DIGITS) << _DIGIT_BITS | digits)[kept]
    data = found.astype(_ENTRY).tobytes()
    counts = np.bincount(np.repeat(rows, kept.sum(axis=1)), minlength=number)
    ends = [0, *(np.cumsum(counts) * _ENTRY_BYTES).tolist()]
    return [data[ends[row] : ends[row + 1]] for row in range(number)]
