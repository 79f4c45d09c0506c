"""Suggests the known name that is nearest to an unknown one, since most unknown names are misspelt."""

from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise

_LOOKED_AT = 64  # characters of a name: a comparison costs more than their number
_REMEMBERED = 1_024  # a worker makes the same mistake again and again
_NEAR = 0.5  # of two names, twice the pairs of letters that they share by all that they have (Dice's coefficient)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `, did you mean …?` with the known name that is nearest, or nothing where none is near.

    It takes some µs, since anybody may have it work by sending names that nobody knows.
    """
    return _nearest(name[:_LOOKED_AT].casefold(), frozenset(known))


@lru_cache(_REMEMBERED)
def _nearest(name: str, known: frozenset[str]) -> str:
    pairs = _pairs(name)
    near, nearest = max(
        ((2 * len(pairs & others) / (len(pairs) + len(others)), each) for each, others in _all_pairs(known)),
        default=(0.0, ""),
    )
    return f", did you mean {nearest}?" if near >= _NEAR else ""


@lru_cache(_REMEMBERED)
def _all_pairs(known: frozenset[str]) -> list[tuple[str, frozenset[str]]]:
    return [(each, _pairs(each.casefold())) for each in known]


def _pairs(name: str) -> frozenset[str]:
    """Return the pairs of letters beside each other, the beginning and the end too."""
    framed = f" {name} "
    return frozenset(map("".join, pairwise(framed)))
