"""Rebuild a workspace's read models beside the live ones only to compare the two: what `replay --verify` reports."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from psycopg import IsolationLevel
from psycopg.sql import SQL

from domain.recorder import Database, Pool
from projections import marks
from projections.building import generations, set_aside
from projections.building.generations import SupersededError
from projections.building.replay import Progress, build_rows, catch_up
from projections.building.replay_by_parts import Build, Workers
from projections.metrics import FOLD_VERSION, MEASURES

_LIVE = SQL("SELECT generation, position, fold_version FROM projection WHERE workspace_id = %s")
# Both in one snapshot, and either way round, so a row too many is seen as well as a row too few.
_DIFFERENT_CAMPAIGNS = SQL("""
SELECT coalesce(a.campaign_id, b.campaign_id), a.name, a.status, a.totals, b.name, b.status, b.totals
FROM (SELECT * FROM campaign WHERE workspace_id = %(workspace_id)s AND generation = %(live)s) AS a
FULL JOIN (SELECT * FROM campaign WHERE workspace_id = %(workspace_id)s AND generation = %(rebuilt)s) AS b
    USING (workspace_id, campaign_id)
WHERE (a.about, a.name, a.status, a.totals, a.facts, a.counted)
    IS DISTINCT FROM (b.about, b.name, b.status, b.totals, b.facts, b.counted)
ORDER BY 1
""")
_DIFFERENT_DAYS = SQL("""
SELECT coalesce(a.campaign_id, b.campaign_id), date '1970-01-01' + coalesce(a.day, b.day)
FROM (SELECT * FROM campaign_activity WHERE workspace_id = %(workspace_id)s AND generation = %(live)s) AS a
FULL JOIN (SELECT * FROM campaign_activity WHERE workspace_id = %(workspace_id)s AND generation = %(rebuilt)s) AS b
    USING (workspace_id, campaign_id, day)
WHERE (a.sums, a.quarters) IS DISTINCT FROM (b.sums, b.quarters)
ORDER BY 1, 2
""")
_DIFFERENT_JOURNEYS = SQL("""
SELECT coalesce(a.campaign_id, b.campaign_id), coalesce(a.prospect_id, b.prospect_id)
FROM (SELECT * FROM journey WHERE workspace_id = %(workspace_id)s AND generation = %(live)s) AS a
FULL JOIN (SELECT * FROM journey WHERE workspace_id = %(workspace_id)s AND generation = %(rebuilt)s) AS b
    USING (workspace_id, campaign_id, prospect_id)
WHERE (a.facts, a.details) IS DISTINCT FROM (b.facts, b.details)
ORDER BY 1, 2
""")


def verify(pool: Pool, workspace_id: int, progress: Progress, workers: Workers | None = None) -> list[str]:
    """Rebuild a workspace's read models, compare them with the live ones, and return the differences as lines.

    Changes nothing. Raises FoldError where an event can't be folded, SupersededError, and WentBackError.
    """
    try:
        return _differences(pool, workspace_id, progress, workers)
    except LostEndError as error:
        return [str(error)]


def _differences(pool: Pool, workspace_id: int, progress: Progress, workers: Workers | None) -> list[str]:
    with rebuilt(pool, workspace_id, progress, workers) as rows:
        if rows.version != FOLD_VERSION:
            return [f"workspace {workspace_id}: its rows are of version {rows.version}, this is {FOLD_VERSION}"]
        execute = rows.database.execute
        return [
            *(_campaign_difference(workspace_id, *row) for row in execute(_DIFFERENT_CAMPAIGNS, rows.sides)),
            *(
                f"workspace {workspace_id} campaign {campaign_id} day {day}: the activity differs"
                for campaign_id, day in execute(_DIFFERENT_DAYS, rows.sides)
            ),
            *(
                f"workspace {workspace_id} campaign {campaign_id} prospect {prospect_id}: the journey differs"
                for campaign_id, prospect_id in execute(_DIFFERENT_JOURNEYS, rows.sides)
            ),
        ]


class LostEndError(Exception):
    """The log ends in front of what the live rows include."""

    def __init__(self, workspace_id: int, position: int, end: int) -> None:
        """Take the workspace, the position that its rows include, and the one at which its log ends."""
        super().__init__(f"workspace {workspace_id}: includes position {position}, but its log ends at {end}")


class Rebuilt(NamedTuple):
    """Rows built beside the live ones up to the same position: of which workspace, and both generations by name.

    `version` is the one of the fold that has made the live rows.
    """

    database: Database
    sides: dict[str, int]
    version: int


@contextmanager
def rebuilt(pool: Pool, workspace_id: int, progress: Progress, workers: Workers | None = None) -> Iterator[Rebuilt]:
    """Rebuild a workspace's read models and lend them, in one snapshot with the live ones; then they are swept.

    Raises FoldError where an event can't be folded, SupersededError, WentBackError and LostEndError.
    """
    with pool.connection() as database, generations.spare_rows(database, workspace_id) as rows:
        _, upto, _ = _live(database, workspace_id)
        forgotten = marks.forgotten_in(database, workspace_id)
        aside = set_aside.positions(database, workspace_id)
        build = Build(database, rows, aside, progress)
        reached = build_rows(workers or Workers(pool.connection), build, upto)
        if reached.position < upto:
            raise LostEndError(workspace_id, upto, reached.position)
        with one_snapshot(database):
            live, upto, version = _live(database, workspace_id)
            if set_aside.positions(database, workspace_id) != aside:
                raise SupersededError
            if marks.forgotten_in(database, workspace_id) != forgotten:
                raise SupersededError
            catch_up(build, reached, upto)
            sides = {"workspace_id": workspace_id, "live": live, "rebuilt": rows.generation}
            yield Rebuilt(database, sides, version)


def _live(database: Database, workspace_id: int) -> tuple[int, int, int]:
    """Return the live generation, its position and its fold version; a workspace not yet projected has no rows."""
    row = database.execute(_LIVE, (workspace_id,)).fetchone()
    return row or (0, 0, FOLD_VERSION)


@contextmanager
def one_snapshot(database: Database) -> Iterator[None]:
    """Let all statements meanwhile see one snapshot (REPEATABLE READ)."""
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
