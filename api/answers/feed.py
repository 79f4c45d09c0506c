"""The event feed: the events of a workspace, in the order in which they were recorded."""

from functools import partial

import falcon

from api.answers.answering import encode
from api.dependencies import Parts
from api.errors import ConflictError, UnavailableError
from api.http.conditional import tag, unchanged
from api.http.parameters import ONE_WORKSPACE, WORKSPACE, Parameter, Query, Values, number, read_number
from api.standbys import Standbys, marks_of
from domain.events import MAX_ID, UndecodableError, canonical, decode
from domain.instants import format_instant
from domain.ledger import LogRow
from domain.recorder import Database
from projections import marks
from projections.queries import feed
from projections.queries.caller import Credentials, Sealed
from projections.queries.feed import Page, Row

AFTER: Parameter[int] = number("after", "the last position", 0, MAX_ID, 0)
EPOCH: Parameter[int | None] = Parameter(
    "epoch",
    "the epoch of the log that `after` belongs to: 409 where the log has another one, or ends before `after`",
    {"type": "string", "pattern": "^[1-9][0-9]{0,18}$"},
    lambda texts: read_number(texts[0]),
    None,
)
LIMIT: Parameter[int] = number("limit", "so many at a time", 1, 1_000, 1_000)
FEED = Query(ONE_WORKSPACE, AFTER, EPOCH, LIMIT)


def answer(parts: Parts, request: falcon.Request, response: falcon.Response) -> None:
    """Answer with the events behind a position of one workspace's log, and how far the log goes; in a thread."""

    def ask(database: Database, credentials: Credentials, values: Values) -> Sealed[Page]:
        limit = values[LIMIT] if parts.standbys is None else 0  # a standby has the rows
        return feed.page(database, credentials, values[WORKSPACE], values[AFTER], limit)

    values, page = parts.gate.enter(request, response, lambda request: FEED.read(request.query_string), ask)
    request.context.workspace = page.workspace_id
    _check_past(values, page)
    made_of = (values.normal(), page.workspace_id, page.epoch, page.head, page.mark)
    if unchanged(request, response, tag(request, made_of)):
        return
    rows = page.rows if parts.standbys is None else _rows(parts, parts.standbys, page, values)
    last = rows[-1][0].position if rows else values[AFTER]
    events = [_as_json(row, recorded_at) for row, recorded_at in rows]
    response.content_type = falcon.MEDIA_JSON
    epoch = None if page.epoch is None else str(page.epoch)  # JSON's readers may take numbers for floats
    response.data = encode({"events": events, "position": last, "head": page.head, "epoch": epoch})


def _rows(parts: Parts, standbys: Standbys, page: Page, values: Values) -> list[Row]:
    """Return the rows of a page that the primary has described, from a standby where one has them."""

    def read(copy: Database) -> list[Row] | None:
        return feed.rows_of_copy(copy, marks_of(parts.connection), page, values[AFTER], values[LIMIT])

    rows = standbys.read(read)
    if rows is None:
        with parts.connection() as primary:
            rows = feed.rows_of_copy(primary, partial(marks.at, primary), page, values[AFTER], values[LIMIT])
    if rows is None:
        raise UnavailableError("The log has changed meanwhile, please try again")
    return rows


def _check_past(values: Values, page: Page) -> None:
    """Raise ConflictError where the reader has read another past of the log than it has now."""
    if values[EPOCH] is None:
        return
    fault = None
    if values[EPOCH] != page.epoch:
        fault = f"{EPOCH.name}: the log's is {page.epoch or 'none yet'}"
    elif values[AFTER] > page.head:
        fault = f"{AFTER.name}: the log ends at {page.head}"
    if fault is not None:
        msg = f"{fault}; it has lost events that were read, or is another log: read it from the beginning"
        raise ConflictError(msg)


def _as_json(row: LogRow, recorded_at: int) -> dict[str, object]:
    """Return an event as JSON has it; of a campaign with a key it has the id too, though a worker gives one of them."""
    place: dict[str, object] = {"position": row.position, "recorded_at": format_instant(recorded_at)}
    try:
        event = decode(row.topic, row.state)
    except UndecodableError as error:  # a newer version's, or damaged: a gap would be taken for nothing
        return {**place, "error": str(error)}
    return {**place, **canonical(event), "campaign_id": event.campaign_id}
