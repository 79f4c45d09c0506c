"""Shows that the platform manages access over HTTP, with the rules and the effect of the command line."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import falcon
import pytest
from falcon import testing

from api.auth import last_use
from domain.access import Access
from domain.instants import format_instant
from domain.recorder import Pool
from projections import access
from service.clock import clock
from tests.support.examples import api_key, lacking, session
from tests.support.waiting import wait_for

USERS = "/api/v1/access/users"
DASHBOARD = "/api/v1/dashboard/campaign-analytics/"
DENIED = {"error": "Access denied"}
JSON = {"Content-Type": "application/json"}


ALL_PATHS = [
    ("GET", "u-1"),
    ("GET", "u-1/history"),
    ("PUT", "u-1/workspaces/340"),
    ("DELETE", "u-1/workspaces/340"),
    ("PUT", "u-1/current-workspace"),
    ("POST", "u-1/keys"),
    ("DELETE", "u-1/keys/ca_0"),
]


class Platform:
    """The platform's own client, with an admin key."""

    def __init__(self, client: testing.TestClient, key: dict[str, str]) -> None:
        """Take both."""
        self.client = client
        self.key = key

    @property
    def by(self) -> str:
        """Return by whose hand it changes something."""
        return f"key:{self.key['X-API-Key'].partition('.')[0]}"

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> testing.Result:
        """Make a request about users."""
        content = None if body is None else json.dumps(body).encode()
        content_type = JSON if body is not None else {}
        return self.client.simulate_request(
            method, f"{USERS}/{path}", headers={**self.key, **content_type, **headers}, body=content
        )

    def status(self, method: str, path: str, body: object = None) -> int:
        """Make a request, and return its status."""
        return self.ask(method, path, body).status_code


@pytest.fixture
def platform(client: testing.TestClient, users: Access) -> Platform:
    """Give the platform a key, as the command line issues it."""
    return Platform(client, api_key(users, user="platform", scopes=("admin",)))


def sees(client: testing.TestClient, headers: dict[str, str], workspace: int) -> bool:
    """Return whether a user sees a workspace."""
    return client.simulate_get(DASHBOARD, headers=headers, query_string=f"workspace_id={workspace}").status_code == 200


def test_an_unknown_user_is_an_empty_one(platform: Platform) -> None:
    """The platform need not create anybody."""
    for path in ("u-9", "u-9/"):
        answer = platform.ask("GET", path)
        assert (answer.status_code, answer.json) == (
            200,
            {"user": "u-9", "linked_workspaces": [], "current_workspace": None, "keys": []},
        )
    assert platform.ask("GET", "u-9/history").json == {"user": "u-9", "history": []}


def test_links_and_the_current_workspace_change_from_the_next_request(platform: Platform) -> None:
    """Link, link again, select, unlink, unlink again: each 204 without a body, each at once."""
    reader = session("u-1")
    assert not sees(platform.client, reader, 340)
    for _ in range(2):
        answer = platform.ask("PUT", "u-1/workspaces/340")
        assert (answer.status_code, answer.content) == (204, b"")
    assert platform.status("PUT", "u-1/workspaces/12/") == 204
    assert sees(platform.client, reader, 340)
    assert platform.ask("GET", "u-1").json == {
        "user": "u-1",
        "linked_workspaces": [12, 340],
        "current_workspace": 340,
        "keys": [],
    }
    assert platform.status("PUT", "u-1/current-workspace", {"workspace_id": 12}) == 204
    assert platform.ask("GET", "u-1").json["current_workspace"] == 12
    for _ in range(2):
        assert platform.status("DELETE", "u-1/workspaces/12") == 204
        assert not sees(platform.client, reader, 12)
    assert platform.ask("GET", "u-1").json["current_workspace"] is None


def test_a_workspace_that_is_not_linked_cannot_become_the_current_one(platform: Platform) -> None:
    """409, and nothing has changed."""
    platform.ask("PUT", "u-1/workspaces/340")
    answer = platform.ask("PUT", "u-1/current-workspace", {"workspace_id": 777})
    assert (answer.status_code, answer.json) == (409, {"error": "workspace_id: 777 is not linked to this user"})
    assert platform.ask("GET", "u-1").json["current_workspace"] == 340


def test_a_key_is_shown_once_and_works_until_it_is_revoked(platform: Platform) -> None:
    """Its secret is in the answer to its issue and nowhere else."""
    platform.ask("PUT", "u-1/workspaces/340")
    expires_at = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="seconds")
    new_key = {"name": "worker ü", "scopes": ["write", "read"], "expires_at": expires_at}
    issued = platform.ask("POST", "u-1/keys", new_key)
    assert issued.status_code == 201
    assert list(issued.json) == ["key", "prefix", "name", "scopes", "created_at", "expires_at", "last_used_at"]
    prefix, _, secret = issued.json["key"].partition(".")
    assert issued.json["prefix"] == prefix
    assert (issued.json["name"], issued.json["scopes"]) == ("worker ü", ["read", "write"])
    assert datetime.fromisoformat(issued.json["expires_at"]) == datetime.fromisoformat(expires_at)
    key = {"X-API-Key": issued.json["key"]}
    assert sees(platform.client, key, 340)
    (shown,) = platform.ask("GET", "u-1").json["keys"]
    assert {**shown, "last_used_at": None} == {name: issued.json[name] for name in shown}
    assert secret not in platform.ask("GET", "u-1").text + platform.ask("GET", "u-1/history").text
    for _ in range(2):
        assert platform.status("DELETE", f"u-1/keys/{prefix}") == 204
        assert not sees(platform.client, key, 340)
    assert platform.ask("GET", "u-1").json["keys"] == []


def test_a_key_without_scopes_and_expiry_may_read_for_ever(platform: Platform) -> None:
    """More must be asked for; null is as good as nothing."""
    for body in ({}, {"name": None, "scopes": None, "expires_at": None}):
        answer = platform.ask("POST", "u-1/keys", body)
        assert (answer.json["name"], answer.json["scopes"], answer.json["expires_at"]) == ("", ["read"], None)


def test_a_name_that_stands_twice_is_refused(platform: Platform) -> None:
    """Nobody has to guess which of two scopes counts, and nothing is issued."""
    body = b'{"scopes": ["read"], "name": "n", "scopes": ["write"]}'
    path = "/api/v1/access/users/u-1/keys"
    answer = platform.client.simulate_post(path, headers={**platform.key, **JSON}, body=body)
    error = {"field": "body", "error": 'has the name "scopes" twice in one object'}
    assert (answer.status_code, answer.json["details"]) == (400, [error])
    assert platform.ask("GET", "u-1").json["keys"] == []


def test_another_users_key_is_not_revoked(platform: Platform, users: Access) -> None:
    """404, and it goes on."""
    key = api_key(users, 340, user="u-2")
    prefix = key["X-API-Key"].partition(".")[0]
    for path in (f"u-1/keys/{prefix}", "u-1/keys/ca_0", f"u-2/keys/{prefix}0"):
        assert platform.status("DELETE", path) == 404
    assert sees(platform.client, key, 340)


def test_the_history_has_links_keys_their_times_and_authors(platform: Platform, users: Access) -> None:
    """What the platform has done and what an operator has, in order."""
    platform.ask("PUT", "u-1/workspaces/340")
    users.link("u-1", 341, "cli:ann")
    platform.ask("PUT", "u-1/current-workspace", {"workspace_id": 341})
    issued = platform.ask("POST", "u-1/keys", {"name": "n"}).json
    platform.ask("DELETE", f"u-1/keys/{issued['prefix']}")
    platform.ask("DELETE", "u-1/workspaces/340")
    answer = platform.ask("GET", "u-1/history").json
    assert [each.pop("at") for each in answer["history"]] == [format_instant(e.at) for e in users.history("u-1")]
    assert answer == {
        "user": "u-1",
        "history": [
            {"by": platform.by, "type": "Registered"},
            {"by": platform.by, "type": "WorkspaceLinked", "workspace_id": 340, "current": True},
            {"by": "cli:ann", "type": "WorkspaceLinked", "workspace_id": 341, "current": False},
            {"by": platform.by, "type": "WorkspaceSelected", "workspace_id": 341},
            {
                "by": platform.by,
                "type": "KeyIssued",
                "prefix": issued["prefix"],
                "name": "n",
                "scopes": ["read"],
                "expires_at": None,
            },
            {"by": platform.by, "type": "KeyRevoked", "prefix": issued["prefix"]},
            {"by": platform.by, "type": "WorkspaceUnlinked", "workspace_id": 340},
        ],
    }


def test_only_an_admin_key_is_let_in(platform: Platform, users: Access) -> None:
    """Not a session, not a key that reads and writes, not even for the user themselves; and before any body is read."""
    callers = [session("u-1"), api_key(users, 340, user="u-1", scopes=("read", "write"))]
    before = len(users.history("u-1"))
    for caller in callers:
        other = Platform(platform.client, caller)
        for method, path in ALL_PATHS:
            answer = other.ask(method, path, {"nonsense": 1})
            denied = lacking("admin") if "X-API-Key" in caller else DENIED
            assert (answer.status_code, answer.json) == (403, denied), (method, path)
    assert len(users.history("u-1")) == before


def test_an_admin_key_reads_and_writes_no_workspace(platform: Platform, users: Access) -> None:
    """Who owns the users does not thereby see what they see."""
    users.link("platform", 340, "cli:test")
    assert not sees(platform.client, platform.key, 340)
    posted = platform.client.simulate_post(
        "/api/v1/events/", headers={**platform.key, **JSON}, query_string="workspace_id=340", body=b"{}"
    )
    assert (posted.status_code, posted.json) == (403, lacking("write"))


def test_a_caller_without_a_valid_key_gets_no_details(platform: Platform) -> None:
    """401 comes before what is wrong with the path or the query."""
    for headers in ({}, {"X-API-Key": "ca_0.x"}, {"Cookie": "sessionid=x"}):
        for method, path in [*ALL_PATHS, ("PUT", "u-1/workspaces/x"), ("GET", "u-1?x=1")]:
            name, _, query = path.partition("?")
            answer = platform.client.simulate_request(method, f"{USERS}/{name}", headers=headers, query_string=query)
            assert answer.status_code == 401, (method, path)


@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        *[
            (method, f"u-1/workspaces/{bad}", "workspace")
            for method in ("PUT", "DELETE")
            for bad in ("0", "-1", "1e3", "%20340", "0340", quote("٣٤٠"), str(2**63), "ALL", "x" * 100)
        ],
        ("PUT", "x" * 256 + "/workspaces/340", "user"),
        ("PUT", "/workspaces/340", "user"),
        ("GET", "%00", "user"),
        ("GET", "a%0Ab", "user"),
        ("GET", "%FF", "user"),
    ],
)
def test_what_a_path_cannot_mean_is_a_400_that_names_it(
    platform: Platform, users: Access, method: str, path: str, field: str
) -> None:
    """A user is 1–255 characters, a workspace a number."""
    answer = platform.ask(method, path)
    assert (answer.status_code, [each["field"] for each in answer.json["details"]]) == (400, [field])
    assert users.history("u-1") == []


@pytest.mark.parametrize("path", ["a/b/workspaces/340", "", "u-1/workspaces", "u-1/keys/a/b"])
def test_other_paths_are_not_found(platform: Platform, path: str) -> None:
    """A user's id has no slash."""
    assert platform.status("PUT", path) == 404


@pytest.mark.parametrize("user", ["u 1", "ü@example.com", "u+1", "ALL", "u%2e", "\N{REPLACEMENT CHARACTER}", "x" * 255])
def test_a_users_id_may_be_of_any_characters(platform: Platform, users: Access, user: str) -> None:
    """It is percent-encoded in the path, and nothing is trimmed or folded."""
    assert platform.status("PUT", f"{quote(user)}/workspaces/340") == 204
    assert platform.ask("GET", quote(user)).json["user"] == user
    assert len(users.history(user)) == 2


def test_an_unknown_parameter_is_a_400_that_names_it(platform: Platform) -> None:
    """`workspace_id` too: the workspace stands in the path."""
    for method, path in ALL_PATHS:
        answer = platform.client.simulate_request(
            method, f"{USERS}/{path}", headers=platform.key, query_string="workspace_id=340"
        )
        assert (answer.status_code, answer.json["details"][0]["field"]) == (400, "workspace_id")


SELECT, ISSUE = "u-1/current-workspace", "u-1/keys"
BAD_BODIES: list[tuple[str, Any, str]] = [
    *[(SELECT, {"workspace_id": bad}, "workspace_id") for bad in (0, -1, 2**63, "340", 340.0, None, True, [340])],
    (SELECT, {}, "workspace_id"),
    (SELECT, {"workspace_id": 340, "x": 1}, "x"),
    *[(path, no_object, "body") for path in (SELECT, ISSUE) for no_object in ("[]", "5", "null")],
    (ISSUE, {"scope": ["read"]}, "scope"),
    *[(ISSUE, {"scopes": bad}, "scopes") for bad in ([], "read", ["x"], [5], [["read"]], ["admin"], ["read", "admin"])],
    *[(ISSUE, {"name": bad}, "name") for bad in (5, "x" * 129, "a\n", "\0")],
    *[
        (ISSUE, {"expires_at": bad}, "expires_at")
        for bad in (
            "tomorrow",
            5,
            "2020-01-01T00:00:00Z",
            "2999-01-01",
            "9999-12-31T23:59:59-01:00",
            "0000-01-01T00:00:00Z",
        )
    ],
]


@pytest.mark.parametrize(("path", "body", "field"), BAD_BODIES)
def test_an_invalid_field_of_a_body_is_a_400_that_names_it(
    platform: Platform, users: Access, path: str, body: object, field: str
) -> None:
    """Admin keys too: those are issued on the command line only."""
    users.link("u-1", 340, "cli:test")
    answer = platform.client.simulate_request(
        "PUT" if path == SELECT else "POST",
        f"{USERS}/{path}",
        headers={**platform.key, **JSON},
        body=(body if isinstance(body, str) else json.dumps(body)).encode(),
    )
    assert (answer.status_code, [each["field"] for each in answer.json["details"]]) == (400, [field])
    assert len(users.history("u-1")) == 2


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, b"{}", 415),
        ({"Content-Type": "text/plain"}, b"{}", 415),
        ({**JSON, "Content-Encoding": "br"}, b"{}", 415),
        (JSON, b" " * 65_537, 413),
        (JSON, b"{", 400),
        (JSON, b"", 400),
        (JSON, b"[" * 60_000, 400),
        (JSON, b'{"name": "\xff"}', 400),
    ],
)
def test_a_body_that_is_none_is_refused(platform: Platform, headers: dict[str, str], body: bytes, status: int) -> None:
    """Type, then size, then JSON."""
    for method, path in (("POST", ISSUE), ("PUT", SELECT)):
        answer = platform.client.simulate_request(
            method, f"{USERS}/{path}", headers={**platform.key, **headers}, body=body
        )
        assert answer.status_code == status


def test_many_changes_of_a_user_at_once_all_succeed(platform: Platform) -> None:
    """No request fails by a conflict of versions."""

    async def change() -> set[int]:
        async with testing.ASGIConductor(platform.client.app) as conductor:
            paths = [f"/api/v1/access/users/u-1/workspaces/{number}" for number in range(1, 25)]
            answers = await asyncio.gather(*(conductor.simulate_put(path, headers=platform.key) for path in paths))
        return {answer.status_code for answer in answers}

    assert falcon.async_to_sync(change) == {204}
    assert platform.ask("GET", "u-1").json["linked_workspaces"] == list(range(1, 25))


def test_the_last_use_of_a_key_is_shown(platform: Platform, users: Access) -> None:
    """It is written beside the request, soon; a key that was never used has none, and a bad guess is no use."""
    key = api_key(users, 340, user="u-1")
    assert platform.ask("GET", "u-1").json["keys"][0]["last_used_at"] is None
    sees(platform.client, {"X-API-Key": key["X-API-Key"] + "x"}, 340)
    before = clock()
    assert sees(platform.client, key, 340)
    wait_for(lambda: platform.ask("GET", "u-1").json["keys"][0]["last_used_at"] is not None)
    shown = platform.ask("GET", "u-1").json["keys"][0]["last_used_at"]
    assert format_instant(before) <= shown <= format_instant(clock())


def test_the_last_use_is_written_at_most_once_a_minute(pool: Pool, users: Access) -> None:
    """By all processes together; and what could not be written is written when a process ends."""
    prefix = api_key(users)["X-API-Key"].partition(".")[0]
    now = [1_000_000]

    def written() -> int | None:
        with pool.connection() as database:
            return access.last_used(database, "u-1")[prefix]

    first, second = (last_use.LastUse(pool, lambda: now[0]) for _ in range(2))
    first.note(prefix)
    first.close()
    assert written() == 1_000_000
    now[0] += last_use.PAUSE_MS - 1
    second.note(prefix)
    second.close()
    assert written() == 1_000_000
    third = last_use.LastUse(pool, lambda: now[0])
    now[0] += 1
    for _ in range(3):
        third.note(prefix)
        now[0] += 1
    third.close()
    assert written() == 1_000_000 + last_use.PAUSE_MS
