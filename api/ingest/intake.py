"""What holds of the events that were given is a fact, what does not is a rejection: the same for posts and imports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from api.ingest.formats import Part
from domain.events import Event, RejectedError, parse, readable_id, readable_source, shown
from domain.ledger import Outcome
from projections.queries.rejections import Rejection

_CONFLICT = "id: names another fact already, with other content"


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

    def without(self, others: Mapping[int, str]) -> "Intake":
        """Return it without the facts at these places among the facts: each names a campaign whose id another key has.

        That is told by the place. There is nothing else that the event could mean, so it is a conflict.
        """
        if not others:
            return self
        refused = dict(self.refused)
        for index, standing in others.items():
            fact, place = self.facts[index], self.places[index]
            error = f"campaign_key: has the same id as {shown(standing)}, which was there first"
            rejection = Rejection(self.now, fact.id, fact.source, "conflict", error)
            refused[place] = _refused(self.part, self.first, place, rejection, (error,))
        kept = [index for index in range(len(self.facts)) if index not in others]
        facts, places = [self.facts[index] for index in kept], [self.places[index] for index in kept]
        return replace(self, facts=facts, places=places, refused=refused)

    def with_conflicts(self, outcomes: Sequence[Outcome]) -> list[Refused]:
        """Return what was refused, also because the log holds something else; in order."""
        refused = dict(self.refused)
        if Outcome.CONFLICT in outcomes:
            for place, fact, outcome in zip(self.places, self.facts, outcomes, strict=True):
                if outcome is Outcome.CONFLICT:
                    rejection = Rejection(self.now, fact.id, fact.source, "conflict", _CONFLICT)
                    refused[place] = _refused(self.part, self.first, place, rejection, (_CONFLICT,))
        return [refused[place] for place in sorted(refused)]


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
