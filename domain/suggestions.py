"""Suggests the known name that is nearest to an unknown one, since most unknown names are misspelt."""

from collections.abc import Iterable
from difflib import get_close_matches
from functools import lru_cache

_LOOKED_AT = 64  # characters of a name: a comparison costs more than their number
_REMEMBERED = 1_024  # a worker makes the same mistake again and again


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `, did you mean …?` with the known name that is nearest, or nothing where none is near."""
    return _nearest(name[:_LOOKED_AT].casefold(), tuple(sorted(known)))


@lru_cache(_REMEMBERED)
def _nearest(name: str, known: tuple[str, ...]) -> str:
    folded = {each.casefold(): each for each in known}
    names = get_close_matches(name, folded, 1)
    return f", did you mean {folded[names[0]]}?" if names else ""
