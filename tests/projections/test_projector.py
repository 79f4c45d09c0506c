"""Shows that the projector follows every log exactly, and that one workspace's trouble is its own."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psycopg
import pytest

from domain.recorder import Pool
from projections.building import fold, next_batch, replay, set_aside, status, verification
from projections.building.batch import FoldError
from projections.building.projector import Projector
from projections.journeys.columns import PackedEvents
from projections.metrics import FOLD_VERSION
from tests.support import reference
from tests.support.examples import email_sent, worked_example
from tests.support.read_models import progress, project_all, shown, shown_to, state, stuck_at
from tests.support.stored_events import execute, record, spoil
from tests.support.waiting import wait_for


@pytest.mark.parametrize("what", ["topic", "state", "fields"])
def test_an_event_that_cannot_be_folded_stops_its_workspace_only(pool: Pool, what: str) -> None:
    """Earlier events are shown, the position stays, the reason is recorded, and other workspaces go on."""
    for workspace_id in (1, 2):
        record(pool, workspace_id, *(email_sent(number) for number in range(10)))
    spoil(pool, 6, what)
    project_all(pool)
    stuck = state(pool, 1)
    assert stuck.stuck is not None
    assert (stuck.position, stuck.lag, stuck.stuck.position) == (5, 5, 6)
    assert stuck.stuck.topic == ("domain.events:FromTheFuture" if what == "topic" else "domain.events:EmailSent")
    assert stuck.stuck.reason
    assert shown(pool, 1)[0]["analytics"]["amount_of_emails_sent"] == 5
    assert progress(pool, 2) == (10, 10, None)


def test_an_event_that_cannot_be_folded_is_met_in_its_turn_when_it_was_read_ahead(pool: Pool) -> None:
    """A batch that is sorted while the one before is written counts as if it had been read after it."""
    record(pool, 1, *(email_sent(number) for number in range(12)))
    spoil(pool, 7, "state")
    projector = Projector(pool, batch=1)  # four, since no other workspace waits
    assert projector.step()
    assert progress(pool, 1) == (12, 4, None)
    assert projector.step()
    assert progress(pool, 1) == (12, 6, 7)
    with pool.connection() as database:
        set_aside.put(database, 1, 7, reason="a test", by="cli:test")
    execute(pool, "UPDATE projection SET projected_at = '-infinity'")
    project_all(pool, batch=1)
    assert progress(pool, 1) == (12, 12, None)
    assert shown(pool, 1)[0]["analytics"]["amount_of_emails_sent"] == 11


def test_what_was_read_ahead_is_forgotten_with_the_connection(pool: Pool, database_url: str) -> None:
    """The database may come back from a backup, with another log behind the same position."""
    record(pool, 1, *(email_sent(number) for number in range(12)))
    projector, stop = Projector(pool, batch=1), threading.Event()
    assert projector.step()
    with psycopg.connect(database_url, autocommit=True) as other, ThreadPoolExecutor(1) as executor:
        other.execute("UPDATE stored_events SET topic = 'domain.events:InviteSent' WHERE position > 4")
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        other.execute(f"{cut} AND datname = current_database()".encode())
        running = executor.submit(projector.run, stop)
        try:
            wait_for(lambda: status.workspaces(other)[0].lag == 0)
        finally:
            stop.set()
        assert running.result() is None
    assert verification.verify(pool, 1, lambda _: None) == []


def test_a_stuck_workspace_goes_on_by_itself_when_the_cause_has_gone(pool: Pool) -> None:
    """It is tried again after some seconds."""
    events = [email_sent(number) for number in range(10)]
    record(pool, 1, *events)
    spoil(pool, 1, "topic")
    project_all(pool)
    assert stuck_at(pool, 1) == 1
    execute(pool, "UPDATE stored_events SET topic = 'domain.events:EmailSent'")
    assert not Projector(pool).step(), "it is not tried again at once"
    execute(pool, "UPDATE projection SET projected_at = projected_at - interval '6 seconds'")
    project_all(pool)
    assert progress(pool, 1) == (10, 10, None)
    assert shown(pool, 1) == reference.campaigns(events)


def test_damaged_read_rows_stop_the_workspace_until_a_replay(pool: Pool) -> None:
    """The log is whole, so the operator's way out is to rebuild the rows."""
    record(pool, 1, email_sent(1))
    project_all(pool)
    execute(pool, "UPDATE journey SET facts = 'damaged'")
    record(pool, 1, email_sent(2, prospect_id="other"), email_sent(3, prospect_id="p-1"))
    project_all(pool)
    assert (state(pool, 1).position, stuck_at(pool, 1)) == (2, 3)
    replay.replay(pool, 1, lambda _: None)
    assert progress(pool, 1) == (3, 3, None)
    execute(pool, "UPDATE campaign SET about = 'damaged'")
    record(pool, 1, email_sent(4))
    project_all(pool)
    assert stuck_at(pool, 1) == 4


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE campaign_activity SET quarters = 'damagedX'",
        r"UPDATE campaign_activity SET quarters = '\x0100f001'",
        r"UPDATE campaign SET about = '\x96a1ff'",
        "UPDATE campaign SET totals = '{1,2}'",
    ],
)
def test_whatever_is_wrong_with_a_read_row_stops_its_workspace_alone(pool: Pool, damage: str) -> None:
    """No damage ends the projector; a replay mends it."""
    for workspace_id in (1, 2):
        record(pool, workspace_id, email_sent(1))
    project_all(pool)
    execute(pool, f"{damage} WHERE workspace_id = 1")
    for workspace_id in (1, 2):
        record(pool, workspace_id, email_sent(2), email_sent(3))
    project_all(pool)
    assert (progress(pool, 1), progress(pool, 2)) == ((3, 1, 2), (3, 3, None))
    replay.replay(pool, 1, lambda _: None)
    assert progress(pool, 1) == (3, 3, None)


def test_of_several_faults_the_first_counts(pool: Pool) -> None:
    """Two damaged journeys, the later event of the one that comes first by its name; and then a damaged event."""
    record(pool, 1, email_sent(1, prospect_id="b"), email_sent(2, prospect_id="a"))
    project_all(pool)
    execute(pool, "UPDATE journey SET facts = 'damaged'")
    record(pool, 1, email_sent(3, prospect_id="c"), email_sent(4, prospect_id="b"), email_sent(5, prospect_id="a"))
    record(pool, 1, email_sent(6))
    spoil(pool, 6, "state")
    project_all(pool)
    assert progress(pool, 1) == (6, 3, 4)


@pytest.mark.parametrize(
    "damage",
    [
        b'{"a\\u0000b":1}',
        b'{"class_version":0}',
        b'{"class_version":99999999999999999999999}',
        b'{"x":' + b"[" * 100_000,
        b"\xff\xfe",
        b'{"\\ud800":1}',
    ],
)
def test_whatever_is_wrong_with_an_event_stops_its_workspace_alone(pool: Pool, damage: bytes) -> None:
    """No damage ends the projector, and the reason can be recorded."""
    record(pool, 1, email_sent(1))
    record(pool, 2, email_sent(1))
    execute(pool, "UPDATE stored_events SET state = %s WHERE workspace_id = 1", damage)
    project_all(pool)
    assert progress(pool, 1) == (1, 0, 1)
    assert progress(pool, 2) == (1, 1, None)


def test_a_journey_with_an_event_of_no_known_kind_is_damaged(pool: Pool) -> None:
    """The workspace is stuck, and a replay mends it."""
    record(pool, 1, email_sent(1, prospect_id="p"))
    project_all(pool)
    execute(pool, "UPDATE journey SET facts = %s", PackedEvents.of(np.array([1]), np.array([31])).stored())
    record(pool, 1, email_sent(2, prospect_id="p"))
    project_all(pool)
    assert progress(pool, 1) == (2, 1, 2)


def test_what_the_database_refuses_to_one_workspace_stops_no_other(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and tried again."""
    execute(pool, "ALTER TABLE journey ADD CONSTRAINT refused CHECK (workspace_id <> 1)")
    record(pool, 1, email_sent(1))
    record(pool, 2, email_sent(1))
    project_all(pool)
    assert (progress(pool, 1), progress(pool, 2)) == ((1, 0, None), (1, 1, None))
    assert "workspace 1 could not be projected" in caplog.text
    execute(pool, "ALTER TABLE journey DROP CONSTRAINT refused")
    project_all(pool)
    assert progress(pool, 1) == (1, 1, None)


def test_a_replay_of_a_stuck_workspace_keeps_its_old_rows(pool: Pool) -> None:
    """It names the event, and nothing that was shown is lost."""
    record(pool, 1, *(email_sent(number) for number in range(10)))
    spoil(pool, 6, "topic")
    project_all(pool)
    before = shown(pool, 1)
    with pytest.raises(FoldError, match=r"position 6: unknown topic domain\.events:FromTheFuture"):
        replay.replay(pool, 1, lambda _: None)
    assert shown(pool, 1) == before


def test_any_number_of_projectors_count_each_event_once(pool: Pool) -> None:
    """Six at once over ten workspaces, while events keep coming."""
    stop = threading.Event()
    with ThreadPoolExecutor(6) as projectors:
        running = [projectors.submit(Projector(pool, batch=7).run, stop) for _ in range(6)]
        for first in range(0, 100, 20):
            for workspace_id in range(1, 11):
                record(
                    pool, workspace_id, *(email_sent(number, prospect_id="a") for number in range(first, first + 20))
                )
        wait_for(lambda: all(state(pool, workspace_id).lag == 0 for workspace_id in range(1, 11)))
        stop.set()
        assert [each.result() for each in running] == [None] * 6
    for workspace_id in range(1, 11):
        assert shown(pool, workspace_id)[0]["analytics"]["amount_of_emails_sent"] == 100
        assert verification.verify(pool, workspace_id, lambda _: None) == []


def test_a_workspace_that_another_projector_holds_is_left_to_it(pool: Pool) -> None:
    """Nobody waits for anybody."""
    record(pool, 1, email_sent(1))
    project_all(pool)
    record(pool, 1, email_sent(2))
    record(pool, 2, email_sent(1))
    with pool.connection() as other, other.transaction():
        other.execute("SELECT 1 FROM projection WHERE workspace_id = 1 FOR UPDATE")
        project_all(pool)
        assert (state(pool, 1).lag, state(pool, 2).lag) == (1, 0)
    project_all(pool)
    assert state(pool, 1).lag == 0


def test_rows_of_another_version_of_the_fold_are_left_alone_until_a_replay(pool: Pool) -> None:
    """An older or newer projector beside this one is not disturbed."""
    record(pool, 1, email_sent(1))
    project_all(pool)
    execute(pool, "UPDATE projection SET fold_version = %s", FOLD_VERSION + 1)
    record(pool, 1, email_sent(2))
    project_all(pool)
    assert state(pool, 1).lag == 1
    assert verification.verify(pool, 1, lambda _: None) == [
        f"workspace 1: its rows are of version {FOLD_VERSION + 1}, this is {FOLD_VERSION}"
    ]
    replay.replay(pool, 1, lambda _: None)
    record(pool, 1, email_sent(3))
    project_all(pool)
    assert state(pool, 1).lag == 0


def test_a_projector_goes_on_when_its_connections_are_cut(pool: Pool, database_url: str) -> None:
    """Again and again, in the middle of its work; in the end everything is counted once."""
    events = [event for number in range(1, 21) for event in worked_example(number)]
    record(pool, 1, *events)
    stop = threading.Event()
    with psycopg.connect(database_url, autocommit=True) as observer, ThreadPoolExecutor(1) as executor:
        running = executor.submit(Projector(pool, batch=3).run, stop)
        try:
            for reached in (30, 90, 150):
                wait_for(lambda reached=reached: status.workspaces(observer)[0].position >= reached)  # type: ignore[misc]
                cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                observer.execute(f"{cut} AND datname = current_database()".encode())
            wait_for(lambda: status.workspaces(observer)[0].lag == 0)
        finally:
            stop.set()
        assert running.result() is None
    with psycopg.connect(database_url, autocommit=True) as observer:
        observer.execute("INSERT INTO workspace_link VALUES ('reader', 1, false)")
        _, campaigns = shown_to(observer, "reader", 1)
    assert campaigns == [{**campaign, "workspace_id": 1} for campaign in reference.campaigns(events)]


class UnheardOfError(Exception):
    """An exception of a class that the projector does not name."""


@pytest.mark.parametrize("kind", [UnheardOfError, MemoryError, RecursionError, AssertionError, UnicodeDecodeError])
def test_an_exception_of_whatever_class_stops_its_event_alone(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    """What comes before it is projected, it is named with the reason, everybody else goes on."""
    raised = UnicodeDecodeError("utf-8", b"\xff\0", 0, 1, "odd \0") if kind is UnicodeDecodeError else kind("odd \0")
    whole = fold.fold

    def folding(database: Any, rows: Any, gathered: Any, **options: Any) -> None:
        whole(database, rows, gathered, **options)
        if rows.workspace_id == 1 and gathered.first <= 7 <= gathered.last:
            raise raised

    record(pool, 1, *(email_sent(number) for number in range(10)))
    record(pool, 2, email_sent(1))
    with monkeypatch.context() as patched:
        patched.setattr(next_batch, "fold", folding)
        project_all(pool)
        project_all(pool)
        assert (progress(pool, 1), progress(pool, 2)) == ((10, 6, 7), (1, 1, None))
        stuck = state(pool, 1).stuck
        assert stuck is not None
        assert stuck.reason.startswith(f"{kind.__name__}: ")
    execute(pool, "UPDATE projection SET projected_at = now() - interval '1 minute'")
    project_all(pool)
    assert progress(pool, 1) == (10, 10, None)
