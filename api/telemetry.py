"""What the service measures of itself for Prometheus, right over several worker processes."""

import logging
import time
from collections.abc import Iterator, Mapping
from functools import cache
from threading import Lock

import psycopg
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from domain.recorder import Pool
from projections.building import status
from projections.building.status import Lag

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MULTIPROCESS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"  # where the worker processes share what they count
KEPT_SECONDS = 1.0
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

logger = logging.getLogger(__name__)


class Projection(Collector):
    """How far the projection is behind, read from the database, or tried to, at most once a second."""

    def __init__(self, pool: Pool) -> None:
        """Take the pool to borrow a connection from."""
        self._pool = pool
        self._lock = Lock()
        self._lag: Lag | psycopg.OperationalError = psycopg.OperationalError("not read yet")
        self._read_at = float("-inf")

    def lag(self) -> Lag:
        """Return the lag as it is or was a second ago at most; raise psycopg's errors where the database is away."""
        with self._lock:
            if time.monotonic() - self._read_at >= KEPT_SECONDS:
                self._lag = self._read()
                self._read_at = time.monotonic()
            if isinstance(self._lag, psycopg.OperationalError):
                raise self._lag
            return self._lag

    def _read(self) -> Lag | psycopg.OperationalError:
        """Return a failure as well: those who wait for this one are not to fail after one another."""
        try:
            with self._pool.connection() as database:
                return status.lag(database)
        except psycopg.OperationalError as error:
            return error

    def collect(self) -> Iterator[Metric]:
        """Yield the lag; nothing where the database is away, which the log says."""
        try:
            lag = self.lag()
        except psycopg.OperationalError as error:
            logger.warning("the projection's lag can't be read: %s", error)
            return
        yield _gauge("projection_lag_events", "Events in the logs that the read models do not include yet.", lag.events)
        yield _gauge("projection_lag_seconds", "How long the oldest of these events has waited.", lag.seconds)
        yield _gauge("projection_stuck", "Workspaces with an event that can't be folded.", lag.stuck)
        yield _gauge("projection_lost", "Workspaces whose log went back and whose read models are rebuilt.", lag.lost)
        yield _gauge("log_epoch_since_seconds", "When a log last went back, or may have; 0: never.", lag.epoch_since)
        yield _gauge("projection_set_aside_events", "Events that an operator has set aside.", lag.set_aside)
        yield _gauge("replay_events", "Events that the replays at work have to fold.", lag.replay_upto)
        yield _gauge("replay_folded_events", "Events that they have folded so far.", lag.replay_folded)


class Measurements:
    """Counts what one process does, and tells what all of them have done."""

    def __init__(self, projection: Projection, environment: Mapping[str, str]) -> None:
        """Take the projection's lag, and the environment that says where worker processes share what they count."""
        self.projection = projection
        self._shared = environment.get(MULTIPROCESS_DIRECTORY)
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "campaign_analytics_http_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "campaign_analytics_http_request_seconds",
            "How long requests took.",
            ("method", "route"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._events = Counter(
            "campaign_analytics_events", "Events posted, by what became of them.", ("outcome",), registry=self._registry
        )
        self._connections = Gauge(
            "campaign_analytics_pool_connections",
            "Connections to the database in use.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        for outcome in ("accepted", "duplicate", "rejected"):
            self._events.labels(outcome)
        self._of = cache(self._labelled)  # methods, routes and statuses are few

    def _labelled(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        return self._requests.labels(method, route, str(status)), self._seconds.labels(method, route)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        requests, histogram = self._of(method, route, status)
        requests.inc()
        histogram.observe(seconds)

    def recorded(self, accepted: int, duplicates: int, rejected: int) -> None:
        """Count posted events."""
        for outcome, number in (("accepted", accepted), ("duplicate", duplicates), ("rejected", rejected)):
            if number:
                self._events.labels(outcome).inc(number)

    def connection_lent(self, number: int) -> None:
        """Count a connection that was taken (1) or given back (-1)."""
        self._connections.inc(number)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        registry = self._registry
        if self._shared:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=self._shared)  # type: ignore[no-untyped-call]
        return generate_latest(registry) + generate_latest(_Only(self.projection))


class _Only(CollectorRegistry):
    """A registry of one collector, made anew for each answer."""

    def __init__(self, collector: Collector) -> None:
        super().__init__()
        self.register(collector)


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"campaign_analytics_{name}", documentation, value=value)
