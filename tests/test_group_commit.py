"""Shows that posts which arrive together share a transaction, and that none pays for, or is told of, another's fate."""

from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Semaphore
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL

from domain import group_commit, ledger
from domain.group_commit import GroupCommit, QueueTimeoutError
from domain.ledger import Outcome, Prepared, Recorded
from domain.recorder import ALWAYS, APPEND, Condition, ConditionError, Database, Pool
from tests.facts import email_sent, parsed
from tests.servers import wait_for
from tests.test_posting import log

NEVER = Condition(APPEND.format(condition=SQL("false")), {})


def condition(writers: Collection[str]) -> Condition:
    """Let everybody in but the stranger."""
    return NEVER if "stranger" in writers else ALWAYS


class Gate:
    """A log whose leader is held up before it takes anybody along, so that a test decides who shares a transaction."""

    def __init__(self, pool: Pool) -> None:
        """Take the pool."""
        self._pool = pool
        self.log = GroupCommit[str](self.connection, condition)
        self.opened = Semaphore(0)  # once for each connection
        self.failing = Event()  # the connection dies before anything is written
        self.connections = 0
        self._executor = ThreadPoolExecutor(20)

    @contextmanager
    def connection(self) -> Iterator[Database]:
        """Lend a connection once the gate is opened."""
        self.connections += 1
        assert self.opened.acquire(timeout=20)
        with self._pool.connection() as database:
            if self.failing.is_set():
                with self._pool.connection() as other:
                    other.execute("SELECT pg_terminate_backend(%s, 5000)", (database.info.backend_pid,))
            yield database

    def post(self, *events: dict[str, Any], writer: str = "w", workspace_id: int = 340) -> "Future[Recorded]":
        """Post in a thread."""
        return self.post_prepared(ledger.prepare(parsed(*events)), writer, workspace_id)

    def post_prepared(self, prepared: Prepared, writer: str = "w", workspace_id: int = 340) -> "Future[Recorded]":
        """Post in a thread, and return when the post leads or is queued."""
        leads = self.log._queues.get(workspace_id) is None
        queued = 0 if leads else len(self.log._queues[workspace_id])
        connections = self.connections
        posted = self._executor.submit(self.log.record, workspace_id, prepared, writer)
        wait_for(lambda: self.connections > connections if leads else len(self.log._queues[workspace_id]) > queued)
        return posted

    def open(self, times: int = 1) -> None:
        """Let so many connections be lent."""
        self.opened.release(times)


@pytest.fixture
def gate(pool: Pool) -> Gate:
    """Give a log with a gate before it."""
    return Gate(pool)


def test_posts_that_arrive_together_share_a_transaction(gate: Gate, pool: Pool) -> None:
    """Each gets its own outcomes; positions have no gap; a repeat among them is a duplicate of the first."""
    posts = [gate.post(email_sent(number), email_sent(number + 1)) for number in range(0, 10, 2)]
    posts.append(gate.post(email_sent(3), email_sent(4, step=5)))
    gate.open()
    results = [each.result(20) for each in posts]
    assert [each.outcomes for each in results[:5]] == [[Outcome.ACCEPTED] * 2] * 5
    assert results[5].outcomes == [Outcome.DUPLICATE, Outcome.CONFLICT]
    assert {each.position for each in results} == {10}
    assert log(pool) == [f"e-{number}" for number in range(10)]
    assert gate.connections == 1
    with pool.connection() as database:
        assert database.execute("SELECT count(DISTINCT recorded_at) FROM stored_events").fetchone() == (1,)
    assert gate.log._queues == {}


def test_who_comes_during_a_commit_is_led_by_the_next(gate: Gate, pool: Pool) -> None:
    """And nobody waits for another workspace."""
    first = gate.post(email_sent(1))
    gate.open()
    assert first.result(20).position == 1
    second, other = gate.post(email_sent(2)), gate.post(email_sent(1), workspace_id=341)
    gate.open(2)
    assert (second.result(20).position, other.result(20).position) == (2, 1)
    assert len(log(pool, 341)) == 1


@pytest.mark.parametrize("limit", [("MAX_EVENTS", 3), ("MAX_BYTES", 300)])
def test_a_group_is_bounded(gate: Gate, pool: Pool, monkeypatch: pytest.MonkeyPatch, limit: tuple[str, int]) -> None:
    """In events and in bytes; the rest is led by the next."""
    monkeypatch.setattr(group_commit, *limit)
    posts = [gate.post(email_sent(number)) for number in range(7)]
    gate.open(7)
    assert max(each.result(20).position for each in posts) == 7
    assert 3 <= gate.connections < 7
    assert log(pool) == [f"e-{number}" for number in range(7)]


def test_a_post_that_may_not_be_made_does_not_harm_the_others(gate: Gate, pool: Pool) -> None:
    """The group is undone, and each is tried by itself."""
    good = [gate.post(email_sent(number)) for number in range(3)]
    bad = gate.post(email_sent(9), writer="stranger")
    gate.open(5)
    assert sorted(each.result(20).position for each in good) == [1, 2, 3]
    with pytest.raises(ConditionError):
        bad.result(20)
    assert sorted(log(pool)) == ["e-0", "e-1", "e-2"]


def test_a_post_that_cannot_be_written_does_not_harm_the_others(gate: Gate, pool: Pool) -> None:
    """Whatever the database has against it."""
    facts = parsed(email_sent(9))
    good = gate.post(email_sent(1))
    bad = gate.post_prepared(Prepared(facts, [b"no UUID"], [b"{}"]))
    gate.open(3)
    assert good.result(20).outcomes == [Outcome.ACCEPTED]
    with pytest.raises(psycopg.DataError):
        bad.result(20)
    assert log(pool) == ["e-1"]


def test_a_connection_that_is_lost_is_told_to_all_and_all_may_send_again(gate: Gate, pool: Pool) -> None:
    """None is told of a commit that did not happen."""
    gate.failing.set()
    posts = [gate.post(email_sent(number)) for number in range(3)]
    gate.open()
    for each in posts:
        with pytest.raises(psycopg.OperationalError):
            each.result(20)
    assert log(pool) == []
    gate.failing.clear()
    again = gate.post(*(email_sent(number) for number in range(3)))
    gate.open()
    assert again.result(20).position == 3


def test_nobody_waits_for_ever(gate: Gate, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has waited too long leaves the queue, and what they sent is not stored."""
    monkeypatch.setattr(group_commit, "WAIT_SECONDS", 0.05)
    leader, follower = gate.post(email_sent(1)), gate.post(email_sent(2))
    with pytest.raises(QueueTimeoutError):
        follower.result(20)
    gate.open()
    assert leader.result(20).position == 1
    assert log(pool) == ["e-1"]


def test_a_leader_without_a_connection_lets_the_next_lead(pool: Pool) -> None:
    """One time-out is not everybody's."""
    begun, given_up = Event(), Event()

    @contextmanager
    def connection() -> Iterator[Database]:
        if not begun.is_set():
            begun.set()
            assert given_up.wait(20)
            raise psycopg.OperationalError("no connection")
        with pool.connection() as database:
            yield database

    together = GroupCommit[str](connection, condition)
    with ThreadPoolExecutor(2) as executor:
        leader = executor.submit(together.record, 340, ledger.prepare(parsed(email_sent(1))), "w")
        assert begun.wait(20)
        follower = executor.submit(together.record, 340, ledger.prepare(parsed(email_sent(2))), "w")
        wait_for(lambda: len(together._queues[340]) == 1)
        given_up.set()
        with pytest.raises(psycopg.OperationalError):
            leader.result(20)
        assert follower.result(20).position == 1


def test_sixteen_writers_at_once_store_each_fact_once(pool: Pool) -> None:
    """With repeated and overlapping ids, whoever leads whom; positions have no gap."""
    together = GroupCommit[str](pool.connection, condition)

    def write(writer: int) -> int:
        accepted = 0
        for number in range(writer, 400, 4):
            facts = parsed(email_sent(number), email_sent(number // 2))
            accepted += together.record(340, ledger.prepare(facts), "w").outcomes.count(Outcome.ACCEPTED)
        return accepted

    with ThreadPoolExecutor(16) as writers:
        accepted = sum(writers.map(write, range(16)))
    stored = log(pool)
    assert accepted == len(stored) == len(set(stored)) == 400
