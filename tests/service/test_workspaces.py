"""Shows the commands that forget a person and that list, name and delete workspaces."""

import io
import json
import sys

import pytest
from falcon import testing

from domain.access import Access
from domain.recorder import Pool
from domain.refusals import DeletedWorkspaceError
from domain.workspaces import Workspace
from projections.building import ending, verification
from tests.support.commands import Command
from tests.support.examples import api_key, email_sent, worked_example
from tests.support.hooks import add_hook, connected, deliver
from tests.support.read_models import project_all
from tests.support.stored_events import execute, log, record

DASHBOARD = "/api/v1/dashboard/campaign-analytics/"


def rows_of(pool: Pool, workspace_id: int) -> dict[str, int]:
    """Return how many rows each table has of a workspace, of tables that have any."""
    with pool.connection() as database:
        tables = database.execute(
            "SELECT DISTINCT table_name FROM information_schema.columns"
            " WHERE column_name = 'workspace_id' AND table_schema = 'public'"
        ).fetchall()
        counts = {
            table: database.execute(
                f"SELECT count(*) FROM {table} WHERE workspace_id = %s".encode(),
                (workspace_id,),
            ).fetchone()
            for (table,) in tables
        }
    return {table: count[0] for table, count in counts.items() if count and count[0]}


def answers(client: testing.TestClient, key: dict[str, str], workspace_id: int) -> tuple[int, int]:
    """Return the status of a read and of a post."""
    query = f"workspace_id={workspace_id}"
    read = client.simulate_get(DASHBOARD, headers=key, query_string=query)
    headers = {**key, "Content-Type": "application/json"}
    post = client.simulate_post("/api/v1/events/", headers=headers, body=json.dumps(email_sent(99)), query_string=query)
    return read.status_code, post.status_code


def test_a_person_is_forgotten(command: Command, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By an argument, or by standard input, which no list of processes shows."""
    record(pool, 340, *worked_example())
    project_all(pool)
    result = command("forget", "--workspace", "340", "--prospect", "a", "--json")
    answer = json.loads(result.out)
    assert (result.code, answer["events"], answer["token"][:10]) == (0, 6, "forgotten-")
    monkeypatch.setattr(sys, "stdin", io.StringIO("b\n"))
    assert "in 4 events" in command("forget", "--workspace", "340", "--prospect", "-").err
    again = command("forget", "--workspace", "340", "--prospect", "a")
    assert (again.code, again.out, again.err) == (0, "", "nothing is stored of this prospect\n")
    assert command("forget", "--workspace", "340", "--prospect", "").code == 2
    assert verification.verify(pool, 340, lambda _: None) == []


def test_workspaces_are_listed_and_named(command: Command, pool: Pool, users: Access) -> None:
    """Whether they have events, a name or a user."""
    record(pool, 1, email_sent(1))
    users.link("u-1", 2, "cli:test")
    result = command("workspace", "rename", "3", "Sales, north")
    assert (result.code, result.err) == (0, "workspace 3 is called Sales, north\n")
    assert command("workspace", "rename", "3", "").code == 2
    listed = json.loads(command("workspace", "list", "--json").out)["workspaces"]
    assert [tuple(each.values()) for each in listed] == [
        (1, None, 1, 0, None),
        (2, None, 0, 1, None),
        (3, "Sales, north", 0, 0, None),
    ]
    assert command("workspace", "list").out.splitlines()[0].split() == ["workspace", "name", "head", "users", "deleted"]


def fill(pool: Pool, users: Access) -> tuple[dict[str, str], str]:
    """Let workspace 340 have something in each table; return a key, and the token of a hook."""
    key = api_key(users, 340, 341)
    users.rename_workspace(340, "Sales", "cli:test")
    record(pool, 340, *worked_example(), email_sent(1, campaign_id=7))
    record(pool, 341, *worked_example())
    project_all(pool)
    execute(pool, "INSERT INTO spare_generation VALUES (340, 1, now())")
    execute(pool, "INSERT INTO rejected_event (workspace_id, at, code, error) VALUES (340, 1, 'malformed', '')")
    execute(pool, "INSERT INTO set_aside VALUES (340, 1, '', '', '', now(), '')")
    execute(pool, "INSERT INTO campaign_key VALUES (340, 1, 'a:1')")
    return key, add_hook(pool, "smartlead").token


def test_a_workspace_is_deleted_for_good(
    command: Command, client: testing.TestClient, pool: Pool, users: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All its rows are gone, the other one's stay; no user reads or posts, no user can be linked, no tool connected."""
    monkeypatch.setattr(ending, "_AT_ONCE", 2)
    key, token = fill(pool, users)
    other = rows_of(pool, 341)
    assert set(rows_of(pool, 340)) >= {*ending.TABLES, "workspace_link", "hook"}
    assert answers(client, key, 340) == (200, 200)
    result = command("workspace", "delete", "340", "--yes", "340")
    assert (result.code, result.err.splitlines()[-1]) == (0, "workspace 340 is deleted")
    assert rows_of(pool, 340) == {"deleted_workspace": 1}
    assert rows_of(pool, 341) == other
    assert answers(client, key, 340) == (403, 403)
    assert answers(client, key, 341) == (200, 200)
    assert deliver(client, "smartlead", token, {}).status_code == 401

    user = users.user("u-1")
    assert user is not None
    assert user.linked_workspaces == [341]
    with pytest.raises(DeletedWorkspaceError):
        users.link("u-2", 340, "cli:test")
    assert command("access", "link", "u-2", "340").code == 1
    assert command("hooks", "add", "340", "smartlead").code == 1
    assert command("workspace", "rename", "340", "again").code == 1
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert command("import", "-", "--workspace", "340", "--create").code == 1
    # The refused post has locked a head, at 0, that was not there.
    assert {**rows_of(pool, 340), "log_head": 1} == {"deleted_workspace": 1, "log_head": 1}
    assert log(pool) == []
    listed = json.loads(command("status", "--json").out)["workspaces"]
    assert [each["workspace_id"] for each in listed] == [341]

    kinds = [type(each).__qualname__ for each in users.events.get(Workspace.create_id(340))]
    assert kinds == ["Workspace.Registered", "Workspace.Renamed", "Workspace.Deleted"]
    [deleted, _] = json.loads(command("workspace", "list", "--json").out)["workspaces"]
    assert deleted["workspace_id"] == 340
    assert deleted["deleted_at"] is not None
    assert command("workspace", "delete", "340", "--yes", "340").code == 0
    assert log(pool, 341)


@pytest.mark.parametrize("answer", ["", "341", "yes", "٣٤٠"])
def test_another_id_deletes_nothing(command: Command, pool: Pool, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The id is asked for again, on standard input or as an argument."""
    record(pool, 340, email_sent(1))
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{answer}\n"))
    assert command("workspace", "delete", "340").code == 1
    assert command("workspace", "delete", "340", "--yes", "341").code == 1
    assert log(pool) == ["e-1"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("340\n"))
    assert command("workspace", "delete", "340").code == 0
    assert rows_of(pool, 340) == {"deleted_workspace": 1}


def test_a_deletion_that_was_interrupted_goes_on(
    command: Command, pool: Pool, users: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody projects what is left of the log meanwhile."""
    fill(pool, users)
    monkeypatch.setattr(ending, "_DELETE_SOME", {**ending._DELETE_SOME, "journey": b"SELECT interrupted"})
    assert command("workspace", "delete", "340", "--yes", "340").code == 1
    assert "journey" in rows_of(pool, 340)
    project_all(pool)
    assert "projection" not in rows_of(pool, 340)
    monkeypatch.undo()
    with pool.connection() as database:
        gone: list[int] = []
        ending.delete(database, users, connected(pool), 340, "cli:test", gone.append)
    assert sum(gone)
    assert rows_of(pool, 340) == {"deleted_workspace": 1}


def test_a_workspace_that_never_was_is_not_deleted(command: Command, users: Access, pool: Pool) -> None:
    """A slip takes no id away; whatever is known of one is enough: a hook, a link, a name, a log."""
    result = command("workspace", "delete", "341", "--yes", "341")
    assert (result.code, result.err) == (1, "nothing was deleted: there is no workspace 341\n")
    add_hook(pool, "smartlead", 1)
    users.link("u-1", 2, "cli:test")
    users.rename_workspace(3, "Sales", "cli:test")
    record(pool, 4, email_sent(1))
    for known in "1234":
        assert command("workspace", "delete", known, "--yes", known).code == 0
    users.link("u-1", 341, "cli:test")


def test_over_http_a_deleted_workspace_is_a_conflict(
    command: Command, client: testing.TestClient, users: Access
) -> None:
    """For the platform, which may not know yet."""
    admin = {**api_key(users, user="platform", scopes=("admin",)), "Content-Type": "application/json"}
    users.rename_workspace(340, "Sales", "cli:test")
    command("workspace", "delete", "340", "--yes", "340")
    base = "/api/v1/access/"
    statuses = [
        client.simulate_put(f"{base}users/u-1/workspaces/340", headers=admin).status_code,
        client.simulate_put(f"{base}workspaces/340", headers=admin, body='{"name": "x"}').status_code,
        client.simulate_post(
            f"{base}hooks", headers=admin, body='{"workspace_id": 340, "provider": "smartlead"}'
        ).status_code,
    ]
    assert statuses == [409, 409, 409]
