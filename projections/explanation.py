"""Why a number is what it is: each contribution with its instant, its value and the facts that make it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from domain.events import Event
from domain.instants import format_instant
from projections.attribution import first_touch
from projections.journey import LAST_TOUCH, Fact, contributions
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


def explain(
    journeys: Iterable[tuple[str, Sequence[Fact]]], metric: str, first: int, end: int, *, at_first_touch: bool
) -> list[Contribution]:
    """Return what makes up a number, one of `EXPLAINED`, from instant `first` up to `end` (ms), in order.

    `journeys` are those of one campaign, given with their prospects.
    """
    found = [
        contribution
        for prospect_id, facts in journeys
        for contribution in _explained(prospect_id, facts, EXPLAINED[metric], at_first_touch=at_first_touch)
        if first <= contribution.at < end
    ]
    return sorted(found)


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


def _explained(prospect_id: str, facts: Sequence[Fact], place: int, *, at_first_touch: bool) -> Iterator[Contribution]:
    touch = first_touch(facts) if at_first_touch else None
    if at_first_touch and touch is None:
        return
    rule = MEASURES[place].rule
    for contributed, value, fact in contributions(facts):
        if contributed != place:
            continue
        if isinstance(rule, Each):  # of facts alike, each counts
            positions: tuple[int, ...] = (fact[6],)
        elif isinstance(rule, Turns | TurnTime):
            positions = (_lowest(facts, _answered(facts, fact)), _lowest(facts, fact))
        else:
            positions = (_lowest(facts, fact),)
        yield Contribution(touch[0] if touch else fact[0], prospect_id, positions[-1], value, positions)


def _answered(facts: Sequence[Fact], reply: Fact) -> Fact:
    """Return the latest touch before a reply that closes a turn."""
    return next(fact for fact in reversed(facts[: facts.index(reply)]) if fact[1] <= LAST_TOUCH)


def _lowest(facts: Sequence[Fact], fact: Fact) -> int:
    """Return the lowest position of the facts that are alike."""
    return min(each[6] for each in facts if each[:6] == fact[:6] and each[7] == fact[7])
