"""Spans of requests, appends and batches, sent by OpenTelemetry; imported only where its variables name a collector.

It is the extra `otel`. Where spans go, what the service is called and which spans are taken stands in those variables.
"""

import logging
import re
import time
from collections import deque
from collections.abc import Sequence
from importlib.metadata import version
from threading import Thread

import falcon
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from api.http.headers import traceparent_of
from api.ingest.appending import Commit
from projections.building.next_batch import Folded
from projections.trouble import Trouble

MOST_AWAITED = 1_000  # posts whose batch a projector waits for; those that another projector folds never come
CLOSE_SECONDS = 0.5  # what is left at the end of a process is sent for no longer

_NAME = "campaign-analytics"
_PREFIX = "campaign_analytics."  # of our own attributes
_NOTE = re.compile(r"([0-9]{1,19}):([0-9]{1,19}):(.{55})")
_SERVER_ERROR = 500

logger = logging.getLogger(__name__)


class Tracing:
    """The spans of one process; made after a fork, since a thread of its own sends them."""

    def __init__(self, processor: SpanProcessor) -> None:
        """Take what ended spans are handed to."""
        ours = Resource.create({SERVICE_NAME: _NAME, SERVICE_VERSION: version(_NAME)})
        self._provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer(_NAME)
        self._awaited: deque[tuple[int, int, SpanContext]] = deque(maxlen=MOST_AWAITED)

    @classmethod
    def to_collector(cls) -> "Tracing":
        """Return spans that go where OpenTelemetry's variables say."""
        return cls(BatchSpanProcessor(_Exporter()))

    def begin(self, request: falcon.Request, state: str | None) -> None:
        """Begin a request's span, in the trace that its valid `traceparent` names, if it has one.

        The context then has the span, and the span's own `traceparent`, which the log lines repeat.
        """
        parent = request.context.traceparent
        within = _within(_context_of(parent, state)) if parent else None
        span = request.context.span = self._tracer.start_span(request.method, within, SpanKind.SERVER)
        request.context.traceparent = traceparent(span)

    def end(self, request: falcon.Request, response: falcon.Response, method: str, route: str) -> None:
        """End a request's span, which has the route, never the path: that may contain a secret."""
        span: Span = request.context.span
        if span.is_recording():
            status = response.status_code
            span.update_name(f"{method} {route}")
            span.set_attributes(
                {"http.request.method": method, "http.route": route, "http.response.status_code": status}
            )
            span.set_attribute(f"{_PREFIX}request_id", request.context.request_id)
            workspace_id = getattr(request.context, "workspace", None)
            if isinstance(workspace_id, int):
                span.set_attribute(f"{_PREFIX}workspace_id", workspace_id)
            if status >= _SERVER_ERROR:
                span.set_status(Status(StatusCode.ERROR))
        span.end()

    def appended(self, commit: Commit) -> list[str]:
        """Make the span of each post's append, and return the notes by which a projector knows the posts of a batch."""
        ended, notes = time.time_ns(), []
        for span, began, workspace_id, events in commit.traced:
            context, position = span.get_span_context(), commit.positions[workspace_id]
            if context.trace_flags.sampled:
                of_commit = {"workspace_id": workspace_id, "position": position, "commit_posts": commit.posts}
                self._make("append", began, ended, context, [], events=events, **of_commit)
                notes.append(f"{workspace_id}:{position}:{traceparent(span)}")
        return notes

    def hinted(self, payload: str) -> None:
        """Take the notes that came with a hint, for the batches to come."""
        for note in payload.split(","):
            match = _NOTE.fullmatch(note)
            parent = match and traceparent_of(match[3])
            if match and parent:
                self._awaited.append((int(match[1]), int(match[2]), _context_of(parent, None)))

    def folded(self, batch: Folded) -> None:
        """Make a batch's span: in the trace of the first post whose last event it holds, linked to the other ones'."""
        mine = [each for each in self._awaited if each[0] == batch.workspace_id and each[1] <= batch.last]
        for each in mine:
            self._awaited.remove(each)
        posts = [context for _, position, context in mine if position >= batch.first]
        of_batch = {"workspace_id": batch.workspace_id, "first": batch.first, "last": batch.last}
        self._make("project", batch.began, time.time_ns(), posts[0] if posts else None, posts[1:], **of_batch)

    def close(self) -> None:
        """Send what is left, for half a second at most."""
        closing = Thread(target=self._provider.shutdown, name="tracing-close", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)

    def _make(
        self,
        name: str,
        began: int,
        ended: int,
        parent: SpanContext | None,
        linked: Sequence[SpanContext],
        **attributes: int,
    ) -> None:
        """Make the span of what is over, from an instant to another (ns since 1970)."""
        self._tracer.start_span(
            name,
            parent and _within(parent),
            attributes={f"{_PREFIX}{key}": value for key, value in attributes.items()},
            links=[Link(each) for each in linked],
            start_time=began,
        ).end(ended)


def traceparent(span: Span) -> str:
    """Return a span as the header names it."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _context_of(parent: str, state: str | None) -> SpanContext:
    _, trace_id, span_id, flags = parent.split("-")
    states = TraceState.from_header([state]) if state else None
    return SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(flags, 16)), states)  # noqa: FBT003


def _within(parent: SpanContext) -> Context:
    return trace.set_span_in_context(NonRecordingSpan(parent))


class _Exporter(OTLPSpanExporter):
    """Logs once that spans can't be sent and once that they can again, not each attempt."""

    def __init__(self) -> None:
        super().__init__()
        self._trouble = Trouble(logger, "spans can't be sent", "spans are sent again")
        logging.getLogger(OTLPSpanExporter.__module__).addFilter(self._is_logged)

    def _is_logged(self, record: logging.LogRecord) -> bool:
        self._trouble.met(record.getMessage())
        return False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        if result is SpanExportResult.SUCCESS:
            self._trouble.over()
        return result
