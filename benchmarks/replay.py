"""Replays by the command line, against a scan and decode, a materialized view, and small against large workspaces."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from psycopg.sql import SQL

from benchmarks import measure, web, world
from benchmarks.projection import library_rate, scan_rate
from domain.events import canonical, encode
from domain.recorder import Pool
from projections.building.projector import Projector

LARGE = 1_000_000
LARGER = 10_000_000
SMALL, OF = 10_000, 100
MIDDLING, OF_MIDDLING = 100, 10_000
ROUNDS = 3
BESIDE_SECONDS = 10
WORKERS = "2"

# Random journeys of ten events, made where they are kept; workspaces follow one another, `each` events a workspace.
_FILL = SQL("""
INSERT INTO stored_events (workspace_id, originator_id, originator_version, topic, state, position, recorded_at)
SELECT %(workspace_id)s + (n - 1) / %(each)s, gen_random_uuid(), 1,
    'domain.events:' || (ARRAY['EmailSent', 'EmailSent', 'EmailOpened', 'InviteSent', 'InviteAccepted',
        'LinkedInMessageSent', 'ReplyReceived'])[1 + mod(hashint8(n) & 65535, 7)],
    convert_to(format(
        '{{"id":"f-%%s","campaign_id":%%s,"occurred_at":%%s,"prospect_id":"prospect-%%s","step":1,"sender_id":"sender-1"}}',
        n, p %% 20 + 1, 1790000000000 + mod(n * 104729, 2000000000), p), 'UTF8'),
    (n - 1) %% %(each)s + 1, now()
FROM generate_series(%(first)s::bigint, %(last)s) AS n, mod(n * 7919, greatest(%(each)s / 10, 1)) AS p
""").format()
_HEADS = SQL("""
INSERT INTO log_head SELECT %(workspace_id)s + n, %(each)s FROM generate_series(0, %(number)s / %(each)s - 1) AS n
""")
# The same metrics by plain SQL over typed rows, which knows neither ties nor set-aside events: all that a replay makes,
# by quarter hour; and, for less, the totals of the dashboard's nine alone.
_TYPED = """
CREATE TABLE typed AS SELECT (convert_from(state, 'UTF8')::json ->> 'campaign_id')::bigint AS campaign_id,
    convert_from(state, 'UTF8')::json ->> 'prospect_id' AS prospect_id,
    (convert_from(state, 'UTF8')::json ->> 'occurred_at')::bigint AS at, substr(topic, 15) AS kind,
    topic ~ 'EmailSent|InviteSent|LinkedInMessageSent' AS touch
FROM stored_events WHERE workspace_id = 1;
CREATE MATERIALIZED VIEW activity AS WITH turned AS (
    SELECT campaign_id, at, kind, touch, lag(touch) OVER j AS after_touch, lag(at) OVER j AS since
    FROM typed WHERE touch OR kind = 'ReplyReceived'
    WINDOW j AS (PARTITION BY campaign_id, prospect_id ORDER BY at, touch DESC)
), journeys AS (
    SELECT campaign_id, min(at) AS opening, min(at) FILTER (WHERE touch) AS contacted,
        min(at) FILTER (WHERE kind = 'ReplyReceived') AS replied,
        min(at) FILTER (WHERE kind = 'InviteAccepted') AS accepted,
        min(at) FILTER (WHERE kind = 'EmailOpened') AS opened, min(at) FILTER (WHERE kind = 'EmailClicked') AS clicked,
        min(at) FILTER (WHERE kind = 'ProspectUnsubscribed') AS unsubscribed,
        max(at) FILTER (WHERE kind = 'ProspectInterested') AS interested,
        max(at) FILTER (WHERE kind = 'ProspectNotInterested') AS not_interested,
        max(at) FILTER (WHERE kind = 'ProspectAdded') AS added,
        max(at) FILTER (WHERE kind = 'ProspectRemoved') AS removed
    FROM typed GROUP BY campaign_id, prospect_id
), contributed AS (
    SELECT campaign_id, at / 900000 AS quarter, kind AS measure, 1 AS value FROM typed WHERE kind !~ '^Prospect'
    UNION ALL
    SELECT campaign_id, at / 900000, each.measure, each.value FROM turned
    CROSS JOIN LATERAL (VALUES ('timed', 1), ('took', at - since)) AS each (measure, value)
    WHERE NOT touch AND after_touch
    UNION ALL
    SELECT campaign_id, each.at / 900000, each.measure, 1 FROM journeys
    CROSS JOIN LATERAL (VALUES ('contacted', contacted), ('replied', replied), ('accepted', accepted),
        ('opened', opened), ('clicked', clicked), ('unsubscribed', unsubscribed),
        ('interested', CASE WHEN interested > coalesce(not_interested, -1) THEN interested END),
        ('not_interested', CASE WHEN not_interested >= coalesce(interested, -1) THEN not_interested END),
        ('enrolled', CASE WHEN coalesce(removed, -1) <= coalesce(added, -1) THEN coalesce(added, opening) END)
    ) AS each (measure, at) WHERE each.at IS NOT NULL
)
SELECT campaign_id, quarter, measure, sum(value) AS value FROM contributed GROUP BY campaign_id, quarter, measure;
CREATE MATERIALIZED VIEW totals AS WITH turned AS (
    SELECT campaign_id, prospect_id, at, kind, touch, lag(touch) OVER j AS after_touch, lag(at) OVER j AS since
    FROM typed WHERE touch OR kind = 'ReplyReceived'
    WINDOW j AS (PARTITION BY campaign_id, prospect_id ORDER BY at, touch DESC)
), turns AS (
    SELECT campaign_id, count(*) AS timed, sum(at - since) AS took
    FROM turned WHERE NOT touch AND after_touch GROUP BY campaign_id
), journeys AS (
    SELECT campaign_id, prospect_id, count(*) FILTER (WHERE kind = 'EmailSent') AS emails,
        count(*) FILTER (WHERE kind = 'InviteSent') AS invites,
        count(*) FILTER (WHERE kind = 'InviteAccepted') AS accepted,
        count(*) FILTER (WHERE kind = 'LinkedInMessageSent') AS messages,
        count(*) FILTER (WHERE kind = 'ReplyReceived') AS replies, bool_or(touch) AS contacted,
        coalesce(max(at) FILTER (WHERE kind = 'ProspectInterested')
            > coalesce(max(at) FILTER (WHERE kind = 'ProspectNotInterested'), -1), false) AS interested,
        coalesce(max(at) FILTER (WHERE kind = 'ProspectRemoved'), -1)
            <= coalesce(max(at) FILTER (WHERE kind = 'ProspectAdded'), -1) AS enrolled
    FROM typed GROUP BY campaign_id, prospect_id
)
SELECT campaign_id, count(*) FILTER (WHERE enrolled) AS enrolled, sum(emails) AS emails, sum(invites) AS invites,
    sum(accepted) AS accepted, sum(messages) AS messages, count(*) FILTER (WHERE contacted) AS contacted,
    sum(replies) AS replies,
    count(*) FILTER (WHERE interested) AS interested, max(timed) AS timed, max(took) AS took
FROM journeys LEFT JOIN turns USING (campaign_id) GROUP BY campaign_id
"""


def main() -> None:
    """Measure one workspace of a million events, one of ten, and ten thousand small ones."""
    with world.fresh_pool() as (url, pool):
        fill(pool, 1, LARGE)
        measure.compare(
            f"replay of {LARGE:,}, {WORKERS} workers, against scan and decode",
            lambda: scan_rate(pool, 1),
            lambda: replayed(url)["rate"],
            0.4,
            ROUNDS,
        )
        measure.compare("the same against ProjectionRunner", lambda: library_rate(url), lambda: _rate(url), 200, ROUNDS)
        with pool.connection() as database:
            database.execute(_TYPED.encode())
            database.execute("ANALYZE typed")
        for view, what, goal in (("activity", "all of it", 1), ("totals", "nine totals", None)):
            measure.compare(
                f"the same against REFRESH MATERIALIZED VIEW, {what}",
                lambda view=view: _refresh(pool, view),  # type: ignore[misc]
                lambda: _rate(url),
                goal,
                ROUNDS,
            )
    with world.fresh_pool() as (url, pool), world.fresh_pool() as (other_url, other):
        fill(pool, 1, LARGE)
        fill(other, 1, LARGER)
        peaks: list[int] = []

        def larger() -> float:
            result = replayed(other_url, watched=True)
            peaks.append(result["peak"])
            return float(result["rate"])

        measure.compare(f"replay of {LARGER:,}, against one of {LARGE:,}", lambda: _rate(url), larger, 0.85, ROUNDS)
        print(f"its memory, all processes together: {max(peaks) / 2**20:.0f} MiB, goal at most 1024", flush=True)
    with world.fresh_pool() as (url, pool), world.fresh_pool() as (other_url, other):
        fill(pool, 1, LARGE)
        fill(other, 1, SMALL * OF, OF)
        with world.fresh_pool() as (third_url, third):
            fill(third, 1, MIDDLING * OF_MIDDLING, OF_MIDDLING)
            measure.compare(
                f"replay of {MIDDLING:,} workspaces of {OF_MIDDLING:,}, against one of {LARGE:,}",
                lambda: _rate(url),
                lambda: _rate(third_url),
                None,
                ROUNDS,
            )
        measure.compare(
            f"replay of {SMALL:,} workspaces of {OF}, against one of {LARGE:,}",
            lambda: _rate(url),
            lambda: _rate(other_url),
            0.2,
            ROUNDS,
        )
        _idle(other)
    if web.can_be_measured("requests beside a replay"):
        _beside()


def fill(pool: Pool, workspace_id: int, number: int, each: int | None = None) -> None:
    """Put so many events into the log of a workspace, or `each` into those of as many as it takes."""
    values = {"workspace_id": workspace_id, "each": each or number, "number": number}
    with pool.connection() as database:
        for first in range(1, number + 1, 500_000):
            database.execute(_FILL, {**values, "first": first, "last": min(first + 499_999, number)})
        database.execute(_HEADS, values)
        database.execute("VACUUM (ANALYZE) stored_events")
        database.execute("CHECKPOINT")


def replayed(url: str, *, watched: bool = False) -> dict[str, Any]:
    """Replay everything by the command; return the rate (events/s) and, if watched, the peak of memory (bytes)."""
    command = [sys.executable, "-m", "service.cli", "replay", "--workers", WORKERS, "--json"]
    environment = {**os.environ, "DATABASE_URL": url}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    peak, ended = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while watched and not ended.wait(0.1):
            peak = max(peak, _memory(process.pid))

    watching = threading.Thread(target=watch)
    watching.start()
    printed, _ = process.communicate()
    ended.set()
    watching.join()
    assert process.returncode == 0
    return {"rate": json.loads(printed)["events_per_second"], "peak": peak}


def _rate(url: str) -> float:
    return float(replayed(url)["rate"])


def _memory(group: int) -> int:
    """Return how much memory the processes of a group have in all; what they share counts once (Linux)."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(process.name)) == group:
                text = (process / "smaps_rollup").read_text()
                total += 1024 * next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
        except (ProcessLookupError, FileNotFoundError, StopIteration):
            continue  # it has just ended
    return total


def _refresh(pool: Pool, view: str) -> float:
    def refresh() -> int:
        with pool.connection() as database:
            database.execute(f"REFRESH MATERIALIZED VIEW {view}".encode())
        return LARGE

    return measure.rate(refresh)


def _idle(pool: Pool) -> None:
    """Print what one look of an idle projector costs beside ten thousand quiet workspaces."""
    projector = Projector(pool)
    looks = measure.rate(lambda: sum(not projector.step() for _ in range(100)))
    print(f"an idle projector's look at {SMALL:,} quiet workspaces: {1_000 / looks:.1f} ms, twice a second", flush=True)


def _beside() -> None:
    """Print how long reads and posts take while replays run, against how long they take else."""
    with web.service() as (environment, pool, headers), web.gunicorn(environment) as url:
        fill(pool, 2, LARGE)
        fill(pool, 1, 20_000)
        replayed(environment["DATABASE_URL"])
        before = _waits(url, headers, lambda: time.sleep(BESIDE_SECONDS))
        beside = _waits(url, headers, lambda: [replayed(environment["DATABASE_URL"]) for _ in range(ROUNDS)])
    for what, (alone, disturbed) in zip(("reads", "posts"), zip(before, beside, strict=True), strict=True):
        ratio = disturbed / alone
        print(
            f"p99 of {what}: {alone:.1f} ms, beside a replay {disturbed:.1f} ms: {ratio:.1f}, goal at most 3",
            flush=True,
        )


def _waits(url: str, headers: dict[str, str], meanwhile: Callable[[], object]) -> tuple[float, float]:
    """Return the 99th percentile (ms) of reads and of posts, fifty of each a second, while something is done."""
    ended = threading.Event()
    kinds: list[tuple[str, str, Callable[[int], object]]] = [
        ("GET", "/api/v1/dashboard/campaign-analytics/?workspace_id=1", lambda _: None),
        ("POST", "/api/v1/events/?workspace_id=1", _event),
    ]

    def ask(method: str, path: str, body: Callable[[int], object]) -> float:
        waits: list[float] = []
        while not ended.wait(0.02):
            began = time.perf_counter()
            web.ask(url, method, path, headers, body(len(waits)))
            waits.append(time.perf_counter() - began)
        return 1_000 * sorted(waits)[len(waits) * 99 // 100]

    with ThreadPoolExecutor(len(kinds)) as clients:
        asking = [clients.submit(ask, *kind) for kind in kinds]
        try:
            meanwhile()
        finally:
            ended.set()
        reads, posts = (each.result() for each in asking)
    return reads, posts


def _event(number: int) -> object:
    [event] = world.events(1, number, str(time.monotonic_ns()))
    return json.loads(encode(canonical(event)))  # type: ignore[arg-type]
