"""Where contributions belong: in which row of a breakdown, or to the journey's first touch.

An outbound touch belongs to its own values. What a prospect does belongs, each value on its own, to the one that it
carries itself, else to that of the latest touch not after it, be it none; a turn belongs where its reply does.
"""

from collections.abc import Sequence
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from projections.journeys import quarter_hours
from projections.journeys.columns import CODE, IS_TOUCH, TOUCH_CHANNELS, EventColumns, first_touches, is_one_of, latest
from projections.journeys.contributions import contributions
from projections.journeys.groups import Integers
from projections.journeys.quarter_hours import QUARTER_MS, Cells
from projections.metrics import KINDS, MEASURES, TOUCHES, Enrolled, Once

By = Literal["step", "variant", "sender", "channel"]
Value = int | str | None
Row = tuple[Value, ...]
_T = TypeVar("_T")

# What answers not the latest touch of any kind but the latest of this one.
_ANSWERS = {
    "InviteSent": ("InviteAccepted",),
    "EmailSent": ("EmailOpened", "EmailClicked", "EmailBounced"),
}
# What counts in each row that touched the prospect.
_IN_EACH_ROW = np.array([isinstance(m.rule, Enrolled) or m.rule == Once(TOUCHES) for m in MEASURES])


def by_quarter_hour(columns: EventColumns, *, at_first_touch: bool) -> Cells:
    """Return what journeys contribute, each contribution where it is dated; the cells' only owner is 0.

    `at_first_touch` puts all of a journey at its first outbound touch, and leaves out a journey without one.
    """
    places, values, dating = contributions(columns.journeys, columns.events)
    if at_first_touch:
        dating = first_touches(columns)[columns.journeys[dating]]
        touched = np.flatnonzero(dating >= 0)
        places, values, dating = places[touched], values[touched], dating[touched]
    quarters = columns.instants[dating] // QUARTER_MS
    return quarter_hours.summed([quarter_hours.cells(np.zeros(dating.size, np.int64), quarters, places, values)])


def breakdown(
    columns: EventColumns, by: Sequence[By], first: int, end: int, *, at_first_touch: bool
) -> dict[Row, list[int]]:
    """Return the sums of each row to which anything belongs from instant `first` up to, not including, `end` (ms, UTC).

    Of each row they are in order of `MEASURES` (counts and ms). Rows are in order: numbers ascend, strings by code
    points, none last.
    """
    of_events = codes_of(columns, by)
    widths = of_events.max(axis=0) + 1
    as_one = np.zeros(len(of_events), np.int64)  # the codes of a row as one number
    for column, width in zip(of_events.T, widths.tolist(), strict=True):
        as_one = as_one * width + column
    _, which, rows = np.unique(as_one, return_index=True, return_inverse=True)
    codes = of_events[which]
    places, values, dating, belongs = _attributed(columns, rows[1:], int(rows[0]))
    if at_first_touch:
        dating = first_touches(columns)[columns.journeys[dating]]
    at = columns.instants[dating]
    counted = np.flatnonzero((dating >= 0) & (first <= at) & (at < end))
    sums = quarter_hours.added((len(codes), len(MEASURES)), belongs[counted], places[counted], values[counted])
    shown = np.unique(belongs[counted]).tolist()
    by_row = {values_of(columns, by, codes[row].tolist()): sums[row].tolist() for row in shown}
    return in_order(by_row)


def in_order(rows: dict[Row, _T]) -> dict[Row, _T]:
    """Return rows in order of their values: numbers ascend, strings by code points, none last."""
    return dict(sorted(rows.items(), key=lambda row: [(value is None, value or 0) for value in row[0]]))


def _attributed(
    columns: EventColumns, rows: Integers, nothing: int
) -> tuple[Integers, Integers, NDArray[np.intp], Integers]:
    """Return what is contributed: the measure's place, how much, the event that dates it, and the row it belongs to.

    `rows` is the row to which each event belongs, `nothing` the one of what nobody touched.
    """
    places, values, dating = contributions(columns.journeys, columns.events)
    touches = np.flatnonzero(IS_TOUCH[columns.codes])
    row_of_journey = columns.journeys[touches] * (rows.max(initial=nothing) + 1) + rows[touches]
    _, firsts = np.unique(row_of_journey, return_index=True)
    firsts = touches[firsts]  # of each row that touched a journey, the first touch
    once = ~_IN_EACH_ROW[places]
    parts = [(places[once], values[once], dating[once], rows[dating[once]])]
    untouched = first_touches(columns)[columns.journeys[dating]] < 0
    alone = ~once & untouched
    parts.append((places[alone], values[alone], dating[alone], np.full(int(alone.sum()), nothing)))
    for place in np.flatnonzero(_IN_EACH_ROW).tolist():
        counted = columns.journeys[dating[(places == place) & ~untouched]]
        at = firsts[np.isin(columns.journeys[firsts], counted)]
        parts.append((np.full(at.size, place), np.ones(at.size, np.int64), at, rows[at]))
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return joined[0], joined[1], joined[2], joined[3]


def codes_of(columns: EventColumns, by: Sequence[By]) -> Integers:
    """Return the codes of the row to which each event belongs: shape (n + 1, len(by)).

    The first row is that of what belongs nowhere, event i has row i + 1.
    """
    answered: NDArray[np.intp] = latest(IS_TOUCH[columns.codes], columns.journeys)
    for touch, answers in _ANSWERS.items():
        is_answer = is_one_of(*answers)[columns.codes]
        answered = np.where(is_answer, latest(columns.codes == CODE[touch], columns.journeys), answered)
    codes = np.zeros((len(columns.events) + 1, len(by)), np.int64)
    for place, name in enumerate(by):
        own = _own(columns, name)
        codes[1:, place] = np.where((own == 0) & (answered >= 0), own[answered], own)
    return codes


def _own(columns: EventColumns, name: By) -> Integers:
    """Return the codes of the values that events carry themselves; a touch has the channel of its kind."""
    if name == "channel":
        code = {kind: columns.words.index(channel) + 1 for kind, channel in TOUCH_CHANNELS.items()}
        of_kinds = np.array([code.get(kind, 0) for kind in KINDS])
        channels: Integers = np.maximum(of_kinds[columns.codes], columns.channels)
        return channels
    return {"step": columns.steps, "sender": columns.senders, "variant": columns.variants}[name]


def values_of(columns: EventColumns, by: Sequence[By], codes: Sequence[int]) -> Row:
    """Return the values that the codes of a row stand for."""
    return tuple(
        None if not code else code - 1 if name == "step" else columns.words[code - 1]
        for name, code in zip(by, codes, strict=True)
    )
