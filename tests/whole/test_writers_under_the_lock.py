"""Shows that the right to write is checked under the lock of the log, after any wait, on every way."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from falcon import testing

from domain import ledger
from domain.access import Access
from domain.api_keys import secret_sha256
from domain.ledger import Prepared, Recorded
from domain.recorder import Condition, ConditionError, Database, Pool
from projections.queries.caller import Credentials, may_write
from service.clock import clock
from tests.support.examples import api_key, email_sent, parsed
from tests.support.hooks import SENT, add_hook, connected, deliver
from tests.support.running import serving, users_of
from tests.support.stored_events import log
from tests.support.waiting import wait_for

HOLD = "INSERT INTO log_head VALUES (%s, 0) ON CONFLICT (workspace_id) DO UPDATE SET head = log_head.head"
JSON, LINES = "application/json", "application/x-ndjson"
POSTS = [  # the type of a body and the body: small, with something known, large, and lines
    (JSON, json.dumps(email_sent(1))),
    (JSON, json.dumps([email_sent(0), email_sent(1)])),
    (JSON, json.dumps(email_sent(1)) + " " * 20_000),
    (JSON, json.dumps([email_sent(0), email_sent(1)]) + " " * 20_000),
    (LINES, json.dumps(email_sent(1))),
]


def one_waits(pool: Pool) -> bool:
    """Return whether a session waits for a lock in this database."""
    with pool.connection() as database:
        waiting = database.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        ).fetchone()
    return waiting == (1,)


@pytest.mark.processes
def test_a_post_that_has_waited_for_the_head_is_refused_after_an_unlink(database_url: str, pool: Pool) -> None:
    """As any post that came after the unlink is, whether the log is new or not; nothing enters it."""
    with users_of(database_url) as users, serving(database_url) as service, ThreadPoolExecutor(1) as sender:
        key = api_key(users, 340, 341)
        assert service.post(340, key, email_sent(0)).status == 200
        for workspace in (340, 341):  # of the latter nothing is known: who holds its head takes it back
            for kind, body in POSTS:
                users.link("u-1", workspace, "cli:test")
                assert service.post(workspace, key).status == 200
                path, headers = f"/api/v1/events/?workspace_id={workspace}", {**key, "Content-Type": kind}
                with pool.connection() as holder, holder.transaction(force_rollback=True):
                    holder.execute(HOLD, (workspace,))
                    posting = sender.submit(service.request, "POST", path, headers, body.encode())
                    wait_for(lambda: one_waits(pool))
                    users.unlink("u-1", workspace, "cli:test")
                assert posting.result(20).status == 403, (workspace, kind, body[:100])
    assert (log(pool, 340), log(pool, 341)) == (["e-0"], [])


def test_a_delivery_that_has_waited_for_the_head_is_refused_after_its_hook_was_revoked(
    pool: Pool, client: testing.TestClient
) -> None:
    """Also where it has something known; another hook of the workspace changes nothing."""
    hook, _ = add_hook(pool, "smartlead"), add_hook(pool, "smartlead")
    assert deliver(client, "smartlead", hook.token, SENT).status_code == 200
    stored = log(pool)
    for changes in ({"stats_id": "s-2"}, {"stats_id": "s-2", "sequence_number": 2}):
        hook = add_hook(pool, "smartlead")
        with ThreadPoolExecutor(1) as sender:
            with pool.connection() as holder, holder.transaction(force_rollback=True):
                holder.execute(HOLD, (340,))
                delivering = sender.submit(deliver, client, "smartlead", hook.token, SENT | changes)
                wait_for(lambda: one_waits(pool))
                connected(pool).revoke(hook.hook_id, "cli:test")
            assert delivering.result(20).status_code == 401
        assert log(pool) == stored


Way = Callable[[Database, int, Prepared, Condition], Recorded]


@pytest.mark.parametrize("way", [ledger.record_prepared, ledger.record_carefully])
@pytest.mark.parametrize(
    "change",
    [lambda users, _: users.unlink("u-1", 340, "x"), lambda users, prefix: users.revoke_key("u-1", prefix, "x")],
)
def test_either_way_asks_under_the_lock(
    pool: Pool, users: Access, way: Way, change: Callable[[Access, str], None]
) -> None:
    """The first try and the careful one, of an unlink and of a revocation."""
    issued = users.issue_key("u-1", scopes=["write"], name="", expires_at=None, by="x")
    users.link("u-1", 340, "x")
    prefix, _, secret = issued.key.partition(".")
    condition = may_write([Credentials(prefix=prefix, secret_sha256=secret_sha256(secret))], clock())
    with pool.connection() as database:
        assert way(database, 340, ledger.prepare(parsed(email_sent(0))), condition).position == 1

    def record() -> Recorded:
        with pool.connection() as database:
            return way(database, 340, ledger.prepare(parsed(email_sent(0), email_sent(1))), condition)

    with ThreadPoolExecutor(1) as writer:
        with pool.connection() as holder, holder.transaction():
            holder.execute(HOLD, (340,))
            recording = writer.submit(record)
            wait_for(lambda: one_waits(pool))
            change(users, prefix)
        with pytest.raises(ConditionError):
            recording.result(20)
    assert log(pool) == ["e-0"]
