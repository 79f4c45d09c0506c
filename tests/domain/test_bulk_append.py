"""Shows that an append by COPY stores what any other append does."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.errors import UniqueViolation
from psycopg.rows import TupleRow
from psycopg.sql import SQL

from domain.bulk_append import append_in_bulk
from domain.recorder import APPEND, Condition, ConditionError, Database, Pool, Rows, append, head_of
from tests.support.histories import workspaces
from tests.support.properties import on_the_database

NEVER = Condition(APPEND.format(condition=SQL("false")), SQL("SELECT false").format(), {})
STORED = """
SELECT originator_id, originator_version, topic, state, position FROM stored_events
WHERE workspace_id = %s ORDER BY position
"""
EVENTS = st.lists(
    st.tuples(
        st.binary(min_size=16, max_size=16),
        st.integers(1, 2**63 - 1),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
        st.binary(max_size=300),
    ),
    min_size=1,
    max_size=30,
    unique_by=lambda event: event[:2],
)


def rows_of(events: list[tuple[bytes, int, str, bytes]]) -> Rows:
    """Return events by columns."""
    return Rows(*map(list, zip(*events, strict=True)))


def stored(database: Database, workspace_id: int) -> list[TupleRow]:
    """Return the rows of a log, without the instants at which they were recorded."""
    return database.execute(STORED, (workspace_id,)).fetchall()


@on_the_database()
@given(first=EVENTS, second=EVENTS)
def test_any_events_are_stored_as_by_a_plain_append(
    pool: Pool, first: list[tuple[bytes, int, str, bytes]], second: list[tuple[bytes, int, str, bytes]]
) -> None:
    """Whatever keys, versions, topics and states there are; positions go on where the log ended."""
    second = [event for event in second if event[:2] not in {each[:2] for each in first}] or [(b"k" * 16, 1, "t", b"")]
    one, other = next(workspaces), next(workspaces)
    with pool.connection() as database:
        for events in (first, second):
            assert append_in_bulk(database, one, rows_of(events)) == append(database, other, rows_of(events))
        assert stored(database, one) == stored(database, other)
        assert [row[4] for row in stored(database, one)] == list(range(1, len(first) + len(second) + 1))
        assert head_of(database, one) == len(first) + len(second)


def test_the_instant_of_an_append_is_that_of_the_database(pool: Pool) -> None:
    """To the second at least, in UTC; one for all events of the append."""
    with pool.connection() as database:
        append_in_bulk(database, 1, rows_of([(bytes([number]) * 16, 1, "t", b"{}") for number in range(3)]))
        instants = database.execute("SELECT DISTINCT recorded_at FROM stored_events").fetchall()
    assert len(instants) == 1
    assert abs(instants[0][0] - datetime.now(UTC)) < timedelta(minutes=1)


def test_an_append_whose_condition_does_not_hold_leaves_no_trace(pool: Pool) -> None:
    """No event, no position, and no log where there was none."""
    event = (b"k" * 16, 1, "t", b"{}")
    with pool.connection() as database:
        with pytest.raises(ConditionError):
            append_in_bulk(database, 1, rows_of([event]), NEVER)
        assert (stored(database, 1), head_of(database, 1)) == ([], 0)
        assert append_in_bulk(database, 1, rows_of([event])) == 1


def test_a_known_event_undoes_the_whole_append(pool: Pool) -> None:
    """The next append gets the positions, so no gap is left."""
    known, new = (b"k" * 16, 1, "t", b"{}"), (b"n" * 16, 1, "t", b"{}")
    with pool.connection() as database:
        append_in_bulk(database, 1, rows_of([known]))
        with pytest.raises(UniqueViolation):
            append_in_bulk(database, 1, rows_of([new, known]))
        assert append_in_bulk(database, 1, rows_of([new])) == 2
        assert [row[4] for row in stored(database, 1)] == [1, 2]
