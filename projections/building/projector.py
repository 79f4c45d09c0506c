"""The projector: follows every workspace's log, a batch at a time, and never lets one workspace hold up another.

Any number of projectors may run: the one that locks a workspace's `projection` row folds its next batch, the others
go on with the next workspace.
"""

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event
from typing import NamedTuple

from psycopg import Error, OperationalError
from psycopg.sql import SQL, Literal
from psycopg_pool import PoolClosed

from domain import ledger
from domain.ledger import LogRow
from domain.recorder import Database, Pool
from projections.building import generations, set_aside, wakeup
from projections.building.batch import Batch, EventsByJourney, FoldError, sort
from projections.building.fold import ReadRows, fold
from projections.metrics import FOLD_VERSION
from projections.trouble import Trouble

BATCH = 5_000  # events of one workspace while others are behind too
SOLO_BATCH_FACTOR = 4  # batch size when no other workspace is behind
POLL_SECONDS = 0.5  # between two polls without a hint
RETRY_SECONDS = 1.0  # after the database has failed
STUCK_RETRY_SECONDS = 5
MOST_REASON = 500  # characters that are kept of an exception

END_OF_LOG = 2**63 - 1

logger = logging.getLogger(__name__)

# No lock is taken here. The workspace that was served longest ago comes first, so none starves.
_BEHIND = SQL("""
SELECT h.workspace_id, p.workspace_id IS NULL, p.stuck_position IS NOT NULL
FROM log_head AS h LEFT JOIN projection AS p USING (workspace_id)
WHERE h.workspace_id > 0 AND h.head > coalesce(p.position, 0) AND coalesce(p.fold_version, {version}) = {version}
    AND (p.stuck_position IS NULL OR p.projected_at < clock_timestamp() - make_interval(secs => {retry}))
ORDER BY p.projected_at NULLS FIRST
""").format(version=Literal(FOLD_VERSION), retry=Literal(STUCK_RETRY_SECONDS))
_LOCK = SQL("""
SELECT generation, position, stuck_position FROM projection
WHERE workspace_id = %s AND fold_version = {version} FOR UPDATE SKIP LOCKED
""").format(version=Literal(FOLD_VERSION))
_MOVE = SQL("""
UPDATE projection SET position = %(position)s, projected_at = clock_timestamp(),
    rate = coalesce(nullif(%(position)s - position, 0)
        / greatest(extract(epoch FROM clock_timestamp() - now()), 0.001), rate),
    stuck_position = %(stuck_position)s, stuck_topic = %(stuck_topic)s, stuck_reason = %(stuck_reason)s
WHERE workspace_id = %(workspace_id)s
""")


class _Prefetched(NamedTuple):
    """A batch that was read and sorted while PostgreSQL was busy with the one before."""

    key: tuple[int, int, frozenset[int]]  # the workspace, the position before it, what is set aside
    log: list[LogRow]
    batch: Batch[EventsByJourney]


class Projector:
    """Folds new events into the read models, in one thread, until it is stopped."""

    def __init__(
        self,
        pool: Pool,
        *,
        batch: int = BATCH,
        moved: Callable[[int], None] = lambda _: None,
        looked: Callable[[], None] = lambda: None,
    ) -> None:
        """Take the pool, of which it borrows two connections, and how many events it folds at once.

        Both are called in the thread that runs the projector: `moved` with the workspace's id after each commit of a
        batch, `looked` after each poll.
        """
        self._moved = moved
        self._looked = looked
        self._pool = pool
        self._batch = batch
        self._prefetched: _Prefetched | None = None
        self._waiting = Trouble(logger, "projection waits for the database", "projection goes on")
        self._refused: dict[int, Trouble] = {}  # by workspace

    def run(self, stop: Event) -> None:
        """Follow all logs until `stop` is set, by another thread or a signal; what the database refuses is retried."""
        while not stop.is_set():
            try:
                with self._pool.connection() as database:
                    generations.declare(database)
                with wakeup.listening(self._pool) as wait:
                    while not stop.is_set():
                        moved = self.step()
                        self._waiting.over()
                        self._looked()
                        if not moved:
                            wait(POLL_SECONDS)
            except PoolClosed:
                raise
            except Error as error:
                self._prefetched = None  # a database that comes back from a backup may hold another log
                if error.sqlstate is not None:  # else it is away, which is logged where connections are made
                    self._waiting.met(error)
                stop.wait(RETRY_SECONDS)

    def step(self) -> bool:
        """Fold one batch of each workspace that is behind; return whether any moved on."""
        with self._pool.connection() as database, _uncollected():
            behind = database.execute(_BEHIND).fetchall()
            solo = len(behind) == 1
            size = self._batch * (SOLO_BATCH_FACTOR if solo else 1)
            moved = [
                self._try(database, workspace_id, solo=solo, new=new, size=1 if stuck else size)
                for workspace_id, new, stuck in behind
            ]
        return any(moved)

    def _try(self, database: Database, workspace_id: int, *, solo: bool, new: bool, size: int) -> bool:
        """Project a workspace; whatever goes wrong there is logged, retried, and stops no other workspace."""
        try:
            moved = self._project_or_stick(database, workspace_id, solo=solo, new=new, size=size)
        except Exception as error:
            if database.broken:
                raise OperationalError("the connection to the database is lost") from error
            self._trouble_of(workspace_id).met(f"{type(error).__name__}: {error}")
            return False
        if workspace_id in self._refused:
            self._refused.pop(workspace_id).over()
        if moved:
            self._moved(workspace_id)
        return moved

    def _take_prefetched(
        self, key: tuple[int, int, frozenset[int]]
    ) -> tuple[list[LogRow], Batch[EventsByJourney] | None]:
        """Return the prefetched batch where it has this key, and forget it."""
        prefetched, self._prefetched = self._prefetched, None
        return (prefetched.log, prefetched.batch) if prefetched is not None and prefetched.key == key else ([], None)

    def _project_or_stick(self, database: Database, workspace_id: int, *, solo: bool, new: bool, size: int) -> bool:
        """Project a workspace; an exception of no known kind halves the batch until one event is left: that is stuck.

        Raises psycopg's errors.
        """
        while True:
            try:
                return self._project(database, workspace_id, solo=solo, new=new, size=size)
            except Error:
                raise
            except Exception as error:  # noqa: BLE001 (whatever its class, it is this workspace's solo)
                self._prefetched = None
                if size == 1:
                    return self._stick(database, workspace_id, error)
                size //= 2

    def _stick(self, database: Database, workspace_id: int, error: Exception) -> bool:
        """Note that a workspace's next event can't be folded, and why; return that nothing has moved."""
        with database.transaction():
            locked = database.execute(_LOCK, (workspace_id,)).fetchone()
            if locked is None:
                return False
            _, position, was_stuck_at = locked
            (row,) = ledger.read(database, workspace_id, after=position, upto=END_OF_LOG, limit=1)
            if row.position != was_stuck_at:
                logger.error("workspace %s is stuck at position %s", workspace_id, row.position, exc_info=error)
            reason = f"{type(error).__name__}: {error}"[:MOST_REASON].encode(errors="backslashreplace").decode()
            parameters = {
                "workspace_id": workspace_id,
                "position": position,
                "stuck_position": row.position,
                "stuck_topic": row.topic,
                "stuck_reason": reason.replace("\0", "\\0"),  # PostgreSQL's text can't hold it
            }
            database.execute(_MOVE, parameters)
        return False

    def _trouble_of(self, workspace_id: int) -> Trouble:
        name = f"workspace {workspace_id}"
        return self._refused.setdefault(
            workspace_id, Trouble(logger, f"{name} could not be projected, and is retried", f"{name} goes on")
        )

    def _project(self, database: Database, workspace_id: int, *, solo: bool, new: bool, size: int) -> bool:
        if new:
            generations.begin(database, workspace_id)
        with database.transaction():
            database.execute(generations.NO_WAIT_FOR_DISK)
            locked = database.execute(_LOCK, (workspace_id,)).fetchone()
            if locked is None:
                return False
            generation, position, was_stuck_at = locked
            rows = ReadRows(workspace_id, generation)
            aside = set_aside.positions(database, workspace_id)
            if was_stuck_at is not None:
                size = 1
            log, batch = self._take_prefetched((workspace_id, position, aside))
            if batch is None:
                log = ledger.read(database, workspace_id, after=position, upto=END_OF_LOG, limit=size)
            following: list[LogRow] = []
            if solo and len(log) == size:
                end = log[-1].position
                following = ledger.read(database, workspace_id, after=end, upto=END_OF_LOG, limit=size)

            def sort_following() -> None:
                if following:
                    with suppress(FoldError):  # it is raised again in its turn
                        key = workspace_id, log[-1].position, aside
                        self._prefetched = _Prefetched(key, following, sort(following, aside))

            last, stuck = _fold_what_can_be(database, rows, log, aside, batch, sort_following)
            topic = stuck and _topic(log, stuck.position)
            if stuck and stuck.position != was_stuck_at:
                logger.error(
                    "workspace %s is stuck at position %s, %s: %s", workspace_id, stuck.position, topic, stuck.reason
                )
            parameters = {
                "workspace_id": workspace_id,
                "position": position if last is None else last,
                "stuck_position": stuck and stuck.position,
                "stuck_topic": topic,
                "stuck_reason": stuck and stuck.reason,
            }
            database.execute(_MOVE, parameters)
            return last is not None


@contextmanager
def _uncollected() -> Iterator[None]:
    """Switch the garbage collector off meanwhile: it walks millions of tuples without cycles, a tenth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _fold_what_can_be(  # noqa: PLR0913 (what is folded, and where)
    database: Database,
    rows: ReadRows,
    log: list[LogRow],
    aside: frozenset[int],
    batch: Batch[EventsByJourney] | None,
    meanwhile: Callable[[], None],
) -> tuple[int | None, FoldError | None]:
    """Fold up to the first event that can't be; return the last position folded, and what is wrong behind it.

    `batch` is the log sorted, where it is already.
    """
    stuck: FoldError | None = None
    while True:  # a shorter stretch may show another fault, but only an earlier one
        try:
            batch = batch or sort(log, aside)
            if batch.last:
                fold(database, rows, batch, meanwhile=meanwhile)
        except FoldError as error:
            stuck, batch, meanwhile = error, None, _nothing
            log = [row for row in log if row.position < error.position]
        else:
            return batch.last or None, stuck


def _nothing() -> None:
    """Do nothing meanwhile."""


def _topic(log: list[LogRow], position: int) -> str:
    return next(row.topic for row in log if row.position == position)
