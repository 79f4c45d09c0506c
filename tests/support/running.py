"""Runs the service as its users do, as processes of its own, and talks to it over HTTP."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from psycopg.conninfo import conninfo_to_dict

from domain.access import Access
from projections import access
from service import database
from service.clock import clock
from tests.support.examples import JWT_SECRET
from tests.support.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
SERVE = ("-m", "service.cli", "serve", "--port", "0")
PASSWORD = "a-password-of-the-tests"
DRAINED_SECONDS = 10.0
_GUNICORN = "-m gunicorn"  # in the command of its processes
_LISTENS = re.compile(r"[Ll]isten\w* at:? (http://[^\s\"]+)")


class Answer(NamedTuple):
    """What came back for a request."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """Return the body, parsed as JSON."""
        return json.loads(self.body)


class Process(NamedTuple):
    """One line of the list of processes."""

    pid: int
    parent: int
    state: str
    command: str


def processes() -> dict[int, Process]:
    """Return all living processes by their number; one that has ended and was not waited for lives no more."""
    listed = subprocess.run(
        ["ps", "-axww", "-o", "pid=", "-o", "ppid=", "-o", "stat=", "-o", "args="],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    rows = [line.split(maxsplit=3) for line in listed.splitlines()]
    entries = [Process(int(pid), int(parent), state, " ".join(rest)) for pid, parent, state, *rest in rows]
    return {process.pid: process for process in entries if not process.state.startswith("Z")}


def descendants(pid: int) -> list[Process]:
    """Return the children of a process, their children, and so on."""
    offspring: list[Process] = []
    parents, living = {pid}, processes().values()
    while added := [each for each in living if each.parent in parents and each not in offspring]:
        offspring += added
        parents |= {each.pid for each in added}
    return offspring


def gone(ended: Iterable[Process]) -> bool:
    """Return whether none of these lives."""
    living = processes()
    return not any(each.pid in living and living[each.pid].command == each.command for each in ended)


class Service:
    """A running service, and all that it writes."""

    def __init__(self, process: subprocess.Popen[bytes], temporary: Path, output_file: Path) -> None:
        """Take the process, the directory where it puts what is temporary, and the file that it writes to."""
        self.process = process
        self.temporary = temporary
        self._output_file = output_file

    @property
    def output(self) -> str:
        """Return what it has written so far."""
        return self._output_file.read_text()

    @property
    def url(self) -> str:
        """Wait until its log has the URL at which it listens, and return that."""
        wait_for(lambda: self.process.poll() is not None or self._address() is not None)
        url = self._address()
        assert url is not None, self.output
        return url

    @property
    def port(self) -> int:
        """Return the port that it listens at."""
        port = urlsplit(self.url).port
        assert port is not None
        return port

    def request(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes | Iterable[bytes] | None = None,
    ) -> Answer:
        """Ask it something on a connection of its own; a body in parts is sent chunked."""
        return request(self.url, method, path, headers, body)

    def post(self, workspace_id: int, headers: dict[str, str], *events: dict[str, Any]) -> Answer:
        """Post events."""
        body = json.dumps({"events": events}).encode()
        headers = {**headers, "Content-Type": "application/json"}
        return self.request("POST", f"/api/v1/events/?workspace_id={workspace_id}", headers, body)

    def dashboard(self, headers: dict[str, str], query: str) -> Answer:
        """Ask for the campaigns' numbers."""
        return self.request("GET", f"/api/v1/dashboard/campaign-analytics/?{query}", headers)

    def is_ready(self) -> bool:
        """Return whether the readiness probe answers 200."""
        try:
            return self.request("GET", "/readyz").status == 200
        except OSError:
            return False

    def child(self, command: str) -> Process | None:
        """Return its own child whose command line has this in it."""
        children = [each for each in descendants(self.process.pid) if each.parent == self.process.pid]
        return next((each for each in children if command in each.command), None)

    def arbiter(self) -> Process | None:
        """Return gunicorn's first process, which is the service's own where it was started by gunicorn."""
        own = processes().get(self.process.pid)
        return own if own and _GUNICORN in own.command else self.child(_GUNICORN)

    def projector(self) -> Process | None:
        """Return the projector."""
        return self.child("service.cli project")

    def workers(self) -> list[Process]:
        """Return gunicorn's worker processes."""
        arbiter = self.arbiter()
        return [each for each in descendants(arbiter.pid) if each.parent == arbiter.pid] if arbiter else []

    def each_worker(self) -> Iterator[Process]:
        """Give each worker in turn, while all the others are frozen and cannot answer."""
        workers = self.workers()
        for answering in workers:
            others = [each.pid for each in workers if each.pid != answering.pid]
            try:
                for pid in others:
                    os.kill(pid, signal.SIGSTOP)
                wait_for(lambda pids=tuple(others): all(processes()[pid].state.startswith("T") for pid in pids))  # type: ignore[misc]
                yield answering
            finally:
                for pid in others:
                    os.kill(pid, signal.SIGCONT)

    def stop(self, number: int = signal.SIGTERM, expected: int = 0) -> None:
        """End it, and assert that it drains in time, leaves nothing behind and has logged no secret."""
        tree = descendants(self.process.pid)
        self.process.send_signal(number)
        self.ended(tree, expected)

    def ended(self, tree: list[Process], expected: int) -> None:
        """Wait for its end, and assert that nothing is left of it."""
        started = time.monotonic()
        assert self.process.wait(3 * DRAINED_SECONDS) == expected, self.output
        assert time.monotonic() - started < DRAINED_SECONDS
        assert gone(tree)
        assert list(self.temporary.iterdir()) == []
        assert JWT_SECRET not in self.output
        assert PASSWORD not in self.output

    def _address(self) -> str | None:
        match = _LISTENS.search(self.output)
        return match and match[1]


@contextmanager
def running(arguments: Iterable[str], cwd: Path = ROOT, /, **variables: str) -> Iterator[Service]:
    """Run Python with these arguments and variables as a service, and kill what is left of it in the end."""
    with tempfile.TemporaryDirectory(prefix="campaign-analytics-") as directory:
        temporary, output_file = Path(directory) / "temporary", Path(directory) / "output"
        temporary.mkdir()
        with output_file.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=cwd,
                env=environment(**{"TMPDIR": str(temporary), **variables}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            yield Service(process, temporary, output_file)
        finally:
            left = [process.pid, *(each.pid for each in descendants(process.pid))]
            if process.poll() is None:
                for pid in left:
                    os.kill(pid, signal.SIGKILL)
                process.wait()


@contextmanager
def serving(database_url: str, arguments: Iterable[str] = SERVE, **variables: str) -> Iterator[Service]:
    """Run the service until all workers have started; in the end it must stop, unless the test has ended it."""
    settings = {"DATABASE_URL": database_url, "JWT_SECRET": JWT_SECRET, "WEB_CONCURRENCY": "1", **variables}
    with running(arguments, **settings) as service:
        wait_for(service.is_ready)
        wait_for(lambda: len(service.workers()) == int(settings["WEB_CONCURRENCY"]))
        yield service
        if service.process.poll() is None:
            service.stop()


def environment(**variables: str) -> dict[str, str]:
    """Return an environment with nothing of ours in it but these variables."""
    inherited = ("PATH", "HOME", "LANG", "TMPDIR")
    return {**{name: os.environ[name] for name in inherited if name in os.environ}, **variables}


def request(
    url: str,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    body: bytes | Iterable[bytes] | None = None,
) -> Answer:
    """Make one HTTP request."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def exchange(port: int, sent: bytes) -> bytes:
    """Send these bytes and not one more, and return all that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def free_port() -> int:
    """Return a port at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@contextmanager
def open_connections(port: int, number: int, sent: bytes) -> Iterator[list[socket.socket]]:
    """Open so many connections, send the same over each of them, and close them in the end."""
    connections = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(number)]
    try:
        for connection in connections:
            connection.sendall(sent)
        yield connections
    finally:
        for connection in connections:
            connection.close()


@contextmanager
def users_of(database_url: str) -> Iterator[Access]:
    """Give the users of a database."""
    with database.open_pool(database_url, size=2) as pool:
        yield Access(pool, access.project, clock)


def with_password(database_url: str) -> str:
    """Return the URL with a password in it where it has none; the tests' own server asks for none."""
    if conninfo_to_dict(database_url).get("password"):
        return database_url
    return database_url.replace("@", f":{PASSWORD}@", 1)
