"""What holds of the events that were given is a fact, what does not is a rejection: the same for posts and imports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from api.ingest.formats import Part
from domain import ledger
from domain.events import (
    NO_RETRACTION,
    Event,
    EventRetracted,
    RejectedError,
    parse,
    readable_id,
    readable_source,
    shown,
)
from domain.ledger import Outcome
from domain.recorder import Database
from projections.queries.rejections import Rejection

_CONFLICT = "id: names another fact already, with other content"
_OF_A_RETRACTION = f"retracts: names a retraction, and {NO_RETRACTION}"


class Refused(NamedTuple):
    """An event that was refused: its index among all, on which line, and all that is wrong with it."""

    place: int
    line: int | None
    rejection: Rejection
    errors: tuple[str, ...]


@dataclass(frozen=True)
class Intake:
    """The events of one part: facts, each with its place in it, and which others were refused, by their places."""

    part: Part
    first: int  # index of the part's first event among all that were given
    facts: list[Event]
    places: list[int]
    refused: dict[int, Refused]
    now: int

    @property
    def retracts(self) -> bool:
        """Return whether there are retractions among the facts, which are to be checked against the log."""
        return any(isinstance(fact, EventRetracted) for fact in self.facts)

    def without(self, rejections: Mapping[int, Rejection]) -> "Intake":
        """Return it without the facts that are refused after all, by their places among the facts."""
        if not rejections:
            return self
        refused = dict(self.refused)
        for index, rejection in rejections.items():
            place = self.places[index]
            refused[place] = _refused(self.part, self.first, place, rejection, (rejection.error,))
        kept = [index for index in range(len(self.facts)) if index not in rejections]
        facts, places = [self.facts[index] for index in kept], [self.places[index] for index in kept]
        return replace(self, facts=facts, places=places, refused=refused)

    def without_keys(self, others: Mapping[int, str]) -> "Intake":
        """Return it without the facts whose campaign's key is not the one that stands, by their places."""
        rejections = {}
        for index, standing in others.items():
            fact, error = (
                self.facts[index],
                f"campaign_key: has the same id as {shown(standing)}, which was there first",
            )
            rejections[index] = Rejection(self.now, fact.id, fact.source, "conflict", error)
        return self.without(rejections)

    def with_conflicts(self, outcomes: Sequence[Outcome]) -> list[Refused]:
        """Return what was refused, also because the log holds something else; in order."""
        refused = dict(self.refused)
        if Outcome.CONFLICT in outcomes:
            for place, fact, outcome in zip(self.places, self.facts, outcomes, strict=True):
                if outcome is Outcome.CONFLICT:
                    rejection = Rejection(self.now, fact.id, fact.source, "conflict", _CONFLICT)
                    refused[place] = _refused(self.part, self.first, place, rejection, (_CONFLICT,))
        return [refused[place] for place in sorted(refused)]


def check_retractions(database: Database, workspace_id: int, taken: Intake) -> Intake:
    """Return events without the retractions of what is a retraction by the workspace's log, or by those before it."""
    rejections = {}
    for index in ledger.retracting_retractions(database, workspace_id, taken.facts):
        fact = taken.facts[index]
        rejections[index] = Rejection(taken.now, fact.id, fact.source, "invalid_field", _OF_A_RETRACTION)
    return taken.without(rejections)


def take(part: Part, first: int, now: int) -> Intake:
    """Check the events of a part, of which the first has this index; `now` is in ms, UTC."""
    facts: list[Event] = []
    places: list[int] = []
    refused: dict[int, Refused] = {}
    said = part.said
    for place, each in enumerate(part.given):
        body = each
        try:
            body = said(each)
            facts.append(parse(body, now))
            places.append(place)
        except RejectedError as error:
            rejection = Rejection(now, readable_id(body), readable_source(body), error.code, error.error)
            refused[place] = _refused(part, first, place, rejection, error.errors)
    return Intake(part, first, facts, places, refused, now)


def _refused(part: Part, first: int, place: int, rejection: Rejection, errors: tuple[str, ...]) -> Refused:
    return Refused(first + place, part.lines[place] if part.lines else None, rejection, errors)
