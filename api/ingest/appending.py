"""Group commit: small posts to one workspace that arrive together share an append, since a commit waits for the disk.

Posts queue by workspace. Each free connection takes one workspace's queue, up to a limit, and commits it in one
statement; what arrives meanwhile is the next group. All of it runs on the event loop, so nothing is locked.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

import psycopg
from psycopg.errors import UniqueViolation

from api.ingest.formats import MAX_BODY_BYTES, MAX_EVENTS
from domain import ledger
from domain.ledger import Prepared, Recorded
from domain.recorder import Condition, ConditionError, Database, parameters
from projections.pipeline import Pipeline
from projections.queries.caller import Credentials
from projections.statements import Statement

if TYPE_CHECKING:
    from opentelemetry.trace import Span

# Posts that share a transaction are together no larger than the largest single one.
MAX_GROUP_EVENTS, MAX_GROUP_BYTES = MAX_EVENTS, MAX_BODY_BYTES
WAIT_SECONDS = 5.0  # a post waits no longer for others,
LOOK_SECONDS = 0.25  # or so much longer: it is noticed at the next look
MOST_WAITING = 10_000  # posts in one process; the next one is refused at once


Record = Callable[[Database, int, Prepared, Condition], Recorded]


class QueueTimeoutError(Exception):
    """The post waited too long for other posts; sending it again is safe and helps."""


class Traced(NamedTuple):
    """A post that is traced: its request's span, when its append began (ns since 1970), how many events it has."""

    span: "Span"
    began: int
    events: int


class Commit(NamedTuple):
    """A transaction that has appended events of so many posts to a log, which ends at `position` now."""

    workspace_id: int
    position: int
    events: int
    posts: int
    traced: Sequence[Traced]


@dataclass(eq=False)
class _Post:
    """A post that waits for its commit."""

    prepared: Prepared
    writer: Credentials
    bytes: int
    since: float  # seconds of the loop's clock
    recorded: asyncio.Future[Recorded]
    traced: Traced | None


class Appending:
    """The posts that wait in one process, and the connections that commit them."""

    def __init__(
        self,
        pipelines: Sequence[Pipeline],
        statement: Statement,
        condition: Callable[[Collection[Credentials]], Mapping[str, object]],
        in_thread: Callable[[Record, int, Prepared, Collection[Credentials]], Awaitable[Recorded]],
        committed: Callable[[Commit], None],
    ) -> None:
        """Take the connections and statements to append with.

        `statement` is the append with a condition on the writers, whose parameters `condition` returns; `in_thread`
        calls a function of the ledger on the same condition; `committed` is called after each commit.
        """
        self._free = list(pipelines)
        self._statement = statement
        self._condition = condition
        self._in_thread = in_thread
        self._committed = committed
        self._queues: dict[int, deque[_Post]] = {}  # of each workspace with posts, waiting or being committed
        self._turns: deque[int] = deque()  # workspaces with posts that no connection is at work on
        self._waiting = 0
        self._pending: dict[_Post, None] = {}  # whose callers wait, the oldest first
        self._watch: asyncio.TimerHandle | None = None
        self._scheduled = False
        self._commits: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Return how many posts wait for their turn."""
        return self._waiting

    async def record(
        self, workspace_id: int, prepared: Prepared, writer: Credentials, traced: Traced | None = None
    ) -> Recorded:
        """Record events as `ledger.record_prepared` does, where the writer may write to the workspace.

        Raises ConditionError where the writer may not, QueueTimeoutError, and psycopg's errors. After
        QueueTimeoutError and OperationalError the events may have been stored all the same.
        """
        loop = asyncio.get_running_loop()
        queue = self._queues.get(workspace_id)
        if queue is None:
            queue = self._queues[workspace_id] = deque()
            self._turns.append(workspace_id)
        while queue and queue[0].recorded.done():  # its caller has given up
            queue.popleft()
            self._waiting -= 1
        if self._waiting >= MOST_WAITING or (queue and loop.time() - queue[0].since > WAIT_SECONDS / 2):
            raise QueueTimeoutError
        post = _Post(prepared, writer, sum(map(len, prepared.states)), loop.time(), loop.create_future(), traced)
        queue.append(post)
        self._waiting += 1
        if not self._scheduled:  # posts that came in the same tick of the loop go together
            self._scheduled = True
            loop.call_soon(self._begin)
        self._pending[post] = None
        if self._watch is None:
            self._watch = loop.call_later(LOOK_SECONDS, self._check_overdue)
        try:
            return await post.recorded
        finally:
            del self._pending[post]

    def _check_overdue(self) -> None:
        """Let posts that have waited too long wait no longer: one timer for all, where each would need its own."""
        self._watch = None
        loop = asyncio.get_running_loop()
        for post in self._pending:  # the oldest first
            if loop.time() - post.since <= WAIT_SECONDS:
                break
            if not post.recorded.done():
                post.recorded.set_exception(QueueTimeoutError())
        if self._pending:
            self._watch = loop.call_later(LOOK_SECONDS, self._check_overdue)

    def _begin(self) -> None:
        self._scheduled = False
        while self._free and self._turns:
            commit = asyncio.ensure_future(self._commit_next(self._free.pop(), self._turns.popleft()))
            self._commits.add(commit)
            commit.add_done_callback(self._commits.discard)

    async def _commit_next(self, pipeline: Pipeline, workspace_id: int) -> None:
        """Commit one group of a workspace; the next group takes any free connection."""
        try:
            group = self._next_group(workspace_id)
            if group:
                await self._commit(pipeline, workspace_id, group)
        finally:
            if self._queues[workspace_id]:
                self._turns.append(workspace_id)
            else:
                del self._queues[workspace_id]
            self._free.append(pipeline)
            self._begin()

    def _next_group(self, workspace_id: int) -> list[_Post]:
        """Take the posts that share the next transaction, without those whose callers have given up."""
        queue, group, events, size = self._queues[workspace_id], list[_Post](), 0, 0
        while queue:
            events, size = events + len(queue[0].prepared.events), size + queue[0].bytes
            if group and (events > MAX_GROUP_EVENTS or size > MAX_GROUP_BYTES):
                break
            post = queue.popleft()
            self._waiting -= 1
            if not post.recorded.done():
                group.append(post)
        return group

    async def _commit(self, pipeline: Pipeline, workspace_id: int, group: list[_Post]) -> None:
        """Commit a group and answer its posts; a group that is refused is tried again post by post."""
        together = group[0].prepared
        if len(group) > 1:
            columns = zip(*(each.prepared for each in group), strict=True)
            together = Prepared(*(list(chain(*column)) for column in columns))
        try:
            recorded = await self._append(pipeline, workspace_id, together, {each.writer for each in group})
        except Exception as error:  # noqa: BLE001 (whatever it is, it is raised where the post is awaited)
            if len(group) > 1 and not isinstance(error, psycopg.OperationalError):
                for each in group:
                    await self._commit(pipeline, workspace_id, [each])
                return
            for each in group:  # a lost connection, or a head that stays locked, is the same for all
                if not each.recorded.done():
                    each.recorded.set_exception(error)
            return
        rest = iter(recorded.outcomes)
        for each in group:
            outcomes = list(islice(rest, len(each.prepared.events)))
            if not each.recorded.done():
                each.recorded.set_result(Recorded(outcomes, recorded.position))
        traced = [each.traced for each in group if each.traced is not None]
        self._committed(Commit(workspace_id, recorded.position, len(together.events), len(group), traced))

    async def _append(
        self, pipeline: Pipeline, workspace_id: int, prepared: Prepared, writers: Collection[Credentials]
    ) -> Recorded:
        if await pipeline.is_distributed():  # Citus takes no append in one statement
            return await self._in_thread(ledger.record_prepared, workspace_id, prepared, writers)
        distinct = ledger.without_repeats(prepared)
        values = {**parameters(workspace_id, ledger.rows(distinct)), **self._condition(writers)}
        try:
            rows = await pipeline.rows(self._statement, values)
        except UniqueViolation:
            return await self._in_thread(ledger.record_carefully, workspace_id, prepared, writers)
        if not rows:
            raise ConditionError
        return ledger.all_new(prepared, distinct, int(rows[0][0]))
