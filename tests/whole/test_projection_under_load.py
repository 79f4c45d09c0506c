"""Shows that the read models end up right, and were never wrong, whatever is killed, restarted or running at once."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import psycopg
import pytest

from domain.recorder import Pool
from projections.building import replay, replay_by_parts, verification
from service import database
from service.processes.replay_workers import replay_workers
from tests.support import reference
from tests.support.databases import new_database
from tests.support.examples import worked_example
from tests.support.read_models import ignore, in_small_pieces, live_rows, project_all, shown, shown_to, state
from tests.support.running import ROOT, environment
from tests.support.servers import temporary_server
from tests.support.stored_events import record
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes


def test_the_rows_of_a_replay_do_not_depend_on_the_number_of_workers(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process or three, a workspace at a time or many small ones at once."""
    in_small_pieces(monkeypatch, 50, 100, nearly_there=20)
    monkeypatch.setattr(replay, "TOGETHER", 30)
    sizes = {1: 30, 2: 1, 3: 1, 4: 1, 5: 2}
    for workspace_id, number in sizes.items():
        record(pool, workspace_id, *(event for each in range(1, number + 1) for event in worked_example(each)))
    with pool.connection() as connection:
        rows = []
        for number in (1, 3):
            with replay_workers(str(pool.conninfo), number) as workers:
                done: list[int] = []
                assert list(replay.replay_all(pool, replay.workspaces(pool), done.append, workers)) == []
            assert sum(done) == 13 * sum(sizes.values())
            rows.append([live_rows(connection, workspace_id) for workspace_id in sizes])
    assert rows[0] == rows[1]
    for workspace_id, number in sizes.items():
        events = [event for each in range(1, number + 1) for event in worked_example(each)]
        assert shown(pool, workspace_id) == reference.campaigns(events)


PROJECT = """
from projections.building.projector import Projector
from service.cli import main
Projector.__init__.__kwdefaults__["batch"] = 2  # what has come while none ran takes several
main(["project"])
"""
REPLAY = """
import sys
from projections.building import replay, replay_by_parts
from service.cli import main
replay.NEARLY_THERE = replay_by_parts.EVENTS_A_CHUNK = 30
replay_by_parts.EVENTS_A_PART = 60
if __name__ == "__main__":
    while True:
        main(["replay", "--workers", sys.argv[1]])
"""


@contextmanager
def process(code: str, database_url: str, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run Python on some code, in a group of its own, and kill it in the end."""
    child = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=environment(DATABASE_URL=database_url, LOG_LEVEL="critical", **variables),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def test_kills_at_random_moments_leave_every_reader_a_state_of_the_log(pool: Pool, database_url: str) -> None:
    """Projector and replay die again and again; each answer is that of the log up to its own position."""
    chance = random.Random(7)
    events = [event for number in range(1, 9) for event in worked_example(number)]
    chance.shuffle(events)
    written = Event()

    def write() -> None:
        for event in events:
            record(pool, 1, event)
            written.wait(0.05)  # for so long, or until the test gives up

    def read() -> int:
        answers = 0
        while not written.is_set():
            _a_state_of_the_log(pool, events)
            answers += 1
        return answers

    with pool.connection() as connection:
        connection.execute("INSERT INTO workspace_link VALUES ('reader', 1, false)")
    with ThreadPoolExecutor(2) as executor:
        writing, reading = executor.submit(write), executor.submit(read)
        try:
            while not writing.done():
                with process(PROJECT, database_url), process(REPLAY, database_url, "1"):
                    threading.Event().wait(chance.uniform(0.5, 1.2))
        finally:
            written.set()
        writing.result()
        assert reading.result() > 10
    with pool.connection() as connection:
        connection.execute("UPDATE spare_generation SET leased_until = '-infinity'")
    project_all(pool)
    assert shown(pool, 1) == reference.campaigns(events)
    assert verification.verify(pool, 1, ignore) == []


def _a_state_of_the_log(pool: Pool, events: list[dict[str, Any]]) -> None:
    with pool.connection() as connection:
        position, campaigns = shown_to(connection, "reader", 1)
    expected = reference.campaigns(events[:position])
    assert campaigns == [{**campaign, "workspace_id": 1} for campaign in expected]


def test_workers_of_a_replay_that_is_killed_end_and_its_files_are_swept(
    pool: Pool, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kill -9 of the first process alone: the others notice, and the next replay deletes what lies about."""
    record(pool, 1, *(event for number in range(1, 41) for event in worked_example(number)))
    with process(REPLAY, database_url, "2", TMPDIR=str(tmp_path)) as killed:
        wait_for(lambda: len(_group(killed.pid)) >= 3)
        wait_for(lambda: state(pool, 1).replayed_at is not None)
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        wait_for(lambda: not _group(killed.pid))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with replay_by_parts._directory() as own:
        assert [each.parent for each in tmp_path.glob("*/lock")] == [own]


ONCE = REPLAY.replace("    while True:\n        main(", "    sys.exit(main(").replace("argv[1]])", "argv[1]]))")


@pytest.mark.parametrize(
    ("number", "code", "message"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGKILL, 1, "was ended from outside")]
)
def test_an_interrupted_replay_ends_at_once_with_all_its_workers(
    pool: Pool, database_url: str, number: int, code: int, message: str
) -> None:
    """Ctrl-C goes to all of them; a worker that is killed takes the replay with it. What is live stays whole."""
    events = [event for number in range(1, 401) for event in worked_example(number)]
    record(pool, 1, *events)
    project_all(pool)
    with pool.connection() as connection, connection.transaction():
        connection.execute("LOCK TABLE journey IN EXCLUSIVE MODE")  # so that it can't be done too soon
        running = subprocess.Popen(
            [sys.executable, "-c", ONCE, "2"],
            cwd=ROOT,
            env=environment(DATABASE_URL=database_url),
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        wait_for(lambda: len(_group(running.pid)) >= 4)  # itself, two workers and the standard library's tracker
        workers = [pid for pid in _group(running.pid) if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
        if number == signal.SIGINT:
            os.killpg(running.pid, number)
        else:
            os.kill(int(workers[0]), number)
        _, err = running.communicate(timeout=20)
    assert (running.returncode, "Traceback" in err) == (code, False), err
    assert message in err
    wait_for(lambda: not _group(running.pid))
    assert shown(pool, 1) == reference.campaigns(events)


EARLY = """
import os, signal, sys
from concurrent.futures import ProcessPoolExecutor
from service.processes.replay_workers import replay_workers
submit = ProcessPoolExecutor.submit
def interrupting(executor, work):
    os.kill(os.getpid(), signal.SIGINT)
    return submit(executor, work)
if __name__ == "__main__":
    ProcessPoolExecutor.submit = interrupting
    try:
        with replay_workers("", 2):
            sys.exit("it was lost")
    except KeyboardInterrupt:
        sys.exit("it came")
"""


def test_an_interrupt_that_comes_while_the_workers_start_is_not_lost() -> None:
    """It is for the first process alone, which gets it as soon as they run."""
    done = subprocess.run(
        [sys.executable, "-c", EARLY], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.stderr == "it came\n"


def _group(pid: int) -> list[str]:
    listing = subprocess.run(["ps", "-axo", "pgid=,pid=,stat="], check=True, capture_output=True, text=True).stdout
    rows = [line.split() for line in listing.splitlines()]
    return [row[1] for row in rows if row[0] == str(pid) and not row[2].startswith("Z")]


def test_projectors_and_a_replay_go_on_by_themselves_when_postgresql_restarts() -> None:
    """A server process dies, so PostgreSQL ends all others and recovers, while two projectors and a replay run."""
    events = [event for number in range(1, 41) for event in worked_example(number)]
    with temporary_server(durable=True, watch=True) as server_url, new_database(server_url) as url:
        database.migrate(url)
        with (
            database.open_pool(url, size=4) as pool,
            process(PROJECT, url),
            process(PROJECT, url),
            process(REPLAY, url, "2"),
        ):
            for first in range(0, len(events), 130):
                _insisting(lambda first=first: record(pool, 1, *events[first : first + 130]))
                _insisting(lambda: _end_a_backend(pool))
            wait_for(lambda: _insisting(lambda: state(pool, 1).lag) == 0, seconds=60)
            assert _insisting(lambda: shown(pool, 1)) == reference.campaigns(events)
        assert _insisting(lambda: verification.verify(pool_of(url), 1, ignore)) == []


def pool_of(url: str) -> Pool:
    """Return a new pool, which its end closes."""
    return database.open_pool(url, size=2)


def _insisting(work: Any) -> Any:
    """Do something again until the database is there for it, as a worker does."""
    results: list[Any] = []

    def tried() -> bool:
        try:
            results.append(work())
        except psycopg.OperationalError:
            return False
        return True

    wait_for(tried, seconds=30)
    return results[0]


def _end_a_backend(pool: Pool) -> None:
    with pool.connection() as connection:
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    os.kill(row[0], signal.SIGKILL)
