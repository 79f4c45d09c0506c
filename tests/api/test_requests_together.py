"""Shows that requests that come together share statements and answers, and nothing of their own."""

import asyncio

import psycopg
import pytest

from domain.access import Access
from domain.recorder import Pool
from tests.support.examples import api_key, email_sent
from tests.support.on_a_loop import Application, Got, own, reader_of_a_campaign, run
from tests.support.read_models import project_all
from tests.support.stored_events import record
from tests.support.waiting import wait_for


@pytest.fixture
def key(pool: Pool, users: Access) -> dict[str, str]:
    """Give the header of a key whose user may see a workspace with a campaign."""
    return reader_of_a_campaign(pool, users)


def test_requests_that_come_together_share_the_statement(pool: Pool, users: Access, key: dict[str, str]) -> None:
    """Whoever makes them, and whatever they ask; each gets its own answer."""
    record(pool, 341, email_sent(1), email_sent(2))
    project_all(pool)
    other = api_key(users, 341, user="u-other")

    async def test(application: Application) -> None:
        requests = [(key, "workspace_id=340"), (key, "workspace_id=ALL"), (other, "workspace_id=341"), (other, "")]
        for _ in range(2):  # one for ALL is read by a thread at first, and not kept
            answers = [await application.get(*request) for request in requests]
        application.sent.clear()
        again = await asyncio.gather(*(application.get(*request) for request in requests for _ in range(3)))
        assert [own(each) for each in again] == [own(each) for each in answers for _ in range(3)]
        assert application.sent == ["standings"]

    run(pool, test)


def test_equal_requests_that_come_together_share_an_answer_that_was_not_sent_before(
    pool: Pool, key: dict[str, str]
) -> None:
    """Of any question and status; each with its own id."""

    async def test(application: Application) -> None:
        for query, status in (
            ("workspace_id=340", 200),
            ("workspace_id=340&include=extended", 200),
            ("workspace_id=341", 403),
        ):
            application.sent.clear()
            answers = await asyncio.gather(
                *(application.get({**key, "X-Request-ID": f"r-{number}"}, query) for number in range(4))
            )
            assert [each.headers["x-request-id"] for each in answers] == [f"r-{number}" for number in range(4)]
            assert {each.status for each in answers} == {status}
            assert len({(each.body, each.headers.get("etag")) for each in answers}) == 1
            assert application.sent.count("dashboard") == (0 if "extended" in query else 1)

    run(pool, test)


def test_each_of_equal_requests_may_give_up(pool: Pool, key: dict[str, str]) -> None:
    """Before its statement is sent or afterwards, or one that waits for it: the others are answered all the same."""

    async def test(application: Application) -> None:
        for after_statement, given_up in ((False, 0), (True, 0), (True, 1)):
            for query in ("workspace_id=340", "workspace_id=340&format=json"):
                asking = {**key, "If-None-Match": f'"{after_statement} {given_up}"'}  # as nobody has asked before
                tasks = [asyncio.ensure_future(application.get(asking, query)) for _ in range(3)]
                await asyncio.sleep(0)
                while after_statement and application.parts.reads.waiting == 0:  # noqa: ASYNC110 (no event tells)
                    await asyncio.sleep(0)
                tasks[given_up].cancel()
                answers = await asyncio.gather(*tasks, return_exceptions=True)
                assert isinstance(answers.pop(given_up), asyncio.CancelledError)
                assert [each.status for each in answers if isinstance(each, Got)] == [200] * 2

    run(pool, test)


def test_a_request_that_comes_after_the_statement_was_sent_has_its_own(
    pool: Pool, users: Access, key: dict[str, str]
) -> None:
    """So an unlink works from the very next request, also while one that is alike waits for its answer."""

    async def test(application: Application) -> None:
        assert (await application.get(key)).status == 200
        with psycopg.connect(str(pool.conninfo)) as blocking:
            blocking.execute("LOCK TABLE projection IN ACCESS EXCLUSIVE MODE")
            first = asyncio.ensure_future(application.get(key))
            waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            await asyncio.to_thread(wait_for, lambda: blocking.execute(waits).rowcount == 1)
            await asyncio.to_thread(users.unlink, "u-1", 340, "cli:test")
            second = asyncio.ensure_future(application.get(key))
            while application.parts.reads.waiting < 2:  # noqa: ASYNC110 (there is no event to wait for)
                await asyncio.sleep(0)
            blocking.rollback()
        await first
        assert (await second).status == 403

    run(pool, test)


def test_a_cancelled_request_cancels_no_request_that_shares_its_statement(pool: Pool, key: dict[str, str]) -> None:
    """Neither the first nor a later one."""

    async def test(application: Application) -> None:
        await application.get(key)
        for given_up in (0, 2):
            tasks = [asyncio.ensure_future(application.get(key)) for _ in range(4)]
            while application.parts.reads.waiting == 0:  # noqa: ASYNC110 (there is no event to wait for)
                await asyncio.sleep(0)
            tasks[given_up].cancel()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(answers.pop(given_up), asyncio.CancelledError)
            assert [each.status for each in answers if isinstance(each, Got)] == [200] * 3

    run(pool, test)


def test_all_requests_that_share_a_statement_get_its_error(pool: Pool, key: dict[str, str]) -> None:
    """At once, by the name of each, and no second statement waits as long again."""

    async def test(application: Application) -> None:
        assert (await application.get(key)).status == 200
        application.sent.clear()
        with psycopg.connect(str(pool.conninfo)) as blocking:
            blocking.execute("LOCK TABLE projection IN ACCESS EXCLUSIVE MODE")
            answers = await asyncio.gather(*(application.get({**key, "X-Request-ID": f"r-{n}"}) for n in range(3)))
        assert [(each.status, each.headers["x-request-id"]) for each in answers] == [(503, f"r-{n}") for n in range(3)]
        assert application.sent == ["standings"]
        assert (await application.get(key)).status == 200

    run(pool, test)
