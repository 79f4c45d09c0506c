"""The projector: follows every workspace's log, a batch at a time, and never lets one workspace hold up another.

Any number of projectors may run: whoever locks a workspace's `projection` row folds its next batch, the others go on.
"""

import gc
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from threading import Event
from typing import NamedTuple, Protocol

from psycopg import Error, OperationalError
from psycopg.sql import SQL, Literal
from psycopg_pool import PoolClosed

from domain import ledger
from domain.ledger import PlainRow
from domain.recorder import Database, Pool
from projections import access, marks
from projections.building import epochs, generations, lagging, set_aside, wakeup
from projections.building.batch import Batch, EventsByJourney, FoldError, sort
from projections.building.fold import fold
from projections.building.generations import ReadRows
from projections.marks import Mark, WentBackError, mark_at
from projections.metrics import FOLD_VERSION
from projections.trouble import Trouble

BATCH = 5_000  # events of one workspace while others lag too
SOLO_BATCH_FACTOR = 4  # batch size when no other workspace lags
POLL_SECONDS = 0.5  # between two polls without a hint
RETRY_SECONDS = 1.0  # after the database has failed
MOST_REASON = 500  # characters that are kept of an exception

END_OF_LOG = 2**63 - 1

logger = logging.getLogger(__name__)

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


_BatchKey = tuple[int, int, int, frozenset[int]]  # workspace, position before it, how many are forgotten, set aside


class _Prefetched(NamedTuple):
    """A batch that was read and sorted while PostgreSQL was busy with the one before."""

    key: _BatchKey
    end: Mark
    log: list[PlainRow]
    batch: Batch[EventsByJourney]


class Folded(NamedTuple):
    """A batch of a workspace's log that was folded, from position to position, and when that began (ns since 1970)."""

    workspace_id: int
    first: int
    last: int
    began: int


class Tracer(Protocol):
    """What makes traces of a projector's work."""

    def hinted(self, payload: str) -> None:
        """Take what came with a hint, before the batches that it is about."""

    def folded(self, batch: Folded) -> None:
        """Take a batch after its commit."""


class Projector:
    """Folds new events into the read models, in one thread, until it is stopped."""

    def __init__(
        self,
        pool: Pool,
        *,
        batch: int = BATCH,
        on_advance: Callable[[int], None] = lambda _: None,
        on_poll: Callable[[], None] = lambda: None,
        tracer: Tracer | None = None,
    ) -> None:
        """Take the pool, of which it borrows two connections, and how many events it folds at once.

        All are called in the thread that runs the projector: `on_advance` with the workspace's id after each commit of
        a batch, `on_poll` after each poll, the tracer where there is one.
        """
        self._tracer = tracer
        self._on_advance = on_advance
        self._on_poll = on_poll
        self._pool = pool
        self._batch = batch
        self._prefetched: _Prefetched | None = None
        self._waiting = Trouble(logger, "projection waits for the database", "projection goes on")
        self._refused: dict[int, Trouble] = {}  # by workspace
        self._memory = epochs.Memory()
        self._listing = lagging.Listing()

    def run(self, stop: Event) -> None:
        """Follow all logs until `stop` is set, by another thread or a signal; what the database refuses is retried."""
        while not stop.is_set():
            try:
                with self._pool.connection() as database:
                    generations.declare(database)
                    epochs.compare_identity(database)  # before anything is appended to what a backup has
                    self._memory.compare(database)
                with wakeup.listening(self._pool) as wait:
                    while not stop.is_set():
                        advanced = self.step()
                        self._waiting.over()
                        self._on_poll()
                        if not advanced:
                            self._take_hints(wait(POLL_SECONDS))
                        elif self._tracer is not None:
                            self._take_hints(wait(0))
            except PoolClosed:
                raise
            except Error as error:
                self._prefetched = None  # a database that comes back from a backup may hold another log
                if error.sqlstate is not None:  # else it is away, which is logged where connections are made
                    self._waiting.met(error)
                stop.wait(RETRY_SECONDS)

    def _take_hints(self, payloads: Iterable[str]) -> None:
        if self._tracer is not None:
            for payload in payloads:
                self._tracer.hinted(payload)

    def step(self) -> bool:
        """Fold one batch of each workspace that lags; return whether any advanced."""
        with self._pool.connection() as database, _uncollected():
            listed = self._listing.read(database)
            if listed is None:
                return self._step_one_by_one(database)
            solo = len(listed) == 1
            size = self._batch * (SOLO_BATCH_FACTOR if solo else 1)
            advanced = [
                self._try(
                    database, each.workspace_id, each.reached, solo=solo, new=each.new, size=1 if each.stuck else size
                )
                for each in listed
            ]
        return any(advanced)

    def _step_one_by_one(self, database: Database) -> bool:
        """Fold one batch of each known workspace that lags, and whose node answers."""
        advanced = False
        for workspace_id in sorted(self._memory.workspaces() | access.known_workspaces(database)):
            try:
                row = self._listing.find(database, workspace_id)
            except Error as error:
                if database.broken:
                    raise
                self._trouble_of(workspace_id).met(error)
                continue
            if row is not None:
                size = 1 if row.stuck else self._batch
                advanced |= self._try(database, workspace_id, row.reached, solo=False, new=row.new, size=size)
            elif workspace_id in self._refused:
                self._refused.pop(workspace_id).over()
        return advanced

    def _try(  # noqa: PLR0913 (a workspace that lags)
        self, database: Database, workspace_id: int, mark: Mark, *, solo: bool, new: bool, size: int
    ) -> bool:
        """Project a workspace; whatever goes wrong there is logged, retried, and stops no other workspace."""
        try:
            if not self._memory.knows(workspace_id, mark):
                self._memory.compare(database, workspace_id)
            advanced = self._project_or_stick(database, workspace_id, solo=solo, new=new, size=size)
        except Exception as error:
            if database.broken:
                raise OperationalError("the connection to the database is lost") from error
            self._trouble_of(workspace_id).met(f"{type(error).__name__}: {error}")
            return False
        if workspace_id in self._refused:
            self._refused.pop(workspace_id).over()
        if advanced:
            self._on_advance(workspace_id)
        return advanced

    def _take_prefetched(self, key: _BatchKey) -> _Prefetched | None:
        """Return the prefetched batch where it has this key, and forget it."""
        prefetched, self._prefetched = self._prefetched, None
        return prefetched if prefetched is not None and prefetched.key == key else None

    def _project_or_stick(self, database: Database, workspace_id: int, *, solo: bool, new: bool, size: int) -> bool:
        """Project a workspace; an exception of no known kind halves the batch until one event is left: that is stuck.

        Raises psycopg's errors, and WentBackError.
        """
        while True:
            try:
                return self._project(database, workspace_id, solo=solo, new=new, size=size)
            except (Error, WentBackError):
                raise
            except Exception as error:  # noqa: BLE001 (whatever its class, it is this workspace's alone)
                self._prefetched = None
                if size == 1:
                    return self._stick(database, workspace_id, error)
                size //= 2

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

    def _trouble_of(self, workspace_id: int) -> Trouble:
        name = f"workspace {workspace_id}"
        return self._refused.setdefault(
            workspace_id, Trouble(logger, f"{name} could not be projected, and is retried", f"{name} goes on")
        )

    def _project(self, database: Database, workspace_id: int, *, solo: bool, new: bool, size: int) -> bool:
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
            aside = set_aside.positions(database, workspace_id)
            if was_stuck_at is not None:
                size = 1
            ahead = self._take_prefetched((workspace_id, position, forgotten, aside))
            try:
                end, log = (ahead.end, ahead.log) if ahead else _read(database, workspace_id, reached, position, size)
            except WentBackError:
                return epochs.lose(database, workspace_id)
            following_end, following = end, log[:0]
            if solo and len(log) == size:
                following_end, following = _read(database, workspace_id, end, end.position, size)

            def sort_following() -> None:
                if following:
                    with suppress(FoldError):  # it is raised again in its turn
                        key = workspace_id, end.position, forgotten, aside
                        self._prefetched = _Prefetched(key, following_end, following, sort(following, aside))

            last, stuck = _fold_what_can_be(database, rows, log, aside, ahead and ahead.batch, sort_following)
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
        self._trace(None if last is None else Folded(workspace_id, position + 1, last, began))
        return last is not None

    def _trace(self, batch: Folded | None) -> None:
        if self._tracer is not None and batch is not None:
            self._tracer.folded(batch)


def _read(database: Database, workspace_id: int, reached: Mark, after: int, limit: int) -> tuple[Mark, list[PlainRow]]:
    """Return the next events of a log, and the mark that the last one had before they were read.

    Raises WentBackError where the log no longer has what was `reached`, or ends in front of what it is read `after`.
    """
    end = marks.reach(database, workspace_id, reached, after + limit)
    if end.position < after:
        raise WentBackError
    return end, ledger.read_plain(database, workspace_id, after=after, upto=end.position, limit=limit)


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
