"""What a process measures of itself, in memory that the processes of a tree share."""

import logging
import os
import time
from bisect import bisect_left
from collections.abc import Mapping
from functools import cache
from typing import Self

from api.counts import LATEST, LIVING, SLOT, Counts
from projections.building.status import Lag
from projections.trouble import Trouble

OUTCOMES = ("accepted", "duplicate", "rejected")
STANDBY_OUTCOMES = ("used", "behind", "away")
CHILDREN = ("web", "worker", "projector")
FETCHES = ("fetched", "failed", "unusable")  # what comes of fetching the published keys
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
EVENTS_AT_ONCE = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)

# The keys of what is counted; the values of labels follow, each behind a tab.
REQUESTS, DURATIONS, EVENTS, REJECTIONS, HOOKS = "requests", "durations", "events", "rejections", "hooks"
COMMITS, COMMITTED_POSTS, DISK_FULL, RESTARTS = "commits", "committed_posts", "disk_full", "restarts"
POOL_WAITS, POOL_WAIT_SECONDS, POOL_FAILURES = "pool_waits", "pool_wait_seconds", "pool_failures"
KEYS_FETCHES, STANDBY_READS = "keys_fetches", "standby_reads"
PROCESS, LOOKED_AT = f"{LIVING}process", f"{LIVING}looked_at"
QUEUE, POOL_SIZE, POOL_IN_USE = f"{LIVING}queue", f"{LIVING}pool_size", f"{LIVING}pool_in_use"
KEYS_FETCHED_AT = f"{LIVING}keys_fetched_at"
LAG, STATE, TABLE = f"{LATEST}lag", f"{LATEST}state", f"{LATEST}table"

logger = logging.getLogger(__name__)


class Measurements:
    """Counts the work of one process."""

    def __init__(self, counts: Counts, slot: int) -> None:
        """Take the memory that the processes share, and this one's slot."""
        self.counts = counts
        self._slot = counts.slot(slot)
        self._slot.set(self._slot.place(PROCESS), os.getpid())
        self._of = cache(self._labelled)  # methods, routes and statuses are few
        self._outcomes = [self._slot.place(f"{EVENTS}\t{outcome}") for outcome in OUTCOMES]
        self._hook = cache(lambda provider, outcome: self._slot.place(f"{HOOKS}\t{provider}\t{outcome}"))
        self._place = cache(self._slot.place)
        self._refused = self._slot.place(DISK_FULL)
        self._commits = self._slot.place(COMMITS, len(EVENTS_AT_ONCE) + 2)
        self._committed_posts = self._slot.place(COMMITTED_POSTS)
        self._full = Trouble(logger, "nothing can be recorded, the database's disk is full", "recording goes on")

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Return the measurements of a process, which shares memory with others where its environment says so."""
        shared = Counts.inherited(environment)
        if shared is None or SLOT not in environment:
            return cls(Counts(slots=1), 0)
        return cls(shared, int(environment[SLOT]))

    def _labelled(self, method: str, route: str, status: int) -> tuple[int, int]:
        durations = self._slot.place(f"{DURATIONS}\t{method}\t{route}", len(SECONDS) + 2)
        return self._slot.place(f"{REQUESTS}\t{method}\t{route}\t{status}"), durations

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        requests, durations = self._of(method, route, status)
        self._slot.add(requests, 1)
        self._slot.add(durations + bisect_left(SECONDS, seconds), 1)
        self._slot.add(durations + len(SECONDS) + 1, seconds)

    def recorded(self, accepted: int, duplicates: int, rejected: Mapping[str, int]) -> None:
        """Count posted events; those that were rejected come by their code."""
        if accepted:
            self._full.over()
        for place, number in zip(self._outcomes, (accepted, duplicates, sum(rejected.values())), strict=True):
            if number:
                self._slot.add(place, number)
        for code, number in rejected.items():
            self._slot.add(self._place(f"{REJECTIONS}\t{code}"), number)

    def committed(self, events: int, posts: int) -> None:
        """Count a transaction that has appended so many events of so many posts."""
        self._slot.add(self._commits + bisect_left(EVENTS_AT_ONCE, events), 1)
        self._slot.add(self._commits + len(EVENTS_AT_ONCE) + 1, events)
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

    def read_standby(self, outcome: str) -> None:
        """Count a read for which a standby was asked, or could not be."""
        self._slot.add(self._place(f"{STANDBY_READS}\t{outcome}"), 1)

    def sampled(self, values: Mapping[str, float]) -> None:
        """Set what this process is like now, by key: its gauges, and counts that something else counts for it."""
        for key, value in values.items():
            self._slot.set(self._place(key), value)

    def looked(self) -> None:
        """Note that the projector has looked for events."""
        self._slot.set(self._place(LOOKED_AT), time.monotonic())

    def lag_seen(self, lag: Lag) -> None:
        """Note how far the projection is, for all processes of the tree, also while the database is away."""
        self._slot.keep(LAG, (time.monotonic(), *lag))

    def state_seen(self, clock_ahead: float, *, writable: bool) -> None:
        """Note how far our clock is ahead of the database's (s), and whether the database takes writes."""
        self._slot.keep(STATE, (time.monotonic(), clock_ahead, writable))

    def sizes_seen(self, sizes: Mapping[str, int]) -> None:
        """Note how large tables are, in bytes."""
        for table, size in sizes.items():
            self._slot.keep(f"{TABLE}\t{table}", (time.monotonic(), size))
