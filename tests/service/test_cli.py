"""Shows what each command does, prints and returns, called as a user types it."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import psycopg
import pytest

from domain.recorder import Pool
from projections.building import replay, status
from projections.building.generations import SupersededError
from projections.marks import WentBackError
from service import cli, database, logs
from service.commands.parser import parser_of
from tests.support.commands import Command
from tests.support.databases import new_database
from tests.support.examples import email_sent
from tests.support.read_models import project_all
from tests.support.running import ROOT, environment
from tests.support.stored_events import execute, record

COMMANDS = (
    "demo",
    "serve",
    "migrate",
    "project",
    "replay",
    "set-aside",
    "status",
    "explain",
    "import",
    "export",
    "access",
    "hooks",
    "forget",
    "workspace",
    "mcp",
)
ACCESS_COMMANDS = ("link", "unlink", "select", "show", "history", "issue-key", "keys", "revoke-key")


def test_migrate_brings_an_empty_database_to_this_version_and_then_has_nothing_to_do(
    server_url: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is safe to run twice; before it, other commands say what is missing."""
    with new_database(server_url) as empty:
        monkeypatch.setenv("DATABASE_URL", empty)
        code, _, err = command("status")
        assert (code, err) == (1, "the database has no tables of ours, or older ones: run campaign-analytics migrate\n")
        code, out, err = command("migrate")
        assert (code, out) == (0, "")
        assert re.fullmatch(r"(\d{4}_\w+\.sql\n)+", err)
        assert command("migrate") == (0, "", "nothing to do\n")
        assert command("status").code == 0


def test_migrate_from_several_places_at_once_applies_each_step_once(
    server_url: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One does it all, the others wait for it and find nothing left to do."""
    with new_database(server_url) as empty:
        monkeypatch.setenv("DATABASE_URL", empty)
        with ThreadPoolExecutor(6) as places:
            codes = list(places.map(lambda _: cli.main(["migrate"]), range(6)))
        assert codes == [0] * 6
        with psycopg.connect(empty) as connection:
            applied = connection.execute("SELECT version FROM migration ORDER BY version").fetchall()
    result = command("status")  # collects the output of the others
    assert result.err.count("nothing to do\n") == 5
    assert result.err.count(".sql\n") == len(applied)


def test_what_a_user_may_see_is_linked_selected_and_unlinked(command: Command) -> None:
    """The first workspace becomes the current one; unlinking that leaves none."""
    shown: dict[str, Any] = {"user": "u", "linked_workspaces": [], "current_workspace": None}
    assert json.loads(command("access", "show", "u", "--json").out) == shown
    for workspace in ("2", "3", "2"):
        assert command("access", "link", "u", workspace)[:2] == (0, "")
    assert command("access", "show", "u").out == "workspace\n2          current\n3\n"
    assert command("access", "select", "u", "3").code == 0
    shown = {"user": "u", "linked_workspaces": [2, 3], "current_workspace": 3}
    assert json.loads(command("access", "show", "u", "--json").out) == shown
    for _ in range(2):
        assert command("access", "unlink", "u", "3")[:2] == (0, "")
    shown = {"user": "u", "linked_workspaces": [2], "current_workspace": None}
    assert json.loads(command("access", "show", "u", "--json").out) == shown


def test_a_workspace_that_is_not_linked_cannot_be_selected(command: Command) -> None:
    """The reason is one line on stderr."""
    assert command("access", "select", "u", "9") == (1, "", "workspace 9 is not linked to u\n")


def test_a_new_key_alone_is_printed_and_its_secret_never_again(command: Command) -> None:
    """So it can be taken into a variable of a shell; the list shows what is known of it."""
    before = datetime.now(UTC)
    code, out, err = command("access", "issue-key", "u", "--scope", "write", "--scope", "read", "--expires", "90d")
    assert code == 0
    prefix, _, secret = out.removesuffix("\n").partition(".")
    assert secret not in err
    assert re.fullmatch(r"[A-Za-z0-9_]+", prefix)
    assert len(secret) >= 32
    (shown,) = json.loads(command("access", "keys", "u", "--json").out)["keys"]
    assert list(shown) == ["prefix", "name", "scopes", "created_at", "expires_at", "last_used_at"]
    assert (shown["prefix"], shown["name"], sorted(shown["scopes"])) == (prefix, "", ["read", "write"])
    expires_at = datetime.fromisoformat(shown["expires_at"])
    assert timedelta(0) <= expires_at - before - timedelta(days=90) < timedelta(minutes=1)
    for result in (command("access", "keys", "u"), command("access", "keys", "u", "--json")):
        assert prefix in result.out
        assert secret not in result.out + result.err


def test_a_key_without_options_may_read_and_does_not_expire(command: Command) -> None:
    """More must be asked for."""
    command("access", "issue-key", "u", "--name", "reporting")
    (shown,) = json.loads(command("access", "keys", "u", "--json").out)["keys"]
    assert (shown["name"], shown["scopes"], shown["expires_at"]) == ("reporting", ["read"], None)


def test_the_history_shows_who_could_see_what_since_when_by_whose_hand(command: Command) -> None:
    """Every change, in order, for people and as JSON; of a key's secret nothing, not even its hash."""
    command("access", "link", "u", "340")
    key = command("access", "issue-key", "u", "--name", "reporting").out.strip()
    prefix = key.partition(".")[0]
    command("access", "revoke-key", prefix)
    command("access", "unlink", "u", "340")
    body = json.loads(command("access", "history", "u", "--json").out)
    assert body["user"] == "u"
    assert [{name: each[name] for name in each if name not in ("at", "by")} for each in body["history"]] == [
        {"type": "Registered"},
        {"type": "WorkspaceLinked", "workspace_id": 340, "current": True},
        {"type": "KeyIssued", "prefix": prefix, "name": "reporting", "scopes": ["read"], "expires_at": None},
        {"type": "KeyRevoked", "prefix": prefix},
        {"type": "WorkspaceUnlinked", "workspace_id": 340},
    ]
    assert all(re.fullmatch(r"cli:.+", each["by"]) for each in body["history"])
    assert sorted(each["at"] for each in body["history"]) == [each["at"] for each in body["history"]]
    lines = command("access", "history", "u").out.splitlines()
    assert [line.split()[2] for line in lines[1:]] == [each["type"] for each in body["history"]]
    assert "workspace_id=340 current=True" in lines[2]
    assert json.loads(command("access", "history", "nobody", "--json").out) == {"user": "nobody", "history": []}


def test_a_key_is_revoked_once(command: Command) -> None:
    """A second time there is no such key."""
    prefix = command("access", "issue-key", "u").out.partition(".")[0]
    assert command("access", "revoke-key", prefix) == (0, "", f"key {prefix} of u is revoked\n")
    assert json.loads(command("access", "keys", "u", "--json").out) == {"keys": []}
    assert command("access", "revoke-key", prefix) == (1, "", "no such key, or revoked already\n")


@pytest.mark.parametrize("user", ["", "x" * 256])
def test_a_user_id_that_cannot_be_one_is_refused(command: Command, user: str) -> None:
    """One line on stderr has the reason."""
    code, out, err = command("access", "link", user, "1")
    assert (code, out, err.count("\n")) == (2, "", 1)


@pytest.mark.processes
def test_status_lists_the_lag_of_each_workspace_and_what_is_stuck(command: Command, pool: Pool) -> None:
    """As a table for people and as JSON for programs."""
    record(pool, 1, *(email_sent(number) for number in range(3)))
    record(pool, 20, *(email_sent(number) for number in range(3)))
    with pool.connection() as connection:
        connection.execute(
            "UPDATE stored_events SET topic = 'domain.events:Unheard' WHERE workspace_id = 20 AND position = 2"
        )
    project_all(pool)
    record(pool, 1, email_sent(4))
    reason = "unknown topic domain.events:Unheard"
    code, out, err = command("status")
    assert code == 0
    assert "`set-aside` goes past the event" in err
    header, one, twenty = (line.split() for line in out.splitlines())
    assert header == ["workspace", "head", "projected", "lag", "seconds", "events/s", "last", "replay", "stuck"]
    assert one[:5] == ["1", "4", "3", "1", "0"]
    assert twenty[:4] == ["20", "3", "1", "2"]
    assert " ".join(twenty[6:]) == f"at 2, domain.events:Unheard: {reason}"
    code, out, err = command("status", "--json")
    assert (code, err) == (0, "")
    workspaces = json.loads(out)["workspaces"]
    assert all(0 <= each.pop("lag_seconds") < 60 and each.pop("rate") > 0 for each in workspaces)
    stuck = {"position": 2, "topic": "domain.events:Unheard", "reason": reason}
    assert all(int(each.pop("epoch")) > 0 for each in workspaces)
    rest: dict[str, Any] = {"replayed_at": None, "epoch_since": None, "lost": False, "set_aside": []}
    assert workspaces == [
        {"workspace_id": 1, "head": 4, "position": 3, "lag": 1, "stuck": None, **rest},
        {"workspace_id": 20, "head": 3, "position": 1, "lag": 2, "stuck": stuck, **rest},
    ]
    code, _, err = command("replay", "--workers", "1")
    assert code == 1
    assert "workspace 20 keeps its old rows: " in err
    replayed = json.loads(command("status", "--json").out)["workspaces"][0]
    assert replayed["lag"] == 0, "the other one was replayed"
    assert replayed["replayed_at"].endswith("Z")
    assert command("status").out.splitlines()[1].split()[6] == replayed["replayed_at"]


@pytest.mark.processes
def test_verify_finds_what_was_tampered_with_and_a_replay_mends_it(command: Command, pool: Pool) -> None:
    """It prints each difference as data, exits 1, and changes nothing."""
    alone = ("replay", "--workers", "1")
    record(pool, 1, email_sent(1), email_sent(2))
    record(pool, 2, email_sent(1))
    project_all(pool)
    code, out, _ = command("replay", "--verify")
    assert (code, out) == (0, "")
    with pool.connection() as connection:
        connection.execute("UPDATE campaign SET totals[2] = 99, name = 'Forged' WHERE workspace_id = 1")
    for _ in range(2):
        code, out, _ = command(*alone, "--verify")
        (line,) = out.splitlines()
        assert code == 1
        assert line.startswith("workspace 1 campaign 123: name is Forged, rebuilt None; ")
        assert " is 99, rebuilt " in line
    assert command(*alone, "--verify", "--workspace", "2").code == 0
    assert command(*alone, "--workspace", "2")[:2] == (0, "")
    assert command(*alone, "--verify").code == 1
    assert command(*alone, "--workspace", "1", "--workspace", "2")[:2] == (0, "")
    assert command(*alone, "--verify").code == 0


@pytest.mark.processes
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_replay_sums_up_as_json(command: Command, pool: Pool, workers: str) -> None:
    """For scheduled runs: how much, how fast, and what did not work."""
    record(pool, 1, *(email_sent(number) for number in range(3)))
    record(pool, 2, email_sent(1))
    with pool.connection() as connection:
        connection.execute("UPDATE stored_events SET state = 'damaged' WHERE workspace_id = 2")
    code, out, err = command("replay", "--workspace", "1", "--workers", workers, "--json")
    assert code == 0, err
    summary = json.loads(out)
    assert summary.pop("seconds") > 0
    assert summary.pop("events_per_second") > 0
    assert summary == {"workspaces": 1, "events": 3, "unknown": [], "failed": [], "differences": []}
    code, out, err = command("replay", "--workspace", "2", "--workspace", "9", "--workers", workers, "--json")
    assert code == 1
    summary = json.loads(out)
    assert summary["unknown"] == [9]
    [failure] = summary["failed"]
    assert (failure["workspace_id"], failure["position"]) == (2, 1)
    assert failure["reason"].startswith("damaged state of domain.events:EmailSent")
    assert "workspace 2 keeps its old rows: position 1: damaged state" in err


@pytest.mark.processes
def test_a_replay_of_an_unknown_workspace_fails_and_names_it(command: Command, pool: Pool) -> None:
    """Those that are known are replayed all the same."""
    record(pool, 1, email_sent(1))
    code, out, err = command("replay", "--workspace", "9", "--workspace", "1")
    assert (code, out) == (1, "")
    assert "workspace 9 has no log" in err
    assert json.loads(command("status", "--json").out)["workspaces"][0]["position"] == 1


def test_a_replay_starts_as_many_processes_as_cores_that_it_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container of one core on a machine of many it starts one."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert parser_of("replay").parse_args(["replay"]).workers == 1
    assert parser_of("replay").parse_args(["replay", "--workers", "3"]).workers == 3


@pytest.mark.processes
def test_a_replay_without_room_for_its_files_fails_before_it_begins(
    command: Command, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line that names the place and how much is missing; a small workspace needs none."""
    record(pool, 1, email_sent(1))
    record(pool, 2, *(email_sent(number) for number in range(2_001)))
    project_all(pool)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000))
    for verify in ((), ("--verify",)):
        code, out, err = command("replay", *verify)
        assert (code, out) == (1, "")
        assert re.fullmatch(
            r"a replay of 2,001 events needs 0.2 MB in /\S+, where 0.1 MB are free: make room, .*\n", err
        )
    assert command("replay", "--workspace", "1").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "nonsense",
        "access",
        "access link",
        "access link u",
        "access link u 0",
        "access link u 01",
        "access link u ALL",
        "access link u 9223372036854775808",
        "access issue-key u --scope everything",
        "access issue-key u --expires soon",
        "access issue-key u --expires 0d",
        "replay --workspace x",
        "replay --workers 0",
        "set-aside --workspace 1 --position 1",
        "set-aside --workspace 1 --position 1 --undo --reason both",
        "set-aside --workspace 1 --position 0x1 --reason why",
        "status --jsn",
        "serve --port x",
    ],
)
def test_a_misused_command_prints_an_error_and_exits_2(command: Command, arguments: str) -> None:
    """Nothing is done, and nothing is printed that a program might take for data."""
    code, out, err = command(*arguments.split())
    assert (code, out) == (2, "")
    assert err


@pytest.mark.parametrize(
    "words", [(), *((each,) for each in COMMANDS), *(("access", each) for each in ACCESS_COMMANDS)], ids=" ".join
)
def test_every_command_explains_itself(command: Command, words: tuple[str, ...]) -> None:
    """Also where no database answers."""
    code, out, err = command(*words, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: {' '.join(('campaign-analytics', *words))} ")


def test_the_commands_explained_are_all_there_are(command: Command) -> None:
    """A new command must be shown to explain itself too."""
    listed = re.findall(r"^    ([a-z-]+)", command("--help").out, re.MULTILINE)
    assert sorted(listed) == sorted(COMMANDS)
    listed = re.findall(r"^    ([a-z-]+)", command("access", "--help").out, re.MULTILINE)
    assert sorted(listed) == sorted(ACCESS_COMMANDS)


HARMFUL = "\x1b]0;owned\x07\r\n\x9b2J\u202e中"
HARMLESS = r"\x1b]0;owned\x07\r\n\x9b2J\u202e中"


def test_what_a_tenant_has_chosen_comes_out_harmless(command: Command, pool: Pool) -> None:
    """Nothing moves the operator's cursor, begins a line of its own or turns its direction; JSON says the same."""
    record(pool, 1, email_sent(1, id=HARMFUL, prospect_id=HARMFUL))
    project_all(pool)
    with pool.connection() as connection:
        connection.execute("UPDATE projection SET stuck_position = 1, stuck_topic = 't', stuck_reason = %s", (HARMFUL,))
    user = "u\u202e\u2028"
    for arguments in (
        ("explain", "--workspace", "1", "--campaign", "123", "--metric", "amount_of_emails_sent"),
        ("status",),
        ("access", "link", user, "1"),
        ("access", "issue-key", user, "--name", "n\u202e"),
        ("access", "keys", user),
        ("access", "history", user),
        ("access", "history", user, "--json"),
        ("status", "--json"),
    ):
        code, out, err = command(*arguments)
        assert code == 0
        assert all(line.isprintable() for line in (out + err).split("\n")), arguments
        if arguments[0] == "explain":
            assert out.count(HARMLESS) == 2
        if arguments == ("status", "--json"):
            assert json.loads(out)["workspaces"][0]["stuck"]["reason"] == HARMFUL


def test_a_line_of_the_log_stays_one_line() -> None:
    """On a terminal too; JSON escapes by itself."""
    record = logging.LogRecord("x", logging.ERROR, "", 0, "stuck: %s", (HARMFUL,), None)
    record.request_id = HARMFUL
    assert logs.Text("%(message)s").format(record) == f"stuck: {HARMLESS} request_id={HARMLESS}"


@pytest.mark.processes
@pytest.mark.parametrize("arguments", [["status"], ["status", "--json"]])
def test_what_the_terminal_can_not_show_comes_out_escaped(database_url: str, pool: Pool, arguments: list[str]) -> None:
    """And JSON stays JSON."""
    record(pool, 1, email_sent(1))
    project_all(pool)
    with pool.connection() as connection:
        connection.execute("UPDATE projection SET stuck_position = 1, stuck_topic = 't', stuck_reason = '中😀'")
    run = subprocess.run(
        [sys.executable, "-m", "service.cli", *arguments],
        cwd=ROOT,
        env=environment(DATABASE_URL=database_url, PYTHONIOENCODING="ascii"),
        capture_output=True,
        check=True,
    )
    if "--json" in arguments:
        assert json.loads(run.stdout)["workspaces"][0]["stuck"]["reason"] == "中😀"
    else:
        assert rb"\u4e2d\U0001f600" in run.stdout


def test_an_argument_that_is_no_text_is_refused(command: Command) -> None:
    """Bytes that are no UTF-8 reach Python as something that no database takes."""
    assert command("access", "show", "\udcff").code == 2
    assert command("access", "issue-key", "u", "--name", "\udcff").code == 2


def test_the_version_is_printed(command: Command) -> None:
    """As data, like --help."""
    code, out, err = command("--version")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"campaign-analytics \d+\.\d+\.\d+\n", out)


def test_a_successful_command_prints_one_line(command: Command) -> None:
    """On stderr, since it is no data."""
    assert command("access", "link", "u", "1") == (0, "", "workspace 1 is linked to u\n")
    assert command("access", "select", "u", "1") == (0, "", "workspace 1 is current for u\n")
    assert command("access", "unlink", "u", "1") == (0, "", "workspace 1 is not linked to u\n")
    assert command("access", "issue-key", "u").err == "issued to u, read; the key is shown this once\n"


def test_an_older_program_goes_on_with_a_newer_database_that_works_with_it(command: Command, pool: Pool) -> None:
    """`migrate` says so and is done, `status` says so and shows all; else `status` fails and says why."""
    record(pool, 1, email_sent(1))
    with pool.connection() as connection:
        connection.execute("INSERT INTO migration VALUES (9999, now(), %s)", (max(database.known()),))
    says = "the database is newer than this program, and this program goes on working with it"
    assert command("migrate") == (0, "", f"nothing to do: {says}\n")
    code, out, err = command("status", "--json")
    assert (code, err) == (0, "degraded: the database is newer than this program, which goes on working with it\n")
    assert json.loads(out)["workspaces"][0]["head"] == 1
    with pool.connection() as connection:
        connection.execute("UPDATE migration SET works_with = NULL WHERE version = 9999")
    says = "the database is newer than this program, and this program can't work with it"
    assert command("migrate") == (0, "", f"nothing to do: {says}\n")
    assert command("status", "--json") == (1, "", "the database is newer\n")


def test_every_new_migration_declares_the_older_programs_it_works_with() -> None:
    """By a line `-- works with: N`; the first eight were there before the rule (docs/operation.md)."""
    silent = [
        each.name
        for each in database.migrations()
        if each.version > 8 and "\n-- works with: " not in f"\n{each.statements}"
    ]
    assert silent == []


def test_an_interrupted_command_exits_130(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a stack trace."""

    def interrupt(_: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(status, "workspaces", interrupt)
    assert command("status") == (130, "", "interrupted\n")


@pytest.mark.parametrize("arguments", ["status", "migrate", "replay", "access show u", "access issue-key u"])
def test_an_unreachable_database_is_one_line_on_stderr(
    command: Command, monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    """The line has the reason, and no password."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://somebody:a-password@127.0.0.1:1/none")
    code, out, err = command(*arguments.split())
    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith("the database can't be used: ")
    assert "Connection refused" in line
    assert "a-password" not in line


def test_a_database_user_without_rights_is_one_line_on_stderr(
    command: Command, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no bug of ours that calls for a stack trace."""
    separator = "&" if "?" in database_url else "?"
    monkeypatch.setenv("DATABASE_URL", f"{database_url}{separator}options=-crole%3Dpg_monitor")
    assert command("status") == (1, "", "the database can't be used: permission denied for table log_head\n")


def test_measures_that_were_changed_without_a_new_version_are_one_line_on_stderr(command: Command, pool: Pool) -> None:
    """The line says what to do."""
    record(pool, 1, email_sent(1))
    project_all(pool)
    execute(pool, "UPDATE fold_version SET measures = measures[2:]")
    code, out, err = command("replay", "--workers", "1")
    assert (code, out) == (1, "")
    assert err.endswith(" of the fold sums other measures here: raise FOLD_VERSION\n")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (WentBackError(), str(WentBackError())),
        (SupersededError(), str(SupersededError())),
        (psycopg.errors.ReadOnlySqlTransaction("it only reads"), "the database can't be used: it only reads"),
        (psycopg.errors.IdleInTransactionSessionTimeout("too slow"), "the database can't be used: too slow"),
    ],
)
def test_what_ends_a_command_halfway_is_one_line_on_stderr(
    command: Command, monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    """A log that went back, a replay that another one has overtaken, a primary that became a standby."""

    def fail(*_: object) -> NoReturn:
        raise error

    monkeypatch.setattr(replay, "replay_all", fail)
    code, _, err = command("replay", "--workers", "1")
    assert (code, err.splitlines()[-1]) == (1, line)
    assert "Traceback" not in err


def test_an_impossible_home_is_one_line_on_stderr(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where no database is given, there is none without it."""
    home = tmp_path / "file"
    home.touch()
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("CAMPAIGN_ANALYTICS_HOME", str(home))
    assert command("migrate") == (2, "", f"CAMPAIGN_ANALYTICS_HOME: {home} can't be used: File exists\n")
