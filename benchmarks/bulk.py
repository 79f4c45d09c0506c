"""Appending in bulk and beside a lot: `import` against COPY, a fresh workspace against a large one."""

import os
import re
import subprocess
import sys
import tempfile
from itertools import count
from pathlib import Path

from psycopg.sql import SQL

from benchmarks import append, measure, world
from domain import ledger
from domain.events import canonical, encode
from domain.recorder import Database, Pool

IMPORTED = 1_000_000
AT_ONCE = 10_000
BIG = 5_000_000
FRESH = 20_000
ROUNDS = 5

# The command, and in the end how much memory it took (Linux).
_LOAD = """
import sys
from service.cli import main
code = main()
sys.stderr.write(open("/proc/self/status").read())
sys.exit(code)
"""
_HEAD = SQL("INSERT INTO log_head VALUES (%s, %s) ON CONFLICT (workspace_id) DO UPDATE SET head = excluded.head")


def main() -> None:
    """Measure an import of a million events, and a fresh workspace beside one of five million."""
    with world.fresh_pool() as (url, pool):
        _import(url, pool)
    with world.fresh_pool() as (_, pool):
        _beside(pool)


def _import(url: str, pool: Pool) -> None:
    workspaces = count(1)
    peaks: list[float] = []
    with tempfile.TemporaryDirectory() as home, pool.connection() as database:
        copied = append.Limit(database)
        file = Path(home) / "events.ndjson"
        with file.open("wb") as lines:
            for seed in range(IMPORTED // 50_000):
                for event in world.events(50_000, seed, "import"):
                    lines.write(encode(canonical(event)) + b"\n")  # type: ignore[arg-type]

        def load() -> float:
            arguments = ["import", str(file), "--workspace", str(next(workspaces)), "--create"]
            command = [sys.executable, "-c", _LOAD, *arguments]
            environment = {**os.environ, "DATABASE_URL": url}
            log = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stderr
            peaks.append(int(re.findall(r"VmHWM:\s+(\d+) kB", log)[-1]) / 1024)
            return float(re.findall(r"([0-9,]+)/s", log)[-1].replace(",", ""))

        number = IMPORTED // AT_ONCE  # so that both tables grow alike
        measure.compare(
            f"import of {IMPORTED:,} events, against COPY", lambda: copied.rate(AT_ONCE, number), load, 0.6, ROUNDS
        )
    print(f"the import's memory: {max(peaks):.0f} MiB, goal at most 200", flush=True)


def _beside(pool: Pool) -> None:
    fresh = count(1_000)
    seeds = count(1)
    with pool.connection() as database:
        _fill(database, 1, BIG)
        measure.compare(
            f"the first {FRESH:,} of a fresh workspace beside one of {BIG:,}",
            lambda: _rate(database, 1, next(seeds)),
            lambda: _rate(database, next(fresh), next(seeds)),
            0.9,
            ROUNDS,
        )
        measure.compare(
            "the same, one known event in each batch",
            lambda: _rate(database, 1, next(seeds), repeats=1),
            lambda: _rate(database, next(fresh), next(seeds), repeats=1),
            0.9,
            ROUNDS,
        )


def _rate(database: Database, workspace_id: int, seed: int, repeats: int = 0) -> float:
    """Return how many events a second are appended in batches of 500, each with so many of the one before."""
    events = world.events(FRESH, seed, f"beside-{workspace_id}")
    batches = [events[max(0, first - repeats) : first + 500] for first in range(0, FRESH, 500)]
    return measure.rate(lambda: sum(len(ledger.record(database, workspace_id, each).outcomes) for each in batches))


def _fill(database: Database, workspace_id: int, number: int) -> None:
    for first in range(1, number, 1_000_000):
        world.insert_emails(database, workspace_id, first, first + 999_999)
    database.execute(_HEAD, (workspace_id, number))
    database.execute("VACUUM (ANALYZE) stored_events")  # now, and not while something is measured
