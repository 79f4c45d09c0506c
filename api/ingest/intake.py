"""What holds of the events that were given is a fact, what does not is a rejection: the same for posts and imports."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from api.ingest.formats import Part
from domain import ledger
from domain.events import NO_RETRACTION, Event, EventRetracted, RejectedError, parse, readable_id, readable_source
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
    vain = set(ledger.retracting_retractions(database, workspace_id, taken.facts))
    if not vain:
        return taken
    refused = dict(taken.refused)
    for index in vain:
        fact, place = taken.facts[index], taken.places[index]
        rejection = Rejection(taken.now, fact.id, fact.source, "invalid_field", _OF_A_RETRACTION)
        refused[place] = _refused(taken.part, taken.first, place, rejection, (_OF_A_RETRACTION,))
    kept = [index for index in range(len(taken.facts)) if index not in vain]
    facts, places = [taken.facts[index] for index in kept], [taken.places[index] for index in kept]
    return replace(taken, facts=facts, places=places, refused=refused)


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
