"""Where a journey's contributions belong: in which row of a breakdown, or to the journey's first touch.

An outbound touch belongs to its own values. What a prospect does belongs, each value on its own, to the one that it
carries itself, else to that of the latest touch not after it, be it none; a turn belongs where its reply does.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

from projections.activity import Cells
from projections.journey import KINDS, LAST_TOUCH, QUARTER_MS, Fact, contributions
from projections.metrics import MEASURES, TOUCHES, Enrolled, Once
from projections.sums import UNITS

By = Literal["step", "variant", "sender", "channel"]
Value = int | str | None
Row = tuple[Value, ...]

_TOUCH_CHANNEL = {"EmailSent": "email", "InviteSent": "linkedin", "LinkedInMessageSent": "linkedin"}
_INVITE, _EMAIL = KINDS.index("InviteSent"), KINDS.index("EmailSent")
# What answers not the latest touch of any kind but the latest of this one.
_ANSWERS = {
    KINDS.index("InviteAccepted"): _INVITE,
    **{KINDS.index(name): _EMAIL for name in ("EmailOpened", "EmailClicked", "EmailBounced")},
}
_VALUES: dict[By, Callable[[Fact], Value]] = {
    "step": lambda fact: None if fact[2] < 0 else fact[2],
    "sender": lambda fact: fact[3] or None,
    "variant": lambda fact: fact[4] or None,
    "channel": lambda fact: _TOUCH_CHANNEL.get(KINDS[fact[1]], fact[5]) or None,
}
# What counts in each row that touched the prospect.
_IN_EACH_ROW = {
    place
    for place, measure in enumerate(MEASURES)
    if isinstance(measure.rule, Enrolled) or measure.rule == Once(TOUCHES)
}


def first_touch(facts: Sequence[Fact]) -> Fact | None:
    """Return a journey's first outbound touch; None where there is none."""
    return next((fact for fact in facts if fact[1] <= LAST_TOUCH), None)


def by_first_touch(journeys: Iterable[Sequence[Fact]]) -> Cells:
    """Return what journeys contribute, all of each at its first outbound touch; without one, nowhere."""
    cells: Cells = defaultdict(int)
    for facts in journeys:
        touch = first_touch(facts)
        if touch is not None:
            cells[touch[0] // QUARTER_MS] += sum(value * UNITS[place] for place, value, _ in contributions(facts))
    return cells


def attributed(facts: Sequence[Fact], by: Sequence[By]) -> Iterator[tuple[int, int, Fact, Row]]:
    """Yield what a journey contributes: the measure's place, how much, the fact that dates it, and its row."""
    read = [_VALUES[name] for name in by]
    nothing: Row = (None,) * len(read)
    touched: dict[Row, Fact] = {}  # by row: its first touch
    rows: dict[int, Row] = {}  # by a fact's position
    latest: dict[int, Row] = {}  # by the kind of touch
    touch = nothing
    for fact in facts:
        kind = fact[1]
        own = tuple([value(fact) for value in read])
        if kind <= LAST_TOUCH:
            latest[kind] = touch = rows[fact[6]] = own
            touched.setdefault(own, fact)
            continue
        if None in own:
            answered = latest.get(_ANSWERS[kind], nothing) if kind in _ANSWERS else touch
            own = tuple([one if mine is None else mine for mine, one in zip(own, answered, strict=True)])
        rows[fact[6]] = own
    for place, value, fact in contributions(facts):
        if place not in _IN_EACH_ROW:
            yield place, value, fact, rows[fact[6]]
        elif touched:
            for row, first in touched.items():
                yield place, value, first, row
        else:
            yield place, value, fact, nothing


def breakdown(
    journeys: Iterable[Sequence[Fact]], by: Sequence[By], first: int, end: int, *, at_first_touch: bool
) -> dict[Row, int]:
    """Return the sums of each row to which anything belongs from instant `first` up to `end` (ms), in order.

    Numbers ascend, strings by code points, none last.
    """
    rows: defaultdict[Row, int] = defaultdict(int)
    for facts in journeys:
        touch = first_touch(facts) if at_first_touch else None
        if at_first_touch and (touch is None or not first <= touch[0] < end):
            continue
        for place, value, fact, row in attributed(facts, by):
            if at_first_touch or first <= fact[0] < end:
                rows[row] += value * UNITS[place]
    return dict(sorted(rows.items(), key=lambda row: [(value is None, value or 0) for value in row[0]]))
