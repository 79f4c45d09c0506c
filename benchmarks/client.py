"""The client for workers: into its spool, out of it, and a million events through kills of both sides.

Into the spool, the limit is SQLite alone with ready rows, in as large a transaction, or a bare write and sync for each
call. Out of it, the limit is what `wrk` posts to the same service on one connection.
"""

import logging
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from statistics import median

from campaign_analytics_client import Client
from psycopg.sql import SQL

from benchmarks import measure, posting, web
from domain.recorder import Pool
from service.processes import supervisor

NOWHERE = "http://127.0.0.1:1"  # nothing listens there
ALONE = 2_000  # calls of one thread
THREADS = 64
SHARED = 32_000  # calls of all threads
BATCH = 500
MANY = 50_000  # events in batches
SENT = 100_000
ROUNDS = 5
MILLION = 1_000_000
LIFE_SECONDS = 4.0  # of the worker and the server, in turns
LIMIT_SECONDS = 600.0
EVENT = {
    "type": "EmailSent",
    "campaign_id": 3,
    "prospect_id": "prospect-12345",
    "occurred_at": "2026-10-07T08:09:10Z",
    "step": 1,
    "sender_id": "sender-1",
}
_HEAD = SQL("SELECT coalesce(max(head), 0) FROM log_head WHERE workspace_id = 1")
_STORED = SQL("SELECT count(*), count(DISTINCT originator_id) FROM stored_events WHERE workspace_id = 1")


def main() -> None:
    """Measure calls, sending, and what kills leave."""
    logging.getLogger("campaign_analytics_client").setLevel(logging.CRITICAL)  # refused connections are the point
    with tempfile.TemporaryDirectory(prefix="campaign-analytics-") as directory:
        _into(Path(directory))
        with _taking() as url:
            rates = [_sent(Path(directory), url, "k.s") for _ in range(ROUNDS)]
            print(f"out of the spool to a server that does nothing: {median(rates):,.0f}/s, goal 30,000", flush=True)
        if web.can_be_measured("sending to the service"):
            with web.service() as (environment, _, headers), web.gunicorn(environment) as url:
                measure.compare(
                    f"out of the spool, against posts of {BATCH} by wrk",
                    lambda: BATCH * posting.post(url, headers, posting.BATCH, connections=1, size=BATCH),
                    lambda: _sent(Path(directory), url, headers["X-API-Key"]),
                    None,
                    ROUNDS,
                )
        with web.service() as (environment, pool, headers):
            _through_kills(Path(directory), environment, pool, headers)


def _into(directory: Path) -> None:
    for what, calls, work in (
        ("calls of one thread", ALONE, _alone),
        (f"calls of {THREADS} threads", SHARED, _shared),
    ):
        measure.compare(
            f"{what}, against bare write and sync",
            lambda: measure.rate(lambda: _synced(directory)),
            lambda calls=calls, work=work: _spooled(directory, calls, work),  # type: ignore[misc]
            None,
            ROUNDS,
        )
    for what, work in ((f"a batch of {BATCH}", _batches), (f"send_many of {BATCH}", _many)):
        measure.compare(
            f"{what}, against ready rows",
            lambda: measure.rate(lambda: _ready(directory)),
            lambda work=work: _spooled(directory, MANY, work),  # type: ignore[misc]
            None,
            ROUNDS,
        )


def _spooled(directory: Path, calls: int, work: Callable[[Client, int], None]) -> float:
    """Return how many events a second a client keeps that reaches no server."""
    spool = Path(tempfile.mkdtemp(dir=directory)) / "spool"
    client = Client(NOWHERE, "k.s", 1, spool)
    try:
        started = time.perf_counter()
        work(client, calls)
        seconds = time.perf_counter() - started
        assert client.stats().pending == calls
    finally:
        client.close(timeout=0)
        shutil.rmtree(spool.parent)
    return calls / seconds


def _alone(client: Client, calls: int) -> None:
    for _ in range(calls):
        client.send(EVENT)


def _shared(client: Client, calls: int) -> None:
    threads = [threading.Thread(target=_alone, args=(client, calls // THREADS)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _batches(client: Client, calls: int) -> None:
    for _ in range(calls // BATCH):
        with client.batch() as batch:
            for number in range(BATCH):
                batch.email_sent(f"prospect-{number}", campaign_id=3, step=1, sender_id="sender-1")


def _many(client: Client, calls: int) -> None:
    for _ in range(calls // BATCH):
        client.send_many(EVENT for _ in range(BATCH))


def _synced(directory: Path) -> int:
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(ALONE):
            os.write(file.fileno(), bytes(4_096))
            os.fdatasync(file.fileno())
    return ALONE


def _ready(directory: Path) -> int:
    rows = [(bytes(180), 0)] * BATCH
    place = Path(tempfile.mkdtemp(dir=directory))
    with closing(sqlite3.connect(place / "rows", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE row (number INTEGER PRIMARY KEY, body BLOB, checksum INTEGER)")
        for _ in range(MANY // BATCH):
            database.execute("BEGIN IMMEDIATE")
            database.executemany("INSERT INTO row (body, checksum) VALUES (?, ?)", rows)
            database.execute("COMMIT")
    shutil.rmtree(place)
    return MANY


def _sent(directory: Path, url: str, key: str) -> float:
    """Return how many events a second leave a spool that holds them already."""
    spool = Path(tempfile.mkdtemp(dir=directory)) / "spool"
    client = Client(NOWHERE, key, 1, spool)
    _batches(client, SENT)
    client.close(timeout=0)
    started = time.perf_counter()
    with Client(url, key, 1, spool) as client:
        assert client.flush(LIMIT_SECONDS), client.stats()
        seconds = time.perf_counter() - started
        assert client.stats().accepted == SENT, client.stats()
    shutil.rmtree(spool.parent)
    return SENT / seconds


@contextmanager
def _taking() -> Iterator[str]:
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.taking"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _through_kills(directory: Path, environment: Mapping[str, str], pool: Pool, headers: Mapping[str, str]) -> None:
    """Kill the worker and the server in turns until a million events have come, and look whether each came once."""
    spool = directory / "killed"
    port = _free_port()
    environment = {**environment, "CAMPAIGN_ANALYTICS_BIND": f"127.0.0.1:{port}"}
    serve = [sys.executable, "-m", "gunicorn", "--config", str(supervisor.CONFIGURATION)]
    work = [sys.executable, "-m", "benchmarks.working", f"http://127.0.0.1:{port}", headers["X-API-Key"], str(spool)]
    work += [str(MILLION), str(directory / "progress")]
    started, kills = time.monotonic(), 0
    server, worker = _start(serve, environment), _start(work, environment)
    try:
        while worker.poll() is None:
            assert time.monotonic() - started < LIMIT_SECONDS, "the million has not come in time"
            for process, command in ((worker, work), (server, serve)):
                with suppress(subprocess.TimeoutExpired):
                    worker.wait(LIFE_SECONDS)
                    break
                _kill(process)
                kills += 1
                if process is worker:
                    worker = _start(command, environment)
                else:
                    server = _start(command, environment)
        assert worker.returncode == 0, worker.returncode
    finally:
        _kill(worker)
        _kill(server)
    seconds = time.monotonic() - started
    with pool.connection() as connection:
        head = connection.execute(_HEAD).fetchone()
        stored = connection.execute(_STORED).fetchone()
    assert head == (MILLION,), head
    assert stored == (MILLION, MILLION), stored
    print(f"{MILLION:,} events through {kills} kills of worker and server: each once, in {seconds:.0f} s", flush=True)


def _start(command: list[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, env=dict(environment), cwd=web.HOME, start_new_session=True)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and what it has started, at once."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
