"""Shows that the processes of `serve` live, die, come back and end together, and how a start that can't be is told."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

from service import cli, database, settings
from tests.conftest import new_database
from tests.facts import JWT_SECRET, api_key, email_sent
from tests.running import (
    PASSWORD,
    ROOT,
    Process,
    Service,
    descendants,
    environment,
    gone,
    processes,
    serving,
    users_of,
    with_password,
)
from tests.servers import wait_for

NO_DATABASE = f"postgresql://nobody:{PASSWORD}@127.0.0.1:1/none"
PLAIN_GUNICORN = ("-m", "gunicorn", "-c", "gunicorn.conf.py")


@pytest.fixture(scope="module")
def url(server_url: str, template: str) -> Iterator[str]:
    """Give a database for all tests of this module."""
    with new_database(server_url, template) as made:
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
    """What cannot run is not started for ever; whoever runs the service gets to know by the exit code."""
    with serving(url) as service:
        tree = descendants(service.process.pid)
        for _ in range(5):
            wait_for(lambda: service.projector() is not None)
            tree.append(kill(service.projector()))
        service.ended(tree, 1)
        assert "children died 5 times within a minute, giving up" in service.output


def test_the_children_end_by_themselves_when_their_parent_is_killed(url: str) -> None:
    """Nothing goes on that nobody looks after."""
    with serving(url) as service:
        tree = descendants(service.process.pid)
        assert len(tree) == 3, "gunicorn, its worker, and the projector"
        service.process.kill()
        wait_for(lambda: gone(tree), 10)
        service.ended(tree, -signal.SIGKILL)


def test_plain_gunicorn_runs_the_api_too(database_url: str) -> None:
    """For whoever runs processes their own way; the projector is then a process of its own, and SIGTERM ends it."""
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


def test_a_port_in_use_is_told_in_one_line(service: Service) -> None:
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


BAD = [
    ("PORT", {"PORT": "x"}),
    ("PORT", {"PORT": "65536"}),
    ("PORT", {"PORT": "9" * 5_000}),
    ("WEB_THREADS", {"WEB_THREADS": "0"}),
    ("WEB_CONCURRENCY", {"WEB_CONCURRENCY": "many"}),
    ("KEEP_ALIVE", {"KEEP_ALIVE": "0"}),
    ("LOG_LEVEL", {"LOG_LEVEL": "loud"}),
    ("LOG_FORMAT", {"LOG_FORMAT": "xml"}),
    ("DATABASE_URL", {"DATABASE_URL": f"mysql://u:{PASSWORD}@here/x"}),
    ("DATABASE_URL", {"DATABASE_URL": f"postgresql://u:{PASSWORD}@[::1/x"}),
    ("DATABASE_URL", {"DATABASE_URL": f"postgresql://u:{PASSWORD}@here/x?no_such_option=1"}),
    ("JWT_SECRET", {"JWT_SECRET": "a-secret-too-short"}),
    ("JWT_SECRET", {"JWT_SECRET": ""}),
    ("JWT_SECRET", {"JWT_SECRET": "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n"}),
    ("JWT_PUBLIC_KEY", {"JWT_PUBLIC_KEY": "a-key"}),
    ("JWT_PUBLIC_KEY", {"JWT_SECRET": "", "JWT_PUBLIC_KEY": "@/missing"}),
    ("JWT_PUBLIC_KEY", {"JWT_SECRET": "", "JWT_PUBLIC_KEY": "not a key"}),
    ("JWT_JWKS_URL", {"JWT_JWKS_URL": "https://here/jwks"}),
    *[
        ("JWT_JWKS_URL", {"JWT_SECRET": "", "JWT_JWKS_URL": bad})
        for bad in (
            "http://elsewhere/jwks",
            "http://127.0.0.1.evil.example/jwks",
            "file:///etc/passwd",
            "https://",
            "https://here:x/",
            "here",
            f"https://u:{PASSWORD}@here/",
        )
    ],
    ("JWT_ALGORITHM", {"JWT_ALGORITHM": "none"}),
    ("JWT_ALGORITHM", {"JWT_SECRET": "", "JWT_JWKS_URL": "https://here/jwks", "JWT_ALGORITHM": "HS256"}),
    ("RATE_LIMIT", {"RATE_LIMIT": "-1"}),
    ("RATE_LIMIT", {"RATE_LIMIT": "many"}),
    *[
        ("CORS_ORIGINS", {"CORS_ORIGINS": bad})
        for bad in ("*", "null", "example.com", "https://x/", "https://X", "https://a.b,*")
    ],
    ("JWT_LEEWAY", {"JWT_LEEWAY": "-1"}),
]


@pytest.mark.parametrize(("name", "variables"), BAD, ids=[f"{name}-{number}" for number, (name, _) in enumerate(BAD)])
def test_a_bad_setting_is_told_in_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, variables: dict[str, str]
) -> None:
    """Nothing is started, and no secret is repeated."""
    for variable in environment_of_ours():
        monkeypatch.delenv(variable, raising=False)
    for variable, value in {"DATABASE_URL": NO_DATABASE, "JWT_SECRET": JWT_SECRET, **variables}.items():
        monkeypatch.setenv(variable, value)
    assert cli.main(["serve"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith(f"{name}: ")
    assert not [secret for secret in (PASSWORD, JWT_SECRET, "a-secret-too-short") if secret in line]


def test_plain_gunicorn_tells_a_bad_setting_in_one_line_too() -> None:
    """The same words, and no stack trace."""
    variables = environment(DATABASE_URL=NO_DATABASE, PORT="x")
    ended = subprocess.run(
        [sys.executable, *PLAIN_GUNICORN], cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (1, "PORT: expected a number from 0 to 65535\n")


def environment_of_ours() -> list[str]:
    """Return the variables that might be set where the tests run."""
    return [name for name in os.environ if name.startswith(("JWT_", "WEB_", "LOG_")) or name in ("HOST", "PORT")]


def kill(process: Process | None) -> Process:
    """Kill a process as a machine short of memory does, and give it back."""
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: gone([process]))
    return process


@pytest.mark.parametrize(("given", "meant"), [("", "read-write"), ("?target_session_attrs=any", "any")])
def test_of_several_hosts_the_one_that_takes_writes_is_asked(given: str, meant: str) -> None:
    """A standby may not know yet that a link has gone; unless the URL says that it wants it so."""
    found = conninfo_to_dict(database.conninfo(f"postgresql://one,two/db{given}", 5))
    assert (found["host"], found["target_session_attrs"]) == ("one,two", meant)


def test_a_database_that_takes_no_writes_is_not_connected_to(database_url: str) -> None:
    """Where it is the only one, the service waits for it to take writes."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(Identifier(name)))
    with pytest.raises(psycopg.OperationalError, match="read-only"):
        database.connect(database_url)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "10000 100000"}, 1),
        ({"cpu.max": "9900000 100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
    ],
)
def test_only_the_cores_that_may_be_used_are_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: dict[str, str], cores: int
) -> None:
    """Those of the process's affinity, within its control group's quota, of version 2 or 1."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert settings.usable_cores(tmp_path) == cores
