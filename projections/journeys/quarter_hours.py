"""Sums by quarter hour of UTC and measure, as columns of integers: how they are added up, and how a day's are stored.

A quarter hour is the number of quarter hours since 1970 in UTC, a day that of days.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from domain.events import INSTANT_BITS
from projections.journeys.groups import Integers, cut, group_of_each, is_first, lengths_of, offsets_of
from projections.metrics import MEASURES

QUARTER_MS = 900_000
QUARTERS_A_DAY = 96

# A key: whose sum it is, of which day, quarter hour of the day and measure. The last two are a sum's slot in its day.
_PLACE_BITS, _QUARTER_BITS, _DAY_BITS = 5, 7, 19
_SLOT_BITS = _PLACE_BITS + _QUARTER_BITS
_PLACE_MASK, _QUARTER_MASK, _DAY_MASK = (1 << _PLACE_BITS) - 1, (1 << _QUARTER_BITS) - 1, (1 << _DAY_BITS) - 1
assert len(MEASURES) <= 1 << _PLACE_BITS, (
    f"{len(MEASURES)} measures do not fit in {_PLACE_BITS} bits: make one of them Derived, or raise _PLACE_BITS, lower"
    " _DIGIT_BITS by as much (what is above the key's other bits is left for owners), and raise FOLD_VERSION"
)
assert (1 << INSTANT_BITS) // QUARTER_MS // QUARTERS_A_DAY <= _DAY_MASK

# A stored sum is an entry of four bytes for each of its digits that is not zero: in the upper bits its slot and which
# digit it is, in the lower ones the digit. Nearly all sums have one digit. A change needs a new FOLD_VERSION.
_ENTRY = np.dtype("<u4")
_ENTRY_BYTES = 4
_DIGIT_BITS, _DIGITS, _WHICH_BITS = 18, 4, 2
_DIGIT_MASK, _WHICH_MASK = (1 << _DIGIT_BITS) - 1, _DIGITS - 1
assert _SLOT_BITS + _WHICH_BITS + _DIGIT_BITS == 8 * _ENTRY_BYTES


class Cells(NamedTuple):
    """Sums by columns of shape (n,) and int64. A key packs the owner (below 2^31), the quarter hour and the measure."""

    keys: Integers
    values: Integers

    @property
    def owners(self) -> Integers:
        """Return the owner of each sum: shape (n,), int64."""
        return self.keys >> _DAY_BITS + _SLOT_BITS

    @property
    def days(self) -> list[tuple[int, int]]:
        """Return each owner and day (since 1970, UTC) for which there are sums, in order."""
        days = np.unique(self.keys >> _SLOT_BITS)
        return list(zip((days >> _DAY_BITS).tolist(), (days & _DAY_MASK).tolist(), strict=True))

    @property
    def quarters(self) -> Integers:
        """Return the quarter hour (since 1970, UTC) of each sum: shape (n,), int64."""
        return (self.keys >> _SLOT_BITS & _DAY_MASK) * QUARTERS_A_DAY + (self.keys >> _PLACE_BITS & _QUARTER_MASK)

    @property
    def places(self) -> Integers:
        """Return the measure of each sum, its place in `MEASURES`: shape (n,), int64."""
        return self.keys & _PLACE_MASK


NOTHING = Cells(np.empty(0, np.int64), np.empty(0, np.int64))


class Days(NamedTuple):
    """Days (since 1970, UTC) as they are stored, by owner and day: sums of the day, and those of its quarter hours."""

    owners: list[int]
    days: list[int]
    sums: list[bytes]
    quarters: list[bytes]


def cells(owners: Integers, quarters: Integers, places: Integers, values: Integers) -> Cells:
    """Return sums by columns, each of shape (n,) and int64; quarter hours are those since 1970 in UTC."""
    days, of_day = np.divmod(quarters, QUARTERS_A_DAY)
    return Cells(((owners << _DAY_BITS | days) << _QUARTER_BITS | of_day) << _PLACE_BITS | places, values)


def summed(several: Sequence[Cells]) -> Cells:
    """Add up sums with the same key; return them in order of the keys, without those that are zero."""
    keys, values = (np.concatenate(column) for column in zip(NOTHING, *several, strict=True))
    order = np.argsort(keys, kind="stable")
    keys, values = keys[order], values[order]
    begins = np.flatnonzero(is_first(keys))
    values = np.add.reduceat(values, begins) if begins.size else values
    nonzero = values != 0
    return Cells(keys[begins][nonzero], values[nonzero])


def totals(of: Cells, owners: int) -> Integers:
    """Return the sums of each owner, numbers below `owners`: shape (owners, len(MEASURES)), int64."""
    return added((owners, len(MEASURES)), of.owners, of.places, of.values)


def added(shape: tuple[int, int], rows: Integers, columns: Integers, values: Integers) -> Integers:
    """Return a table of this shape, int64, in which each value was added to its row and column (all of shape (n,))."""
    table = np.zeros(shape, np.int64)
    np.add.at(table.reshape(-1), rows * shape[1] + columns, values)  # a fourth of the time that two indices take
    return table


def packed(of: Cells) -> Days:
    """Return sums, in order of their keys, as they are stored.

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
    """Return the sums of stored days (since 1970, UTC) by quarter hours, each day with its owner.

    Takes `without` and raises what `entries` does.
    """
    rows, slots, values = entries(quarters, without)
    begins = np.asarray(owners, np.int64) << _DAY_BITS | np.asarray(days, np.int64)
    return Cells(begins[rows] << _SLOT_BITS | slots, values)


def entries(
    stored: Sequence[bytes], without: tuple[Integers, Integers] | None = None
) -> tuple[Integers, Integers, Integers]:
    """Return the entries of stored days: the day's index in `stored`, the slot, and how much; each (n,) and int64.

    A slot is the measure's place, and above it the quarter hour of the day. `without` is a first and an end for each
    day, quarter hours of the day that are left out. Raises msgspec.DecodeError where an entry is damaged.
    """
    lengths = lengths_of(stored)
    if (lengths % _ENTRY_BYTES).any():
        raise msgspec.DecodeError("a day's sums are damaged")
    counts = lengths // _ENTRY_BYTES
    packed, rows = np.frombuffer(b"".join(stored), _ENTRY), group_of_each(offsets_of(counts))
    if without is not None:
        of_day = packed >> _DIGIT_BITS + _WHICH_BITS + _PLACE_BITS
        first, end = (np.repeat(bound.astype(_ENTRY), counts) for bound in without)
        remaining = np.flatnonzero((of_day < first) | (of_day >= end))
        packed, rows = packed[remaining], rows[remaining]
    wide = packed.astype(np.int64)
    slots = wide >> _DIGIT_BITS + _WHICH_BITS
    values = (wide & _DIGIT_MASK) << (wide >> _DIGIT_BITS & _WHICH_MASK) * _DIGIT_BITS
    if wide.size and (
        (slots & _PLACE_MASK).max() >= len(MEASURES) or slots.max() >> _PLACE_BITS >= QUARTERS_A_DAY or values.min() < 0
    ):
        raise msgspec.DecodeError("a day's sums are damaged")
    return rows, slots, values


def split(slots: Integers) -> tuple[Integers, Integers]:
    """Return the quarter hour of the day of each slot, and the place of its measure: shape (n,), int64."""
    return slots >> _PLACE_BITS, slots & _PLACE_MASK


def _pack(rows: Integers, slots: Integers, values: Integers, number: int) -> list[bytes]:
    if values.size and values.min() < 0:
        raise OverflowError("a sum is negative or too great")
    by_digit = []
    for which in range(_DIGITS):
        if which and not (values >> which * _DIGIT_BITS).any():
            break
        digits = values >> which * _DIGIT_BITS & _DIGIT_MASK
        nonzero = np.flatnonzero(digits)
        slot = (rows[nonzero] << _SLOT_BITS | slots[nonzero]) << _WHICH_BITS | which
        by_digit.append(slot << _DIGIT_BITS | digits[nonzero])
    entries = np.sort(np.concatenate(by_digit), kind="stable")  # by row, slot and digit; nearly all of them are already
    offsets = np.searchsorted(entries >> 8 * _ENTRY_BYTES, np.arange(number + 1)) * _ENTRY_BYTES
    return cut(entries.astype(_ENTRY).tobytes(), offsets)
