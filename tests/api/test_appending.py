"""Shows that posts which arrive together share a transaction, and that the outcome of one changes no other."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Coroutine
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL

from api.errors import UnavailableError
from api.ingest import lanes
from api.ingest.appending import Appending, Commit, Record, Statements, Writers
from api.ingest.lanes import QueueTimeoutError
from domain import ledger
from domain.ledger import Outcome, Prepared, Recorded
from domain.recorder import ALWAYS, APPEND, ConditionError, Database, Pool
from domain.several_logs import APPEND_TO_SEVERAL
from projections.pipeline import Pipeline
from projections.queries.caller import Credentials
from projections.statements import Statement
from tests.support.databases import connected
from tests.support.examples import email_sent, parsed
from tests.support.stored_events import log
from tests.support.waiting import until

APPEND_IF_ALLOWED = Statement("append", APPEND.format(condition=SQL("%(allowed)s::boolean")).as_bytes())
_ALLOWED = SQL("SELECT unnest(%(allowed_workspaces)b::bigint[]) AS workspace_id")
APPEND_TO_SEVERAL_IF_ALLOWED = Statement("several", APPEND_TO_SEVERAL.format(allowed=_ALLOWED).as_bytes())
WRITER, STRANGER = Credentials("writer"), Credentials("stranger")


class Log:
    """The posts of one process, on a connection of their own; the commits are counted."""

    def __init__(self, pool: Pool, connections: int = 2) -> None:
        """Take the pool to open connections like its own."""
        self._pool = pool
        self.commits = list[Commit]()
        self.pipelines = [Pipeline(self._borrow, lambda _: None) for _ in range(connections)]
        statements = Statements(APPEND_IF_ALLOWED, APPEND_TO_SEVERAL_IF_ALLOWED, self._condition)
        self.in_thread: Callable[..., Coroutine[Any, Any, Recorded]] = self._in_thread
        appending = Appending(statements, self._in_its_thread, self._committed)
        self.posts = lanes.Lanes(self.pipelines, appending.commit_group)

    async def record(self, *events: dict[str, Any], writer: Credentials = WRITER, workspace_id: int = 340) -> Recorded:
        """Post events."""
        return await self.record_prepared(ledger.prepare(parsed(*events)), writer, workspace_id)

    async def record_prepared(
        self, prepared: Prepared, writer: Credentials = WRITER, workspace_id: int = 340
    ) -> Recorded:
        """Post events that are prepared already."""
        size = sum(map(len, prepared.states))
        return await self.posts.record(workspace_id, lambda: prepared, size, writer)

    async def _borrow(self) -> Database:
        return await asyncio.to_thread(connected, self._pool)

    def _condition(self, writers: Writers) -> dict[str, object]:
        refused = {workspace_id for workspace_id, writer in writers if writer == STRANGER}
        allowed = {workspace_id for workspace_id, _ in writers} - refused
        return {"allowed": not refused, "allowed_workspaces": list(allowed)}

    async def _in_thread(
        self, record: Record, workspace_id: int, prepared: Prepared, _: Collection[Credentials]
    ) -> Recorded:
        def work() -> Recorded:
            with self._pool.connection() as database:
                return record(database, workspace_id, prepared, ALWAYS)

        return await asyncio.to_thread(work)

    async def _in_its_thread(self, *arguments: Any) -> Recorded:
        return await self.in_thread(*arguments)

    def _committed(self, commit: Commit) -> None:
        self.commits.append(commit)


WORKSPACES = (340, 341, 342)


async def in_each(posts: Log, event: dict[str, Any]) -> None:
    """Post an event to each workspace, so that each has a log; wait until no lane has anything to do."""
    await asyncio.gather(*(posts.record(event, workspace_id=each) for each in WORKSPACES))
    await until(lambda: posts.posts._own == {} and posts.posts._shared.gathering is None)


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
        assert posts.commits == [Commit({340: 10}, events=12, posts=6, traced=[])]
        await until(lambda: posts.posts._own == {})

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


def test_posts_that_wait_for_a_thread_hold_no_connection(pool: Pool) -> None:
    """Known events to more workspaces than there are connections hold up no new ones, to whatever workspace."""

    async def test() -> None:
        posts, busy = Log(pool), asyncio.Event()
        in_thread = posts._in_thread

        async def wait_and_record(*arguments: Any) -> Recorded:
            await busy.wait()
            return await in_thread(*arguments)

        posts.in_thread = wait_and_record
        await in_each(posts, email_sent(1))
        known = [asyncio.create_task(posts.record(email_sent(1), workspace_id=each)) for each in WORKSPACES]
        await until(lambda: all(each in posts.posts._own for each in WORKSPACES))
        for number in range(2, 5):
            assert (await posts.record(email_sent(number), workspace_id=343)).outcomes == [Outcome.ACCEPTED]
        assert not any(each.done() for each in known)
        busy.set()
        assert [each.outcomes for each in await asyncio.gather(*known)] == [[Outcome.DUPLICATE]] * 3
        for each in posts.pipelines:
            each.close()

    asyncio.run(test())


def test_without_a_free_thread_the_posts_of_a_group_are_refused_at_once(pool: Pool) -> None:
    """Each of them would wait in vain one after the other; those whose callers have given up are not tried at all."""

    async def test() -> None:
        posts, tried = Log(pool), list[int]()

        async def none_is_free(_: Record, __: int, prepared: Prepared, ___: Collection[Credentials]) -> Recorded:
            tried.append(len(prepared.events))
            raise UnavailableError("no thread")

        posts.in_thread = none_is_free
        await in_each(posts, email_sent(1))
        results = await asyncio.gather(*(posts.record(email_sent(1)) for _ in range(6)), return_exceptions=True)
        assert [isinstance(each, UnavailableError) for each in results] == [True] * 6
        assert sum(tried) == 6
        for each in posts.pipelines:
            each.close()

    asyncio.run(test())


def test_a_group_is_bounded(run: Run, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bytes; the rest is the next group."""
    monkeypatch.setattr(lanes, "MAX_GROUP_BYTES", 300)

    async def test(posts: Log) -> None:
        results = await asyncio.gather(*(posts.record(email_sent(number)) for number in range(7)))
        assert max(each.position for each in results) == 7
        assert 3 <= len(posts.commits) < 7

    run(test)
    assert sorted(log(pool)) == [f"e-{number}" for number in range(7)], "in whatever order"


def test_workspaces_share_a_transaction(run: Run, pool: Pool) -> None:
    """Each has positions of its own, and each post its own outcomes, also where an event comes twice."""

    async def test(posts: Log) -> None:
        await in_each(posts, email_sent(0))
        posts.commits.clear()
        results = await asyncio.gather(
            posts.record(email_sent(1), email_sent(2)),
            posts.record(email_sent(1), workspace_id=341),
            posts.record(email_sent(2), email_sent(1), email_sent(1, step=5), workspace_id=341),
            posts.record(email_sent(3), workspace_id=342),
        )
        assert [each.position for each in results] == [3, 3, 3, 2]
        assert results[2].outcomes == [Outcome.ACCEPTED, Outcome.DUPLICATE, Outcome.CONFLICT]
        assert posts.commits == [Commit({340: 3, 341: 3, 342: 2}, events=7, posts=4, traced=[])]

    run(test)
    assert [log(pool, each) for each in WORKSPACES] == [["e-0", "e-1", "e-2"]] * 2 + [["e-0", "e-3"]]


def test_a_workspace_whose_head_is_locked_holds_up_no_other(run: Run, pool: Pool) -> None:
    """It gets a lane of its own, which waits; the others are appended to, also those that come later."""

    async def test(posts: Log) -> None:
        await in_each(posts, email_sent(0))
        with pool.connection() as holder, holder.transaction():
            holder.execute("SELECT head FROM log_head WHERE workspace_id = 341 FOR UPDATE")
            locked = asyncio.ensure_future(posts.record(email_sent(1), workspace_id=341))
            for number in (1, 2):
                await asyncio.gather(*(posts.record(email_sent(number), workspace_id=each) for each in (340, 342)))
            assert not locked.done()
        assert (await locked).position == 2

    run(test)
    assert [len(log(pool, each)) for each in WORKSPACES] == [3, 2, 3]


@pytest.mark.parametrize("fault", ["stranger", "known", "invalid", "new"])
def test_what_is_wrong_in_one_workspace_harms_no_other(run: Run, pool: Pool, fault: str) -> None:
    """A writer who may not, a known event, one that can't be written, or no log yet: that one is tried alone."""

    async def test(posts: Log) -> None:
        await in_each(posts, email_sent(0))
        invalid = Prepared(parsed(email_sent(9)), [b"no UUID"], [b"{}"])
        odd = {
            "stranger": lambda: posts.record(email_sent(1), writer=STRANGER, workspace_id=341),
            "known": lambda: posts.record(email_sent(0), email_sent(1), workspace_id=341),
            "invalid": lambda: posts.record_prepared(invalid, workspace_id=341),
            "new": lambda: posts.record(email_sent(1), workspace_id=343),
        }[fault]()
        good = [posts.record(email_sent(1), workspace_id=each) for each in (340, 342)]
        of_odd, *recorded = await asyncio.gather(odd, *good, return_exceptions=True)
        assert [each.position for each in recorded] == [2, 2]  # type: ignore[union-attr]
        if fault == "stranger":
            assert isinstance(of_odd, ConditionError)
        elif fault == "invalid":
            assert isinstance(of_odd, psycopg.DataError)
        else:
            outcomes = [Outcome.DUPLICATE, Outcome.ACCEPTED] if fault == "known" else [Outcome.ACCEPTED]
            assert of_odd.outcomes == outcomes  # type: ignore[union-attr]

    run(test)
    assert log(pool, 341) == (["e-0", "e-1"] if fault == "known" else ["e-0"])
    assert log(pool, 343) == (["e-1"] if fault == "new" else [])


def test_many_posts_to_one_workspace_do_not_hold_up_others(run: Run) -> None:
    """They leave everybody's lane, in which the post to another workspace is alone then."""

    async def test(posts: Log) -> None:
        await in_each(posts, email_sent(0))
        posts.commits.clear()
        many = [posts.record(email_sent(number)) for number in range(1, 50)]
        await asyncio.gather(*many, posts.record(email_sent(1), workspace_id=341))
        assert Commit({341: 2}, events=1, posts=1, traced=[]) in posts.commits
        assert sum(each.posts for each in posts.commits if 340 in each.positions) == 49

    run(test)


def test_the_next_group_waits_for_as_many_posts_as_the_last_one_had(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """So senders that post again when they are answered share each commit; one that is alone waits for nobody."""
    monkeypatch.setattr(lanes, "GATHERING_SECONDS", 60.0)

    async def test(posts: Log) -> None:
        await in_each(posts, email_sent(0))
        alone = [await posts.record(email_sent(number)) for number in (1, 2)]
        assert [each.position for each in alone] == [2, 3]
        await asyncio.gather(*(posts.record(email_sent(3), workspace_id=each) for each in WORKSPACES))
        posts.commits.clear()
        again = [asyncio.ensure_future(posts.record(email_sent(4), workspace_id=each)) for each in (340, 341)]
        await asyncio.sleep(0.05)  # nothing that could be waited for happens
        assert not posts.commits
        await asyncio.gather(*again, posts.record(email_sent(4), workspace_id=342))
        assert [each.posts for each in posts.commits] == [3]

    run(test)


def test_nobody_is_waited_for_any_longer_than_a_moment(run: Run) -> None:
    """Senders that do not post again hold up nobody."""

    async def test(posts: Log) -> None:
        await asyncio.gather(*(posts.record(email_sent(number)) for number in range(9)))
        assert (await posts.record(email_sent(9))).position == 10

    run(test)


def test_what_the_preparation_of_a_post_raises_is_its_own(run: Run, pool: Pool) -> None:
    """The others of its group are recorded."""

    def fail() -> Prepared:
        raise KeyError("fault")

    async def test(posts: Log) -> None:
        failed, good = await asyncio.gather(
            posts.posts.record(340, fail, 10, WRITER), posts.record(email_sent(1)), return_exceptions=True
        )
        assert isinstance(failed, KeyError)
        assert good.position == 1  # type: ignore[union-attr]

    run(test)
    assert log(pool) == ["e-1"]


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
            posts.record(email_sent(1)), posts.record_prepared(bad), return_exceptions=True
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


@pytest.mark.parametrize("size", [10, lanes.MAX_SHARED_BYTES + 1])
@pytest.mark.parametrize("error", [psycopg.OperationalError("away"), KeyError("fault")])
def test_a_connection_that_cannot_be_opened_fails_its_posts_at_once(run: Run, size: int, error: Exception) -> None:
    """In everybody's lane and in a workspace's own; the next posts open it again."""

    async def test(posts: Log) -> None:
        borrow, prepared = posts.pipelines[0]._borrow, ledger.prepare(parsed(email_sent(1)))

        async def fail() -> Database:
            raise error

        for each in posts.pipelines:
            each._borrow = fail
        began = asyncio.get_running_loop().time()
        post = posts.posts.record(340, lambda: prepared, size, WRITER)
        with pytest.raises(type(error)):
            await post
        assert asyncio.get_running_loop().time() - began < lanes.WAIT_SECONDS
        for each in posts.pipelines:
            each._borrow = borrow
        assert (await posts.record(email_sent(1))).position == 1

    run(test)


def test_whatever_a_commit_raises_its_posts_get(run: Run) -> None:
    """None waits for an outcome that never comes."""

    async def fail(*_: object) -> list[lanes.Post]:
        raise KeyError("fault")

    async def test(posts: Log) -> None:
        failing, prepared = lanes.Lanes(posts.pipelines, fail), ledger.prepare(parsed(email_sent(1)))
        with pytest.raises(KeyError):
            await failing.record(340, lambda: prepared, 10, WRITER)

    run(test)


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
    monkeypatch.setattr(lanes, "WAIT_SECONDS", 0.1)

    async def test(posts: Log) -> None:
        await posts.record(email_sent(0))
        with pool.connection() as holder, holder.transaction():
            holder.execute("SELECT head FROM log_head WHERE workspace_id = 340 FOR UPDATE")
            first = asyncio.ensure_future(posts.record(email_sent(1)))
            await until(lambda: posts.pipelines[1].waiting == 1)
            second = asyncio.ensure_future(posts.record(email_sent(2)))
            await asyncio.sleep(0.06)
            with pytest.raises(QueueTimeoutError):
                await posts.record(email_sent(3))
            results = await asyncio.gather(first, second, return_exceptions=True)
        assert [isinstance(each, QueueTimeoutError) for each in results] == [True, True]
        await until(lambda: posts.posts._own == {})
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
        assert posts.posts.waiting == 0

    run(test)
    stored = Counter(log(pool))
    assert set(stored.values()) == {1}
    assert {f"e-{number}" for number in range(200) if number % 3} <= stored.keys()


@pytest.mark.parametrize("workspaces", [(340,), WORKSPACES])
def test_sixteen_writers_at_once_store_each_event_once(pool: Pool, workspaces: tuple[int, ...]) -> None:
    """With repeated and overlapping ids, whoever shares a transaction; positions have no gap."""

    async def write(posts: Log, writer: int) -> int:
        accepted = 0
        for number in range(writer, 400, 4):
            events = email_sent(number), email_sent(number // 2)
            recorded = await posts.record(*events, workspace_id=workspaces[number % len(workspaces)])
            accepted += recorded.outcomes.count(Outcome.ACCEPTED)
        return accepted

    async def test() -> int:
        one, other = Log(pool, connections=3), Log(pool, connections=3)  # as if in two processes
        try:
            return sum(await asyncio.gather(*(write((one, other)[writer % 2], writer) for writer in range(16))))
        finally:
            for each in (*one.pipelines, *other.pipelines):
                each.close()

    accepted = asyncio.run(test())
    stored = [(workspace_id, each) for workspace_id in workspaces for each in log(pool, workspace_id)]
    expected = {
        (workspaces[number % len(workspaces)], f"e-{each}") for number in range(400) for each in (number, number // 2)
    }
    assert set(stored) == expected
    assert accepted == len(stored) == len(expected)
    with pool.connection() as database:
        heads = "SELECT workspace_id, head FROM log_head WHERE workspace_id > 0"
        last = "SELECT workspace_id, max(position) FROM stored_events WHERE workspace_id > 0 GROUP BY workspace_id"
        counted = Counter(workspace_id for workspace_id, _ in stored)
        assert dict(database.execute(heads).fetchall()) == dict(database.execute(last).fetchall()) == counted
