"""Where contributions belong: in which row of a breakdown, or to the journey's first touch.

An outbound touch belongs to its own values. What a prospect does belongs, each value on its own, to the one that it
carries itself, else to that of the latest touch not after it, be it none; a turn belongs where its reply does.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from projections.journeys import quarter_hours
from projections.journeys.columns import KIND, KINDS, LAST_TOUCH, TOUCH_CHANNELS, Facts, Integers, first_touches, latest
from projections.journeys.contributions import contributions
from projections.journeys.quarter_hours import QUARTER_MS, Cells
from projections.metrics import MEASURES, TOUCHES, Enrolled, Once

By = Literal["step", "variant", "sender", "channel"]
Value = int | str | None
Row = tuple[Value, ...]

# What answers not the latest touch of any kind but the latest of this one.
_ANSWERS = {
    "InviteSent": ("InviteAccepted",),
    "EmailSent": ("EmailOpened", "EmailClicked", "EmailBounced"),
}
# What counts in each row that touched the prospect.
_IN_EACH_ROW = np.array([isinstance(m.rule, Enrolled) or m.rule == Once(TOUCHES) for m in MEASURES])


def by_first_touch(facts: Facts) -> Cells:
    """Return what journeys contribute, all of each at its first outbound touch; without one, nowhere."""
    places, values, dating = contributions(facts.journeys, facts.facts)
    touches = first_touches(facts)[facts.journeys[dating]]
    touched = np.flatnonzero(touches >= 0)
    quarters = facts.instants[touches[touched]] // QUARTER_MS
    return quarter_hours.summed(
        [quarter_hours.cells(np.zeros(touched.size, np.int64), quarters, places[touched], values[touched])]
    )


def breakdown(facts: Facts, by: Sequence[By], first: int, end: int, *, at_first_touch: bool) -> dict[Row, list[int]]:
    """Return the sums of each row to which anything belongs from instant `first` up to `end` (ms), in order.

    Of each row they are in order of `MEASURES`. Numbers ascend, strings by code points, none last.
    """
    of_facts = _codes(facts, by)
    widths = of_facts.max(axis=0) + 1
    as_one = np.zeros(len(of_facts), np.int64)  # the codes of a row as one number
    for column, width in zip(of_facts.T, widths.tolist(), strict=True):
        as_one = as_one * width + column
    _, which, rows = np.unique(as_one, return_index=True, return_inverse=True)
    codes = of_facts[which]
    places, values, dating, belongs = _attributed(facts, rows[1:], int(rows[0]))
    if at_first_touch:
        dating = first_touches(facts)[facts.journeys[dating]]
    at = facts.instants[dating]
    counted = np.flatnonzero((dating >= 0) & (first <= at) & (at < end))
    found = quarter_hours.added((len(codes), len(MEASURES)), belongs[counted], places[counted], values[counted])
    shown = np.unique(belongs[counted]).tolist()
    told = {_told(facts, by, codes[row].tolist()): found[row].tolist() for row in shown}
    return dict(sorted(told.items(), key=lambda row: [(value is None, value or 0) for value in row[0]]))


def _attributed(facts: Facts, rows: Integers, nothing: int) -> tuple[Integers, Integers, NDArray[np.intp], Integers]:
    """Return what is contributed: the measure's place, how much, the fact that dates it, and the row it belongs to.

    `rows` says to which one each fact belongs, `nothing` is the one of what nobody touched.
    """
    places, values, dating = contributions(facts.journeys, facts.facts)
    touches = np.flatnonzero(facts.kinds <= LAST_TOUCH)
    _, firsts = np.unique(facts.journeys[touches] * (rows.max(initial=nothing) + 1) + rows[touches], return_index=True)
    firsts = touches[firsts]  # of each row that touched a journey, the first touch
    once = ~_IN_EACH_ROW[places]
    parts = [(places[once], values[once], dating[once], rows[dating[once]])]
    untouched = first_touches(facts)[facts.journeys[dating]] < 0
    alone = ~once & untouched
    parts.append((places[alone], values[alone], dating[alone], np.full(int(alone.sum()), nothing)))
    for place in np.flatnonzero(_IN_EACH_ROW).tolist():
        counted = facts.journeys[dating[(places == place) & ~untouched]]
        at = firsts[np.isin(facts.journeys[firsts], counted)]
        parts.append((np.full(at.size, place), np.ones(at.size, np.int64), at, rows[at]))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return columns[0], columns[1], columns[2], columns[3]


def _codes(facts: Facts, by: Sequence[By]) -> Integers:
    """Return a row of codes for each fact, to which it belongs; before them, the one of what belongs nowhere."""
    answered: NDArray[np.intp] = latest(facts.kinds <= LAST_TOUCH, facts.journeys)
    for touch, answers in _ANSWERS.items():
        is_answer = np.isin(facts.kinds, [KIND[name] for name in answers])
        answered = np.where(is_answer, latest(facts.kinds == KIND[touch], facts.journeys), answered)
    found = np.zeros((facts.facts.size + 1, len(by)), np.int64)
    for column, name in enumerate(by):
        own = _own(facts, name)
        found[1:, column] = np.where((own == 0) & (answered >= 0), own[answered], own)
    return found


def _own(facts: Facts, name: By) -> Integers:
    """Return the codes of the values that facts carry themselves; a touch has the channel of its kind."""
    if name == "channel":
        code = {kind: facts.words.index(channel) + 1 for kind, channel in TOUCH_CHANNELS.items()}
        of_kinds = np.array([code.get(kind, 0) for kind in KINDS])
        channels: Integers = np.maximum(of_kinds[facts.kinds], facts.channels)
        return channels
    return {"step": facts.steps, "sender": facts.senders, "variant": facts.variants}[name]


def _told(facts: Facts, by: Sequence[By], codes: Sequence[int]) -> Row:
    return tuple(
        None if not code else code - 1 if name == "step" else facts.words[code - 1]
        for name, code in zip(by, codes, strict=True)
    )
