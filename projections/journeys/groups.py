"""Groups in a row: one sequence of data, and the offsets at which the groups begin; group i is data[o[i] : o[i + 1]].

Of n groups the offsets are n + 1: the last one is the length of the data.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]  # of shape (n,), where nothing else is written

_Data = TypeVar("_Data", bytes, list[bytes])


def offsets_of(lengths: Integers) -> Integers:
    """Return the offsets, shape (n + 1,) and int64, of groups of these lengths, shape (n,)."""
    offsets = np.zeros(lengths.size + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def lengths_of(data: Iterable[bytes]) -> Integers:
    """Return the length of each, in bytes."""
    return np.fromiter(map(len, data), np.int64)


def group_of_each(offsets: Integers) -> Integers:
    """Return for each item of the data the number of its group, ascending."""
    return np.repeat(np.arange(offsets.size - 1), np.diff(offsets))


def cut(data: _Data, offsets: Integers) -> list[_Data]:
    """Return the data of each group."""
    return [data[start:end] for start, end in pairwise(offsets.tolist())]


def is_first(keys: Integers) -> NDArray[np.bool_]:
    """Return for each key whether it differs from the one before, so that a group of equal keys begins with it."""
    first = np.ones(keys.size, np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])  # `diff` takes five times as long where they are few
    return first
