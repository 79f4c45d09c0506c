"""Shows what happens when definitions change: of the numbers (the fold's version), and of an event's fields."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import msgspec
import pytest
from falcon import testing

from domain import events
from domain.access import Access
from domain.events import ProspectEvent, UndecodableError, decode
from domain.recorder import Pool
from projections import metrics
from projections.building import comparison, generations, rebuilding, replay, verification
from projections.building.projector import Projector
from projections.metrics import FOLD_VERSION, METRICS, in_place
from tests.support import reference
from tests.support.examples import api_key, email_sent, worked_example
from tests.support.read_models import ignore, project_all, shown, state
from tests.support.running import ROOT, environment
from tests.support.stored_events import execute, record
from tests.support.waiting import wait_for


def versions(pool: Pool) -> dict[int, int]:
    """Return by which version of the fold each workspace was folded."""
    with pool.connection() as database:
        return dict(database.execute("SELECT workspace_id, fold_version FROM projection").fetchall())


@contextmanager
def keeping_current(pool: Pool) -> Iterator[None]:
    """Rebuild what an older version has folded, meanwhile."""
    stop = Event()
    with ThreadPoolExecutor(1) as executor:
        running = executor.submit(rebuilding.keep_current, pool, stop)
        try:
            yield
        finally:
            stop.set()
        assert running.result() is None


def test_workspaces_of_an_older_version_are_rebuilt_by_themselves(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest first; those of a newer one are left alone, and one that can't be is logged and not in the way."""
    monkeypatch.setattr(rebuilding, "POLL_SECONDS", 0.01)
    for workspace_id, number in ((1, 3), (2, 2), (3, 1), (4, 1)):
        record(pool, workspace_id, *(email_sent(each) for each in range(number)))
    project_all(pool)
    rebuilt = []
    replaying = replay.replay

    def watched(pool: Pool, workspace_id: int, progress: replay.Progress) -> int:
        rebuilt.append(workspace_id)
        return replaying(pool, workspace_id, progress)

    monkeypatch.setattr(rebuilding, "replay", watched)
    execute(pool, "UPDATE projection SET fold_version = %s WHERE workspace_id <> 3", FOLD_VERSION - 1)
    execute(pool, "UPDATE projection SET fold_version = %s WHERE workspace_id = 3", FOLD_VERSION + 1)
    execute(pool, "UPDATE stored_events SET state = 'damaged' WHERE workspace_id = 4")
    with keeping_current(pool):
        wait_for(lambda: versions(pool)[1] == FOLD_VERSION)
    assert versions(pool) == {1: FOLD_VERSION, 2: FOLD_VERSION, 3: FOLD_VERSION + 1, 4: FOLD_VERSION - 1}
    assert rebuilt == [4, 2, 1]
    assert shown(pool, 1)[0]["analytics"]["amount_of_emails_sent"] == 3


def test_rows_of_another_version_are_read_by_the_names_of_what_they_hold(pool: Pool) -> None:
    """A metric that the older version did not sum is null until the workspace is rebuilt; no request fails."""
    record(pool, 1, *worked_example())
    project_all(pool)
    before = shown(pool, 1)[0]["analytics"]
    other = "ARRAY['amount_of_replies', 'reply_time_ms', 'a_metric_of_the_future', 'amount_of_prospects']"
    execute(pool, f"INSERT INTO fold_version VALUES (99, {other})")
    execute(pool, "UPDATE projection SET fold_version = 99")
    execute(pool, "UPDATE campaign SET totals = ARRAY[totals[7], totals[10], 5, totals[1]]")
    known = ("amount_of_prospects", "amount_of_replies")
    [campaign] = shown(pool, 1)
    assert campaign["analytics"] == {name: value if name in known else None for name, value in before.items()}
    replay.replay(pool, 1, ignore)
    assert shown(pool, 1)[0]["analytics"] == before


def test_the_sums_of_this_version_are_known_by_name_where_they_are_stored(pool: Pool) -> None:
    """A new metric must not be read from an old row's places."""
    execute(pool, "DELETE FROM fold_version WHERE version = %s", FOLD_VERSION)
    replay.replay(pool, 1, ignore)
    with pool.connection() as database:
        [(measures,)] = database.execute("SELECT measures FROM fold_version WHERE version = %s", (FOLD_VERSION,))
    assert measures == [metric.name for metric in METRICS if not isinstance(metric.rule, metrics.Derived)]
    assert in_place(range(len(measures)), measures) == list(range(len(measures)))


def test_a_version_that_sums_other_measures_than_it_did_writes_nothing(pool: Pool) -> None:
    """Whoever changes the measures without raising FOLD_VERSION is stopped before rows are misread."""
    record(pool, 1, *worked_example())
    project_all(pool)
    before = shown(pool, 1)
    execute(pool, "UPDATE fold_version SET measures = measures[2:] WHERE version = %s", FOLD_VERSION)
    record(pool, 1, email_sent(99))
    with pytest.raises(generations.OtherMeasuresError, match="raise FOLD_VERSION"):
        replay.replay(pool, 1, ignore)
    with pytest.raises(generations.OtherMeasuresError):
        Projector(pool).run(Event())
    assert shown(pool, 1) == before


def test_what_an_older_version_knew_of_a_campaign_is_read_until_it_is_rebuilt(
    client: testing.TestClient, pool: Pool, users: Access
) -> None:
    """Version 3 stored only what stood, not the campaign's events; its rows have no number of events that count."""
    created = {"type": "CampaignCreated", "name": "A", "timezone": "Europe/Berlin"}
    record(pool, 340, {"id": "c", "campaign_id": 1, "occurred_at": "1970-01-01T00:00:01Z", **created})
    project_all(pool)
    headers = api_key(users, 340)
    before = client.simulate_get("/api/v1/campaigns/", headers=headers).json
    stood = [[1000, False, "A"], [1000, False, "DRAFT"], [1000, False, "Europe/Berlin"], None, 1000, 1000]
    execute(pool, "UPDATE campaign SET about = %s, counted = DEFAULT", msgspec.msgpack.encode(stood))
    execute(pool, "INSERT INTO fold_version VALUES (3, %s)", [measure.name for measure in metrics.MEASURES])
    execute(pool, "UPDATE projection SET fold_version = 3")
    assert client.simulate_get("/api/v1/campaigns/", headers=headers).json == before
    assert before["campaigns"][0]["timezone"] == "Europe/Berlin"
    assert comparison.changes(pool, 340, ignore) == []
    replay.replay(pool, 340, ignore)
    assert client.simulate_get("/api/v1/campaigns/", headers=headers).json == before
    assert verification.verify(pool, 340, ignore) == []


OLDER = """
from projections import metrics
metrics.FOLD_VERSION -= 1
from service.cli import main
main(["project"])
"""


@pytest.mark.processes
def test_an_old_projector_beside_a_new_one_touches_none_of_its_rows(
    pool: Pool, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old and new may run side by side while a new version is brought in; in the end everything is the new one's."""
    monkeypatch.setattr(rebuilding, "POLL_SECONDS", 0.01)
    first, rest = worked_example()[:5], worked_example()[5:]
    old = subprocess.Popen(
        [sys.executable, "-c", OLDER], cwd=ROOT, env=environment(DATABASE_URL=database_url, LOG_LEVEL="warning")
    )
    stop = Event()
    try:
        record(pool, 1, *first)
        wait_for(lambda: state(pool, 1).lag == 0)
        assert versions(pool) == {1: FOLD_VERSION - 1}
        record(pool, 2, *first)
        replay.replay(pool, 2, ignore)
        record(pool, 2, *rest)
        record(pool, 1, *rest)
        wait_for(lambda: state(pool, 1).lag == 0)
        assert state(pool, 2).lag == len(rest), "the old one leaves the new one's alone"
        with ThreadPoolExecutor(1) as executor, keeping_current(pool):
            running = executor.submit(Projector(pool).run, stop)
            for workspace_id in range(3, 9):
                record(pool, workspace_id, *worked_example())  # either may be the first to see these
            wait_for(lambda: len(versions(pool)) == 8 and set(versions(pool).values()) == {FOLD_VERSION})
            wait_for(lambda: all(state(pool, workspace_id).lag == 0 for workspace_id in range(1, 9)))
            stop.set()
            assert running.result() is None
    finally:
        stop.set()
        old.send_signal(signal.SIGTERM)
        assert old.wait(20) == 0
    for workspace_id in range(1, 9):
        assert shown(pool, workspace_id) == reference.campaigns(worked_example())
        assert verification.verify(pool, workspace_id, ignore) == []


class EmailSent(ProspectEvent, frozen=True, kw_only=True, tag_field="class_version", tag=3):
    """What an e-mail that was sent may become: in version 2 `sender_id` was renamed, in version 3 a field was added."""

    mailbox: str | None = None
    bulk: bool

    @staticmethod
    def upcast_v1_v2(state: dict[str, object]) -> None:
        """Rename `sender_id`."""
        state["mailbox"] = state.pop("sender_id", None)

    @staticmethod
    def upcast_v2_v3(state: dict[str, object]) -> None:
        """Earlier ones were never sent in bulk."""
        state["bulk"] = False


def test_an_event_of_an_earlier_version_is_read_as_todays(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored stays as it is; what is read is as if it had always been written so."""
    record(pool, 1, email_sent(1, sender_id="s"))
    topic = "domain.events:EmailSent"
    with pool.connection() as database:
        [(stored,)] = database.execute("SELECT state FROM stored_events").fetchall()
    monkeypatch.setitem(events._DECODE, topic, events.decoder_of(EmailSent))
    fields = {"id": "e-1", "campaign_id": 123, "occurred_at": 1793527200000, "prospect_id": "p-1"}
    today = EmailSent(**fields, mailbox="s", bulk=False)  # type: ignore[arg-type]
    assert decode(topic, stored) == today
    assert decode(topic, msgspec.json.encode({**fields, "class_version": 2, "mailbox": "s"})) == today
    state = msgspec.json.encode(today)
    assert (msgspec.json.decode(state)["class_version"], decode(topic, state)) == (3, today)
    project_all(pool)
    assert shown(pool, 1)[0]["analytics"]["amount_of_emails_sent"] == 1


def test_an_event_of_a_later_version_is_not_guessed_at() -> None:
    """The event stops its workspace with a reason, until the program that knows it runs."""
    state = b'{"class_version":2,"id":"e-1","campaign_id":1,"occurred_at":1,"prospect_id":"p"}'
    with pytest.raises(UndecodableError, match=r"it is of version 2, this program knows EmailSent up to 1"):
        decode("domain.events:EmailSent", state)
