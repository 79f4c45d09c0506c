"""Shows what the service does on Citus: on a real one that CITUS_URL names, and on a stand-in that takes the same."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from falcon import testing
from psycopg.sql import SQL, Identifier

from domain.access import Access
from domain.recorder import Pool
from projections.building import replay, status, verification
from service import citus, database
from tests.support import reference, stand_in
from tests.support.commands import Command, CommandResult
from tests.support.databases import Databases, new_database
from tests.support.examples import WORKED_EXAMPLE_ANALYTICS, api_key, email_sent, worked_example
from tests.support.hooks import add_hook, deliver, received
from tests.support.read_models import ignore, in_small_pieces, project_all, shown
from tests.support.stored_events import log, record

EVENTS = "/api/v1/events/"
DASHBOARD = "/api/v1/dashboard/campaign-analytics/"
_PLACES = """
SELECT c.relname, p.partmethod::text, p.repmodel::text
FROM pg_dist_partition AS p JOIN pg_class AS c ON c.oid = p.logicalrelid
"""
ALL_TABLES = (*citus.DISTRIBUTED, *citus.REFERENCE, *citus.LOCAL)


@pytest.fixture(params=["stand-in", pytest.param("real", marks=pytest.mark.citus)])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give a distributed database without any rows."""
    if request.param == "stand-in":
        with request.getfixturevalue("databases").lend() as lent:
            stand_in.install(lent)
            database.migrate(lent)
            yield lent
        return
    url = os.environ.get("CITUS_URL")
    if not url:
        pytest.skip("CITUS_URL names no database of a Citus coordinator, all of whose tables the tests may drop")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS citus")
        for name in ALL_TABLES:
            connection.execute(SQL("DROP TABLE IF EXISTS {}").format(Identifier(name)))
    database.migrate(url)
    yield url


@pytest.fixture
def key(users: Access) -> dict[str, str]:
    """Give the header of a user who sees the workspaces 340, 341 and 342, of which 340 is the current one."""
    return api_key(users, 340, 341, 342, scopes=("read", "write", "admin"))


def post(client: testing.TestClient, key: dict[str, str], workspace_id: int, *events: dict[str, Any]) -> Any:
    """Post events and return the answer; some may be rejected."""
    answer = client.simulate_post(EVENTS, headers=key, params={"workspace_id": workspace_id}, json={"events": events})
    assert answer.status_code in (200, 207), answer.text
    return answer.json


def campaigns(client: testing.TestClient, key: dict[str, str], path: str = DASHBOARD, **params: Any) -> Any:
    """Return the campaigns of an answer."""
    answer = client.simulate_get(path, headers=key, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json["campaigns"]


def places(url: str) -> dict[str, tuple[str, str]]:
    """Return how each table that is not the coordinator's alone is distributed."""
    with psycopg.connect(url) as connection:
        return {name: (method, model) for name, method, model in connection.execute(_PLACES.encode())}


def test_every_table_has_its_place(pool: Pool) -> None:
    """By workspace, on all nodes, or on the coordinator alone for a reason; a new table has to be given one."""
    with pool.connection() as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert sorted(ALL_TABLES) == sorted(name for (name,) in tables)
    assert all(citus.LOCAL.values())


def test_migrate_distributes_the_tables_and_then_has_nothing_to_do(database_url: str) -> None:
    """Those of workspaces by `workspace_id`, together; those of access on every node; the others stay."""
    by_workspace = dict.fromkeys(citus.DISTRIBUTED, ("h", "s"))
    assert places(database_url) == {**by_workspace, **dict.fromkeys(citus.REFERENCE, ("n", "t"))}
    assert database.migrate(database_url) == []


def test_migrate_distributes_what_is_there_already(server_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database may get the extension later, and so may a table; what stays behind on the coordinator is deleted."""
    with new_database(server_url) as url:
        assert all(name.endswith(".sql") for name in database.migrate(url))
        stand_in.install(url)
        with monkeypatch.context() as patch:
            patch.setattr(citus, "DISTRIBUTED", citus.DISTRIBUTED[:2])
            first = database.migrate(url)
        assert first == [f"distributed {name}" for name in (*citus.DISTRIBUTED[:2], *citus.REFERENCE)]
        assert database.migrate(url) == [f"distributed {name}" for name in citus.DISTRIBUTED[2:]]
        together = [f"{name} by workspace_id with log_head" for name in citus.DISTRIBUTED[1:]]
        on_all_nodes = [f"{name} on all nodes" for name in citus.REFERENCE]
        assert stand_in.calls(url) == sorted([*together, *on_all_nodes, "log_head by workspace_id with none"])
        assert stand_in.emptied(url) == sorted([*citus.DISTRIBUTED, *citus.REFERENCE])


def test_a_database_without_citus_is_left_alone(databases: Databases) -> None:
    """Its plans are generic ones, as they were."""
    with databases.lend() as url, database.connect(url) as connection:
        assert not connection.is_distributed
        assert connection.execute("SHOW plan_cache_mode").fetchone() == ("force_generic_plan",)
        assert citus.distribute(connection) == []


def test_plans_are_made_for_each_workspace(database_url: str) -> None:
    """Citus takes no generic plan of a statement that it sends to a node, and compiling costs more than it saves."""
    with database.connect(database_url) as connection:
        assert connection.is_distributed
        assert connection.execute("SHOW plan_cache_mode").fetchone() == ("force_custom_plan",)
        assert connection.execute("SHOW jit").fetchone() == ("off",)


def test_events_are_stored_once_and_read_back(client: testing.TestClient, pool: Pool, key: dict[str, str]) -> None:
    """A repeat is a duplicate, another event by the same name a conflict, in small posts and in large ones."""
    events = worked_example()
    assert post(client, key, 340, *events)["accepted"] == len(events)
    assert post(client, key, 340, *events)["duplicates"] == len(events)
    answer = post(client, key, 340, email_sent(1), {**events[0], "prospect_id": "another"}, email_sent(2, id=""))
    assert (answer["accepted"], answer["duplicates"], answer["position"]) == (1, 0, len(events) + 1)
    assert [each["code"] for each in answer["rejected"]] == ["conflict", "invalid_field"]
    many = [email_sent(number) for number in range(500)]
    assert post(client, key, 341, *many)["accepted"] == len(many)
    answer = post(client, key, 341, *many[:200], *(email_sent(number) for number in range(500, 600)))
    assert (answer["accepted"], answer["duplicates"], answer["position"]) == (100, 200, 600)
    assert log(pool, 341) == [f"e-{number}" for number in range(600)]
    rejections = client.simulate_get(f"{EVENTS}rejections/", headers=key, params={"workspace_id": 340}).json
    assert len(rejections["rejections"]) == 2
    page = client.simulate_get(EVENTS, headers=key, params={"workspace_id": 340, "limit": 5}).json
    assert [each["position"] for each in page["events"]] == [1, 2, 3, 4, 5]


def test_a_key_that_may_not_write_stores_nothing(client: testing.TestClient, pool: Pool, users: Access) -> None:
    """Neither by a small post nor by a large one; and no position is used up."""
    reader = api_key(users, 340, scopes=("read",))
    for number in (1, 500):
        events = [email_sent(each) for each in range(number)]
        answer = client.simulate_post(EVENTS, headers=reader, params={"workspace_id": 340}, json={"events": events})
        assert answer.status_code == 403
    assert log(pool) == []


def test_the_numbers_are_the_same_asked_for_by_name_as_current_and_together(
    client: testing.TestClient, pool: Pool, key: dict[str, str]
) -> None:
    """Of one workspace by its own node, of all one by one; a workspace without a log has none."""
    for workspace_id in (340, 341):
        record(pool, workspace_id, *worked_example(), *worked_example(7))
    project_all(pool)
    expected = [{**each, "workspace_id": 340} for each in reference.campaigns([*worked_example(), *worked_example(7)])]
    assert campaigns(client, key, workspace_id=340) == expected
    assert expected[1]["analytics"] == WORKED_EXAMPLE_ANALYTICS
    assert campaigns(client, key) == expected
    both = [*expected, *({**each, "workspace_id": 341} for each in expected)]
    assert campaigns(client, key, workspace_id="ALL") == both
    assert campaigns(client, key, workspace_id="ALL", campaign_id=7) == both[::2]
    for path in ("summary/", "timeseries/", "breakdown/", "reply-times/"):
        query = {"workspace_id": "ALL", **({"by": "step"} if path == "breakdown/" else {})}
        assert client.simulate_get(DASHBOARD + path, headers=key, params=query).status_code == 200
    tag = client.simulate_get(DASHBOARD, headers=key, params={"workspace_id": "ALL"}).headers["etag"]
    again = {**key, "If-None-Match": tag}
    assert client.simulate_get(DASHBOARD, headers=again, params={"workspace_id": "ALL"}).status_code == 304
    assert client.simulate_get(DASHBOARD, headers=key, params={"workspace_id": 343}).status_code == 403


@pytest.mark.parametrize("small", [True, False])
def test_a_replay_builds_the_same_rows(
    pool: Pool,
    monkeypatch: pytest.MonkeyPatch,
    small: bool,  # noqa: FBT001
) -> None:
    """At once and by parts; what it leaves is swept."""
    if not small:
        in_small_pieces(monkeypatch)
    history = [*worked_example(), *(email_sent(number) for number in range(40))]
    record(pool, 340, *history)
    project_all(pool)
    for _ in range(2):
        assert verification.verify(pool, 340, ignore) == []
        assert replay.replay(pool, 340, ignore) == len(history)
    assert shown(pool, 340) == reference.campaigns(history)
    with pool.connection() as connection:
        assert status.lag(connection)[:3] == (0, 0, 0)


def test_a_tool_posts_by_its_hook_until_it_is_revoked(
    client: testing.TestClient, pool: Pool, key: dict[str, str]
) -> None:
    """Its deliveries are counted on the coordinator."""
    hook = add_hook(pool, "smartlead")
    sent = {
        "event_type": "EMAIL_SENT",
        "campaign_id": 1,
        "sl_lead_email": "jane@example.com",
        "event_timestamp": "2026-03-02T10:00:00Z",
        "stats_id": "s",
    }
    for _ in range(2):
        assert deliver(client, "smartlead", hook.token, sent).status_code == 200
    assert received(pool) == {("EMAIL_SENT", "accepted", ""): 1, ("EMAIL_SENT", "duplicate", ""): 1}
    lookup = client.simulate_get("/api/v1/prospects/lookup/", headers=key, params={"email": "jane@example.com"})
    assert lookup.status_code == 200
    assert client.simulate_delete(f"/api/v1/access/hooks/{hook.hook_id}", headers=key).status_code == 204
    assert deliver(client, "smartlead", hook.token, sent).status_code == 401


def test_a_prospect_is_forgotten(client: testing.TestClient, pool: Pool, key: dict[str, str]) -> None:
    """In the log, the journeys and the rejections; the numbers stay."""
    post(client, key, 340, *worked_example(), email_sent(1, prospect_id="jane-of-example", id=""))
    post(client, key, 340, email_sent(2, prospect_id="jane-of-example"))
    project_all(pool)
    before = campaigns(client, key)
    answer = client.simulate_delete("/api/v1/prospects/jane-of-example/", headers=key, params={"workspace_id": 340})
    assert answer.status_code == 200, answer.text
    page = client.simulate_get(EVENTS, headers=key, params={"workspace_id": 340, "limit": 100}).text
    assert "jane-of-example" not in page
    assert campaigns(client, key) == before
    assert verification.verify(pool, 340, ignore) == []


def test_a_workspace_is_deleted(command: Command, client: testing.TestClient, pool: Pool, key: dict[str, str]) -> None:
    """With all its rows, and for good; the others stay."""
    for workspace_id in (340, 341):
        record(pool, workspace_id, *worked_example())
    add_hook(pool, "smartlead")
    project_all(pool)
    assert command("workspace", "rename", "340", "Sales").code == 0
    listed = json.loads(command("workspace", "list", "--json").out)["workspaces"]
    assert [(each["workspace_id"], each["name"], each["head"], each["users"]) for each in listed] == [
        (340, "Sales", 13, 1),
        (341, None, 13, 1),
        (342, None, 0, 1),
    ]
    assert command("workspace", "delete", "340", "--yes", "340").code == 0
    with pool.connection() as connection:
        for table in (*citus.DISTRIBUTED, "workspace_link", "workspace", "hook", "prospect_key"):
            query = SQL("SELECT count(*) FROM {} WHERE workspace_id = 340").format(Identifier(table))
            assert connection.execute(query).fetchone() == (0,), table
    assert client.simulate_get(DASHBOARD, headers=key, params={"workspace_id": 340}).status_code == 403
    assert len(campaigns(client, key, workspace_id="ALL")) == 1


def test_a_log_moves_by_export_and_import(command: Command, pool: Pool, tmp_path: Path) -> None:
    """From one database to another, as often as it takes; here from one workspace to another."""
    record(pool, 340, *worked_example(), *(email_sent(number) for number in range(200)))
    exported = command("export", "--workspace", "340").out
    file = tmp_path / "log.ndjson"
    file.write_text(exported, encoding="utf-8")
    for accepted in (213, 0):
        result: CommandResult = command("import", str(file), "--workspace", "341", "--create", "--json")
        assert json.loads(result.out)["accepted"] == accepted
    assert log(pool, 341) == log(pool, 340)
