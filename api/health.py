"""Liveness, readiness and metrics of the process; none of them contains the id of a user or workspace."""

import asyncio
import time

import falcon
import psycopg

from api.dependencies import Parts
from api.errors import UnavailableError
from api.http.parameters import no_parameters
from api.telemetry import CONTENT_TYPE
from projections import schema
from projections.building.status import LAG, Lag
from projections.pipeline import TooManySentError
from projections.schema import Schema

LAG_SECONDS = 60.0  # a projection that is further behind is reported
ANSWER_SECONDS = 2.0  # a probe waits no longer for the database
CACHE_SECONDS = 1.0  # the database is asked no more often

_AWAY = (psycopg.Error, TooManySentError, TimeoutError, UnavailableError)


class Probe:
    """A probe's answer from the database, on the event loop's connection, so that busy threads do not delay it."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self._parts = parts
        self._lock = asyncio.Lock()
        self._answer: tuple[Schema, Lag | None] | None = None
        self._looked_at = float("-inf")
        self.lag: Lag | None = None  # the latest that is known

    async def look(self) -> tuple[Schema, Lag | None] | None:
        """Return the schema, and the lag where that can be read, at most a second old; None: the database is down."""
        async with self._lock:  # concurrent probes share one query
            if time.monotonic() - self._looked_at >= CACHE_SECONDS:
                self._answer = await self._look()
                self._looked_at = time.monotonic()
            return self._answer

    async def _look(self) -> tuple[Schema, Lag | None] | None:
        reads = self._parts.reads
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                seen = schema.judge(await schema.applied_by(reads), self._parts.migrations)
                if seen.fault is None:
                    [row] = await reads.rows(LAG, {})
                    self.lag = Lag(*row)
        except _AWAY:
            return None
        return seen, None if seen.fault else self.lag


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
        if seen.fault or lag is None:
            raise UnavailableError(seen.fault)
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
        self._parts = parts
        self._probe = probe

    async def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer, also while the database is down: its last known figures are shown then."""
        no_parameters(request)
        is_up = await self._probe.look() is not None
        response.content_type = CONTENT_TYPE
        response.data = await asyncio.to_thread(self._parts.measurements.text, self._probe.lag, is_up=is_up)
