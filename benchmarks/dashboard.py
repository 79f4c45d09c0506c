"""The dashboard: what open streams cost the reads beside them, and how soon the page shows things in Chromium."""

import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from statistics import median, quantiles
from typing import Any
from urllib.parse import urlsplit

from benchmarks import measure, processes, read, web, world
from domain.access import Access
from projections import access
from projections.building.projector import Projector
from service import database
from service.clock import clock
from tests.support.browser import NAMES, Reader, launched, reading
from tests.support.examples import api_key
from tests.support.running import Service, serving, users_of
from tests.support.servers import temporary_server

STREAMS, SECONDS, ROUNDS, TURNS = 1_000, 1, 5, 25
READ, WATCHED = 1, 2  # workspaces
PATH = f"/api/v1/dashboard/campaign-analytics/?workspace_id={READ}"
STREAM = f"/api/v1/dashboard/campaign-analytics/stream/?workspace_id={WATCHED}"
QUIET_SECONDS = 30  # two comments of each
CAMPAIGNS, MANY_CAMPAIGNS = 200, 1_000
SHOWN_EVENTS, SORTS = 60, 100
FIRST_VIEW_MS, SORTED_MS, PIXEL_MS = 500, 100, 400


def main() -> None:
    """Measure both."""
    if web.can_be_measured("streams"):
        _beside_streams()
    if any(map(shutil.which, NAMES)):
        _in_chromium()
    else:
        print("the page is not measured: install chromium, for example: apt install chromium", file=sys.stderr)


def _beside_streams() -> None:
    """Ask a process without streams and one with quiet ones of as many users in turns, and print their CPU."""
    with web.service(WATCHED) as (environment, pool, headers):
        users = Access(pool, access.project, clock)
        for number in range(STREAMS):
            users.link(f"reader-{number}", WATCHED, "cli:bench")
        world.fill(pool, READ, world.events(20_000))
        projector = Projector(pool)
        while projector.step():
            pass
        one = {**environment, "WEB_CONCURRENCY": "1"}
        with web.running(one) as (alone, without), web.running(one) as (service, arbiter), _streams(service):
            workers = processes.workers(arbiter)

            def ask(which: str, workers: list[int]) -> float:
                before = processes.cpu(workers)
                reads = SECONDS * web.load(f"{which}{PATH}", headers, connections=read.CONNECTIONS, seconds=SECONDS)
                return reads / (processes.cpu(workers) - before)

            what = f"reads a second of CPU, beside {STREAMS:,} open streams"
            others = processes.workers(without)
            measure.compare(what, lambda: ask(alone, others), lambda: ask(service, workers), 0.9, TURNS)
            before, began = processes.cpu(workers), time.monotonic()
            time.sleep(QUIET_SECONDS)
            share = (processes.cpu(workers) - before) / (time.monotonic() - began)
            print(f"quiet streams take {100 * share:.1f} % of a core ({STREAMS:,} of as many users)", flush=True)


@contextmanager
def _streams(service: str) -> Iterator[None]:
    """Hold open streams, each of a user of its own, from whose first message on."""
    parts = urlsplit(service)
    with ExitStack() as stack:
        opened = []
        for number in range(STREAMS):
            connection = stack.enter_context(socket.create_connection((parts.hostname, parts.port)))
            connection.sendall(read.head(f"{service}{STREAM}", web.session(f"reader-{number}")))
            opened.append(connection)
        for connection in opened:
            received = b""
            while b"event: position" not in received:
                piece = connection.recv(65_536)
                assert piece, received
                received += piece
        yield


def _in_chromium() -> None:
    """Look at many campaigns through the real browser, sort them, and wait for what is posted."""
    with temporary_server(durable=True) as url, launched() as browser:
        database.migrate(url)
        with serving(url) as service, users_of(url) as users:
            headers = api_key(users, 1, 2, 3)
            for workspace, campaigns in ((1, CAMPAIGNS), (2, MANY_CAMPAIGNS)):
                _fill(service, headers, workspace, campaigns)
            key = headers["X-API-Key"]
            with reading(browser, service.url) as reader:
                reader.come(key, "?workspace=1")
                firsts = [_first_view(reader) for _ in range(ROUNDS)]
                _report(f"first view of {CAMPAIGNS} campaigns, after the API's answers", firsts, FIRST_VIEW_MS)
            with reading(browser, service.url) as reader:
                reader.come(key, "?workspace=2")
                _report(f"{MANY_CAMPAIGNS:,} campaigns sorted", _sorts(reader), SORTED_MS)
            with reading(browser, service.url) as reader:
                reader.come(key, "?workspace=3")
                seconds = [_until_shown(service, reader, headers, number) for number in range(SHOWN_EVENTS)]
            worst = 1_000 * quantiles(seconds, n=100)[98]
            print(
                f"from an acknowledgement to the page: median {1_000 * median(seconds):.0f} ms, "
                f"p99 {worst:.0f} ms, goal at most {PIXEL_MS}",
                flush=True,
            )


def _fill(service: Service, headers: dict[str, str], workspace: int, campaigns: int) -> None:
    at = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    events: list[dict[str, Any]] = []
    for campaign in range(1, campaigns + 1):
        about = {"campaign_id": campaign, "occurred_at": at}
        events.append({"id": f"c-{campaign}", "type": "CampaignCreated", "name": f"Campaign {campaign}", **about})
        for prospect in range(1 + campaign % 7):
            name = {"prospect_id": f"p-{prospect}", **about}
            events.append({"id": f"e-{campaign}-{prospect}", "type": "EmailSent", **name})
    position = service.post(workspace, headers, *events).json["position"]
    assert service.dashboard(headers, f"workspace_id={workspace}&min_position={position}").status == 200


# Milliseconds from the end of the last answer that the table is made of to the frame that shows it.
_VIEWED = """() => new Promise(resolve => {
    const answered = Math.max(...performance.getEntriesByType('resource')
        .filter(each => each.name.includes('/campaign-analytics/?')).slice(0, 1).map(each => each.responseEnd));
    resolve(window.shownAt - answered);
})"""
_WATCH = """new MutationObserver((_, observer) => {
    if (document.querySelector('.campaigns tbody tr')) {
        observer.disconnect();
        requestAnimationFrame(() => setTimeout(() => { window.shownAt = performance.now(); }));
    }
}).observe(document, { childList: true, subtree: true });"""
# Milliseconds from a click to the frame after it.
_SORT = """button => new Promise(resolve => {
    const began = performance.now();
    button.click();
    requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now() - began)));
})"""


def _first_view(reader: Reader) -> float:
    page = reader.context.new_page()
    page.add_init_script(_WATCH)
    key = reader.page.evaluate("sessionStorage.getItem('api-key')")
    page.goto(f"{reader.url}/?workspace=1#key={key}")
    page.wait_for_selector(".campaigns tbody tr")
    page.wait_for_timeout(500)
    milliseconds: float = page.evaluate(_VIEWED)
    page.close()
    return milliseconds / 1_000


def _sorts(reader: Reader) -> list[float]:
    button = reader.page.locator("thead button.sort").first
    return [button.evaluate(_SORT) / 1_000 for _ in range(SORTS)]


def _until_shown(service: Service, reader: Reader, headers: dict[str, str], number: int) -> float:
    """Return the seconds from a post's answer until its event stands on the page."""
    at = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    event = {
        "id": f"s-{number}",
        "type": "EmailSent",
        "campaign_id": 1,
        "prospect_id": f"p-{number}",
        "occurred_at": at,
    }
    shown = f'.tile[data-key="amount_of_prospects_contacted"] .number:text-is("{number + 1}")'
    service.post(3, headers, event)
    began = time.perf_counter()
    reader.page.wait_for_selector(shown, timeout=5_000)
    seconds = time.perf_counter() - began
    time.sleep(0.3)  # a stream sends at most four messages a second
    return seconds


def _report(what: str, seconds: list[float], goal: int) -> None:
    worst = quantiles(seconds, n=100)[98] if len(seconds) >= SORTS else max(seconds)
    which = "p99" if len(seconds) >= SORTS else "at most"
    print(f"{what}: median {1_000 * median(seconds):.0f} ms, {which} {1_000 * worst:.0f} ms, goal {goal}", flush=True)
