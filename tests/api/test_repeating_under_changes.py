"""Shows that whatever changes and whatever fails, answers that are sent again are those that would be made anew."""

import asyncio
import logging
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import falcon.asgi
import psycopg
import pytest

from api import repeating
from api.auth.sessions import FixedKey, secret
from api.errors import UnavailableError
from domain.access import Access
from domain.recorder import Pool
from domain.refusals import AccessError
from projections.building import forgetting, replay
from projections.statements import Statement
from service.clock import clock
from tests.support.examples import email_sent, session
from tests.support.on_a_loop import Application, own, reader_of_a_campaign, run
from tests.support.read_models import ignore, project_all
from tests.support.stored_events import record

if TYPE_CHECKING:
    from collections.abc import Callable

WORKSPACES = (340, 341, 342)
QUERIES = ("", *(f"workspace_id={each}" for each in WORKSPACES), "workspace_id=ALL", "format=csv", "workspace_id=x")
# What Falcon reads of each request by itself; none of it changes an answer to a GET.
READ_BY_FALCON = {b"content-length", b"content-type", b"host", b"x-forwarded-host", b"x-forwarded-proto", b"forwarded"}


@pytest.fixture
def key(pool: Pool, users: Access) -> dict[str, str]:
    """Give the header of a key whose user may see a workspace with a campaign."""
    return reader_of_a_campaign(pool, users)


class World:
    """Two users with keys, three workspaces, and what may change of them."""

    def __init__(self, pool: Pool, users: Access, chance: random.Random) -> None:
        """Begin with an event in each workspace, and one link of each user."""
        self.pool = pool
        self._users = users
        self._chance = chance
        self._events = 0
        self.keys = {}
        for user in ("u-1", "u-2"):
            users.link(user, 340, "cli:test")
            self.keys[user] = users.issue_key(user, scopes=["read"], name="", expires_at=None, by="cli:test").key
        for workspace_id in WORKSPACES:
            self._record(workspace_id)
        project_all(pool)

    def change(self, application: Application) -> None:
        """Change something, or nothing."""
        user, workspace_id = self._chance.choice(["u-1", "u-2"]), self._chance.choice(WORKSPACES)
        changes: list[Callable[[], object]] = [
            lambda: self._users.link(user, workspace_id, "cli:test"),
            lambda: self._users.unlink(user, workspace_id, "cli:test"),
            lambda: self._users.select(user, workspace_id, "cli:test"),
            lambda: self._change_key(user),
            lambda: self._record(workspace_id),
            lambda: project_all(self.pool),
            lambda: self._forget(workspace_id),
            lambda: replay.replay(self.pool, workspace_id, ignore),
            lambda: self._execute("UPDATE projection SET lost_at = now() WHERE workspace_id = %s", workspace_id),
            lambda: self._execute("UPDATE log_head SET epoch = epoch + 1 WHERE workspace_id = %s", workspace_id),
            lambda: application.parts.reads._lose(psycopg.OperationalError("lost")),
            lambda: None,
        ]
        with suppress(AccessError):  # a workspace that is not linked can't be selected
            self._chance.choices(changes, [4, 2, 3, 1, 5, 5, 1, 1, 0.3, 0.3, 1, 8])[0]()

    def requests(self) -> list[tuple[dict[str, str], str]]:
        """Return some requests that come together, many of them equal."""
        callers = [*({"X-API-Key": each} for each in self.keys.values()), session("u-1"), session("u-3"), {}]
        some = [(self._chance.choice(callers), self._chance.choice(QUERIES)) for _ in range(3)]
        return self._chance.choices(some, k=6)

    def _record(self, workspace_id: int) -> None:
        self._events += 1
        event = email_sent(self._events, campaign_id=self._chance.randrange(1, 4))
        record(self.pool, workspace_id, event)

    def _change_key(self, user: str) -> None:
        self._users.revoke_key(user, self.keys[user].partition(".")[0], "cli:test")
        self.keys[user] = self._users.issue_key(user, scopes=["read"], name="", expires_at=None, by="cli:test").key

    def _forget(self, workspace_id: int) -> None:
        with self.pool.connection() as connection:
            forgetting.forget(connection, self._users, workspace_id, "1", "cli:test")

    def _execute(self, statement: str, workspace_id: int) -> None:
        with self.pool.connection() as connection:
            connection.execute(statement, (workspace_id,))


def test_whatever_changes_answers_are_those_of_an_application_that_sends_none_again(pool: Pool, users: Access) -> None:
    """After random changes of access, logs, projections and connections, by random callers at once."""
    world = World(pool, users, random.Random(7))

    async def test(application: Application) -> None:
        other = Application(pool)
        other.app.repeating = None
        try:
            for step in range(150):
                world.change(application)
                requests = world.requests()
                answers = await asyncio.gather(*(application.get(*each) for each in requests))
                for request, answer in zip(requests, answers, strict=True):
                    assert own(answer) == own(await other.get(*request)), (step, request)
                    if "etag" in answer.headers:
                        has = {**request[0], "If-None-Match": answer.headers["etag"]}, request[1]
                        assert own(await application.get(*has)) == own(await other.get(*has)), (step, has)
        finally:
            other.parts.close()
        assert application.sent.count("standings") > 100
        assert application.sent.count("dashboard") > 100

    run(pool, test)


def test_an_answer_depends_on_no_other_header(pool: Pool, key: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the application reads of a request is in its hash, but for what names the request and its trace."""
    read = set[bytes]()

    class Noting(dict[bytes, bytes]):
        def get(self, name: bytes, default: Any = None) -> Any:
            read.add(name)
            return super().get(name, default)

        def __getitem__(self, name: bytes) -> bytes:
            read.add(name)
            return super().__getitem__(name)

        def __contains__(self, name: object) -> bool:
            read.add(name)  # type: ignore[arg-type]
            return super().__contains__(name)

    begin = falcon.asgi.Request.__init__

    def noting(self: falcon.asgi.Request, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        self._asgi_headers = Noting(self._asgi_headers)

    monkeypatch.setattr(falcon.asgi.Request, "__init__", noting)

    async def test(application: Application) -> None:
        for headers in (key, session("u-1"), {}):
            for query in (*QUERIES, "include=extended", "start_date=2026-01-01&compare=previous"):
                answer = await application.get(
                    {**headers, "Accept": "text/csv, */*", "Origin": "https://a.example"}, query
                )
                await application.get({**headers, "If-None-Match": answer.headers.get("etag", "x")}, query)

    run(pool, test, CORS_ORIGINS="https://a.example")
    assert {b"x-api-key", b"cookie", b"accept", b"accept-encoding", b"if-none-match", b"origin"} <= read
    assert read - repeating.DEPENDS_ON - READ_BY_FALCON == {b"x-request-id", b"traceparent"}


def test_what_a_proxy_adds_changes_nothing_and_a_trace_stands_in_its_own_line(
    pool: Pool, key: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Each request may have a trace of its own, and headers that nobody reads."""
    traces = [f"00-{number:032x}-{number:016x}-01" for number in (1, 2)]

    async def test(application: Application) -> None:
        with caplog.at_level(logging.INFO, "access"):
            for number, trace in enumerate([*traces, None]):
                headers = {**key, "CF-Ray": str(number)} | ({} if trace is None else {"traceparent": trace})
                await application.get(headers)
        assert application.sent.count("dashboard") == 1

    run(pool, test)
    lines = [vars(each) for each in caplog.records if each.name == "access"]
    assert [each.get("traceparent") for each in lines[-3:]] == [*traces, None]


def test_an_error_is_sent_to_those_that_wait_for_it_and_never_again(
    pool: Pool, key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that comes after the answer was made, as where no thread is free to compress it."""
    record(pool, 340, *(email_sent(number, campaign_id=number) for number in range(2, 200)))
    project_all(pool)
    packed = {**key, "Accept-Encoding": "gzip"}

    async def test(application: Application) -> None:
        run_in_thread = application.parts.threads.run

        async def busy(work: Any, *arguments: Any) -> Any:
            if work.__name__ == "_pack":
                raise UnavailableError("Too many requests wait, please try again")
            return await run_in_thread(work, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(type(application.parts.threads), "run", lambda _, *arguments: busy(*arguments))
            refused = await asyncio.gather(*(application.get(packed) for _ in range(3)))
        assert [each.status for each in refused] == [503] * 3
        assert (await application.get(packed)).status == 200

    run(pool, test)


def test_a_connection_that_can_not_be_opened_is_an_error_in_our_form(pool: Pool, key: dict[str, str]) -> None:
    """Of each request by its own id, whatever kept the connection from being opened."""

    async def test(application: Application) -> None:
        await application.get(key)
        reads = application.parts.reads
        reads._lose(psycopg.OperationalError("lost"))
        borrow = reads._borrow

        async def busy() -> Any:
            raise UnavailableError("Too many requests wait, please try again")

        reads._borrow = busy
        answers = await asyncio.gather(*(application.get({**key, "X-Request-ID": f"r-{n}"}) for n in range(3)))
        assert [(each.status, each.headers["x-request-id"]) for each in answers] == [(503, f"r-{n}") for n in range(3)]
        reads._borrow = borrow
        assert (await application.get(key)).status == 200

    run(pool, test)


def test_an_answer_that_a_thread_has_read_is_not_kept(pool: Pool, key: dict[str, str]) -> None:
    """Its connection may reach another server than the one that says whether answers hold."""

    async def test(application: Application) -> None:
        sent = []
        for _ in range(3):
            application.sent.clear()
            assert (await application.get(key, "workspace_id=ALL")).status == 200
            sent.append([*application.sent])
        assert sent == [[], ["dashboard"], ["standings"]]  # the first was read by a thread, the second by the loop

    run(pool, test)


def test_rows_that_are_put_back_are_no_rows_of_before(pool: Pool, users: Access, key: dict[str, str]) -> None:
    """The log of access may come to the same head again, where somebody restores its rows under a running service."""

    async def test(application: Application) -> None:
        users.unlink("u-1", 340, "cli:test")
        users.link("u-1", 340, "cli:test")
        for _ in range(3):
            application.sent.clear()
            assert (await application.get(key)).status == 200
        assert application.sent == ["standings"]
        with pool.connection() as connection:
            connection.execute("DELETE FROM workspace_link")
            connection.execute("UPDATE log_head SET head = head WHERE workspace_id = 0")
        assert (await application.get(key)).status == 403

    run(pool, test)


def test_what_the_clock_or_the_platform_ends_is_not_sent_again(pool: Pool, users: Access, key: dict[str, str]) -> None:
    """A key that expires, a session that does, and one whose signing key is withdrawn."""
    expires = clock() + 60_000
    short = users.issue_key("u-1", scopes=["read"], name="", expires_at=expires, by="cli:test").key

    async def test(application: Application) -> None:
        requests = ({"X-API-Key": short}, session("u-1"), key)
        for headers in requests:
            await application.get(headers)
            application.sent.clear()
            assert (await application.get(headers)).status == 200
            assert application.sent == ["standings"]
        application.ahead = 1_000_000_000_000
        assert (await application.get({"X-API-Key": short})).status == 401
        application.sent.clear()
        await application.get(session("u-1"))
        assert application.sent == ["standings", "dashboard"]  # its token is verified again, by the real clock
        application.sent.clear()
        assert (await application.get(key)).status == 200
        assert application.sent == ["standings"]
        application.ahead = 0
        assert application.parts.authentication.sessions is not None
        application.parts.authentication.sessions.keys = FixedKey(secret("another secret of the platform, long enough"))
        assert (await application.get(session("u-1"))).status == 401

    run(pool, test)


def test_the_statement_is_prepared_again_where_somebody_has_deallocated_it(pool: Pool, key: dict[str, str]) -> None:
    """No request notices."""

    async def test(application: Application) -> None:
        answer = await application.get(key)
        await application.get(key)
        await application.parts.reads.rows(Statement("forget", b"DEALLOCATE standings"), {})
        assert own(await application.get(key)) == own(answer)

    run(pool, test)
