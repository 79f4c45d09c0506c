"""Shows that what was refused can be looked up afterwards, by those who may see the workspace."""

import json
from typing import Any

import pytest
from falcon import testing

from domain.access import Access
from projections.queries import rejections
from tests.support.examples import api_key, email_sent, lacking, session

PATH = "/api/v1/events/"
REJECTIONS = "/api/v1/events/rejections/"
DENIED = b'{"error": "Access denied"}'


@pytest.fixture
def key(users: Access) -> dict[str, str]:
    """Give the header of a key that may read and write to workspace 340, the current one."""
    return api_key(users, 340)


def post(client: testing.TestClient, key: dict[str, str], *events: Any) -> testing.Result:
    """Post events."""
    headers = {**key, "Content-Type": "application/json"}
    body = json.dumps({"events": events})
    return client.simulate_post(PATH, headers=headers, body=body, query_string="workspace_id=340")


def shown(client: testing.TestClient, headers: dict[str, str], query: str = "") -> list[dict[str, Any]]:
    """Return the rejections that are shown."""
    answer = client.simulate_get(REJECTIONS, headers=headers, query_string=query)
    assert answer.status_code == 200, answer.text
    assert list(answer.json) == ["rejections"]
    listed: list[dict[str, Any]] = answer.json["rejections"]
    return listed


def test_the_latest_come_first(client: testing.TestClient, key: dict[str, str]) -> None:
    """With time, id and reason, as in the answer to the post."""
    assert shown(client, key) == []
    first = post(
        client, key, email_sent(1, id="a", step=-1), email_sent(1), email_sent(2, id="b", source="m", type="X")
    )
    second = post(client, key, email_sent(1, step=3))
    listed = shown(client, key)
    assert [(each["id"], each["source"], each["code"]) for each in listed] == [
        ("e-1", "", "conflict"),
        ("b", "m", "unknown_type"),
        ("a", "", "invalid_field"),
    ]
    errors = [each["error"] for answer in (first, second) for each in answer.json["rejected"]]
    assert [each["error"] for each in reversed(listed)] == errors
    assert [list(each) for each in listed] == [["at", "id", "source", "code", "error"]] * 3
    assert all(each["at"].endswith("Z") for each in listed)


INVALID = [
    (email_sent(1, id=5), None, ""),
    (email_sent(1, id="x" * 129, source="m"), None, "m"),
    (email_sent(1, id="a", source=5), "a", None),
    (email_sent(1, id="a\0b", source="c\0d"), None, None),
    (email_sent(1, id="a", source=None, type="X\0Y"), "a", ""),
    ({"id": "a", "\0": 1, "type": "EmailSent"}, "a", ""),
    ({}, None, ""),
    (5, None, None),
]


@pytest.mark.parametrize(("event", "id_", "source"), INVALID)
def test_an_invalid_id_or_source_is_stored_as_null(
    client: testing.TestClient, key: dict[str, str], event: Any, id_: str | None, source: str | None
) -> None:
    """And nothing that the database can't hold is in the way of the others."""
    assert post(client, key, event).status_code == 422
    [rejection] = shown(client, key)
    assert (rejection["id"], rejection["source"]) == (id_, source)


def test_only_the_latest_thousand_rejections_are_stored(
    client: testing.TestClient, key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each workspace, however many come at once."""
    assert rejections.MOST_REJECTIONS == 1_000
    monkeypatch.setattr(rejections, "MOST_REJECTIONS", 10)
    for first in (0, 7, 14):
        post(client, key, *(email_sent(number, step=-1) for number in range(first, first + 7)))
    assert [each["id"] for each in shown(client, key)] == [f"e-{number}" for number in range(20, 10, -1)]
    post(client, key, *(email_sent(number, step=-1) for number in range(100, 150)))
    assert [each["id"] for each in shown(client, key)] == [f"e-{number}" for number in range(149, 139, -1)]


def test_only_who_may_read_the_workspace_sees_them(
    client: testing.TestClient, users: Access, key: dict[str, str]
) -> None:
    """A foreign and an absent workspace look the same; a key that may only write sees nothing."""
    post(client, key, email_sent(1, step=-1))
    other = api_key(users, 777, user="u-2")
    assert shown(client, other) == []
    for headers, query in (
        (other, "workspace_id=340"),
        (key, "workspace_id=778"),
        (api_key(users, user="u-3"), ""),
    ):
        answer = client.simulate_get(REJECTIONS, headers=headers, query_string=query)
        assert (answer.status_code, answer.content) == (403, DENIED)
    writer = api_key(users, scopes=("write",))
    answer = client.simulate_get(REJECTIONS, headers=writer, query_string="workspace_id=340")
    assert (answer.status_code, answer.json) == (403, lacking("read"))
    assert client.simulate_get(REJECTIONS).status_code == 401
    for query in ("workspace_id=ALL", "workspace_id=x", "limit=5"):
        assert client.simulate_get(REJECTIONS, headers=key, query_string=query).status_code == 400
    assert len(shown(client, session("u-1"), "workspace_id=340")) == 1


def test_nobody_else_leaves_a_rejection(client: testing.TestClient, users: Access, key: dict[str, str]) -> None:
    """Who may not write there can't fill another's list either."""
    other = api_key(users, 777, user="u-2")
    for headers in (other, {"X-API-Key": key["X-API-Key"] + "x"}, session("u-1")):
        answer = client.simulate_post(
            PATH,
            headers={**headers, "Content-Type": "application/json"},
            query_string="workspace_id=340",
            body=json.dumps(email_sent(1, step=-1)),
        )
        assert answer.status_code in (401, 403)
    assert shown(client, key) == []
