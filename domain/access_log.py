"""Log 0, which no workspace has: the aggregates of users, workspaces and hooks, and rows of the same transaction."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.persistence import ApplicationRecorder, StoredEvent
from eventsourcing.utils import Environment, EnvType

from domain.recorder import Database, Pool, WorkspaceRecorder

ACCESS_LOG = 0  # workspaces begin at 1


class AccessApplication(Application[UUID]):
    """An application whose aggregates are in log 0; each change takes effect in the rows of the same transaction."""

    kinds: ClassVar[tuple[type, ...]]  # of events that change rows

    def __init__(
        self, pool: Pool, project: Callable[[Database, Iterable[Any]], None], clock: Callable[[], int]
    ) -> None:
        """Take the pool, what writes the rows that requests are checked against, and the clock (ms, UTC)."""
        self._pool = pool
        self._project = project
        self._clock = clock
        super().__init__()

    def construct_env(self, name: str, env: EnvType | None = None) -> Environment:
        """Leave the process's environment out: everything is handed in."""
        return Environment(name, env)

    def construct_recorder(self) -> ApplicationRecorder:
        """Record in log 0, and write the rows in the same transaction."""
        return WorkspaceRecorder(self._pool, ACCESS_LOG, also=self._write_rows)

    def _write_rows(self, database: Database, stored: Sequence[StoredEvent]) -> None:
        events = (self.mapper.to_domain_event(each) for each in stored)
        self._project(database, (each for each in events if isinstance(each, self.kinds)))
