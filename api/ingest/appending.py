"""Group commit: small posts that arrive together share an append, since a commit waits for the disk."""

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from typing import NamedTuple

from psycopg import OperationalError
from psycopg.errors import UniqueViolation

from api.errors import UnavailableError
from api.ingest.lanes import Post, Traced
from domain import ledger
from domain.ledger import Prepared, Recorded
from domain.recorder import Condition, ConditionError, Database, parameters
from domain.several_logs import parameters_of_several
from projections.pipeline import Pipeline, TooManySentError
from projections.queries.caller import Credentials
from projections.statements import Statement

# A lost connection, a head that stays locked, no thread: what one post of a group meets, the others would meet too.
_SAME_FOR_ALL = (OperationalError, TooManySentError, UnavailableError)
MOST_OF_ONE = 4  # posts to one workspace in a group to several; more are left to the workspace's own lane

Record = Callable[[Database, int, Prepared, Condition], Recorded]
Writers = Collection[tuple[int, Credentials]]  # who appends to which workspace


class Commit(NamedTuple):
    """A transaction that has appended so many events of so many posts, and where each workspace's log ends now."""

    positions: Mapping[int, int]
    events: int
    posts: int
    traced: Sequence[Traced]


class Statements(NamedTuple):
    """The appends to one workspace and to several, both on a condition on the writers."""

    to_one: Statement
    to_several: Statement
    condition: Callable[[Writers], Mapping[str, object]]  # its parameters


class Appending:
    """Commits groups of posts."""

    def __init__(
        self,
        statements: Statements,
        in_thread: Callable[[Record, int, Prepared, Collection[Credentials]], Awaitable[Recorded]],
        committed: Callable[[Commit], None],
    ) -> None:
        """Take the statements to append with.

        `in_thread` calls a function of the ledger on the same condition; `committed` is called after each commit.
        """
        self._statements = statements
        self._in_thread = in_thread
        self._committed = committed

    async def commit_group(
        self,
        pipeline: Pipeline,
        group: list[Post],
        to_one: bool,  # noqa: FBT001
        give_back: Callable[[], None],
    ) -> list[Post]:
        """Commit a group of one workspace or of any, answer its posts, and return those that are left undone.

        `give_back` is called once the connection is needed no more, before a thread is waited for.
        """
        if to_one:
            await self._commit(pipeline, group, give_back)
            return []
        return await self._commit_to_several(pipeline, group)

    async def _commit_to_several(self, pipeline: Pipeline, group: list[Post]) -> list[Post]:
        """Commit a group of any workspaces, and return the posts for which that is not possible at once."""
        by_workspace: dict[int, list[Post]] = {}
        for post in group:
            by_workspace.setdefault(post.workspace_id, []).append(post)
        together = {each: posts for each, posts in by_workspace.items() if len(posts) <= MOST_OF_ONE}
        try:
            positions = await self._append_to_several(pipeline, together) if together else {}
        except OperationalError as error:  # a lost connection is the same for all
            for post in chain.from_iterable(together.values()):
                post.fail(error)
            return [post for post in group if post.workspace_id not in together]
        except Exception:  # noqa: BLE001 (it is raised again where only the workspace that has it is concerned)
            positions = {}
        return [post for post in group if post.workspace_id not in positions]

    async def _append_to_several(self, pipeline: Pipeline, together: dict[int, list[Post]]) -> dict[int, int]:
        """Append to several workspaces, as far as that is possible at once; return where their logs end now."""
        if await pipeline.is_distributed():  # a transaction of Citus stays on one node
            return {}
        prepared = {each: _joined(posts) for each, posts in together.items()}
        distinct = {each: ledger.without_repeats(events) for each, events in prepared.items()}
        writers = {(post.workspace_id, post.writer) for posts in together.values() for post in posts}
        values = parameters_of_several({each: ledger.rows(events) for each, events in distinct.items()})
        rows = await pipeline.rows(self._statements.to_several, {**values, **self._statements.condition(writers)})
        positions: dict[int, int] = dict(rows)
        for each, position in positions.items():
            _answer(together[each], ledger.all_new(prepared[each], distinct[each], position))
        if positions:
            self._note(positions, [post for each in positions for post in together[each]])
        return positions

    async def _commit(self, pipeline: Pipeline, group: list[Post], give_back: Callable[[], None]) -> None:
        """Commit a group of one workspace and answer its posts; a group that is refused is tried again post by post."""
        distributed = await pipeline.is_distributed()  # Citus takes no append in one statement
        known = group if distributed else await self._try_each(partial(self._append, pipeline), group)
        if known:
            give_back()
            record = ledger.record_prepared if distributed else ledger.record_carefully
            for post in await self._try_each(partial(self._append_in_thread, record), known):
                post.fail(OperationalError("the log was changed meanwhile"))

    async def _try_each(self, append: Callable[[Sequence[Post]], Awaitable[Recorded]], group: list[Post]) -> list[Post]:
        """Append a group, or else its posts one by one; return those of which some events are known already."""
        again = deque([group])
        known = list[Post]()
        while again:
            posts = [each for each in again.popleft() if not each.recorded.done()]  # else its caller has given up
            if not posts:
                continue
            try:
                recorded = await append(posts)
            except UniqueViolation:
                known += posts
            except Exception as error:  # noqa: BLE001 (whatever it is, it is raised where the post is awaited)
                if len(posts) > 1 and not isinstance(error, _SAME_FOR_ALL):
                    again.extend([each] for each in posts)
                else:
                    for each in posts:
                        each.fail(error)
            else:
                _answer(posts, recorded)
                self._note({posts[0].workspace_id: recorded.position}, posts)
        return known

    async def _append(self, pipeline: Pipeline, posts: Sequence[Post]) -> Recorded:
        workspace_id, prepared = posts[0].workspace_id, _joined(posts)
        distinct = ledger.without_repeats(prepared)
        condition = self._statements.condition({(workspace_id, each.writer) for each in posts})
        values = {**parameters(workspace_id, ledger.rows(distinct)), **condition}
        rows = await pipeline.rows(self._statements.to_one, values)
        if not rows:
            raise ConditionError
        return ledger.all_new(prepared, distinct, int(rows[0][0]))

    async def _append_in_thread(self, record: Record, posts: Sequence[Post]) -> Recorded:
        return await self._in_thread(record, posts[0].workspace_id, _joined(posts), {each.writer for each in posts})

    def _note(self, positions: Mapping[int, int], posts: Sequence[Post]) -> None:
        traced = [each.traced for each in posts if each.traced is not None]
        self._committed(Commit(positions, sum(len(each.prepared.events) for each in posts), len(posts), traced))


def _joined(group: Sequence[Post]) -> Prepared:
    """Return the events of a group's posts, in order."""
    if len(group) == 1:
        return group[0].prepared
    return Prepared(*(list(chain(*column)) for column in zip(*(each.prepared for each in group), strict=True)))


def _answer(group: Sequence[Post], recorded: Recorded) -> None:
    """Give each post of a group its part of the outcomes."""
    rest = iter(recorded.outcomes)
    for each in group:
        each.answer(Recorded(list(islice(rest, len(each.prepared.events))), recorded.position))
