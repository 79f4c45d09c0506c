"""Shows that of two keys of campaigns with one id the first stands for ever, on every way in."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from falcon import testing

from domain.access import Access
from domain.campaign_keys import campaign_id_of_key
from domain.keyed_campaigns import KnownKeys, register
from domain.recorder import Pool
from tests.support.commands import Command
from tests.support.examples import api_key, email_sent, lacking, parsed
from tests.support.stored_events import log
from tests.support.waiting import wait_for

FIRST, SECOND = "tool:34299816", "tool:107631196"  # found by a search through a hundred million: both have the same id
PATH = "/api/v1/events/"
END_OTHER_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
CONFLICT = f"campaign_key: has the same id as {FIRST}, which was there first"


def keyed(number: int, key: str, **fields: Any) -> dict[str, Any]:
    """Return an event of a campaign that its tool names by a string."""
    event = email_sent(number, campaign_key=key, **fields)
    del event["campaign_id"]
    return event


def as_json(events: list[dict[str, Any]]) -> tuple[dict[str, str], bytes]:
    """Return a small body, which the event loop records."""
    return {"Content-Type": "application/json"}, json.dumps(events).encode()


def as_large_json(events: list[dict[str, Any]]) -> tuple[dict[str, str], bytes]:
    """Return a body that a thread records."""
    headers, body = as_json(events)
    return headers, body + b" " * 20_000


def as_lines(events: list[dict[str, Any]]) -> tuple[dict[str, str], bytes]:
    """Return NDJSON."""
    return {"Content-Type": "application/x-ndjson"}, b"\n".join(json.dumps(each).encode() for each in events)


def as_cloud_events(events: list[dict[str, Any]]) -> tuple[dict[str, str], bytes]:
    """Return a batch of CloudEvents."""
    batch = [
        {
            "specversion": "1.0",
            "id": each.pop("id"),
            "source": "s",
            "type": each.pop("type"),
            "time": each.pop("occurred_at"),
            "data": each,
        }
        for each in ({**event} for event in events)
    ]
    return {"Content-Type": "application/cloudevents-batch+json"}, json.dumps(batch).encode()


WAYS = [as_json, as_large_json, as_lines, as_cloud_events]
Way = Callable[[list[dict[str, Any]]], tuple[dict[str, str], bytes]]


def test_the_two_keys_have_one_id() -> None:
    """Else nothing here would show anything."""
    assert campaign_id_of_key(FIRST) == campaign_id_of_key(SECOND)


def test_a_key_that_a_new_primary_lacks_is_registered_again(
    client: testing.TestClient, pool: Pool, users: Access
) -> None:
    """A standby that takes over may lack the latest; so nothing is taken for registered once connections were lost."""
    key = api_key(users, 340)

    def post(number: int) -> int:
        headers, body = as_json([keyed(number, FIRST)])
        query = {"headers": {**key, **headers}, "query_string": "workspace_id=340"}
        return client.simulate_post(PATH, body=body, **query).status_code

    assert [post(1), post(2)] == [200, 200]
    with pool.connection() as database:
        database.execute("DELETE FROM campaign_key")
        database.execute(END_OTHER_SESSIONS)
    wait_for(lambda: post(3) == 200)
    with pool.connection() as database:
        assert database.execute("SELECT campaign_key FROM campaign_key").fetchall() == [(FIRST,)]


@pytest.mark.parametrize("way", WAYS)
def test_another_key_of_an_id_is_a_conflict(client: testing.TestClient, pool: Pool, users: Access, way: Way) -> None:
    """The event with it enters no log, also where both come in one body; the others do, again and again."""
    key = api_key(users, 340)
    events = [keyed(1, FIRST), keyed(2, SECOND), email_sent(3), keyed(4, "tool:other"), keyed(5, FIRST)]
    for accepted, duplicates in ((4, 0), (0, 4)):
        headers, body = way(events)
        answer = client.simulate_post(PATH, headers={**key, **headers}, body=body, query_string="workspace_id=340")
        assert (answer.status_code, answer.json["accepted"], answer.json["duplicates"]) == (207, accepted, duplicates)
        (rejected,) = answer.json["rejected"]
        assert (rejected["index"], rejected["id"], rejected["code"], rejected["error"]) == (
            1,
            "e-2",
            "conflict",
            CONFLICT,
        )
    assert log(pool) == ["e-1", "e-3", "e-4", "e-5"]
    rejections = client.simulate_get("/api/v1/events/rejections/", headers=key).json["rejections"]
    assert [each["code"] for each in rejections] == ["conflict", "conflict"]


def test_an_import_knows_it_too(command: Command, pool: Pool, tmp_path: Path) -> None:
    """What was posted before stands, and what a line names first."""
    with pool.connection() as database:
        register(database, 340, [FIRST])
    file = tmp_path / "events.ndjson"
    _, body = as_lines([keyed(1, SECOND), keyed(2, FIRST), keyed(3, FIRST)])
    file.write_bytes(body)
    result = command("import", str(file), "--workspace", "340", "--create", "--json")
    assert (result.code, json.loads(result.out)["accepted"], json.loads(result.out)["rejected"]) == (1, 2, 1)
    (rejected,) = map(json.loads, Path(f"{file}.rejected.ndjson").read_bytes().splitlines())
    assert (rejected["line"], rejected["code"], rejected["error"]) == (1, "conflict", CONFLICT)
    assert log(pool) == ["e-2", "e-3"]


def test_a_workspace_has_keys_of_its_own(client: testing.TestClient, pool: Pool, users: Access) -> None:
    """The ids of one workspace name nothing in another."""
    key = api_key(users, 340, 341)
    for workspace, name in ((340, FIRST), (341, SECOND)):
        headers, body = as_json([keyed(1, name)])
        query = f"workspace_id={workspace}"
        assert client.simulate_post(PATH, headers={**key, **headers}, body=body, query_string=query).status_code == 200
    assert log(pool, 341) == ["e-1"]


@pytest.mark.parametrize("way", WAYS)
def test_who_may_not_write_registers_no_key(client: testing.TestClient, pool: Pool, users: Access, way: Way) -> None:
    """Else a stranger could take a campaign's id away."""
    writer, reader = api_key(users, 340), api_key(users, 340, scopes=("read",))
    headers, body = way([keyed(1, SECOND)])
    answer = client.simulate_post(PATH, headers={**reader, **headers}, body=body, query_string="workspace_id=340")
    assert (answer.status_code, answer.json) == (403, lacking("write"))
    headers, body = way([keyed(1, FIRST)])
    answer = client.simulate_post(PATH, headers={**writer, **headers}, body=body, query_string="workspace_id=340")
    assert answer.status_code == 200
    assert log(pool) == ["e-1"]


def test_whoever_was_unlinked_meanwhile_registers_no_key(client: testing.TestClient, pool: Pool, users: Access) -> None:
    """Also where this process has let them write before, so that their small bodies are parsed at once."""
    key = api_key(users, 340)
    headers, body = as_json([email_sent(1)])
    client.simulate_post(PATH, headers={**key, **headers}, body=body, query_string="workspace_id=340")
    users.unlink("u-1", 340, "cli:test")
    headers, body = as_json([keyed(2, SECOND)])
    answer = client.simulate_post(PATH, headers={**key, **headers}, body=body, query_string="workspace_id=340")
    assert answer.status_code == 403
    with pool.connection() as database:
        assert database.execute("SELECT count(*) FROM campaign_key").fetchone() == (0,)


def test_a_known_key_is_asked_about_once(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """From then on no statement is made for it, until there are too many to remember."""
    events, keys = parsed(keyed(1, FIRST), keyed(2, SECOND), email_sent(3)), KnownKeys()
    assert keys.others(340, events) is None
    with pool.connection() as database:
        assert keys.register(database, 340, events) == {1: FIRST}
    assert keys.others(340, events) == {1: FIRST}
    assert keys.others(340, events[2:]) == {}
    assert keys.others(341, events) is None
    monkeypatch.setattr("domain.keyed_campaigns.MOST_KNOWN", 1)
    with pool.connection() as database:
        assert keys.register(database, 340, parsed(keyed(1, "tool:c"))) == {}
    assert keys.others(340, events) is None
