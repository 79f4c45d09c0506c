"""Shows that a key makes only as many requests a minute as it may, over all processes, where that is switched on."""

import asyncio
import re
from contextlib import AsyncExitStack

import falcon
import pytest
from falcon import testing

from api.app import create_app
from domain.access import Access
from domain.recorder import Pool
from service import settings
from service.web.application import make_parts
from tests.support.examples import JWT_SECRET, api_key, session

DASHBOARD = "/api/v1/dashboard/campaign-analytics/"
EVENTS = "/api/v1/events/"


def limited(pool: Pool, limit: int) -> testing.TestClient:
    """Return the application with a limit."""
    chosen = settings.from_environment({"JWT_SECRET": JWT_SECRET, "RATE_LIMIT": str(limit)})
    return testing.TestClient(create_app(make_parts(pool, chosen, {})))


def read(client: testing.TestClient, headers: dict[str, str]) -> testing.Result:
    """Ask for the dashboard."""
    return client.simulate_get(DASHBOARD, headers=headers)


def test_the_request_after_the_last_one_is_a_429(pool: Pool, users: Access) -> None:
    """The answer has a time to retry after; every answer has what is left of the limit."""
    client, key = limited(pool, 3), api_key(users, 340)
    for left in (2, 1, 0):
        answer = read(client, key)
        assert answer.status_code == 200
        assert answer.headers["ratelimit-policy"] == '"key";q=3;w=60'
        assert re.fullmatch(rf'"key";r={left};t=(60|59|58)', answer.headers["ratelimit"])
        assert "retry-after" not in answer.headers
    for _ in range(2):
        answer = read(client, key)
        assert (answer.status_code, answer.json) == (429, {"error": "Rate limit exceeded"})
        assert 50 <= int(answer.headers["retry-after"]) <= 60
        assert answer.headers["ratelimit"] == f'"key";r=0;t={answer.headers["retry-after"]}'


def test_a_new_window_begins_with_the_first_request_after_the_last_one_has_ended(pool: Pool, users: Access) -> None:
    """A minute later all is as it was."""
    client, key = limited(pool, 1), api_key(users, 340)
    assert [read(client, key).status_code for _ in range(2)] == [200, 429]
    with pool.connection() as database:
        database.execute("UPDATE api_key_window SET ends_at = ends_at - interval '61 s'")
    assert [read(client, key).status_code for _ in range(2)] == [200, 429]


def test_the_limit_counts_all_requests_of_one_key_only(pool: Pool, users: Access) -> None:
    """Reads, writes and malformed ones; not another key of the same user, not a session, not a guess at its secret."""
    client, key, other = limited(pool, 3), api_key(users, 340), api_key(users)
    guess = {"X-API-Key": key["X-API-Key"] + "x"}
    assert [read(client, guess).status_code for _ in range(5)] == [401] * 5
    assert "ratelimit" not in read(client, guess).headers
    assert read(client, key).status_code == 200
    assert client.simulate_get(DASHBOARD, headers=key, query_string="x=1").status_code == 400
    assert client.simulate_post(f"{EVENTS}?workspace_id=340", headers=key, body=b"{}").status_code == 415
    assert client.simulate_get(DASHBOARD, headers=key, query_string="x=1").status_code == 429
    assert client.simulate_post(f"{EVENTS}?workspace_id=340", headers=key, body=b"{}").status_code == 429
    assert client.simulate_get("/api/v1/access/users/u-1", headers=key).status_code == 429
    assert read(client, other).status_code == 200
    for _ in range(4):
        answer = read(client, session("u-1"))
        assert (answer.status_code, "ratelimit" in answer.headers) == (200, False)


def test_a_request_that_waits_for_the_projection_counts_once(pool: Pool, users: Access) -> None:
    """However often it looks."""
    client, key = limited(pool, 5), api_key(users, 340)
    answer = client.simulate_get(DASHBOARD, headers=key, query_string="min_position=0")
    assert '"key";r=4;' in answer.headers["ratelimit"]


def test_requests_at_once_over_several_processes_are_counted_exactly(pool: Pool, users: Access) -> None:
    """Each process has its own application; what they share is the database."""
    key, processes = api_key(users, 340), [limited(pool, 30) for _ in range(3)]

    async def ask() -> list[int]:
        async with AsyncExitStack() as stack:
            apps = [await stack.enter_async_context(testing.ASGIConductor(each.app)) for each in processes]
            requests = [apps[number % 3].simulate_get(DASHBOARD, headers=key) for number in range(60)]
            return [answer.status_code for answer in await asyncio.gather(*requests)]

    answers = falcon.async_to_sync(ask)
    assert sorted(answers) == [200] * 30 + [429] * 30


@pytest.mark.parametrize("limit", ["0", ""])
def test_without_a_limit_nothing_is_counted(pool: Pool, users: Access, limit: str) -> None:
    """It costs nothing then."""
    chosen = settings.from_environment({"JWT_SECRET": JWT_SECRET, "RATE_LIMIT": limit})
    client, key = testing.TestClient(create_app(make_parts(pool, chosen, {}))), api_key(users, 340)
    assert "ratelimit" not in read(client, key).headers
    with pool.connection() as database:
        assert database.execute("SELECT count(*) FROM api_key_window").fetchone() == (0,)
        kind = database.execute("SELECT relpersistence FROM pg_class WHERE relname = 'api_key_window'").fetchone()
    assert kind == ("u",), "unlogged"
