"""Shows that posts which arrive together share a transaction, and that the outcome of one changes no other."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Coroutine
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL

from api.ingest import appending
from api.ingest.appending import Appending, Commit, QueueTimeoutError, Record
from domain import ledger
from domain.ledger import Outcome, Prepared, Recorded
from domain.recorder import ALWAYS, APPEND, ConditionError, Database, Pool
from projections.pipeline import Pipeline
from projections.queries.caller import Credentials
from projections.statements import Statement
from tests.support.databases import connected
from tests.support.examples import email_sent, parsed
from tests.support.stored_events import log
from tests.support.waiting import until

APPEND_IF_ALLOWED = Statement("append", APPEND.format(condition=SQL("%(allowed)s::boolean")).as_bytes())
WRITER, STRANGER = Credentials("writer"), Credentials("stranger")


class Log:
    """The posts of one process, on a connection of their own; the commits are counted."""

    def __init__(self, pool: Pool, connections: int = 1) -> None:
        """Take the pool to open connections like its own."""
        self._pool = pool
        self.commits = list[Commit]()
        self.pipelines = [Pipeline(self._borrow, lambda _: None) for _ in range(connections)]
        self.posts = Appending(self.pipelines, APPEND_IF_ALLOWED, self._condition, self._in_thread, self._committed)

    async def record(self, *events: dict[str, Any], writer: Credentials = WRITER, workspace_id: int = 340) -> Recorded:
        """Post events."""
        return await self.posts.record(workspace_id, ledger.prepare(parsed(*events)), writer)

    async def _borrow(self) -> Database:
        return await asyncio.to_thread(connected, self._pool)

    def _condition(self, writers: Collection[Credentials]) -> dict[str, object]:
        return {"allowed": STRANGER not in writers}

    async def _in_thread(
        self, record: Record, workspace_id: int, prepared: Prepared, _: Collection[Credentials]
    ) -> Recorded:
        def work() -> Recorded:
            with self._pool.connection() as database:
                return record(database, workspace_id, prepared, ALWAYS)

        return await asyncio.to_thread(work)

    def _committed(self, commit: Commit) -> None:
        self.commits.append(commit)


Run = Callable[[Callable[[Log], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def run(pool: Pool) -> Run:
    """Give what runs a test's coroutine with a log, on an event loop of its own."""

    def run_it(test: Callable[[Log], Coroutine[Any, Any, None]]) -> None:
        async def with_log() -> None:
            log = Log(pool)
            try:
                await test(log)
            finally:
                for each in log.pipelines:
                    each.close()

        asyncio.run(with_log())

    return run_it


def test_posts_that_arrive_together_share_a_transaction(run: Run, pool: Pool) -> None:
    """Each gets its own outcomes; positions have no gap; a repeat among them is a duplicate of the first."""

    async def test(posts: Log) -> None:
        pairs = [posts.record(email_sent(number), email_sent(number + 1)) for number in range(0, 10, 2)]
        results = await asyncio.gather(*pairs, posts.record(email_sent(3), email_sent(4, step=5)))
        assert [each.outcomes for each in results[:5]] == [[Outcome.ACCEPTED] * 2] * 5
        assert results[5].outcomes == [Outcome.DUPLICATE, Outcome.CONFLICT]
        assert {each.position for each in results} == {10}
        assert posts.commits == [Commit(340, position=10, events=12, posts=6, traced=[])]
        assert posts.posts._queues == {}

    run(test)
    assert log(pool) == [f"e-{number}" for number in range(10)]


def test_known_events_get_an_outcome_of_their_own(run: Run, pool: Pool) -> None:
    """The first try fails as a whole, and the careful way follows."""

    async def test(posts: Log) -> None:
        await posts.record(email_sent(1))
        again, other, new = await asyncio.gather(
            posts.record(email_sent(1)), posts.record(email_sent(1, step=7)), posts.record(email_sent(2))
        )
        assert (again.outcomes, other.outcomes, new.outcomes) == (
            [Outcome.DUPLICATE], [Outcome.CONFLICT], [Outcome.ACCEPTED],
        )  # fmt: skip

    run(test)
    assert log(pool) == ["e-1", "e-2"]


@pytest.mark.parametrize("limit", [("MAX_GROUP_EVENTS", 3), ("MAX_GROUP_BYTES", 300)])
def test_a_group_is_bounded(run: Run, pool: Pool, monkeypatch: pytest.MonkeyPatch, limit: tuple[str, int]) -> None:
    """In events and in bytes; the rest is the next group."""
    monkeypatch.setattr(appending, *limit)

    async def test(posts: Log) -> None:
        results = await asyncio.gather(*(posts.record(email_sent(number)) for number in range(7)))
        assert max(each.position for each in results) == 7
        assert 3 <= len(posts.commits) < 7

    run(test)
    assert log(pool) == [f"e-{number}" for number in range(7)]


def test_workspaces_do_not_share_a_transaction(run: Run, pool: Pool) -> None:
    """One connection takes them in turn."""

    async def test(posts: Log) -> None:
        results = await asyncio.gather(
            *(posts.record(email_sent(1), workspace_id=workspace_id) for workspace_id in (340, 341, 342))
        )
        assert [each.position for each in results] == [1, 1, 1]
        assert len(posts.commits) == 3

    run(test)
    assert log(pool, 341) == ["e-1"]


def test_a_post_that_may_not_be_made_does_not_harm_the_others(run: Run, pool: Pool) -> None:
    """The group is undone, and each is tried by itself."""

    async def test(posts: Log) -> None:
        good = [posts.record(email_sent(number)) for number in range(3)]
        *recorded, refused = await asyncio.gather(
            *good, posts.record(email_sent(9), writer=STRANGER), return_exceptions=True
        )
        assert sorted(each.position for each in recorded) == [1, 2, 3]  # type: ignore[union-attr]
        assert isinstance(refused, ConditionError)

    run(test)
    assert sorted(log(pool)) == ["e-0", "e-1", "e-2"]


def test_a_post_that_cannot_be_written_does_not_harm_the_others(run: Run, pool: Pool) -> None:
    """Whatever the database has against it."""

    async def test(posts: Log) -> None:
        bad = Prepared(parsed(email_sent(9)), [b"no UUID"], [b"{}"])
        good, refused = await asyncio.gather(
            posts.record(email_sent(1)), posts.posts.record(340, bad, WRITER), return_exceptions=True
        )
        assert good.outcomes == [Outcome.ACCEPTED]  # type: ignore[union-attr]
        assert isinstance(refused, psycopg.DataError)

    run(test)
    assert log(pool) == ["e-1"]


def test_all_callers_get_the_error_of_a_lost_connection_and_may_send_again(run: Run, pool: Pool) -> None:
    """No caller gets the outcome of a commit that did not happen."""

    async def test(posts: Log) -> None:
        await posts.record(email_sent(0))
        with pool.connection() as holder, holder.transaction():
            holder.execute("SELECT head FROM log_head WHERE workspace_id = 340 FOR UPDATE")
            waiting = [asyncio.ensure_future(posts.record(email_sent(number))) for number in range(1, 4)]
            await asyncio.sleep(0)
            await until(lambda: end_those_that_wait(pool) == 1)
            results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [isinstance(each, psycopg.OperationalError) for each in results] == [True] * 3
        again = await posts.record(*(email_sent(number) for number in range(1, 4)))
        assert again.position == 4

    run(test)
    assert log(pool) == [f"e-{number}" for number in range(4)]


def end_those_that_wait(pool: Pool) -> int:
    """End the connections that wait for a lock in this database; return how many there were."""
    with pool.connection() as database:
        ended = database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return ended.rowcount


def test_nobody_waits_for_ever(run: Run, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A post that has waited too long leaves the queue, and its events are not stored; the next is refused at once."""
    monkeypatch.setattr(appending, "WAIT_SECONDS", 0.1)

    async def test(posts: Log) -> None:
        await posts.record(email_sent(0))
        with pool.connection() as holder, holder.transaction():
            holder.execute("SELECT head FROM log_head WHERE workspace_id = 340 FOR UPDATE")
            first = asyncio.ensure_future(posts.record(email_sent(1)))
            await until(lambda: posts.pipelines[0].waiting == 1)
            second = asyncio.ensure_future(posts.record(email_sent(2)))
            await asyncio.sleep(0.06)
            with pytest.raises(QueueTimeoutError):
                await posts.record(email_sent(3))
            results = await asyncio.gather(first, second, return_exceptions=True)
        assert [isinstance(each, QueueTimeoutError) for each in results] == [True, True]
        await until(lambda: posts.posts._queues == {})
        await posts.record(email_sent(4))

    run(test)
    assert "e-2" not in log(pool)
    assert log(pool)[-1] == "e-4"


def test_cancelled_requests_change_no_other_outcome(run: Run, pool: Pool) -> None:
    """Every other post is stored once and gets its own outcome."""

    async def test(posts: Log) -> None:
        waiting = [asyncio.ensure_future(posts.record(email_sent(number))) for number in range(200)]
        for place, each in enumerate(waiting):
            if place % 3 == 0:
                each.cancel()
            if place % 50 == 0:
                await asyncio.sleep(0)
        results = await asyncio.gather(*waiting, return_exceptions=True)
        completed = [each for each in results if not isinstance(each, asyncio.CancelledError)]
        assert [each.outcomes for each in completed] == [[Outcome.ACCEPTED]] * len(completed)  # type: ignore[union-attr]
        assert len(completed) == 133
        assert posts.posts._waiting == 0

    run(test)
    stored = Counter(log(pool))
    assert set(stored.values()) == {1}
    assert {f"e-{number}" for number in range(200) if number % 3} <= stored.keys()


def test_sixteen_writers_at_once_store_each_event_once(pool: Pool) -> None:
    """With repeated and overlapping ids, whoever shares a transaction; positions have no gap."""

    async def write(posts: Log, writer: int) -> int:
        accepted = 0
        for number in range(writer, 400, 4):
            recorded = await posts.record(email_sent(number), email_sent(number // 2))
            accepted += recorded.outcomes.count(Outcome.ACCEPTED)
        return accepted

    async def test() -> int:
        one, other = Log(pool, connections=2), Log(pool, connections=2)  # as if in two processes
        try:
            return sum(await asyncio.gather(*(write((one, other)[writer % 2], writer) for writer in range(16))))
        finally:
            for each in (*one.pipelines, *other.pipelines):
                each.close()

    accepted = asyncio.run(test())
    stored = log(pool)
    assert accepted == len(stored) == len(set(stored)) == 400
