"""Posting events over HTTP: single ones against an empty post to the same gunicorn, batches against raw binary COPY.

Batches are also set against the event-sourcing library's own `insert_events`, called in process, and single posts
against those of the commit that the environment variable BASELINE names.
"""

import uuid
from collections.abc import Mapping
from contextlib import closing
from itertools import count
from uuid import UUID

from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder

from benchmarks import append, measure, web, world
from domain import ledger
from domain.events import TOPICS, encode

SECONDS = 3
ROUNDS = 9
FIRST_ROWS = 100_000  # that are copied before anything was posted
LIBRARY_ROUNDS = 3
LIBRARY_BATCH = 500  # its pipeline of 5,000 does not come back every time, and is no faster
CONNECTIONS = 32
WORKSPACES = 100
EVENT = (
    '{"id":"%s-%d","type":"EmailSent","campaign_id":%d,"prospect_id":"prospect-%d",'
    '"occurred_at":"2026-10-07T08:09:10Z","step":1,"sender_id":"sender-1"}'
)

# One event a request; each has an id of its own.
SINGLE = """
local n = 0
request = function()
    n = n + 1
    local body = string.format('%(event)s', '%(run)s', n, n %% 20 + 1, n %% 5000)
    return wrk.format('POST', '/api/v1/events/?workspace_id=' .. (n %% %(workspaces)d + 1), nil, body)
end
"""
EMPTY = """
request = function() return wrk.format('POST', '/', nil, '') end
"""
# So many events a request, their ids made new by one substitution.
BATCH = """
local events = {}
for i = 1, %(size)d do events[i] = string.format('%(event)s', '@', i, i %% 20 + 1, i %% 5000) end
local body = '{"events":[' .. table.concat(events, ',') .. ']}'
local n = 0
request = function()
    n = n + 1
    return wrk.format('POST', '/api/v1/events/?workspace_id=1', nil, (body:gsub('@', '%(run)s-' .. n)))
end
"""


def main() -> None:
    """Measure single events to one workspace and spread over a hundred, and batches of 500 and 5,000."""
    if not web.can_be_measured("posts"):
        return
    with (
        web.service(WORKSPACES) as (environment, pool, headers),
        web.gunicorn(environment, web.HELLO) as hello,
        web.gunicorn(environment) as service,
        web.baseline(environment) as baseline,
        pool.connection() as database,
    ):
        for workspaces, goal, times in ((1, 0.35, 2.5), (WORKSPACES, 0.25, 2)):
            measure.compare(
                f"single posts to {workspaces} workspaces, against empty ones",
                lambda: web.load(hello, headers, connections=CONNECTIONS, seconds=SECONDS, script=EMPTY),
                lambda workspaces=workspaces: post(service, headers, SINGLE, workspaces=workspaces),  # type: ignore[misc]
                goal,
                ROUNDS,
            )
            if baseline is not None:
                measure.compare(
                    f"single posts to {workspaces} workspaces, against the baseline",
                    lambda workspaces=workspaces, url=baseline[0]: post(url, headers, SINGLE, workspaces=workspaces),  # type: ignore[misc]
                    lambda workspaces=workspaces: post(service, headers, SINGLE, workspaces=workspaces),  # type: ignore[misc]
                    times,
                    ROUNDS,
                )
        limit, posted_rows, copied_rows = append.Limit(database), 0, 0
        for size, goal in ((500, 0.6), (5_000, 0.65)):

            def posted(size: int = size) -> float:
                nonlocal posted_rows
                rate = size * post(service, headers, BATCH, connections=4, size=size)
                posted_rows += round(rate * SECONDS)
                return rate

            def copied(size: int = size) -> float:
                """Copy as many rows as were posted so far: what a row costs grows with its table and indexes."""
                nonlocal copied_rows
                number = max(FIRST_ROWS, posted_rows - copied_rows) // size
                copied_rows += number * size
                return limit.rate(size, number)

            measure.compare(f"batches of {size} over HTTP, against COPY", copied, posted, goal)
            with closing(world.library_datastore(environment["DATABASE_URL"])) as datastore:
                library = Library(PostgresApplicationRecorder(datastore, events_table_name="library_events"))
                measure.compare(
                    f"batches of {size} over HTTP, against the library's",
                    lambda library=library: library.rate(LIBRARY_BATCH),  # type: ignore[misc]
                    posted,
                    2,
                    LIBRARY_ROUNDS,
                )


class Library:
    """The library's own recorder on the library's own table, called in process with ready events."""

    _seeds = count(1)

    def __init__(self, recorder: PostgresApplicationRecorder) -> None:
        """Make the table."""
        self._recorder = recorder
        recorder.create_table()

    def rate(self, size: int) -> float:
        """Return how many events a second are inserted, in batches of this size."""
        stored = [
            StoredEvent(UUID(bytes=ledger.event_key(each)), 1, TOPICS[type(each)], encode(each))
            for each in world.events(20_000, next(self._seeds), "library")
        ]
        batches = [stored[first : first + size] for first in range(0, len(stored), size)]
        return measure.rate(lambda: sum(len(self._recorder.insert_events(batch) or ()) for batch in batches))


def post(
    url: str,
    headers: Mapping[str, str],
    script: str,
    connections: int = CONNECTIONS,
    seconds: int = SECONDS,
    **values: int,
) -> float:
    """Return how many posts a second are answered, made by one of the scripts with these values."""
    script %= {"event": EVENT, "run": uuid.uuid4().hex, **values}
    return web.load(url, headers, connections=connections, seconds=seconds, script=script)
