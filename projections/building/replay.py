"""Rebuild a workspace's read models from its log beside the live ones, and put them in their place at one stroke.

Readers see the old rows until that commit and the new ones after it, writers never wait, and a replay that is
interrupted anywhere leaves the old rows live; the next one deletes the rows that it had written.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Event
from typing import NamedTuple

from psycopg import Error, IsolationLevel, OperationalError
from psycopg.sql import SQL, Literal
from psycopg_pool import PoolClosed

from domain import ledger
from domain.recorder import Database, Pool, head_of
from projections import marks
from projections.building import epochs, generations, replay_by_parts, set_aside
from projections.building.batch import FoldError, sort
from projections.building.fold import ReadRows, fold
from projections.building.generations import SupersededError
from projections.building.replay_by_parts import Build, NoRoomError, Workers
from projections.marks import START, Mark, WentBackError
from projections.metrics import FOLD_VERSION, MEASURES
from projections.trouble import Trouble

NEARLY_THERE = 2_000  # events that the last step, for which the projector waits, may have to fold
CATCH_UP = 20_000  # events that are folded at once of those appended meanwhile
TOGETHER = 50_000  # events of small workspaces that are one task of a worker
POLL_SECONDS = 5.0  # between two polls for workspaces of an older version of the fold, and for rows to be swept
RETRY_SECONDS = 60.0  # a workspace that can't be rebuilt is tried again

logger = logging.getLogger(__name__)

_WORKSPACES = SQL("SELECT workspace_id, head FROM log_head WHERE workspace_id > 0 AND head > 0 ORDER BY workspace_id")
_LOCK = SQL("SELECT generation FROM projection WHERE workspace_id = %s FOR UPDATE")
_OLDER = SQL("""
SELECT p.workspace_id FROM projection AS p LEFT JOIN log_head AS h USING (workspace_id)
WHERE (p.fold_version < {version} OR p.lost_at IS NOT NULL AND p.fold_version = {version})
    AND p.workspace_id <> ALL(%s::bigint[]) AND NOT EXISTS (
    SELECT FROM spare_generation AS s WHERE s.workspace_id = p.workspace_id AND s.leased_until > clock_timestamp()
)
ORDER BY h.head LIMIT 1
""").format(version=Literal(FOLD_VERSION))
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

Progress = Callable[[int], object]  # is called with how many more events are folded
_Connect = Callable[[], AbstractContextManager[Database]]


class Failure(NamedTuple):
    """A workspace that keeps its old rows, and the event that can't be folded."""

    workspace_id: int
    position: int
    reason: str


def workspaces(pool: Pool) -> list[tuple[int, int]]:
    """Return each workspace that has a log, with the log's head."""
    with pool.connection() as database:
        return [(workspace_id, head) for workspace_id, head in database.execute(_WORKSPACES)]


def require_room(heads: Iterable[tuple[int, int]]) -> None:
    """Raise NoRoomError where there is no room for a replay of these workspaces, given with their heads."""
    replay_by_parts.require_room(max((head for _, head in heads if head > NEARLY_THERE), default=0))


def replay_all(pool: Pool, heads: Iterable[tuple[int, int]], progress: Progress, workers: Workers) -> Iterator[Failure]:
    """Replay workspaces, pairs of id and head, and yield those that can't be; small ones many at a time.

    Runs in the first process and hands tasks to `workers`. Raises SupersededError.
    """
    small: list[list[tuple[int, int]]] = []
    large = []
    together = TOGETHER
    for workspace_id, head in heads:
        if head > NEARLY_THERE:
            large.append(workspace_id)
            continue
        if together >= TOGETHER:
            small.append([])
            together = 0
        small[-1].append((workspace_id, head))
        together += max(head, TOGETHER // 500)
    for events, failures in workers.map(_replay_group, [(workers.connect, group) for group in small]):
        progress(events)
        yield from failures
    for workspace_id in large:
        try:
            replay(pool, workspace_id, progress, workers)
        except FoldError as error:
            yield Failure(workspace_id, error.position, error.reason)


def replay(
    pool: Pool, workspace_id: int, progress: Progress, workers: Workers | None = None, *, taken_back: int | None = None
) -> int:
    """Rebuild a workspace's read models from its log; return the position that they include.

    With `taken_back` the event at that position is no longer set aside. Raises FoldError, the old rows still live,
    where an event can't be folded, SupersededError, and WentBackError.
    """
    with pool.connection() as database:
        generations.declare(database)
        if head_of(database, workspace_id) <= NEARLY_THERE:
            return _replay_at_once(database, workspace_id, progress, taken_back)
        aside = set_aside.positions(database, workspace_id)
        forgotten = marks.forgotten_in(database, workspace_id)
        with generations.spare_rows(database, workspace_id) as rows:
            build = Build(database, rows, aside - {taken_back}, progress)
            reached = _build(workers or Workers(pool.connection), build)
            with database.transaction():
                old_generation = _locked(database, workspace_id)
                if set_aside.positions(database, workspace_id) != aside:
                    raise SupersededError
                if marks.forgotten_in(database, workspace_id) != forgotten:
                    raise SupersededError
                reached = _catch_up(build, reached, head_of(database, workspace_id))
                generations.switch(database, rows, old_generation, reached)
                if taken_back is not None:
                    set_aside.remove(database, workspace_id, taken_back)
    return reached.position


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
        reached = _build(workers or Workers(pool.connection), build, upto)
        if reached.position < upto:
            raise LostEndError(workspace_id, upto, reached.position)
        with one_snapshot(database):
            live, upto, version = _live(database, workspace_id)
            if set_aside.positions(database, workspace_id) != aside:
                raise SupersededError
            if marks.forgotten_in(database, workspace_id) != forgotten:
                raise SupersededError
            _catch_up(build, reached, upto)
            sides = {"workspace_id": workspace_id, "live": live, "rebuilt": rows.generation}
            yield Rebuilt(database, sides, version)


def keep_current(pool: Pool, stop: Event) -> None:
    """Rebuild workspaces of an older version of the fold, or whose log went back, and sweep, until `stop` is set.

    The smallest come first, those of a newer version are left alone. Runs in a thread of its own beside the projector.
    What the database refuses is retried, and so is, later, a workspace that can't be rebuilt for whatever reason.
    """
    waiting = Trouble(logger, "rebuilding waits for the database", "rebuilding goes on")
    failed: list[int] = []
    waited = 0.0
    while not stop.is_set():
        try:
            epochs.notice(pool)
            with pool.connection() as database:
                older = database.execute(_OLDER, (failed,)).fetchone()
            waiting.over()
            if older is None:
                generations.sweep(pool)
            else:
                _rebuild(pool, older[0], failed, stop)
                continue
        except PoolClosed:
            raise
        except Error as error:
            if error.sqlstate is not None:  # else it is away, which is logged where connections are made
                waiting.met(error)
        stop.wait(POLL_SECONDS)
        waited += POLL_SECONDS
        if waited >= RETRY_SECONDS:
            failed, waited = [], 0.0


class _StoppedError(Exception):
    """The program is to end."""


def _rebuild(pool: Pool, workspace_id: int, failed: list[int], stop: Event) -> None:
    def go_on(_: int) -> None:
        if stop.is_set():
            raise _StoppedError

    try:
        position = replay(pool, workspace_id, go_on)
    except _StoppedError:
        logger.info("rebuilding workspace %s was interrupted; it is begun again at the next start", workspace_id)
    except (FoldError, NoRoomError) as error:
        if isinstance(error, NoRoomError) or not _begin_again(pool, workspace_id, error):
            logger.error(  # noqa: TRY400 (it is no bug of ours, and the event is named)
                "workspace %s stays at an older version of the fold: %s", workspace_id, error
            )
            failed.append(workspace_id)
    except (SupersededError, WentBackError) as error:
        logger.warning("workspace %s is to be rebuilt again: %s", workspace_id, error)
    except OperationalError:
        raise
    except Exception:
        logger.exception("workspace %s stays at an older version of the fold", workspace_id)
        failed.append(workspace_id)
    else:
        logger.info("workspace %s was rebuilt up to position %s", workspace_id, position)


def _begin_again(pool: Pool, workspace_id: int, error: FoldError) -> bool:
    """Let a lost workspace be projected anew, as far as it can be, where it can't be rebuilt as a whole."""
    with pool.connection() as database:
        lost = generations.begin_again(database, workspace_id)
    if lost:
        logger.warning("workspace %s can't be rebuilt as a whole, and is projected anew: %s", workspace_id, error)
    return lost


def _replay_group(work: tuple[_Connect, list[tuple[int, int]]]) -> tuple[int, list[Failure]]:
    """Replay small workspaces, in a worker process; return how many events they have, and which can't be replayed."""
    connect, group = work
    failures = []
    with connect() as database:
        generations.declare(database)
        for workspace_id, _ in group:
            try:
                _replay_at_once(database, workspace_id, lambda _: None)
            except FoldError as error:
                failures.append(Failure(workspace_id, error.position, error.reason))
    return sum(head for _, head in group), failures


def _replay_at_once(database: Database, workspace_id: int, progress: Progress, taken_back: int | None = None) -> int:
    """Rebuild a small workspace in one transaction, for which its projector waits."""
    rows = ReadRows(workspace_id, generations.new_generation())
    with database.transaction():
        database.execute(generations.NO_WAIT_FOR_DISK)
        old_generation = _locked(database, workspace_id)
        aside = set_aside.positions(database, workspace_id) - {taken_back}
        reached = marks.reach(database, workspace_id, START, head_of(database, workspace_id))
        log = ledger.read_plain(database, workspace_id, after=0, upto=reached.position, limit=reached.position)
        fold(database, rows, sort(log, aside), empty=True)
        generations.switch_at_once(database, rows, old_generation, reached)
        if taken_back is not None:
            set_aside.remove(database, workspace_id, taken_back)
    progress(reached.position)
    return reached.position


def _locked(database: Database, workspace_id: int) -> int:
    """Lock a workspace's projection, made here where there is none; return the live generation."""
    row = database.execute(_LOCK, (workspace_id,)).fetchone()
    if row is None:
        generations.begin(database, workspace_id)
        row = database.execute(_LOCK, (workspace_id,)).fetchone()
    assert row is not None  # it is never deleted
    return int(row[0])


def _live(database: Database, workspace_id: int) -> tuple[int, int, int]:
    """Return the live generation, its position and its fold version; a workspace not yet projected has no rows."""
    row = database.execute(_LIVE, (workspace_id,)).fetchone()
    return row or (0, 0, FOLD_VERSION)


def _build(workers: Workers, build: Build, upto: int | None = None) -> Mark:
    """Fold the log into the spare rows, with no lock held, until little of it is left; return how far that is."""
    database, workspace_id = build.database, build.rows.workspace_id
    reached = marks.reach(database, workspace_id, START, head_of(database, workspace_id) if upto is None else upto)
    replay_by_parts.rebuild(workers, build, reached.position)
    if upto is None:
        while (end := head_of(database, workspace_id)) - reached.position > NEARLY_THERE:
            reached = _catch_up(build, reached, end)
    return reached


def _catch_up(build: Build, reached: Mark, upto: int) -> Mark:
    """Fold what has come since, up to a position; raise WentBackError where what was folded is no longer the log's."""
    database, rows, aside, progress = build
    while reached.position < upto:
        end = marks.reach(database, rows.workspace_id, reached, min(upto, reached.position + CATCH_UP))
        if end == reached:
            raise WentBackError  # the log ends in front of its head
        generations.extend(database, rows, reached.position, upto)
        with database.transaction():
            database.execute(generations.NO_WAIT_FOR_DISK)
            generations.hold(database, rows)
            log = ledger.read_plain(
                database, rows.workspace_id, after=reached.position, upto=end.position, limit=CATCH_UP
            )
            fold(database, rows, sort(log, aside))
        progress(end.position - reached.position)
        reached = end
    return reached


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
