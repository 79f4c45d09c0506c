"""Shows that an answer is sent again only where it is as good as one that was made for the request itself."""

import logging
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from domain.access import Access
from domain.recorder import Pool
from projections.statements import Statement
from tests.support.examples import api_key, email_sent, session
from tests.support.on_a_loop import DASHBOARD, Application, own, reader_of_a_campaign, run
from tests.support.read_models import project_all
from tests.support.stored_events import record

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def key(pool: Pool, users: Access) -> dict[str, str]:
    """Give the header of a key whose user may see a workspace with a campaign."""
    return reader_of_a_campaign(pool, users)


def test_of_an_answer_that_always_changes_nobody_asks_whether_it_holds(pool: Pool, key: dict[str, str]) -> None:
    """Until it has held once."""

    async def test(application: Application) -> None:
        for number in range(2, 8):
            record(pool, 340, email_sent(number))
            application.sent.clear()
            await application.get(key)
        assert application.sent == ["dashboard"]
        await application.get(key)
        assert application.sent == ["dashboard"] * 2
        await application.get(key)
        assert application.sent == ["dashboard"] * 2 + ["standings"]

    run(pool, test)


def test_a_request_that_differs_in_anything_is_answered_by_itself(
    pool: Pool, users: Access, key: dict[str, str]
) -> None:
    """In its key, session, query, path or any header but its id."""
    other = api_key(users, 341, user="u-other")

    async def test(application: Application) -> None:
        await application.get(key)
        wrong = {"X-API-Key": f"{key['X-API-Key']}x"}
        for headers, query, status in (
            (other, "workspace_id=340", 403),
            (wrong, "workspace_id=340", 401),
            ({}, "workspace_id=340", 401),
            (session("u-nobody"), "workspace_id=340", 403),
            (key, "workspace_id=341", 403),
            (key, "workspace_id=340&workspace_id=341", 400),
            ({**key, "Accept": "text/csv"}, "workspace_id=340", 200),
            ({**key, "Cookie": "a=b"}, "workspace_id=340", 200),
        ):
            for _ in range(2):
                assert (await application.get(headers, query)).status == status
        application.sent.clear()
        assert (await application.get(key, "workspace_id=340&min_position=1")).status == 200
        assert application.sent == ["dashboard"]

    run(pool, test)


@pytest.mark.parametrize("credentials", ["key", "session"])
def test_every_change_of_access_counts_from_the_next_request(
    pool: Pool, users: Access, key: dict[str, str], credentials: str
) -> None:
    """An answer that was sent before is not sent again after the link, the current workspace or the key has changed."""
    headers = key if credentials == "key" else session("u-1")
    prefix = key["X-API-Key"].partition(".")[0]
    record(pool, 341, email_sent(1), email_sent(2))
    project_all(pool)

    async def test(application: Application) -> None:
        async def statuses() -> list[int]:
            queries = ("workspace_id=340", "workspace_id=341", "", "workspace_id=ALL")
            return [(await application.get(headers, query)).status for query in queries for _ in range(2)][::2]

        assert await statuses() == [200, 403, 200, 200]
        one = await application.get(headers, "")
        everything = await application.get(headers, "workspace_id=ALL")
        users.link("u-1", 341, "cli:test")
        assert await statuses() == [200, 200, 200, 200]
        assert (await application.get(headers, "workspace_id=ALL")).body != everything.body
        users.select("u-1", 341, "cli:test")
        assert (await application.get(headers, "")).body != one.body
        users.unlink("u-1", 341, "cli:test")
        assert await statuses() == [200, 403, 403, 200]
        assert own(await application.get(headers, "workspace_id=ALL")) == own(everything)
        users.unlink("u-1", 340, "cli:test")
        assert await statuses() == [403, 403, 403, 200]
        users.link("u-1", 340, "cli:test")
        assert (await statuses())[0] == 200
        users.revoke_key("u-1", prefix, "cli:test")
        assert (await statuses())[0] == (401 if credentials == "key" else 200)

    run(pool, test)


def test_what_changes_the_answer_counts_from_the_next_request(pool: Pool, key: dict[str, str]) -> None:
    """An event, its projection, and a projection that is stuck."""

    async def test(application: Application) -> None:
        lags = []
        for number in (2, 3):
            record(pool, 340, email_sent(number))
            lags.append((await application.get(key)).headers["x-lag"])
            project_all(pool)
            answer = await application.get(key)
            lags.append(answer.headers["x-lag"])
            assert f'"amount_of_emails_sent":{number}'.encode() in answer.body
            assert own(await application.get(key)) == own(answer)
        assert lags == ["1", "0", "1", "0"]

    run(pool, test)


def test_the_log_of_access_has_an_event_of_every_change_of_who_may_see_what(pool: Pool, users: Access) -> None:
    """So its head stands for all of it: whatever changes these rows moves it."""
    links = "SELECT user_id, workspace_id, current FROM workspace_link ORDER BY 1, 2"
    keys = "SELECT prefix, user_id, secret_sha256, scopes, expires_at FROM api_key ORDER BY 1"
    head = "SELECT head FROM log_head WHERE workspace_id = 0"

    def state() -> tuple[list[list[Any]], list[Any]]:
        with pool.connection() as connection:
            rows = [list(connection.execute(each)) for each in (links, keys)]
            return rows, connection.execute(head).fetchall()

    issued = []
    changes: list[Callable[[], object]] = [
        lambda: users.link("u-1", 1, "cli:test"),
        lambda: users.link("u-1", 2, "cli:test"),
        lambda: users.select("u-1", 2, "cli:test"),
        lambda: issued.append(
            users.issue_key("u-1", scopes=["read"], name="", expires_at=None, by="cli:test").key.partition(".")[0]
        ),
        lambda: users.revoke_key("u-1", issued[0], "cli:test"),
        lambda: users.unlink("u-1", 2, "cli:test"),
    ]
    for change in changes:
        rows, position = state()
        change()
        changed, moved = state()
        assert changed != rows
        assert moved != position


def test_no_answer_outlives_the_connection_that_it_was_validated_by(pool: Pool, key: dict[str, str]) -> None:
    """Behind another connection may be another server, where the same numbers mean another past."""

    async def test(application: Application) -> None:
        await application.get(key)
        [(pid,)] = await application.parts.reads.rows(Statement("pid", b"SELECT pg_backend_pid()"), {})
        with psycopg.connect(str(pool.conninfo), autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
        while (await application.get({"X-API-Key": "k.other"})).status == 503:  # until there is another connection
            pass
        application.sent.clear()
        for _ in range(3):
            assert (await application.get(key)).status == 200
        assert application.sent == ["standings", "dashboard", "standings", "standings"]

    run(pool, test)


def test_each_request_is_counted_and_logged(pool: Pool, key: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    """With its own id, and with the caller and the workspace of the answer."""

    async def test(application: Application) -> None:
        with caplog.at_level(logging.INFO, "access"):
            for number in range(3):
                await application.get({**key, "X-Request-ID": f"r-{number}"})
        counted = application.parts.measurements.counts.totals()
        assert counted[f"requests\tGET\t{DASHBOARD}\t200"] == [3]

    run(pool, test)
    lines = [vars(each) for each in caplog.records if each.name == "access"]
    assert [(each["request_id"], each["status"], each["workspace"]) for each in lines] == [
        (f"r-{number}", 200, 340) for number in range(3)
    ]
    assert {each["key"] for each in lines} == {key["X-API-Key"].partition(".")[0]}


def test_each_request_counts_where_requests_are_limited(pool: Pool, key: dict[str, str]) -> None:
    """One that is too many gets no answer that was sent before."""

    async def test(application: Application) -> None:
        answers = [await application.get(key) for _ in range(4)]
        assert [each.status for each in answers] == [200, 200, 429, 429]

    run(pool, test, RATE_LIMIT="2")
