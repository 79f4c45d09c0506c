"""Shows that the read models keep up with one busy workspace, many quiet ones, long journeys and logs cut anywhere."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from falcon import testing
from hypothesis import given
from hypothesis import strategies as st

from api.app import create_app
from domain import ledger
from domain.recorder import Pool
from projections.building import fold, projector, replay
from projections.building.projector import Projector
from projections.building.wakeup import Hints
from service import settings
from service.web.application import make_parts
from tests.support import reference
from tests.support.examples import JWT_SECRET, api_key, email_sent, parsed
from tests.support.histories import histories, workspaces
from tests.support.properties import on_the_database
from tests.support.read_models import ignore, in_small_pieces, live_rows, project_all, shown, state
from tests.support.stored_events import record
from tests.support.waiting import wait_for

pytestmark = pytest.mark.load
SIZES = st.sampled_from([1, 2, 3, 7, 1_000])  # of the pieces in which a replay reads and writes


@on_the_database()
@given(history=histories, chunk=SIZES, part=SIZES)
def test_the_rows_of_a_replay_do_not_depend_on_how_the_log_is_cut(
    pool: Pool, history: list[dict[str, Any]], chunk: int, part: int
) -> None:
    """Byte for byte those of the live projection, whatever the sizes of chunks and parts."""
    workspace_id = next(workspaces)
    record(pool, workspace_id, *history)
    with pytest.MonkeyPatch.context() as patch, pool.connection() as connection:
        patch.setattr(fold, "AT_ONCE", 2)  # the live fold in many pieces, and most journeys apart
        patch.setattr(fold, "_GROW_JOURNEYS", fold.growing(8))
        project_all(pool)
        live = live_rows(connection, workspace_id)
        assert shown(pool, workspace_id) == reference.campaigns(history)
        in_small_pieces(patch, chunk, part, nearly_there=0)
        replay.replay(pool, workspace_id, ignore)
        assert live_rows(connection, workspace_id) == live


def test_a_posted_event_wakes_the_projector(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would not have looked for a long time."""
    monkeypatch.setattr(projector, "POLL_SECONDS", 3_600)
    chosen = settings.from_environment({"JWT_SECRET": JWT_SECRET, "DATABASE_URL": "postgresql://unused"})
    hints = Hints(pool)
    parts = make_parts(pool, chosen, {})
    client = testing.TestClient(create_app(type(parts)(**{**vars(parts), "appended": hints.give})))
    key = api_key(parts.users, 1)
    stop = Event()
    with ThreadPoolExecutor(1) as executor:
        running = executor.submit(Projector(pool).run, stop)
        try:
            for number in range(3):
                query = {"headers": key, "json": email_sent(number), "query_string": "workspace_id=1"}
                wait_for(lambda: _listens(pool))
                assert client.simulate_post("/api/v1/events/", **query).status_code == 200
                wait_for(lambda number=number: state(pool, 1).position == number + 1)  # type: ignore[misc]
        finally:
            stop.set()
            hints.give()
        running.result()
    hints.close()


def _listens(pool: Pool) -> bool:
    with pool.connection() as connection:
        cursor = connection.execute(
            "SELECT FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"
        )
        return cursor.fetchone() is not None


def test_a_busy_workspace_and_many_quiet_ones_are_all_projected(pool: Pool) -> None:
    """The busy one is written to without a pause, and takes the turn of none of a hundred others."""
    written, stop = Event(), Event()

    def write() -> int:
        number = 0
        while not written.is_set():
            record(pool, 1, *(email_sent(each, prospect_id="p") for each in range(number, number + 50)))
            number += 50
        return number

    with ThreadPoolExecutor(2) as executor:
        running = executor.submit(Projector(pool, batch=100).run, stop)
        writing = executor.submit(write)
        try:
            for workspace_id in range(2, 102):
                record(pool, workspace_id, email_sent())
            wait_for(lambda: _behind(pool) <= 1, seconds=60)
            reached = state(pool, 1).position
            wait_for(lambda: state(pool, 1).position > reached)
            assert not writing.done()
        finally:
            written.set()
        number = writing.result()
        wait_for(lambda: _behind(pool) == 0, seconds=60)
        stop.set()
        running.result()
    assert shown(pool, 1)[0]["analytics"]["amount_of_emails_sent"] == number
    assert shown(pool, 101)[0]["analytics"]["amount_of_emails_sent"] == 1


def _behind(pool: Pool) -> int:
    with pool.connection() as connection:
        [(number,)] = connection.execute(
            "SELECT count(*) FROM log_head AS h LEFT JOIN projection AS p USING (workspace_id)"
            " WHERE p.position IS DISTINCT FROM h.head"
        ).fetchall()
    return int(number)


def test_a_journey_of_a_hundred_thousand_events_is_folded(pool: Pool) -> None:
    """It is one row of some megabytes, which a batch rewrites."""
    kinds = ("EmailSent", "ReplyReceived")
    at = (
        f"2026-11-{day:02}T{hour:02}:{minute:02}:00Z"
        for day in range(1, 29)
        for hour in range(24)
        for minute in range(60)
    )
    instants = [next(at) for _ in range(40_000)]
    events = [
        email_sent(number, type=kinds[number % 2], prospect_id="p", occurred_at=instants[number * 7 % 40_000])
        for number in range(100_000)
    ]
    with pool.connection() as connection:
        for first in range(0, len(events), 10_000):
            ledger.record(connection, 1, parsed(*events[first : first + 10_000]))
    project_all(pool)
    assert shown(pool, 1) == reference.campaigns(events)
    replay.replay(pool, 1, ignore)
    assert shown(pool, 1) == reference.campaigns(events)
