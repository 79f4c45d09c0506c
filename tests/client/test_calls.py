"""What a call takes, refuses and keeps."""

import inspect
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from campaign_analytics_client import Client, ClosedError, ForkedError, InvalidEventError, RecordingClient
from campaign_analytics_client.events import MAX_EVENT_BYTES, ProspectMethod
from campaign_analytics_client.spool import Spool

from domain.events import EVENTS
from domain.parsing import RejectedError, parse
from tests.client.dummy import Dummy
from tests.client.spooled import python_path
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

NOWHERE = "http://127.0.0.1:1"  # nothing listens there
AT = datetime(2026, 11, 1, 11, 0, 0, 999_999, timezone(timedelta(hours=1)))
EVENT = {"type": "EmailSent", "campaign_id": 123, "prospect_id": "p-1"}
LATER = {"ProspectNeutral", "ReplyWasAutomatic", "EventRetracted"}  # that a service may not know yet


def spooled_events(spool: Path) -> list[dict[str, Any]]:
    """Return the events that wait in a spool."""
    opened = Spool(spool)
    try:
        return [json.loads(row.body) for row in opened.first(10_000, 10**9)]
    finally:
        opened.close()


def test_each_kind_of_event_has_a_method_with_the_fields_of_the_service() -> None:
    client = RecordingClient()
    for name, method in inspect.getmembers(RecordingClient, lambda each: isinstance(each, ProspectMethod)):
        getattr(client, name)(7, campaign_id=5, occurred_at=AT, id=name, source="s", step=1, sender_id="m", variant="A")
        assert method.__doc__
    client.reply_received("p", campaign_id=5, occurred_at=AT, channel="email", automatic=True)
    client.campaign_created("Name", campaign_id=5, status="ACTIVE", timezone="Europe/Berlin", language="de")
    client.campaign_renamed("Other", campaign_id=5, occurred_at="2026-11-01T10:00:00Z")
    client.campaign_status_changed("PAUSED", campaign_id=5, source="s")
    client.event_retracted(("e-1", "s"), prospect_id="p", campaign_id=5)
    assert {event["type"] for event in client.events} == {event.__name__ for event in EVENTS} | LATER
    for event in client.events:
        try:
            parse(event, 2**62)
        except RejectedError as error:
            assert event["type"] in LATER, (event, error.error)
            assert error.code == "unknown_type"
    assert client.events[0]["occurred_at"] == "2026-11-01T10:00:00.999Z"
    assert client.events[-1]["retracts"] == {"id": "e-1", "source": "s"}


def test_a_campaign_may_be_named_by_its_key() -> None:
    client = RecordingClient()
    client.email_sent("p", campaign_key="lemlist:cam_1")
    assert client.events[0]["campaign_key"] == "lemlist:cam_1"
    assert "campaign_id" not in client.events[0]


def test_an_event_gets_an_id_and_a_time_when_it_is_spooled(spool: Path) -> None:
    now = datetime(2026, 11, 1, 10, 0, tzinfo=UTC)
    with_clock = Client(NOWHERE, "k.s", 340, spool, now=lambda: now)
    ids = [with_clock.send(EVENT), with_clock.email_sent("p-2", campaign_id=1)]
    with_clock.close(timeout=0)
    assert [event["id"] for event in spooled_events(spool)] == ids
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)
    assert len(set(ids)) == 2
    assert {event["occurred_at"] for event in spooled_events(spool)} == {"2026-11-01T10:00:00.000Z"}


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ([], "event"),
        ({1: 2}, "event"),
        ({}, "type"),
        ({**EVENT, "type": 5}, "type"),
        ({**EVENT, "campaign_id": None}, "campaign_id"),
        ({**EVENT, "campaign_key": "a:b"}, "campaign_id"),
        ({**EVENT, "id": "mine"}, "occurred_at"),
        ({**EVENT, "id": 5, "occurred_at": "2026-11-01T10:00:00Z"}, "id"),
        ({**EVENT, "occurred_at": datetime(2026, 11, 1)}, "occurred_at"),  # noqa: DTZ001 (it has no zone)
        ({**EVENT, "variant": "\ud800"}, "event"),
        ({**EVENT, "step": float("nan")}, "event"),
        ({**EVENT, "step": {1, 2}}, "event"),
        ({**EVENT, "variant": "x" * MAX_EVENT_BYTES}, "event"),
    ],
)
def test_what_could_never_be_sent_is_refused_by_the_call(spool: Path, event: Any, field: str) -> None:
    client = Client(NOWHERE, "k.s", 340, spool)
    for call in (client.send, lambda each: client.send_many([EVENT, each]), RecordingClient().send):
        with pytest.raises(InvalidEventError, match=f"^{field}: "):
            call(event)
    assert client.stats().pending == 0
    client.close(timeout=0)


def test_a_batch_is_spooled_when_its_block_ends_also_by_an_error(spool: Path) -> None:
    client = Client(NOWHERE, "k.s", 340, spool)
    with client.batch() as batch:
        ids = [batch.email_sent(f"p-{number}", campaign_id=1) for number in range(1_000)]
        assert client.stats().pending == 0
    assert client.stats().pending == 1_000
    with pytest.raises(ZeroDivisionError), client.batch() as batch:
        ids.append(batch.send(EVENT))
        _ = 1 / 0
    client.close(timeout=0)
    assert [event["id"] for event in spooled_events(spool)] == ids


def test_calls_of_many_threads_share_a_commit_and_lose_nothing(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(NOWHERE, "k.s", 340, spool)
    commits: list[int] = []
    append = client._spool.append

    def counted(bodies: Sequence[bytes]) -> None:
        commits.append(len(bodies))
        append(bodies)

    monkeypatch.setattr(client._spool, "append", counted)
    ids: list[list[str]] = [[] for _ in range(16)]
    threads = [
        threading.Thread(target=lambda mine=mine: mine.extend(client.send(EVENT) for _ in range(20))) for mine in ids
    ]
    with client._spool._database.lock:  # the first commit waits until all have called
        for thread in threads:
            thread.start()
        wait_for(lambda: sum(commits) + client._commits._waiting.qsize() == 16)
    for thread in threads:
        thread.join(60)
    client.close(timeout=0)
    assert sum(commits) == 16 * 20
    assert len(commits) < 16 * 20
    assert max(commits) >= 8
    stored = [event["id"] for event in spooled_events(spool)]
    assert sorted(stored) == sorted(each for mine in ids for each in mine)
    for mine in ids:  # each thread's in its own order
        assert [each for each in stored if each in set(mine)] == mine


def test_each_commit_is_synced_to_the_disk(spool: Path) -> None:
    client = Client(NOWHERE, "k.s", 340, spool)
    with client._spool._database.reading() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    client.close(timeout=0)


KILLED = """
import sys, threading
from campaign_analytics_client import Client
client = Client(sys.argv[1], "k.s", 340, sys.argv[2])
lock = threading.Lock()
def tell():
    while True:
        event_id = client.email_sent("p-1", campaign_id=1)
        with lock:
            print(event_id, flush=True)
for _ in range(4):
    threading.Thread(target=tell).start()
"""


@pytest.mark.processes
def test_what_a_call_has_returned_survives_a_kill(spool: Path, server: Dummy) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, server.url, str(spool)], stdout=subprocess.PIPE, env=python_path(), text=True
    )
    assert process.stdout is not None
    returned = [process.stdout.readline().strip() for _ in range(300)]
    process.kill()
    rest, _ = process.communicate(timeout=30)
    returned += [line for line in rest.split("\n")[:-1] if line]
    with Client(server.url, "k.s", 340, spool) as client:
        assert client.flush(30)
    assert set(returned) <= set(server.taken)


@pytest.mark.processes
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_says_that_it_needs_a_client_of_its_own(spool: Path, server: Dummy) -> None:
    client = Client(server.url, "k.s", 340, spool)
    client.send(EVENT)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            client.send(EVENT)
        except ForkedError:
            client.close()
            own = Client(server.url, "k.s", 340, spool)
            own.send(EVENT)
            own.close(timeout=0)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    client.send(EVENT)
    assert client.flush(30)
    assert len(set(server.taken)) == 3
    client.close()


def test_a_closed_client_takes_nothing(spool: Path, server: Dummy) -> None:
    client = Client(server.url, "k.s", 340, spool)
    client.close()
    client.close()
    calls: list[Callable[[], Any]] = [lambda: client.send(EVENT), client.stats, client.dead, client.resume]
    for call in calls:
        with pytest.raises(ClosedError):
            call()


@pytest.mark.parametrize(
    "arguments",
    [
        ("ftp://host", "k.s", 340),
        ("https://", "k.s", 340),
        ("https://host/?x=1", "k.s", 340),
        ("https://host", "", 340),
        ("https://host", "k\r\nX: y", 340),
        ("https://host", "k.s", 0),
        ("https://host", "k.s", True),
        ("https://host", "k.s", "340"),
        ("https://host", "k.s", 2**63),
    ],
)
def test_a_bad_argument_is_named(spool: Path, arguments: Any) -> None:
    with pytest.raises(ValueError, match=r"^(url|api_key|workspace_id): "):
        Client(arguments[0], arguments[1], arguments[2], spool)
    assert not spool.exists()


def test_the_double_has_what_the_client_has() -> None:
    def public(kind: type) -> dict[str, list[str]]:
        members = inspect.getmembers(kind, lambda each: callable(each) or isinstance(each, ProspectMethod))
        return {
            name: list(inspect.signature(each).parameters) if callable(each) else []
            for name, each in members
            if not name.startswith("_")
        }

    assert public(RecordingClient) == public(Client)
    with RecordingClient() as double:
        with double.batch() as batch:
            batch.send(EVENT)
        double.send_many([EVENT, EVENT])
        assert double.flush(1)
        assert double.stats().accepted == len(double.events) == 3
    with pytest.raises(ClosedError):
        double.send(EVENT)


@pytest.mark.processes
def test_a_signal_in_a_call_stops_no_other_call(spool: Path) -> None:
    """A handler may raise while the call waits for its turn."""
    code = """
import os, signal, sys, threading
from campaign_analytics_client import Client
client = Client("http://127.0.0.1:1", "k.s", 340, sys.argv[1])
class Interrupted(Exception): pass
def interrupt(*_): raise Interrupted
signal.signal(signal.SIGALRM, interrupt)
stop = threading.Event()
def tell():
    while not stop.is_set():
        client.email_sent("p", campaign_id=1)
threads = [threading.Thread(target=tell) for _ in range(4)]
for thread in threads: thread.start()
interrupts = 0
while interrupts < 50:
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        while True:
            client.email_sent("p", campaign_id=1)
    except Interrupted:
        interrupts += 1
stop.set()
for thread in threads: thread.join(30)
assert not any(thread.is_alive() for thread in threads)
print(client.email_sent("last", campaign_id=1))
client.close(timeout=0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(spool)],
        check=False,
        timeout=60,
        capture_output=True,
        text=True,
        env=python_path(),
    )
    assert done.returncode == 0, done.stderr
    assert spooled_events(spool)[-1]["id"] == done.stdout.strip()


@pytest.mark.processes
def test_a_handler_of_a_signal_may_tell_events_too(spool: Path) -> None:
    """Wherever the call is that it interrupts: a worker's last event, at SIGTERM, say."""
    code = """
import signal, sys
from campaign_analytics_client import Client
client = Client("http://127.0.0.1:1", "k.s", 340, sys.argv[1])
handled = 0
def tell(*_):
    global handled
    handled += 1
    client.email_sent("handler", campaign_id=1)
    if handled < 1_000:
        signal.setitimer(signal.ITIMER_REAL, 0.0003)
signal.signal(signal.SIGALRM, tell)
signal.setitimer(signal.ITIMER_REAL, 0.0003)
while handled < 1_000:
    client.email_sent("p", campaign_id=1)
client.close(timeout=0)
"""
    command = [sys.executable, "-c", code, str(spool)]
    subprocess.run(command, check=True, timeout=60, env=python_path())
    told = [each["prospect_id"] for each in spooled_events(spool)]
    assert told.count("handler") == 1_000


@pytest.mark.processes
def test_ctrl_c_leaves_nothing_behind_but_the_spool(spool: Path, server: Dummy) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, server.url, str(spool)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=python_path(),
        text=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline().strip()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    with Client(server.url, "k.s", 340, spool) as client:
        assert client.flush(30)
    assert first in server.taken
