"""What the application is put together from; everything is handed in."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from api.answers.projected import Projected
from api.answers.streams import Streams
from api.answers.validation import Validation
from api.answers.waiting import Waiting
from api.auth.authentication import Authentication
from api.auth.gate import Gate
from api.errors import UnavailableError
from api.ingest.appending import Appending, Commit, Record, Statements
from api.ingest.known_writers import KnownWriters
from api.ingest.lanes import Lanes
from api.standbys import Standbys
from api.telemetry import Measurements
from api.threads import Threads
from api.tools import KNOWN
from domain.access import Access
from domain.hooks import Hooks
from domain.keyed_campaigns import KnownKeys
from domain.ledger import Prepared, Recorded
from domain.recorder import Database, Pool
from projections import access
from projections.pipeline import Pipeline, TooManySentError
from projections.queries.caller import (
    APPEND_IF_ALLOWED,
    APPEND_TO_SEVERAL_IF_ALLOWED,
    Credentials,
    may_write,
    may_write_to,
)

if TYPE_CHECKING:
    from api.tracing import Tracing

APPENDS = 8  # connections for appends in one process: one for posts to any workspace, the others for those of one


@dataclass(frozen=True)
class Parts:
    """Everything that the application is handed, and what is made of it once; its clock tells ms, UTC."""

    pool: Pool
    threads: Threads
    authentication: Authentication
    users: Access
    clock: Callable[[], int]
    measurements: Measurements
    migrations: Collection[int]  # that this version knows
    appended: Callable[..., None] = lambda *_: None  # called after each append, with what goes with the hint
    reading_origins: tuple[str, ...] = ()  # pages from elsewhere that may read, with their users' cookies
    secret_of: Callable[[str], str | None] = lambda _: None  # what a reference names; None where it can't be read
    embedding_origins: tuple[str, ...] = ()  # pages from elsewhere that may show the dashboard in a frame
    tracing: "Tracing | None" = None  # where spans are asked for
    standbys: Standbys | None = None  # of the database, for large reads

    @cached_property
    def reads(self) -> Pipeline:
        """Return the connection of the event loop for small reads."""
        return self._pipeline()

    @cached_property
    def validation(self) -> Validation:
        """Return what asks whether answers that were sent before still hold."""
        return Validation(self.reads)

    @cached_property
    def gate(self) -> Gate:
        """Return the gate that requests pass."""
        return Gate(self.authentication, self.threads, self.connection)

    @cached_property
    def hooks(self) -> Hooks:
        """Return the hooks of connected tools."""
        return Hooks(self.pool, access.project_hooks, self.clock, KNOWN)

    @cached_property
    def keys(self) -> KnownKeys:
        """Return the keys of campaigns that are known in this process."""
        return KnownKeys()

    @cached_property
    def known_writers(self) -> KnownWriters:
        """Return the callers whose last post to a workspace was allowed."""
        return KnownWriters()

    @cached_property
    def waiting(self) -> Waiting:
        """Return the requests that wait for the projection."""
        return Waiting(self.reads, self.projected)

    @cached_property
    def projected(self) -> Projected:
        """Return the hints that projections have moved."""
        return Projected(self.reads)

    @cached_property
    def streams(self) -> Streams:
        """Return the streams of positions that are open."""
        return Streams(self.reads, self.projected, self.gate)

    @cached_property
    def appending(self) -> Lanes:
        """Return the small posts that wait for a commit."""
        statements = Statements(
            APPEND_IF_ALLOWED, APPEND_TO_SEVERAL_IF_ALLOWED, lambda writers: may_write_to(writers, self.clock())
        )
        return Lanes(self.appends, Appending(statements, self._record_in_thread, self.committed).commit_group)

    @cached_property
    def appends(self) -> tuple[Pipeline, ...]:
        """Return the connections of the event loop for appends."""
        return tuple(self._pipeline() for _ in range(APPENDS))

    def committed(self, commit: Commit) -> None:
        """Count a commit, trace it where that is asked for, and wake the projector."""
        self.measurements.committed(commit.events, commit.posts)
        self.appended(*(() if self.tracing is None else self.tracing.appended(commit)))

    def close(self) -> None:
        """Close what the event loop has opened, and end the threads."""
        for each in (*self.appends, self.reads):
            each.close()
        self.threads.close()

    @contextmanager
    def connection(self) -> Iterator[Database]:
        """Lend a connection to a thread."""
        database = self.pool.getconn()  # without `connection()`, which commits: these connections are in autocommit
        try:
            yield database
        finally:
            self._give_back(database)

    async def _record_in_thread(
        self, record: Record, workspace_id: int, prepared: Prepared, writers: Collection[Credentials]
    ) -> Recorded:
        def run() -> Recorded:
            with self.connection() as database:
                return record(database, workspace_id, prepared, may_write(writers, self.clock()))

        return await self.threads.run(run)

    def _pipeline(self) -> Pipeline:
        return Pipeline(self._borrowed_in_thread, self._give_back)

    async def _borrowed_in_thread(self) -> Database:
        try:
            return await self.threads.run(self.pool.getconn)
        except UnavailableError as error:  # no thread was free
            raise TooManySentError from error

    def _give_back(self, database: Database) -> None:
        if database.closed:  # what answers next may be a standby that has taken over, and lacks the end
            self.keys.forget()
        self.pool.putconn(database)
