"""The one way in for facts: a worker's body is read, each event is checked, and what holds is put on disk."""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from itertools import islice
from typing import Any

import falcon
import msgspec

from api import bodies, ndjson
from api.authentication import require
from api.errors import INTERRUPTIONS, AccessDeniedError, BadRequestError, InterruptedBodyError, TooLargeError
from api.parameters import WORKSPACE, asked, query
from api.parts import Parts
from domain import ledger
from domain.events import Event, EventId, RejectedError, parse
from domain.ledger import Outcome
from domain.recorder import Database
from projections import access
from projections.access import Asked, Credentials

MAX_EVENTS = 10_000
MAX_BODY_BYTES = 5 * 1024 * 1024
MAX_REJECTS_LISTED = 1_000
MAX_UNPACKED_BYTES = 1024 * 1024 * 1024  # of a packed stream of lines
LINES_AT_ONCE = 5_000  # so many lines of a stream share a transaction
_EVENTS = "events"
_TOO_LARGE = f"Expected at most {MAX_BODY_BYTES} bytes and {MAX_EVENTS} events"
_UNPACKS_TOO_LARGE = f"Expected a body that unpacks to at most {MAX_UNPACKED_BYTES} bytes"


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
        tally = _Tally(workspaces[0], credentials)
        if bodies.media_type(request, (falcon.MEDIA_JSON, ndjson.MEDIA_TYPE)) == ndjson.MEDIA_TYPE:
            self._stream(tally, request)
        else:
            self._record(tally, _events(bodies.whole(request, MAX_BODY_BYTES, _TOO_LARGE)), _as_it_is)
        result = tally.result()
        response.status_code = _status(result)
        response.content_type = falcon.MEDIA_JSON
        response.data = _encode(result)

    def _stream(self, tally: "_Tally", request: falcon.Request) -> None:
        """Record the lines of a body as they come; what breaks it off says what is committed by then."""
        lines = ndjson.lines(bodies.pieces(request, _UNPACKS_TOO_LARGE, MAX_UNPACKED_BYTES))
        try:
            while batch := list(islice(lines, LINES_AT_ONCE)):
                self._record(tally, batch, _line)
            if tally.events == 0:
                self._record(tally, [], _line)
        except INTERRUPTIONS as error:
            raise InterruptedBodyError(error, msgspec.to_builtins(tally.result())) from error

    def _record(self, tally: "_Tally", given: Sequence[Any], said: Callable[[Any], Any]) -> None:
        """Record one batch of events in one transaction; `said` makes JSON's own objects of what is given."""
        now = self._parts.clock()
        facts: list[Event] = []
        places: list[int] = []
        rejected: list[Rejected] = []
        for index, each in enumerate(given, tally.events):
            body = None
            try:
                body = said(each)
                facts.append(parse(body, now))
                places.append(index)
            except RejectedError as error:
                rejected.append(Rejected(index, _readable_id(body), error.code, error.error))
        with self._parts.connection() as database:
            self._still_allowed(database, tally)
            recorded = ledger.record(database, tally.workspace_id, facts)
        rejected += [
            Rejected(index, fact.id, "conflict", "id: names another fact already, with other content")
            for index, fact, outcome in zip(places, facts, recorded.outcomes, strict=True)
            if outcome is Outcome.CONFLICT
        ]
        rejected.sort(key=lambda each: each.index)
        accepted, duplicates = (recorded.outcomes.count(each) for each in (Outcome.ACCEPTED, Outcome.DUPLICATE))
        self._parts.measurements.recorded(accepted, duplicates, len(rejected))
        tally.add(accepted, duplicates, rejected, recorded.position)

    def _still_allowed(self, database: Database, tally: "_Tally") -> None:
        """Ask again who is calling: while the body came, the link or the key may have gone."""
        found, workspaces = access.check(database, tally.credentials, Asked(tally.workspace_id))
        require(self._parts.authentication.identify(tally.credentials, found), "write")
        if not workspaces:
            raise AccessDeniedError


class _Tally:
    """What has become of a request's events so far."""

    def __init__(self, workspace_id: int, credentials: Credentials) -> None:
        self.workspace_id = workspace_id
        self.credentials = credentials
        self.accepted = self.duplicates = self.rejects = self.position = 0
        self.rejected: list[Rejected] = []

    @property
    def events(self) -> int:
        """Return how many events there were."""
        return self.accepted + self.duplicates + self.rejects

    def add(self, accepted: int, duplicates: int, rejected: list[Rejected], position: int) -> None:
        """Add a batch, and where the log ends after it."""
        self.accepted += accepted
        self.duplicates += duplicates
        self.rejects += len(rejected)
        self.rejected += rejected[: MAX_REJECTS_LISTED - len(self.rejected)]
        self.position = position

    def result(self) -> Result:
        """Return the answer."""
        total = self.rejects if self.rejects > MAX_REJECTS_LISTED else None
        return Result(self.workspace_id, self.accepted, self.duplicates, self.rejected, self.position, total)


def _as_it_is(said: Any) -> Any:  # noqa: ANN401 (whatever JSON can say)
    return said


def _line(line: bytes | None) -> Any:  # noqa: ANN401 (whatever JSON can say)
    """Return what a line says; raise RejectedError where it is too long or no JSON."""
    if line is None:
        raise RejectedError("too_large", f"line: expected at most {ndjson.MAX_LINE_BYTES} bytes")
    try:
        return bodies.decoded(line)
    except BadRequestError as error:
        [(_, fault)] = error.faults
        raise RejectedError("malformed", f"line: {fault}") from error


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
