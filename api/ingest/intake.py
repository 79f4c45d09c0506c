"""Checks posted and imported events: a valid one is appended, an invalid one becomes a rejection."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from api.ingest import typed_events
from api.ingest.formats import Part
from domain import ledger
from domain.events import Event, EventRetracted
from domain.ledger import Outcome
from domain.parsing import NO_RETRACTION, RejectedError, parse, readable_id, readable_source
from domain.recorder import Database
from domain.texts import shown
from projections.queries.rejections import Rejection

_CONFLICT = "id: names another event already, with other content"
_OF_A_RETRACTION = f"retracts: names a retraction, and {NO_RETRACTION}"


class Refused(NamedTuple):
    """A refused event: its index among all of the post, its line, and all that is wrong with it."""

    place: int
    line: int | None
    rejection: Rejection
    errors: tuple[str, ...]


class Intake(NamedTuple):
    """The events of one part: the valid ones with their places in it, and the refused ones by their places."""

    part: Part
    first: int  # index of the part's first event among all of the post or file
    events: list[Event]
    places: list[int]
    refused: dict[int, Refused]
    now: int

    @property
    def retracts(self) -> bool:
        """Return whether any event is a retraction, which is to be checked against the log."""
        return any(isinstance(event, EventRetracted) for event in self.events)

    def without(self, rejections: Mapping[int, Rejection]) -> "Intake":
        """Return the intake with these events refused too, by their indices in `events`."""
        if not rejections:
            return self
        refused = dict(self.refused)
        for index, rejection in rejections.items():
            place = self.places[index]
            refused[place] = _refused(self.part, self.first, place, rejection, (rejection.error,))
        remaining = [index for index in range(len(self.events)) if index not in rejections]
        events, places = [self.events[index] for index in remaining], [self.places[index] for index in remaining]
        return self._replace(events=events, places=places, refused=refused)

    def without_keys(self, others: Mapping[int, str]) -> "Intake":
        """Return the intake with the events refused whose campaign's id belongs to another key, by index."""
        rejections = {}
        for index, standing in others.items():
            event, error = (
                self.events[index],
                f"campaign_key: has the same id as {shown(standing)}, which was there first",
            )
            rejections[index] = Rejection(self.now, event.id, event.source, "conflict", error)
        return self.without(rejections)

    def with_conflicts(self, outcomes: Sequence[Outcome]) -> list[Refused]:
        """Return the refused events, those in conflict with the log too; in order."""
        if Outcome.CONFLICT not in outcomes and not self.refused:
            return []
        refused = dict(self.refused)
        if Outcome.CONFLICT in outcomes:
            for place, event, outcome in zip(self.places, self.events, outcomes, strict=True):
                if outcome is Outcome.CONFLICT:
                    rejection = Rejection(self.now, event.id, event.source, "conflict", _CONFLICT)
                    refused[place] = _refused(self.part, self.first, place, rejection, (_CONFLICT,))
        return [refused[place] for place in sorted(refused)]


def check_retractions(database: Database, workspace_id: int, taken: Intake) -> Intake:
    """Return the intake with the retractions of retractions refused, by the log and by earlier events of the batch."""
    rejections = {}
    for index in ledger.retracting_retractions(database, workspace_id, taken.events):
        event = taken.events[index]
        rejections[index] = Rejection(taken.now, event.id, event.source, "invalid_field", _OF_A_RETRACTION)
    return taken.without(rejections)


def take(part: Part, first: int, now: int) -> Intake:
    """Check the events of a part, of which the first has this index; `now` is in ms, UTC."""
    if part.is_typed:
        valid = typed_events.events_of(part.raw, now)
        if valid is not None:
            return Intake(part, first, valid, list(range(len(valid))), {}, now)
    events: list[Event] = []
    places: list[int] = []
    refused: dict[int, Refused] = {}
    decode, is_text = part.decode, part.is_text
    for place, each in enumerate(part.raw):
        body = each
        try:
            body = decode(each)
            events.append(parse(body, now, is_text=is_text))
            places.append(place)
        except RejectedError as error:
            rejection = Rejection(now, readable_id(body), readable_source(body), error.code, error.error)
            refused[place] = _refused(part, first, place, rejection, error.errors)
    return Intake(part, first, events, places, refused, now)


def _refused(part: Part, first: int, place: int, rejection: Rejection, errors: tuple[str, ...]) -> Refused:
    return Refused(first + place, part.lines[place] if part.lines else None, rejection, errors)
