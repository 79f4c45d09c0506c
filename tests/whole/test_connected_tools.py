"""Shows hooks of a running service: their tokens are never logged, and a revocation counts for waiting requests too."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from domain.recorder import Pool
from service import database
from tests.support.databases import Databases
from tests.support.examples import api_key
from tests.support.hooks import add_hook, connected, path_of
from tests.support.running import Service, exchange, serving, users_of
from tests.support.stored_events import log
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes

HOLD = "INSERT INTO log_head VALUES (%s, 0) ON CONFLICT (workspace_id) DO UPDATE SET head = log_head.head"


def sent(number: int, **fields: Any) -> bytes:
    """Return a delivery of Smartlead: a mail was sent."""
    body = {
        "event_type": "EMAIL_SENT",
        "campaign_id": 1,
        "sl_lead_email": "jane@example.com",
        "event_timestamp": "2026-03-02T10:00:00Z",
        "stats_id": f"s-{number}",
        "sequence_number": 1,
    }
    return json.dumps({**body, **fields}).encode()


@pytest.fixture(scope="module")
def url(databases: Databases) -> Iterator[str]:
    """Give a database for all tests of this module."""
    with databases.lend() as made:
        yield made


@pytest.fixture(scope="module")
def pool(url: str) -> Iterator[Pool]:
    """Give connections to it."""
    with database.open_pool(url, size=5) as opened:
        yield opened


@pytest.fixture(scope="module")
def service(url: str) -> Iterator[Service]:
    """Give a running service that logs everything."""
    with serving(url, LOG_LEVEL="debug", LOG_FORMAT="json", SIGNING="a-secret-of-signatures") as running:
        yield running


def test_the_token_of_a_hook_is_never_logged_or_returned(service: Service, url: str, pool: Pool) -> None:
    """Not in the log at its most talkative, not in an error, not in the metrics, whatever becomes of the request."""
    with users_of(url) as users:
        admin = api_key(users, user="platform", scopes=("admin",))
    good, signed = add_hook(pool, "smartlead"), add_hook(pool, "smartlead", secret="env:SIGNING")
    lost, revoked = add_hook(pool, "smartlead", secret="env:LOST"), add_hook(pool, "smartlead")
    connected(pool).revoke(revoked.hook_id, "cli:test")
    tokens = [good.token, signed.token, lost.token, revoked.token]
    statuses, bodies = [], []
    requests = [
        ("POST", path_of("smartlead", good.token), sent(1), 200),
        ("POST", path_of("smartlead", good.token), b"no JSON", 200),
        ("POST", path_of("smartlead", good.token), b" " * 6_000_000, 413),
        ("POST", path_of("smartlead", f"{good.token}?x=1"), sent(1), 200),
        ("POST", path_of("smartlead", f"{good.token}/more"), sent(1), 404),
        ("POST", path_of("other", good.token), sent(1), 404),
        ("POST", path_of("instantly", good.token), sent(1), 401),
        ("GET", path_of("smartlead", good.token), None, 405),
        ("POST", path_of("smartlead", signed.token), sent(1), 401),
        ("POST", path_of("smartlead", lost.token), sent(1), 503),
        ("POST", path_of("smartlead", revoked.token), sent(1), 401),
        ("GET", "/metrics", None, 200),
        ("GET", "/api/v1/access/hooks/", None, 200),
    ]
    for method, path, body, expected in requests:
        answer = service.request(method, path, admin, body)
        bodies.append(answer.body)
        statuses.append((answer.status, expected))
    for ending in (
        b"Content-Length: x\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"Content-Length: 9\r\n\r\nx",
    ):
        head = f"POST {path_of('smartlead', good.token)} HTTP/1.1\r\nHost: h\r\n".encode()
        bodies.append(exchange(service.port, head + ending))
    assert [each for each in statuses if each[0] != each[1]] == []
    wait_for(lambda: lost.hook_id in service.output)
    everything = service.output.encode() + b"".join(bodies)
    assert [token for token in tokens if token.encode() in everything] == []
    assert b"a-secret-of-signatures" not in everything
    lines = [json.loads(line) for line in service.output.splitlines() if '"access"' in line]
    taken = [line for line in lines if line.get("key") == good.hook_id]
    assert {line["route"] for line in taken} == {"/api/v1/hooks/{provider}/{token}"}
    assert {line["workspace"] for line in taken} == {340}


def test_a_delivery_that_has_waited_for_the_head_is_refused_after_a_revocation(service: Service, pool: Pool) -> None:
    """Whether all of it is new or not; nothing of it enters the log."""
    hook = add_hook(pool, "smartlead", 341)
    assert service.request("POST", path_of("smartlead", hook.token), {}, sent(1)).status == 200
    for body in (sent(2), b"[" + sent(1) + b"," + sent(2) + b"]"):
        hook = add_hook(pool, "smartlead", 341)
        with ThreadPoolExecutor(1) as tool:
            with pool.connection() as holder, holder.transaction(force_rollback=True):
                holder.execute(HOLD, (341,))
                posting = tool.submit(service.request, "POST", path_of("smartlead", hook.token), {}, body)
                wait_for(lambda: one_waits(pool))
                connected(pool).revoke(hook.hook_id, "cli:test")
            assert posting.result(20).status == 401
    assert len(log(pool, 341)) == 1


def one_waits(pool: Pool) -> bool:
    """Return whether a session waits for a lock in this database."""
    with pool.connection() as asking:
        waiting = asking.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        ).fetchone()
    return waiting == (1,)
