"""The latest rejected events of a workspace: written by the ingest, shown to callers who may read there."""

from collections.abc import Sequence
from typing import NamedTuple

from psycopg.sql import SQL

from domain.citus import forms
from domain.recorder import Database
from projections.queries.caller import CALLER, SEEN, Asked, Credentials, Sealed, rows_of

MOST_REJECTIONS = 1_000  # of each workspace

_KEEP = SQL("""
INSERT INTO rejected_event AS e (workspace_id, at, id, source, code, error)
SELECT %(workspace_id)s::bigint, %(at)s::bigint, r.id, r.source, r.code, r.error
FROM unnest(%(ids)s::text[], %(sources)s::text[], %(codes)s::text[], %(errors)s::text[])
    WITH ORDINALITY AS r (id, source, code, error, place)
ORDER BY r.place
""")
_FORGET = SQL("""
DELETE FROM rejected_event WHERE workspace_id = %(workspace_id)s AND number <= (
    SELECT number FROM rejected_event WHERE workspace_id = %(workspace_id)s ORDER BY number DESC OFFSET %(most)s LIMIT 1
)
""")
_LATEST = SQL("""
{seen}
SELECT {caller}, s.workspace_id, r.at, r.id, r.source, r.code, r.error
FROM caller AS c
LEFT JOIN seen AS s ON true
LEFT JOIN LATERAL (
    SELECT number, at, id, source, code, error FROM rejected_event AS e WHERE e.workspace_id = s.workspace_id {e}
    ORDER BY number DESC LIMIT %(most)s
) AS r ON true
ORDER BY r.number DESC
""")
_FORMS = forms(lambda here: _LATEST.format(seen=SEEN, caller=CALLER, e=here("e")))


class Rejection(NamedTuple):
    """An event that was refused: when (ms, UTC), its `id` and `source` as far as they are valid themselves, and why."""

    at: int
    id: str | None
    source: str | None
    code: str
    error: str


def keep(database: Database, workspace_id: int, rejections: Sequence[Rejection]) -> None:
    """Insert rejections of one time, in their order, and delete those that are no longer among the latest."""
    latest = rejections[-MOST_REJECTIONS:]
    if not latest:
        return
    at, ids, sources, codes, errors = zip(*latest, strict=True)
    columns = {"ids": list(ids), "sources": list(sources), "codes": list(codes), "errors": list(errors)}
    with database.transaction():
        database.execute(_KEEP, {"workspace_id": workspace_id, "at": at[0], **columns})
        database.execute(_FORGET, {"workspace_id": workspace_id, "most": MOST_REJECTIONS})


def latest(database: Database, credentials: Credentials, asked: Asked) -> Sealed[tuple[int, list[Rejection]]]:
    """Return the asked workspace and its latest rejections, newest first."""
    rows = rows_of(database, _FORMS, credentials, asked, {"most": MOST_REJECTIONS})
    if not rows or rows[0][4] is None:
        return Sealed(rows[0] if rows else None, None)
    return Sealed(rows[0], (rows[0][4], [Rejection(*row[5:]) for row in rows if row[5] is not None]))
