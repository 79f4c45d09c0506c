"""The one way in for facts: a worker's body is read, each event is checked, and what holds is put on disk."""

from http import HTTPStatus
from typing import Any

import falcon
import msgspec

from api import bodies
from api.authentication import require
from api.errors import AccessDeniedError, BadRequestError, TooLargeError
from api.parameters import WORKSPACE, asked, query
from api.parts import Parts
from domain import ledger
from domain.events import Event, EventId, RejectedError, parse
from domain.ledger import Outcome
from projections import access

MAX_EVENTS = 10_000
MAX_BODY_BYTES = 5 * 1024 * 1024
MAX_REJECTS_LISTED = 1_000
_EVENTS = "events"
_TOO_LARGE = f"Expected at most {MAX_BODY_BYTES} bytes and {MAX_EVENTS} events"


class Rejected(msgspec.Struct, frozen=True):
    """Why one event of a request was refused, as the answer has it."""

    index: int
    id: str | None
    code: str
    error: str


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a request's events, as the answer has it."""

    workspace_id: int
    accepted: int
    duplicates: int
    rejected: list[Rejected]
    position: int
    rejected_total: int | None = None


_encode = msgspec.json.Encoder().encode


class Events:
    """`POST /api/v1/events/`."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self._parts = parts

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Record the events of the body; when this answers, what was accepted is on disk."""
        credentials = self._parts.authentication.credentials(request)
        with self._parts.known_first(request, response, credentials):
            wanted = asked(query(request, (WORKSPACE,)), every=False)
        request.context.workspace = wanted.workspace_id
        with self._parts.connection() as database:
            found, workspaces = access.check(database, credentials, wanted)
        require(self._parts.authentication.admit(request, response, credentials, found), "write")
        if not workspaces:
            raise AccessDeniedError
        request.context.workspace = workspaces[0]
        result = self._record(workspaces[0], _events(bodies.whole(request, MAX_BODY_BYTES, _TOO_LARGE)))
        rejected = result.rejected_total or len(result.rejected)
        self._parts.measurements.recorded(result.accepted, result.duplicates, rejected)
        response.status_code = _status(result)
        response.content_type = falcon.MEDIA_JSON
        response.data = _encode(result)

    def _record(self, workspace_id: int, bodies: list[Any]) -> Result:
        now = self._parts.clock()
        facts: list[Event] = []
        places: list[int] = []
        rejected: list[Rejected] = []
        for index, body in enumerate(bodies):
            try:
                facts.append(parse(body, now))
                places.append(index)
            except RejectedError as error:
                rejected.append(Rejected(index, _readable_id(body), error.code, error.error))
        with self._parts.connection() as database:
            recorded = ledger.record(database, workspace_id, facts)
        rejected += [
            Rejected(index, fact.id, "conflict", "id: names another fact already, with other content")
            for index, fact, outcome in zip(places, facts, recorded.outcomes, strict=True)
            if outcome is Outcome.CONFLICT
        ]
        rejected.sort(key=lambda each: each.index)
        return Result(
            workspace_id=workspace_id,
            accepted=recorded.outcomes.count(Outcome.ACCEPTED),
            duplicates=recorded.outcomes.count(Outcome.DUPLICATE),
            rejected=rejected[:MAX_REJECTS_LISTED],
            position=recorded.position,
            rejected_total=len(rejected) if len(rejected) > MAX_REJECTS_LISTED else None,
        )


def _events(body: bytes) -> list[Any]:
    """Return the events of a body, one or a list, each still as JSON has it."""
    decoded = bodies.decoded(body)
    if not isinstance(decoded, dict):
        raise BadRequestError(("body", 'expected one event as an object, or {"events": [...]}'))
    if _EVENTS not in decoded:
        return [decoded]
    if len(decoded) > 1:
        raise BadRequestError(("body", "expected nothing beside events"))
    events = decoded[_EVENTS]
    if not isinstance(events, list):
        raise BadRequestError((_EVENTS, "expected a list"))
    if len(events) > MAX_EVENTS:
        raise TooLargeError(_TOO_LARGE)
    return events


def _readable_id(body: object) -> str | None:
    """Return the id that a refused event gives, None where it is no valid id itself."""
    try:
        readable = msgspec.convert(body, _WithId).id
    except msgspec.ValidationError:
        return None
    return None if "\0" in readable else readable


class _WithId(msgspec.Struct):
    id: EventId


def _status(result: Result) -> HTTPStatus:
    if not result.rejected:
        return HTTPStatus.OK
    return HTTPStatus.MULTI_STATUS if result.accepted or result.duplicates else HTTPStatus.UNPROCESSABLE_ENTITY
