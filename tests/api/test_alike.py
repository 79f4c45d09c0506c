"""Shows that requests which are alike share an answer only where it is as good for each as one of its own."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import psycopg
import pytest

from api.app import create_app
from domain.access import Access
from domain.recorder import Pool
from service import settings
from service.web.application import make_parts
from tests.support.examples import JWT_SECRET, api_key, email_sent, session
from tests.support.read_models import project_all
from tests.support.stored_events import record
from tests.support.waiting import wait_for

DASHBOARD = "/api/v1/dashboard/campaign-analytics"


class Got(NamedTuple):
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes


class Application:
    """The application on an event loop, without a server, and how many of its reads were sent to the database."""

    def __init__(self, pool: Pool, **environment: str) -> None:
        """Make it around a pool."""
        self.parts = make_parts(pool, settings.from_environment({"JWT_SECRET": JWT_SECRET, **environment}), {})
        self._answer = create_app(self.parts)
        self.sent = 0

    async def get(self, headers: dict[str, str], query: str = "workspace_id=340") -> Got:
        """Ask for the dashboard."""
        messages: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            messages.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": DASHBOARD,
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
        await self._answer(scope, None, send)
        head, body = messages
        answer_headers = {name.decode(): value.decode() for name, value in head["headers"]}
        return Got(head["status"], answer_headers, body.get("body", b""))


def run(pool: Pool, test: Callable[[Application], Coroutine[Any, Any, None]], **environment: str) -> None:
    """Run a test's coroutine with an application whose connection is open, and count what it sends from then on."""

    async def with_application() -> None:
        application = Application(pool, **environment)
        reads = application.parts.reads
        try:
            await application.get(session("nobody"))
            send = reads._send

            def counting(statements: Any) -> None:
                application.sent += len(statements)
                send(statements)

            reads._send = counting  # type: ignore[method-assign]
            await test(application)
        finally:
            application.parts.close()

    asyncio.run(with_application())


@pytest.fixture
def key(pool: Pool, users: Access) -> dict[str, str]:
    """Give the header of a key whose user may see a workspace with a campaign."""
    record(pool, 340, email_sent(1))
    project_all(pool)
    return api_key(users, 340, user="u-alike")


def test_requests_that_are_alike_share_a_statement_and_nothing_of_their_own(
    pool: Pool, users: Access, key: dict[str, str]
) -> None:
    """A request with another query or another key has a statement of its own."""
    other = api_key(users, 341, user="u-other")

    async def test(application: Application) -> None:
        alone = await application.get(key)
        tag = alone.headers["etag"]
        requests = [
            *((key, "workspace_id=340") for _ in range(4)),
            ({**key, "If-None-Match": tag}, "workspace_id=340"),
            (key, "workspace_id=340&format=json"),
            (key, ""),
            (session("u-alike"), "workspace_id=340"),
            (session("u-nobody"), "workspace_id=340"),
            (other, "workspace_id=340"),
            ({"X-API-Key": f"{key['X-API-Key']}x"}, "workspace_id=340"),
        ]
        application.sent = 0
        answers = await asyncio.gather(
            *(application.get({**headers, "X-Request-ID": f"r-{n}"}, q) for n, (headers, q) in enumerate(requests))
        )
        assert [each.status for each in answers] == [200, 200, 200, 200, 304, 200, 200, 200, 403, 403, 401]
        assert {each.body for each in answers[:4]} == {alone.body}
        assert [each.headers["x-request-id"] for each in answers] == [f"r-{n}" for n in range(len(requests))]
        for each in answers[:4]:
            assert {**each.headers, "x-request-id": ""} == {**alone.headers, "x-request-id": ""}
        assert application.sent == len(requests) - 3

    run(pool, test)


def test_a_request_that_comes_after_the_statement_was_sent_has_its_own(
    pool: Pool, users: Access, key: dict[str, str]
) -> None:
    """So an unlink works from the very next request, also while one that is alike waits for its answer."""

    async def test(application: Application) -> None:
        assert (await application.get(key)).status == 200
        with psycopg.connect(str(pool.conninfo)) as blocking:
            blocking.execute("LOCK TABLE campaign IN ACCESS EXCLUSIVE MODE")
            first = asyncio.ensure_future(application.get(key))
            waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            await asyncio.to_thread(wait_for, lambda: blocking.execute(waits).rowcount == 1)
            await asyncio.to_thread(users.unlink, "u-alike", 340, "cli:test")
            second = asyncio.ensure_future(application.get(key))
            while application.parts.reads.waiting < 2:  # noqa: ASYNC110 (there is no event to wait for)
                await asyncio.sleep(0)
            blocking.rollback()
        await first
        assert (await second).status == 403

    run(pool, test)


def test_a_cancelled_request_cancels_no_request_that_shares_its_statement(pool: Pool, key: dict[str, str]) -> None:
    """Neither the one whose statement it is, nor one that waits for it."""

    async def test(application: Application) -> None:
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
    """At once, by the name of each."""

    async def test(application: Application) -> None:
        assert (await application.get(key)).status == 200
        with psycopg.connect(str(pool.conninfo)) as blocking:
            blocking.execute("LOCK TABLE campaign IN ACCESS EXCLUSIVE MODE")
            answers = await asyncio.gather(*(application.get({**key, "X-Request-ID": f"r-{n}"}) for n in range(3)))
        assert [(each.status, each.headers["x-request-id"]) for each in answers] == [(503, f"r-{n}") for n in range(3)]
        assert application.sent == 2

    run(pool, test)


def test_each_counts_where_requests_are_limited(pool: Pool, key: dict[str, str]) -> None:
    """The one that is one too many gets no answer of another."""

    async def test(application: Application) -> None:
        answers = await asyncio.gather(*(application.get(key) for _ in range(4)))
        assert sorted(each.status for each in answers) == [200, 200, 429, 429]

    run(pool, test, RATE_LIMIT="2")
