"""Shows that our recorder is a recorder of the event-sourcing library, and that a workspace's log has no gaps."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from eventsourcing.persistence import ApplicationRecorder, IntegrityError, StoredEvent
from eventsourcing.tests.persistence import ApplicationRecorderTestCase, NonInterleavingNotificationIDsBaseCase
from psycopg.errors import UniqueViolation
from psycopg.pq import TransactionStatus
from psycopg.sql import SQL

from domain.recorder import (
    MUST_HOLD,
    Condition,
    ConditionError,
    Pool,
    Rows,
    WorkspaceRecorder,
    append,
    head_of,
)

NEVER, HOLDS = (Condition(MUST_HOLD.format(condition=SQL(each)), {}) for each in ("false", "true"))


class Bound:
    """Binds the library's suites to one workspace of a fresh database."""

    pool: Pool

    @pytest.fixture(autouse=True)
    def _bind(self, pool: Pool) -> None:
        self.pool = pool

    def create_recorder(self) -> WorkspaceRecorder:
        """Give the suites a recorder."""
        return WorkspaceRecorder(self.pool, 340)


class TestApplicationRecorder(Bound, ApplicationRecorderTestCase[Any]):
    """The library's own suite for application recorders."""


class TestNonInterleaving(Bound, NonInterleavingNotificationIDsBaseCase):
    """The library's own suite for logs in which concurrent appends do not mix."""


del ApplicationRecorderTestCase, NonInterleavingNotificationIDsBaseCase  # or pytest would collect them by themselves


def event(originator_id: uuid.UUID | None = None, state: bytes = b"{}") -> StoredEvent:
    """Return an event of a stream, by default of a stream of its own."""
    return StoredEvent(originator_id=originator_id or uuid.uuid4(), originator_version=1, topic="t", state=state)


def test_two_workspaces_have_the_same_streams_at_the_same_positions(pool: Pool) -> None:
    """Neither sees, counts or overwrites what the other has."""
    shared = uuid.uuid4()
    one, other = WorkspaceRecorder(pool, 1), WorkspaceRecorder(pool, 2)
    assert one.insert_events([event(shared, b"one")]) == [1]
    assert other.insert_events([event(shared, b"other")]) == [1]
    assert [each.state for each in one.select_events(shared)] == [b"one"]
    assert [each.state for each in other.select_notifications(None, 10)] == [b"other"]


def test_a_known_event_undoes_the_whole_append(pool: Pool) -> None:
    """The positions of a failed append are given to the next one, so no gap is left."""
    recorder = WorkspaceRecorder(pool, 1)
    known = event()
    recorder.insert_events([known])
    with pytest.raises(IntegrityError):
        recorder.insert_events([event(), known])
    assert recorder.insert_events([event()]) == [2]


def test_what_happens_in_the_appends_transaction_undoes_it_when_it_fails(pool: Pool) -> None:
    """Rows that belong to an event are written with it or not at all."""

    def fail(*_: object) -> None:
        raise LookupError

    recorder = WorkspaceRecorder(pool, 1, also=fail)
    with pytest.raises(LookupError):
        recorder.insert_events([event()])
    assert recorder.max_notification_id() is None


def test_positions_of_eight_writers_have_no_gap_and_become_visible_in_order(pool: Pool) -> None:
    """A reader who has seen position n has seen all before it, at every moment."""
    recorder: ApplicationRecorder = WorkspaceRecorder(pool, 1)
    gaps = []

    def write(_: int) -> None:
        for _ in range(20):
            recorder.insert_events([event(), event()])
            seen = [each.id for each in recorder.select_notifications(None, 1_000)]
            if seen != list(range(1, len(seen) + 1)):
                gaps.append(seen)

    with ThreadPoolExecutor(8) as writers:
        list(writers.map(write, range(8)))
    assert not gaps
    assert recorder.max_notification_id() == 320
    with pool.connection() as database:
        assert database.execute("SELECT count(*), max(position) FROM stored_events").fetchone() == (320, 320)


def test_an_append_whose_condition_does_not_hold_leaves_no_trace(pool: Pool) -> None:
    """However often, also in turns with known events: the connection goes on, and positions have no gap."""
    rows = [Rows([bytes([number]) * 16], [1], ["t"], [b"{}"]) for number in range(20)]
    with pool.connection() as database:
        for number, new in enumerate(rows):
            with pytest.raises(ConditionError):
                append(database, 1, new, NEVER)
            with pytest.raises(UniqueViolation):
                append(database, 1, Rows(new.ids * 2, [1, 1], ["t", "t"], new.states * 2), HOLDS)
            assert head_of(database, 1) == number
            assert append(database, 1, new, HOLDS) == number + 1
        assert database.info.transaction_status == TransactionStatus.IDLE
        assert database.execute("SELECT count(*), max(position) FROM stored_events").fetchone() == (20, 20)


def test_a_condition_that_is_unknown_does_not_hold(pool: Pool) -> None:
    """A comparison with NULL is neither true nor false."""
    unknown = Condition(MUST_HOLD.format(condition=SQL("NULL::boolean")), {})
    with pool.connection() as database, pytest.raises(ConditionError):
        append(database, 1, Rows([b"k" * 16], [1], ["t"], [b"{}"]), unknown)
