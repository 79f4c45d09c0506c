"""Rebuild a workspace's read models from its log beside the live ones, and put them in their place at one stroke.

Readers see the old rows until that commit and the new ones after it, writers never wait, and a replay that is
interrupted anywhere leaves the old rows alive; what it has left behind is deleted by the next one.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from psycopg import IsolationLevel
from psycopg.sql import SQL, Literal

from domain import ledger
from domain.recorder import Database, Pool, head_of
from projections import projector
from projections.fold import Rows, fold
from projections.metrics import FOLD_VERSION, MEASURES

BATCH = 250_000  # events folded at once; bounds the memory
NEARLY_THERE = 2_000  # events that the last step, which holds the projector up, may have to fold
LEASE = "10 minutes"
_DELETED_AT_ONCE = 20_000  # rows

_WORKSPACES = SQL("SELECT workspace_id, head FROM log_head WHERE workspace_id > 0 AND head > 0 ORDER BY workspace_id")
_REGISTER = SQL("""
INSERT INTO spare_generation (workspace_id, generation, leased_until)
VALUES (%s, %s, clock_timestamp() + {lease}::interval)
""").format(lease=Literal(LEASE))
_EXTEND = SQL("""
UPDATE spare_generation SET leased_until = clock_timestamp() + {lease}::interval
WHERE workspace_id = %s AND generation = %s
""").format(lease=Literal(LEASE))
_EXPIRE = SQL("""
UPDATE spare_generation SET leased_until = '-infinity' WHERE workspace_id = %s AND generation = %s
""")
_UNREGISTER = SQL("DELETE FROM spare_generation WHERE workspace_id = %s AND generation = %s")
_RETIRE = SQL("INSERT INTO spare_generation (workspace_id, generation, leased_until) VALUES (%s, %s, '-infinity')")
_LOCK = SQL("SELECT generation, position FROM projection WHERE workspace_id = %s FOR UPDATE")
_SWITCH = SQL("""
UPDATE projection SET generation = %(generation)s, position = %(position)s, fold_version = {version},
    projected_at = clock_timestamp(), replayed_at = clock_timestamp(), stuck_position = NULL, stuck_reason = NULL
WHERE workspace_id = %(workspace_id)s
""").format(version=Literal(FOLD_VERSION))
_EXPIRED = SQL("SELECT workspace_id, generation FROM spare_generation WHERE leased_until < clock_timestamp()")
_DELETE = {
    table: SQL("""
DELETE FROM {table} WHERE ctid IN (
    SELECT ctid FROM {table} WHERE workspace_id = %(workspace_id)s AND generation = %(generation)s LIMIT {limit}
) AND workspace_id = %(workspace_id)s
""").format(table=SQL(table), limit=Literal(_DELETED_AT_ONCE))
    for table in ("journey", "campaign")
}
_LIVE = SQL("SELECT generation, position, fold_version FROM projection WHERE workspace_id = %s")
# Both in one snapshot, and either way round, so a row too many is seen as well as a row too few.
_DIFFERENT_CAMPAIGNS = SQL("""
SELECT coalesce(a.campaign_id, b.campaign_id), a.name, a.status, a.totals, b.name, b.status, b.totals
FROM (SELECT * FROM campaign WHERE workspace_id = %(workspace_id)s AND generation = %(live)s) AS a
FULL JOIN (SELECT * FROM campaign WHERE workspace_id = %(workspace_id)s AND generation = %(rebuilt)s) AS b
    USING (workspace_id, campaign_id)
WHERE (a.about, a.name, a.status, a.totals) IS DISTINCT FROM (b.about, b.name, b.status, b.totals)
ORDER BY 1
""")
_DIFFERENT_JOURNEYS = SQL("""
SELECT coalesce(a.campaign_id, b.campaign_id), coalesce(a.prospect_id, b.prospect_id)
FROM (SELECT * FROM journey WHERE workspace_id = %(workspace_id)s AND generation = %(live)s) AS a
FULL JOIN (SELECT * FROM journey WHERE workspace_id = %(workspace_id)s AND generation = %(rebuilt)s) AS b
    USING (workspace_id, campaign_id, prospect_id)
WHERE a.facts IS DISTINCT FROM b.facts
ORDER BY 1, 2
""")

Progress = Callable[[int], object]  # told of so many more events folded


class SupersededError(Exception):
    """A replay paused for so long that its rows were taken for left behind; the live ones were not touched."""

    def __init__(self) -> None:
        """Say so."""
        super().__init__(self.__doc__)


def workspaces(pool: Pool) -> list[tuple[int, int]]:
    """Return each workspace that has a log, with the log's head."""
    with pool.connection() as database:
        return [(workspace_id, head) for workspace_id, head in database.execute(_WORKSPACES)]


def replay(pool: Pool, workspace_id: int, progress: Progress) -> int:
    """Rebuild a workspace's read models from its log; return the position that they include.

    Raises FoldError, the old rows still alive, where a fact can't be folded.
    """
    with _spare_rows(pool, workspace_id) as (database, rows):
        position = _build(database, rows, progress)
        database.execute(projector.BEGIN, (workspace_id, projector.new_generation()))
        with database.transaction():
            old = database.execute(_LOCK, (workspace_id,)).fetchone()
            assert old is not None  # made just now, and never deleted
            old_generation, old_position = old
            upto = max(old_position, head_of(database, workspace_id))
            position = _fold_upto(database, rows, position, upto, progress)
            if database.execute(_UNREGISTER, rows).rowcount != 1:
                raise SupersededError
            database.execute(_RETIRE, (workspace_id, old_generation))
            database.execute(_SWITCH, {**rows._asdict(), "position": position})
    return position


def verify(pool: Pool, workspace_id: int, progress: Progress) -> list[str]:
    """Rebuild a workspace's read models, compare them with the live ones, and return the differences as lines.

    Changes nothing. Raises FoldError where a fact can't be folded.
    """
    with _spare_rows(pool, workspace_id) as (database, rows):
        _, upto, _ = _live(database, workspace_id)
        position = _build(database, rows, progress, upto=upto)
        with _one_snapshot(database):
            live, upto, version = _live(database, workspace_id)
            if version != FOLD_VERSION:
                return [f"workspace {workspace_id}: its rows are of version {version}, this is {FOLD_VERSION}"]
            _fold_upto(database, rows, position, upto, progress)
            compared = {"workspace_id": workspace_id, "live": live, "rebuilt": rows.generation}
            return [
                *(_campaign_difference(workspace_id, *row) for row in database.execute(_DIFFERENT_CAMPAIGNS, compared)),
                *(
                    f"workspace {workspace_id} campaign {campaign_id} prospect {prospect_id}: the journey differs"
                    for campaign_id, prospect_id in database.execute(_DIFFERENT_JOURNEYS, compared)
                ),
            ]


def sweep(pool: Pool) -> None:
    """Delete, in small steps, the read rows of generations that nobody reads or builds any more."""
    with pool.connection() as database:
        for workspace_id, generation in database.execute(_EXPIRED).fetchall():
            for delete in _DELETE.values():
                while database.execute(delete, {"workspace_id": workspace_id, "generation": generation}).rowcount:
                    pass
            database.execute(_UNREGISTER, (workspace_id, generation))


def _live(database: Database, workspace_id: int) -> tuple[int, int, int]:
    """Return the live generation, its position and its fold version; a workspace not yet projected has no rows."""
    row = database.execute(_LIVE, (workspace_id,)).fetchone()
    return row or (0, 0, FOLD_VERSION)


def _build(database: Database, rows: Rows, progress: Progress, *, upto: int | None = None) -> int:
    """Fold the log into the spare rows, with no lock held, until little of it is left; return the position reached."""
    position = 0
    while (end := head_of(database, rows.workspace_id) if upto is None else upto) - position > (
        NEARLY_THERE if upto is None else 0
    ):
        position = _fold_upto(database, rows, position, end, progress)
    return position


def _fold_upto(database: Database, rows: Rows, position: int, upto: int, progress: Progress) -> int:
    while position < upto:
        end = min(upto, position + BATCH)
        with database.transaction():
            database.execute(projector.NO_WAIT_FOR_DISK)
            if database.execute(_EXTEND, rows).rowcount != 1:
                raise SupersededError
            log = ledger.scan(database, rows.workspace_id, after=position, upto=end)
            fold(database, rows, log, empty=position == 0)
        progress(end - position)
        position = end
    return position


@contextmanager
def _spare_rows(pool: Pool, workspace_id: int) -> Iterator[tuple[Database, Rows]]:
    """Lend a generation that nobody reads; whatever of it is not live at the end may be swept away."""
    rows = Rows(workspace_id, projector.new_generation())
    with pool.connection() as database:
        database.execute(_REGISTER, rows)
        try:
            yield database, rows
        finally:
            if not database.broken:
                database.execute(_EXPIRE, rows)


@contextmanager
def _one_snapshot(database: Database) -> Iterator[None]:
    database.isolation_level = IsolationLevel.REPEATABLE_READ
    try:
        with database.transaction():
            yield
    finally:
        database.isolation_level = None


def _campaign_difference(  # noqa: PLR0913 (two rows side by side)
    workspace_id: int,
    campaign_id: int,
    live_name: str | None,
    live_status: str | None,
    live_totals: list[int] | None,
    name: str | None,
    status: str | None,
    totals: list[int] | None,
) -> str:
    where = f"workspace {workspace_id} campaign {campaign_id}"
    if live_totals is None or totals is None:
        return f"{where}: is only {'in the log' if live_totals is None else 'live'}"
    pairs = [("name", live_name, name), ("status", live_status, status)]
    pairs += [(m.name, one, other) for m, one, other in zip(MEASURES, live_totals, totals, strict=False)]  # type: ignore[misc]
    differing = [f"{what} is {live}, rebuilt {rebuilt}" for what, live, rebuilt in pairs if live != rebuilt]
    return f"{where}: {'; '.join(differing) or 'what is known of it differs'}"
