"""Reading the dashboard over HTTP, against Falcon's hello world on the same gunicorn; needs `wrk`."""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import jwt

from benchmarks import measure, world
from domain.access import Access
from projections import access
from projections.projector import Projector
from service import supervisor
from service.clock import clock

SECONDS = 4
CONNECTIONS = 8
SECRET = "a secret for measuring, long enough to be taken"
PATH = "/api/v1/dashboard/campaign-analytics/?workspace_id=1"


def main() -> None:
    """Measure a read of twenty campaigns with an API key and with a session."""
    if shutil.which("wrk") is None:
        print("reads are not measured: install wrk, for example: apt install wrk", file=sys.stderr)
        return
    with world.fresh_pool() as (url, pool):
        world.fill(pool, 1, world.facts(20_000))
        projector = Projector(pool)
        while projector.step():
            pass
        users = Access(pool, access.project, clock)
        users.link("reader", 1, "cli:bench")
        key = users.issue_key("reader", scopes=["read"], name="", expires_at=None, by="cli:bench").key
        token = jwt.encode({"sub": "reader", "exp": datetime.now(UTC).timestamp() + 3600}, SECRET, algorithm="HS256")
        environment = {**os.environ, "DATABASE_URL": url, "JWT_SECRET": SECRET, "LOG_LEVEL": "error"}
        with (
            _gunicorn(environment, "benchmarks.hello:Application()") as hello,
            _gunicorn(environment) as service,
        ):
            for who, header in (("API key", f"X-API-Key: {key}"), ("session", f"Cookie: sessionid={token}")):
                measure.compare(
                    f"read of 20 campaigns, {who}, against hello world",
                    lambda: _requests(f"{hello}/", "Accept: */*"),
                    lambda header=header: _requests(f"{service}{PATH}", header),  # type: ignore[misc]
                    0.3,
                )


@contextmanager
def _gunicorn(environment: dict[str, str], *application: str) -> Iterator[str]:
    """Run gunicorn as the service does, with another application where one is named; give its URL."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    command = [sys.executable, "-m", "gunicorn", "--config", str(supervisor.CONFIGURATION), *application]
    environment = {**environment, "CAMPAIGN_ANALYTICS_BIND": f"fd://{listener.fileno()}"}
    process = subprocess.Popen(command, env=environment, pass_fds=[listener.fileno()])
    try:
        _requests(f"{supervisor.url_of(listener)}/healthz", "Accept: */*", warm_up=True)
        yield supervisor.url_of(listener)
    finally:
        process.terminate()
        process.wait()
        listener.close()


def _requests(url: str, header: str, *, warm_up: bool = False) -> float:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{1 if warm_up else SECONDS}s", "-H", header, url]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"Requests/sec:\s+([0-9.]+)", output)
    if found is None or (not warm_up and ("Non-2xx" in output or "Socket errors" in output)):
        raise RuntimeError(output)
    return float(found[1])
