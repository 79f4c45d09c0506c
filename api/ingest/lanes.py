"""Lanes of small posts: what arrives while a commit waits for the disk is the lane's next group.

One lane is everybody's: its group is appended to many workspaces in one transaction, which waits for no lock. Posts
that it can't take at once, and many posts to one workspace, wait in a lane of that workspace, which exists for as long
as posts come. Everybody's lane has a connection of its own, so that no workspace holds up others. All of it runs on
the event loop.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from domain.ledger import Prepared, Recorded
from projections.pipeline import Pipeline
from projections.queries.caller import Credentials

if TYPE_CHECKING:
    from opentelemetry.trace import Span

MAX_GROUP_BYTES = 32 * 1024  # of posts that share a transaction: as they are parsed in one go, on the event loop
MAX_SHARED_BYTES = 4 * 1024  # of a post in everybody's lane
WAIT_SECONDS = 5.0  # a post waits no longer for others,
LOOK_SECONDS = 0.25  # or so much longer: it is noticed at the next look
MOST_WAITING = 10_000  # posts in one process; the next one is refused at once
# After a commit of several posts, the next one waits for as many again, but no longer than so: senders that were
# answered post again at once, and each post costs less in a larger commit. One that is alone waits for nobody.
GATHERING_SECONDS = 0.005


class QueueTimeoutError(Exception):
    """The post waited too long for other posts; sending it again is safe and helps."""


class Traced(NamedTuple):
    """A post that is traced: its request's span, when its append began (ns since 1970), its workspace and events."""

    span: "Span"
    began: int
    workspace_id: int
    events: int


@dataclass(eq=False)
class Post:
    """A post that waits for its commit."""

    workspace_id: int
    prepare: Callable[[], Prepared]
    bytes: int
    writer: Credentials
    traced: Traced | None
    since: float  # seconds of the loop's clock
    recorded: asyncio.Future[Recorded]
    _prepared: Prepared | None = None

    @property
    def prepared(self) -> Prepared:
        """Return its events, prepared the first time; raise what `prepare` raises."""
        if self._prepared is None:
            self._prepared = self.prepare()
        return self._prepared

    def answer(self, recorded: Recorded) -> None:
        """Let the caller have the outcome, unless they have given up."""
        if not self.recorded.done():
            self.recorded.set_result(recorded)

    def fail(self, error: Exception) -> None:
        """Let the caller have an error, unless they have given up."""
        if not self.recorded.done():
            self.recorded.set_exception(error)


# Commits a group of everybody's lane, or (True) of one workspace, and returns the posts that it has left undone; the
# last argument is called where the rest of the work needs the connection no more.
CommitGroup = Callable[[Pipeline, list[Post], bool, Callable[[], None]], Awaitable[list[Post]]]


class _Connections:
    """Connections that are free, and the lanes that wait for one."""

    def __init__(self, pipelines: Sequence[Pipeline]) -> None:
        """Take the connections."""
        self.free = list(pipelines)
        self.turns: deque[_Lane] = deque()


class _Lane:
    """Posts to one workspace, or (None) to any, the oldest first."""

    def __init__(self, workspace_id: int | None, connections: _Connections) -> None:
        """Take the workspace, and the connections to commit on."""
        self.workspace_id = workspace_id
        self.connections = connections
        self.posts: deque[Post] = deque()
        self.at_work = False  # in the turns, or being committed
        self.expected = 0  # so many posts are waited for
        self.gathering: asyncio.TimerHandle | None = None  # until this fires; None: nothing is waited for


class Lanes:
    """The posts that wait in one process."""

    def __init__(self, pipelines: Sequence[Pipeline], commit_group: CommitGroup) -> None:
        """Take the connections, at least two, and what commits a group on one."""
        shared, *own = pipelines
        self._shared = _Lane(None, _Connections([shared]))
        self._own_connections = _Connections(own)
        self._own: dict[int, _Lane] = {}  # by workspace
        self._commit_group = commit_group
        self._waiting = 0
        self._pending: dict[Post, None] = {}  # whose callers wait, the oldest first
        self._watch: asyncio.TimerHandle | None = None
        self._commits: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Return how many posts wait for their turn."""
        return self._waiting

    async def record(
        self,
        workspace_id: int,
        prepare: Callable[[], Prepared],
        size: int,
        writer: Credentials,
        traced: Traced | None = None,
    ) -> Recorded:
        """Record events as `ledger.record_prepared` does, where the writer may write to the workspace.

        `prepare` is called when it is the post's turn, right after those of the posts before it, and returns the events
        of its `size` bytes: the same code for one post after the other takes half the time.

        Raises ConditionError where the writer may not, QueueTimeoutError, psycopg's errors, and what `prepare` raises.
        After QueueTimeoutError and OperationalError the events may have been stored all the same.
        """
        loop = asyncio.get_running_loop()
        lane = self._own.get(workspace_id)
        if lane is None:
            lane = self._shared if size <= MAX_SHARED_BYTES else self._lane_of(workspace_id)
        posts = lane.posts
        while posts and posts[0].recorded.done():  # its caller has given up
            posts.popleft()
            self._waiting -= 1
        if self._waiting >= MOST_WAITING or (posts and loop.time() - posts[0].since > WAIT_SECONDS / 2):
            raise QueueTimeoutError
        post = Post(workspace_id, prepare, size, writer, traced, loop.time(), loop.create_future())
        self._queue(lane, post)
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
            post.fail(QueueTimeoutError())
        if self._pending:
            self._watch = loop.call_later(LOOK_SECONDS, self._check_overdue)

    def _lane_of(self, workspace_id: int) -> _Lane:
        lane = self._own.get(workspace_id)
        if lane is None:
            lane = self._own[workspace_id] = _Lane(workspace_id, self._own_connections)
        return lane

    def _queue(self, lane: _Lane, post: Post) -> None:
        """Let a post wait in a lane, and the lane for its turn, unless it is at work or waits for more posts."""
        lane.posts.append(post)
        self._waiting += 1
        if lane.gathering is not None:
            if len(lane.posts) >= lane.expected:
                self._end_gathering(lane)
        elif not lane.at_work:
            self._take_turn(lane)

    def _take_turn(self, lane: _Lane) -> None:
        lane.at_work = True
        lane.connections.turns.append(lane)
        # Posts that come in the same tick of the loop go together.
        asyncio.get_running_loop().call_soon(self._begin, lane.connections)

    def _begin(self, connections: _Connections) -> None:
        while connections.free and connections.turns:
            commit = asyncio.ensure_future(self._commit_next(connections.free.pop(), connections.turns.popleft()))
            self._commits.add(commit)
            commit.add_done_callback(self._commits.discard)

    async def _commit_next(self, pipeline: Pipeline, lane: _Lane) -> None:
        """Commit one group of a lane; the next group takes any free connection."""
        group, left, held = self._next_group(lane), list[Post](), True

        def give_back() -> None:
            nonlocal held
            if held:
                held = False
                lane.connections.free.append(pipeline)
                self._begin(lane.connections)

        try:
            if group:
                left = await self._commit_group(pipeline, group, lane.workspace_id is not None, give_back)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is raised where the posts are awaited)
            for post in group:
                post.fail(error)
        finally:
            lane.at_work = False
            for post in left:
                self._queue(self._lane_of(post.workspace_id), post)
            committed = len(group) - len(left)
            if committed > 1:
                lane.expected = len(lane.posts) + committed
                loop = asyncio.get_running_loop()
                lane.gathering = loop.call_later(GATHERING_SECONDS, self._end_gathering, lane)
            else:
                self._end_gathering(lane)
            give_back()

    def _end_gathering(self, lane: _Lane) -> None:
        """Wait for no more posts: the lane takes its turn; one of a workspace without any is no longer needed."""
        if lane.gathering is not None:
            lane.gathering.cancel()
            lane.gathering = None
        if lane.posts:
            self._take_turn(lane)
        elif lane.workspace_id is not None:
            del self._own[lane.workspace_id]

    def _next_group(self, lane: _Lane) -> list[Post]:
        """Take and prepare the posts that share the next transaction, without those whose callers have given up."""
        group, size = list[Post](), 0
        while lane.posts:
            size += lane.posts[0].bytes
            if group and size > MAX_GROUP_BYTES:
                break
            post = lane.posts.popleft()
            self._waiting -= 1
            if post.recorded.done():
                continue
            try:
                post.prepared  # noqa: B018 (it may raise)
            except Exception as error:  # noqa: BLE001 (whatever it is, it is raised where the post is awaited)
                post.fail(error)
            else:
                group.append(post)
        return group
