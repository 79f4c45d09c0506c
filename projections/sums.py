"""The sums of all measures as one integer, so that adding up thousands of them costs one addition each.

Each measure has its own stretch of bits, wide enough for whatever can be counted, so no sum runs into the next one.
A difference may be negative as long as what it is added to is greater.
"""

from collections.abc import Sequence
from itertools import accumulate

from projections.metrics import MEASURES, TurnTime

_COUNT_BITS = 40  # a million million events
_TIME_BITS = 64  # as a PostgreSQL bigint
_WIDTHS = [_TIME_BITS if isinstance(measure.rule, TurnTime) else _COUNT_BITS for measure in MEASURES]
_PLACES = [(end - width, (1 << width) - 1) for end, width in zip(accumulate(_WIDTHS), _WIDTHS, strict=True)]

# By a measure's place in `MEASURES`: what 1 of it is.
UNITS = [1 << shift for shift, _ in _PLACES]


def of(totals: Sequence[int]) -> int:
    """Return sums, given in order of `MEASURES`, as one integer."""
    return sum(total * unit for total, unit in zip(totals, UNITS, strict=True))


def listed(sums: int) -> list[int]:
    """Return the sums in order of `MEASURES`."""
    return [sums >> shift & mask for shift, mask in _PLACES]


def pack(sums: int) -> bytes:
    """Return sums as they are stored, without the zeros at the end. Raises OverflowError where they are negative."""
    return sums.to_bytes((sums.bit_length() + 7) // 8, "little")


def unpack(stored: bytes) -> int:
    """Return what was stored."""
    return int.from_bytes(stored, "little")
