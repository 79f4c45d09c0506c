"""Shows what a caller learns of themselves, and what workspaces are called."""

from typing import Any

import pytest
from falcon import testing

from domain.access import Access
from tests.support.examples import api_key, lacking, session

ME = "/api/v1/me/"
NAMES = "/api/v1/access/workspaces/"
BY = "cli:test"


def me(client: testing.TestClient, headers: dict[str, str]) -> dict[str, Any]:
    """Return what a caller learns."""
    answer = client.simulate_get(ME, headers=headers)
    assert answer.status_code == 200
    return dict(answer.json)


def test_a_session_learns_its_workspaces_by_name(client: testing.TestClient, users: Access) -> None:
    """In order of their numbers; one without a name is called by its number, and the current one is marked."""
    for workspace_id in (777, 340):
        users.link("u-1", workspace_id, BY)
    users.rename_workspace(340, "Sales, north", BY)
    assert me(client, session("u-1")) == {
        "user": "u-1",
        "key": None,
        "current_workspace": 777,
        "workspaces": [{"id": 340, "name": "Sales, north"}, {"id": 777, "name": "Workspace 777"}],
    }
    users.unlink("u-1", 777, BY)
    assert me(client, session("u-1"))["current_workspace"] is None
    assert me(client, session("stranger")) == {
        "user": "stranger",
        "key": None,
        "current_workspace": None,
        "workspaces": [],
    }


@pytest.mark.parametrize("scopes", [("read",), ("write",), ("admin",), ("read", "write")])
def test_a_key_learns_what_it_may_do(client: testing.TestClient, users: Access, scopes: tuple[str, ...]) -> None:
    """Whatever its scopes are, and nothing of its secret."""
    users.link("u-1", 340, BY)
    issued = users.issue_key("u-1", scopes=scopes, name="worker", expires_at=4_102_444_800_000, by=BY)
    answer = me(client, {"X-API-Key": issued.key})
    assert answer["key"] == {
        "prefix": issued.about.prefix,
        "name": "worker",
        "scopes": list(scopes),
        "expires_at": "2100-01-01T00:00:00.000Z",
    }
    assert issued.key.partition(".")[2] not in str(answer)


def test_it_is_a_304_until_something_changes(client: testing.TestClient, users: Access) -> None:
    """A link, an unlink, a new name: the very next answer has it."""

    def tag() -> str:
        first = client.simulate_get(ME, headers=session("u-1")).headers["etag"]
        again = client.simulate_get(ME, headers={**session("u-1"), "If-None-Match": first})
        assert (again.status_code, again.content) == (304, b"")
        return first

    users.link("u-1", 340, BY)
    linked = tag()
    users.rename_workspace(340, "north", BY)
    renamed = tag()
    users.unlink("u-1", 340, BY)
    assert len({linked, renamed, tag()}) == 3
    assert client.simulate_get(ME).status_code == 401
    assert client.simulate_get(ME, headers=session("u-1"), query_string="workspace_id=1").status_code == 400


def test_an_admin_names_a_workspace(client: testing.TestClient, users: Access) -> None:
    """By a key of scope `admin` alone; the last name stands, and a name that can't be is refused by its field."""
    users.link("u-1", 340, BY)
    admin = api_key(users, scopes=("admin",))
    for name in ("one", "two", "two"):
        assert client.simulate_put(f"{NAMES}340", headers=admin, json={"name": name}).status_code == 204
    assert me(client, session("u-1"))["workspaces"] == [{"id": 340, "name": "two"}]
    for body in ({}, {"name": ""}, {"name": "x" * 257}, {"name": "a\nb"}, {"name": 5}, {"name": "x", "more": 1}):
        answer = client.simulate_put(f"{NAMES}340/", headers=admin, json=body)
        assert answer.status_code == 400, body
        assert answer.json["details"][0]["field"] in ("name", "more")
    assert client.simulate_put(f"{NAMES}x", headers=admin, json={"name": "x"}).status_code == 400
    reader = client.simulate_put(f"{NAMES}340", headers=api_key(users), json={"name": "x"})
    assert (reader.status_code, reader.json) == (403, lacking("admin"))
