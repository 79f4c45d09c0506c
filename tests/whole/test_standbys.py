"""Shows what becomes of a primary's end under load, and what a standby answers meanwhile: never less, never old."""

import json
import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from service import database
from tests.support.examples import api_key, email_sent
from tests.support.running import ROOT, Service, environment, serving, users_of
from tests.support.servers import frozen
from tests.support.standbys import kill, pair
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
RELEASE = re.findall(r"go on\s+without it: `(ALTER SYSTEM .*?)` and `(SELECT .*?)`", RUNBOOK)[0]
GOES_ON_SECONDS = 10.0  # after a promotion
LARGE = 120  # events, of a body that a thread parses and appends
ANALYTICS = "/api/v1/dashboard/campaign-analytics/"


class Load:
    """Writers, each to its workspace, and readers; the ids of what was acknowledged, and when answers came."""

    def __init__(self, service: Service, key: dict[str, str]) -> None:
        """Take the service, and the key to post and to read with."""
        self.acknowledged: dict[int, set[str]] = {}
        self.statuses: set[tuple[str, int]] = set()
        self._service, self._key = service, key
        self._stop = threading.Event()

    def write(self, workspace_id: int, size: int) -> None:
        """Post so many events at a time until the end; each post once, whatever becomes of it."""
        done = self.acknowledged[workspace_id] = set()
        number = 0
        while not self._stop.is_set():
            events = [email_sent(number + place) for place in range(size)]
            number += size
            status = self._service.post(workspace_id, self._key, *events).status
            self.statuses.add(("post", status))
            if status == 200:
                done.update(each["id"] for each in events)

    def read(self, path: str) -> None:
        """Ask the same again and again until the end."""
        while not self._stop.is_set():
            self.statuses.add((path, self._service.request("GET", path, self._key).status))

    @contextmanager
    def running(self, *work: Callable[[], None]) -> Iterator[None]:
        """Do all of it meanwhile."""
        with ThreadPoolExecutor(len(work)) as executor:
            begun = [executor.submit(each) for each in work]
            try:
                yield
            finally:
                self._stop.set()
            for each in begun:
                each.result()


def stored(url: str, workspace_id: int) -> set[str]:
    """Return the ids of all events of a workspace."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT state FROM stored_events WHERE workspace_id = %s", (workspace_id,))
        return {json.loads(bytes(state))["id"] for (state,) in rows}


def command(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of our commands as a process."""
    return subprocess.run(
        [sys.executable, "-m", "service.cli", *arguments],
        cwd=ROOT,
        env=environment(DATABASE_URL=url),
        capture_output=True,
        text=True,
        check=False,
    )


def head(service: Service, key: dict[str, str], workspace_id: int) -> int:
    """Post one event more, and return its position."""
    answer = service.post(workspace_id, key, email_sent(time.monotonic_ns()))
    assert answer.status == 200, answer.body
    return int(answer.json["position"])


def metric(service: Service, outcome: str) -> float:
    """Return how many reads for standbys have had this outcome."""
    name = f'campaign_analytics_standby_reads_total{{outcome="{outcome}"}} '
    [line] = [line for line in service.request("GET", "/metrics").body.decode().splitlines() if line.startswith(name)]
    return float(line.removeprefix(name))


def test_nothing_acknowledged_is_lost_where_a_synchronous_standby_takes_over(tmp_path: Path) -> None:
    """Writers, readers and the projector go on by themselves within ten seconds of the promotion."""
    with pair(tmp_path) as servers, users_of(servers.both) as users:
        key = api_key(users, 340, 341, 342)
        servers.follow_synchronously()
        with serving(servers.both, DATABASE_READ_URL=servers.both) as service:
            load = Load(service, key)
            with load.running(
                lambda: load.write(340, 1),
                lambda: load.write(341, 1),
                lambda: load.write(342, LARGE),
                lambda: load.read(f"{ANALYTICS}?workspace_id=340"),
                lambda: load.read(f"{ANALYTICS}timeseries/?workspace_id=342"),
            ):
                wait_for(lambda: all(len(each) > 20 for each in load.acknowledged.values()))
                kill(servers.primary)
                wait_for(lambda: ("post", 503) in load.statuses)
                servers.promote()
                promoted = time.monotonic()
                before = {each: len(ids) for each, ids in load.acknowledged.items()}
                for workspace_id in load.acknowledged:
                    wait_for(lambda each=workspace_id: len(load.acknowledged[each]) > before[each])  # type: ignore[misc]
                    query = f"workspace_id={workspace_id}&min_position={head(service, key, workspace_id)}"
                    wait_for(lambda query=query: service.dashboard(key, query).status == 200)  # type: ignore[misc]
                assert time.monotonic() - promoted < GOES_ON_SECONDS
            for workspace_id, ids in load.acknowledged.items():
                assert ids <= stored(servers.standby, workspace_id)
            assert {status for _, status in load.statuses} == {200, 503}
            verified = command(servers.both, "replay", "--verify")
            assert verified.returncode == 0, verified.stdout + verified.stderr


def test_readers_learn_where_an_asynchronous_standby_lacks_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What it lacks is gone, and other events come to the same positions: no reader takes one past for the other.

    A command that begins in between waits.
    """
    caplog.set_level(logging.DEBUG, "service.database")
    with pair(tmp_path) as servers, users_of(servers.both) as users:
        key = api_key(users, 340)
        paths = [f"{path}?workspace_id=340" for path in (ANALYTICS, f"{ANALYTICS}timeseries/", "/api/v1/events/")]
        with serving(servers.both) as service, ThreadPoolExecutor(1) as commands:

            def post(numbers: range, campaign_id: int) -> None:
                events = [email_sent(number, campaign_id=campaign_id) for number in numbers]
                position = service.post(340, key, *events).json["position"]
                wait_for(lambda: service.dashboard(key, f"workspace_id=340&min_position={position}").status == 200)

            post(range(10), 123)
            servers.caught_up()
            servers.cut_off()
            post(range(10, 15), 7)
            lost = {path: service.request("GET", path, key) for path in paths}
            epoch = lost[paths[-1]].json["epoch"]
            kill(servers.primary)
            begun = commands.submit(database.connect_patiently, servers.both)  # as every command does
            wait_for(lambda: "no host takes writes yet" in caplog.text)
            servers.promote()
            promoted = time.monotonic()
            feed = f"{paths[-1]}&after=15&epoch={epoch}"
            wait_for(lambda: service.request("GET", feed, key).status == 409)
            assert time.monotonic() - promoted < GOES_ON_SECONDS
            begun.result().close()
            post(range(20, 25), 8)
            assert service.request("GET", feed, key).status == 409
            for path, answer in lost.items():
                again = service.request("GET", path, {**key, "If-None-Match": answer.headers["ETag"]})
                assert again.status == 200, path
                assert again.headers["ETag"] != answer.headers["ETag"]
            sent = {
                each["id"]: each["analytics"]["amount_of_emails_sent"]
                for each in service.dashboard(key, "workspace_id=340").json["campaigns"]
            }
            assert sent == {123: 10, 8: 5}
            assert "logs have a new epoch" in service.output
            verified = command(servers.both, "replay", "--verify")
            assert verified.returncode == 0, verified.stdout + verified.stderr


LARGE_READS = (
    f"{ANALYTICS}timeseries/?workspace_id=340",
    f"{ANALYTICS}breakdown/?workspace_id=340",
    f"{ANALYTICS}123/explain/?workspace_id=340&metric=amount_of_emails_sent",
    f"{ANALYTICS}?workspace_id=340&format=csv",
    f"{ANALYTICS}summary/?workspace_id=ALL",
    "/api/v1/campaigns/?workspace_id=340",
    "/api/v1/events/?workspace_id=340",
)


def test_a_standby_that_lags_freezes_or_dies_changes_no_answer(tmp_path: Path) -> None:
    """It is read only where it has what the primary has: numbers, links, keys, and who is forgotten.

    Posts do wait for a synchronous one, until an operator does what the runbook says.
    """
    with (
        pair(tmp_path) as servers,
        users_of(servers.primary) as users,
        serving(servers.primary, DATABASE_READ_URL=servers.both) as service,
    ):
        key = api_key(users, 340)

        def ask(caller: dict[str, str], path: str, **headers: str) -> Any:
            return service.request("GET", path, {**caller, **headers})

        service.post(340, key, *[email_sent(number) for number in range(5)])
        assert service.dashboard(key, "workspace_id=340&min_position=5").status == 200
        servers.caught_up()
        before = {path: ask(key, path) for path in LARGE_READS}
        assert {answer.status for answer in before.values()} == {200}
        assert metric(service, "used") == len(LARGE_READS)
        assert metric(service, "used") == len(LARGE_READS)
        with servers.lagging():
            assert service.post(340, key, email_sent(5)).json["position"] == 6
            assert service.dashboard(key, "workspace_id=340&min_position=6").status == 200
            for path in LARGE_READS[:-1]:
                reached = f"{path}&min_position=6" if "ALL" not in path else path
                answer = ask(key, reached, **{"If-None-Match": before[path].headers["ETag"]})
                assert answer.status == 200, path
                assert answer.headers["X-Lag"] == "0"
                assert ask(key, path, **{"If-None-Match": answer.headers["ETag"]}).status == 304
            assert len(ask(key, LARGE_READS[-1]).json["events"]) == 6
            assert metric(service, "behind") == len(LARGE_READS)
            other = api_key(users, 340, user="u-2")
            assert {ask(other, path).status for path in LARGE_READS} == {200}, "a new key and link count at once"
            users.unlink("u-2", 340, by="cli:test")
            assert {ask(other, path).status for path in LARGE_READS if "ALL" not in path} == {403}
            admin = api_key(users, 340, user="u-3", scopes=("admin",))
            assert service.request("DELETE", "/api/v1/prospects/p-3/?workspace_id=340", admin).status == 200
            for path in (LARGE_READS[2], LARGE_READS[-1]):
                assert "p-3" not in ask(key, path).body.decode(), path
            assert metric(service, "used") == len(LARGE_READS)
        servers.caught_up()
        assert "p-3" not in ask(key, f"{LARGE_READS[-1]}&limit=5").body.decode()
        assert metric(service, "used") == len(LARGE_READS) + 1
        servers.follow_synchronously()
        with frozen(servers.standby), ThreadPoolExecutor(2) as executor:
            posted = executor.submit(service.post, 340, key, email_sent(6))
            read = executor.submit(ask, key, f"{LARGE_READS[0]}&interval=week")
            assert service.dashboard(key, "workspace_id=340").status == 200
            assert read.result().status == 200
            assert posted.result().status == 503
            with psycopg.connect(servers.primary, autocommit=True) as operator:
                for statement in RELEASE:
                    operator.execute(statement.encode())
            wait_for(lambda: service.post(340, key, email_sent(6)).status == 200)
        kill(servers.standby)
        assert service.post(340, key, email_sent(7)).status == 200
        assert {ask(key, path).status for path in LARGE_READS} == {200}
        assert metric(service, "away") > 0
        assert "no standby answers, the primary is read" in service.output
