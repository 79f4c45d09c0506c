"""Shows that the processes of `serve` live, die, come back and end together, and which line a failed start prints."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.databases import Databases
from tests.support.examples import JWT_SECRET, api_key, email_sent
from tests.support.running import (
    PASSWORD,
    ROOT,
    SERVE,
    Process,
    Service,
    descendants,
    environment,
    gone,
    processes,
    running,
    serving,
    users_of,
    with_password,
)
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes

NO_DATABASE = f"postgresql://nobody:{PASSWORD}@127.0.0.1:1/none"
PLAIN_GUNICORN = ("-m", "gunicorn", "-c", "gunicorn.conf.py")


@pytest.fixture(scope="module")
def url(databases: Databases) -> Iterator[str]:
    """Give a database for all tests of this module."""
    with databases.lend() as made:
        yield with_password(made)


@pytest.fixture(scope="module")
def key(url: str) -> dict[str, str]:
    """Give a key that writes a workspace."""
    with users_of(url) as users:
        return api_key(users, 340)


@pytest.fixture(scope="module")
def service(url: str) -> Iterator[Service]:
    """Give a running service, for tests that leave it running."""
    with serving(url) as running:
        yield running


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_that_has_begun_is_answered_before_the_service_ends(
    url: str, key: dict[str, str], number: signal.Signals
) -> None:
    """SIGTERM and Ctrl-C drain; the exit code is 0, and no process, port or file is left."""
    body = json.dumps(email_sent(number.value, source="draining")).encode()
    with serving(url) as service:
        with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
            head = (
                "POST /api/v1/events/?workspace_id=340 HTTP/1.1\r\nHost: here\r\nConnection: close\r\n"
                "Content-Type: application/json\r\n"
                f"X-API-Key: {key['X-API-Key']}\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
            )
            connection.sendall(head.encode())
            assert connection.recv(65_536).startswith(b"HTTP/1.1 100 "), "it has begun"
            tree = descendants(service.process.pid)
            service.process.send_signal(number)
            wait_for(lambda: "Handling signal: term" in service.output)
            connection.sendall(body)
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        assert b'"accepted":1' in answer
        service.ended(tree, 0)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", service.port))


def test_a_killed_projector_is_started_again(service: Service, key: dict[str, str]) -> None:
    """What is posted meanwhile is counted once it is back."""
    killed = kill(service.projector())
    answer = service.post(340, key, email_sent(1, source="projector killed"))
    assert service.dashboard(key, f"workspace_id=340&min_position={answer.json['position']}").status == 200
    assert service.projector() not in (None, killed)
    assert "projector ended with code -9" in service.output


def test_a_killed_gunicorn_is_started_again_at_the_same_port(service: Service) -> None:
    """The workers of the killed one are not left beside the new ones."""
    workers, left = service.workers(), list(service.temporary.iterdir())
    for worker in workers:
        os.kill(worker.pid, signal.SIGSTOP)  # what hangs does not notice
    killed = kill(service.arbiter())
    wait_for(lambda: service.arbiter() not in (None, killed))
    wait_for(service.is_ready)
    wait_for(lambda: gone(workers))
    for directory in left:
        shutil.rmtree(directory)  # what is killed can't do that itself
    assert "web ended with code -9" in service.output


def test_a_killed_worker_is_started_again(service: Service) -> None:
    """Gunicorn does that, and the service goes on."""
    (worker,) = service.workers()
    kill(worker)
    wait_for(lambda: service.workers() not in ([], [worker]))
    wait_for(service.is_ready)


def test_five_deaths_within_a_minute_end_the_service(url: str) -> None:
    """A child that cannot run is not started for ever; the exit code of the service is an error."""
    with serving(url) as service:
        tree = descendants(service.process.pid)
        for _ in range(5):
            wait_for(lambda: service.projector() is not None)
            tree.append(kill(service.projector()))
        service.ended(tree, 1)
        assert "children died 5 times within a minute, giving up" in service.output


def test_the_children_end_by_themselves_when_their_parent_is_killed(url: str) -> None:
    """No child goes on without its supervisor."""
    with serving(url) as service:
        tree = descendants(service.process.pid)
        assert len(tree) == 3, "gunicorn, its worker, and the projector"
        service.process.kill()
        wait_for(lambda: gone(tree), 10)
        service.ended(tree, -signal.SIGKILL)


def test_plain_gunicorn_runs_the_api_too(database_url: str) -> None:
    """Without `serve` the projector is a process of its own, and SIGTERM ends it."""
    command = [sys.executable, "-m", "service.cli", "project"]
    with users_of(database_url) as users:
        key = api_key(users, 340)
    with serving(database_url, PLAIN_GUNICORN, PORT="0") as service:
        posted = service.post(340, key, email_sent(1, source="plain"))
        with subprocess.Popen(command, cwd=ROOT, env=environment(DATABASE_URL=database_url)) as projector:
            try:
                answer = service.dashboard(key, f"workspace_id=340&min_position={posted.json['position']}")
            finally:
                projector.terminate()
        assert (answer.status, projector.returncode) == (200, 0)


def test_no_secret_is_seen_in_the_list_of_processes(service: Service) -> None:
    """Secrets are in the environment alone."""
    listed = [processes()[service.process.pid], *descendants(service.process.pid)]
    assert len(listed) == 4
    assert not [each for each in listed if PASSWORD in each.command or JWT_SECRET in each.command]


def test_a_port_in_use_is_one_line_on_stderr(service: Service) -> None:
    """It names the port; no child was started yet."""
    variables = environment(DATABASE_URL=NO_DATABASE, JWT_SECRET=JWT_SECRET, PORT=str(service.port))
    ended = subprocess.run(
        [sys.executable, "-m", "service.cli", "serve"],
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert f"port {service.port} of 127.0.0.1" in line


def test_an_empty_variable_is_none(database_url: str) -> None:
    """As compose files pass on what is not set; gunicorn reads one of them by itself."""
    empty = ("WEB_THREADS", "KEEP_ALIVE", "HOST", "LOG_LEVEL", "RATE_LIMIT", "JWT_LEEWAY", "JWT_JWKS_URL")
    variables = {"DATABASE_URL": database_url, "JWT_SECRET": JWT_SECRET, "WEB_CONCURRENCY": ""}
    with running(SERVE, **variables, **dict.fromkeys(empty, "")) as service:
        wait_for(service.is_ready)
        service.stop()


def test_plain_gunicorn_prints_a_bad_setting_in_one_line() -> None:
    """The same words, and no stack trace."""
    variables = environment(DATABASE_URL=NO_DATABASE, PORT="x")
    ended = subprocess.run(
        [sys.executable, *PLAIN_GUNICORN], cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (1, "PORT: expected a number from 0 to 65535\n")


def kill(process: Process | None) -> Process:
    """Kill a process as a machine short of memory does, and give it back."""
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: gone([process]))
    return process
