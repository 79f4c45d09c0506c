"""The projector: follows every workspace's log, a batch at a time, and never lets one workspace hold up another.

Any number of projectors may run: whoever locks a workspace's `projection` row folds its next batch, the others go on.
"""

import gc
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Protocol

from psycopg import Error, OperationalError
from psycopg_pool import PoolClosed

from domain.recorder import Database, Pool
from projections import access
from projections.building import epochs, generations, lagging, wakeup
from projections.building.next_batch import Folded, NextBatch
from projections.marks import Mark
from projections.trouble import Trouble

BATCH = 5_000  # events of one workspace while others lag too
SOLO_BATCH_FACTOR = 4  # batch size when no other workspace lags
POLL_SECONDS = 0.5  # between two polls without a hint
RETRY_SECONDS = 1.0  # after the database has failed

logger = logging.getLogger(__name__)


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
        self._waiting = Trouble(logger, "projection waits for the database", "projection goes on")
        self._refused: dict[int, Trouble] = {}  # by workspace
        self._memory = epochs.Memory()
        self._next_batch = NextBatch(self._memory, self._trace)
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
                self._next_batch.forget()  # a database that comes back from a backup may hold another log
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
            advanced = self._next_batch.project(database, workspace_id, solo=solo, new=new, size=size)
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

    def _trace(self, batch: Folded) -> None:
        if self._tracer is not None:
            self._tracer.folded(batch)

    def _trouble_of(self, workspace_id: int) -> Trouble:
        name = f"workspace {workspace_id}"
        return self._refused.setdefault(
            workspace_id, Trouble(logger, f"{name} could not be projected, and is retried", f"{name} goes on")
        )


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
