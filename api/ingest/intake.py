"""What holds of the events that were given is a fact, what does not is a rejection: the same for posts and imports."""

from collections.abc import Sequence
from dataclasses import dataclass

from api.ingest.formats import Part
from domain.events import Event, RejectedError, parse, readable_id, readable_source
from domain.ledger import Outcome
from projections.queries.rejections import Rejection

_CONFLICT = "id: names another fact already, with other content"


@dataclass(frozen=True)
class Intake:
    """The events of one part: facts, each with its index among all that were given, and why others were refused."""

    facts: list[Event]
    places: list[int]
    refused: dict[int, Rejection]
    now: int

    def with_conflicts(self, outcomes: Sequence[Outcome]) -> list[tuple[int, Rejection]]:
        """Return by index what was refused, also because the log holds something else; in order."""
        refused = dict(self.refused)
        if Outcome.CONFLICT in outcomes:
            for index, fact, outcome in zip(self.places, self.facts, outcomes, strict=True):
                if outcome is Outcome.CONFLICT:
                    refused[index] = Rejection(self.now, fact.id, fact.source, "conflict", _CONFLICT)
        return sorted(refused.items())


def take(part: Part, first: int, now: int) -> Intake:
    """Check the events of a part, of which the first has this index; `now` is in ms, UTC."""
    facts: list[Event] = []
    places: list[int] = []
    refused: dict[int, Rejection] = {}
    said = part.said
    for index, each in enumerate(part.given, first):
        body = each
        try:
            body = said(each)
            facts.append(parse(body, now))
            places.append(index)
        except RejectedError as error:
            refused[index] = Rejection(now, readable_id(body), readable_source(body), error.code, error.error)
    return Intake(facts, places, refused, now)
