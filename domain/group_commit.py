"""Posts to one workspace that arrive together share a transaction: a commit waits for the disk, whatever it holds.

The first thread to come leads: it gets a connection, takes along all that has queued up meanwhile, commits it, and
tells each what became of it. Whoever has queued up in the meantime is led by the first of them. No thread holds a
connection while it is queued, and no workspace waits for another.
"""

from collections import deque
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from itertools import chain, islice
from threading import Lock
from typing import Generic, TypeVar

import psycopg

from domain import ledger
from domain.ledger import Prepared, Recorded
from domain.recorder import Condition, Database

MAX_EVENTS = 10_000  # of one transaction
MAX_BYTES = 5 * 1024 * 1024
WAIT_SECONDS = 5.0  # a post waits no longer for others

W = TypeVar("W")


class QueueTimeoutError(Exception):
    """Others were in the way for too long; sending again helps, and does no harm."""


class GroupCommit(Generic[W]):
    """Records facts, those of several threads in one transaction; `W` is who writes them."""

    def __init__(
        self,
        connection: Callable[[], AbstractContextManager[Database]],
        condition: Callable[[Collection[W]], Condition],
        appended: Callable[[], None] = lambda: None,
    ) -> None:
        """Take where connections come from, what must hold for these writers all to be let in, and whom to tell."""
        self._appended = appended
        self._connection = connection
        self._condition = condition
        self._lock = Lock()  # held for a moment only
        self._queues: dict[int, deque[_Post[W]]] = {}  # of each workspace that somebody leads, who waits

    def record(self, workspace_id: int, prepared: Prepared, writer: W) -> Recorded:
        """Record the facts as `ledger.record_prepared` does, where the condition holds for the writer.

        Raises ConditionError where it does not, QueueTimeoutError, and psycopg's errors. After QueueTimeoutError and
        OperationalError the facts may have been stored all the same; to send them again does no harm.
        """
        post = _Post(prepared, writer)
        with self._lock:
            queue = self._queues.get(workspace_id)
            if queue is None:
                self._queues[workspace_id] = deque()
            else:
                queue.append(post)
        if queue is not None:
            self._wait(queue, post)
        if post.outcome is None:
            self._lead(workspace_id, post)
        if isinstance(post.outcome, Recorded):
            return post.outcome
        if isinstance(post.outcome, Exception):
            raise post.outcome
        with self._connection() as database:
            recorded = ledger.record_prepared(database, workspace_id, prepared, self._condition([writer]))
        self._appended()
        return recorded

    def _wait(self, queue: "deque[_Post[W]]", post: "_Post[W]") -> None:
        """Wait for the outcome, or to be the next to lead."""
        if post.woken.acquire(timeout=WAIT_SECONDS):
            return
        with self._lock:
            if post in queue:
                queue.remove(post)
                raise QueueTimeoutError
        if not post.woken.acquire(timeout=WAIT_SECONDS):  # it is being committed
            raise QueueTimeoutError

    def _lead(self, workspace_id: int, post: "_Post[W]") -> None:
        """Commit a post with all that has queued up, and tell each what became of it."""
        group = [post]
        try:
            with self._connection() as database:
                group += self._taken_along(workspace_id, post)
                self._commit(database, workspace_id, group)
            self._appended()
        except psycopg.OperationalError as error:  # the connection's, or a lock's
            for each in group:
                each.outcome = error
        except Exception as error:  # noqa: BLE001 (whatever it is, it is raised where it belongs)
            for each in group:
                each.outcome = error if len(group) == 1 else _ALONE
        finally:
            self._hand_over(workspace_id)
            for each in group:
                each.outcome = each.outcome or QueueTimeoutError()
                each.woken.release()

    def _taken_along(self, workspace_id: int, post: "_Post[W]") -> "list[_Post[W]]":
        events, size = len(post.prepared.facts), post.size
        taken: list[_Post[W]] = []
        with self._lock:
            queue = self._queues[workspace_id]
            while queue:
                events, size = events + len(queue[0].prepared.facts), size + queue[0].size
                if events > MAX_EVENTS or size > MAX_BYTES:
                    break
                taken.append(queue.popleft())
        return taken

    def _commit(self, database: Database, workspace_id: int, group: "list[_Post[W]]") -> None:
        together = Prepared(
            *(list(chain(*columns)) for columns in zip(*(each.prepared for each in group), strict=True))
        )
        outcomes, position = ledger.record_prepared(
            database, workspace_id, together, self._condition({each.writer for each in group})
        )
        rest = iter(outcomes)
        for each in group:
            each.outcome = Recorded(list(islice(rest, len(each.prepared.facts))), position)

    def _hand_over(self, workspace_id: int) -> None:
        """Let the first of those that have queued up lead the others."""
        with self._lock:
            queue = self._queues[workspace_id]
            if queue:
                queue.popleft().woken.release()
            else:
                del self._queues[workspace_id]


class _Alone:
    """The outcome of a post whose group failed: it is to be tried by itself, so that none pays for another."""


_ALONE = _Alone()


class _Post(Generic[W]):
    """What one thread wants to be recorded. Woken without an outcome, it leads."""

    def __init__(self, prepared: Prepared, writer: W) -> None:
        self.prepared = prepared
        self.writer = writer
        self.size = sum(map(len, prepared.states))
        self.outcome: Recorded | Exception | _Alone | None = None
        self.woken = Lock()
        self.woken.acquire()
