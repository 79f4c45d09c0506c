"""`contributions` is the whole definition of the numbers: what any number of journeys contribute to each measure."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from projections.journeys.columns import IS_TOUCH, KIND, KIND_BITS, KIND_MASK, Integers, is_first, is_one_of
from projections.metrics import MEASURES, REPLY, TOUCHES, Each, Enrolled, Latest, Once, Turns, TurnTime

_COUNTED = {KIND[m.rule.kind]: place for place, m in enumerate(MEASURES) if isinstance(m.rule, Each)}
assert len(_COUNTED) == sum(isinstance(m.rule, Each) for m in MEASURES), "two measures count the same events"
_EACH = np.array([_COUNTED.get(kind, -1) for kind in range(1 << KIND_BITS)])  # by kind: the place; -1: nowhere
_IS_TOUCH_OR_REPLY = is_one_of(*TOUCHES, REPLY)
_ONCE = [(p, is_one_of(*m.rule.kinds)) for p, m in enumerate(MEASURES) if isinstance(m.rule, Once)]
_LATEST = [
    (p, KIND[m.rule.kind], is_one_of(m.rule.kind, m.rule.over))
    for p, m in enumerate(MEASURES)
    if isinstance(m.rule, Latest)
]
_ENROLLED = [
    (p, KIND[m.rule.added], KIND[m.rule.removed], is_one_of(m.rule.added, m.rule.removed))
    for p, m in enumerate(MEASURES)
    if isinstance(m.rule, Enrolled)
]
_TURNS = [place for place, measure in enumerate(MEASURES) if isinstance(measure.rule, Turns)]
_TURN_TIME = [place for place, measure in enumerate(MEASURES) if isinstance(measure.rule, TurnTime)]


class Contributions(NamedTuple):
    """Parts of numbers, by columns: the measure's place in `MEASURES`, how much, and which fact dates it."""

    places: Integers
    values: Integers
    facts: NDArray[np.intp]


def contributions(journeys: Integers, facts: Integers) -> Contributions:
    """Return what journeys contribute to the numbers.

    Given are all the facts of each, with the journey's number, one journey after the other, each in order.
    """
    return _all((*_of_single_facts(facts), *_of_journeys(journeys, facts)))


def changes(journeys: Integers, facts: Integers, new: NDArray[np.bool_]) -> Contributions:
    """Return what journeys contribute, less what they contributed before the facts that are `new`."""
    fresh = np.flatnonzero(new)
    found = [Contributions(p, v, fresh[f]) for p, v, f in _of_single_facts(facts[fresh])]
    found += _of_journeys(journeys, facts)
    known = np.flatnonzero(~new)
    if known.size:
        found += [Contributions(p, -v, known[f]) for p, v, f in _of_journeys(journeys[known], facts[known])]
    return _all(found)


def _of_single_facts(facts: Integers) -> list[Contributions]:
    places = _EACH[facts & KIND_MASK]
    counted = np.flatnonzero(places >= 0)
    return [Contributions(places[counted], np.ones(counted.size, np.int64), counted)]


def _of_journeys(journeys: Integers, facts: Integers) -> list[Contributions]:
    kinds = facts & KIND_MASK
    found = []

    def count(place: int, at: NDArray[np.intp], values: Integers | None = None) -> None:
        if not at.size:
            return
        ones = np.ones(at.size, np.int64)
        found.append(Contributions(ones * place, ones if values is None else values, at))

    def firsts(at: NDArray[np.intp]) -> NDArray[np.intp]:
        return np.compress(is_first(journeys[at]), at) if at.size else at

    def lasts(at: NDArray[np.intp]) -> NDArray[np.intp]:
        return np.compress(np.append(is_first(journeys[at])[1:], [True]), at) if at.size else at

    steps = np.flatnonzero(_IS_TOUCH_OR_REPLY[kinds])
    is_touch = IS_TOUCH[kinds[steps]]
    # A reply right behind a touch of the same journey closes a turn.
    closing = np.flatnonzero(is_touch[:-1] & ~is_touch[1:] & (np.diff(journeys[steps]) == 0))
    touches, replies = steps[closing], steps[closing + 1]
    for place in _TURNS:
        count(place, replies)
    for place in _TURN_TIME:
        count(place, replies, (facts[replies] >> KIND_BITS) - (facts[touches] >> KIND_BITS))
    for place, is_one in _ONCE:
        count(place, firsts(np.flatnonzero(is_one[kinds])))
    for place, kind, is_one in _LATEST:
        latest = lasts(np.flatnonzero(is_one[kinds]))
        count(place, latest[kinds[latest] == kind])
    for place, added, removed, is_one in _ENROLLED:
        latest = lasts(np.flatnonzero(is_one[kinds]))
        additions = lasts(np.flatnonzero(kinds == added))
        dated = firsts(np.arange(facts.size))
        dated[np.searchsorted(journeys[dated], journeys[additions])] = additions
        gone = journeys[latest[kinds[latest] == removed]]
        count(place, np.delete(dated, np.searchsorted(journeys[dated], gone)))
    return found


def _all(found: Sequence[Contributions]) -> Contributions:
    return Contributions(*(np.concatenate(column) for column in zip(*found, strict=True)))
