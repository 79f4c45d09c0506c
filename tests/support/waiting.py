"""Waits for what comes about elsewhere, on a thread or on an event loop, and never longer than a test may take."""

import asyncio
import time
from collections.abc import Callable
from threading import Event


def wait_for(condition: Callable[[], bool], seconds: float = 20, *, pause_seconds: float = 0.02) -> None:
    """Wait for something that comes about elsewhere, and fail where it does not."""
    until = time.monotonic() + seconds
    pause = Event()
    while not condition():
        assert time.monotonic() < until, "it did not come about in time"
        pause.wait(pause_seconds)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that comes about elsewhere, while the event loop goes on."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 (there is no event to wait for)
            await asyncio.sleep(0.01)
