"""Shows that a log comes in and goes out as lines, by the rules of the endpoint, and that both can be repeated."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from falcon import testing

import service.commands.transfer
from domain.access import Access
from domain.recorder import Pool
from service import cli
from tests.support.commands import Command
from tests.support.examples import api_key, email_sent
from tests.support.running import ROOT, environment
from tests.support.stored_events import log, record
from tests.support.waiting import wait_for


def lines(*events: Any) -> bytes:
    """Return events as lines."""
    return b"".join(json.dumps(each).encode() + b"\n" for each in events)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Give a file of a hundred events."""
    path = tmp_path / "events.ndjson"
    path.write_bytes(lines(*(email_sent(number) for number in range(100))))
    return path


@pytest.mark.parametrize("at_once", [7, 10_000])
def test_an_import_can_be_repeated(
    command: Command, pool: Pool, file: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """What is there already is a duplicate; the order of the lines is that of the log."""
    monkeypatch.setattr(service.commands.transfer, "EVENTS_AT_ONCE", at_once)
    code, out, err = command("import", str(file), "--workspace", "340", "--create", "--json")
    counts = {"workspace_id": 340, "accepted": 100, "duplicates": 0, "rejected": 0, "position": 100}
    assert (code, json.loads(out)) == (0, counts)
    assert "100 accepted, 0 duplicates, 0 rejected" in err
    assert "100%|" in err
    assert "events, " in err
    assert log(pool) == [f"e-{number}" for number in range(100)]
    file.write_bytes(file.read_bytes() + lines(email_sent(100)))
    code, out, _ = command("import", str(file), "--workspace", "340", "--json")
    assert (code, json.loads(out)) == (0, {**counts, "accepted": 1, "duplicates": 100, "position": 101})
    assert list(file.parent.iterdir()) == [file], "nothing was rejected, so no file says so"


def test_an_import_knows_the_rules_of_the_endpoint(
    command: Command, client: testing.TestClient, pool: Pool, users: Access, file: Path
) -> None:
    """Rejections are in a file and at `events/rejections/`; the other events are stored."""
    record(pool, 340, email_sent(1, step=9))
    file.write_bytes(
        b"\n".join(
            [
                lines(email_sent(0)).strip(),
                b"",
                lines(email_sent(1)).strip(),
                b"{no json",
                lines({**email_sent(2), "type": "Nonsense"}).strip(),
                b"x" * 70_000,
                lines(email_sent(0)).strip(),
            ]
        )
    )
    code, out, err = command("import", str(file), "--workspace", "340", "--json")
    assert code == 1
    assert json.loads(out) == {"workspace_id": 340, "accepted": 1, "duplicates": 1, "rejected": 4, "position": 2}
    rejects = Path(f"{file}.rejected.ndjson")
    assert str(rejects) in err
    refused = [json.loads(line) for line in rejects.read_bytes().splitlines()]
    assert [(each["index"], each["id"], each["code"]) for each in refused] == [
        (1, "e-1", "conflict"),
        (2, None, "malformed"),
        (3, "e-2", "unknown_type"),
        (4, None, "too_large"),
    ]
    shown = client.simulate_get("/api/v1/events/rejections/", headers=api_key(users, 340)).json["rejections"]
    assert [each["code"] for each in shown] == ["too_large", "unknown_type", "malformed", "conflict"]
    assert [each["error"] for each in reversed(shown)] == [each["error"] for each in refused]


def test_an_unknown_workspace_is_not_begun_by_a_slip(command: Command, pool: Pool, users: Access, file: Path) -> None:
    """The workspace has a log or a link, or `--create` is set."""
    code, out, err = command("import", str(file), "--workspace", "341", "--json")
    assert (code, out) == (2, "")
    assert err == "--workspace: 341 has no log and is linked to nobody; --create begins it\n"
    assert log(pool, 341) == []
    assert list(file.parent.iterdir()) == [file]
    assert command("import", str(file), "--workspace", "341", "--create").code == 0
    assert command("import", str(file), "--workspace", "341").code == 0
    users.link("u-1", 342, "cli:test")
    assert command("import", str(file), "--workspace", "342").code == 0


def test_an_import_is_as_strict_as_the_endpoint(command: Command, pool: Pool, file: Path) -> None:
    """A name twice is an error that names it; a byte order mark is skipped; errors name lines, blank ones counted."""
    twice = lines(email_sent(2)).replace(b'"id"', b'"type": "X", "id"')
    file.write_bytes(b"\xef\xbb\xbf" + lines(email_sent(1)) + b"\n" + twice + lines({"type": "EmailSent", "id": "a"}))
    assert command("import", str(file), "--workspace", "340", "--create").code == 1
    first, second = map(json.loads, Path(f"{file}.rejected.ndjson").read_bytes().splitlines())
    assert (first["index"], first["line"], first["code"]) == (1, 3, "malformed")
    assert first["error"] == 'line: has the name "type" twice in one object'
    assert "errors" not in first
    missing = [
        "campaign_id: is missing, or campaign_key in its place",
        "occurred_at: is missing",
        "prospect_id: is missing",
    ]
    assert (second["line"], second["errors"]) == (4, missing)
    assert log(pool) == ["e-1"]


def test_standard_input_can_be_imported(command: Command, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end is not known, so the bar shows only how fast it goes."""
    reading, writing = os.pipe()
    os.write(writing, lines(email_sent(1), email_sent(2)))
    os.close(writing)
    with os.fdopen(reading) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert command("import", "-", "--workspace", "340", "--create").code == 0
    assert log(pool) == ["e-1", "e-2"]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("import", "nowhere.ndjson", "--workspace", "1"), 2, "nowhere.ndjson can't be read: No such file"),
        (("import", "/", "--workspace", "1"), 2, "can't be read: Is a directory"),
        (("import", "x"), 2, "--workspace"),
        (("import", "x", "--workspace", "0"), 2, "expected a number from 1"),
        (("export", "--workspace", "1", "--after", "-1"), 2, "expected a number"),
    ],
)
def test_a_mistake_is_named(command: Command, arguments: tuple[str, ...], code: int, text: str) -> None:
    """By the argument."""
    result = command(*arguments)
    assert (result.code, text in result.err) == (code, True), result.err


def exported(capfdbinary: pytest.CaptureFixture[bytes], *arguments: str) -> list[dict[str, Any]]:
    """Return what `export` prints."""
    capfdbinary.readouterr()
    assert cli.main(["export", *arguments]) == 0
    return [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]


def test_what_was_exported_can_be_imported(
    database_url: str, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any
) -> None:
    """In canonical form: in UTC with milliseconds, what is absent or as by default left out; the very same events."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setattr(service.commands.transfer, "_READ_AT_ONCE", 3)
    events = [email_sent(number, step=number % 3) for number in range(7)]
    events.append(email_sent(7, source="", occurred_at="2026-10-01T10:00:00.1239+02:00", sender_id=None))
    record(pool, 1, *events)
    exported_events = exported(capfdbinary, "--workspace", "1")
    assert [each["id"] for each in exported_events] == [each["id"] for each in events]
    assert exported_events[-1]["occurred_at"] == "2026-10-01T08:00:00.123Z"
    assert "source" not in exported_events[-1]
    assert "sender_id" not in exported_events[-1]
    assert list(exported_events[-1])[:2] == ["id", "type"]
    assert exported(capfdbinary, "--workspace", "1", "--after", "5") == exported_events[5:]
    assert exported(capfdbinary, "--workspace", "2") == []
    path = tmp_path / "log.ndjson"
    path.write_bytes(lines(*exported_events))
    for workspace, accepted in (("2", 8), ("1", 0)):
        assert cli.main(["import", str(path), "--workspace", workspace, "--create"]) == 0
        with pool.connection() as database:
            states = [
                database.execute(
                    "SELECT topic, state FROM stored_events WHERE workspace_id = %s ORDER BY position", (each,)
                ).fetchall()
                for each in (1, int(workspace))
            ]
        assert states[0] == states[1]
        assert f"{accepted} accepted" in capfdbinary.readouterr().err.decode()


@pytest.mark.processes
def test_who_has_read_enough_of_an_export_just_ends_it(pool: Pool, database_url: str) -> None:
    """As with `head`; nothing is printed about it."""
    record(pool, 1, *(email_sent(number) for number in range(20_000)))
    command = [sys.executable, "-m", "service.cli", "export", "--workspace", "1"]
    environment = {**os.environ, "DATABASE_URL": database_url}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as exporting:
        assert exporting.stdout is not None
        assert exporting.stderr is not None
        assert b'"e-0"' in exporting.stdout.readline()
        exporting.stdout.close()
        assert exporting.stderr.read() == b""
    assert exporting.returncode == 1


@pytest.mark.processes
def test_an_import_that_is_killed_goes_on_where_it_was(pool: Pool, database_url: str, tmp_path: Path) -> None:
    """Each transaction is there as a whole or not at all, and the file can be sent again."""
    path = tmp_path / "events.ndjson"
    path.write_bytes(lines(*(email_sent(number) for number in range(60_000))))
    command = [sys.executable, "-m", "service.cli", "import", str(path), "--workspace", "340", "--create"]
    environment = {**os.environ, "DATABASE_URL": database_url}
    killed = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    with pool.connection() as database:
        wait_for(lambda: head(database) > 0)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert len(log(pool)) % service.commands.transfer.EVENTS_AT_ONCE == 0
    again = subprocess.run([*command, "--json"], env=environment, capture_output=True, check=True)
    counts = json.loads(again.stdout)
    assert counts["accepted"] + counts["duplicates"] == counts["position"] == 60_000
    assert log(pool) == [f"e-{number}" for number in range(60_000)]


def head(database: Any) -> int:
    """Return how far the log of workspace 340 goes."""
    row = database.execute("SELECT head FROM log_head WHERE workspace_id = 340").fetchone()
    return int(row[0]) if row else 0


@pytest.mark.processes
def test_an_interrupted_import_of_a_silent_pipe_ends_at_once(pool: Pool, database_url: str) -> None:
    """Though the other end of the pipe stays open."""
    with subprocess.Popen(
        [sys.executable, "-m", "service.cli", "import", "-", "--workspace", "340", "--create"],
        cwd=ROOT,
        env=environment(DATABASE_URL=database_url),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as importing:
        assert importing.stdin is not None
        assert importing.stderr is not None
        importing.stdin.write(lines(email_sent(1)))
        importing.stdin.flush()
        pipe = importing.stdin.fileno()
        wait_for(lambda: fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)) == bytes(4))  # until all of it was read
        importing.send_signal(signal.SIGINT)
        assert importing.wait(10) == 130
        shown = importing.stderr.read()
    assert b"interrupted" in shown
    assert b"Traceback" not in shown
    assert log(pool) == []
