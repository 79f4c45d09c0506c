"""Gives tests and benchmarks a PostgreSQL of their own, of which nothing is left in the end."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service import embedded
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
def temporary_server(*, durable: bool) -> Iterator[str]:
    """Run an embedded server in a new directory, and remove both; give its URL."""
    with temporary_home() as home, embedded.attach(home, durable=durable) as attachment:
        yield attachment.url
