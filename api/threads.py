"""The few threads beside the event loop, for what takes more than about a millisecond or waits for the database."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from api.errors import UnavailableError

WAIT_SECONDS = 5.0  # a request waits no longer for a thread
MOST_WAITING = 1_000  # requests for a thread; the next one is refused at once
MOST_LARGE = 16  # requests for single journeys that wait in one process; the next one is refused at once

P = ParamSpec("P")
R = TypeVar("R")
_BUSY = "Too many requests wait, please try again"


class Threads:
    """So many threads; they begin with the first work."""

    def __init__(self, number: int) -> None:
        """Take how many."""
        self._executor = ThreadPoolExecutor(number, "beside-the-loop")
        self._waiting = 0
        self._large = asyncio.Semaphore(max(1, number - 1))
        self._large_waiting = 0
        self.loop: asyncio.AbstractEventLoop  # that submits work, for a thread that needs it

    @property
    def waiting(self) -> int:
        """Return how many requests wait for a thread, or are at work in one."""
        return self._waiting

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function in a thread, and return or raise what it does; UnavailableError where none is free in time.

        Where the caller is cancelled, work that has begun goes on to its end.
        """
        if self._waiting >= MOST_WAITING:
            raise UnavailableError(_BUSY)
        loop = self.loop = asyncio.get_running_loop()
        self._waiting += 1
        begun = self._executor.submit(partial(work, *args, **kwargs))
        overdue = loop.call_later(WAIT_SECONDS, begun.cancel)  # does nothing once the work has begun
        try:
            return await asyncio.wrap_future(begun)
        except asyncio.CancelledError:
            if begun.cancelled() and loop.time() >= overdue.when():
                raise UnavailableError(_BUSY) from None
            raise
        finally:
            overdue.cancel()
            self._waiting -= 1

    async def run_large(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do what `run` does with work that takes long: at least one thread of several is left for everything else.

        UnavailableError, at once where `MOST_LARGE` callers wait already.
        """
        if self._large_waiting >= MOST_LARGE:
            raise UnavailableError(_BUSY)
        self._large_waiting += 1
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._large.acquire()
        except TimeoutError as error:
            raise UnavailableError(_BUSY) from error
        finally:
            self._large_waiting -= 1
        loop, begun = asyncio.get_running_loop(), False

        def work_and_release() -> R:
            nonlocal begun
            begun = True
            try:
                return work(*args, **kwargs)
            finally:
                loop.call_soon_threadsafe(self._large.release)

        try:
            return await self.run(work_and_release)
        finally:
            if not begun:  # else the work goes on to its end, also where the caller has gone
                self._large.release()

    def responder(self, work: Callable[..., None]) -> Callable[..., Any]:
        """Return a resource's synchronous responder as one that works in a thread."""

        async def respond(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (Falcon's)
            await self.run(work, *args, **kwargs)

        return respond

    def close(self) -> None:
        """End; what has begun comes to its end."""
        self._executor.shutdown(cancel_futures=True)
