"""Shows that the processes of a service send one trace of a post to a collector, and go on without one."""

import subprocess
import sys
from itertools import count

import pytest

from tests.support.databases import Databases
from tests.support.examples import JWT_SECRET, api_key, email_sent
from tests.support.running import environment, serving, users_of
from tests.support.waiting import wait_for

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")
from tests.support.collector import Collector, Span, collector

pytestmark = pytest.mark.processes

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
AT_ONCE = {"OTEL_BSP_SCHEDULE_DELAY": "50"}
IMPORTED = """
import sys
from service import cli, settings, spans
from service.commands import parser, projecting, read_models
from service.web import application
assert spans.of(settings.from_environment({})) is None
print([name for name in sys.modules if name.startswith("opentelemetry") or name == "api.tracing"])
"""


def test_a_post_is_one_trace_through_the_worker_and_the_projector(databases: Databases) -> None:
    """Each process sends its own spans, after its fork; nothing about a trace is stored."""
    with (
        databases.lend() as url,
        users_of(url) as users,
        collector() as collecting,
        serving(url, WEB_CONCURRENCY="2", OTEL_EXPORTER_OTLP_ENDPOINT=collecting.url, **AT_ONCE) as service,
    ):
        key = {**api_key(users, 340), "traceparent": f"00-{TRACE}-{SPAN}-01"}

        def is_one_trace(last: int) -> bool:
            """Post an event; a projector that polls just before the hint comes makes a trace of its own, seldom."""
            posted = service.post(340, key, email_sent(last)).json["position"]
            spans = (
                spans_at(collecting, "append", "position", posted),
                spans_at(collecting, "project", "last", posted),
            )
            requests = [each for each in collecting.named("POST /api/v1/events") if each.parent == SPAN]
            (append, batch), request = spans, next(each for each in requests if each.id == spans[0].parent)
            assert (append.trace, request.trace) == (TRACE, TRACE)
            assert {each.service for each in (append, request, batch)} == {"campaign-analytics"}
            wait_for(lambda: f"{TRACE}-{request.id}-" in service.output)
            return (batch.trace, batch.parent) == (TRACE, request.id)

        numbers = count()
        for _ in service.each_worker():
            wait_for(lambda: is_one_trace(next(numbers)))


def spans_at(collecting: Collector, name: str, attribute: str, position: int) -> Span:
    """Wait for a span of this name about this position, and for its request's; return it."""

    def spans() -> list[Span]:
        return [
            each for each in collecting.named(name) if each.attributes[f"campaign_analytics.{attribute}"] == position
        ]

    wait_for(lambda: bool(spans()) and len(collecting.named("POST /api/v1/events")) >= len(collecting.named("append")))
    return spans()[0]


def test_a_collector_that_is_away_costs_no_request(databases: Databases) -> None:
    """It is logged once that spans can't be sent and once that they can; the end waits for nothing."""
    with (
        databases.lend() as url,
        users_of(url) as users,
        collector() as collecting,
        serving(url, OTEL_EXPORTER_OTLP_ENDPOINT=collecting.url, **AT_ONCE) as service,
    ):
        key = api_key(users, 340)
        collecting.status = 400
        for number in range(3):
            assert service.post(340, key, email_sent(number)).status == 200
            wait_for(lambda number=number: collecting.refused > number)  # type: ignore[misc]
        assert service.output.count("spans can't be sent") <= 2  # of the worker and of the projector
        collecting.status = 200
        assert service.post(340, key, email_sent(3)).status == 200
        wait_for(lambda: "spans are sent again" in service.output)
        collecting.status = 503
        assert service.post(340, key, email_sent(4)).status == 200
        service.stop()


def test_nothing_of_it_is_imported_where_no_collector_is_named() -> None:
    """Neither by the API nor by the projector."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED],
        env=environment(JWT_SECRET=JWT_SECRET),
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "[]\n"
