"""Shows that each statement of the event loop's connection gets its own answer or error, whatever becomes of others."""

import asyncio
import errno
import os
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import psycopg
import pytest

from domain.recorder import Database, Pool
from projections import pipeline
from projections.pipeline import Pipeline, TooManySentError
from projections.statements import Statement
from tests.support.databases import connected
from tests.support.waiting import until, wait_for

DIVIDED = Statement("divided", b"SELECT %(text)s::text, 10 / %(number)s::bigint, %(yes)s::boolean, %(number)s")
LONG = Statement("long", b"SELECT %(text)s::text")
ARRAYS = Statement("arrays", b"SELECT %(bytes)b::bytea[], %(texts)b::text[], %(numbers)b::bigint[]")
SLEEP = Statement("sleep", b"SELECT pg_sleep(%(seconds)s::float)::text, %(number)s::bigint")
PID = Statement("pid", b"SELECT pg_backend_pid()")


@pytest.fixture
def run(pool: Pool) -> Callable[[Callable[[Pipeline], Coroutine[Any, Any, None]]], None]:
    """Give what runs a test's coroutine with a connection, on an event loop of its own; all of them are closed."""
    open_now: list[Database] = []

    async def borrow() -> Database:
        database = await asyncio.to_thread(connected, pool)
        open_now.append(database)
        return database

    def run_it(test: Callable[[Pipeline], Coroutine[Any, Any, None]]) -> None:
        async def with_pipeline() -> None:
            made = Pipeline(borrow, open_now.remove)
            try:
                await test(made)
            finally:
                made.close()

        asyncio.run(with_pipeline())
        assert open_now == []

    return run_it


def test_each_statement_gives_its_own_rows_or_its_own_error(run: Any) -> None:
    """Whatever a parameter is."""

    async def test(made: Pipeline) -> None:
        parameters: list[dict[str, object]] = [
            {"text": "ä'\\", "number": 1, "yes": True},
            {"text": None, "number": 0, "yes": True},
            {"text": None, "number": 2, "yes": None},
            {"text": "u-1\0", "number": 1, "yes": True},
            {"text": "", "number": -5, "yes": False},
        ]
        for _ in range(3):
            results = await asyncio.gather(*(made.rows(DIVIDED, each) for each in parameters), return_exceptions=True)
            assert results[0::2] == [[("ä'\\", 10, True, 1)], [(None, 5, None, 2)], [("", -2, False, -5)]]
            assert isinstance(results[1], psycopg.errors.DivisionByZero)
            assert isinstance(results[3], psycopg.DataError)

    run(test)


@pytest.mark.parametrize("number", [2, 3])
def test_statements_behind_a_failed_one_get_their_own_answers(run: Any, number: int) -> None:
    """However few share its sync point, and however they were prepared before."""

    async def test(made: Pipeline) -> None:
        good: dict[str, object] = {"text": "x", "number": 1, "yes": True}
        await made.rows(DIVIDED, good)
        values = [{**good, "number": 0}, *[good] * (number - 1)]
        failed, *results = await asyncio.gather(*(made.rows(DIVIDED, each) for each in values), return_exceptions=True)
        assert isinstance(failed, psycopg.errors.DivisionByZero)
        assert results == [[("x", 10, True, 1)]] * (number - 1)

    run(test)


def test_a_statement_that_cannot_be_prepared_fails_its_own_callers_alone(run: Any) -> None:
    """Those of other statements in the same tick are answered, before and behind it."""
    wrong = Statement("wrong", b"SELECT nothing_of_ours()")

    async def test(made: Pipeline) -> None:
        for _ in range(2):
            results = await asyncio.gather(
                *(made.rows(each, {"text": "x"}) for each in (LONG, wrong, LONG, wrong, PID)), return_exceptions=True
            )
            assert [isinstance(each, psycopg.errors.UndefinedFunction) for each in results] == [
                False, True, False, True, False,
            ]  # fmt: skip
            assert results[0] == results[2] == [("x",)]

    run(test)


def test_arrays_are_sent_in_binary(run: Any) -> None:
    """Empty ones too."""

    async def test(made: Pipeline) -> None:
        parameters = {"bytes": [b"\0\xff", b""], "texts": ["中", ""], "numbers": [2**63 - 1, -1]}
        assert await made.rows(ARRAYS, parameters) == [([b"\0\xff", b""], ["中", ""], [2**63 - 1, -1])]

    run(test)


def test_statements_that_are_longer_than_the_socket_holds_are_sent(run: Any) -> None:
    """They are written while what comes back is read."""

    async def test(made: Pipeline) -> None:
        parameters = [{"text": str(number) * 300_000} for number in range(1, 10)]
        results = await asyncio.gather(*(made.rows(LONG, each) for each in parameters))
        assert results == [[(each["text"],)] for each in parameters]

    run(test)


def test_a_thousand_callers_that_give_up_break_no_other_answer(run: Any) -> None:
    """At random moments, while the statements are at work."""

    async def test(made: Pipeline) -> None:
        rng = random.Random(1)
        await made.rows(PID, {})
        tasks = {n: asyncio.ensure_future(made.rows(SLEEP, {"seconds": 0.0002, "number": n})) for n in range(900)}
        for number in rng.sample(sorted(tasks), 450):
            await asyncio.sleep(0)
            tasks[number].cancel()
        results = await asyncio.gather(*tasks.values(), return_exceptions=True)
        for number, each in zip(tasks, results, strict=True):
            assert isinstance(each, asyncio.CancelledError) or each == [("", number)]
        assert made.waiting == 0
        assert await made.rows(SLEEP, {"seconds": 0, "number": 7}) == [("", 7)]

    run(test)


def test_a_connection_that_is_lost_fails_those_who_wait_and_is_opened_anew(run: Any, pool: Pool) -> None:
    """An idle one is opened anew without anybody noticing."""

    async def test(made: Pipeline) -> None:
        [(pid,)] = await made.rows(PID, {})
        waiting = [asyncio.ensure_future(made.rows(SLEEP, {"seconds": 20, "number": n})) for n in range(3)]
        await asyncio.sleep(0)
        with pool.connection() as database:
            database.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [isinstance(each, psycopg.OperationalError) for each in results] == [True] * 3
        [(second,)] = await made.rows(PID, {})
        with pool.connection() as database:
            database.execute("SELECT pg_terminate_backend(%s, 5000)", (second,))
        await until(lambda: made._database is None)
        assert await made.rows(PID, {}) not in ([(pid,)], [(second,)])

    run(test)


def test_a_connection_that_cannot_be_watched_is_given_back_and_another_one_opened(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the process has no descriptor left; what it has open under other numbers stays open."""

    def no_more(_: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def test(made: Pipeline) -> None:
        for _ in range(2):  # the second time after a connection that could be watched
            with monkeypatch.context() as patched:
                patched.setattr(os, "dup", no_more)
                results = await asyncio.gather(*(made.rows(PID, {}) for _ in range(3)), return_exceptions=True)
            assert [isinstance(each, psycopg.OperationalError) for each in results] == [True] * 3
            assert len(await made.rows(PID, {})) == 1
            made.close()
        with Path(os.devnull).open("rb") as another:  # noqa: ASYNC230 (under the number that was closed just now)
            monkeypatch.setattr(os, "dup", no_more)
            with pytest.raises(psycopg.OperationalError):
                await made.rows(PID, {})
            made.close()
            assert another.read() == b""

    run(test)


def test_a_connection_to_a_silent_server_is_closed(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipeline closes its connection, so that a late answer reaches no other caller."""
    monkeypatch.setattr(pipeline, "ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(pipeline, "LOOK_SECONDS", 0.05)

    async def test(made: Pipeline) -> None:
        with pytest.raises(psycopg.OperationalError, match="in time"):
            await made.rows(SLEEP, {"seconds": 3, "number": 1})
        assert await made.rows(SLEEP, {"seconds": 0, "number": 2}) == [("", 2)]

    run(test)


def test_more_than_can_be_answered_soon_is_refused_at_once(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those before are answered."""
    monkeypatch.setattr(pipeline, "MOST_SENT", 3)

    async def test(made: Pipeline) -> None:
        await made.rows(PID, {})
        calls = [made.rows(SLEEP, {"seconds": 0.01, "number": n}) for n in range(5)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert results[:3] == [[("", n)] for n in range(3)]
        assert [isinstance(each, TooManySentError) for each in results[3:]] == [True, True]

    run(test)


def test_a_statement_that_somebody_has_deallocated_is_prepared_again(run: Any) -> None:
    """No caller notices, and the others that were prepared are none of its business."""
    deallocate = Statement("deallocate", b"DEALLOCATE divided")

    async def test(made: Pipeline) -> None:
        parameters: dict[str, object] = {"text": "x", "number": 1, "yes": True}
        await made.rows(DIVIDED, parameters)
        pid = await made.rows(PID, {})
        await made.rows(deallocate, {})
        tasks = [asyncio.create_task(made.rows(SLEEP, {"seconds": 0.3, "number": 1}))]
        for batches in range(1, 4):  # all are sent before the first one is answered
            await until(lambda batches=batches: len(made._sent) == batches)  # type: ignore[misc]
            tasks.append(asyncio.create_task(made.rows(DIVIDED, parameters)))
        _, *answers = await asyncio.gather(*tasks)
        assert answers == [[("x", 10, True, 1)]] * 3
        assert await made.rows(PID, {}) == pid

    run(test)


def test_a_statement_whose_preparation_waits_in_vain_breaks_no_other(run: Any, database_url: str) -> None:
    """Who sent it meanwhile waits in vain as well; whatever was prepared before, and it itself later, are answered."""
    limit = Statement("limit", b"SET lock_timeout = '100ms'")
    locked = Statement("locked", b"SELECT count(*) FROM workspace_link")

    async def test(made: Pipeline) -> None:
        await made.rows(limit, {})
        [(pid,)] = await made.rows(PID, {})
        with psycopg.connect(database_url) as other, psycopg.connect(database_url, autocommit=True) as observer:
            other.execute("LOCK TABLE workspace_link IN ACCESS EXCLUSIVE MODE")

            def is_idle() -> bool:
                seen = observer.execute("SELECT state FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchone()
                return seen == ("idle",)

            first = asyncio.create_task(made.rows(locked, {}))
            await until(lambda: len(made._sent) == 1)
            second = asyncio.create_task(made.rows(locked, {}))
            await until(lambda: len(made._sent) == 2)
            wait_for(is_idle)  # in the loop's thread, so that it takes both answers at once
            failed = await asyncio.gather(first, second, return_exceptions=True)
            assert all(isinstance(each, psycopg.errors.LockNotAvailable) for each in failed), failed
        for _ in range(2):
            assert len(await made.rows(PID, {})) == 1
            assert await made.rows(locked, {}) == [(0,)]

    run(test)


SET = Statement("set", b"SELECT set_config('campaign.test', %(text)s::text, true), 1 / %(number)s::bigint")
PRECEDED = Statement(
    "preceded", b"SELECT current_setting('campaign.test', true), 10 / (%(number)s::bigint - 2)", preceded_by=SET
)


def test_a_statement_preceded_by_another_shares_its_transaction_and_its_error(run: Any) -> None:
    """And the statements around them are none of their business."""

    async def test(made: Pipeline) -> None:
        parameters: list[dict[str, object]] = [
            {"text": "a", "number": 1},
            {"text": "b", "number": 0},  # the first one fails
            {"text": "c", "number": 2},  # the second one fails
            {"text": "d", "number": 12},
        ]
        for _ in range(3):
            tries = [made.rows(PRECEDED, each) for each in parameters]
            results = await asyncio.gather(*tries, made.rows(LONG, {"text": "x"}), return_exceptions=True)
            assert (results[0], results[3], results[4]) == ([("a", -10)], [("d", 1)], [("x",)])
            assert all(isinstance(each, psycopg.errors.DivisionByZero) for each in results[1:3])
        for _ in range(3):
            bad = Statement("bad", b"SELECT 1", preceded_by=Statement("broken", b"SELECT FROM nowhere"))
            with pytest.raises(psycopg.errors.UndefinedTable):
                await made.rows(bad, {})

    run(test)
