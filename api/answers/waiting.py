"""Requests that wait for their own writes (`min_position`); a waiting request occupies no thread and no connection.

One task a workspace polls the position of its projection: after each hint that it has moved, and in intervals.
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field

import psycopg

from api.answers.projected import Projected
from api.errors import UnavailableError
from projections.pipeline import Pipeline, TooManySentError
from projections.queries import dashboard

WAIT_SECONDS = 5.0
LOOK_SECONDS = 0.25  # between two polls without a hint
MOST_WAITING = 5_000  # requests in one process; the next one is refused at once


@dataclass
class _Watch:
    """The requests that wait for one workspace."""

    moved: asyncio.Event = field(default_factory=asyncio.Event)
    readers: list[tuple[int, asyncio.Future[None]]] = field(default_factory=list)  # each with its position


class Waiting:
    """The requests that wait in one process."""

    def __init__(self, pipeline: Pipeline, projected: Projected) -> None:
        """Take the connection to query with, and the hints."""
        self._pipeline = pipeline
        self._projected = projected
        projected.call(self._on_moved)
        self._watches: dict[int, _Watch] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._number = 0

    @property
    def number(self) -> int:
        """Return how many requests wait."""
        return self._number

    async def until(self, workspace_id: int, min_position: int) -> None:
        """Wait until the projection of a workspace has reached a position.

        Raises UnavailableError where that takes too long, the projection is stuck or too many requests wait, and
        psycopg's errors.
        """
        if self._number >= MOST_WAITING:
            raise UnavailableError("Too many requests wait for the projection, please try again")
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        watch = self._watches.get(workspace_id)
        if watch is None:
            watch = self._watches[workspace_id] = _Watch()
            task = asyncio.ensure_future(self._follow(workspace_id, watch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        watch.readers.append((min_position, reached))
        watch.moved.set()
        self._number += 1
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await reached
        except TimeoutError as error:
            raise UnavailableError("The projection has not come so far yet, please try again") from error
        finally:
            self._number -= 1

    def _on_moved(self, workspaces: Collection[int] | None) -> None:
        for each in list(self._watches) if workspaces is None else workspaces:
            watch = self._watches.get(each)
            if watch is not None:
                watch.moved.set()

    async def _follow(self, workspace_id: int, watch: _Watch) -> None:
        """Poll until no request waits for the workspace any more."""
        try:
            await self._projected.listen()
            while watch.readers:
                watch.moved.clear()
                position, stuck = await dashboard.ask_how_far(self._pipeline, workspace_id)
                for min_position, reader in watch.readers:
                    if not reader.done() and position >= min_position:
                        reader.set_result(None)
                    elif not reader.done() and stuck:
                        reader.set_exception(UnavailableError("The projection of this workspace is stuck"))
                watch.readers = [each for each in watch.readers if not each[1].done()]
                if watch.readers:
                    try:
                        async with asyncio.timeout(LOOK_SECONDS):
                            await watch.moved.wait()
                    except TimeoutError:
                        pass  # a look without a hint
        except (psycopg.Error, TooManySentError) as error:
            for _, reader in watch.readers:
                if not reader.done():
                    reader.set_exception(error)
        finally:
            del self._watches[workspace_id]
