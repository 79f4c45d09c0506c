"""The event-sourcing library's recorder on PostgreSQL, with one log per workspace instead of one for all.

Positions of a workspace are 1, 2, 3 … without a gap and become visible in order, because an append first moves the
workspace's `log_head` row and so holds it until its commit. No other workspace waits.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple
from uuid import UUID

from eventsourcing.persistence import ApplicationRecorder, IntegrityError, Notification, StoredEvent, Subscription
from psycopg import Connection
from psycopg.errors import DivisionByZero, UniqueViolation
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Composed
from psycopg_pool import ConnectionPool

from domain.citus import insert_forms, is_distributed

Database = Connection[TupleRow]
Pool = ConnectionPool[Database]

# One statement, so one round trip: move the head, which locks it until the commit, and insert at the positions won.
# Where the condition does not hold, nothing is moved and so nothing is inserted (the event loop's form, behind `LOCK`).
APPEND = SQL("""
WITH moved AS (
    INSERT INTO log_head AS l (workspace_id, head)
    SELECT %(workspace_id)s, %(count)s FROM set_config('synchronous_commit', 'on', true) WHERE {condition}
    ON CONFLICT (workspace_id) DO UPDATE SET head = l.head + excluded.head
    RETURNING head, clock_timestamp() AS recorded_at
), stored AS (
    INSERT INTO stored_events
        (workspace_id, originator_id, originator_version, topic, state, position, recorded_at)
    SELECT %(workspace_id)s, encode(e.originator_id, 'hex')::uuid, e.originator_version, e.topic, e.state,
           moved.head - %(count)s + e.place, moved.recorded_at
    FROM moved, unnest(%(ids)b::bytea[], %(versions)b::bigint[], %(topics)b::text[], %(states)b::bytea[])
        WITH ORDINALITY AS e (originator_id, originator_version, topic, state, place)
)
SELECT head FROM moved
""")
_APPEND = APPEND.format(condition=SQL("true"))

# The same for Citus, which would make a transaction over several nodes of the one statement. The second one takes the
# workspace's id from the row of its head, so it is the node of the workspace that answers all of it.
_MOVE = SQL("""
INSERT INTO log_head AS l (workspace_id, head) VALUES (%(workspace_id)s, %(count)s)
ON CONFLICT (workspace_id) DO UPDATE SET head = l.head + excluded.head
RETURNING head
""")
_INSERT = SQL("""
INSERT INTO stored_events AS s
    (workspace_id, originator_id, originator_version, topic, state, position, recorded_at)
SELECT l.workspace_id, encode(e.originator_id, 'hex')::uuid, e.originator_version, e.topic, e.state,
    l.head - %(count)s + e.place, statement_timestamp()
FROM log_head AS l, unnest(%(ids)b::bytea[], %(versions)b::bigint[], %(topics)b::text[], %(states)b::bytea[])
    WITH ORDINALITY AS e (originator_id, originator_version, topic, state, place)
WHERE l.workspace_id = %(workspace_id)s
""")

# Holds the head from here to the end of the transaction and changes nothing. A statement looks at the rest of the
# database as it is when it begins, so one that appends on a condition must not wait for the head itself: what it has
# looked at could have changed meanwhile. This one goes before it and waits.
LOCK = SQL("""
INSERT INTO log_head AS l (workspace_id, head) VALUES (%(workspace_id)s, 0)
ON CONFLICT (workspace_id) DO UPDATE SET head = l.head WHERE false
""")

# The other form, for appends of any size: it follows an append, without a condition, in its transaction, so it looks at
# the database as it is once the append has waited; and it fails where the condition does not hold.
MUST_HOLD = SQL("SELECT 1 / coalesce({condition}, false)::int")

_LOCK_HEAD = SQL("""
INSERT INTO log_head AS l (workspace_id, head) VALUES (%(workspace_id)s, 0)
ON CONFLICT (workspace_id) DO UPDATE SET head = l.head
RETURNING head
""")

# Tells what is known without a look-up, for which the planner may choose the wrong index in a workspace that its
# statistics don't know yet: new events come back above the head, known ones with another state as they are stored,
# identical ones not at all. It is undone afterwards, by a roll-back to a savepoint.
_LOOK = SQL("""
INSERT INTO stored_events AS s
    (workspace_id, originator_id, originator_version, topic, state, position, recorded_at)
SELECT {workspace_id}, encode(e.originator_id, 'hex')::uuid, e.originator_version, e.topic, e.state,
    %(head)s + e.place, now()
FROM {source} unnest(%(ids)b::bytea[], %(versions)b::bigint[], %(topics)b::text[], %(states)b::bytea[])
    WITH ORDINALITY AS e (originator_id, originator_version, topic, state, place)
{where}
ON CONFLICT (workspace_id, originator_id, originator_version) DO UPDATE SET state = s.state
WHERE s.state <> excluded.state OR s.topic <> excluded.topic
RETURNING originator_id, topic, state, position
""")
_PROBE = insert_forms(_LOOK)

_SELECT_STREAM = """
SELECT originator_id, originator_version, topic, state FROM stored_events
WHERE workspace_id = %(workspace_id)s AND originator_id = %(originator_id)s
    AND originator_version > %(gt)s AND originator_version <= %(lte)s
ORDER BY originator_version {direction} LIMIT %(limit)s
"""
_SELECT_STREAM_FORWARDS = SQL(_SELECT_STREAM).format(direction=SQL("ASC"))
_SELECT_STREAM_BACKWARDS = SQL(_SELECT_STREAM).format(direction=SQL("DESC"))

_SELECT_LOG = SQL("""
SELECT originator_id, originator_version, topic, state, position FROM stored_events
WHERE workspace_id = %(workspace_id)s AND position > %(after)s AND position <= %(stop)s
    AND (topic = ANY(%(topics)s) OR %(topics)s::text[] = '{{}}')
ORDER BY position LIMIT %(limit)s
""").format()

_HEAD = SQL("SELECT head FROM log_head WHERE workspace_id = %s")

_LAST = 2**63 - 1


class Rows(NamedTuple):
    """Events as they are stored, by columns: the 16 bytes of an originator's UUID, version, topic, state."""

    ids: list[bytes]
    versions: list[int]
    topics: list[str]
    states: list[bytes]


class Known(NamedTuple):
    """The result of `append_new`: the head after it, the keys that were new, and the keys stored with another state."""

    head: int
    new: set[bytes]
    differing: dict[bytes, tuple[str, bytes]]


class Condition(NamedTuple):
    """A condition of an append: `MUST_HOLD` formatted with it, and its parameters."""

    must_hold: Composed
    parameters: Mapping[str, object]


ALWAYS = Condition(MUST_HOLD.format(condition=SQL("true")), {})


class ConditionError(Exception):
    """The condition of an append did not hold, and nothing was appended."""


def append(database: Database, workspace_id: int, rows: Rows, condition: Condition = ALWAYS) -> int:
    """Append events to the workspace's log and return its new head; all of them or none, on disk at the commit.

    Raises ConditionError where the condition does not hold under the lock of the head, and psycopg's UniqueViolation
    where one of the events, by originator and version, is stored already or occurs twice.
    """
    values = {**parameters(workspace_id, rows), **condition.parameters}
    if is_distributed(database):
        return _append_in_steps(database, values, condition)
    if condition is ALWAYS:
        row = database.execute(_APPEND, values).fetchone()
    else:
        # One transaction in one round trip, so the head is held neither while the rows come nor until an answer has
        # come back. The second one is not prepared: where the first one fails, psycopg would believe that it is.
        with _refusing(), database.pipeline():
            appended = database.execute(_APPEND, values)
            database.execute(condition.must_hold, values, prepare=False)
        row = appended.fetchone()
    assert row is not None  # the statement always answers with the head
    return int(row[0])


def _append_in_steps(database: Database, values: Mapping[str, object], condition: Condition) -> int:
    """Append for Citus: move the head, which locks it, insert, and ask for the condition under that lock."""
    with _refusing(), database.transaction():
        with database.pipeline():
            moved = database.execute(_MOVE, values)
            database.execute(_INSERT, values)
            if condition is not ALWAYS:
                database.execute(condition.must_hold, values)
        row = moved.fetchone()
    assert row is not None  # the statement always answers with the head
    return int(row[0])


@contextmanager
def _refusing() -> Iterator[None]:
    """Raise ConditionError where `MUST_HOLD` fails."""
    try:
        yield
    except DivisionByZero as error:
        raise ConditionError from error


def append_new(database: Database, workspace_id: int, rows: Rows, condition: Condition = ALWAYS) -> Known:
    """Append those first events of their originators that are not stored yet, and return which are.

    No originator may occur twice. The workspace's head stays locked from the probe to the commit. Raises
    ConditionError where the condition does not hold under that lock.
    """
    with _refusing(), database.transaction():
        row = database.execute(_LOCK_HEAD, {"workspace_id": workspace_id}).fetchone()
        assert row is not None  # the statement always answers with the head
        head = int(row[0])
        if condition is not ALWAYS:
            database.execute(condition.must_hold, {"workspace_id": workspace_id, **condition.parameters})
        with database.transaction(force_rollback=True):
            probed = database.execute(_PROBE.of(database), {**parameters(workspace_id, rows), "head": head}).fetchall()
        new = {id_.bytes for id_, _, _, position in probed if position > head}
        differing = {id_.bytes: (topic, state) for id_, topic, state, position in probed if position <= head}
        if new:
            chosen = [each for each in zip(*rows, strict=True) if each[0] in new]
            head = append(database, workspace_id, Rows(*map(list, zip(*chosen, strict=True))))
    return Known(head, new, differing)


def head_of(database: Database, workspace_id: int) -> int:
    """Return the position of the last event in the workspace's log, 0 where there is none."""
    row = database.execute(_HEAD, (workspace_id,)).fetchone()
    return int(row[0]) if row else 0


class WorkspaceRecorder(ApplicationRecorder):
    """The library's application recorder, bound to the log of one workspace."""

    def __init__(
        self,
        pool: Pool,
        workspace_id: int,
        also: Callable[[Database, Sequence[StoredEvent]], None] | None = None,
    ) -> None:
        """Take the pool to borrow connections from, the workspace, and what else to do in an append's transaction."""
        self._pool = pool
        self._workspace_id = workspace_id
        self._also = also

    def insert_events(self, stored_events: Sequence[StoredEvent], **_: object) -> list[int]:
        """Append the events and return their positions; raise IntegrityError where one is stored already."""
        if not stored_events:
            return []
        try:
            with self._pool.connection() as database, database.transaction():
                head = append(database, self._workspace_id, rows_of(stored_events))
                if self._also:
                    self._also(database, stored_events)
        except UniqueViolation as error:
            raise IntegrityError(error) from error
        return list(range(head - len(stored_events) + 1, head + 1))

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> list[StoredEvent]:
        """Return the events of one stream in order of their versions, or backwards."""
        rows = self._select(
            _SELECT_STREAM_BACKWARDS if desc else _SELECT_STREAM_FORWARDS,
            originator_id=originator_id,
            gt=-1 if gt is None else gt,
            lte=_LAST if lte is None else lte,
            limit=limit,
        )
        return [StoredEvent(*row) for row in rows]

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> list[Notification]:
        """Return events of the log in order of their positions."""
        rows = self._select(
            _SELECT_LOG,
            after=0 if start is None else start - inclusive_of_start,
            stop=_LAST if stop is None else stop,
            topics=list(topics),
            limit=limit,
        )
        return [Notification(*row) for row in rows]

    def max_notification_id(self) -> int | None:
        """Return the head of the log, None where it is empty."""
        with self._pool.connection() as database:
            return head_of(database, self._workspace_id) or None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        """Raise NotImplementedError: readers of a log keep their position and poll, see `projections.building`."""
        raise NotImplementedError

    def _select(self, query: Composed, **parameters: object) -> list[TupleRow]:
        with self._pool.connection() as database:
            return database.execute(query, {"workspace_id": self._workspace_id, **parameters}, binary=True).fetchall()


def rows_of(events: Sequence[StoredEvent]) -> Rows:
    """Return events of the library as they are stored."""
    return Rows(
        [UUID(str(event.originator_id)).bytes for event in events],
        [event.originator_version for event in events],
        [event.topic for event in events],
        [event.state for event in events],
    )


def parameters(workspace_id: int, rows: Rows) -> dict[str, object]:
    """Return the parameters of `APPEND`, but for those of its condition."""
    return {"workspace_id": workspace_id, "count": len(rows.ids), **rows._asdict()}
