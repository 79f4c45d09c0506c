"""Shows that work beside the event loop is bounded: in threads, in how long a request waits for one, in how many do."""

import asyncio
from collections.abc import Callable, Coroutine
from threading import Event, Lock
from typing import Any

import pytest

from api import threads
from api.errors import UnavailableError
from api.threads import Threads


def beside_busy(test: Callable[[Threads], Coroutine[Any, Any, None]]) -> None:
    """Run a test's coroutine while the only thread is at work, and let that work end afterwards."""

    async def run() -> None:
        one, begun, end = Threads(1), asyncio.Event(), Event()
        loop = asyncio.get_running_loop()

        def work() -> str:
            loop.call_soon_threadsafe(begun.set)
            assert end.wait(20)
            return "done"

        busy = asyncio.ensure_future(one.run(work))
        await begun.wait()
        try:
            await test(one)
        finally:
            end.set()
            assert await busy == "done", "work that has begun comes to its end"
            assert await one.run(lambda: "next") == "next"
            one.close()

    asyncio.run(run())


def test_a_request_waits_only_so_long_for_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it wanted done is not done later, either."""
    monkeypatch.setattr(threads, "WAIT_SECONDS", 0.05)
    called = Event()

    async def test(one: Threads) -> None:
        with pytest.raises(UnavailableError):
            await one.run(called.set)

    beside_busy(test)
    assert not called.is_set()


def test_a_caller_that_gives_up_is_cancelled_and_not_refused() -> None:
    """Its work is dropped while no thread has begun with it."""
    called = Event()

    async def test(one: Threads) -> None:
        waiting = asyncio.ensure_future(one.run(called.set))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    beside_busy(test)
    assert not called.is_set()


def test_too_many_requests_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one at work counts too."""
    monkeypatch.setattr(threads, "MOST_WAITING", 2)

    async def test(one: Threads) -> None:
        waiting = asyncio.ensure_future(one.run(lambda: None))
        await asyncio.sleep(0)
        with pytest.raises(UnavailableError):
            await one.run(lambda: None)
        waiting.cancel()

    beside_busy(test)


def test_large_work_leaves_a_thread_for_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where callers give up: their work goes on, and counts until it has ended. Too many callers are refused."""
    monkeypatch.setattr(threads, "MOST_LARGE", 2)
    working, most, lock, end = 0, 0, Lock(), Event()
    both_work: list[Callable[[], object]] = []

    def work() -> None:
        nonlocal working, most
        with lock:
            working += 1
            most = max(most, working)
            if working == 2:
                both_work[0]()
        assert end.wait(20)
        with lock:
            working -= 1

    async def test() -> None:
        three, loop, both = Threads(3), asyncio.get_running_loop(), asyncio.Event()
        both_work.append(lambda: loop.call_soon_threadsafe(both.set))
        tasks = [asyncio.ensure_future(three.run_large(work)) for _ in range(4)]
        await both.wait()
        assert await three.run(lambda: "small") == "small"
        tasks[0].cancel()
        await asyncio.sleep(0)
        with pytest.raises(UnavailableError):
            await three.run_large(work)
        assert (working, await three.run(lambda: "small")) == (2, "small")
        end.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await three.run_large(lambda: "next") == "next"
        three.close()

    asyncio.run(test())
    assert most == 2
