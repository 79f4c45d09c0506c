"""Liveness, readiness and metrics of the process; none of them contains the id of a user or workspace."""

import asyncio
import logging
import time

import falcon
import psycopg

from api import exposition
from api.dependencies import Parts
from api.errors import UnavailableError
from api.http.parameters import no_parameters
from api.sampling import Sampler
from projections import health, schema
from projections.building.status import LAG, Lag
from projections.health import STATE, State
from projections.pipeline import TooManySentError
from projections.schema import Schema

LAG_SECONDS = 60.0  # a projection that is further behind is reported
ANSWER_SECONDS = 2.0  # a probe waits no longer for the database
CACHE_SECONDS = 1.0  # the database is asked no more often
SIZES_SECONDS = 60.0  # and no more often for the sizes of tables
SIZES_WAIT_SECONDS = 1.0  # an answer waits no longer for these, and has the ones before
TEXT_SECONDS = 5.0  # nor for what the machine says of itself

_AWAY = (psycopg.Error, TooManySentError, TimeoutError, UnavailableError)

logger = logging.getLogger(__name__)


class Probe:
    """A probe's answer from the database, on the event loop's connection, so that busy threads do not delay it."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self._parts = parts
        self._lock = asyncio.Lock()
        self._answer: tuple[Schema, Lag | None] | None = None
        self._looked_at = float("-inf")

    async def look(self) -> tuple[Schema, Lag | None] | None:
        """Return the schema, and the lag where that can be read, at most a second old; None: the database is down.

        Where Citus distributes the database, a node may be away: the lag is None then too.
        """
        async with self._lock:  # concurrent probes share one query
            if time.monotonic() - self._looked_at >= CACHE_SECONDS:
                self._answer = await self._look()
                self._looked_at = time.monotonic()
            return self._answer

    async def _look(self) -> tuple[Schema, Lag | None] | None:
        reads, measurements = self._parts.reads, self._parts.measurements
        until = asyncio.get_running_loop().time() + ANSWER_SECONDS
        try:
            async with asyncio.timeout_at(until):
                is_distributed = await reads.is_distributed()
                seen = schema.judge(await schema.applied_by(reads), self._parts.migrations)
                asked = time.time()
                state = State(*(await reads.rows(STATE, {}))[0])
                ahead = health.clock_ahead(asked, time.time(), state.clock)
                measurements.state_seen(ahead, writable=state.writable)
        except _AWAY:
            return None
        if seen.fault is not None:
            return seen, None
        # On Citus appends run in threads, so the loop's connections for appends are free: the lag is asked there, since
        # one silent node would hold up all small reads.
        asks = self._parts.appends[0] if is_distributed else reads
        try:
            async with asyncio.timeout_at(until):
                lag = Lag(*(await asks.rows(LAG, {}))[0])
        except _AWAY:
            return (seen, None) if is_distributed else None
        measurements.lag_seen(lag)
        return seen, lag


class Sizes:
    """Looks at the sizes of tables now and then, in a thread, since a table that is locked is waited for."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self._parts = parts
        self._looking: asyncio.Task[None] | None = None
        self._looked_at = float("-inf")

    async def look(self) -> None:
        """Look, where the last look is a minute ago, and wait a second at most."""
        if time.monotonic() - self._looked_at >= SIZES_SECONDS and (self._looking is None or self._looking.done()):
            self._looked_at = time.monotonic()
            self._looking = asyncio.ensure_future(self._look())
            await asyncio.wait([self._looking], timeout=SIZES_WAIT_SECONDS)

    async def _look(self) -> None:
        def look() -> None:
            with self._parts.connection() as database:
                self._parts.measurements.sizes_seen(health.sizes(database))

        try:
            await self._parts.threads.run(look)
        except _AWAY as error:
            logger.debug("the sizes of tables can't be read: %s", error)


class Healthz:
    """`GET /healthz`: the process lives; it takes no thread and queries nothing."""

    async def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer."""
        no_parameters(request)
        response.media = {"status": "alive"}


class Readyz:
    """`GET /readyz`: the database answers, this version can work with its schema, and how the projection is."""

    def __init__(self, probe: Probe) -> None:
        """Take the probe of the database."""
        self._probe = probe

    async def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer 200 when requests can be served, also where some workspace lags; else 503 and why."""
        no_parameters(request)
        answer = await self._probe.look()
        if answer is None:
            raise UnavailableError("The database does not answer, please try again")
        seen, lag = answer
        if seen.fault:
            raise UnavailableError(seen.fault)
        if lag is None:
            response.media = {"status": "degraded", "database": "not all nodes answer"}
            return
        if not (lag.stuck or lag.lost or lag.seconds > LAG_SECONDS or seen.newer):
            response.media = {"status": "ready"}
            return
        response.media = {"status": "degraded", "stuck": lag.stuck, "lag_seconds": int(lag.seconds)}
        if seen.newer:
            response.media["schema"] = "newer"


class Metrics:
    """`GET /metrics`: Prometheus text over all processes of this tree."""

    def __init__(self, parts: Parts, probe: Probe) -> None:
        """Take the parts and what looks at the database."""
        self._counts = parts.measurements.counts
        self._probe = probe
        self._sizes = Sizes(parts)
        self._sampler = Sampler(parts)

    async def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer, also while the database is down: its last known figures are shown then."""
        no_parameters(request)
        is_up = await self._probe.look() is not None
        if is_up:
            await self._sizes.look()
        self._sampler.sample()
        response.content_type = exposition.CONTENT_TYPE
        try:
            async with asyncio.timeout(TEXT_SECONDS):  # a file system that hangs holds a thread that nobody else needs
                response.data = await asyncio.to_thread(exposition.text, self._counts, is_up=is_up)
        except TimeoutError as error:
            raise UnavailableError("The metrics can't be read, please try again") from error
