"""What the processes of a tree have measured, in Prometheus' text format.

It reads memory, /proc and how full the file system of TMPDIR is, so it is there while the database is away: then it
has what was last seen of that.
"""

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from api import telemetry
from api.counts import PROJECTOR, SUPERVISOR, Counts
from domain.events import Code
from projections.building.status import Lag

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "campaign_analytics_"
_ZERO = (0.0,)

Totals = Mapping[tuple[str, ...], Sequence[float]]


def text(counts: Counts, *, is_up: bool) -> bytes:
    """Return all metrics of the tree whose memory this is; `is_up` says whether the database answers."""
    registry = CollectorRegistry()
    registry.register(_Everything(counts, is_up=is_up))
    return generate_latest(registry)


class _Everything(Collector):
    """All metrics, made anew for each answer."""

    def __init__(self, counts: Counts, *, is_up: bool) -> None:
        self._counts = counts
        self._is_up = is_up

    def collect(self) -> Iterator[Metric]:
        """Yield them."""
        totals = {tuple(key.split("\t")): numbers for key, numbers in self._counts.totals().items()}
        yield from _of_requests(totals)
        yield from _of_events(totals)
        yield from _of_queues(totals)
        yield from _of_the_database(totals)
        yield _gauge("database_up", "Whether the database answers.", self._is_up)
        yield from _of_the_projection(totals)
        yield from _of_session_keys(totals, self._counts)
        restarts = _counter("restarts", "Processes of this tree that were started again.", "child")
        for child in telemetry.CHILDREN:
            restarts.add_metric((child,), totals.get((telemetry.RESTARTS, child), _ZERO)[0])
        yield restarts
        yield from _of_processes(self._counts)
        yield from _of_the_temporary_directory(os.environ)
        build = GaugeMetricFamily(f"{_PREFIX}build_info", "The version that runs; always 1.", labels=("version",))
        build.add_metric((version("campaign-analytics"),), 1)
        yield build


def _of_requests(totals: Totals) -> Iterator[Metric]:
    requests = _counter("http_requests", "Requests answered.", "method", "route", "status")
    durations = HistogramMetricFamily(
        f"{_PREFIX}http_request_seconds", "How long requests took.", labels=("method", "route")
    )
    for labels, numbers in _labelled(totals, telemetry.REQUESTS):
        requests.add_metric(labels, numbers[0])
    for labels, numbers in _labelled(totals, telemetry.DURATIONS):
        durations.add_metric(labels, *_histogram(telemetry.SECONDS, numbers))
    yield requests
    yield durations


def _of_events(totals: Totals) -> Iterator[Metric]:
    events = _counter("events", "Events posted, by what became of them.", "outcome")
    for outcome in telemetry.OUTCOMES:
        events.add_metric((outcome,), totals.get((telemetry.EVENTS, outcome), _ZERO)[0])
    yield events
    rejections = _counter("rejections", "Events that were rejected, by the code that their sender was told.", "code")
    for code in get_args(Code):
        rejections.add_metric((code,), totals.get((telemetry.REJECTIONS, code), _ZERO)[0])
    yield rejections
    hooks = _counter("hook_events", "What tools have posted, by what became of it.", "provider", "outcome")
    for labels, numbers in _labelled(totals, telemetry.HOOKS):
        hooks.add_metric(labels, numbers[0])
    yield hooks
    commits = HistogramMetricFamily(f"{_PREFIX}append_events", "Events of each transaction that has appended some.")
    none = [0.0] * (len(telemetry.EVENTS_AT_ONCE) + 2)
    commits.add_metric((), *_histogram(telemetry.EVENTS_AT_ONCE, totals.get((telemetry.COMMITS,), none)))
    yield commits
    posts = _counter("append_posts", "Posts of these transactions; more than transactions where posts share them.")
    posts.add_metric((), totals.get((telemetry.COMMITTED_POSTS,), _ZERO)[0])
    yield posts
    full = _counter("disk_full", "Requests that could not be recorded, since the database's disk is full.")
    full.add_metric((), totals.get((telemetry.DISK_FULL,), _ZERO)[0])
    yield full


def _of_queues(totals: Totals) -> Iterator[Metric]:
    """Yield what waits in the living worker processes, as they were within the last second."""
    queues = GaugeMetricFamily(f"{_PREFIX}queue_length", "What waits, by what it waits for.", labels=("queue",))
    for labels, numbers in _labelled(totals, telemetry.QUEUE):
        queues.add_metric(labels, numbers[0])
    yield queues
    in_use, most = (totals.get((key,), _ZERO)[0] for key in (telemetry.POOL_IN_USE, telemetry.POOL_SIZE))
    yield _gauge("pool_connections", "Connections to the database in use.", in_use)
    yield _gauge("pool_size", "Connections to the database that the living processes may use.", most)
    for name, key, what in (
        ("pool_waits", telemetry.POOL_WAITS, "Times that a connection had to be waited for."),
        ("pool_wait_seconds", telemetry.POOL_WAIT_SECONDS, "How long that took in all."),
        ("pool_failures", telemetry.POOL_FAILURES, "Times that no connection came in time."),
    ):
        counter = _counter(name, what)
        counter.add_metric((), totals.get((key,), _ZERO)[0])
        yield counter


def _of_the_database(totals: Totals) -> Iterator[Metric]:
    """Yield what was last seen of it."""
    state = totals.get((telemetry.STATE,))
    if state is not None:
        _, ahead, writable = state
        yield _gauge("clock_ahead_seconds", "How far this clock is ahead of the database's, at least.", ahead)
        yield _gauge("database_writable", "Whether the database takes writes, but for a disk that is full.", writable)
    reads = _counter("standby_reads", "Reads for standbys; those that used none went to the primary.", "outcome")
    for outcome in telemetry.STANDBY_OUTCOMES:
        reads.add_metric((outcome,), totals.get((telemetry.STANDBY_READS, outcome), _ZERO)[0])
    yield reads
    sizes = GaugeMetricFamily(f"{_PREFIX}table_bytes", "What a table takes with its indexes.", labels=("table",))
    for labels, (_, size) in _labelled(totals, telemetry.TABLE):
        sizes.add_metric(labels, size)
    yield sizes


def _of_the_projection(totals: Totals) -> Iterator[Metric]:
    if (telemetry.LOOKED_AT,) in totals:
        age = max(0.0, time.monotonic() - totals[telemetry.LOOKED_AT,][0])
        yield _gauge("projector_look_age_seconds", "How long ago this tree's projector looked for events.", age)
    seen = totals.get((telemetry.LAG,))
    if seen is None:
        return
    lag = Lag._make(seen[1:])
    yield _gauge("projection_lag_events", "Events in the logs that the read models do not include yet.", lag.events)
    yield _gauge("projection_lag_seconds", "How long the oldest of these events has waited.", lag.seconds)
    yield _gauge("projection_stuck", "Workspaces with an event that can't be folded.", lag.stuck)
    yield _gauge("projection_lost", "Workspaces whose log went back and whose read models are rebuilt.", lag.lost)
    yield _gauge("log_epoch_since_seconds", "When a log last went back, or may have; 0: never.", lag.epoch_since)
    yield _gauge("projection_set_aside_events", "Events that an operator has set aside.", lag.set_aside)
    yield _gauge("replay_events", "Events that the replays at work have to fold.", lag.replay_upto)
    yield _gauge("replay_folded_events", "Events that they have folded so far.", lag.replay_folded)


def _of_session_keys(totals: Totals, counts: Counts) -> Iterator[Metric]:
    """Yield how the platform's published keys are; nothing where sessions are verified by a fixed one."""
    fetches = _counter("session_keys_fetches", "Fetches of the published keys, by what came of them.", "outcome")
    fetched_at = [found[0] for _, slot in counts.slots() if (found := slot.numbers(telemetry.KEYS_FETCHED_AT))]
    if fetched_at:
        for outcome in telemetry.FETCHES:
            fetches.add_metric((outcome,), totals.get((telemetry.KEYS_FETCHES, outcome), _ZERO)[0])
        what = "How old the published keys are in the worker process whose are oldest; +Inf: it has none."
        yield _gauge("session_keys_age_seconds", what, max(0.0, time.monotonic() - min(fetched_at)))
    yield fetches


def _of_processes(counts: Counts) -> Iterator[Metric]:
    """Yield the resources that the tree's living processes use, where the system reports them."""
    memory = GaugeMetricFamily(
        f"{_PREFIX}process_resident_memory_bytes", "Memory that a process holds.", labels=("process",)
    )
    seconds = _counter("process_cpu_seconds", "Processor time that a process has used.", "process")
    for number, slot in counts.slots():
        pid = slot.numbers(telemetry.PROCESS)
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


def _of_the_temporary_directory(environment: Mapping[str, str]) -> Iterator[Metric]:
    """Yield how much room there is for replays; no file is made to find that out."""
    try:
        usage = shutil.disk_usage(environment.get("TMPDIR") or "/tmp")  # noqa: S108 (it is only asked about)
    except OSError:  # there is no such directory; who needs it says so
        return
    yield _gauge("temporary_free_bytes", "What is free on the file system of TMPDIR.", usage.free)
    yield _gauge("temporary_size_bytes", "How large the file system of TMPDIR is.", usage.total)


def _labelled(totals: Totals, name: str) -> Iterator[tuple[Sequence[str], Sequence[float]]]:
    return ((key[1:], numbers) for key, numbers in sorted(totals.items()) if key[0] == name)


def _histogram(bounds: Sequence[float], numbers: Sequence[float]) -> tuple[list[tuple[str, float]], float]:
    """Return the buckets as Prometheus adds them up, and the sum, of what was counted by bucket."""
    *buckets, total = numbers
    names = [*(str(float(each)) for each in bounds), "+Inf"]
    return list(zip(names, accumulate(buckets), strict=True)), total


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}{name}", documentation, value=value)


def _counter(name: str, documentation: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"{_PREFIX}{name}", documentation, labels=labels)
