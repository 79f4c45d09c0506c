"""Gives tests and benchmarks a PostgreSQL of their own, of which nothing is left in the end."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import psycopg

from service import embedded
from service.connect import watched
from tests.support.running import descendants, processes
from tests.support.waiting import wait_for


@contextmanager
def temporary_home() -> Iterator[Path]:
    """Give a new directory for an embedded server; once that has ended, remove all of it."""
    home = Path(tempfile.mkdtemp(prefix="campaign-analytics-"))
    home.chmod(0o755)  # as root, the server runs as somebody else, who must get there
    try:
        yield home
    finally:
        wait_for(lambda: not embedded.running(home))
        shutil.rmtree(home)
        for left in embedded.outside(home).parent.glob(f"{embedded.outside(home).name}*"):
            shutil.rmtree(left)


@contextmanager
def temporary_server(*, durable: bool, watch: bool = False) -> Iterator[str]:
    """Run an embedded server in a new directory, and remove both; give its URL. Watched, it is started again."""
    with (
        temporary_home() as home,
        embedded.attach(home, durable=durable) as attachment,
        watched(attachment) if watch else nullcontext(),
    ):
        yield attachment.url


def first_process(url: str) -> int:
    """Return the id of a server's first process, which has begun all others."""
    with psycopg.connect(url) as connection:
        [pid] = connection.execute("SELECT pg_read_file('postmaster.pid')").fetchone()[0].splitlines()[:1]  # type: ignore[index]
    return int(pid)


@contextmanager
def frozen(url: str) -> Iterator[None]:
    """Stop all processes of a server meanwhile, as a hung disk or hypervisor does."""
    first = first_process(url)
    os.kill(first, signal.SIGSTOP)  # so that it begins no other
    pids = [*(each.pid for each in descendants(first)), first]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            if pid in processes():
                os.kill(pid, signal.SIGCONT)
