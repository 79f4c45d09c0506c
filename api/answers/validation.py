"""Whether answers that were sent before still hold: one small statement answers that for all requests of a few ticks.

An answer depends on the bytes of its request, on who may see what, and on how far the asked workspaces are projected.
No change of access is without an event in the log of access, written in the same transaction, so the head of that log
stands for all of it.
"""

import asyncio
from collections.abc import Collection
from typing import NamedTuple

from projections.pipeline import Pipeline
from projections.queries.standing import Standing, ask_standings

# Ticks of the loop, which takes requests in each: the more of them share a statement, the less each of them costs.
GATHERING_TICKS = 2


class AccessMark(NamedTuple):
    """How far the log of access goes, as one connection has seen it, and which transaction has written that.

    A connection that is lost may be followed by one to a server with another past, where the same numbers mean another
    thing; so the mark has the connection's number. Where rows were put back, the same head has another transaction.
    """

    connection: int
    epoch: int | None
    head: int | None
    transaction: int | None


class Marks(NamedTuple):
    """What decides about answers, of one snapshot; without the mark of access none holds."""

    access: AccessMark | None
    standings: dict[int, Standing]  # by workspace


class Validation:
    """Asks for marks, on the event loop."""

    def __init__(self, reads: Pipeline) -> None:
        """Take the loop's connection."""
        self._reads = reads
        self._workspace_ids: set[int] = set()
        self._waiting: list[asyncio.Future[Marks]] = []
        self._asking: set[asyncio.Task[None]] = set()
        self._access: AccessMark | None = None  # the latest one

    async def access(self) -> AccessMark | None:
        """Return a mark of access that is not newer than what is read from now on; None where there can't be one.

        Raises what `Pipeline.rows` raises.
        """
        if self._access is None:
            await self.marks(())
        return self._access

    async def marks(self, workspace_ids: Collection[int]) -> Marks | None:
        """Return the marks of these workspaces, of a snapshot that is made after this call.

        None where Citus distributes the database: the log of access and the workspaces are on several nodes there.
        Raises what `Pipeline.rows` raises.
        """
        if await self._reads.is_distributed():
            return None
        loop = asyncio.get_running_loop()
        coming: asyncio.Future[Marks] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._ask_after, GATHERING_TICKS)
        self._waiting.append(coming)
        self._workspace_ids.update(workspace_ids)
        return await coming

    def _ask_after(self, ticks: int) -> None:
        loop = asyncio.get_running_loop()
        if ticks:
            loop.call_soon(self._ask_after, ticks - 1)
            return
        waiting, self._waiting = self._waiting, []
        workspace_ids, self._workspace_ids = self._workspace_ids, set()
        asking = loop.create_task(self._ask(sorted(workspace_ids), waiting))
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)

    async def _ask(self, workspace_ids: list[int], waiting: list[asyncio.Future[Marks]]) -> None:
        try:
            marks = await self._marks(workspace_ids)
        except asyncio.CancelledError:
            for each in waiting:
                each.cancel()
            raise
        except Exception as error:  # noqa: BLE001 (it is raised in each request that waits)
            for each in waiting:
                if not each.done():
                    each.set_exception(error)
            return
        for each in waiting:
            if not each.done():
                each.set_result(marks)

    async def _marks(self, workspace_ids: list[int]) -> Marks:
        connection = self._reads.opened
        log, standings = await ask_standings(self._reads, workspace_ids)
        is_the_same = connection == self._reads.opened  # else nobody knows which one has answered
        self._access = AccessMark(connection, *log) if is_the_same else None
        return Marks(self._access, {each.workspace_id: each for each in standings})
