"""The projector: follows every workspace's log, a batch at a time, and never lets one workspace hold up another.

Any number of projectors may run: whoever locks a workspace's `projection` row folds its next batch, the others go on.
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
from projections import marks
from projections.building import epochs, generations, set_aside, wakeup
from projections.building.batch import FoldError, Gathered, Journeys, sort
from projections.building.fold import Rows, fold
from projections.marks import Mark, WentBackError, mark_at
from projections.metrics import FOLD_VERSION

BATCH = 5_000  # events of one workspace while others wait for their turn too
ALONE = 4  # times as many while none does
LOOK_SECONDS = 0.5  # a look without a hint
RETRY_SECONDS = 1.0  # after the database has failed
STUCK_RETRY_SECONDS = 5

logger = logging.getLogger(__name__)

# No lock is taken here. Whoever was served longest ago comes first, so nobody starves.
_BEHIND = SQL("""
SELECT h.workspace_id, p.workspace_id IS NULL, coalesce(p.mark_position, 0), coalesce(p.mark, 0)
FROM log_head AS h LEFT JOIN projection AS p USING (workspace_id)
WHERE h.workspace_id > 0 AND h.head > coalesce(p.position, 0) AND coalesce(p.fold_version, {version}) = {version}
    AND p.lost_at IS NULL
    AND (p.stuck_position IS NULL OR p.projected_at < clock_timestamp() - make_interval(secs => {retry}))
ORDER BY p.projected_at NULLS FIRST
""").format(version=Literal(FOLD_VERSION), retry=Literal(STUCK_RETRY_SECONDS))
_LOCK = SQL("""
SELECT generation, position, stuck_position, mark_position, mark FROM projection
WHERE workspace_id = %s AND fold_version = {version} AND lost_at IS NULL FOR UPDATE SKIP LOCKED
""").format(version=Literal(FOLD_VERSION))
# Only where the log still has what was read, and what it was read behind.
_MOVE = SQL("""
UPDATE projection SET position = %(position)s, projected_at = clock_timestamp(),
    mark_position = %(position)s, mark = {mark},
    rate = coalesce(nullif(%(position)s - position, 0)
        / greatest(extract(epoch FROM clock_timestamp() - now()), 0.001), rate),
    stuck_position = %(stuck_position)s, stuck_topic = %(stuck_topic)s, stuck_reason = %(stuck_reason)s
WHERE workspace_id = %(workspace_id)s AND mark = {before} AND %(end_mark)s = {end}
RETURNING mark, projected_at
""").format(
    mark=mark_at(SQL("%(workspace_id)s"), SQL("%(position)s")),
    before=mark_at(SQL("%(workspace_id)s"), SQL("mark_position")),
    end=mark_at(SQL("%(workspace_id)s"), SQL("%(end_position)s")),
)


class _Ahead(NamedTuple):
    """A batch that was read and sorted while PostgreSQL was busy with the one before."""

    key: tuple[int, int, frozenset[int]]  # the workspace, the position before it, what is set aside
    end: Mark
    log: list[LogRow]
    gathered: Gathered[Journeys]


class Projector:
    """Folds what is new into the read models, until it is told to stop."""

    def __init__(self, pool: Pool, *, batch: int = BATCH, moved: Callable[[int], None] = lambda _: None) -> None:
        """Take the pool to borrow two connections from, how many events to fold at once, and whom to tell what moved.

        `moved` is called with the workspace after the commit of each of its batches.
        """
        self._moved = moved
        self._pool = pool
        self._batch = batch
        self._ahead: _Ahead | None = None
        self._memory = epochs.Memory()

    def run(self, stop: Event) -> None:
        """Follow all logs until `stop` is set; a database that is away is waited for, all else is raised."""
        while not stop.is_set():
            try:
                with self._pool.connection() as database:
                    generations.declare(database)
                    epochs.compare_identity(database)  # before anything is put behind what a backup has
                    self._memory.compare(database)
                with wakeup.listening(self._pool) as wait:
                    while not stop.is_set():
                        if not self.step():
                            wait(LOOK_SECONDS)
            except PoolClosed:
                raise
            except OperationalError as error:
                self._ahead = None  # a database that comes back from a backup may hold another log
                logger.warning("projection waits for the database: %s", error)
                stop.wait(RETRY_SECONDS)

    def step(self) -> bool:
        """Fold one batch of each workspace that is behind; tell whether any moved on."""
        with self._pool.connection() as database, _uncollected():
            behind = database.execute(_BEHIND).fetchall()
            alone = len(behind) == 1
            moved = [
                self._try(database, workspace_id, Mark(position, mark), alone=alone, new=new)
                for workspace_id, new, position, mark in behind
            ]
        return any(moved)

    def _try(self, database: Database, workspace_id: int, mark: Mark, *, alone: bool, new: bool) -> bool:
        """Project a workspace; what the database refuses there is said, tried again, and stops no other workspace."""
        try:
            if not self._memory.knows(workspace_id, mark):
                self._memory.compare(database, workspace_id)
            moved = self._project(database, workspace_id, alone=alone, new=new)
        except (Error, WentBackError) as error:
            if database.broken:
                raise
            logger.warning("workspace %s could not be projected, and is tried again: %s", workspace_id, error)
            return False
        if moved:
            self._moved(workspace_id)
        return moved

    def _taken(self, key: tuple[int, int, frozenset[int]]) -> _Ahead | None:
        """Return the batch that was sorted ahead, where it is this one: of a workspace, behind a position."""
        ahead, self._ahead = self._ahead, None
        return ahead if ahead is not None and ahead.key == key else None

    def _project(self, database: Database, workspace_id: int, *, alone: bool, new: bool) -> bool:
        if new:
            generations.begin(database, workspace_id)
        with database.transaction():
            database.execute(generations.NO_WAIT_FOR_DISK)
            locked = database.execute(_LOCK, (workspace_id,)).fetchone()
            if locked is None:
                return False
            generation, position, was_stuck_at, *marked = locked
            before = Mark(*marked)
            rows = Rows(workspace_id, generation)
            aside = set_aside.positions(database, workspace_id)
            batch = 1 if was_stuck_at is not None else self._batch * (ALONE if alone else 1)
            taken = self._taken((workspace_id, position, aside))
            try:
                end, log = (taken.end, taken.log) if taken else _read(database, workspace_id, before, position, batch)
            except WentBackError:
                return epochs.lose(database, workspace_id)
            following_end, following = end, log[:0]
            if alone and len(log) == batch:
                following_end, following = _read(database, workspace_id, end, end.position, batch)

            def sort_following() -> None:
                if following:
                    with suppress(FoldError):  # it is met in its turn
                        key = workspace_id, end.position, aside
                        self._ahead = _Ahead(key, following_end, following, sort(following, aside))

            gathered = taken and taken.gathered
            last, stuck = _fold_what_can_be(database, rows, log, aside, gathered, sort_following)
            topic = stuck and _topic(log, stuck.position)
            if stuck and stuck.position != was_stuck_at:
                logger.error(
                    "workspace %s is stuck at position %s, %s: %s", workspace_id, stuck.position, topic, stuck.reason
                )
            position = position if last is None else last
            parameters = {
                "workspace_id": workspace_id,
                "position": position,
                "stuck_position": stuck and stuck.position,
                "stuck_topic": topic,
                "stuck_reason": stuck and stuck.reason,
                "end_position": end.position,
                "end_mark": end.mark,
            }
            moved = database.execute(_MOVE, parameters).fetchone()
            if moved is None:
                raise WentBackError
        mark, projected_at = moved
        self._memory.keep(workspace_id, Mark(position, mark), projected_at)
        return last is not None


def _read(database: Database, workspace_id: int, reached: Mark, after: int, limit: int) -> tuple[Mark, list[LogRow]]:
    """Return the next events of a log, and the mark that the last one had before they were read.

    Raises WentBackError where the log no longer has what was `reached`, or ends in front of what it is read `after`.
    """
    end = marks.reach(database, workspace_id, reached, after + limit)
    if end.position < after:
        raise WentBackError
    return end, ledger.read(database, workspace_id, after=after, upto=end.position, limit=limit)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Let no garbage be looked for meanwhile: millions of tuples and no cycles, a tenth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _fold_what_can_be(  # noqa: PLR0913 (what is folded, and where)
    database: Database,
    rows: Rows,
    log: list[LogRow],
    aside: frozenset[int],
    gathered: Gathered[Journeys] | None,
    meanwhile: Callable[[], None],
) -> tuple[int | None, FoldError | None]:
    """Fold up to the first fact that can't be; return the last position folded, and what is wrong behind it.

    `gathered` is the log sorted, where it is already.
    """
    stuck: FoldError | None = None
    while True:  # a shorter stretch may show another fault, but only an earlier one
        try:
            gathered = gathered or sort(log, aside)
            if gathered.last:
                fold(database, rows, gathered, meanwhile=meanwhile)
        except FoldError as error:
            stuck, gathered, meanwhile = error, None, _nothing
            log = [row for row in log if row.position < error.position]
        else:
            return gathered.last or None, stuck


def _nothing() -> None:
    """Do nothing meanwhile."""


def _topic(log: list[LogRow], position: int) -> str:
    return next(row.topic for row in log if row.position == position)
