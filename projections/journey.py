"""One prospect in one campaign: the list of what happened, and what it contributes to the numbers.

`contributions` is the whole definition of the numbers. It sees a journey's facts in an order that does not depend on
how they arrived, so neither does anything that is computed from it.
"""

from collections.abc import Callable, Iterable, MutableMapping, Sequence
from typing import Annotated

import msgspec

from domain.events import EVENTS, ProspectEvent, ReplyReceived
from projections.metrics import (
    AUTOMATIC_REPLY,
    MEASURES,
    REPLY,
    TOUCHES,
    Each,
    Enrolled,
    Latest,
    Once,
    Turns,
    TurnTime,
)
from projections.sums import UNITS

QUARTER_MS = 900_000  # activity is kept by quarter hours of UTC

# A fact of a journey: (instant in ms, kind, step, sender, variant, channel, position in the log, automatic). None is
# -1 or "", so that plain comparison is the order of a journey: by instant, touches first, then by type, then by the
# values, none first; of facts alike in all this the lower position. Stored, so a change wants a new FOLD_VERSION.
Fact = tuple[int, int, int, str, str, str, int, bool]

KINDS = (
    *TOUCHES,
    *sorted(event.__name__ for event in EVENTS if issubclass(event, ProspectEvent) and event.__name__ not in TOUCHES),
    AUTOMATIC_REPLY,
)
_KIND = {name: kind for kind, name in enumerate(KINDS)}
LAST_TOUCH = len(TOUCHES) - 1
_REPLY = _KIND[REPLY]
_AUTOMATIC_REPLY = _KIND[AUTOMATIC_REPLY]


# A number's part: which measure (its place in `MEASURES`), how much, and the fact that dates it.
Contribution = tuple[int, int, Fact]


def _places(rule: type) -> list[int]:
    return [place for place, measure in enumerate(MEASURES) if isinstance(measure.rule, rule)]


_EACH = [
    [place for place, measure in enumerate(MEASURES) if measure.rule == Each(kind)] for kind in KINDS
]  # by kind: where each event of it counts
_ONCE = [
    [place for place, measure in enumerate(MEASURES) if isinstance(measure.rule, Once) and kind in measure.rule.kinds]
    for kind in KINDS
]  # by kind: where its first event may count
_PAIRS = [
    (place, _KIND[measure.rule.kind], _KIND[measure.rule.over])
    for place, measure in enumerate(MEASURES)
    if isinstance(measure.rule, Latest)
]
_ENROLLED = [
    (place, _KIND[measure.rule.added], _KIND[measure.rule.removed])
    for place, measure in enumerate(MEASURES)
    if isinstance(measure.rule, Enrolled)
]
_TURNS = _places(Turns)
_TURN_TIME = _places(TurnTime)

# As `Fact`, of a kind that there is.
_Stored = tuple[int, Annotated[int, msgspec.Meta(ge=0, lt=len(KINDS))], int, str, str, str, int, bool]
_decode: Callable[[bytes], list[Fact]] = msgspec.msgpack.Decoder(list[_Stored]).decode
_encode = msgspec.msgpack.Encoder().encode


def fact_of(event: ProspectEvent, position: int) -> Fact:
    """Return what a journey keeps of an event at this position of the log."""
    channel, automatic = (event.channel, event.automatic) if isinstance(event, ReplyReceived) else (None, False)
    return (
        event.occurred_at,
        _KIND[type(event).__name__],
        -1 if event.step is None else event.step,
        event.sender_id or "",
        event.variant or "",
        channel or "",
        position,
        automatic,
    )


def pack(facts: Sequence[Fact]) -> bytes:
    """Return a journey's facts, in order, as they are stored."""
    return _encode(facts)


def unpack(stored: bytes) -> list[Fact]:
    """Return a stored journey's facts, in order. Raises msgspec.DecodeError where the bytes are damaged."""
    return _decode(stored)


def contributions(facts: Sequence[Fact]) -> list[Contribution]:
    """Return what a journey contributes to the numbers; `facts` are all of it, in order."""
    single, once = _contributions(facts, 0)
    return single + once


def _contributions(facts: Sequence[Fact], since: int) -> tuple[list[Contribution], list[Contribution]]:
    """Return what single facts contribute, only those from place `since` on, and what counts once a journey."""
    found: list[Contribution] = []
    first: dict[int, Fact] = {}
    last: dict[int, Fact] = {}
    touch: Fact | None = None  # the one that the next reply answers
    for number, fact in enumerate(facts):
        kind = _AUTOMATIC_REPLY if fact[7] else fact[1]
        if kind not in first:
            first[kind] = fact
        last[kind] = fact
        if number >= since:
            for place in _EACH[kind]:
                found.append((place, 1, fact))  # noqa: PERF401 (there is one as a rule, and this is the hottest loop)
        if kind <= LAST_TOUCH:
            touch = fact
        elif kind == _REPLY and touch is not None:
            if number >= since:
                found += [(place, 1, fact) for place in _TURNS]
                found += [(place, fact[0] - touch[0], fact) for place in _TURN_TIME]
            touch = None
    return found, _once(facts[0], first, last) if facts else []


def _once(opening: Fact, first: dict[int, Fact], last: dict[int, Fact]) -> list[Contribution]:
    """Return what counts at most once a journey; of each kind of fact the first and the last are given."""
    once: dict[int, Fact] = {}
    for kind, fact in first.items():  # in order of the journey, so the first of several kinds comes first
        for place in _ONCE[kind]:
            if place not in once:
                once[place] = fact
    found = [(place, 1, fact) for place, fact in once.items()]
    for place, kind, over in _PAIRS:
        if kind in last and (over not in last or last[kind] > last[over]):
            found.append((place, 1, last[kind]))
    for place, added, removed in _ENROLLED:
        if removed not in last or (added in last and last[added] > last[removed]):
            found.append((place, 1, last.get(added, opening)))
    return found


def add(cells: MutableMapping[int, int], before: Sequence[Fact], after: Sequence[Fact]) -> None:
    """Add to the sums of quarter hours what a journey contributes now, less what it contributed before, if anything.

    What comes before the first new fact contributes what it did.
    """
    since = next(
        (place for place, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), len(before)
    )
    single, once = _contributions(after, since)
    if before:
        gone, gone_once = _contributions(before, since)
        gone += [each for each in gone_once if each not in once]
        once = [each for each in once if each not in gone_once]
        for place, value, fact in gone:
            cells[fact[0] // QUARTER_MS] -= value * UNITS[place]
    for place, value, fact in single + once:
        cells[fact[0] // QUARTER_MS] += UNITS[place] if value == 1 else value * UNITS[place]


def in_order(facts: Iterable[Fact]) -> list[Fact]:
    """Return a journey's facts in order."""
    return sorted(facts)
