"""Shows that a stream whose reader has gone is forgotten, and that a process holds so many and no more."""

import asyncio
from typing import Any, NoReturn

import pytest

from api import threads
from api.answers import streams
from api.app import create_app
from api.dependencies import Parts
from domain.recorder import Pool
from projections.pipeline import TooManySentError
from service import settings
from service.web.application import make_parts
from tests.support.examples import JWT_SECRET, api_key
from tests.support.on_a_loop import scope_of

PATH = "/api/v1/dashboard/campaign-analytics/stream/"


@pytest.fixture
def parts(pool: Pool) -> Parts:
    """Give the parts of an application around a database."""
    environment = {"JWT_SECRET": JWT_SECRET, "DATABASE_URL": "postgresql://unused"}
    return make_parts(pool, settings.from_environment(environment), {})


class Call:
    """A call of the application as a server makes it, whose messages are kept."""

    def __init__(self, parts: Parts, headers: dict[str, str]) -> None:
        """Begin it, on the event loop."""
        self._sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        scope = scope_of(PATH, headers, "workspace_id=ALL")
        self.task = asyncio.ensure_future(create_app(parts)(scope, self._receive, self._sent.put))

    async def _receive(self) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def message(self) -> dict[str, Any]:
        """Wait for the next message of the application."""
        async with asyncio.timeout(10):
            return await self._sent.get()


def test_a_stream_is_forgotten_when_its_reader_goes(parts: Parts) -> None:
    """The server then ends the call."""
    key = api_key(parts.users, 1, 2)

    async def look() -> None:
        call = Call(parts, key)
        assert (await call.message())["status"] == 200
        assert (await call.message())["body"].count(b"event: position") == 2
        assert len(parts.streams) == 1
        call.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call.task
        assert len(parts.streams) == 0
        parts.close()

    asyncio.run(look())


def test_one_stream_more_than_a_process_holds_is_refused(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a 503; and so is each one once the process is about to end, which ends those that are open."""
    monkeypatch.setattr(streams, "MOST_STREAMS", 1)
    key = api_key(parts.users, 1)

    async def look() -> None:
        first, second = Call(parts, key), None
        await first.message()
        await first.message()
        second = Call(parts, key)
        assert (await second.message())["status"] == 503
        parts.streams.close()
        assert await first.message() == {"type": "http.response.body"}
        await first.task
        assert len(parts.streams) == 0
        third = Call(parts, key)
        assert (await third.message())["status"] == 503
        await asyncio.gather(second.task, third.task)
        parts.close()

    asyncio.run(look())


def test_streams_end_when_no_thread_is_free_to_connect_to_the_database(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their readers come again, and then get what a new one gets: nobody is left with a stream that says nothing."""
    monkeypatch.setattr(streams, "ACCESS_SECONDS", 0.1)
    monkeypatch.setattr(streams, "LOOK_SECONDS", 0.05)
    key = api_key(parts.users, 1)

    async def look() -> None:
        first = Call(parts, key)
        await first.message()
        await first.message()
        with monkeypatch.context() as patched:
            patched.setattr(threads, "MOST_WAITING", 0)
            parts.reads.close()  # the connection is lost
            assert await first.message() == {"type": "http.response.body"}
            await first.task
            with pytest.raises(TooManySentError):
                await parts.reads.is_distributed()
            refused = Call(parts, key)
            assert (await refused.message())["status"] == 503
            await refused.task
        second = Call(parts, key)
        assert (await second.message())["status"] == 200
        assert b"event: position" in (await second.message())["body"]
        parts.streams.close()
        await second.task
        parts.close()

    asyncio.run(look())


def test_streams_end_where_what_keeps_them_up_to_date_fails(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is: else they would say nothing any more."""
    key = api_key(parts.users, 1)

    def fail(_: object, __: float) -> NoReturn:
        raise ValueError("a defect")

    async def look() -> None:
        call = Call(parts, key)
        await call.message()
        await call.message()
        following = parts.streams._following
        assert following is not None
        monkeypatch.setattr(streams.Streams, "_due", fail)
        parts.streams._hinted.set()
        assert await call.message() == {"type": "http.response.body"}
        await call.task
        with pytest.raises(ValueError, match="a defect"):
            await following
        parts.close()

    asyncio.run(look())


def test_a_silent_stream_sends_comments(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """At least every fifteen seconds, so that no proxy closes the stream as idle."""
    assert streams.COMMENT_SECONDS + streams.LOOK_SECONDS <= 15
    monkeypatch.setattr(streams, "COMMENT_SECONDS", 0.1)
    monkeypatch.setattr(streams, "LOOK_SECONDS", 0.05)
    key = api_key(parts.users, 1)

    async def look() -> None:
        call = Call(parts, key)
        await call.message()
        assert b"event: position" in (await call.message())["body"]
        for _ in range(2):
            assert (await call.message())["body"] == b":\n\n"
        parts.streams.close()
        await call.task
        parts.close()

    asyncio.run(look())


def test_of_more_streams_than_a_statement_takes_each_has_its_turn(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also beside some that are always due, the access of the last one is asked again."""
    monkeypatch.setattr(streams, "MOST_AT_ONCE", 1)
    for name in ("SPACING_SECONDS", "ACCESS_SECONDS", "TICK_SECONDS"):
        monkeypatch.setattr(streams, name, 0.0)
    keys = [api_key(parts.users, 1, user=f"u-{number}") for number in range(3)]

    async def look() -> None:
        calls = [Call(parts, key) for key in keys]
        for call in calls:
            await call.message()
            assert b"event: position" in (await call.message())["body"]
        await asyncio.to_thread(parts.users.unlink, "u-2", 1, "cli:test")
        assert b"event: end" in (await calls[2].message())["body"]
        parts.streams.close()
        await asyncio.gather(*(call.task for call in calls))
        parts.close()

    asyncio.run(look())
