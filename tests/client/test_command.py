"""The command shows what a spool holds, and resends what was refused."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from campaign_analytics_client import Client, __main__
from campaign_analytics_client.rows import Refusal
from campaign_analytics_client.spool import Spool

from tests.client.dummy import Dummy, Reply
from tests.client.spooled import bodies, ids, python_path


@pytest.fixture
def refused(spool: Path) -> Path:
    """Give a spool with one event that waits and three that were refused."""
    with closing(Spool(spool, workspace_id=340)) as opened:
        opened.append(bodies(1, 2, 3, 4))
        rows = opened.first(3, 10**9)
        opened.settle(rows, [Refusal(row.number, "invalid_field", "step: expected an integer") for row in rows])
    return spool


def output_of(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    """Return what the command prints on stdout."""
    assert __main__.main([str(each) for each in arguments]) == code
    return capsys.readouterr().out


def waiting(spool: Path) -> list[dict[str, Any]]:
    """Return the events that wait."""
    with closing(Spool(spool)) as opened:
        return [json.loads(row.body) for row in opened.first(99, 10**9)]


def test_status_shows_pending_events_and_why_nothing_is_sent(
    spool: Path, server: Dummy, capsys: pytest.CaptureFixture[str]
) -> None:
    server.default = Reply(401, {"error": "Invalid API key"})
    with Client(server.url, "k.s", 340, spool) as client:
        client.email_sent("p", campaign_id=1)
        assert not client.flush(60)
    status = json.loads(output_of(capsys, "status", spool, "--json"))
    assert (status["workspace_id"], status["pending"], status["dead"]) == (340, 1, 0)
    assert (status["state"], status["reason"]) == ("halted", "the server answers 401: Invalid API key")
    assert status["since"].endswith("Z")
    assert "halted since" in output_of(capsys, "status", spool)
    server.default = lambda events: Reply(200, {"accepted": len(events), "duplicates": 0, "rejected": []})
    with Client(server.url, "k.s", 340, spool) as client:
        assert client.flush(60)
    status = json.loads(output_of(capsys, "status", spool, "--json"))
    assert (status["state"], status["reason"], status["pending"]) == ("sending", "", 0)


def test_dead_letters_are_listed_mended_and_resent(refused: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [json.loads(line) for line in output_of(capsys, "dead", refused, "--json").splitlines()]
    assert [(line["number"], line["code"], line["event"]["id"]) for line in lines] == [
        (1, "invalid_field", "e-1"),
        (2, "invalid_field", "e-2"),
        (3, "invalid_field", "e-3"),
    ]
    assert "step: expected an integer" in output_of(capsys, "dead", refused)
    lines[1]["event"]["step"] = 7
    mended = refused.with_name("mended")
    mended.write_text("".join(json.dumps(line) + "\n" for line in lines[1:2]), encoding="utf-8")
    output_of(capsys, "retry", refused, "--mended", mended)
    output_of(capsys, "retry", refused, 1)
    output_of(capsys, "retry", refused, 1, code=1)
    assert [each["id"] for each in waiting(refused)] == ids(4, 2, 1)
    assert waiting(refused)[1]["step"] == 7
    output_of(capsys, "retry", refused, "--all")
    assert [each["id"] for each in waiting(refused)] == ids(4, 2, 1, 3)


def test_a_dead_letter_can_be_dropped_by_its_number_only(refused: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output_of(capsys, "drop", refused, 2)
    output_of(capsys, "drop", refused, 2, code=1)
    assert [json.loads(line)["number"] for line in output_of(capsys, "dead", refused, "--json").splitlines()] == [1, 3]


def test_a_mended_line_that_is_wrong_changes_nothing(refused: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mended = refused.with_name("mended")
    for line in ("{}", "no", '{"number": 1, "event": {"type": "EmailSent"}}'):
        mended.write_text(f'{{"number": 2, "event": {bodies(2)[0].decode()}}}\n{line}\n', encoding="utf-8")
        output_of(capsys, "retry", refused, "--mended", mended, code=1)
    assert [each["id"] for each in waiting(refused)] == ids(4)


@pytest.mark.processes
def test_a_spool_that_is_not_there_is_not_made(spool: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "campaign_analytics_client", "status", str(spool)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=python_path(),
    )
    assert (done.returncode, done.stderr) == (1, f"there is no spool {spool}\n")
    assert not spool.exists()


def test_what_can_be_read_of_a_spool_is_copied_into_a_new_one(
    refused: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = refused.with_name("new")
    with closing(sqlite3.connect(refused)) as database:
        database.execute("UPDATE event SET body = '{}' WHERE number = 4")
        database.commit()
    with closing(Spool(refused, workspace_id=340)) as opened:
        opened.append(bodies(5))
    assert __main__.main(["salvage", str(refused), str(new)]) == 1
    assert "4 to 4 can't be read" in capsys.readouterr().err
    assert [each["id"] for each in waiting(new)] == ids(5)
    output_of(capsys, "retry", new, "--all")
    assert [each["id"] for each in waiting(new)] == ids(5, 1, 2, 3)
    output_of(capsys, "salvage", refused, new, code=1)


def test_events_are_salvaged_though_dead_letters_can_not_be_read(
    refused: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is looked up by itself; the numbers that might be lost are named all the same."""
    new = refused.with_name("new")
    with closing(sqlite3.connect(refused)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [(page,)] = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'dead'").fetchall()
        [(size,)] = database.execute("PRAGMA page_size").fetchall()
    with refused.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    log = refused.with_name(f"{refused.name}-wal")
    log.write_bytes(b"what is left of a log")
    before = refused.read_bytes()
    assert __main__.main(["salvage", str(refused), str(new)]) == 1
    assert (refused.read_bytes(), log.read_bytes()) == (before, b"what is left of a log"), "it is left as it is"
    assert "1 events and 0 dead letters were copied" in capsys.readouterr().err
    assert [each["id"] for each in waiting(new)] == ids(4)
