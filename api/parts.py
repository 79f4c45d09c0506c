"""What the application is put together from; everything is handed in."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeVar

import falcon

from api.appending import Appending
from api.authentication import Authentication
from api.errors import BadRequestError
from api.measurements import Measurements
from api.threads import Threads
from api.waiting import Waiting
from domain import ledger
from domain.access import Access
from domain.ledger import Prepared, Recorded
from domain.recorder import Database, Pool
from projections import access
from projections.access import Asked, Caller, Credentials
from projections.pipeline import Pipeline

APPENDS = 8  # connections for appends in one process; commits of several workspaces wait for the disk together

T = TypeVar("T")


@dataclass(frozen=True)
class Parts:
    """The pool, who is who, the clock (ms, UTC), the measurements, and what is wrong with the schema, if anything."""

    pool: Pool
    threads: Threads
    authentication: Authentication
    users: Access
    clock: Callable[[], int]
    measurements: Measurements
    schema_fault: Callable[[Database], str | None]
    appended: Callable[[], None] = lambda: None  # told of each append
    reading_origins: tuple[str, ...] = ()  # pages from elsewhere that may read, with their users' cookies

    @cached_property
    def reads(self) -> Pipeline:
        """Return the connection of the event loop for small reads."""
        return self._pipeline()

    @cached_property
    def waiting(self) -> Waiting:
        """Return the readers that wait for the projection."""
        return Waiting(self.reads)

    @cached_property
    def appending(self) -> Appending:
        """Return the small posts that wait for a commit."""
        return Appending(
            self.appends,
            access.APPEND_IF_ALLOWED,
            lambda writers: access.may_write(writers, self.clock()).parameters,
            self._record_carefully,
            self.appended,
        )

    @cached_property
    def appends(self) -> tuple[Pipeline, ...]:
        """Return the connections of the event loop for appends."""
        return tuple(self._pipeline() for _ in range(APPENDS))

    def close(self) -> None:
        """Close what the event loop has opened, and end the threads."""
        for each in (*self.appends, self.reads):
            each.close()
        self.threads.close()

    @contextmanager
    def connection(self) -> Iterator[Database]:
        """Lend a connection to a thread, and measure that."""
        database = self._borrowed()  # without `connection()`, which commits: these connections are in autocommit
        try:
            yield database
        finally:
            self._give_back(database)

    async def credentials(self, request: falcon.Request) -> Credentials:
        """Return who the request says it comes from; raise what `Authentication.credentials` raises."""
        if self.authentication.may_wait(request):
            return await self.threads.run(self.authentication.credentials, request)
        return self.authentication.credentials(request)

    async def admit(
        self, request: falcon.Request, response: falcon.Response, credentials: Credentials, caller: Caller | None
    ) -> Caller:
        """Do what `Authentication.admit` does; a use that is counted is counted in a thread."""
        if self.authentication.rate_limit is not None:
            return await self.threads.run(self.authentication.admit, request, response, credentials, caller)
        return self.authentication.admit(request, response, credentials, caller)

    @contextmanager
    def known_first(
        self, request: falcon.Request, response: falcon.Response, credentials: Credentials
    ) -> Iterator[None]:
        """Let a BadRequestError through, in a thread, only to a caller that is known; others are told that first."""
        try:
            yield
        except BadRequestError:
            self.require_known(request, response, credentials)
            raise

    def require_known(self, request: falcon.Request, response: falcon.Response, credentials: Credentials) -> None:
        """Raise UnauthenticatedError where the caller is not known; works in a thread."""
        if credentials.prefix is not None:  # a session has been verified already
            with self.connection() as database:
                caller, _ = access.check(database, credentials, Asked())
            self.authentication.admit(request, response, credentials, caller)

    async def parsed(
        self,
        request: falcon.Request,
        response: falcon.Response,
        credentials: Credentials,
        parse: Callable[[falcon.Request], T],
    ) -> T:
        """Return what a request asks; what is wrong with it is told only to a caller that is known."""
        try:
            return parse(request)
        except BadRequestError:
            await self.threads.run(self.require_known, request, response, credentials)
            raise

    async def _record_carefully(self, workspace_id: int, prepared: Prepared) -> Recorded:
        def record() -> Recorded:
            with self.connection() as database:
                return ledger.record_carefully(database, workspace_id, prepared)

        return await self.threads.run(record)

    def _pipeline(self) -> Pipeline:
        return Pipeline(partial(self.threads.run, self._borrowed), self._give_back)

    def _borrowed(self) -> Database:
        database = self.pool.getconn()
        self.measurements.connection_lent(1)
        return database

    def _give_back(self, database: Database) -> None:
        self.measurements.connection_lent(-1)
        self.pool.putconn(database)
