"""`contributions` is the whole definition of the numbers: what any number of journeys contribute to each measure."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from projections.journeys.columns import CODE, IS_TOUCH, MOST_KINDS, PackedEvents, is_one_of
from projections.journeys.groups import Integers, is_first
from projections.metrics import KINDS, MEASURES, RATINGS, REPLY, TOUCHES, Each, Enrolled, Once, Rated, Turns, TurnTime

_COUNTED = {CODE[m.rule.kind]: place for place, m in enumerate(MEASURES) if isinstance(m.rule, Each)}
assert len(_COUNTED) == sum(isinstance(m.rule, Each) for m in MEASURES), (
    "two rows of METRICS count the same events: make one of them Derived from the other"
)
_EACH = np.array([_COUNTED.get(code, -1) for code in range(MOST_KINDS)])  # by code: the place; -1: nowhere
_IS_TOUCH_OR_REPLY = is_one_of(*TOUCHES, REPLY)
_ONCE = [(p, is_one_of(*m.rule.kinds)) for p, m in enumerate(MEASURES) if isinstance(m.rule, Once)]
_RATED = [(p, CODE[m.rule.kind]) for p, m in enumerate(MEASURES) if isinstance(m.rule, Rated)]
_IS_RATING = is_one_of(*RATINGS)
_PRECEDENCE = np.array([RATINGS.index(kind) if kind in RATINGS else 0 for kind in KINDS])  # of ratings, by code
_ENROLLED = [
    (p, CODE[m.rule.added], CODE[m.rule.removed], is_one_of(m.rule.added, m.rule.removed))
    for p, m in enumerate(MEASURES)
    if isinstance(m.rule, Enrolled)
]
_TURNS = [place for place, measure in enumerate(MEASURES) if isinstance(measure.rule, Turns)]
_TURN_TIME = [place for place, measure in enumerate(MEASURES) if isinstance(measure.rule, TurnTime)]


class Contributions(NamedTuple):
    """Parts of numbers, by columns of shape (n,).

    The measure's place in `MEASURES`, how much (a count or ms), and the index of the event that dates it.
    """

    places: Integers
    values: Integers
    dating: NDArray[np.intp]


def contributions(journeys: Integers, events: PackedEvents) -> Contributions:
    """Return what journeys contribute to the numbers.

    All events of each are needed, one journey after the other, each in the domain's order; `journeys` is the number of
    each event's journey, shape (n,).
    """
    return _joined((*_of_single_events(events), *_of_journeys(journeys, events)))


def changes(journeys: Integers, events: PackedEvents, new: NDArray[np.bool_]) -> Contributions:
    """Return what journeys contribute, less what they contributed before the events that are `new` (shape (n,))."""
    fresh = np.flatnonzero(new)
    parts = [Contributions(p, v, fresh[d]) for p, v, d in _of_single_events(events[fresh])]
    parts += _of_journeys(journeys, events)
    known = np.flatnonzero(~new)
    if known.size:
        parts += [Contributions(p, -v, known[d]) for p, v, d in _of_journeys(journeys[known], events[known])]
    return _joined(parts)


def _of_single_events(events: PackedEvents) -> list[Contributions]:
    places = _EACH[events.codes]
    counted = np.flatnonzero(places >= 0)
    return [Contributions(places[counted], np.ones(counted.size, np.int64), counted)]


def _of_journeys(journeys: Integers, events: PackedEvents) -> list[Contributions]:
    codes = events.codes
    parts = []

    def count(place: int, at: NDArray[np.intp], values: Integers | None = None) -> None:
        if not at.size:
            return
        ones = np.ones(at.size, np.int64)
        parts.append(Contributions(ones * place, ones if values is None else values, at))

    def firsts(at: NDArray[np.intp]) -> NDArray[np.intp]:
        return np.compress(is_first(journeys[at]), at) if at.size else at

    def lasts(at: NDArray[np.intp]) -> NDArray[np.intp]:
        return np.compress(np.append(is_first(journeys[at])[1:], [True]), at) if at.size else at

    steps = np.flatnonzero(_IS_TOUCH_OR_REPLY[codes])
    is_touch = IS_TOUCH[codes[steps]]
    # A reply right behind a touch of the same journey closes a turn.
    closing = np.flatnonzero(is_touch[:-1] & ~is_touch[1:] & (np.diff(journeys[steps]) == 0))
    touches, replies = steps[closing], steps[closing + 1]
    for place in _TURNS:
        count(place, replies)
    for place in _TURN_TIME:
        count(place, replies, events[replies].instants - events[touches].instants)
    for place, is_one in _ONCE:
        count(place, firsts(np.flatnonzero(is_one[codes])))
    ratings = lasts(_ratings(journeys, events))
    for place, code in _RATED:
        count(place, ratings[codes[ratings] == code])
    for place, added, removed, is_one in _ENROLLED:
        latest = lasts(np.flatnonzero(is_one[codes]))
        additions = lasts(np.flatnonzero(codes == added))
        dating = firsts(np.arange(codes.size))
        dating[np.searchsorted(journeys[dating], journeys[additions])] = additions
        gone = journeys[latest[codes[latest] == removed]]
        count(place, np.delete(dating, np.searchsorted(journeys[dating], gone)))
    return parts


def _ratings(journeys: Integers, events: PackedEvents) -> NDArray[np.intp]:
    """Return the indices of the ratings, by journey and instant, and of one instant as they stand over one another."""
    ratings = np.flatnonzero(_IS_RATING[events.codes])
    if not ratings.size:
        return ratings
    by_precedence = _PRECEDENCE[events[ratings].codes], events[ratings].instants, journeys[ratings]
    return ratings[np.lexsort(by_precedence)]


def _joined(parts: Sequence[Contributions]) -> Contributions:
    return Contributions(*(np.concatenate(column) for column in zip(*parts, strict=True)))
