"""Shows which spans requests, appends and batches leave where they are traced, and how these hang together."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from falcon import testing

from api.app import create_app
from connectors.made_up import made_up
from connectors.providers import PROVIDERS
from domain.access import Access
from domain.recorder import Pool
from projections.building.projector import Projector
from service import settings, spans
from service.clock import clock
from service.web.application import make_parts
from tests.support.examples import JWT_SECRET, api_key, email_sent
from tests.support.hooks import add_hook, deliver

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, format_span_id, format_trace_id

from api.tracing import MOST_AWAITED, Tracing

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
POSTS = "/api/v1/events/"
COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


class Traced:
    """An application that is traced, with a projector that hears its hints when a test has it."""

    def __init__(self, pool: Pool, users: Access) -> None:
        """Take the database."""
        self._ended = InMemorySpanExporter()
        self.tracing = Tracing(SimpleSpanProcessor(self._ended))
        self.hints: list[str] = []
        parts = make_parts(pool, settings.from_environment({"JWT_SECRET": JWT_SECRET}), {})
        parts = replace(parts, tracing=self.tracing, appended=lambda *about: self.hints.append(",".join(about)))
        self.client = testing.TestClient(create_app(parts))
        self.key = api_key(users, 340)
        self.projector = Projector(pool, tracer=self.tracing)

    def post(self, *events: dict[str, Any], **headers: str) -> None:
        """Post events."""
        result = self.client.simulate_post(
            POSTS, query_string="workspace_id=340", headers={**self.key, **headers}, json=list(events)
        )
        assert result.status_code == 200

    def project(self) -> None:
        """Let the projector hear of what was posted, and fold it."""
        for hint in self.hints:
            self.tracing.hinted(hint)
        self.hints.clear()
        self.projector.step()

    def spans(self) -> list[ReadableSpan]:
        """Return the spans that have ended, in that order."""
        return list(self._ended.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        """Return those of a name."""
        return [each for each in self.spans() if each.name == name]


@pytest.fixture
def traced(pool: Pool, users: Access) -> Iterator[Traced]:
    """Give an application that is traced."""
    made = Traced(pool, users)
    yield made
    made.tracing.close()


def ids(span: ReadableSpan) -> tuple[str, str | None]:
    """Return the ids of a span's trace and of its parent."""
    assert span.context is not None
    return format_trace_id(span.context.trace_id), span.parent and format_span_id(span.parent.span_id)


def own(span: ReadableSpan) -> str:
    """Return a span's id."""
    assert span.context is not None
    return format_span_id(span.context.span_id)


@pytest.mark.parametrize("events", [1, 200])
def test_a_post_its_append_and_its_batch_are_one_trace(traced: Traced, events: int) -> None:
    """That of the caller, whether the post shared a commit or had a transaction of its own."""
    traced.post(*map(email_sent, range(events)), traceparent=f"00-{TRACE}-{SPAN}-01")
    traced.project()
    append, request, batch = traced.spans()
    assert [append.name, request.name, batch.name] == ["append", "POST /api/v1/events", "project"]
    assert (request.kind, ids(request)) == (SpanKind.SERVER, (TRACE, SPAN))
    assert ids(append) == ids(batch) == (TRACE, own(request))
    assert dict(append.attributes or {}) == {
        "campaign_analytics.workspace_id": 340,
        "campaign_analytics.position": events,
        "campaign_analytics.events": events,
        "campaign_analytics.commit_posts": 1,
    }
    assert dict(batch.attributes or {}) == {
        "campaign_analytics.workspace_id": 340,
        "campaign_analytics.first": 1,
        "campaign_analytics.last": events,
    }
    for span in (append, request, batch):
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.start_time <= span.end_time


def test_a_tools_delivery_is_traced_as_a_post_is(traced: Traced, pool: Pool) -> None:
    """Its span has the route, in whose place the path has a token."""
    hook = add_hook(pool, "smartlead")
    delivery = made_up(PROVIDERS["smartlead"], clock())
    headers = {**delivery.headers, "traceparent": f"00-{TRACE}-{SPAN}-01"}
    assert deliver(traced.client, "smartlead", hook.token, delivery.body, headers).status_code == 200
    traced.project()
    append, request, batch = traced.spans()
    assert request.name == "POST /api/v1/hooks/{provider}/{token}"
    assert ids(append) == ids(batch) == (TRACE, own(request))
    assert hook.token not in "".join(each.to_json() for each in traced.spans())


def test_a_batch_of_several_posts_is_linked_to_the_others(traced: Traced) -> None:
    """It can be in one trace only: that of the first."""
    for number in range(3):
        traced.post(email_sent(number))
    traced.project()
    first, second, third = traced.named("POST /api/v1/events")
    [batch] = traced.named("project")
    assert ids(batch) == (ids(first)[0], own(first))
    assert [format_span_id(each.context.span_id) for each in batch.links] == [own(second), own(third)]


def test_a_batch_without_a_hint_is_a_trace_of_its_own(traced: Traced) -> None:
    """It says which positions of which workspace it holds; a hint that comes too late names no other batch."""
    traced.post(email_sent(1))
    late, traced.hints = traced.hints, []
    traced.project()
    traced.hints = late
    traced.post(email_sent(2))
    traced.project()
    alone, batch = traced.named("project")
    assert (ids(alone)[1], alone.links) == (None, ())
    assert ids(batch)[1] == own(traced.named("POST /api/v1/events")[1])
    assert batch.links == ()


def test_a_hint_is_no_more_than_it_may_be(traced: Traced) -> None:
    """Nonsense is passed over, and what another projector has folded is forgotten."""
    traced.tracing.hinted("")
    traced.tracing.hinted("340,x:y:z,1:2:" + "0" * 55)
    assert len(traced.tracing._awaited) == 0
    for number in range(MOST_AWAITED + 10):
        traced.tracing.hinted(f"1:{number + 1}:00-{TRACE}-{SPAN}-01")
    assert len(traced.tracing._awaited) == MOST_AWAITED


def test_a_span_has_no_path_and_no_secret(traced: Traced) -> None:
    """A hook's token stands in its path, a prospect's id too."""
    token = "a-token-that-nobody-may-see"
    traced.client.simulate_post(f"/api/v1/hooks/smartlead/{token}", json={})
    traced.client.simulate_get("/api/v1/prospects/lookup", query_string="prospect_id=somebody", headers=traced.key)
    assert [each.name for each in traced.spans()] == [
        "POST /api/v1/hooks/{provider}/{token}",
        "GET /api/v1/prospects/lookup",
    ]
    for secret in (token, "somebody", traced.key["X-API-Key"]):
        assert secret not in "".join(each.to_json() for each in traced.spans())


def test_probes_leave_no_span(traced: Traced) -> None:
    """They come every few seconds."""
    for path in ("/healthz", "/readyz", "/metrics", "/metrics/"):
        assert traced.client.simulate_get(path).status_code == 200
    assert traced.spans() == []


def test_an_error_is_one(traced: Traced, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """And its lines name the span, so that one is found by the other."""
    monkeypatch.setattr("api.auth.gate.Gate.visit", None)
    assert traced.client.simulate_post(POSTS, headers=traced.key, json=[]).status_code == 500
    [span] = traced.spans()
    assert not span.status.is_ok
    [line] = [each for each in caplog.records if each.levelname == "ERROR"]
    assert getattr(line, "traceparent", "").startswith(f"00-{ids(span)[0]}-{own(span)}-")


@pytest.mark.parametrize(("flags", "expected"), [("00", 0), ("01", 3)])
def test_who_calls_decides_as_usual_what_is_sampled(traced: Traced, flags: str, expected: int) -> None:
    """The default sampler follows the caller; what is not taken costs no note either."""
    traced.post(email_sent(1), traceparent=f"00-{TRACE}-{SPAN}-{flags}")
    if not expected:
        assert traced.hints == [""]
        return
    traced.project()
    assert len(traced.spans()) == expected


def test_opentelemetrys_own_variables_count(pool: Pool, users: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sampler, and the names of the service."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    made = Traced(pool, users)
    made.post(email_sent(1))
    assert (made.spans(), made.hints) == ([], [""])
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    for variables, name in (
        ({}, "campaign-analytics"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=one,deployment.environment=test"}, "one"),
        ({"OTEL_SERVICE_NAME": "other"}, "other"),
    ):
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        made = Traced(pool, users)
        made.client.simulate_get("/api/v1/me")
        assert made.spans()[0].resource.attributes["service.name"] == name


@pytest.mark.parametrize(
    ("variables", "is_asked_for"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "always_on"}, False),
        (COLLECTOR, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"}, True),
        ({**COLLECTOR, "OTEL_SDK_DISABLED": "true"}, False),
        ({**COLLECTOR, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({**COLLECTOR, "OTEL_TRACES_EXPORTER": "otlp"}, True),
    ],
)
def test_only_a_collector_that_is_named_is_sent_to(variables: dict[str, str], is_asked_for: bool) -> None:  # noqa: FBT001
    """By OpenTelemetry's variables; each of them can switch it off again."""
    assert settings.from_environment(variables).traces is is_asked_for


def test_without_the_extra_the_service_runs_and_logs_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A platform may name its collector to everything that it runs."""
    for name in [each for each in sys.modules if each.startswith("opentelemetry") or each == "api.tracing"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    assert spans.of(settings.from_environment(COLLECTOR)) is None
    assert [each.message for each in caplog.records] == [
        "no spans are sent, the extra otel is not installed: pip install 'campaign-analytics[otel]'"
    ]
