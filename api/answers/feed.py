"""The event feed: what workers have told, in the order in which it was recorded."""

import falcon

from api.answers.answering import encode
from api.auth.authentication import require
from api.dependencies import Parts
from api.errors import AccessDeniedError, BadRequestError
from api.http.conditional import tag, unchanged
from api.http.parameters import WORKSPACE, asked, number, position, query
from domain.events import UndecodableError, canonical, decode
from domain.instants import format_instant
from domain.ledger import LogRow
from projections.queries import feed
from projections.queries.caller import Asked

AFTER, LIMIT = "after", "limit"
MOST = 1_000


def answer(parts: Parts, request: falcon.Request, response: falcon.Response) -> None:
    """Answer with the events behind a position of one workspace's log, and how far the log goes."""
    credentials = parts.authentication.credentials(request)
    with parts.known_first(request, response, credentials):
        wanted, after, limit = _parse(request)
    request.context.workspace = wanted.workspace_id
    with parts.connection() as database:
        caller, page = feed.page(database, credentials, wanted, after, limit)
    require(parts.authentication.admit(request, response, credentials, caller), "read")
    if page is None:
        raise AccessDeniedError
    request.context.workspace = page.workspace_id
    if unchanged(request, response, tag(request, (page.workspace_id, page.head))):
        return
    last = page.rows[-1][0].position if page.rows else after
    events = [_told(row, recorded_at) for row, recorded_at in page.rows]
    response.content_type = falcon.MEDIA_JSON
    response.data = encode({"events": events, "position": last, "head": page.head})


def _parse(request: falcon.Request) -> tuple[Asked, int, int]:
    given = query(request, (WORKSPACE, AFTER, LIMIT))
    expected = f"expected a number from 1 to {MOST}"
    limit = number(LIMIT, given.get(LIMIT, str(MOST)), 1, expected)
    if limit > MOST:
        raise BadRequestError((LIMIT, expected))
    return asked(given, every=False), position(given, AFTER) or 0, limit


def _told(row: LogRow, recorded_at: int) -> dict[str, object]:
    told: dict[str, object] = {"position": row.position, "recorded_at": format_instant(recorded_at)}
    try:
        return {**told, **canonical(decode(row.topic, row.state))}
    except UndecodableError as error:  # a newer version's, or damaged: a gap would be taken for nothing
        return {**told, "error": str(error)}
