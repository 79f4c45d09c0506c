"""The next batch of one workspace's log: read, folded and saved in one transaction, or noted as stuck."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from psycopg import Error
from psycopg.sql import SQL, Literal

from domain import ledger
from domain.ledger import PlainRow
from domain.recorder import Database
from projections import marks
from projections.building import epochs, generations, set_aside
from projections.building.batch import Batch, EventsByJourney, FoldError, sort
from projections.building.fold import fold
from projections.building.generations import ReadRows
from projections.marks import Mark, WentBackError, mark_at
from projections.metrics import FOLD_VERSION

MOST_REASON = 500  # characters that are kept of an exception
END_OF_LOG = 2**63 - 1

logger = logging.getLogger("projections.building.projector")  # all that the projector says is of one logger

_LOCK = SQL("""
SELECT generation, position, stuck_position, forgotten, mark_position, mark FROM projection
WHERE workspace_id = %s AND fold_version = {version} AND lost_at IS NULL FOR UPDATE SKIP LOCKED
""").format(version=Literal(FOLD_VERSION))
# Only where the log still has the events that were read, and the one before them.
_SAVE_PROGRESS = SQL("""
UPDATE projection SET position = %(position)s, projected_at = statement_timestamp(),
    mark_position = %(position)s, mark = {mark}, rate = coalesce(%(rate)s::bigint, rate),
    stuck_position = %(stuck_position)s, stuck_topic = %(stuck_topic)s, stuck_reason = %(stuck_reason)s
WHERE workspace_id = %(workspace_id)s AND mark = {reached} AND %(end_mark)s = {end}
RETURNING mark, projected_at
""").format(
    mark=mark_at(SQL("%(workspace_id)s"), SQL("%(position)s")),
    reached=mark_at(SQL("%(workspace_id)s"), SQL("mark_position")),
    end=mark_at(SQL("%(workspace_id)s"), SQL("%(end_position)s")),
)


class _Key(NamedTuple):
    """What a batch that was read ahead is known by: all that decides what is in it, but for its size."""

    workspace_id: int
    position: int  # of the event before it
    forgotten: int  # how many prospects were
    aside: frozenset[int]


class _Prefetched(NamedTuple):
    """A batch that was read and sorted while PostgreSQL was busy with the one before."""

    key: _Key
    end: Mark
    log: list[PlainRow]
    batch: Batch[EventsByJourney]


class Folded(NamedTuple):
    """A batch of a workspace's log that was folded, from position to position, and when that began (ns since 1970)."""

    workspace_id: int
    first: int
    last: int
    began: int


class NextBatch:
    """Projects the next batch of any workspace, and reads the one after it ahead."""

    def __init__(self, memory: epochs.Memory, on_folded: Callable[[Folded], None]) -> None:
        """Take what remembers the marks of all workspaces, and what is called after the commit of a batch."""
        self._memory = memory
        self._on_folded = on_folded
        self._prefetched: _Prefetched | None = None

    def forget(self) -> None:
        """Forget what was read ahead."""
        self._prefetched = None

    def project(self, database: Database, workspace_id: int, *, solo: bool, new: bool, size: int) -> bool:
        """Project a workspace's next batch, and return whether anything of it was folded; the size is in events.

        `solo`: no other workspace waits, so that the batch after it is read meanwhile; `new`: it was never projected.
        An exception of no known kind halves the batch until one event is left: that is stuck. Raises psycopg's errors,
        and WentBackError.
        """
        while True:
            try:
                return self._project_once(database, workspace_id, solo=solo, new=new, size=size)
            except (Error, WentBackError):
                raise
            except Exception as error:  # noqa: BLE001 (whatever its class, it is this workspace's alone)
                self._prefetched = None
                if size == 1:
                    return self._stick(database, workspace_id, error)
                size //= 2

    def _project_once(self, database: Database, workspace_id: int, *, solo: bool, new: bool, size: int) -> bool:
        began, since = time.time_ns(), time.monotonic()
        if new:
            generations.begin(database, workspace_id)
        with database.transaction():
            database.execute(generations.NO_WAIT_FOR_DISK)
            locked = database.execute(_LOCK, (workspace_id,)).fetchone()
            if locked is None:
                return False
            generation, position, was_stuck_at, forgotten, *mark = locked
            reached = Mark(*mark)
            rows = ReadRows(workspace_id, generation)
            key = _Key(workspace_id, position, forgotten, set_aside.positions(database, workspace_id))
            if was_stuck_at is not None:
                size = 1
            ahead = self._take_prefetched(key)
            try:
                end, log = (ahead.end, ahead.log) if ahead else _read(database, workspace_id, reached, position, size)
            except WentBackError:
                return epochs.lose(database, workspace_id)
            meanwhile = _nothing
            if solo and len(log) == size:
                meanwhile = self._read_ahead(database, key._replace(position=end.position), end, size)
            last, stuck = _fold_what_can_be(database, rows, log, key.aside, ahead and ahead.batch, meanwhile)
            topic = stuck and _topic(log, stuck.position)
            if stuck and stuck.position != was_stuck_at:
                logger.error(
                    "workspace %s is stuck at position %s, %s: %s", workspace_id, stuck.position, topic, stuck.reason
                )
            new_position = position if last is None else last
            parameters = {
                "workspace_id": workspace_id,
                "position": new_position,
                "rate": round((new_position - position) / max(time.monotonic() - since, 0.001)) or None,
                "stuck_position": stuck and stuck.position,
                "stuck_topic": topic,
                "stuck_reason": stuck and stuck.reason,
                "end_position": end.position,
                "end_mark": end.mark,
            }
            saved = database.execute(_SAVE_PROGRESS, parameters).fetchone()
            if saved is None:
                raise WentBackError
        new_mark, projected_at = saved
        self._memory.keep(workspace_id, Mark(new_position, new_mark), projected_at)
        if last is None:
            return False
        self._on_folded(Folded(workspace_id, position + 1, last, began))
        return True

    def _read_ahead(self, database: Database, key: _Key, end: Mark, size: int) -> Callable[[], None]:
        """Read the batch after `end`; return what sorts and keeps it, to be called while PostgreSQL is busy."""
        following_end, following = _read(database, key.workspace_id, end, end.position, size)

        def keep() -> None:
            if following:
                with suppress(FoldError):  # it is raised again in its turn
                    self._prefetched = _Prefetched(key, following_end, following, sort(following, key.aside))

        return keep

    def _take_prefetched(self, key: _Key) -> _Prefetched | None:
        """Return the prefetched batch where it has this key, and forget it."""
        prefetched, self._prefetched = self._prefetched, None
        return prefetched if prefetched is not None and prefetched.key == key else None

    def _stick(self, database: Database, workspace_id: int, error: Exception) -> bool:
        """Note that a workspace's next event can't be folded, and why; return False, as it has not advanced."""
        with database.transaction():
            locked = database.execute(_LOCK, (workspace_id,)).fetchone()
            if locked is None:
                return False
            _, position, was_stuck_at, _, *mark = locked
            reached = Mark(*mark)
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
                "rate": None,
                "end_position": reached.position,
                "end_mark": reached.mark,
            }
            database.execute(_SAVE_PROGRESS, parameters)
        return False


def _read(database: Database, workspace_id: int, reached: Mark, after: int, limit: int) -> tuple[Mark, list[PlainRow]]:
    """Return the next events of a log, and the mark that the last one had before they were read.

    Raises WentBackError where the log no longer has what was `reached`, or ends in front of what it is read `after`.
    """
    end = marks.reach(database, workspace_id, reached, after + limit)
    if end.position < after:
        raise WentBackError
    return end, ledger.read_plain(database, workspace_id, after=after, upto=end.position, limit=limit)


def _fold_what_can_be(  # noqa: PLR0913 (what is folded, and where)
    database: Database,
    rows: ReadRows,
    log: list[PlainRow],
    aside: frozenset[int],
    batch: Batch[EventsByJourney] | None,
    meanwhile: Callable[[], None],
) -> tuple[int | None, FoldError | None]:
    """Fold up to the first event that can't be; return the last position folded, and what is wrong after it.

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
            log = [row for row in log if row[0] < error.position]
        else:
            return batch.last or None, stuck


def _nothing() -> None:
    """Do nothing meanwhile."""


def _topic(log: list[PlainRow], position: int) -> str:
    return next(topic for at, topic, *_ in log if at == position)
