"""What the application is put together from; everything is handed in."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from api.authentication import Authentication
from api.measurements import Measurements
from domain.recorder import Database, Pool
from projections import access
from projections.access import Asked, Credentials


@dataclass(frozen=True)
class Parts:
    """The pool, who is who, the clock (ms, UTC), the measurements, and what is wrong with the schema, if anything."""

    pool: Pool
    authentication: Authentication
    clock: Callable[[], int]
    measurements: Measurements
    schema_fault: Callable[[Database], str | None]
    waiting_requests: int  # so many may wait for the projection at a time, the others are asked to come again

    @contextmanager
    def connection(self) -> Iterator[Database]:
        """Lend a connection to the database, and measure that."""
        with self.pool.connection() as database:
            self.measurements.connection_lent(1)
            try:
                yield database
            finally:
                self.measurements.connection_lent(-1)

    def identify(self, credentials: Credentials) -> None:
        """Raise UnauthenticatedError where the credentials are bad; for requests that are malformed all the same."""
        if credentials.prefix is None:
            return  # a session has been verified already
        with self.connection() as database:
            caller, _ = access.check(database, credentials, Asked())
        self.authentication.identify(credentials, caller)
