"""Shows that a replay gives the same again, loses and doubles nothing meanwhile, and is all or nothing."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest

from domain import ledger
from domain.recorder import Pool
from projections.building import generations, replay, verification
from projections.building.projector import Projector
from tests.support import reference
from tests.support.examples import email_sent, parsed, worked_example
from tests.support.read_models import ignore, in_small_pieces, live_rows, project_all, row_counts, shown, state
from tests.support.stored_events import execute, record


def test_a_replay_while_events_are_posted_and_projected_loses_and_doubles_nothing(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three replays in a row, in small batches, beside two writers, a projector and a reader who sees no step back."""
    in_small_pieces(monkeypatch)
    histories = [
        [event for number in range(first, first + 12) for event in worked_example(number)] for first in (1, 50)
    ]
    record(pool, 1, *histories[0][:50])
    written, stop = Event(), Event()
    seen: list[int] = []

    def write(history: list[dict[str, Any]]) -> None:
        for event in history:
            record(pool, 1, event)

    def read() -> None:
        while not written.is_set():
            seen.append(sum(each["analytics"]["amount_of_emails_sent"] for each in shown(pool, 1)))

    with ThreadPoolExecutor(4) as executor:
        projecting = executor.submit(Projector(pool, batch=5).run, stop)
        reading = executor.submit(read)
        writing = [executor.submit(write, history) for history in histories]
        try:
            for _ in range(3):
                replay.replay(pool, 1, ignore)
            for each in writing:
                each.result()
        finally:
            written.set()
            stop.set()
        reading.result()
        projecting.result()
    project_all(pool)
    assert seen == sorted(seen), "emails sent only ever grow: no reader saw a half-built generation"
    assert shown(pool, 1) == reference.campaigns([event for history in histories for event in history])
    assert verification.verify(pool, 1, ignore) == []


def test_a_replay_mends_rows_that_were_tampered_with_and_verify_names_them(pool: Pool) -> None:
    """The log is what counts; the rows can be thrown away."""
    record(pool, 1, *worked_example())
    record(pool, 2, *worked_example())
    project_all(pool)
    execute(pool, "UPDATE campaign SET totals[2] = 99, name = 'X' WHERE workspace_id = 1")
    execute(pool, "DELETE FROM journey WHERE workspace_id = 1 AND prospect_id = 'b'")
    assert verification.verify(pool, 1, ignore) == [
        "workspace 1 campaign 123: name is X, rebuilt None; amount_of_emails_sent is 99, rebuilt 3",
        "workspace 1 campaign 123 prospect b: the journey differs",
    ]
    assert verification.verify(pool, 2, ignore) == []
    replay.replay(pool, 1, ignore)
    assert verification.verify(pool, 1, ignore) == []
    assert shown(pool, 1) == reference.campaigns(worked_example())


def test_verify_names_a_campaign_that_is_missing_or_too_many(pool: Pool) -> None:
    """A row too many is seen as well as a row too few."""
    record(pool, 1, *worked_example(1), *worked_example(2))
    project_all(pool)
    execute(pool, "UPDATE campaign SET campaign_id = 3 WHERE campaign_id = 2")
    assert verification.verify(pool, 1, ignore) == [
        "workspace 1 campaign 2: is only in the log",
        "workspace 1 campaign 3: is only live",
    ]


def test_verify_changes_nothing(pool: Pool) -> None:
    """Neither the live rows, nor the position, nor what is left behind after a sweep."""
    record(pool, 1, *worked_example())
    project_all(pool)
    with pool.connection() as database:
        before = live_rows(database, 1)
        verification.verify(pool, 1, ignore)
        assert live_rows(database, 1) == before
    generations.sweep(pool)
    assert (row_counts(pool, "journey"), row_counts(pool, "campaign"), row_counts(pool, "spare_generation")) == (
        3,
        1,
        0,
    )


def test_a_replay_leaves_only_the_new_rows_once_swept(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old generation is deleted, the new one stays; of a small workspace there is nothing to sweep."""
    monkeypatch.setattr(replay, "NEARLY_THERE", 0)
    record(pool, 1, *worked_example())
    project_all(pool)
    replay.replay(pool, 1, ignore)
    assert row_counts(pool, "journey") == 6
    generations.sweep(pool)
    assert (row_counts(pool, "journey"), row_counts(pool, "campaign"), row_counts(pool, "spare_generation")) == (
        3,
        1,
        0,
    )
    monkeypatch.setattr(replay, "NEARLY_THERE", 100)
    replay.replay(pool, 1, ignore)
    assert (row_counts(pool, "journey"), row_counts(pool, "campaign"), row_counts(pool, "spare_generation")) == (
        3,
        1,
        0,
    )


def test_a_replay_that_was_taken_for_left_behind_touches_nothing(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its rows were swept away under it, the live ones stay what they were."""
    monkeypatch.setattr(replay, "NEARLY_THERE", 0)
    record(pool, 1, *worked_example())
    project_all(pool)

    def sweep_it(_: int) -> None:
        execute(pool, "UPDATE spare_generation SET leased_until = '-infinity'")
        generations.sweep(pool)

    with pytest.raises(generations.SupersededError):
        replay.replay(pool, 1, sweep_it)
    assert shown(pool, 1) == reference.campaigns(worked_example())


REPLAY = """
import sys
from projections.building import replay, replay_by_parts
from service import database
replay.NEARLY_THERE = replay_by_parts.EVENTS_A_CHUNK = 20
replay_by_parts.EVENTS_A_PART = 50
with database.open_pool(sys.argv[1], size=2) as pool:
    print(flush=True)
    while True:
        replay.replay(pool, 1, lambda _: print(flush=True))
"""


@pytest.mark.processes
@pytest.mark.parametrize("steps", [1, 3, 8, 15])
def test_a_replay_killed_at_any_moment_leaves_the_workspace_old_or_new(
    pool: Pool, database_url: str, steps: int
) -> None:
    """Kill -9 between two steps of it: what is live is whole, and the next replay sweeps up what was left behind."""
    events = [email_sent(number) for number in range(200)]
    record(pool, 1, *events)
    project_all(pool)
    process = subprocess.Popen([sys.executable, "-c", REPLAY, database_url], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process:
        for _ in range(steps):
            assert process.stdout.readline() == b"\n", "it runs"
        os.kill(process.pid, signal.SIGKILL)
    assert shown(pool, 1) == reference.campaigns(events)
    execute(pool, "UPDATE spare_generation SET leased_until = least(leased_until, now())")
    replay.replay(pool, 1, ignore)
    generations.sweep(pool)
    assert (row_counts(pool, "journey"), row_counts(pool, "spare_generation")) == (200, 0)
    assert verification.verify(pool, 1, ignore) == []


def test_a_replay_reads_a_log_that_was_never_projected(pool: Pool) -> None:
    """It may come before the first projector."""
    record(pool, 1, *worked_example())
    assert verification.verify(pool, 1, ignore) == []
    replay.replay(pool, 1, ignore)
    assert state(pool, 1).lag == 0
    assert shown(pool, 1) == reference.campaigns(worked_example())
    with pool.connection() as database:
        ledger.record(database, 1, parsed(email_sent(99)))
    project_all(pool)
    assert shown(pool, 1)[0]["analytics"]["amount_of_emails_sent"] == 4


def test_a_replay_of_a_log_that_has_lost_its_end_claims_no_more_than_is_there(pool: Pool) -> None:
    """As after a failover to a standby that lagged: what comes at the lost positions is projected."""
    record(pool, 1, email_sent(1), email_sent(2), email_sent(3))
    project_all(pool)
    execute(pool, "DELETE FROM stored_events WHERE position = 3")
    execute(pool, "UPDATE log_head SET head = 2 WHERE workspace_id = 1")
    replay.replay(pool, 1, ignore)
    assert state(pool, 1).position == 2
    record(pool, 1, email_sent(4))
    project_all(pool)
    assert shown(pool, 1) == reference.campaigns([email_sent(1), email_sent(2), email_sent(4)])
