"""Shows that an acknowledged event is in the log, once, whoever sends it how often, and whatever goes wrong."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from psycopg import OperationalError

from domain import ledger
from domain.events import TOPICS, encode
from domain.ledger import Outcome
from domain.recorder import Pool, Rows, append
from tests.support.examples import email_sent, parsed
from tests.support.histories import deliveries, workspaces
from tests.support.properties import on_the_database

NEW, SAME, OTHER = Outcome.ACCEPTED, Outcome.DUPLICATE, Outcome.CONFLICT


def record(pool: Pool, *events: dict[str, Any], workspace_id: int = 1) -> tuple[list[Outcome], int]:
    """Record events as a worker posts them; return what became of each, and the position."""
    with pool.connection() as database:
        return tuple(ledger.record(database, workspace_id, parsed(*events)))  # type: ignore[return-value]


def log(pool: Pool, workspace_id: int = 1) -> list[tuple[int, str]]:
    """Return the log of a workspace as positions and stored states."""
    with pool.connection() as database:
        rows = ledger.read(database, workspace_id, after=0, upto=10**6, limit=10**6)
    return [(row.position, row.state.decode()) for row in rows]


def test_an_event_sent_again_is_a_duplicate_and_stored_once(pool: Pool) -> None:
    """The answer of a lost request is had by sending it again."""
    assert record(pool, email_sent(1), email_sent(2)) == ([NEW, NEW], 2)
    assert record(pool, email_sent(1), email_sent(2)) == ([SAME, SAME], 2)
    assert record(pool, email_sent(2), email_sent(3)) == ([SAME, NEW], 3)
    assert [position for position, _ in log(pool)] == [1, 2, 3]


def test_the_same_id_with_other_content_is_a_conflict_and_the_first_stands(pool: Pool) -> None:
    """Whether it comes in another request or in the same one."""
    record(pool, email_sent(1))
    before = log(pool)
    assert record(pool, email_sent(1, step=2)) == ([OTHER], 1)
    assert record(pool, email_sent(1, type="InviteSent")) == ([OTHER], 1)
    assert log(pool) == before
    assert record(pool, email_sent(2), email_sent(2, step=2), email_sent(2)) == ([NEW, OTHER, SAME], 2)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"occurred_at": "2026-11-01T10:00:00Z"}, {"occurred_at": "2026-11-01T11:00:00+01:00"}),
        ({"occurred_at": "2026-11-01T10:00:00.1239Z"}, {"occurred_at": "2026-11-01T10:00:00.123Z"}),
        ({"prospect_id": 5}, {"prospect_id": "5"}),
        ({"source": ""}, {"source": None}),
        ({"type": "ReplyReceived"}, {"type": "ReplyReceived", "automatic": False, "channel": None}),
    ],
)
def test_content_is_compared_by_meaning(pool: Pool, one: dict[str, Any], other: dict[str, Any]) -> None:
    """Two spellings of one event are one event."""
    assert record(pool, email_sent(1, **one)) == ([NEW], 1)
    assert record(pool, email_sent(1, **other)) == ([SAME], 1)


def test_a_state_that_was_stored_in_another_spelling_is_still_the_same_event(pool: Pool) -> None:
    """Stored bytes are never compared: the order of their fields may differ between versions."""
    record(pool, email_sent(1))
    with pool.connection() as database:
        reordered = b'{"campaign_id":123,"occurred_at":1793527200000,"prospect_id":"p-1","id":"e-1"}'
        database.execute("UPDATE stored_events SET state = %s", (reordered,))
    assert record(pool, email_sent(1), email_sent(2)) == ([SAME, NEW], 2)


def test_an_id_that_a_newer_version_has_used_is_a_conflict(pool: Pool) -> None:
    """What stands can't be read here, so it can't be the same."""
    record(pool, email_sent(1))
    with pool.connection() as database:
        database.execute("UPDATE stored_events SET topic = 'domain.events:FromTheFuture'")
    assert record(pool, email_sent(1)) == ([OTHER], 1)


def test_source_and_id_identify_an_event_together(pool: Pool) -> None:
    """The same id of two sources, or cut in two places, is two events; the same of two workspaces too."""
    events = [email_sent(1), email_sent(1, source="a"), email_sent(1, source="ae", id="-1")]
    assert record(pool, *events) == ([NEW, NEW, NEW], 3)
    assert record(pool, *events, workspace_id=2) == ([NEW, NEW, NEW], 3)


def test_recording_no_events_returns_the_head(pool: Pool) -> None:
    """An empty list is fine."""
    assert record(pool) == ([], 0)
    record(pool, email_sent(1))
    assert record(pool) == ([], 1)


@on_the_database()
@given(delivery=deliveries())
def test_any_delivery_leaves_each_event_in_the_log_once(
    pool: Pool, delivery: tuple[list[dict[str, Any]], list[list[dict[str, Any]]]]
) -> None:
    """Positions are 1 … n, n is the head, and n events were accepted, however they came."""
    history, batches = delivery
    workspace_id = next(workspaces)
    outcomes: list[Outcome] = []
    for events in batches:
        outcomes += record(pool, *events, workspace_id=workspace_id)[0]
    assert OTHER not in outcomes
    assert outcomes.count(NEW) == len(history)
    assert [position for position, _ in log(pool, workspace_id)] == list(range(1, len(history) + 1))
    assert len({state for _, state in log(pool, workspace_id)}) == len(history)


def test_eight_writers_of_overlapping_events_leave_each_once(pool: Pool) -> None:
    """Positions have no gap, the head is the count, and each event was accepted exactly once."""

    def write(writer: int) -> int:
        batches = [[email_sent(number) for number in range(first, first + 40)] for first in range(writer, 200, 8)]
        return sum(record(pool, *batch)[0].count(NEW) for batch in batches)

    with ThreadPoolExecutor(8) as writers:
        accepted = sum(writers.map(write, range(8)))
    stored = log(pool)
    assert accepted == len(stored) == len({state for _, state in stored})
    assert [position for position, _ in stored] == list(range(1, len(stored) + 1))
    assert record(pool)[1] == len(stored)


def test_a_connection_lost_in_the_middle_stores_nothing_and_the_retry_everything(pool: Pool) -> None:
    """Nothing is half done: the lock, the head and the rows go together."""
    [event] = parsed(email_sent(1))
    stored = Rows([ledger.event_key(event)], [1], [TOPICS[type(event)]], [encode(event)])
    with pytest.raises(OperationalError), pool.connection() as database, database.transaction():
        assert append(database, 1, stored) == 1
        with pool.connection() as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", (database.info.backend_pid,))
    assert log(pool) == []
    assert record(pool, email_sent(1)) == ([NEW], 1)


WRITER = """
import sys
from domain import ledger
from service import database
from tests.support.examples import email_sent, parsed
with database.open_pool(sys.argv[1], size=1) as pool, pool.connection() as connection:
    for number in range(10_000):
        ledger.record(connection, 1, parsed(email_sent(number), email_sent(number + 1)))
        print(number, flush=True)
"""


@pytest.mark.processes
@pytest.mark.parametrize("acknowledged", [1, 17, 60])
def test_a_writer_killed_at_any_moment_leaves_every_acknowledged_event_once(
    pool: Pool, database_url: str, acknowledged: int
) -> None:
    """Kill -9 in the middle of a load: what was acknowledged is there, the rest can be sent again."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, database_url], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    with writer:
        for _ in range(acknowledged):
            last = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
    stored = log(pool)
    assert [position for position, _ in stored] == list(range(1, len(stored) + 1))
    assert all(any(f'"id":"e-{number}"' in state for _, state in stored) for number in range(last + 1))
    again, _ = record(pool, *(email_sent(number) for number in range(last + 10)))
    assert OTHER not in again
    assert again.count(SAME) == len(stored)
