"""Runs gunicorn as the service does, and loads it with `wrk`, for the benchmarks over HTTP."""

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt

from benchmarks import world
from domain.access import Access
from domain.recorder import Pool
from projections import access
from service.clock import clock
from service.processes import supervisor

SECRET = "a secret for measuring, long enough to be taken"
ANYBODY = {"Accept": "*/*"}
HELLO = "benchmarks.hello:Application()"
HOME = Path(__file__).resolve().parents[1]


def can_be_measured(what: str) -> bool:
    """Return whether `wrk` is there; print a line where it is not."""
    if shutil.which("wrk"):
        return True
    print(f"{what} are not measured: install wrk, for example: apt install wrk", file=sys.stderr)
    return False


@contextmanager
def gunicorn(environment: Mapping[str, str], *application: str) -> Iterator[str]:
    """Run gunicorn as the service does, with another application where one is named; give its URL."""
    with running(environment, *application) as (url, _):
        yield url


@contextmanager
def running(environment: Mapping[str, str], *application: str, home: Path = HOME) -> Iterator[tuple[str, int]]:
    """Run gunicorn with the code that lies at `home`; give its URL, and the id of the process that has the workers."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    command = [sys.executable, "-m", "gunicorn", "--config", str(home / "gunicorn.conf.py"), *application]
    environment = {
        **environment,
        "CAMPAIGN_ANALYTICS_BIND": f"fd://{listener.fileno()}",
        "PYTHONPATH": str(home),
    }
    process = subprocess.Popen(command, env=environment, cwd=home, pass_fds=[listener.fileno()])
    try:
        load(f"{supervisor.url_of(listener)}/healthz", ANYBODY, connections=16, seconds=1, warm_up=True)
        yield supervisor.url_of(listener), process.pid
    finally:
        process.terminate()
        process.wait()
        listener.close()


@contextmanager
def baseline(environment: Mapping[str, str]) -> Iterator[tuple[str, int] | None]:
    """Run gunicorn with the code of the commit that BASELINE names; give what `running` gives, None without one."""
    with baseline_tree() as tree:
        if tree is None:
            yield None
            return
        with running(environment, home=tree) as server:
            yield server


@contextmanager
def baseline_tree() -> Iterator[Path | None]:
    """Give a directory with the code of the commit that BASELINE names, None without one."""
    commit = os.environ.get("BASELINE")
    if not commit:
        yield None
        return
    git = ["git", "-C", str(HOME), "worktree"]
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory) / "baseline"
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def load(  # noqa: PLR0913 (wrk's own)
    url: str,
    headers: Mapping[str, str],
    *,
    connections: int,
    seconds: int,
    script: str | None = None,
    warm_up: bool = False,
) -> float:
    """Return how many requests a second are answered; raise RuntimeError where one is not answered well."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s"]
        for name, value in headers.items():
            command += ["-H", f"{name}: {value}"]
        if script is not None:
            Path(file.name).write_text(script, encoding="utf-8")
            command += ["-s", file.name]
        output = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
    match = re.search(r"Requests/sec:\s+([0-9.]+)", output)
    if match is None or (
        not warm_up and (("Non-2xx" in output and "If-None-Match" not in headers) or "Socket errors" in output)
    ):
        raise RuntimeError(output)
    return float(match[1])


@contextmanager
def service(workspaces: int = 1) -> Iterator[tuple[dict[str, str], Pool, dict[str, str]]]:
    """Give the environment of a service, its database and the headers of a key that may write to all workspaces."""
    with world.fresh_pool() as (url, pool):
        users = Access(pool, access.project, clock)
        for workspace_id in range(1, workspaces + 1):
            users.link("worker", workspace_id, "cli:bench")
        key = users.issue_key("worker", scopes=["read", "write"], name="", expires_at=None, by="cli:bench").key
        environment = {**os.environ, "DATABASE_URL": url, "JWT_SECRET": SECRET, "LOG_LEVEL": "error"}
        yield environment, pool, {"X-API-Key": key, "Content-Type": "application/json"}


def session(user: str) -> dict[str, str]:
    """Return the header with a session of this user, good for an hour."""
    token = jwt.encode({"sub": user, "exp": datetime.now(UTC).timestamp() + 3600}, SECRET, algorithm="HS256")
    return {"Cookie": f"sessionid={token}"}


def ask(
    url: str, method: str, path: str, headers: dict[str, str], body: object = None
) -> tuple[Any, http.client.HTTPMessage]:
    """Make one request, on a connection of its own, and return the body of the answer and its headers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        connection.request(method, path, body if body is None or isinstance(body, bytes) else json.dumps(body), headers)
        response = connection.getresponse()
        text = response.read()
        assert response.status == 200, text
        return json.loads(text), response.headers
    finally:
        connection.close()
