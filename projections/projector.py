"""The projector: follows every workspace's log, a batch at a time, and never lets one workspace hold up another.

Any number of projectors may run: whoever locks a workspace's `projection` row folds its next batch, the others go on.
"""

import logging
import secrets
from threading import Event

from psycopg import OperationalError
from psycopg.sql import SQL, Literal

from domain import ledger
from domain.recorder import Database, Pool
from projections.fold import FoldError, Rows, fold
from projections.metrics import FOLD_VERSION

BATCH = 5_000  # events
IDLE_SECONDS = 0.05
RETRY_SECONDS = 1.0  # after the database has failed
STUCK_RETRY_SECONDS = 5

END_OF_LOG = 2**63 - 1

logger = logging.getLogger(__name__)

# No lock is taken here. Whoever was served longest ago comes first, so nobody starves.
_BEHIND = SQL("""
SELECT h.workspace_id FROM log_head AS h LEFT JOIN projection AS p USING (workspace_id)
WHERE h.workspace_id > 0 AND h.head > coalesce(p.position, 0) AND coalesce(p.fold_version, {version}) = {version}
    AND (p.stuck_position IS NULL OR p.projected_at < clock_timestamp() - make_interval(secs => {retry}))
ORDER BY p.projected_at NULLS FIRST
""").format(version=Literal(FOLD_VERSION), retry=Literal(STUCK_RETRY_SECONDS))
BEGIN = SQL("""
INSERT INTO projection (workspace_id, generation, position, fold_version, projected_at)
VALUES (%s, %s, 0, {version}, '-infinity') ON CONFLICT (workspace_id) DO NOTHING
""").format(version=Literal(FOLD_VERSION))
_LOCK = SQL("""
SELECT generation, position, stuck_position FROM projection
WHERE workspace_id = %s AND fold_version = {version} FOR UPDATE SKIP LOCKED
""").format(version=Literal(FOLD_VERSION))
_MOVE = SQL("""
UPDATE projection SET position = %(position)s, projected_at = clock_timestamp(),
    stuck_position = %(stuck_position)s, stuck_reason = %(stuck_reason)s
WHERE workspace_id = %(workspace_id)s
""")
# Rows and position are lost together or not at all, so nothing needs to wait for the disk here.
NO_WAIT_FOR_DISK = SQL("SET LOCAL synchronous_commit = off")


class Projector:
    """Folds what is new into the read models, until it is told to stop."""

    def __init__(self, pool: Pool, *, batch: int = BATCH) -> None:
        """Take the pool to borrow connections from, and how many events to fold at once."""
        self._pool = pool
        self._batch = batch

    def run(self, stop: Event) -> None:
        """Follow all logs until `stop` is set; a database that is away is waited for, all else is raised."""
        while not stop.is_set():
            try:
                busy = self.step()
            except OperationalError as error:
                logger.warning("projection waits for the database: %s", error)
                stop.wait(RETRY_SECONDS)
            else:
                if not busy:
                    stop.wait(IDLE_SECONDS)

    def step(self) -> bool:
        """Fold one batch of each workspace that is behind; tell whether any moved on."""
        with self._pool.connection() as database:
            behind = [workspace_id for (workspace_id,) in database.execute(_BEHIND)]
            moved = [self._project(database, workspace_id) for workspace_id in behind]
        return any(moved)

    def _project(self, database: Database, workspace_id: int) -> bool:
        database.execute(BEGIN, (workspace_id, new_generation()))
        with database.transaction():
            database.execute(NO_WAIT_FOR_DISK)
            locked = database.execute(_LOCK, (workspace_id,)).fetchone()
            if locked is None:
                return False
            generation, position, was_stuck_at = locked
            rows = Rows(workspace_id, generation)
            log = ledger.read(database, workspace_id, after=position, upto=END_OF_LOG, limit=self._batch)
            stuck: FoldError | None = None
            try:
                last = fold(database, rows, log)
            except FoldError as error:
                stuck = error
                last = fold(database, rows, [row for row in log if row.position < error.position])
            if stuck and stuck.position != was_stuck_at:
                logger.error("workspace %s is stuck at position %s: %s", workspace_id, stuck.position, stuck.reason)
            parameters = {
                "workspace_id": workspace_id,
                "position": position if last is None else last,
                "stuck_position": stuck and stuck.position,
                "stuck_reason": stuck and stuck.reason,
            }
            database.execute(_MOVE, parameters)
            return last is not None


def new_generation() -> int:
    """Return a random number that names a generation of read rows; it fits a bigint."""
    return secrets.randbits(63)
