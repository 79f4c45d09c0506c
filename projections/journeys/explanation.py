"""Why a number is what it is: each contribution with its instant, its value and the facts that make it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from domain.events import Event
from domain.instants import format_instant
from projections.journeys.columns import LAST_TOUCH, Facts, Integers, first_touches, is_first, latest
from projections.journeys.contributions import contributions
from projections.metrics import MEASURES, METRICS, Derived, Each, Turns, TurnTime

AVERAGE = "average_reply_time"  # is explained by its turns, in ms
_PLACES = {measure.name: place for place, measure in enumerate(MEASURES)}
EXPLAINED = {
    **{metric.name: _PLACES[metric.name] for metric in METRICS if not isinstance(metric.rule, Derived | TurnTime)},
    AVERAGE: _PLACES["reply_time_ms"],
}


class Contribution(NamedTuple):
    """One part of a number; the order is that in which they are told. `at` is in ms, the positions are the log's."""

    at: int
    prospect_id: str
    position: int
    value: int
    positions: tuple[int, ...]


def explain(  # noqa: PLR0913 (a question)
    prospect_ids: Sequence[str], facts: Facts, metric: str, first: int, end: int, *, at_first_touch: bool
) -> list[Contribution]:
    """Return what makes up a number, one of `EXPLAINED`, from instant `first` up to `end` (ms), in order.

    `facts` are those of one campaign, `prospect_ids` say whose each journey is.
    """
    places, values, dating = contributions(facts.journeys, facts.facts)
    of_metric = places == EXPLAINED[metric]
    values, dating = values[of_metric], dating[of_metric]
    dated = first_touches(facts)[facts.journeys[dating]] if at_first_touch else dating
    at = facts.instants[dated]
    counted = np.flatnonzero((dated >= 0) & (first <= at) & (at < end))
    rule = MEASURES[EXPLAINED[metric]].rule
    lowest = facts.positions if isinstance(rule, Each) else _lowest(facts)  # of facts alike, each event counts
    named = [lowest[dating[counted]].tolist()]
    if isinstance(rule, Turns | TurnTime):
        touches = latest(facts.kinds <= LAST_TOUCH, facts.journeys)
        named.insert(0, lowest[touches[dating[counted]]].tolist())
    columns = (at[counted].tolist(), facts.journeys[dating[counted]].tolist(), values[counted].tolist())
    return sorted(
        Contribution(instant, prospect_ids[whose], positions[-1], value, positions)
        for instant, whose, value, positions in zip(*columns, zip(*named, strict=True), strict=True)
    )


def told(contribution: Contribution, facts: Mapping[int, Event]) -> dict[str, object]:
    """Return a contribution as JSON has it; `facts` are those of the log by position, at least its own."""
    return {
        "prospect_id": contribution.prospect_id,
        "at": format_instant(contribution.at),
        "value": contribution.value,
        "events": [
            {
                "id": facts[position].id,
                "source": facts[position].source,
                "type": type(facts[position]).__name__,
                "occurred_at": format_instant(facts[position].occurred_at),
                "position": position,
            }
            for position in contribution.positions
        ],
    }


def _lowest(facts: Facts) -> Integers:
    """Return for each fact the lowest position of those that are alike; they stand together, the lowest first."""
    alike = np.ones(facts.facts.size, np.bool_)
    for column in (facts.journeys, facts.facts, facts.steps, facts.senders, facts.variants, facts.channels):
        alike &= ~is_first(column)
    firsts = np.maximum.accumulate(np.where(alike, 0, np.arange(alike.size)))
    return facts.positions[firsts]
