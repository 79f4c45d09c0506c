"""Whether the process lives, whether it can serve, and what it measures; no id of anybody is told to a stranger."""

import falcon

from api.dependencies import Parts
from api.errors import UnavailableError
from api.http.parameters import no_parameters
from api.telemetry import CONTENT_TYPE

LAG_SECONDS = 60.0  # a projection that is further behind is told of


class Healthz:
    """`GET /healthz`: the process lives; it takes no thread and asks nobody."""

    async def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer."""
        no_parameters(request)
        response.media = {"status": "alive"}


class Readyz:
    """`GET /readyz`: the database answers, its schema is this version's, and how the projection is."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self._parts = parts

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer 200 when requests can be served, also where some workspace lags; else 503 and why."""
        no_parameters(request)
        with self._parts.connection() as database:
            fault = self._parts.schema_fault(database)
        if fault:
            raise UnavailableError(fault)
        lag = self._parts.measurements.projection.lag()
        if lag.stuck or lag.seconds > LAG_SECONDS:
            response.media = {"status": "degraded", "stuck": lag.stuck, "lag_seconds": int(lag.seconds)}
        else:
            response.media = {"status": "ready"}


class Metrics:
    """`GET /metrics`: Prometheus text over all worker processes."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self._parts = parts

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer."""
        no_parameters(request)
        response.content_type = CONTENT_TYPE
        response.data = self._parts.measurements.text()
