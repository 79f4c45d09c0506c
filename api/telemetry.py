"""What the service measures of itself for Prometheus, right over several processes."""

import logging
import os
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import Self

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from api.counts import LIVING, PROJECTOR, SLOT, SUPERVISOR, Counts
from projections.building.status import Lag
from projections.trouble import Trouble

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OUTCOMES = ("accepted", "duplicate", "rejected")
CHILDREN = ("web", "worker", "projector")
_PREFIX = "campaign_analytics_"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_EVENTS_AT_ONCE = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
_EVENT_BOUNDS = (*(str(float(each)) for each in _EVENTS_AT_ONCE), "+Inf")
_BOUNDS = (*(str(float(each)) for each in _SECONDS), "+Inf")

# The keys of what is counted; the values of labels follow, each behind a tab.
_HOOKS = "hooks"
_COMMITS, _COMMITTED_POSTS = "commits", "committed_posts"
_REQUESTS, _DURATIONS, _EVENTS, _DISK_FULL, RESTARTS = "requests", "durations", "events", "disk_full", "restarts"
_CONNECTIONS, PROCESS, LOOKED_AT = f"{LIVING}connections", f"{LIVING}process", f"{LIVING}looked_at"

logger = logging.getLogger(__name__)


class Measurements:
    """Counts the work of one process, and reports that of all of them."""

    def __init__(self, counts: Counts, slot: int) -> None:
        """Take the memory that the processes share, and this one's slot."""
        self._counts = counts
        self._slot = counts.slot(slot)
        self._slot.set(self._slot.place(PROCESS), os.getpid())
        self._connections = self._slot.place(_CONNECTIONS)
        self._of = cache(self._labelled)  # methods, routes and statuses are few
        self._outcomes = [self._slot.place(f"{_EVENTS}\t{outcome}") for outcome in OUTCOMES]
        self._hook = cache(lambda provider, outcome: self._slot.place(f"{_HOOKS}\t{provider}\t{outcome}"))
        self._refused = self._slot.place(_DISK_FULL)
        self._commits = self._slot.place(_COMMITS, len(_EVENT_BOUNDS) + 1)
        self._committed_posts = self._slot.place(_COMMITTED_POSTS)
        self._full = Trouble(logger, "nothing can be recorded, the database's disk is full", "recording goes on")

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Return the measurements of a process, which shares memory with others where its environment says so."""
        shared = Counts.inherited(environment)
        if shared is None or SLOT not in environment:
            return cls(Counts.made(slots=1), 0)
        return cls(shared, int(environment[SLOT]))

    def _labelled(self, method: str, route: str, status: int) -> tuple[int, int]:
        durations = self._slot.place(f"{_DURATIONS}\t{method}\t{route}", len(_BOUNDS) + 1)
        return self._slot.place(f"{_REQUESTS}\t{method}\t{route}\t{status}"), durations

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        requests, durations = self._of(method, route, status)
        self._slot.add(requests, 1)
        self._slot.add(durations + bisect_left(_SECONDS, seconds), 1)
        self._slot.add(durations + len(_BOUNDS), seconds)

    def recorded(self, accepted: int, duplicates: int, rejected: int) -> None:
        """Count posted events."""
        if accepted:
            self._full.over()
        for place, number in zip(self._outcomes, (accepted, duplicates, rejected), strict=True):
            if number:
                self._slot.add(place, number)

    def committed(self, events: int, posts: int) -> None:
        """Count a transaction that has appended so many events of so many posts."""
        self._slot.add(self._commits + bisect_left(_EVENTS_AT_ONCE, events), 1)
        self._slot.add(self._commits + len(_EVENT_BOUNDS), events)
        self._slot.add(self._committed_posts, posts)

    def disk_full(self, error: Exception) -> None:
        """Count a request that could not be recorded, since the database's disk is full."""
        self._full.met(error)
        self._slot.add(self._refused, 1)

    def hooked(self, provider: str, numbers: Mapping[str, int]) -> None:
        """Count the events of a tool's delivery, by outcome."""
        for outcome, number in numbers.items():
            if number:
                self._slot.add(self._hook(provider, outcome), number)

    def connection_lent(self, number: int) -> None:
        """Count a connection that was borrowed (1) or returned (-1)."""
        self._slot.add(self._connections, number)

    def text(self, lag: Lag | None, *, is_up: bool) -> bytes:
        """Return all metrics in Prometheus' text format, with the last known figures of the database."""
        registry = CollectorRegistry()
        registry.register(_Everything(self._counts, lag, is_up=is_up))
        return generate_latest(registry)


class _Everything(Collector):
    """All metrics, made anew for each answer."""

    def __init__(self, counts: Counts, lag: Lag | None, *, is_up: bool) -> None:
        self._counts = counts
        self._lag = lag
        self._is_up = is_up

    def collect(self) -> Iterator[Metric]:
        """Yield them."""
        yield from self._counted()
        yield from self._of_processes()
        yield _gauge("database_up", "Whether the database answers.", self._is_up)
        if self._lag is not None:
            yield from _of_projection(self._lag)
        build = GaugeMetricFamily(f"{_PREFIX}build_info", "The version that runs; always 1.", labels=("version",))
        build.add_metric((version("campaign-analytics"),), 1)
        yield build

    def _counted(self) -> Iterator[Metric]:
        totals = {tuple(key.split("\t")): numbers for key, numbers in self._counts.totals().items()}
        requests = _counter("http_requests", "Requests answered.", "method", "route", "status")
        durations = HistogramMetricFamily(
            f"{_PREFIX}http_request_seconds", "How long requests took.", labels=("method", "route")
        )
        for (name, *labels), numbers in sorted(totals.items()):
            if name == _REQUESTS:
                requests.add_metric(labels, numbers[0])
            elif name == _DURATIONS:
                *buckets, seconds = numbers
                durations.add_metric(labels, list(zip(_BOUNDS, accumulate(buckets), strict=True)), seconds)
        yield requests
        yield durations
        events = _counter("events", "Events posted, by what became of them.", "outcome")
        for outcome in OUTCOMES:
            events.add_metric((outcome,), totals.get((_EVENTS, outcome), [0])[0])
        yield events
        hooks = _counter("hook_events", "What tools have posted, by what became of it.", "provider", "outcome")
        for (name, *labels), numbers in sorted(totals.items()):
            if name == _HOOKS:
                hooks.add_metric(labels, numbers[0])
        yield hooks
        full = _counter("disk_full", "Requests that could not be recorded, since the database's disk is full.")
        full.add_metric((), totals.get((_DISK_FULL,), [0])[0])
        yield full
        restarts = _counter("restarts", "Processes of this tree that were started again.", "child")
        for child in CHILDREN:
            restarts.add_metric((child,), totals.get((RESTARTS, child), [0])[0])
        yield restarts
        [connections] = totals.get((_CONNECTIONS,), [0])
        yield _gauge("pool_connections", "Connections to the database in use.", connections)
        if (LOOKED_AT,) in totals:
            [looked_at] = totals[LOOKED_AT,]
            age = max(0.0, time.time() - looked_at)
            yield _gauge("projector_look_age_seconds", "How long ago this tree's projector looked for events.", age)

    def _of_processes(self) -> Iterator[Metric]:
        """Yield the resources that the tree's living processes use, where the system reports them."""
        memory = GaugeMetricFamily(
            f"{_PREFIX}process_resident_memory_bytes", "Memory that a process holds.", labels=("process",)
        )
        seconds = _counter("process_cpu_seconds", "Processor time that a process has used.", "process")
        for number, slot in self._counts.slots():
            pid = dict(slot.read()).get(PROCESS)
            used = pid and _used(int(pid[0]))
            if used:
                name = {SUPERVISOR: "supervisor", PROJECTOR: "projector"}.get(number, f"worker-{number}")
                memory.add_metric((name,), used[0])
                seconds.add_metric((name,), used[1])
        yield memory
        yield seconds


def _used(pid: int) -> tuple[int, float] | None:
    """Return a process's memory in bytes and processor time in seconds (proc(5), `stat`); None where it is unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:  # it has ended, or the system has no such files
        return None
    user, system, pages = int(fields[11]), int(fields[12]), int(fields[21])
    return pages * os.sysconf("SC_PAGE_SIZE"), (user + system) / os.sysconf("SC_CLK_TCK")


def _of_projection(lag: Lag) -> Iterator[Metric]:
    yield _gauge("projection_lag_events", "Events in the logs that the read models do not include yet.", lag.events)
    yield _gauge("projection_lag_seconds", "How long the oldest of these events has waited.", lag.seconds)
    yield _gauge("projection_stuck", "Workspaces with an event that can't be folded.", lag.stuck)
    yield _gauge("projection_lost", "Workspaces whose log went back and whose read models are rebuilt.", lag.lost)
    yield _gauge("log_epoch_since_seconds", "When a log last went back, or may have; 0: never.", lag.epoch_since)
    yield _gauge("projection_set_aside_events", "Events that an operator has set aside.", lag.set_aside)
    yield _gauge("replay_events", "Events that the replays at work have to fold.", lag.replay_upto)
    yield _gauge("replay_folded_events", "Events that they have folded so far.", lag.replay_folded)


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}{name}", documentation, value=value)


def _counter(name: str, documentation: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"{_PREFIX}{name}", documentation, labels=labels)
