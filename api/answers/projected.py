"""One process's hints that projections have moved, for everything in it that waits for a projection."""

from collections.abc import Callable, Collection

from projections.building.wakeup import LISTEN_PROJECTED
from projections.pipeline import Pipeline

Moved = Callable[[Collection[int] | None], None]  # takes the workspaces that have moved, None for any of them


class Projected:
    """The listeners that are called with each hint."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Take the connection on which hints arrive."""
        self._pipeline = pipeline
        self._listeners: list[Moved] = []
        pipeline.on_notify = self._on_notify

    def call(self, listener: Moved) -> None:
        """Add a listener, called with each hint from now on."""
        self._listeners.append(listener)

    async def listen(self) -> None:
        """Subscribe the present connection to the hints; raises what `Pipeline.rows` raises."""
        await self._pipeline.rows(LISTEN_PROJECTED, {})

    def _on_notify(self, payload: str) -> None:
        moved = {int(each) for each in payload.split(",")} if payload else None
        for listener in self._listeners:
            listener(moved)
