"""What the application is put together from; everything is handed in."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import falcon

from api.authentication import Authentication
from api.errors import BadRequestError
from api.measurements import Measurements
from domain.access import Access
from domain.group_commit import GroupCommit
from domain.recorder import Database, Pool
from projections import access
from projections.access import Asked, Credentials


@dataclass(frozen=True)
class Parts:
    """The pool, who is who, the clock (ms, UTC), the measurements, and what is wrong with the schema, if anything."""

    pool: Pool
    authentication: Authentication
    users: Access
    clock: Callable[[], int]
    measurements: Measurements
    schema_fault: Callable[[Database], str | None]
    waiting_requests: int  # so many may wait for the projection at a time, the others are asked to come again
    appended: Callable[[], None] = lambda: None  # told of each append
    reading_origins: tuple[str, ...] = ()  # pages from elsewhere that may read, with their users' cookies

    @cached_property
    def log(self) -> GroupCommit[Credentials]:
        """Return the logs, to which the threads of this process write together."""
        return GroupCommit(self.connection, lambda writers: access.may_write(writers, self.clock()), self.appended)

    @contextmanager
    def connection(self) -> Iterator[Database]:
        """Lend a connection to the database, and measure that."""
        database = self.pool.getconn()  # without `connection()`, which commits: these connections are in autocommit
        self.measurements.connection_lent(1)
        try:
            yield database
        finally:
            self.measurements.connection_lent(-1)
            self.pool.putconn(database)

    @contextmanager
    def known_first(
        self, request: falcon.Request, response: falcon.Response, credentials: Credentials
    ) -> Iterator[None]:
        """Let a BadRequestError through only to somebody who is known: who is not is told that first."""
        try:
            yield
        except BadRequestError:
            if credentials.prefix is not None:  # a session has been verified already
                with self.connection() as database:
                    caller, _ = access.check(database, credentials, Asked())
                self.authentication.admit(request, response, credentials, caller)
            raise
