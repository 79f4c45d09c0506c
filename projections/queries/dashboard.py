"""What the dashboard reads: the campaigns of the workspaces that a caller may see, with their numbers."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from psycopg.sql import SQL, Literal

from domain.recorder import Database
from projections.metrics import FOLD_VERSION, analytics, in_place
from projections.pipeline import Pipeline, Statement
from projections.queries.caller import SEEN, Asked, Caller, Credentials, parameters

# One statement, so one snapshot: who is calling, what they may see, how far it is projected, and the rows.
_ANSWER = SQL("""
{seen}
SELECT c.user_id, c.secret_sha256, c.scopes, c.expires_at,
    s.workspace_id, coalesce(h.head, 0), coalesce(p.generation, 0), coalesce(p.position, 0), p.stuck_position,
    coalesce(p.fold_version, {version}), r.ids, r.names, r.statuses, r.totals
FROM caller AS c
LEFT JOIN seen AS s ON true
LEFT JOIN log_head AS h ON h.workspace_id = s.workspace_id
LEFT JOIN projection AS p ON p.workspace_id = s.workspace_id
LEFT JOIN LATERAL (
    SELECT array_agg(campaign_id) AS ids, array_agg(name) AS names, array_agg(status) AS statuses,
        array_agg(totals) AS totals
    FROM (
        SELECT campaign_id, name, status, totals FROM campaign
        WHERE workspace_id = p.workspace_id AND generation = p.generation
            AND p.generation || '.' || p.position <> ALL (%(held)s::text[])
        ORDER BY campaign_id LIMIT %(most)s::bigint
    ) AS ordered
) AS r ON true
ORDER BY s.workspace_id
""")
_READ = _ANSWER.format(seen=SEEN, version=Literal(FOLD_VERSION)).as_bytes()
_SENT = Statement("dashboard", _READ)
_MEASURES = SQL("SELECT measures FROM fold_version WHERE version = %s")
_PROJECTED = Statement(
    "projected", b"SELECT position, stuck_position FROM projection WHERE workspace_id = %(workspace_id)s"
)
MOST_ASKED = 200  # campaigns of a workspace that are read on the event loop's connection, which others share


class Held(NamedTuple):
    """What decides what the campaigns of a workspace are."""

    workspace_id: int
    generation: int
    position: int


class Workspace(NamedTuple):
    """One workspace's part of an answer: how far it goes, and its campaigns' rows; None where the caller has them."""

    workspace_id: int
    head: int
    generation: int
    position: int
    stuck: bool
    campaigns: list[tuple[int, str | None, str | None, tuple[int | None, ...]]] | None


class Answer(NamedTuple):
    """Who is calling (None: no such key), and what they asked for, as far as they may see it."""

    caller: Caller | None
    workspaces: list[Workspace]


def read(database: Database, credentials: Credentials, asked: Asked, held: Collection[Held] = ()) -> Answer:
    """Return the campaigns of the asked workspaces, sorted by workspace and id, in one statement.

    Those of a workspace that is as in `held` are not read again.
    The caller of this function must compare the key's secret before it uses or shows anything else of the answer.
    """
    with database.cursor(binary=True) as cursor:
        rows = cursor.execute(_READ, _given(credentials, asked, held)).fetchall()
    return _answer(database, held, rows)


async def ask(pipeline: Pipeline, credentials: Credentials, asked: Asked, held: Collection[Held] = ()) -> Answer | None:
    """Return what `read` returns, by a connection of the event loop; raises what `Pipeline.rows` raises.

    None where a workspace has more than `MOST_ASKED` campaigns to be read, or rows of another version of the fold.
    """
    rows = await pipeline.rows(_SENT, _given(credentials, asked, held, MOST_ASKED + 1))
    if any(row[10] and (row[9] != FOLD_VERSION or len(row[10]) > MOST_ASKED) for row in rows):
        return None
    return _answer(None, held, rows)


async def ask_how_far(pipeline: Pipeline, workspace_id: int) -> tuple[int, bool]:
    """Return the position that the read models of a workspace include, and whether they are stuck there."""
    rows = await pipeline.rows(_PROJECTED, {"workspace_id": workspace_id})
    return (rows[0][0], rows[0][1] is not None) if rows else (0, False)


def _given(
    credentials: Credentials, asked: Asked, held: Collection[Held], most: int | None = None
) -> dict[str, object]:
    return {**parameters(credentials, asked), **holding(held), "most": most}


def _answer(database: Database | None, held: Collection[Held], rows: Sequence[Sequence[Any]]) -> Answer:
    if not rows:
        return Answer(None, [])
    workspaces = [_workspace(database, held, *row[4:]) for row in rows if row[4] is not None]
    return Answer(Caller(*rows[0][:4]), workspaces)


def holding(held: Collection[Held]) -> dict[str, object]:
    """Return the parameter that says what need not be read again, as PostgreSQL writes arrays: that is made fastest."""
    return {"held": f"{{{','.join([f'{each.generation}.{each.position}' for each in held])}}}"}


def totals_in_place(
    database: Database, fold_version: int, totals: Iterable[Sequence[int | None]]
) -> list[list[int | None]]:
    """Return the sums of rows that another version of the fold has written in this one's order."""
    [(measures,)] = database.execute(_MEASURES, (fold_version,)).fetchall()
    return [in_place(each, measures) for each in totals]


def body(workspaces: list[Workspace]) -> dict[str, object]:
    """Return the answer as JSON has it, in order of the keys."""
    return {"campaigns": [campaign for workspace in workspaces for campaign in campaigns(workspace)]}


def campaigns(workspace: Workspace) -> list[dict[str, object]]:
    """Return the campaigns of a workspace as JSON has them, in order of the keys."""
    return [campaign(workspace.workspace_id, *row) for row in workspace.campaigns or ()]


def campaign(
    workspace_id: int, campaign_id: int, name: str | None, status: str | None, totals: Sequence[int | None]
) -> dict[str, object]:
    """Return a campaign as JSON has it, in order of the keys."""
    return {
        "id": campaign_id,
        "name": name or f"Campaign {campaign_id}",
        "status": status or "UNKNOWN",
        "workspace_id": workspace_id,
        "analytics": analytics(totals),
    }


def _workspace(  # noqa: PLR0913 (a row of the statement)
    database: Database | None,
    held: Collection[Held],
    workspace_id: int,
    head: int,
    generation: int,
    position: int,
    stuck_position: int | None,
    fold_version: int,
    ids: list[int] | None,
    names: list[str | None],
    statuses: list[str | None],
    totals: list[list[int]],
) -> Workspace:
    told: Sequence[Sequence[int | None]] = totals
    if ids and fold_version != FOLD_VERSION:  # until they are rebuilt
        assert database is not None  # the event loop leaves such rows to a thread
        told = totals_in_place(database, fold_version, totals)
    rows = list(zip(ids, names, statuses, map(tuple, told), strict=True)) if ids else []
    known = Held(workspace_id, generation, position) in held
    return Workspace(workspace_id, head, generation, position, stuck_position is not None, None if known else rows)
