"""How long main answers take while others give the service much to do, against undisturbed."""

import itertools
import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from urllib.parse import urlsplit

from psycopg.sql import SQL

from benchmarks import measure, posting, read, web
from domain.recorder import Pool

SECONDS = 4
ROUNDS = 5
CONNECTIONS = 4  # so that each worker process has some
PAUSE = 0.005
SIZE = 5_000  # events of one post
POSTERS = 4  # connections

# One question after another; each counts up a position that is there, so no answer is kept.
QUESTIONS = """
local asked = {
    'timeseries/?start_date=2026-08-02&end_date=2026-10-30&interval=day',
    'breakdown/?by=step',
    '1/explain/?metric=amount_of_replies'
}
local n = 0
request = function()
    n = n + 1
    local path = '/api/v1/dashboard/campaign-analytics/' .. asked[n %% 3 + 1]
    return wrk.format('GET', path .. '&workspace_id=%(workspace)d&min_position=' .. (%(first)d + n))
end
"""

# PostgreSQL's part alone: as many rows at a time into a table of the same shape, under the lock of a head.
_TABLES = SQL("""
CREATE TABLE IF NOT EXISTS raw_events (LIKE stored_events INCLUDING ALL);
CREATE TABLE IF NOT EXISTS raw_head AS SELECT 0::bigint AS head
""")
_INSERT = SQL("""
WITH moved AS (UPDATE raw_head SET head = head + %(count)s RETURNING head), state AS (
    SELECT '{{"id":"a-bit-longer-than-thirty-two-characters","campaign_id":12,"occurred_at":1792000000000,'
        '"prospect_id":"prospect-123","step":1,"sender_id":"sender-1"}}'::bytea AS state
)
INSERT INTO raw_events (workspace_id, originator_id, originator_version, topic, state, position, recorded_at)
SELECT 1, gen_random_uuid(), 1, 'domain.events:EmailSent', state, head - place, now()
FROM moved, state, generate_series(0, %(count)s - 1) AS place
""").format()


def compare(service: str, path: str, headers: Mapping[str, str], questions_to: int, pool: Pool) -> None:
    """Measure beside posts to workspace 1, and beside questions to another one, in turns with nothing beside.

    Also beside inserts within PostgreSQL, without the service: the limit.
    """
    with pool.connection() as database:
        database.execute(_TABLES)
    first = itertools.count(1, 1_000)

    def post() -> float:
        return posting.post(service, headers, posting.BATCH, POSTERS, SECONDS + 1, size=SIZE)

    def ask() -> float:
        script = QUESTIONS % {"workspace": questions_to, "first": next(first)}
        return web.load(service, headers, connections=1, seconds=SECONDS + 1, script=script)

    def insert() -> float:
        until = time.monotonic() + SECONDS + 1
        with ThreadPoolExecutor(POSTERS) as connections:
            return sum(connections.map(lambda _: _insert(pool, until), range(POSTERS)))

    for what, disturb in (
        (f"p99 of reads beside {POSTERS} connections that post {SIZE:,}", post),
        (f"the limit: beside as many that insert {SIZE:,} at a time within PostgreSQL", insert),
        ("p99 of reads beside a series, a breakdown, an explanation", ask),
    ):
        pairs, longest = [], 0.0
        for _ in range(ROUNDS):
            undisturbed, _ = _waits(service, path, headers)
            disturbed, most = _disturbed(disturb, service, path, headers)
            pairs.append((undisturbed, disturbed))
            longest = max(longest, most)
        measure.report_waits(what, pairs, 3)
        print(f"(the longest took {1_000 * longest:.0f} ms, goal at most 250)", flush=True)


def _insert(pool: Pool, until: float) -> float:
    """Insert as a post does, by one connection; return how many rows."""
    rows = 0
    with pool.connection() as database:
        while time.monotonic() < until:
            rows += database.execute(_INSERT, {"count": SIZE}).rowcount
    return rows


def _disturbed(
    disturb: Callable[[], float], service: str, path: str, headers: Mapping[str, str]
) -> tuple[float, float]:
    with ThreadPoolExecutor(1) as other:
        disturbing = other.submit(disturb)
        time.sleep(0.5)
        waits = _waits(service, path, headers)
        disturbing.result()
    return waits


def _waits(service: str, path: str, headers: Mapping[str, str]) -> tuple[float, float]:
    """Return the 99th percentile and the longest of the seconds that answers take, on some connections in turn."""
    parts = urlsplit(service)
    request = read.head(f"{service}{path}", headers)
    times = []
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection((parts.hostname, parts.port))) for _ in range(CONNECTIONS)
        ]
        until = time.monotonic() + SECONDS
        for connection in itertools.cycle(connections):
            if time.monotonic() >= until:
                break
            times.append(read.seconds(connection, request))
            time.sleep(PAUSE)
    return sorted(times)[len(times) * 99 // 100], max(times)
