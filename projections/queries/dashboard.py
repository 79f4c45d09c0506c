"""The main answer's read: the campaigns of the workspaces that a caller may see, with their numbers."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from psycopg.sql import SQL

from domain.citus import forms
from domain.recorder import Database
from projections.metrics import FOLD_VERSION, in_place
from projections.pipeline import Pipeline
from projections.queries.caller import Asked, Credentials, Sealed, parameters, rows_of
from projections.queries.standing import COLUMNS, OWN, Standing, State, asked_by_caller, standing_of
from projections.statements import Statement

# One statement, so one snapshot: the caller, the workspaces they may see, their positions, and the rows.
_ANSWER = SQL("""
{asked}
SELECT {columns}, r.ids, r.names, r.statuses, r.totals
FROM caller AS c
LEFT JOIN asked AS a ON true
LEFT JOIN LATERAL (
    SELECT array_agg(campaign_id) AS ids, array_agg(name) AS names, array_agg(status) AS statuses,
        array_agg(totals) AS totals
    FROM (
        SELECT campaign_id, name, status, totals FROM campaign
        WHERE workspace_id = a.workspace_id {campaign} AND generation = a.generation AND counted > 0
            AND a.generation || '.' || a.position || '.' || a.mark || '.' || a.epoch <> ALL (%(cached)s::text[])
        ORDER BY campaign_id LIMIT %(most)s::bigint
    ) AS ordered
) AS r ON true
ORDER BY a.workspace_id
""")
_READ = forms(lambda here: _ANSWER.format(asked=asked_by_caller(here), columns=COLUMNS, campaign=here("campaign")))
_SENT = Statement("dashboard", _READ.plain, routed=_READ.routed)
_MEASURES = SQL("SELECT measures FROM fold_version WHERE version = %s")
_PROJECTED = Statement(
    "projected", b"SELECT position, stuck_position FROM projection WHERE workspace_id = %(workspace_id)s"
)
MOST_ASKED = 200  # campaigns of a workspace that are read on the event loop's connection, which others share


class Workspace(NamedTuple):
    """One workspace's part of an answer: how far it goes, and its campaigns' rows; None where these are cached."""

    standing: Standing
    campaigns: list[tuple[int, str | None, str | None, tuple[int | None, ...]]] | None


def read(
    database: Database, credentials: Credentials, asked: Asked, cached: Collection[State] = ()
) -> Sealed[list[Workspace]]:
    """Return the campaigns of the asked workspaces, sorted by workspace and id, in one statement.

    The rows of a workspace whose state is in `cached` are not read.
    """
    rows = rows_of(database, _READ, credentials, asked, {**caching(cached), "most": None})
    return _sealed(database, asked, cached, rows)


async def ask(
    pipeline: Pipeline, credentials: Credentials, asked: Asked, cached: Collection[State] = ()
) -> Sealed[list[Workspace]] | None:
    """Return what `read` returns, by a connection of the event loop; raises what `Pipeline.rows` raises.

    None where a workspace has more than `MOST_ASKED` campaigns to be read, or rows of another version of the fold, and
    where Citus has to be asked more than once.
    """
    if asked.workspace_id is None and await pipeline.is_distributed():
        return None
    values = {**parameters(credentials, asked), **caching(cached), "most": MOST_ASKED + 1}
    rows = await pipeline.rows(_SENT, values)
    if any(row[OWN] and (row[OWN - 1] != FOLD_VERSION or len(row[OWN]) > MOST_ASKED) for row in rows):
        return None
    return _sealed(None, asked, cached, rows)


async def ask_how_far(pipeline: Pipeline, workspace_id: int) -> tuple[int, bool]:
    """Return the position that the read models of a workspace include, and whether they are stuck there."""
    rows = await pipeline.rows(_PROJECTED, {"workspace_id": workspace_id})
    return (rows[0][0], rows[0][1] is not None) if rows else (0, False)


def _sealed(
    database: Database | None, asked: Asked, cached: Collection[State], rows: Sequence[Sequence[Any]]
) -> Sealed[list[Workspace]]:
    if not rows:
        return Sealed(None, None)
    workspaces = [_workspace(database, cached, standing, *row[OWN:]) for row in rows if (standing := standing_of(row))]
    return Sealed(rows[0], workspaces if workspaces or asked.every else None)


def caching(cached: Collection[State]) -> dict[str, object]:
    """Return the parameter with the cached states, as text of a PostgreSQL array, which is fastest to compose."""
    return {"cached": f"{{{','.join(map(_named, cached))}}}"}


def _named(state: State) -> str:
    return f"{state.generation}.{state.position}.{state.mark}.{state.epoch}"


def totals_in_place(
    database: Database, fold_version: int, totals: Iterable[Sequence[int | None]]
) -> list[list[int | None]]:
    """Return the sums of rows that another version of the fold has written in this one's order."""
    [(measures,)] = database.execute(_MEASURES, (fold_version,)).fetchall()
    return [in_place(each, measures) for each in totals]


def _workspace(  # noqa: PLR0913 (a row of the statement)
    database: Database | None,
    cached: Collection[State],
    standing: Standing,
    ids: list[int] | None,
    names: list[str | None],
    statuses: list[str | None],
    totals: list[list[int]],
) -> Workspace:
    sums: Sequence[Sequence[int | None]] = totals
    if ids and standing.fold_version != FOLD_VERSION:  # until they are rebuilt
        assert database is not None  # the event loop leaves such rows to a thread
        sums = totals_in_place(database, standing.fold_version, totals)
    rows = list(zip(ids, names, statuses, map(tuple, sums), strict=True)) if ids else []
    return Workspace(standing, None if standing.state in cached else rows)
